"""The other process of row 21: a web socket server that sends each line of a file at its time, to its one client.

python ws_sender.py LISTENING_DESCRIPTOR FILE FRAMES_PER_S TIMES

It needs nothing but Python. When all is sent, TIMES holds when each line was, int64 ns of ``time.perf_counter_ns``.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import sys
import time
from array import array
from pathlib import Path

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def framed(payload: bytes) -> bytes:
    """Return an unmasked text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    head = bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + size.to_bytes(2, "big")
    return head + payload


def shake_hands(client: socket.socket) -> None:
    """Answer the client's upgrade, and its SUBSCRIBE."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += client.recv(65_536)
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
    assert key is not None
    accept = base64.b64encode(hashlib.sha1(key[1] + GUID, usedforsecurity=False).digest())
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    asked = client.recv(65_536)
    mask_at = 4 if asked[1] & 0x7F == 126 else 2
    mask, payload = asked[mask_at : mask_at + 4], asked[mask_at + 4 :]
    plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    number = re.search(rb'"id":(\d+)', plain)
    assert number is not None
    client.sendall(framed(b'{"result":null,"id":' + number[1] + b"}"))


def send(client: socket.socket, lines: list[bytes], frames_per_s: int) -> array[int]:
    """Send the lines, and return when each was sent."""
    frames = [framed(line) for line in lines]
    times = array("q")
    time.sleep(0.2)
    start_s = time.perf_counter()
    for number, frame in enumerate(frames):
        while (left_s := start_s + number / frames_per_s - time.perf_counter()) > 0:
            if left_s > 100e-6:
                time.sleep(left_s - 60e-6)
        times.append(time.perf_counter_ns())
        client.sendall(frame)
    return times


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        client, _ = listening.accept()
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            shake_hands(client)
            sent = send(client, Path(sys.argv[2]).read_bytes().splitlines(), int(sys.argv[3]))
            Path(sys.argv[4]).write_bytes(sent.tobytes())
            client.recv(1)
