"""A live feed that is over says so of its instruments behind its ticks, and their books are STALE from there on.

With ``on_feed_end="continue"`` the book of a dead feed stayed LIVE, and orders went out on prices that nothing changed
any more; what waited behind a held ring was lost when the feed failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from headrace import Book, Engine, Strategy, replay, ticks
from headrace.feeds import Frame
from headrace.market.events import OrderRejected
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.field.test_feed_ends import BAD, Acts, Pushing, controls, returns
from tests.support.engines import INSTRUMENTS, LIMITS, START, HandFeed, all_events, market, until
from tests.support.feeding import BTC, ETH, HandClock
from tests.support.frames import Row, depth, encoded, quote, snapshot, trade

pytestmark = pytest.mark.asyncio

IN_SYNC = [snapshot(4, [(9.0, 1.0)], [(10.0, 1.0)]), depth(5, 5), trade(1, symbol="ETHUSDT")]
ENDED = [
    (BTC, None, "DOWN", "FEED_ENDED", 0),
    (BTC, "depth", "STALE", "FEED_ENDED", 0),
    (ETH, None, "DOWN", "FEED_ENDED", 0),
]


class Venue(Acts):
    """A feed of frames that has a book in sync, and then does what a test says."""

    name, venue = "acts", "BINANCE"

    def __init__(self, act: Any, frames: list[Row] | None = None) -> None:
        super().__init__(act)
        self.frames = IN_SYNC if frames is None else frames
        self.requests: list[str] = []
        self.instruments = [BTC]

    def request_snapshot(self, instrument: str, *, urgency: int = 0) -> None:
        self.requests.append(instrument)

    async def __aiter__(self) -> AsyncIterator[Any]:
        for number, frame in enumerate(self.frames):
            yield Frame(START + number, encoded(frame))
        await self._act()


class PushingVenue(Venue):
    __aiter__ = None  # type: ignore[assignment]

    async def run(self, push: Any) -> None:
        for number, frame in enumerate(self.frames):
            push(Frame(START + number, encoded(frame)))
        await self._act()


class Watching(Strategy):
    """Keeps each state, and what its book said when it came."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.states: list[str] = []

    def on_book(self, book: Book) -> None:
        self.states.append(book.state)

    def on_status(self, instrument: str, stream: str | None, state: str, reason: str, epoch: int) -> None:
        self.said.append((instrument, stream, state, reason, epoch))


def in_sync_and(*rest: Any) -> list[Any]:
    return [(BTC, "depth", "LIVE", "IN_SYNC", 0), *rest]


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may be halted by, or leave, a latch of this machine."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


@pytest.mark.parametrize("kind", [Venue, PushingVenue])
@pytest.mark.parametrize("act", [returns, *BAD])
@pytest.mark.parametrize("on_feed_end", ["stop", "continue"])
async def test_book_of_a_dead_feed_is_stale(kind: Any, act: Any, on_feed_end: Any) -> None:
    hand, strategy = HandFeed(), Watching()
    engine = Engine(feeds=[hand, kind(act)], strategies=[strategy], instruments=INSTRUMENTS, on_feed_end=on_feed_end)
    events = all_events(engine)
    if on_feed_end == "stop":
        await asyncio.gather(engine.run_async(), return_exceptions=True)
    else:
        async with engine:
            await until(lambda: bool(controls(events)))
            assert strategy.said == in_sync_and(*ENDED), "before the event that says so"
            hand.end()
            await until(lambda: engine.is_stopping)
    assert strategy.said == in_sync_and(*ENDED)
    assert strategy.states == ["LIVE"]


@pytest.mark.parametrize("kind", [Acts, Pushing])
async def test_ticks_of_a_dead_feed_end_with_a_status_each(kind: Any) -> None:
    own = market([5.0], instrument=ETH)

    class Both(kind):  # type: ignore[misc]
        async def run(self, push: Any) -> None:
            push(own)
            await super().run(push)

        if kind is Acts:
            run = None  # type: ignore[assignment]

            async def __aiter__(self) -> AsyncIterator[Any]:
                yield own
                async for item in super().__aiter__():
                    yield item

    hand, strategy = HandFeed(), Watching()
    hand.put(ticks(instrument="SOLUSDT.BINANCE", ts_init=[START], price=1.0))
    names: list[Any] = [*INSTRUMENTS, "SOLUSDT.BINANCE"]
    engine = Engine(feeds=[hand, Both(BAD[0])], strategies=[strategy], instruments=names, on_feed_end="continue")
    async with engine:
        await until(lambda: len(strategy.said) == 2)
        await asyncio.sleep(0.01)
        assert strategy.said == [(name, None, "DOWN", "FEED_ENDED", 0) for name in (BTC, ETH)]
        hand.end()
        await until(lambda: engine.is_stopping)
    assert strategy.said[2:] == [("SOLUSDT.BINANCE", None, "DOWN", "FEED_ENDED", 0)]


async def test_end_of_the_run_is_no_end_of_a_feed() -> None:
    strategy = Watching()
    feeds = [Venue(asyncio.Event().wait), HandFeed()]
    async with Engine(feeds=feeds, strategies=[strategy], instruments=INSTRUMENTS):
        await until(lambda: bool(strategy.states))
    assert strategy.said == in_sync_and()


@pytest.mark.parametrize("wrong", [None, market([1.0], start_ns=START - 1)])
async def test_what_waits_comes_before_the_end_of_a_failed_feed(wrong: Any) -> None:
    seen: list[Any] = []

    class Sees(Strategy):
        def on_quote(self, bid_price: float) -> None:
            seen.append(bid_price)

        def on_status(self, reason: str) -> None:
            seen.append(reason)

    class Fast(Pushing):
        async def run(self, push: Any) -> None:
            # More than are published in one go.
            push(market([1.0] * 3_000))
            push(market([2.0] * 3_000, start_ns=START + 10**12))
            push(wrong)
            push(market([3.0]))
            await asyncio.sleep(3_600)

    engine = Engine(
        feeds=[HandFeed(), Fast(returns)], strategies=[Sees()], instruments=INSTRUMENTS, on_feed_end="continue"
    )
    async with engine:
        await until(lambda: "FEED_ENDED" in seen)
    assert seen == [1.0] * 3_000 + [2.0] * 3_000 + ["FEED_ENDED"]


async def test_orders_on_the_book_of_a_dead_feed_are_refused() -> None:
    class Buys(Watching):
        def on_status(self, instrument: str, stream: str | None, state: str, reason: str, epoch: int) -> None:
            super().on_status(instrument, stream, state, reason, epoch)
            if state in ("LIVE", "STALE"):
                self.buy(BTC, 1, price=9)

    strategy, hand = Buys(), HandFeed()
    feed = Venue(BAD[0], [quote(5), *IN_SYNC])
    engine = Engine(
        feeds=[hand, feed],
        strategies=[strategy],
        instruments=INSTRUMENTS,
        broker=SimulatedBroker(),
        limits=LIMITS,
        clock=HandClock(START),
        on_feed_end="continue",
    )
    events = all_events(engine)
    async with engine:
        await until(lambda: bool(controls(events)))
        hand.end()
        await until(lambda: engine.is_stopping)
    refused = [event for event in events if isinstance(event, OrderRejected)]
    assert [(event.gate, "not in sync" in event.reason) for event in refused] == [("instrument", True)]


async def test_dead_feed_is_asked_for_no_snapshot() -> None:
    hand, living, dead = HandFeed(), Venue(asyncio.Event().wait, []), Venue(returns, [])
    living.name = "lives"
    engine = Engine(
        feeds=[hand, living, dead], strategies=[Watching()], instruments=INSTRUMENTS, on_feed_end="continue"
    )
    events = all_events(engine)
    async with engine:
        await until(lambda: bool(controls(events)))
        # A depth event of a book without a snapshot.
        event: dict[str, Any] = {"price": 1.0, "size": 1.0, "side": 1, "venue_seq": [9], "venue_first": [9]}
        hand.put(ticks(instrument=BTC, ts_init=[START], kind="level", **event))
        await until(lambda: bool(living.requests))
    assert dead.requests == []


@pytest.mark.parametrize("kind", [Venue, Acts])
async def test_recording_and_dispatch_log_repeat_the_end(kind: Any, tmp_path: Path) -> None:
    strategy = Watching()
    engine = Engine(
        feeds=[kind(BAD[0])],
        strategies=[strategy],
        instruments=INSTRUMENTS,
        on_feed_end="continue",
        record=tmp_path / "records",
        dispatch_log=tmp_path / "log",
    )
    await engine.run_async()
    assert strategy.said[-1][2:4] == ("DOWN", "FEED_ENDED")
    (recording,) = (tmp_path / "records").iterdir()
    again, repeated = Watching(), Watching()
    source = recording if kind is Acts else f"{recording}@BINANCE"
    await asyncio.to_thread(replay, source, again, instruments=INSTRUMENTS)
    assert (again.said, again.states) == (strategy.said, strategy.states)
    repeat = Engine(
        feeds=source, strategies=[repeated], instruments=INSTRUMENTS, mode="repeat", dispatch_log=tmp_path / "log"
    )
    report = (await repeat.run_async()).repeated
    assert report is not None
    assert (report.difference, report.same) == ("", True)
    assert (repeated.said, repeated.states) == (strategy.said, strategy.states)


async def test_feed_that_is_of_another_venue_at_its_end_ends_all_the_same() -> None:
    class Turns(Pushing):
        async def run(self, push: Any) -> None:
            await super().run(push)
            self.venue: Any = "BINANCE"

    strategy = Watching()
    await Engine(feeds=Turns(returns), strategies=[strategy], instruments=INSTRUMENTS).run_async()
    assert strategy.said == [(BTC, None, "DOWN", "FEED_ENDED", 0)]


async def test_stop_while_an_end_waits_for_room_is_clean(caplog: pytest.LogCaptureFixture) -> None:
    engine: Any = None

    class Stops(Strategy):
        subscription: ClassVar = {"batch_max": 1}

        def on_quote(self, bid_price: float) -> None:
            if bid_price == 2.0:
                engine.stop()

    class Fast(Pushing):
        async def run(self, push: Any) -> None:
            push(market([1.0] * 3_000))
            push(market([2.0] * 60_000, start_ns=START + 10**12))
            raise ConnectionError

    engine = Engine(feeds=[Fast(returns)], strategies=[Stops()], instruments=INSTRUMENTS, on_feed_end="continue")
    await engine.run_async()
    await asyncio.sleep(0.01)
    assert "InvalidStateError" not in caplog.text
