#!/bin/sh
# Shows on one machine what HAST does: two nodes hold one disk, the primary dies, the other one
# carries on with the same data. Leaves nothing behind. Start it with `make demo`.
set -eu

component_mib=256 # Size of each node's component.
image_mib=192     # Size of the file system that is copied in.
payload_mib=64    # Random data in it, beside this project's source.
deadline_s=20     # For anything that is waited for.

root=$(cd "$(dirname "$0")/.." && pwd)
hastd=${HAST_BIN_DIR:-$root/build/run}/hastd
hastctl=${HAST_BIN_DIR:-$root/build/run}/hastctl
PATH=$PATH:/usr/sbin:/sbin
dir=$(mktemp -d "${TMPDIR:-/tmp}/hast-demo.XXXXXX")
pids=

now() {
    date +%s
}
started_at=$(now)

step() {
    echo
    echo "== $*"
}

# Prints a command, then runs it. The folder's name is left out for the reader's sake.
show() {
    echo "\$ $*" | sed "s|$dir/||g; s|$root/||g"
    "$@"
}

clean_up() {
    status=$?
    trap - EXIT
    trap '' HUP INT PIPE TERM
    if [ "$status" -ne 0 ]; then
        echo "demo: failed (exit code $status)" >&2
        for node in left right; do
            [ -f "$dir/$node.log" ] || continue
            echo "--- last lines of the log of $node" >&2
            tail -n 20 "$dir/$node.log" >&2
        done
    fi
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in $pids; do
        wait_for "hastd, pid $pid, ends" gone "$pid" || kill -9 "$pid"
    done
    rm -rf "$dir"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE # make demo | head
trap 'exit 143' TERM

# wait_for WHAT COMMAND...
wait_for() {
    what=$1
    shift
    give_up_at=$(($(now) + deadline_s))
    until "$@" >/dev/null 2>&1; do
        if [ "$(now)" -ge "$give_up_at" ]; then
            echo "demo: waited $deadline_s s in vain: $what" >&2
            return 1
        fi
        sleep 0.1
    done
}

gone() {
    ! kill -0 "$1"
}

need() {
    for program in "$@"; do
        command -v "$program" >/dev/null || {
            echo "demo: the program $program is missing; see the packages named above" >&2
            exit 69
        }
    done
}

# ctl NODE VERB ARGUMENTS...
ctl() {
    node=$1
    verb=$2
    shift 2
    "$hastctl" "$verb" -n "$node" -c "$dir/hast.conf" "$@"
}

start() {
    echo "\$ HAST_RUNDIR=$1.run hastd -F -n $1 -c hast.conf &"
    HAST_RUNDIR=$dir/$1.run "$hastd" -F -n "$1" -c "$dir/hast.conf" -P "$dir/$1.pid" >"$dir/$1.log" 2>&1 </dev/null &
    pid=$!
    pids="$pids $pid"
    wait_for "hastd of $1 answers" ctl "$1" status
}

field() { # field NODE NAME: one value of hastctl list
    ctl "$1" list demo | sed -n "s/^ *$2: //p"
}

is_complete() {
    [ "$(field "$1" status)" = complete ]
}

dumped() { # dumped NODE NAME: one number of hastctl dump
    ctl "$1" dump demo | sed -n "s/^ *$2: \([0-9]*\).*/\1/p"
}

same_data() {
    cmp -n "$(dumped left datasize)" "$dir/left.img" "$dir/right.img" \
        "$(dumped left localoff)" "$(dumped right localoff)"
}

uri() {
    echo "nbd+unix:///demo?socket=$dir/$1.run/demo.sock"
}

export_is_there() {
    nbdinfo --size "$(uri "$1")"
}

need nbdcopy nbdinfo mkfs.ext4 fsck.ext4 cmp
echo "Two nodes, left and right, on this machine; files are in $dir until the end."

step "The configuration, one file for both nodes"
# Two ports that nobody uses.
# shellcheck disable=SC2016 # A program for Deno, not for this shell.
ports=$("$root/scripts/deno.sh" eval '
    const listeners = [1, 2].map(() => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
    console.log(listeners.map((listener) => listener.addr.port).join(" "));
')
port_left=${ports% *}
port_right=${ports#* }
cat >"$dir/hast.conf" <<END
on left {
    control $dir/left.ctl
    listen 127.0.0.1:$port_left
}
on right {
    control $dir/right.ctl
    listen 127.0.0.1:$port_right
}
resource demo {
    on left {
        local $dir/left.img
        remote 127.0.0.1:$port_right
    }
    on right {
        local $dir/right.img
        remote 127.0.0.1:$port_left
    }
}
END
cat "$dir/hast.conf"

step "A component of $component_mib MiB for each node"
for node in left right; do
    dd if=/dev/zero of="$dir/$node.img" bs=1048576 count=0 seek=$component_mib 2>/dev/null
    echo "\$ hastctl create -n $node -c hast.conf demo"
    ctl $node create demo
done

step "Two daemons; right becomes secondary, left primary"
start left
pid_left=$pid
start right
pid_right=$pid
echo "\$ hastctl role -n right -c hast.conf secondary demo"
ctl right role secondary demo
echo "\$ hastctl role -n left -c hast.conf primary demo"
ctl left role primary demo
wait_for "left offers the disk over NBD" export_is_there left
wait_for "left is connected to right" is_complete left
echo "The disk is there: $(nbdinfo --size "$(uri left)") bytes, over NBD."

step "An ext4 file system of $image_mib MiB, copied to the disk through NBD"
mkdir "$dir/tree"
for part in "$root"/*; do
    case ${part##*/} in
    build | node_modules) ;;
    *) cp -R "$part" "$dir/tree/" ;;
    esac
done
dd if=/dev/urandom of="$dir/tree/payload" bs=1048576 count=$payload_mib 2>/dev/null
show mkfs.ext4 -q -F -d "$dir/tree" "$dir/image" ${image_mib}M
show nbdcopy --flush "$dir/image" "$(uri left)"

step "What the nodes say of themselves"
for node in left right; do
    for verb in status list; do
        echo "\$ hastctl $verb -n $node -c hast.conf"
        ctl "$node" "$verb"
        echo
    done
done

step "Both components, byte by byte"
wait_for "the data is on both" same_data
same_data
echo "The same: $(dumped left datasize) bytes of data on each node."

step "kill -9: left, the primary, dies"
worker=$(field left workerpid)
echo "\$ kill -9 $pid_left $worker"
kill -9 "$pid_left" "$worker"
wait "$pid_left" 2>/dev/null || true
pids=$pid_right

step "right takes over"
echo "\$ hastctl role -n right -c hast.conf primary demo"
ctl right role primary demo
wait_for "right offers the disk over NBD" export_is_there right
ctl right status

step "The file system, read back from right"
show nbdcopy "$(uri right)" "$dir/back"
image_bytes=$((image_mib * 1048576))
show cmp -n $image_bytes "$dir/image" "$dir/back"
dd if="$dir/back" of="$dir/back.image" bs=1048576 count=$image_mib 2>/dev/null
show fsck.ext4 -f -n "$dir/back.image"

echo
echo "Done in $(($(now) - started_at)) s: nothing was lost. docs/ and README.md tell the rest."
