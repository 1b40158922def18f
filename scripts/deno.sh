#!/bin/sh
# Runs Deno with the arguments given, from wherever a suitable one is. `--path` prints its path
# instead; `--install` gets one from npm into .deno/ first where there is none.
#
# Suitable is version 2.4 or later, the first of: $DENO, `deno` in PATH, the copy in .deno/.
set -eu

install_version=2.9.6 # Tested with this one; exact, so that every clone runs the same.
major_min=2
minor_min=4

root=$(cd "$(dirname "$0")/.." && pwd)

die() {
    echo "deno.sh: $*" >&2
    exit 1
}

suitable() {
    version=$("$1" --version 2>/dev/null | sed -n '1s/^deno \([0-9]*\)\.\([0-9]*\)\..*/\1 \2/p')
    major=${version% *}
    minor=${version#* }
    [ -n "$version" ] || return 1
    [ "$major" -gt "$major_min" ] ||
        { [ "$major" -eq "$major_min" ] && [ "$minor" -ge "$minor_min" ]; }
}

find_deno() {
    if [ -n "${DENO:-}" ]; then
        suitable "$DENO" || die "DENO=$DENO is not Deno $major_min.$minor_min or later"
        command -v "$DENO"
        return
    fi
    for candidate in "$(command -v deno || true)" "$root"/.deno/node_modules/@deno/*/deno; do
        if [ -x "$candidate" ] && suitable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

install_deno() {
    command -v npm >/dev/null ||
        die "there is no Deno $major_min.$minor_min or later in PATH, and no npm to get one with"
    echo "Getting Deno $install_version from npm into .deno/ ..." >&2
    mkdir -p "$root/.deno"
    npm install --prefix "$root/.deno" --no-fund --no-audit --loglevel=error --ignore-scripts \
        "deno@$install_version" >&2 ||
        die "npm could not install deno@$install_version; on FreeBSD: pkg install deno"
    find_deno >/dev/null || die "npm has no Deno for this system; install it by other means"
}

case ${1:-} in
--install)
    find_deno >/dev/null || install_deno
    ;;
--path)
    find_deno || die "there is no Deno $major_min.$minor_min or later: run make deno"
    ;;
*)
    deno=$(find_deno) || die "there is no Deno $major_min.$minor_min or later: run make deno"
    exec "$deno" "$@"
    ;;
esac
