"""Row 25: the stream of an operator's page while ticks saturate the core.

    ticks, as fast as they are handled      10 times a second: state ─▶ what changed ─▶ five clients, in another process

Guarantees: the clients are there before the first tick and until the last; each has had updates; every tick is handled
and the sum is exact, before a time counts.
Does not: count what the clients do: times are the engine's process's own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np

from benches.bench import Bench, Row, Work
from benches.handlers import STEP_NS, PerQuote, quotes, saturated
from benches.workload import check
from headrace.control.http import EngineApi, HttpServer
from headrace.control.settings import HttpSettings

CLIENTS = 5
# The array is published so often, each time later: so a round is long enough for many updates.
REPEATS = 12
READER = Path(__file__).with_name("stream_client.py")


class GatedFeed:
    """Quotes of one array, ``repeats`` times, from when ``gate`` is set; live, so that the engine is ready before.

    It ends when ``looked`` is set: an engine whose feeds have ended closes its streams. published : ticks so far.
    """

    name = "gated"
    venue = None
    is_live = True

    def __init__(self, ticks: np.ndarray, repeats: int = REPEATS) -> None:
        self._ticks = ticks
        self._repeats = repeats
        self.gate = asyncio.Event()
        self.looked = asyncio.Event()
        self.published = 0

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        await self.gate.wait()
        for number in range(self._repeats):
            if self.looked.is_set():
                return
            block = self._ticks.copy()
            for name in ("ts_init", "ts_event"):
                block[name] += number * len(block) * STEP_NS
            block["venue_seq"] += number * len(block)
            self.published += len(block)
            yield block
        await self.looked.wait()


def session(count: int, clients: int | None, taken_s: list[float]) -> Iterator[Work]:
    """Run an engine over ``count * REPEATS`` quotes. clients : None: nothing is served.

    taken_s : gets the processor time from the first tick to the last.
    """
    strategy, feed = PerQuote(), GatedFeed(quotes(count))
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        engine = saturated(feed, strategy, folder)
        api = EngineApi(engine) if clients is not None else None
        server = None if api is None else HttpServer(api, HttpSettings(listen="127.0.0.1:0"), folder=folder)
        if server is not None:
            engine.services.add(server)

        async def work() -> None:
            async with engine:
                readers = None
                if clients and api is not None and server is not None:
                    port = server.url.rpartition(":")[2]
                    token_file = str(Path(folder) / "http.token")
                    arguments = (str(READER), port, token_file, str(clients))
                    readers = await asyncio.create_subprocess_exec(sys.executable, *arguments)
                    while api.stream.clients < clients:  # noqa: ASYNC110 - nothing tells of a client
                        await asyncio.sleep(0.01)
                began_s = time.process_time()
                feed.gate.set()
                while strategy.count < count * REPEATS and not engine.is_stopping:  # noqa: ASYNC110 - nor of a tick
                    await asyncio.sleep(0.01)
                taken_s.append(time.process_time() - began_s)
                if api is not None and clients:
                    assert api.stream.clients == clients
                    assert api.stream.metrics()["events"] >= clients
                feed.looked.set()
            if readers is not None:
                assert await readers.wait() == 0

        yield lambda: runner.run(work())
    check([strategy], count * REPEATS)


def measured(bench: Bench, clients: int | None) -> None:
    """Run one session, and note what a tick took; the server's start and end are not in it."""
    count, taken_s = bench.size.calls, list[float]()
    bench.items(count * REPEATS)(session, count, clients, taken_s)
    bench.note("ns_per_tick", taken_s[0] / (count * REPEATS) * 1e9)


class TestStream:
    """Five clients."""

    rows = (
        Row(
            *("25", "ticks with the stream and 5 clients", "five_clients", "without"),
            at_least=0.97,
            figure="ns_per_tick",
            unit="ns",
        ),
        Row(
            *("25", "ticks with the API served, no client", "served", "without"),
            at_least=0.97,
            figure="ns_per_tick",
            unit="ns",
        ),
    )

    def test_without(self, bench: Bench) -> None:
        measured(bench, None)

    def test_served(self, bench: Bench) -> None:
        measured(bench, 0)

    def test_five_clients(self, bench: Bench) -> None:
        measured(bench, CLIENTS)
