"""The stream over real sockets: headers and state at once, breaks, slow readers, the engine's end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.control.http.rates import ClientRates
from tests.support.http_serving import Served, serving

pytestmark = pytest.mark.asyncio

# As many streams as an engine has at a time.
AT_ONCE = 20


class Events:
    """An open stream, read piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = ""

    async def next(self) -> tuple[str, str, dict[str, Any]]:
        """An event's id, name and data."""
        async with asyncio.timeout(10):
            if not self.head:
                self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            size = int(await self.reader.readline(), 16)
            chunk = await self.reader.readexactly(size + 2)
        fields = dict(line.split(": ", 1) for line in chunk.decode().strip().split("\n"))
        return fields.get("id", ""), fields["event"], json.loads(fields["data"])


@asynccontextmanager
async def stream_of(served: Served, **headers: str) -> AsyncIterator[Events]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in served.headers(Connection=None, **headers).items())
    writer.write(f"GET /v1/stream HTTP/1.1\r\n{lines}\r\n".encode())
    try:
        yield Events(reader, writer)
    finally:
        writer.close()


async def test_state_comes_at_once_and_a_pause_soon_after(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, stream_of(served) as events:
        _, name, data = await events.next()
        assert "content-type: text/event-stream" in events.head.lower()
        assert "no-store" in events.head
        assert name == "state"
        assert data["sections"]["strategies"]["one"]["state"] == "running"
        await served.command("pause", "k1", strategy="one")
        async with asyncio.timeout(10):
            while True:
                _, name, data = await events.next()
                row = data.get("sections", {}).get("strategies", {}).get("one", {})
                if row.get("state") == "paused":
                    break
        assert name == "update"


async def test_last_event_id_goes_on_over_a_new_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        async with stream_of(served) as events:
            event_id, name, _ = await events.next()
            assert name == "state"
        await served.command("pause", "k1", strategy="one")
        async with stream_of(served, Last_Event_ID=event_id) as events:
            _, name, data = await events.next()
            assert name == "update"
            assert not data.get("whole")


async def test_a_stream_without_a_token_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert (await served.get("/v1/stream", Authorization=None)).status == 401
        assert (await served.get("/v1/state", Authorization="Bearer wrong")).status == 401


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.deep)])
async def test_broken_streams_leave_no_client(tmp_path: Path, count: int) -> None:
    async with serving(tmp_path, rates=ClientRates(per_s=1e6, burst=1_000_000)) as served:
        subscriptions = len(served.engine.bus.stats().handlers)
        for first in range(0, count, AT_ONCE):
            async with asyncio.TaskGroup() as tasks:
                for number in range(first, first + AT_ONCE):
                    tasks.create_task(_broken(served, number))
        async with asyncio.timeout(20):
            while served.engine.services.metrics()["stream"]["clients"]:  # noqa: ASYNC110 - nothing tells of a client that left
                await asyncio.sleep(0.01)
            while served.server.metrics()["open"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert served.server.metrics()["failed"] == 0
        assert len(served.engine.bus.stats().handlers) == subscriptions


async def _broken(served: Served, number: int) -> None:
    """Break off at once, after the head, or after the first event; every second one by a reset."""
    async with stream_of(served) as events:
        if number % 3 == 1:
            await events.reader.readline()
        elif number % 3 == 2:
            await events.next()
        if number % 2:
            events.writer.transport.abort()


async def test_a_client_that_reads_nothing_holds_up_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, stream_of(served), stream_of(served) as reading:
        versions: list[int] = []
        async with asyncio.timeout(20):
            while len(versions) < 5:
                _, name, data = await reading.next()
                if name != "heartbeat":
                    versions.append(data["version"])
        assert versions == sorted(set(versions))


@pytest.mark.alone
async def test_the_engine_ends_at_once_with_streams_open(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        opened = [stream_of(served) for _ in range(5)]
        streams = [await own.__aenter__() for own in opened]
        for events in streams:
            await events.next()
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5
    for events in streams:
        async with asyncio.timeout(20):
            assert (await events.reader.read()).endswith(b"0\r\n\r\n")
    for own in opened:
        await own.__aexit__(None, None, None)


async def test_history_and_its_wrong_questions(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        async with asyncio.timeout(10):
            while not (await served.get("/v1/history?series=rates/*")).json["series"]:  # noqa: ASYNC110 - nothing tells of a sample
                await asyncio.sleep(0.1)
        answer = (await served.get("/v1/history?series=rates/lag_s&series=rates/pending&span=2h")).json
        assert set(answer["series"]) == {"rates/lag_s", "rates/pending"}
        assert answer["step_ns"] == 8 * 10**9
        for status, query, word in (
            (404, "series=rates/lga_s", "lag_s"),
            (422, "series=rates/lag_s&span=3h", "24h"),
            (422, "", "series"),
        ):
            wrong = await served.get(f"/v1/history?{query}")
            assert wrong.status == status, query
            assert word in wrong.body.decode()
