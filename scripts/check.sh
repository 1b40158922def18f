#!/bin/sh
# Everything that can be checked without running the daemon: format, lint, types, the examples in
# docstrings and Markdown, manual pages, shell scripts. Goes on after a failure, to show them all.
# Environment: PERMISSIONS, see the Makefile.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
deno=$root/scripts/deno.sh
failed=

cd "$root" || exit 1

# check NAME COMMAND...
check() {
    name=$1
    shift
    if "$@"; then
        echo "check: $name: ok"
    else
        echo "check: $name: FAILED"
        failed="$failed $name"
    fi
}

# optional NAME PROGRAM COMMAND...: a program that may be missing.
optional() {
    name=$1
    program=$2
    shift 2
    if command -v "$program" >/dev/null; then
        check "$name" "$@"
    else
        echo "check: $name: skipped: no $program"
    fi
}

examples() {
    files=$(find . -name node_modules -prune -o -name '.?*' -prune -o -path ./build -prune -o \
        \( -name '*.ts' -o -name '*.md' \) -type f -exec grep -l '^[ *]*```ts' {} +)
    [ -n "$files" ] || return 0
    # shellcheck disable=SC2086 # No name in the tree has a space.
    "$deno" test ${PERMISSIONS:?is set by the Makefile} --frozen --quiet --doc $files
}

manuals() {
    set -- docs/*.[58]
    [ ! -e "$1" ] || mandoc -T lint -W warning "$@"
}

check format "$deno" fmt --check
check lint "$deno" lint
check types "$deno" check --quiet --frozen .
check examples examples
optional manuals mandoc manuals
optional scripts shellcheck shellcheck scripts/*.sh .ci/run

[ -z "$failed" ] || {
    echo "check: failed:$failed" >&2
    exit 1
}
