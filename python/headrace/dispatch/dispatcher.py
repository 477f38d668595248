"""Dispatcher: moves ticks from the ring to handlers.

::

    publish · publish_frame · publish_lines ─▶ Sequencer ─▶ Ring ─┬▶ inline: dispatch(), one reader, tick-major
                                                                 ├▶ mode="thread": a daemon thread each
                                                                 ├▶ async handlers: a task each
                                                                 └▶ no handlers: the caller pulls

When a strategy raises
    The call is counted and kept as a dead letter; ``on_fault="quarantine"`` (live default) ends its calls after 3
    faults within 1,000 calls, ``"raise"`` (replay default) ends the dispatch with the strategy's own exception. Other
    strategies are not affected: every strategy has had the tick before anything is raised.

Guarantees: inline dispatch delivers each tick to every matching strategy in registration order; no lock is held while
handlers run; everything it started ends with ``close``.
Does not: read files or sockets (``feeds``), or run a strategy's life cycle (the Engine does).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

import headrace._native as _native
from headrace.dispatch.books import BookDesk
from headrace.dispatch.dispatcher_options import DispatcherOptions, complete
from headrace.dispatch.dispatcher_stats import DispatcherStats
from headrace.dispatch.faults import FaultDesk, FaultRecord
from headrace.dispatch.joining import bound_handlers
from headrace.dispatch.members import Members
from headrace.dispatch.newest import Newest
from headrace.dispatch.options import SubscribeOptions, SubscriptionOptions
from headrace.dispatch.process_end import open_dispatchers
from headrace.dispatch.signature import BoundHandler, HasHandlers
from headrace.dispatch.subscription import Environment, Subscription
from headrace.errors import ClosedError, ReentrantDispatchError
from headrace.limits import CLOSE_DEADLINE_S
from headrace.market.checks import of_type
from headrace.market.clock import Clock, EngineClock, Mode, ReplayClock, WallClock
from headrace.market.dead_letters import DeadLetter, DeadLetters
from headrace.market.instrument import Instrument
from headrace.market.tick_array import InstrumentIds
from headrace.market.user_waits import bounded_s

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np

__all__ = ["Dispatcher"]

log = logging.getLogger(__name__)


class Dispatcher:
    """Ring, sequencer and subscriptions in one object. A context manager.

    instruments : the first names, or Instrument objects, whose contracts the field ``notional`` follows; or an
        ``Instruments`` table. discovery : whether frames may add more, up to instruments_max.
    ring_capacity : ticks, a power of two from 2 on. ring, sequencer : your own, instead of new ones.
    clock : a WallClock by default; an EngineClock stands still until it is moved. mode : "live"; "replay": time is a
        ReplayClock, threads run inline, nothing is lost or timed by the wall clock (when you publish yourself, call
        ``clock.advance_to`` before each publish); "repeat": live rules, but no thread and no task is started, since a
        ``Repetition`` makes their calls.
    on_fault : "quarantine" or "raise"; the default is "quarantine" live and "raise" in replay.
    hashing : keep ``input_hash`` and each subscription's ``delivered_hash``; costs about a third of the speed.
    duplicates, late : "drop" or "deliver": what the sequencer does with ticks that the venue sent twice, or late.
    dead_letters : a store to share. slow_handler_ms : a handler that runs longer is named in the log.
    block_max_ns : a reader that holds the writer longer is demoted to drop_oldest; None: never (the default in replay).
    wakeup : "eventfd" or "pipe", how an event loop is woken; "auto": an eventfd where the system has one.
    called_by_owner : callbacks that the owner of this dispatcher calls, such as "on_start"; others are refused.

    Its ``newest`` has the newest quote and trade of each instrument.

    Raises OptionError, InstrumentError, RingError.
    """

    def __init__(self, **options: Unpack[DispatcherOptions]) -> None:
        given = complete(options)
        mode, instruments = given["mode"], given["instruments"]
        is_replay = mode is Mode.REPLAY
        self.clock: Clock = given["clock"] or (ReplayClock() if is_replay else WallClock())
        self.dead_letters = DeadLetters() if given["dead_letters"] is None else given["dead_letters"]
        if not isinstance(instruments, _native.Instruments):
            listed = [instruments] if isinstance(instruments, str | Instrument) else list(instruments)
            instruments = _native.Instruments(
                [known.name if isinstance(known, Instrument) else known for known in listed],
                contracts=[known.native_contract if isinstance(known, Instrument) else None for known in listed],
                discovery=given["discovery"],
                instruments_max=given["instruments_max"],
            )
        self.instruments = instruments
        self._instrument_ids = InstrumentIds(instruments)
        self.sequencer = given["sequencer"] or _native.Sequencer(
            instruments, duplicates=given["duplicates"], late=given["late"]
        )
        self.ring = given["ring"] or _native.Ring(given["ring_capacity"], instruments_max=instruments.instruments_max)
        hashing = given["hashing"]
        self._ingest = _native.Ingest(
            self.ring,
            self.sequencer,
            self.clock.now_ns,
            hashing=hashing,
            block_max_ns=None if is_replay else given["block_max_ns"],
            replay=is_replay,
            time=self.clock.native if isinstance(self.clock, EngineClock) else None,
        )
        self.newest = Newest(self._ingest)
        on_fault = given["on_fault"] or ("raise" if is_replay else "quarantine")
        self.faults = FaultDesk(on_fault, self.dead_letters, self.clock)
        self.books = BookDesk()
        environment = Environment(
            self.clock, Mode(mode), given["wakeup"], self.faults, self.books, frozenset(given["called_by_owner"])
        )
        self._members = Members(self._ingest, environment, hashing=hashing, slow_s=given["slow_handler_ms"] / 1e3)
        self._inline = self._members.inline
        self._pumps: list[_native.Pump] = []
        # Called with each new subscription before its first tick, for a dispatch log.
        self.on_joined: Callable[[Subscription], None] | None = None
        self._made_s = time.monotonic()
        self._closed = False
        open_dispatchers[self] = self._inline

    # Subscribing

    def subscribe(
        self,
        handler: HasHandlers | Callable[..., object] | None = None,
        *,
        name: str | None = None,
        callback: str | None = None,
        record: FaultRecord | None = None,
        **options: Unpack[SubscribeOptions],
    ) -> Subscription:
        """Subscribe a strategy or a plain function; without a handler, pull: iterate the subscription.

        handler : a Strategy object; or a callable with the name of a callback (``on_quote``), or with ``callback``.
        name : unique in this dispatcher; by default ``Class``, then ``Class-2``.
        record : counts its calls and faults together with others of its strategy; by default alone.

        The options are those of ``SubscriptionOptions``; a Strategy class sets its own defaults in ``subscription``.

        Raises SubscriptionError (handlers), OptionError (options), ClosedError.
        """
        of_type("record", record, FaultRecord, None)
        checked, handlers = self.check(handler, callback=callback, **options)
        names = self._members.names
        title = "pull" if handler is None else str(getattr(handler, "__name__", type(handler).__name__))
        chosen = names.first_free(title) if name is None else name
        return self.subscribe_checked(checked, handlers, name=chosen, record=record)

    def subscribe_checked(
        self,
        options: SubscriptionOptions,
        handlers: list[BoundHandler],
        *,
        name: str,
        record: FaultRecord | None = None,
    ) -> Subscription:
        """Subscribe what ``check`` returned. name, record : as in ``subscribe``.

        Raises OptionError (an option does not fit the handlers, a name that is taken), SubscriptionError, ClosedError.
        """
        self._refuse_closed("make a new one")
        subscription = self._members.join(self._members.names.checked(name), options, handlers, record)
        if self.on_joined is not None:
            self.on_joined(subscription)
        subscription.start()
        return subscription

    def check(
        self,
        handler: HasHandlers | Callable[..., object] | None = None,
        *,
        callback: str | None = None,
        **options: Unpack[SubscribeOptions],
    ) -> tuple[SubscriptionOptions, list[BoundHandler]]:
        """Return the options and handlers that ``subscribe`` would use, without subscribing.

        Raises what ``subscribe`` raises.
        """
        self._refuse_closed("make a new one")
        of_type("callback", callback, str, None)
        given: dict[str, Any] = {**getattr(handler, "subscription", {}), **options}
        checked = SubscriptionOptions.checked(**given)
        called_by_owner = self._members.environment.called_by_owner
        return checked, bound_handlers(handler, callback, checked.kinds, called_by_owner)

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """Every open subscription by name, in registration order."""
        return self._members.open.copy()

    # Publishing

    def publish(self, ticks: np.ndarray) -> int:
        """Number and publish ticks; return how many went onto the ring, gap ticks included.

        ticks : shape (n,), dtype TICK_DTYPE, C-contiguous; instrument ids of ``self.instruments``, or of the names that
            ``headrace.ticks`` gave the array.
        When the ring stays full, nothing is lost: numbered ticks wait, and go onto the ring first with the next
        publish. When there is no room to wait either, the error's ``taken`` is 0: no tick of this call was accepted.
        Waits for block readers of other threads without the interpreter's lock; inline readers of this thread are
        dispatched when the ring is full. Raises PublishError (and its subclasses), KindError, InstrumentError,
        ClosedError, ValueError.
        """
        return self._ingest.publish(self._instrument_ids.of_table(ticks))

    def publish_frame(self, decoder: _native.Decoder, frame: bytes, ts_init: int) -> int:
        """Decode, number and publish one frame; return how many ticks went onto the ring.

        A rejected frame is counted and kept as a dead letter. Raises what ``publish`` raises, and DecoderError.
        """
        try:
            return self._ingest.publish_frame(decoder, frame, ts_init)
        finally:
            self.keep_rejects(self._ingest)

    def publish_lines(self, decoder: _native.Decoder, block: bytes, *, source: str = "", first_row: int = 1) -> int:
        """Decode, number and publish a block of whole recorded lines (receive time in ns, a blank, the frame).

        source, first_row : named in dead letters. Returns how many ticks went onto the ring.
        Raises what ``publish_frame`` raises.
        """
        try:
            return self._ingest.publish_lines(decoder, block, source=source, first_row=first_row)
        finally:
            self.keep_rejects(self._ingest)

    def open_pump(self) -> _native.Pump:
        """Return a pump, which merges sources by receive time onto the ring; ``stats`` counts its frames, too."""
        pump = _native.Pump(self._ingest)
        self._pumps.append(pump)
        return pump

    def bar_builder(self) -> _native.BarBuilder:
        """Return the native half of ``Bars``, which folds ticks as they are numbered; there is one at a time."""
        return _native.BarBuilder(self._ingest)

    def keep_rejects(self, taken_by: _native.Pump | _native.Ingest) -> None:
        """Keep the frames that were rejected since the last call as dead letters."""
        for source, row, reason, ts_ns, frame in taken_by.take_rejects():
            self.dead_letters.add(DeadLetter("frame", reason, source, ts_ns, row=row, frame=frame))

    # Dispatching

    def dispatch(self, *, max_ns: int | None = None) -> int:
        """Deliver the ring's ticks to the inline subscriptions; return how many ticks were read.

        max_ns : stop soon after so many ns of wall time and go on with the next call; None: until caught up.
        Raises a strategy's exception under ``on_fault="raise"``, ReentrantDispatchError, and ClosedError.
        """
        self._refuse_closed("it dispatches no more ticks")
        return self._inline.dispatch(self.clock.now_ns(), max_ns)

    def live_turn(self, bus: _native.BusCore) -> _native.LiveTurn:
        """Return the native driver of an engine's turns, which has its clock; dispatch stops for it from now on."""
        return _native.LiveTurn(self._ingest, self._inline, bus)

    def candle_run(self, candles: _native.CandleMerge, bus: _native.BusCore) -> Callable[..., int]:
        """Return what passes the candles of a replay natively, which has the replay's clock."""
        return partial(candles.run, bus, self._ingest)

    @property
    def position(self) -> int:
        """The ring position of the oldest tick that the inline subscriptions have not had."""
        return self._inline.position

    @property
    def is_caught_up(self) -> bool:
        """Whether the inline subscriptions have had all published ticks."""
        return self._inline.is_idle()

    async def drain_async(self) -> None:
        """Await the async handlers of every subscription until all are caught up; in replay this call is their task."""
        await self._members.drain_async()

    def finish(self) -> None:
        """Deliver what waits for a window or an interval, at the end; a replay's ``drain_async`` awaits its calls."""
        self._refuse_closed("call finish before close")
        busy: ReentrantDispatchError | None = None
        for own in list(self._members.open.values()):
            if own.group is not self._inline:
                calls = own.membership.calls
                try:
                    own.group.finish(self.clock.now_ns())
                    if own.membership.calls != calls:
                        own.awaited.wake()
                except ReentrantDispatchError as error:
                    # It is in its handler, in its own thread: finish all others first.
                    busy = error
        self._inline.finish(self.clock.now_ns())
        if busy is not None:
            raise busy

    def stop(self) -> None:
        """Make every dispatch and every waiting publish return soon, for good. Safe in a signal handler.

        Ticks that are still on the ring stay pending: a stopped dispatcher dispatches no more. Make a new one to go on.
        """
        self._ingest.set_stop(True)

    @property
    def input_hash(self) -> str | None:
        """SHA-256 over every published tick, lower-case hex; None without hashing."""
        return self._ingest.input_hash()

    def stats(self) -> DispatcherStats:
        """Return all counts, as they are now."""
        counts = self.sequencer.counts()
        frames: dict[str, Counter[str]] = {"frames": Counter(), "ignored": Counter(), "rejected": Counter()}
        for source in [self._ingest.counts(), *(pump.counts() for pump in self._pumps)]:
            frames["frames"].update(source["frames"])
            frames["ignored"].update(source["ignored"])
            frames["rejected"].update(source["rejected"])
        elapsed_s = time.monotonic() - self._made_s
        return DispatcherStats(
            published=self.ring.cursor,
            ticks=counts["sequenced"],
            gaps=counts["gaps"],
            duplicates=counts["duplicates"],
            late=counts["late"],
            restarts=counts["restarts"],
            frames=dict(frames["frames"]),
            ignored=dict(frames["ignored"]),
            rejected=dict(frames["rejected"]),
            elapsed_s=elapsed_s,
            ticks_per_s=self.ring.cursor / elapsed_s if elapsed_s else 0.0,
            # A copy, since another thread may subscribe meanwhile.
            subscriptions={name: own.stats() for name, own in self._members.open.copy().items()},
            closed=self._members.closed_stats(),
        )

    # Closing

    def close(self) -> None:
        """End every subscription, thread and task. May be called twice.

        A thread that is still in a handler after 5 s is named in the log and left running.
        """
        if self._closed:
            return
        self._closed = True
        if waiting := self._ingest.waiting():
            log.warning("%d ticks that waited for room were not published: the dispatcher was closed first", waiting)
        self._ingest.close()
        self._members.close_all(time.monotonic() + bounded_s(CLOSE_DEADLINE_S))
        open_dispatchers.pop(self, None)

    def _refuse_closed(self, advice: str) -> None:
        if self._closed:
            msg = f"this dispatcher is closed: {advice}"
            raise ClosedError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
