#!/usr/bin/env bash
# Runs Bazel on this project, as in `tools/bazel.sh test //:test_space`. All arguments go to Bazel.
# Bazel 4 (Debian's bazel-bootstrap) works without a network: its repositories are those in tools/bazel4_offline, the
# packages those of .venv, which tools/check.sh makes; VENV=PATH takes another environment.
# Nothing stays behind. BAZEL_ROOT=PATH keeps Bazel's files there, so that the next call is faster.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV=${VENV:-.venv}

fail() {
    echo "tools/bazel.sh: $*" >&2
    exit 2
}

[ $# -gt 0 ] || fail "expected a command of Bazel, such as: tools/bazel.sh test //:test_space"
command -v bazel >/dev/null || fail "expected bazel on PATH: install Debian's package bazel-bootstrap"
case $(bazel --version) in
    "bazel no_version" | "bazel 4."*) ;;   # the first is Debian's
    *) exec bazel "$@" ;;                  # MODULE.bazel says where newer versions find everything
esac
[ -x "$VENV/bin/python" ] || fail "expected packages in $VENV: run tools/check.sh once, or pass VENV=PATH"

root=${BAZEL_ROOT:-}
if [ -n "$root" ]; then
    mkdir -p "$root"
    root=$(cd "$root" && pwd)
else
    root=$(mktemp -d)
    trap : INT TERM # ends Bazel, which writes to the last; only then its files are removed
    trap 'chmod -R u+w "$root" && rm -rf "$root"' EXIT
fi

# An interpreter that sees the packages of VENV, but not this project, which may be installed there: a test then imports
# only what its deps bring.
"$VENV/bin/python" -m venv --without-pip "$root/python"
packages=$("$VENV/bin/python" -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")')
echo "$packages" >"$(echo "$root"/python/lib/python3*/site-packages)/packages.pth"

{
    for folder in tools/bazel4_offline/*/; do
        name=$(basename "$folder")
        for command in build query; do
            printf '%s "--override_repository=%s=%s/tools/bazel4_offline/%s"\n' "$command" "$name" "$PWD" "$name"
        done
    done
    echo "build --spawn_strategy=local" # a sandbox adds its own log to that of a failing test
    # With other packages the kept results of tests are out of date.
    echo "test --test_env=PACKAGES=$(while read -r folder; do ls "$folder"; done <<<"$packages" | cksum | tr ' ' -)"
} >"$root/offline.bazelrc"

# --batch: no server stays behind.
PATH="$root/python/bin:$PATH" bazel --batch --output_user_root="$root/bazel" --bazelrc="$root/offline.bazelrc" "$@"
