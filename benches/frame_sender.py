"""The other process of row 9: sends each line of a file at its time, over a socket. It needs nothing but Python.

python frame_sender.py DESCRIPTOR FILE FRAMES_PER_S
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path


def send(descriptor: int, lines: Path, frames_per_s: int) -> None:
    """Send the lines, once the other side has sent a byte, until all are sent."""
    with socket.socket(fileno=descriptor) as out, lines.open("rb") as file:
        out.recv(1)
        start_s = time.perf_counter()
        for number, line in enumerate(file):
            while (left_s := start_s + number / frames_per_s - time.perf_counter()) > 0:
                if left_s > 100e-6:
                    time.sleep(left_s - 60e-6)
            out.sendall(line)


if __name__ == "__main__":
    send(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
