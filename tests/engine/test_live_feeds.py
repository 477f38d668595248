"""Live feeds: pushed ticks are handled at once, ticks without room wait in order, and a feed's end ends the engine."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from headrace import Engine, Strategy, replay
from headrace.errors import FeedError, OptionError, SourceOrderError
from headrace.feeds import Frame, Push, PushFeed
from headrace.market.events import Signal
from tests.support.engines import HandFeed, market, until
from tests.support.feeding import BTC

pytestmark = pytest.mark.asyncio
FRAME_NS = 1_700_000_000_000_000_000


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch) -> None:
    """Use a state folder of the test's own, so that no latch of this machine halts it and none is left."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


def quote(number: int, ts_init: int | None = None) -> Frame:
    """The frame of quote ``number``, whose bid is its number."""
    data = b'{"u":%d,"s":"BTCUSDT","b":"%d.0","B":"1","a":"%d.5","A":"1"}' % (number, number, number)
    return Frame(FRAME_NS + number if ts_init is None else ts_init, data)


class Pushing:
    """A feed that runs the test's function with its ``push``."""

    name = "pushing"

    def __init__(self, act: Callable[[Push], Awaitable[None]], venue: str | None = "BINANCE") -> None:
        self.venue = venue
        self.closed = 0
        self._act = act

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.closed += 1

    async def run(self, push: Push) -> None:
        await self._act(push)


class Bids(Strategy):
    """Keeps the bids."""

    def __init__(self) -> None:
        self.bids: list[float] = []

    def on_quote(self, bid_price: float) -> None:
        self.bids.append(bid_price)


async def test_a_pushed_frame_is_handled_before_push_returns() -> None:
    bids, seen = Bids(), []

    async def push_three(push: Push) -> None:
        for number in range(1, 4):
            assert push(quote(number))
            seen.append(list(bids.bids))

    feed = Pushing(push_three)
    assert isinstance(feed, PushFeed)
    report = await Engine(feeds=feed, strategies=[bids]).run_async()
    assert seen == [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0]]
    assert report.ended_by == "feeds ended"
    assert feed.closed


async def test_a_pushed_frames_events_are_handled_before_return() -> None:
    class Signals(Strategy):
        def on_quote(self, bid_price: float) -> None:
            self.signal(BTC, 1, strength=bid_price)

    class Hears(Strategy):
        def __init__(self) -> None:
            self.heard: list[float] = []

        def on_signal(self, signal: Signal) -> None:
            self.heard.append(signal.strength)

    hears, seen = Hears(), []

    async def push_two(push: Push) -> None:
        for number in (1, 2):
            push(quote(number))
            seen.append(list(hears.heard))

    await Engine(feeds=Pushing(push_two), strategies=[Signals(), hears]).run_async()
    assert seen == [[1.0], [1.0, 2.0]]


async def test_blocks_of_lines_and_arrays_can_be_pushed_too() -> None:
    bids = Bids()

    async def push_block(push: Push) -> None:
        push(b"".join(quote(number).as_line() for number in (1, 2)))
        push(quote(3))
        push(quote(4).as_line())

    async def push_array(push: Push) -> None:
        push(market([5.0, 6.0]))

    feeds = [Pushing(push_block)]
    await Engine(feeds=feeds, strategies=[bids]).run_async()
    await Engine(feeds=Pushing(push_array, venue=None), strategies=[bids], instruments=[BTC]).run_async()
    assert bids.bids == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


async def test_a_rejected_frame_is_a_letter_with_feed_and_row() -> None:
    bids = Bids()

    async def push_broken(push: Push) -> None:
        assert push(quote(1))
        assert push(Frame(FRAME_NS + 2, b'{"u":'))
        assert push(quote(3))

    engine = Engine(feeds=Pushing(push_broken), strategies=[bids])
    await engine.run_async()
    (letter,) = engine.dead_letters.list()
    assert (letter.source, letter.row) == ("pushing", 2)
    assert bids.bids == [1.0, 3.0]
    assert sum(engine.dispatcher.stats().rejected.values()) == 1


class Stuck(Bids):
    """Waits in its first quote, in its own thread, until the test releases it."""

    subscription: ClassVar = {"mode": "thread", "overflow": "block"}

    def __init__(self) -> None:
        super().__init__()
        self.may_go = threading.Event()
        self.is_in = threading.Event()

    def on_quote(self, bid_price: float) -> None:
        self.is_in.set()
        self.may_go.wait(10)
        super().on_quote(bid_price)


@pytest.mark.parametrize("as_line", [False, True])
async def test_pushes_wait_in_order_while_the_ring_is_held(as_line: bool) -> None:
    stuck, results = Stuck(), []

    async def push_many(push: Push) -> None:
        for number in range(1, 101):
            frame = quote(number)
            results.append(push(frame.as_line() if as_line else frame))
            await asyncio.sleep(0)
        assert stuck.is_in.wait(5)
        assert False in results
        began_s = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began_s < 5
        stuck.may_go.set()

    await Engine(feeds=Pushing(push_many), strategies=[stuck], ring_capacity=8).run_async()
    assert stuck.bids == [float(number) for number in range(1, 101)]


async def test_frames_that_an_iterator_yields_wait_in_their_order_too() -> None:
    stuck = Stuck()

    class Iterating:
        name, venue, is_live = "iterating", "BINANCE", True

        async def open(self) -> None: ...

        async def close(self) -> None: ...

        async def __aiter__(self) -> Any:
            for number in range(1, 101):
                yield quote(number)

    engine = Engine(feeds=Iterating(), strategies=[stuck], ring_capacity=8)
    async with engine:
        await until(stuck.is_in.is_set)
        stuck.may_go.set()
        await until(lambda: len(stuck.bids) == 100)
    assert stuck.bids == [float(number) for number in range(1, 101)]


async def test_a_time_that_goes_back_ends_the_run_with_its_row() -> None:
    raised: list[BaseException] = []

    async def push_back(push: Push) -> None:
        push(quote(1))
        try:
            assert not push(quote(2, ts_init=FRAME_NS))
            await asyncio.sleep(10)
        except BaseException as error:
            raised.append(error)
            raise

    feed = Pushing(push_back)
    with pytest.raises(SourceOrderError, match=r"pushing, row 2: receive time .* lies before"):
        await Engine(feeds=feed, strategies=[Bids()]).run_async()
    assert isinstance(raised[0], asyncio.CancelledError)
    assert feed.closed


async def test_a_frame_of_a_feed_without_venue_ends_the_run() -> None:
    async def push_one(push: Push) -> None:
        push(quote(1))
        await asyncio.sleep(10)

    with pytest.raises(FeedError, match="pushing yielded a frame and names no venue"):
        await Engine(feeds=Pushing(push_one, venue=None)).run_async()


async def test_a_push_feeds_error_ends_the_run_after_its_ticks() -> None:
    bids = Bids()

    async def fail(push: Push) -> None:
        push(quote(1))
        msg = "the line is dead"
        raise ConnectionError(msg)

    with pytest.raises(ConnectionError, match="the line is dead"):
        await Engine(feeds=Pushing(fail), strategies=[bids]).run_async()
    assert bids.bids == [1.0]


async def test_a_stop_cancels_a_pushing_feed_and_closes_it() -> None:
    ended: list[str] = []

    async def push_for_ever(push: Push) -> None:
        try:
            push(quote(1))
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    feed, bids = Pushing(push_for_ever), Bids()
    engine = Engine(feeds=feed, strategies=[bids])
    async with engine:
        await until(lambda: bool(bids.bids))
    assert ended == ["cancelled"]
    assert feed.closed


async def test_a_replay_refuses_live_feeds_and_says_what_to_do() -> None:
    async def push_nothing(_push: Push) -> None: ...

    for feed in (Pushing(push_nothing), HandFeed()):
        with pytest.raises(OptionError, match=r"is live, and a replay has no now: record it"):
            Engine(feeds=feed, mode="replay")
        with pytest.raises(OptionError, match=r"is live, and a replay has no now: record it"):
            await asyncio.to_thread(replay, feed, Bids())


async def test_a_window_closes_by_the_clock_without_a_later_tick() -> None:
    class Windows(Strategy):
        subscription: ClassVar = {"every": "50ms"}

        def __init__(self) -> None:
            self.windows: list[int] = []

        def on_quotes(self, bid_price: np.ndarray) -> None:
            self.windows.append(len(bid_price))

    windows, feed = Windows(), HandFeed()
    engine = Engine(feeds=feed, strategies=[windows], instruments=[BTC])
    async with engine:
        feed.put(market([1.0, 2.0], every_ns=0, start_ns=time.time_ns()))
        await until(lambda: bool(windows.windows))
        assert not engine.is_stopping
    assert sum(windows.windows) == 2
