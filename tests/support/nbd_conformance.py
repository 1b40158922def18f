"""Checks an NBD server through libnbd.

    python3 nbd_conformance.py SOCKET NAME SIZE

The export must have SIZE bytes (a multiple of 1 MiB, at least 64 MiB) and sectors of 512 bytes; its
content is overwritten. Prints one line for each check that passed; the first that fails ends it.
"""

import errno
import random
import sys

import nbd

SOCKET, NAME, SIZE = sys.argv[1], sys.argv[2], int(sys.argv[3])
KIB, MIB = 1024, 1024 * 1024
STRUCTURED, SIMPLE, OLD = "structured", "simple", "old"


def connect(kind=STRUCTURED, name=NAME):
    h = nbd.NBD()
    h.set_export_name(name)
    h.set_strict_mode(0)
    if kind != OLD:
        h.add_meta_context("base:allocation")
    h.set_request_structured_replies(kind == STRUCTURED)
    if kind == OLD:
        h.set_handshake_flags(0)
    h.connect_unix(SOCKET)
    return h


def fails(expected, call):
    try:
        call()
    except nbd.Error as error:
        assert error.errnum == expected, f"{error.errno} instead of {errno.errorcode[expected]}"
        return
    raise AssertionError(f"no {errno.errorcode[expected]}")


def pattern(size, seed):
    return random.Random(seed).randbytes(size)


def check_options():
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.set_full_info(True)
    h.connect_unix(SOCKET)
    found = []
    h.opt_list(lambda name, description: found.append((name, description)))
    assert [name for name, _ in found] == [NAME], found
    contexts = []
    assert h.opt_list_meta_context(contexts.append) == 1
    assert contexts == ["base:allocation"], contexts
    h.set_export_name("no such export")
    fails(errno.ENOENT, h.opt_info)
    fails(errno.ENOENT, h.opt_go)
    h.set_export_name("")
    h.opt_info()
    assert h.get_size() == SIZE
    assert h.get_canonical_export_name() == NAME
    assert h.get_export_description() == found[0][1]
    assert h.get_block_size(nbd.SIZE_MINIMUM) == 512
    assert h.get_block_size(nbd.SIZE_PREFERRED) >= 4096
    assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 * MIB
    h.opt_go()
    assert h.get_protocol() == "newstyle-fixed"
    h.shutdown()
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_unix(SOCKET)
    h.opt_abort()


def check_flags():
    for kind in (STRUCTURED, SIMPLE, OLD):
        h = connect(kind)
        assert h.get_size() == SIZE
        assert h.get_structured_replies_negotiated() == (kind == STRUCTURED)
        for can in ("flush", "fua", "trim", "zero", "fast_zero", "multi_conn", "cache"):
            assert getattr(h, f"can_{can}")(), f"{can} ({kind})"
        assert h.can_df() == (kind == STRUCTURED)
        assert h.can_meta_context("base:allocation") == (kind == STRUCTURED)
        assert not h.is_read_only()
        h.shutdown()
    fails(errno.ENOENT, lambda: connect(name="no such export"))
    try:
        connect(OLD, "no such export")
        raise AssertionError("EXPORT_NAME of nothing")
    except nbd.Error:
        pass


def check_data():
    for kind in (STRUCTURED, SIMPLE, OLD):
        h = connect(kind)
        for size in (512, 4 * KIB, 64 * KIB, MIB - 512, MIB, MIB + 512, 32 * MIB):
            data = pattern(size, f"{kind} {size}")
            h.pwrite(data, 512, 0 if size != 4 * KIB else nbd.CMD_FLAG_FUA)
            assert h.pread(size, 512) == data
        h.zero(MIB, 512)
        assert h.pread(MIB, 512) == bytes(MIB)
        h.zero(MIB, 2 * MIB, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
        assert h.pread(MIB, 2 * MIB) == bytes(MIB)
        h.zero(MIB, 4 * MIB, nbd.CMD_FLAG_FAST_ZERO)
        assert h.pread(MIB, 4 * MIB) == bytes(MIB)
        fails(errno.ENOTSUP, lambda: h.zero(
            512, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE))
        h.trim(MIB, 8 * MIB)
        h.trim(MIB, 8 * MIB, nbd.CMD_FLAG_FUA)
        h.cache(MIB, 8 * MIB)
        h.flush()
        h.zero(SIZE, 0)
        assert h.pread(512, SIZE - 512) == bytes(512)
        h.shutdown()


def check_bad_requests():
    for kind in (STRUCTURED, SIMPLE):
        h = connect(kind)
        too_long = errno.EOVERFLOW if kind == STRUCTURED else errno.EINVAL
        table = [
            (errno.EINVAL, lambda: h.pread(1024, SIZE - 512)),
            (errno.EINVAL, lambda: h.pread(512, 2**63)),
            (errno.EINVAL, lambda: h.pread(512, 1)),
            (errno.EINVAL, lambda: h.pread(100, 0)),
            (errno.EINVAL, lambda: h.pread(0, 0)),
            (errno.ENOSPC, lambda: h.pwrite(bytes(1024), SIZE - 512)),
            (errno.EINVAL, lambda: h.pwrite(bytes(512), 511)),
            (errno.EINVAL, lambda: h.pwrite(bytes(100), 0)),
            (errno.EINVAL, lambda: h.pwrite(b"", 0)),
            (errno.EINVAL, lambda: h.pwrite(bytes(512), 0, nbd.CMD_FLAG_DF)),
            (errno.ENOSPC, lambda: h.zero(1024, SIZE - 512)),
            (errno.EINVAL, lambda: h.trim(1024, SIZE - 512)),
            (errno.EINVAL, lambda: h.trim(512, 1)),
            (errno.EINVAL, lambda: h.cache(1024, SIZE - 512)),
            (errno.EINVAL, lambda: h.cache(512, 0, nbd.CMD_FLAG_REQ_ONE)),
            (errno.EINVAL, lambda: h.flush(nbd.CMD_FLAG_NO_HOLE)),
            (too_long, lambda: h.pread(33 * MIB, 0)),
            (errno.EINVAL, lambda: h.pwrite(bytes(33 * MIB), 0)),
        ]
        for expected, call in table:
            fails(expected, call)
        # The connection is still in step.
        h.pwrite(pattern(512, 1), 0)
        assert h.pread(512, 0) == pattern(512, 1)
        h.shutdown()


def check_structured_reads():
    h = connect()
    data = pattern(8 * MIB, "chunks")
    h.pwrite(data, 0)
    chunks = []

    def chunk(part, offset, status, _error):
        assert status == nbd.READ_DATA
        assert data[offset:offset + len(part)] == bytes(part)
        chunks.append((offset, len(part)))
        return 0

    assert h.pread_structured(8 * MIB, 0, chunk) == data
    end = 0
    for offset, length in sorted(chunks):
        assert offset == end
        end += length
    assert end == 8 * MIB
    chunks.clear()
    assert h.pread_structured(8 * MIB, 0, chunk, nbd.CMD_FLAG_DF) == data
    assert chunks == [(0, 8 * MIB)]
    h.shutdown()


def check_block_status():
    h = connect()
    seen = []

    def extents(context, offset, entries, _error):
        assert context == "base:allocation"
        seen.append((offset, list(entries)))
        return 0

    h.block_status(SIZE, 0, extents)
    h.block_status(MIB, MIB, extents, nbd.CMD_FLAG_REQ_ONE)
    assert len(seen) == 2 and len(seen[1][1]) == 2 and seen[1][1][0] <= MIB, seen
    fails(errno.EINVAL, lambda: h.block_status(1024, SIZE - 512, extents))
    h.shutdown()
    h = connect(SIMPLE)
    fails(errno.EINVAL, lambda: h.block_status(512, 0, extents))
    h.shutdown()


class Depth:
    """Many requests in flight on one connection; each range has one request at a time."""

    def __init__(self, h, seed, first, last):
        self.h, self.random, self.free = h, random.Random(seed), list(range(first, last))
        self.content, self.left, self.in_flight = {}, 400, 0

    def step(self):
        while self.left > 0 and self.in_flight < 64 and self.free:
            self.left -= 1
            self.in_flight += 1
            self.start(self.free.pop(self.random.randrange(len(self.free))))
        self.h.poll(1)
        return self.left > 0 or self.in_flight > 0

    def start(self, index):
        offset, size = index * 256 * KIB, 512 * self.random.randrange(1, 513)
        known = self.content.get(index)
        kind = self.random.randrange(4)
        if known is not None and kind < 2:
            buffer = nbd.Buffer(len(known))
            self.h.aio_pread(buffer, offset, lambda e: self.end(
                index, e, lambda: self.compare(buffer, known)))
        elif kind == 2:
            self.content[index] = bytes(size)
            self.h.aio_zero(size, offset, lambda e: self.end(index, e))
        else:
            data = self.random.randbytes(size)
            self.content[index] = data
            self.h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), offset,
                              lambda e: self.end(index, e))

    @staticmethod
    def compare(buffer, known):
        assert bytes(buffer.to_bytearray()) == known

    def end(self, index, error, check=lambda: None):
        assert error.value == 0, error.value
        check()
        self.in_flight -= 1
        self.free.append(index)
        return 1


def check_depth():
    units = SIZE // (256 * KIB)
    handles = [connect() for _ in range(4)]
    runs = [Depth(h, i, units * i // 4, units * (i + 1) // 4) for i, h in enumerate(handles)]
    while any([run.step() for run in runs]):
        pass
    handles[0].flush()
    other = connect(SIMPLE)
    for run in runs:
        for index, known in run.content.items():
            assert other.pread(len(known), index * 256 * KIB) == known
    for h in [*handles, other]:
        h.shutdown()


for check in (check_options, check_flags, check_data, check_bad_requests, check_structured_reads,
              check_block_status, check_depth):
    check()
    print(f"ok {check.__name__}", flush=True)
