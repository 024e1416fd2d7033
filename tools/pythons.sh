# Sourced by the tools that need an interpreter: the Python versions that the project supports, and where they are.
VERSIONS=(3.11 3.12 3.13)

python_of() { # version; prints an interpreter of it, on PATH or of pyenv, and fails if there is none
    local candidate
    for candidate in "python$1" python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if command -v "$candidate" >/dev/null &&
            [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}
