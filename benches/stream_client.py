"""The other process of row 25: holds open streams of the control API and reads them. It needs nothing but Python.

python stream_client.py PORT TOKEN_FILE CLIENTS
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

CHUNK_BYTES = 1 << 16


async def read(port: int, token: str) -> None:
    """Read one stream to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
    writer.write(f"GET /v1/stream HTTP/1.1\r\n{head}\r\n".encode())
    while await reader.read(CHUNK_BYTES):
        pass
    writer.close()


async def main(port: int, token: str, clients: int) -> None:
    """Read several streams at once."""
    await asyncio.gather(*(read(port, token) for _ in range(clients)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_text().split()[-1], int(sys.argv[3])))
