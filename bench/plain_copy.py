"""What synchronisation is compared with: one file sent over TCP and written on the other side.

plain_copy.py receive PORT FILE CHECKSUM | send PORT FILE CHECKSUM BYTES

Both sides compute the checksum (none, crc32, sha256) of every MiB. The receiver answers one byte
when all is written; the sender prints the seconds from connecting to that answer.
"""

import hashlib
import socket
import sys
import time
import zlib

BLOCK_BYTES = 1 << 20


def checksum(name, block):
    if name == "crc32":
        zlib.crc32(block)
    elif name == "sha256":
        hashlib.sha256(block).digest()


def receive(port, path, name):
    with socket.create_server(("127.0.0.1", port)) as server, open(path, "r+b", buffering=0) as file:
        print("listening", flush=True)
        connection, _ = server.accept()
        total = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "little")
        block = memoryview(bytearray(BLOCK_BYTES))
        while total > 0:
            wanted = min(total, BLOCK_BYTES)
            if connection.recv_into(block, wanted, socket.MSG_WAITALL) != wanted:
                raise SystemExit("the sender went away")
            checksum(name, block[:wanted])
            file.write(block[:wanted])
            total -= wanted
        connection.sendall(b"k")


def send(port, path, name, total):
    block = memoryview(bytearray(BLOCK_BYTES))
    with open(path, "rb", buffering=0) as file:
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(total.to_bytes(8, "little"))
            while total > 0:
                count = file.readinto(block[: min(total, BLOCK_BYTES)])
                checksum(name, block[:count])
                connection.sendall(block[:count])
                total -= count
            if connection.recv(1) != b"k":
                raise SystemExit("the receiver went away")
        print(time.monotonic() - start)


if sys.argv[1] == "receive":
    receive(int(sys.argv[2]), sys.argv[3], sys.argv[4])
else:
    send(int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
