"""Row 24: GET /v1/status 200 times a second while ticks saturate the core.

    ticks, as fast as they are handled      another process, every 5 ms: request ─▶ guard, status document ─▶ answer

Guarantees: every answer is a 200, every tick is handled and the sum is exact, before a time counts.
Does not: measure TLS, or many connections. The ticks' time is the engine process's own; an answer's is on the wall.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benches.bench import Bench, Row, Work
from benches.handlers import PerQuote, quotes, saturated
from benches.workload import check
from headrace.control.http import EngineApi, HttpServer
from headrace.control.settings import HttpSettings

ASKER = Path(__file__).parent / "http_asker.py"
REQUESTS_PER_S = 200


def session(count: int, durations_ms: list[float], *, with_requests: bool) -> Iterator[Work]:
    """Run an engine over ``count`` quotes, with its control API, asked or not."""
    strategy = PerQuote()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        engine = saturated(quotes(count), strategy, folder)
        server = HttpServer(EngineApi(engine), HttpSettings(listen="127.0.0.1:0"), folder=folder)
        engine.services.add(server)

        async def work() -> None:
            async with engine:
                asker = start(server, Path(folder)) if with_requests else None
                while strategy.count < count and not engine.is_stopping:  # noqa: ASYNC110 - nothing signals it
                    await asyncio.sleep(0.002)
                if asker is not None:
                    told, _ = await asyncio.to_thread(asker.communicate)
                    assert asker.returncode == 0
                    durations_ms.extend(json.loads(told))
                    assert durations_ms, "the session was over before the first answer"

        yield lambda: runner.run(work())
    check([strategy], count)


def start(server: HttpServer, folder: Path) -> subprocess.Popen[bytes]:
    """Start the other process."""
    port, token = server.url.rpartition(":")[2], (folder / "http.token").read_text().strip()
    arguments = (sys.executable, ASKER, port, token, str(REQUESTS_PER_S))
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def measured(bench: Bench, *, with_requests: bool) -> None:
    """Run one session, and note how long the answers took."""
    durations_ms: list[float] = []
    count = 16 * bench.size.calls
    bench.items(count)(session, count, durations_ms, with_requests=with_requests)
    if durations_ms:
        bench.note("p50_ms", statistics.median(durations_ms))
        bench.note("p99_ms", sorted(durations_ms)[int(0.99 * (len(durations_ms) - 1))])


class TestControlApi:
    """A client that asks 200 times a second."""

    rows = (
        Row("24", "ticks with 200 requests/s of GET status", "asked", "alone", at_least=0.9),
        Row("24", "GET status while ticks saturate, p99", "asked", at_most=20.0, unit="ms", figure="p99_ms"),
    )

    def test_alone(self, bench: Bench) -> None:
        measured(bench, with_requests=False)

    def test_asked(self, bench: Bench) -> None:
        measured(bench, with_requests=True)
