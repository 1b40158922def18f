#!/bin/sh
# Writes build/run/hastd and build/run/hastctl, which run the programs from source and from any
# folder. Demo, tests and scripts of others call these as they would the installed programs.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
deno=$("$root/scripts/deno.sh" --path)
mkdir -p "$root/build/run"

quote() {
    printf "'"
    printf %s "$1" | sed "s/'/'\\\\''/g"
    printf "'"
}

# Nothing is fetched when a daemon starts: make deps has done so.
flags="--quiet ${PERMISSIONS:?is set by the Makefile} --cached-only --frozen"

for program in hastd hastctl; do
    launcher=$root/build/run/$program
    {
        echo "#!/bin/sh"
        echo "exec $(quote "$deno") run $flags --config $(quote "$root/deno.json") \\"
        echo "    $(quote "$root/main.ts") $program \"\$@\""
    } >"$launcher.new"
    chmod 755 "$launcher.new"
    mv -f "$launcher.new" "$launcher"
done
