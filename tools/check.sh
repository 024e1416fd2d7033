#!/usr/bin/env bash
# Checks everything: format, lint, floors, tests. Extra arguments go to pytest, as in `tools/check.sh -k masks`.
# The environment is .venv in the project folder, made when missing; VENV=PATH takes another one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV=${VENV:-.venv}
STAMP="$VENV/hmnas_tf-installed.toml" # pyproject.toml as it was when the packages were installed

heading() { printf '\n== %s\n' "$*"; }

source tools/pythons.sh

find_python() {
    local version
    for version in "${VERSIONS[@]}"; do
        python_of "$version" && return
    done
    echo "tools/check.sh: expected Python ${VERSIONS[*]} (any of them) on PATH: install one, or pass VENV=PATH of an environment" >&2
    return 1
}

if [ ! -x "$VENV/bin/python" ]; then
    heading "environment: $VENV"
    python=$(find_python)
    "$python" -m venv "$VENV"
fi
if ! cmp -s pyproject.toml "$STAMP"; then
    heading "packages"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test]'
    cp pyproject.toml "$STAMP"
fi

heading "format: ruff format --check"
"$VENV/bin/ruff" format --check --quiet --output-format concise . || {
    echo "tools/check.sh: these files are not formatted: run $VENV/bin/ruff format ." >&2
    exit 1
}
heading "lint: ruff check"
"$VENV/bin/ruff" check .
heading "floors: lint-imports"
"$VENV/bin/lint-imports"
heading "tests: pytest"
# A process a core, each with whole files, which share what they trained; in the order of tests/conftest.py.
"$VENV/bin/python" -m pytest -q --durations=30 --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
heading "all checks passed"
