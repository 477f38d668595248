"""Row 25: 2,000 hostile requests, as fast as they are answered, while ticks saturate the core.

    ticks, as fast as they are handled ─▶ an attack, from its first request to its last answer ─▶ as long without ─▶ …

Every kind has its share of the 2,000: wrong host, origin and token, malformed, huge heads and bodies, pipelined, a
replayed key with another body, slow, gone in the middle; 48 at once, from another process, over a connection each. The
rounds of a run make 2,000 together. What is compared are ticks in a second of the engine process's own time: clients
have another core in a real deployment, and share the engine's here. The same on the wall stands beside it.

Guarantees: each attack has had its answer, or was cut off; every tick is handled and the sum is exact, before a time
counts. The span without an attack is of the same run, and as long.
Does not: hide that the attackers wait: how many requests a second were answered is a row.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benches.bench import Bench, Row, Work
from benches.handlers import PerQuote, quotes, saturated
from benches.test_stream import GatedFeed
from benches.workload import check
from headrace.control.http import EngineApi, HttpServer
from headrace.control.settings import HttpSettings
from tests.support.memory import rss_bytes

ATTACKERS = Path(__file__).parent.parent / "tests/support/hostile_clients.py"
REQUESTS = 2_000
# So many kinds of attacks there are; a round makes each as often as the others.
KINDS = 11
# So many attacks of a round, each beside as long without: a machine drifts.
PARTS = 4
# The array is published at most so often, each time later.
REPEATS = 1_000_000


class Span(NamedTuple):
    """What happened in a time, or until one. own_s : the processor's time of the engine's process."""

    ticks: float = 0
    own_s: float = 0
    wall_s: float = 0
    requests: float = 0
    rss_bytes: float = 0

    def plus(self, other: Span, sign: int = 1) -> Span:
        """Add another one, or take it off."""
        return Span(*(own + sign * more for own, more in zip(self, other, strict=True)))


def session(count: int, parts: int, attacks: int, spans: list[Span]) -> Iterator[Work]:
    """Run a served engine through some attacks, each followed by as long without. spans : gets both, added up."""
    strategy, feed = PerQuote(), GatedFeed(quotes(count), REPEATS)
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        engine = saturated(feed, strategy, folder)
        server = HttpServer(EngineApi(engine), HttpSettings(listen="127.0.0.1:0"), folder=folder)
        engine.services.add(server)

        def now() -> Span:
            requests = server.metrics()["requests"]
            return Span(strategy.count, time.process_time(), time.perf_counter(), requests, rss_bytes())

        async def until(is_over: Callable[[], bool]) -> Span:
            while not is_over():
                assert not engine.is_stopping
                await asyncio.sleep(0.01)
            return now()

        async def part() -> tuple[Span, Span]:
            before = server.metrics()["requests"]
            attackers = await started(server, Path(folder), attacks)
            begun = await until(lambda: server.metrics()["requests"] > before)
            assert await attackers.wait() == 0
            over = now()
            end = await until(lambda: time.process_time() - over.own_s >= over.own_s - begun.own_s)
            return over.plus(begun, -1), end.plus(over, -1)

        async def work() -> None:
            async with engine:
                feed.gate.set()
                await until(lambda: strategy.count >= count)
                attacked, quiet = Span(), Span()
                for _ in range(parts):
                    first, second = await part()
                    attacked, quiet = attacked.plus(first), quiet.plus(second)
                spans.extend((attacked, quiet))
                feed.looked.set()
                await until(lambda: strategy.count == feed.published)

        yield lambda: runner.run(work())
        assert server.metrics()["failed"] == 0
    check([strategy], feed.published)


async def started(server: HttpServer, folder: Path, attacks: int) -> asyncio.subprocess.Process:
    """Start the attackers."""
    port, token = server.url.rpartition(":")[2], (folder / "http.token").read_text().strip()
    arguments = (str(ATTACKERS), port, token, str(attacks), "0")
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL)


class TestHostileClients:
    """Attackers in a process of their own."""

    rows = (
        Row("25", "ticks meanwhile, by the process's time", "attacked", at_least=0.97, unit="×", figure="kept"),
        Row("25", "the same on the wall", "attacked", unit="×", figure="kept_on_the_wall"),
        Row("25", "hostile requests a second meanwhile", "attacked", unit="/s", figure="requests_per_s"),
        Row("25", "memory grown meanwhile", "attacked", at_most=8.0, unit="MiB", figure="grown_mib"),
    )

    def test_attacked(self, bench: Bench) -> None:
        spans: list[Span] = []
        is_small = bench.size.rounds == 1
        parts = 1 if is_small else PARTS
        attacks = KINDS * (1 if is_small else -(-REQUESTS // (KINDS * bench.size.rounds * parts)))
        bench(session, bench.size.calls, parts, attacks, spans)
        attacked, quiet = spans
        bench.note("kept", attacked.ticks / attacked.own_s / (quiet.ticks / quiet.own_s))
        bench.note("kept_on_the_wall", attacked.ticks / attacked.wall_s / (quiet.ticks / quiet.wall_s))
        bench.note("requests_per_s", attacked.requests / attacked.wall_s)
        bench.note("grown_mib", attacked.rss_bytes / 2**20)
