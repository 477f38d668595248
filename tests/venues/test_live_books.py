"""Books over the simulated venue's real sockets: never one that differs from a quote of its id, and healed."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest

from headrace import Book, Engine, Flags
from headrace.feeds import SyntheticFeed
from headrace.feeds.base import FeedItem, Frame
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support.comparing import Comparing
from tests.support.engines import until
from tests.support.venue_client import market

pytestmark = pytest.mark.asyncio

DEPTH = "*@depth*"


def feed_of(venue: SimulatedVenue, name: str = "BINANCE", **options: Any) -> BinanceFeed:
    addresses = venue.addresses[name]
    symbols = [own.partition(".")[0] for own in venue.instruments]
    return BinanceFeed(name, symbols, url=addresses["ws"], rest_url=addresses["rest"], quiet_s=1.0, **options)


async def run_until(
    venue: SimulatedVenue, strategy: Comparing, condition: Any, name: str = "BINANCE", **options: Any
) -> Any:
    feed = feed_of(venue, name, **options)
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


class Deep(Comparing):
    """Reads more levels of each book than its snapshot reached."""

    def __init__(self) -> None:
        super().__init__()
        self.qualities: set[str] = set()
        self.levels: list[int] = []
        self.unknown = 0

    def on_book(
        self, update_id: int, bid_price: float, ask_price: float, bid_size: float, ask_size: float, book: Book
    ) -> None:
        super().on_book(update_id, bid_price, ask_price, bid_size, ask_size, book)
        self.qualities.add(book.quality)
        prices, sizes = book.bids(2_000)
        self.levels.append(len(prices))
        # Far below what a snapshot of 20 levels shows, the venue has bids, and the book does not know them.
        assert math.isnan(book.depth_at(bid_price * 0.9)) or not len(prices)
        self.unknown += math.isnan(book.vwap(-1, float(sizes.sum()) * 10))


async def test_beyond_its_snapshot_a_book_knows_nothing_and_refreshes_in_time() -> None:
    strategy = Deep()
    # 3,000 levels on each side; a snapshot returns 20.
    async with SimulatedVenue(SyntheticFeed("BTCUSDT", frames=16_000, levels=3_000), speed=6) as venue:
        requests_before = venue.stats().requests
        await run_until(venue, strategy, lambda: venue.stats().has_ended, snapshot_levels=20)
        requests = venue.stats().requests - requests_before
    assert strategy.unequal == 0
    assert strategy.equal > 20
    assert strategy.states == [("LIVE", "IN_SYNC")], "a refresh loses no event, and is no resync"
    assert max(strategy.levels) < 200
    assert min(strategy.levels) > 0, "it refreshed before the best price came to the end"
    assert "STALE" not in strategy.qualities
    assert strategy.unknown == strategy.books
    assert requests > 3


async def test_200_resyncs_at_once_queue_in_one_budget_the_held_first() -> None:
    symbols = [f"COIN{number}USDT" for number in range(200)]
    # One minute of a second, in which 24 snapshots have room.
    limits = {"weight_max": 600, "minute_s": 1.0}
    feeds = [SyntheticFeed(symbol, frames=8, seed=number) for number, symbol in enumerate(symbols)]
    async with SimulatedVenue(*feeds, limits=limits) as venue:
        for symbol in symbols:
            venue.set_book(f"{symbol}.BINANCE", 1, [("1.0", "1.0")], [("2.0", "1.0")])
        feed = feed_of(venue, streams=("trade",), limits=limits, snapshot_levels=500)
        came: list[str] = []

        def push(frame: FeedItem) -> bool:
            assert isinstance(frame, Frame)
            stream = msgspec.json.decode(frame.data)["stream"]
            came.extend([stream.partition("@")[0]] if stream.endswith("depthSnapshot") else [])
            return True

        await feed.open()
        running = asyncio.ensure_future(feed.run(push))
        held = symbols[150:160]
        for symbol in symbols:
            feed.request_snapshot(f"{symbol}.BINANCE", urgency=int(symbol in held))
        await until(lambda: len(came) == 200, within_s=25.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await feed.close()
        assert feed.rest.failures == 0, "no 429"
    assert sorted(came) == sorted(symbol.lower() for symbol in symbols)
    assert sorted(came[:10]) == sorted(symbol.lower() for symbol in held)


async def test_an_oversize_frame_is_counted_and_the_connection_stays() -> None:
    strategy = Comparing()
    faults = [Fault(kind="oversize", stream="*@trade", at_frame=20)]
    async with SimulatedVenue(market(8_000), speed=8, faults=faults) as venue:
        report = await run_until(venue, strategy, lambda: venue.stats().has_ended)
        assert venue.stats().connected == 1
    assert report.rejected == {"frame_too_long": 1}
    assert strategy.unequal == 0


async def test_late_trades_never_reach_a_book() -> None:
    """What is filled in behind a hole changes neither the books nor the newest trade."""
    newest: list[int] = []

    class Newest(Comparing):
        def on_trade(self, trade_id: int, flags: int) -> None:
            newest.extend([trade_id] if not flags & Flags.LATE else [])

    strategy = Newest()
    faults = [Fault(kind="drop", stream="*@trade", at_frame=30, frames=5)]
    async with SimulatedVenue(market(8_000), speed=8, faults=faults) as venue:
        report = await run_until(venue, strategy, lambda: venue.stats().has_ended)
    assert report.late == 5
    assert newest == sorted(newest)
    assert strategy.unequal == 0
