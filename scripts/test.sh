#!/bin/sh
# Runs the tests named (files or folders; all without one), then prints what was skipped and why,
# and as its last line `N passed, N failed, N skipped`. Environment: PERMISSIONS, see the Makefile.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
deno=$root/scripts/deno.sh
junit=$root/build/test.xml

cd "$root" || exit 1
mkdir -p build
rm -f "$junit"

# Types are checked by make check; older versions of Deno want other declarations for that.
# shellcheck disable=SC2086 # One word per flag.
"$deno" test ${PERMISSIONS:?is set by the Makefile} --no-check --frozen \
    --preload tests/support/preload.ts --junit-path="$junit" "$@" </dev/null
status=$?
# shellcheck disable=SC2086
exec "$deno" run $PERMISSIONS tests/support/report.ts "$junit" "$status"
