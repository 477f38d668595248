"""A strategy that matches no tick adds no cost per call, and a closed subscription leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import headrace

if TYPE_CHECKING:
    import numpy as np

BYSTANDERS = 40


class Quotes(headrace.Strategy):
    def __init__(self) -> None:
        self.bids: list[float] = []

    def on_quote(self, bid_price: float) -> None:
        self.bids.append(bid_price)


class Batches(headrace.Strategy):
    def __init__(self) -> None:
        self.bids: list[float] = []

    def on_quotes(self, bid_price: np.ndarray) -> None:
        self.bids.extend(bid_price)


def quotes(count: int) -> np.ndarray:
    return headrace.ticks(
        kind="quote",
        instrument="A.X",
        ts_init=list(range(1, count + 1)),
        bid_price=[float(index) for index in range(count)],
        ask_price=[float(index + 1) for index in range(count)],
        bid_size=[1.0] * count,
        ask_size=[1.0] * count,
    )


def test_a_member_without_a_tick_is_not_attended() -> None:
    with headrace.Dispatcher(instruments=["A.X", "IDLE.X"]) as dispatcher:
        matching: list[Quotes | Batches] = [Quotes(), Batches()]
        for strategy in matching:
            dispatcher.subscribe(strategy, instruments="A.X")
        idle: list[headrace.Strategy] = []
        for _ in range(BYSTANDERS):
            idle += [Quotes(), Batches()]
        for number, idler in enumerate(idle):
            dispatcher.subscribe(idler, instruments="IDLE.X", lag_max_ticks=1_000, every="1s" if number % 2 else None)
        ticks = quotes(3)
        for start in range(len(ticks)):
            dispatcher.publish(ticks[start : start + 1])
            dispatcher.dispatch()
            assert dispatcher._inline.attended == 0
        assert [strategy.bids for strategy in matching] == [[0.0, 1.0, 2.0]] * 2


CYCLES = 10_000
RESIDENT_MIB_MAX = 8


class AsyncQuotes(headrace.Strategy):
    async def on_quote(self, bid_price: float) -> None:
        pass


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / (1 << 20)


def sizes(dispatcher: headrace.Dispatcher) -> list[int]:
    """Return the length of each list and dict that could keep a closed subscription."""
    return [
        dispatcher._inline.members,
        dispatcher._ingest.groups,
        len(dispatcher.subscriptions),
        len(dispatcher._members._closing),
        len(dispatcher._members.names._next),
        len(dispatcher._members.watch.watched),
        len(dispatcher.faults._joined),
    ]


def cycle(dispatcher: headrace.Dispatcher, number: int) -> None:
    name = None if number % 3 else f"own-{number}"
    match number % 4:
        case 0:
            own = dispatcher.subscribe(Quotes(), name=name, on_fault="raise")
        case 1:
            own = dispatcher.subscribe(Batches(), name=name, mode="thread")
        case 2:
            own = dispatcher.subscribe(AsyncQuotes(), name=name)
        case _:
            own = dispatcher.subscribe(name=name)
    own.close()
    own.close()
    assert own.state == "closed"


@pytest.mark.timeout(120)
def test_closed_subscriptions_leave_nothing_behind() -> None:
    async def run() -> None:
        with headrace.Dispatcher(instruments=["A.X"]) as dispatcher:
            kept = dispatcher.subscribe(Quotes(), name="Quotes")
            # Default names: the next free number is remembered while "Quotes" is open.
            for number in range(12):
                cycle(dispatcher, number)
            before, resident = sizes(dispatcher), 0.0
            for number in range(CYCLES):
                cycle(dispatcher, number)
                if number % 100 == 0:
                    await asyncio.sleep(0)
                if number == CYCLES // 5:
                    resident = resident_mib()
            assert sizes(dispatcher) == before
            assert dispatcher.subscriptions == {"Quotes": kept}
            assert resident_mib() - resident < RESIDENT_MIB_MAX

    asyncio.run(run())


def test_the_sum_of_closed_subscriptions_keeps_their_counts() -> None:
    with headrace.Dispatcher(instruments=["A.X"]) as dispatcher:
        first = dispatcher.subscribe(Quotes(), name="one")
        dispatcher.publish(quotes(3))
        dispatcher.dispatch()
        first.close()
        second = dispatcher.subscribe(Batches(), name="one")
        dispatcher.publish(quotes(2))
        dispatcher.dispatch()
        stats = dispatcher.stats()
        assert (stats.closed.delivered, stats.closed.calls) == (3, 3)
        assert stats.subscriptions["one"].delivered == 2
        second.close()
        assert dispatcher.stats().closed.delivered == 5
        assert not dispatcher.stats().subscriptions
    assert (first.stats().delivered, first.stats().published) == (3, 3)


def test_a_subscription_closed_by_a_handler_is_in_the_sums() -> None:
    with headrace.Dispatcher(instruments=["A.X"]) as dispatcher:

        def on_quote() -> None:
            other.close()

        dispatcher.subscribe(on_quote)
        other = dispatcher.subscribe(Batches())
        dispatcher.publish(quotes(2))
        dispatcher.dispatch()
        closed = dispatcher.stats().closed
        assert closed.accounted == closed.published == 2
        assert (closed.skipped, closed.delivered) == (other.stats().skipped, other.stats().delivered)
