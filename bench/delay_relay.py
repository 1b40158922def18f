"""A line of a given length: passes TCP connections on, every byte DELAY_MS later, either way.

delay_relay.py LISTEN_PORT TARGET_PORT DELAY_MS

What is under way is bounded by WINDOW_BYTES, far above what the delay needs, so that the delay is
all that it adds.
"""

import queue
import socket
import sys
import threading
import time

CHUNK_BYTES = 1 << 18
WINDOW_CHUNKS = 256


def forward(source, target, delay):
    chunks = queue.Queue(WINDOW_CHUNKS)

    def deliver():
        while True:
            due, data = chunks.get()
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
            except OSError:
                return

    threading.Thread(target=deliver, daemon=True).start()
    while True:
        try:
            data = source.recv(CHUNK_BYTES)
        except OSError:
            data = b""
        chunks.put((time.monotonic() + delay, data))
        if not data:
            return


listen_port, target_port, delay_ms = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with socket.create_server(("127.0.0.1", listen_port)) as server:
    print("listening", flush=True)
    while True:
        client, _ = server.accept()
        try:
            upstream = socket.create_connection(("127.0.0.1", target_port))
        except ConnectionRefusedError:
            client.close()
            continue
        for each in (client, upstream):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pair in ((client, upstream), (upstream, client)):
            threading.Thread(
                target=forward, args=(*pair, delay_ms / 1000), daemon=True
            ).start()
