"""Books over the simulated venue's real sockets: never one that differs from a quote of its id, and healed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace import Book, Engine, Strategy
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support.venue_client import market

pytestmark = pytest.mark.asyncio

DEPTH = "*@depth*"


class Comparing(Strategy):
    """Compares each book with the quote of the same id."""

    def __init__(self) -> None:
        self.quotes: dict[int, tuple[float, ...]] = {}
        self.equal, self.unequal = 0, 0
        self.states: list[tuple[str, str]] = []
        self.books = 0

    def on_quote(self, venue_seq: int, bid_price: float, ask_price: float, bid_size: float, ask_size: float) -> None:
        self.quotes[venue_seq] = (bid_price, ask_price, bid_size, ask_size)

    def on_book(
        self, update_id: int, bid_price: float, ask_price: float, bid_size: float, ask_size: float, book: Book
    ) -> None:
        self.books += 1
        assert book.state == "LIVE"
        if (quote := self.quotes.get(update_id)) is not None:
            same = quote == (bid_price, ask_price, bid_size, ask_size)
            self.equal, self.unequal = self.equal + same, self.unequal + (not same)

    def on_status(self, stream: str | None, state: str, reason: str) -> None:
        if stream == "depth" and state in ("SYNCING", "LIVE", "STALE"):
            self.states.append((state, reason))


async def run_until(venue: SimulatedVenue, strategy: Comparing, condition: Any, name: str = "BINANCE") -> Any:
    addresses = venue.addresses[name]
    symbols = [own.partition(".")[0] for own in venue.instruments]
    feed = BinanceFeed(name, symbols, url=addresses["ws"], rest_url=addresses["rest"], quiet_s=1.0)
    engine = Engine(feeds=[feed], strategies=[strategy])
    run = asyncio.create_task(engine.run_async())
    try:
        async with asyncio.timeout(25):
            while not condition() and not run.done():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
    finally:
        engine.stop("enough")
    return await run


@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_USDM", "BINANCE_COINM"])
async def test_a_book_becomes_live_and_equals_every_quote(name: str) -> None:
    strategy = Comparing()
    async with SimulatedVenue(market(6_000, venue=name), speed=4) as venue:
        await run_until(venue, strategy, lambda: strategy.equal >= 20, name)
    assert strategy.unequal == 0
    assert strategy.states[0] == ("LIVE", "IN_SYNC")


FAULTS = {
    "drop": [Fault(kind="drop", stream=DEPTH, at_frame=200, frames=3)],
    "reorder": [Fault(kind="reorder", stream=DEPTH, at_frame=200)],
    "duplicate": [Fault(kind="duplicate", stream=DEPTH, at_frame=200, frames=5)],
    "corrupt": [Fault(kind="corrupt", stream=DEPTH, at_frame=200)],
    "cut": [Fault(kind="cut", at_frame=5_000)],
    "restart": [Fault(kind="restart", at_frame=5_000, for_s=0.4)],
    "stale snapshot": [Fault(kind="stale_snapshot", at_s=0.0, for_s=1.0)],
    "late snapshot": [Fault(kind="late_snapshot", at_s=0.0, for_s=1.0)],
}


# Why the book is STALE meanwhile.
BREAKS = {
    **dict.fromkeys(("drop", "reorder", "corrupt"), "EVENTS_MISSING"),
    **dict.fromkeys(("cut", "restart"), "DISCONNECTED"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_a_fault_a_book_is_live_again_and_never_wrong(fault: str) -> None:
    strategy = Comparing()
    async with SimulatedVenue(market(30_000), speed=8, faults=FAULTS[fault]) as venue:
        # Comparisons when the book was LIVE behind the fault.
        healed_at: list[int] = []

        def is_healed() -> bool:
            has_happened = venue.stats().faults and (fault not in BREAKS or ("STALE", BREAKS[fault]) in strategy.states)
            if not has_happened or strategy.states[-1:] != [("LIVE", "IN_SYNC")]:
                healed_at.clear()
                return False
            healed_at.extend([strategy.equal] if not healed_at else [])
            return strategy.equal >= healed_at[0] + 10

        await run_until(venue, strategy, is_healed)
    if fault not in BREAKS:
        assert strategy.states == [("LIVE", "IN_SYNC")]
    assert strategy.unequal == 0
    assert healed_at, strategy.states
    assert strategy.equal >= healed_at[0] + 10
