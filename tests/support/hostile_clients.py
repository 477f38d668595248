"""Hostile clients of a control API, in a process of their own: it needs nothing but Python.

python hostile_clients.py PORT TOKEN COUNT PER_S    prints how often each attack got which answer, as JSON

    wrong host · wrong origin · wrong token · malformed · huge head · huge body, announced or in chunks · pipelined
    · a replayed key with another body · slow · gone in the middle

Guarantees: each attack is a request, or many in one write, over a connection of its own; what comes back is read to the
end. PER_S 0: as fast as they are answered, ``AT_ONCE`` at a time.
Does not: judge the answers; "cut" is a connection that ended without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

AT_ONCE = 48
PIPELINED = 5
HEAD_BYTES = 20_000
BODY_BYTES = 100_000
SLOW_EVERY_S = 0.02
# A slow client leaves after so long, when it was not cut off.
SLOW_S = 1.0
ANSWER_S = 600.0
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
MALFORMED = (
    b"\x00\x01\x02\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
)


class Attackers:
    """The attacks on one server, and what came of each."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token
        self.answers: dict[str, Counter[str]] = {}
        self._number = 0
        self.attacks: tuple[Callable[[], Awaitable[list[str]]], ...] = (
            self.wrong_host,
            self.wrong_origin,
            self.wrong_token,
            self.malformed,
            self.huge_head,
            self.huge_body,
            self.huge_chunks,
            self.pipelined,
            self.replayed_key,
            self.slow,
            self.gone,
        )

    async def run(self, count: int, per_s: float) -> None:
        """Make so many attacks, each kind as often as the others."""
        room = asyncio.Semaphore(AT_ONCE)
        begun_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                if per_s:
                    await asyncio.sleep(begun_s + number / per_s - asyncio.get_running_loop().time())
                await room.acquire()
                attack = self.attacks[number % len(self.attacks)]
                tasks.create_task(self._one(attack)).add_done_callback(lambda _: room.release())

    async def _one(self, attack: Callable[[], Awaitable[list[str]]]) -> None:
        found = await attack()
        self.answers.setdefault(attack.__name__, Counter()).update(found or ["cut"])

    def wrong_host(self) -> Awaitable[list[str]]:
        return self._say(self._head(Host="evil.example"))

    def wrong_origin(self) -> Awaitable[list[str]]:
        return self._say(self._head(Origin="https://evil.example"))

    def wrong_token(self) -> Awaitable[list[str]]:
        return self._say(self._head(Authorization="Bearer " + "x" * 43))

    def malformed(self) -> Awaitable[list[str]]:
        self._number += 1
        return self._say(MALFORMED[self._number % len(MALFORMED)])

    def huge_head(self) -> Awaitable[list[str]]:
        return self._say(self._head(X="y" * HEAD_BYTES))

    def huge_body(self) -> Awaitable[list[str]]:
        return self._say(self._post(b"x" * BODY_BYTES, "huge"))

    def huge_chunks(self) -> Awaitable[list[str]]:
        head = self._head("POST", "/v1/commands/pause", Content_Type="application/json", Transfer_Encoding="chunked")
        chunk = b"%x\r\n%s\r\n" % (BODY_BYTES // 10, b"x" * (BODY_BYTES // 10))
        return self._say(head + chunk * 10 + b"0\r\n\r\n")

    def pipelined(self) -> Awaitable[list[str]]:
        good = self._head("GET", "/v1/status", Connection="keep-alive")
        return self._say(good * (PIPELINED - 1) + self._head("GET", "/v1/status"))

    async def replayed_key(self) -> list[str]:
        self._number += 1
        key = f"k{self._number}"
        first = await self._say(self._post(b'{"strategy": "one"}', key, verb="pause"))
        return [*first, *await self._say(self._post(b'{"strategy": "two"}', key, verb="pause"))]

    async def slow(self) -> list[str]:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.suppress(ConnectionError):
            for byte in self._head(X="y" * HEAD_BYTES)[: int(SLOW_S / SLOW_EVERY_S)]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(SLOW_EVERY_S)
        writer.close()
        return []

    async def gone(self) -> list[str]:
        """Leave with a reset in the middle of a body."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.write(self._post(b"{}", "gone")[:-1])
        await writer.drain()
        writer.transport.abort()
        return []

    async def _say(self, data: bytes) -> list[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(ANSWER_S):
                writer.write(data)
                return _statuses(await reader.read())
        except ConnectionError:
            return []
        finally:
            writer.close()

    def _post(self, body: bytes, key: str, *, verb: str = "pause") -> bytes:
        more = {"Content_Type": "application/json", "Idempotency_Key": key, "Content_Length": str(len(body))}
        return self._head("POST", f"/v1/commands/{verb}", **more) + body

    def _head(self, method: str = "GET", path: str = "/v1/status", **more: str) -> bytes:
        good = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {self.token}", "Connection": "close"}
        given = {**good, **{name.replace("_", "-"): value for name, value in more.items()}}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def _statuses(data: bytes) -> list[str]:
    return [own.decode() for own in STATUS.findall(data)]


def main() -> None:
    """Attack, and print what came of it."""
    port, token, count, per_s = sys.argv[1:5]
    attackers = Attackers(int(port), token)
    asyncio.run(attackers.run(int(count), float(per_s)))
    print(json.dumps(attackers.answers))


if __name__ == "__main__":
    main()
