"""LiveSource: the way of one live feed's items onto the ring, whether it pushes them or is asked for them.

::

    async for item in feed ─┐
    push(item) ─────────────┴▶ pump ─▶ ring ─▶ a turn at once          no room: it waits, and is tried again each ms

What happens when something fails
    What the feed raises, or what a push finds wrong, ends the feed; a push after that changes nothing. A push from
    another thread is refused there, and ends the feed, too: handlers run on the loop's own thread.

What happens when the feed is over
    What waits goes onto the ring, and behind it a status DOWN, FEED_ENDED of each instrument that the feed has had: its
    books are STALE from there on. Not when the run ends: then nothing is wrong with the feed.

Guarantees: items go onto the ring in their order, however long the first of them waits; nothing is lost; a frame is
handled before ``push`` returns, unless another reader holds the ring. At most 10,000 items wait: a feed that can
pause does.
Does not: wait inside of ``push``, or pace and merge.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

import headrace._native as _native
from headrace._native import PumpStatus
from headrace.errors import FeedError, SourceOrderError
from headrace.feeds.base import AnyFeed, Feed, Frame, PushFeed
from headrace.feeds.naming import NamedFeed
from headrace.feeds.stream_status import end_items
from headrace.limits import FEED_WAITING_MAX
from headrace.market.clock import END_OF_TIME_NS
from headrace.market.tick import NO_INSTRUMENT
from headrace.market.times import YEAR_2000_NS, YEAR_2200_NS
from headrace.market.user_waits import begun, ended, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.engine.loop import LiveDriver
    from headrace.feeds.base import FeedItem, PushTracer
    from headrace.feeds.items import Items
    from headrace.market.clock import Clock

__all__ = ["END", "HELD_S", "INGEST_TICKS", "LiveSource"]

# How soon a feed is tried again that a blocking reader held up.
HELD_S = 0.001
# A value that no feed can yield by mistake, as it could None.
END: Any = object()
# Ticks that are published before other parts have a turn.
INGEST_TICKS = 1_024

# Bound once: on Python 3.11 an enum's attribute costs 0.4 us, which each frame would pay.
NEED, FULL, HELD = PumpStatus.NEED, PumpStatus.FULL, PumpStatus.HELD


class LiveSource:
    """One live feed. Made and used in one event loop.

    driver : has the turns that dispatch each item. clock : of the run, by which the feed's end is stamped.
    items : checks them. record : writes an item into the feed's recording.
    tracer : traces a part of what is pushed.
    """

    def __init__(
        self,
        feed: AnyFeed,
        dispatcher: Dispatcher,
        driver: LiveDriver,
        items: Items,
        *,
        clock: Clock,
        record: Callable[[FeedItem], None] | None = None,
        tracer: PushTracer | None = None,
    ) -> None:
        self.feed = feed
        self._tracer = tracer
        # Items until the one that is traced. A count that begins at 0 or below never comes to 0.
        self._untraced = 0 if tracer is None else tracer.every
        self._clock = clock
        self._driver = driver
        self._dispatcher = dispatcher
        self._items = items
        self._frame_type = None if feed.venue is None else Frame
        self._record = record
        # Those that its ticks had, by the engine's ids: at its end nothing comes of them any more.
        self._instrument_ids: set[int] = set()
        self.pump = dispatcher.open_pump()
        with NamedFeed(feed, "venue"):
            # Once: a feed that has another one later brings what it brought.
            self._venue = feed.venue
            self._decoder = None if self._venue is None else _native.Decoder(self._venue, dispatcher.instruments)
        # The one in use: a feed's end has one of its own.
        self._pump = self.pump
        self._source = self.pump.add_source(feed.name, self._decoder)
        # What a push raised that is no fault of the feed: a strategy's, or a recording's.
        self.error_of_engine: Exception | None = None
        # Behind what the pump has in hand.
        self._waiting: deque[FeedItem] = deque()
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._is_over = False
        # Done when the pump has nothing in hand any more; None while it has nothing.
        self._free: asyncio.Future[None] | None = None
        self._failed: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> None:
        """Take what the feed has until it ends, and publish its end.

        Raises what the feed raised, FeedError and SourceOrderError.
        """
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._run_feed()
        finally:
            if not task.cancelling() and self.error_of_engine is None:
                await self._publish_end()

    async def _run_feed(self) -> None:
        feed = self.feed
        is_pushing = isinstance(feed, PushFeed)
        named = NamedFeed(feed, "run" if is_pushing else "__anext__")
        bringing = begun(self._pushed() if is_pushing else self._pulled())
        both: list[asyncio.Future[Any]] = [bringing, self._failed]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if bringing.done():
                # It failed before it was cancelled, which is the one of the two that is told.
                with named:
                    result_of(bringing)
            raise
        finally:
            await ended({bringing: named.where})
            # One that was left behind can bring nothing more.
            self._is_over = True
        if not self._failed.done():
            with named:
                result_of(bringing)
        await self._until_free()

    async def _pushed(self) -> None:
        assert isinstance(self.feed, PushFeed)
        await self.feed.run(self.push)

    async def _pulled(self) -> None:
        assert isinstance(self.feed, Feed)
        async for item in self.feed:
            if not self.push(item):
                if self._is_over:
                    return
                await self._until_free()

    def push(self, item: FeedItem) -> bool:
        """Publish an item and have it handled; False: it waits, and a feed that can had better pause.

        Called on the loop's own thread. What goes wrong ends the feed, and is not raised here, but in another thread.
        """
        if get_ident() != self._thread:
            raise self._failed_in_thread()
        if self._is_over:
            return False
        self._untraced -= 1
        if not self._untraced:
            return self._push_traced(item)
        try:
            # A call for each frame would be 0.2 us; almost all of them are as they should be.
            if (
                type(item) is not self._frame_type
                or type(item[0]) is not int
                or type(item[1]) is not bytes
                or not YEAR_2000_NS <= item[0] < YEAR_2200_NS
            ):
                item = self._items.checked(item)
                if isinstance(item, np.ndarray):
                    self._note_instruments(item["instrument"])
            if self._record is not None:
                self._record(item)
            if self._free is not None:
                self._refuse_endless()
                # A feed may use its array again.
                self._waiting.append(item.copy() if isinstance(item, np.ndarray) else item)
                return False
            again_s = self._publish(item)
        except Exception as error:  # noqa: BLE001 - raised by run(), which a feed's callback cannot
            self._fail(error)
            return False
        if again_s is None:
            return True
        self._free = self._loop.create_future()
        self._loop.call_later(again_s, self._go_on)
        return False

    def _push_traced(self, item: FeedItem) -> bool:
        assert self._tracer is not None
        # One more: ``push`` counts this item again.
        self._untraced = self._tracer.every + 1
        with self._tracer.batch(self.feed.name, lambda: self._dispatcher.ring.cursor):
            return self.push(item)

    def _note_instruments(self, ids: np.ndarray) -> None:
        if len(ids):
            # Mostly there is only one, which needs no sorting.
            first = int(ids[0])
            self._instrument_ids.update([first] if (ids == first).all() else np.unique(ids).tolist())
            self._instrument_ids.discard(NO_INSTRUMENT)

    def _failed_in_thread(self) -> FeedError:
        name = self.feed.name
        msg = (
            f"feed {name} called push() in another thread, where handlers cannot run: call "
            f"loop.call_soon_threadsafe(push, item) with the loop of run(), asyncio.get_running_loop()"
        )
        error = FeedError(msg, feed=name)
        with suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._fail, error)
        return error

    def _refuse_endless(self) -> None:
        if len(self._waiting) >= FEED_WAITING_MAX:
            name = self.feed.name
            msg = f"feed {name} pushed {FEED_WAITING_MAX:,} items while the ring is held: pause when push() is False"
            raise FeedError(msg, feed=name)

    def _publish(self, item: FeedItem) -> float | None:
        """Give an item to the pump; return in how many s to go on with it, None when the pump has nothing in hand."""
        if not isinstance(item, Frame):
            self._pump.push(self._source, item)
            again_s = self._ingest()
            self._driver.run_now()
            return again_s
        status = self._driver.take_frame(self._pump, self._source, item)
        if status is NEED:
            return None
        if status is FULL:
            self._waiting.appendleft(item)
            return HELD_S
        if status is PumpStatus.REJECTED:
            self._dispatcher.keep_rejects(self._pump)
        return HELD_S if status is HELD else None

    def _ingest(self) -> float | None:
        status, _ = self._pump.ingest(END_OF_TIME_NS, INGEST_TICKS)
        self._dispatcher.keep_rejects(self._pump)
        if status is FULL:
            return 0.0
        return HELD_S if status is HELD else None

    async def _publish_end(self) -> None:
        """Publish what waits, and that nothing comes any more of the instruments that the feed has had."""
        await self._free_again()
        try:
            # A pump whose last item was refused takes no other; and this is nothing that the feed brought.
            self._pump = self._dispatcher.open_pump()
            self._source = self._pump.add_source(self.feed.name, self._decoder)
            ids = self._instrument_ids if self._decoder is None else self._decoder.instrument_ids()
            ts_init = max(self._clock.now_ns(), self.pump.last_ts or 0)
            for item in end_items(sorted(ids), self._dispatcher.instruments, self._venue, ts_init):
                if self._record is not None:
                    self._record(item)
                self._waiting.append(item)
        except Exception as error:  # noqa: BLE001 - raised by FeedEnds
            self.error_of_engine = error
            return
        self._free = self._loop.create_future()
        self._go_on()
        await self._free_again()

    async def _free_again(self) -> None:
        if self._free is not None:
            # Not the future itself, which a cancellation of this wait would cancel.
            await asyncio.wait({self._free})

    def _go_on(self) -> None:
        """Publish more of what the pump has in hand, then of what waits."""
        assert self._free is not None
        try:
            again_s = self._ingest()
            if again_s is None and self._waiting:
                again_s = self._publish(self._waiting.popleft()) or 0.0
        except Exception as error:  # noqa: BLE001 - raised by run()
            self._fail(error)
            # What was wrong is at its place in the order: nothing behind it is published.
            self._waiting.clear()
            again_s = None
        self._driver.run_now()
        if again_s is None:
            self._free.set_result(None)
            self._free = None
        else:
            self._loop.call_later(again_s, self._go_on)

    async def _until_free(self) -> None:
        if self._free is not None:
            await asyncio.wait({self._free, self._failed}, return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            self._failed.result()

    def _fail(self, error: Exception) -> None:
        self._is_over = True
        if self.error_of_engine is None and not isinstance(error, FeedError | SourceOrderError):
            self.error_of_engine = error
        if not self._failed.done():
            self._failed.set_exception(error)
            # Seen, also when nothing waits for it any more.
            self._failed.exception()
