"""Rows 1r, 1 and 2: ``on_quote(bid_price, ask_price)``, the singular handler."""

from __future__ import annotations

from collections.abc import Iterator

import headrace
from benches.baselines.across_threads import deque_event, queue_queue
from benches.baselines.asyncio_event_bus import asyncio_event_bus
from benches.baselines.asyncio_queue import asyncio_queue
from benches.baselines.bare_loop import bare_loop
from benches.bench import Bench, Row, Work, peer, wall
from benches.handlers import PerQuote, own_times
from benches.through_ring import through_ring
from benches.workload import check, instrument_names


def replayed(count: int) -> Iterator[Work]:
    """Replay quotes a microsecond apart; set-up and report are part of the work."""
    ticks, strategy = own_times(count), PerQuote()
    yield lambda: headrace.replay(ticks, strategy, instruments=instrument_names())
    check([strategy], count)


class TestOwnTimes:
    """Each quote has a receive time of its own, as in a user's data."""

    rows = (
        Row("1r", "on_quote(bid_price, ask_price), a time each", "headrace", "bare_loop", at_least=0.68),
        Row("1r", "the same, against csp", "headrace", "csp", at_least=1.2),
        Row("", "nautilus_trader, the same quotes and handler", "nautilus_trader", "bare_loop"),
        Row("", "csp, the same quotes and handler", "csp", "bare_loop"),
    )

    def test_headrace(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(replayed, bench.size.calls)

    def test_bare_loop(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(bare_loop, bench.size.calls)

    @peer("csp")
    def test_csp(self, bench: Bench) -> None:
        from benches.peers.csp_graph import one_node

        bench.items(bench.size.calls)(one_node, bench.size.calls)

    @peer("nautilus_trader")
    def test_nautilus_trader(self, bench: Bench) -> None:
        from benches.peers.nautilus_backtest import backtest

        count = bench.size.calls // 4
        bench.items(count)(backtest, count)


class TestSharedTimes:
    """1,024 quotes have one receive time: nothing is due between two of them."""

    rows = (
        Row("1", "on_quote(bid_price, ask_price), 1,024 at a time", "headrace", "bare_loop", at_least=0.90),
        Row("", "asyncio.Queue, 1 strategy", "asyncio_queue", "bare_loop"),
        Row("", "asyncio event bus, 1 strategy", "asyncio_event_bus", "bare_loop"),
    )

    def test_headrace(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(through_ring, PerQuote, bench.size.calls)

    def test_bare_loop(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(bare_loop, bench.size.calls)

    def test_asyncio_queue(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(asyncio_queue, bench.size.calls // 8)

    def test_asyncio_event_bus(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(asyncio_event_bus, bench.size.calls // 8)


class TestSixteenStrategies:
    """Each quote goes to sixteen."""

    rows = (
        Row("2", "on_quote(bid_price, ask_price), 16 strategies", "headrace", "bare_loop_over_16", at_least=0.90),
        Row("", "asyncio.Queue, 16 strategies", "asyncio_queue", "bare_loop_over_16"),
        Row("", "asyncio event bus, 16 strategies", "asyncio_event_bus", "bare_loop_over_16"),
    )

    def test_headrace(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 16)(through_ring, PerQuote, bench.size.calls // 16, 16)

    def test_bare_loop_over_16(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 16)(bare_loop, bench.size.calls // 16, 16)

    def test_asyncio_queue(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 64)(asyncio_queue, bench.size.calls // 64, 16)

    def test_asyncio_event_bus(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 64)(asyncio_event_bus, bench.size.calls // 64, 16)


@wall
class TestAcrossThreads:
    """What people use to hand ticks to another thread; our inline subscriptions need none."""

    rows = (
        Row("", "queue.Queue across threads", "queue", "bare_loop"),
        Row("", "deque + Event across threads", "deque", "bare_loop"),
    )

    def test_bare_loop(self, bench: Bench) -> None:
        bench.items(bench.size.calls)(bare_loop, bench.size.calls)

    def test_queue(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(queue_queue, bench.size.calls // 8)

    def test_deque(self, bench: Bench) -> None:
        bench.items(bench.size.calls // 8)(deque_event, bench.size.calls // 8)
