#!/bin/sh
# Sees to it that the programs of the sets named are there: packages.sh demo|test|check|bench ...
#
# As root on Debian and its relatives, missing packages are installed by apt-get. Elsewhere, and
# when that fails, what is missing is named and the exit code is still 0: tests that need it are
# skipped and say so.
set -eu

# set, command, Debian package
table='
demo  nbdcopy        libnbd-bin
demo  nbdinfo        libnbd-bin
demo  mkfs.ext4      e2fsprogs
demo  fsck.ext4      e2fsprogs
demo  cmp            diffutils
test  nbdcopy        libnbd-bin
test  nbdinfo        libnbd-bin
test  file           file
test  nbdfuse        libnbd-bin
test  fusermount3    fuse3
test  qemu-io        qemu-utils
test  qemu-img       qemu-utils
test  fio            fio
test  strace         strace
test  prlimit        util-linux
test  nbdkit         nbdkit
test  mkfs.ext4      e2fsprogs
test  losetup        mount
test  pgrep          procps
test  ip             iproute2
test  nsenter        util-linux
check mandoc         mandoc
check shellcheck     shellcheck
bench fio            fio
bench nbdkit         nbdkit
'

present() {
    # mkfs and losetup live where an ordinary user's PATH does not lead.
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]
}

missing() {
    echo "$table" | while read -r set program package; do
        case " $sets " in
        *" ${set:-none} "*) present "$program" || echo "$package" ;;
        esac
    done | sort -u
}

install_packages() {
    apt-get install -y --no-install-recommends "$@" && return
    apt-get update
    apt-get install -y --no-install-recommends "$@" && return
    for package in "$@"; do # One that does not exist must not keep the others out.
        apt-get install -y --no-install-recommends "$package" || failed=$package
    done
    [ -z "${failed:-}" ]
}

sets="$*"
[ -n "$(missing)" ] || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    packages=$(missing | tr '\n' ' ')
    echo "Installing Debian packages: $packages" >&2
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # One word per package.
    install_packages $packages </dev/null >"$log" 2>&1 || tail -n 5 "$log" >&2
    rm -f "$log"
fi

if [ -n "$(missing)" ]; then
    echo "Missing, what needs it is skipped (Debian package names): $(missing | tr '\n' ' ')" >&2
fi
