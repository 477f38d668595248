"""The main job in one call: recordings, arrays or feeds through decoder, sequencer, ring and dispatcher to strategies.

::

    feeds ─▶ open, find venues ─▶ subscribe ─▶ ┌ push what the pump needs            ┐ ─▶ ReplayResult
                                               │ run it: merge, decode, number, call  │
                                               └ pace, await async strategies, report ┘

What happens when
    a strategy raises: under ``on_fault="raise"`` its own exception leaves ``replay``; else it ends in quarantine.
    Ctrl-C is pressed: the run stops at a quiet point and the result says ``stopped``; a second Ctrl-C interrupts.
    an event loop runs already (a notebook): the replay gets a thread of its own, and the call still waits for it.

Guarantees: sources are merged by receive time, then by their order in the call; no strategy is called before every
source is open and every option is accepted; files, threads and the signal handler are given back however it ends.

Does not: have side effects beyond the strategies' own, or look at the wall clock other than to pace and to measure.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

import msgspec

from headrace import _native
from headrace._native import PumpStatus
from headrace.clock import END_OF_TIME_NS, PacedClock
from headrace.dispatch import Dispatcher
from headrace.driver import has_running_loop
from headrace.errors import SubscriptionError
from headrace.feeds import SizedFeed
from headrace.intake import WAIT_S, AnyFeed, Intake, Source, feeds_of, refuse_live
from headrace.limits import RING_CAPACITY
from headrace.result import ReplayResult, ReplaySource
from headrace.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType


__all__ = ["ReplayProgress", "replay"]

StrategySpec: TypeAlias = "Strategy | type[Strategy] | Callable[..., object]"
StrategyWithOptions: TypeAlias = "StrategySpec | tuple[StrategySpec, Mapping[str, object]]"

# How often progress is told.
PROGRESS_EVERY_NS = 100_000_000
# Earlier than any tick: the pump stops at the first one.
BEFORE_TIME_NS = -(1 << 63)
FRAME_TYPES = ("bookTicker", "trade", "aggTrade", "depthUpdate", "snapshot")


class ReplayProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replay is.

    bytes_done, bytes_total : of the files' bytes; the total is 0 when a feed does not know it.
    ticks : published so far.
    """

    bytes_done: int
    bytes_total: int
    ticks: int


def replay(
    sources: Source | Iterable[Source],
    strategies: StrategyWithOptions | Iterable[StrategyWithOptions] = (),
    *,
    venue: str | None = None,
    instruments: Iterable[str] = (),
    speed: float | Literal["max"] = "max",
    overflow: str | None = None,
    batch_max: int | None = None,
    on_fault: Literal["raise", "quarantine"] = "raise",
    hashing: bool = False,
    ring_capacity: int = RING_CAPACITY,
    duplicates: Literal["drop", "deliver"] = "drop",
    late: Literal["deliver", "drop"] = "deliver",
    progress: Callable[[ReplayProgress], object] | None = None,
) -> ReplayResult:
    """Replay recordings, arrays or feeds through strategies and return what happened.

    sources : one or several: a path (gzip or plain lines, or ``.npy`` of TICK_DTYPE), ``"FILE@BINANCE_USDM"`` to name
        the venue with it, an array of TICK_DTYPE, or a Feed. Merged by receive time.
    strategies : one or several: a Strategy, its class, a plain function, or a pair of one of these and its subscription
        options. Called for each tick in this order. Names are made unique: ``Class``, ``Class-2``.
    venue : for the files that don't name theirs; else it is found out from their first 1,000 frames.
    instruments : names known from the start; the instrument ids of arrays are rows of this list, and ids beyond it are
        named after themselves, ``3.ARRAY``.
    speed : ``"max"``, or how many seconds of the recording pass in one second.
    overflow, batch_max : for every strategy that is not paired with options that say otherwise.
    on_fault : ``"raise"``: the first exception of a strategy ends the run and leaves this call; ``"quarantine"``: the
        strategy that faults too often is skipped from then on.
    hashing : compute ``input_hash`` and every ``delivered_hash``; costs about a fifth of the speed.
    ring_capacity : ticks, a power of two.
    duplicates, late : what happens to frames that the venue repeated, or sent after newer ones.
    progress : called about ten times a second, on the replay's own thread.

    Raises OptionError (and its kin: unknown fields, handlers, policies) and RecordingError or VenueError before any
    strategy is called; RecordingError and SourceOrderError where the damage stands; what a strategy raised.
    """
    feeds = feeds_of(sources, venue)
    refuse_live(feeds)
    session = _Session(
        feeds=feeds,
        pace=_Pace(speed),
        progress=progress,
        dispatcher=Dispatcher(
            instruments=instruments,
            ring_capacity=ring_capacity,
            replay=True,
            on_fault=on_fault,
            hashing=hashing,
            duplicates=duplicates,
            late=late,
        ),
    )
    shared = {name: value for name, value in (("overflow", overflow), ("batch_max", batch_max)) if value is not None}
    with session:
        for spec, options in _listed_strategies(strategies):
            _refuse_nobody(spec)
            strategy = spec() if isinstance(spec, type) else spec
            session.dispatcher.subscribe(strategy, **cast("dict[str, Any]", {**shared, **options}))
        return session.run()


def _listed_strategies(
    strategies: StrategyWithOptions | Iterable[StrategyWithOptions],
) -> list[tuple[StrategySpec, Mapping[str, object]]]:
    if isinstance(strategies, Strategy) or callable(strategies) or _is_pair(strategies):
        strategies = [cast("StrategyWithOptions", strategies)]
    return [_paired(spec) for spec in cast("Iterable[StrategyWithOptions]", strategies)]


def _is_pair(strategies: object) -> bool:
    return isinstance(strategies, tuple) and len(strategies) == 2 and isinstance(strategies[1], Mapping)


def _refuse_nobody(spec: object) -> None:
    if spec is None:
        msg = "strategy None has no handler, and in a replay nobody could pull its ticks: give a Strategy"
        raise SubscriptionError(msg, handler="")


def _paired(spec: StrategyWithOptions) -> tuple[StrategySpec, Mapping[str, object]]:
    return spec if isinstance(spec, tuple) else (spec, {})


class _Pace:
    """How far the replay may run; the only place that looks at the wall's clock to decide something."""

    def __init__(self, speed: float | Literal["max"]) -> None:
        PacedClock(0, speed)  # Refuses what is no speed before any file is opened.
        self._speed = speed
        self._clock: PacedClock | None = None

    def until_ns(self) -> int:
        """Return the receive time up to which ticks are due."""
        if self._speed == "max":
            return END_OF_TIME_NS
        return BEFORE_TIME_NS if self._clock is None else self._clock.due_ns()

    async def wait_for(self, next_ns: int) -> None:
        """Wait until ``next_ns`` is due, but never longer than 50 ms; the first call starts the clock."""
        import asyncio  # 20 ms that only who runs a loop pays

        self._clock = self._clock or PacedClock(next_ns, self._speed)
        await asyncio.sleep(min(self._clock.wait_s(next_ns), WAIT_S))


class _Session:
    """One run: owns the dispatcher, the open feeds and the pump between them."""

    def __init__(
        self,
        *,
        feeds: Sequence[AnyFeed],
        dispatcher: Dispatcher,
        pace: _Pace,
        progress: Callable[[ReplayProgress], object] | None,
    ) -> None:
        self.dispatcher = dispatcher
        self._feeds = feeds
        self._pace = pace
        self._progress = progress
        self._progress_due_ns = 0
        self._stopped = False
        self._wall_s = 0.0
        self._intake = Intake(feeds, dispatcher, lambda: self._stopped)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.dispatcher.close()

    def run(self) -> ReplayResult:
        """Run to the end, or until stopped; on a thread of its own when this one has a running event loop."""
        import asyncio  # 20 ms that only who runs a loop pays

        with _stopped_by_interrupt(self._stop):
            if has_running_loop():
                return _on_own_thread(lambda: asyncio.run(self._run()))
            return asyncio.run(self._run())

    def _stop(self) -> None:
        self._stopped = True
        self.dispatcher.stop()

    async def _run(self) -> ReplayResult:
        try:
            pump = await self._intake.open()
            started_s = time.perf_counter()
            await self._drive(pump)
            self._wall_s = time.perf_counter() - started_s
            return self._result(pump)
        finally:
            await self._intake.close()

    async def _drive(self, pump: _native.Pump) -> None:
        while True:
            status, argument = pump.run(self._pace.until_ns())
            if status is PumpStatus.NEED:
                await self._intake.give(pump, argument)
            elif status is PumpStatus.UNTIL:
                await self._pace.wait_for(argument)
            elif status is PumpStatus.ASYNC:
                await self.dispatcher.drain_async()
            else:
                break
            self._intake.keep_rejects(pump)
            self._tell_progress()
        self.dispatcher.finish()
        self._intake.keep_rejects(pump)

    def _tell_progress(self) -> None:
        now_ns = time.monotonic_ns()
        if self._progress is None or now_ns < self._progress_due_ns:
            return
        self._progress_due_ns = now_ns + PROGRESS_EVERY_NS
        sized = [feed for feed in self._feeds if isinstance(feed, SizedFeed)]
        total = sum(feed.bytes_total for feed in sized) if len(sized) == len(self._feeds) else 0
        done = sum(feed.bytes_done for feed in sized)
        self._progress(ReplayProgress(bytes_done=done, bytes_total=total, ticks=self.dispatcher.ring.cursor))

    def _result(self, pump: _native.Pump) -> ReplayResult:
        counts, stats = pump.counts(), self.dispatcher.stats()
        ticks = {kind: count for kind, count in stats.ticks.items() if kind != "gap"}
        published = sum(stats.ticks.values())
        first, last = counts["first_ts"], counts["last_ts"]
        return ReplayResult(
            sources=tuple(
                ReplaySource(name=feed.name, venue=feed.venue, frames=frames)
                for feed, frames in zip(self._feeds, counts["accepted"], strict=True)
            ),
            instruments=tuple(self.dispatcher.instruments),
            frames={name: counts["frames"].get(name, 0) for name in FRAME_TYPES},
            ignored=counts["ignored"],
            rejected=counts["rejected"],
            ticks=ticks,
            gaps=stats.ticks.get("gap", 0),
            first_ns=first,
            span_ns=0 if first is None or last is None else last - first,
            wall_s=self._wall_s,
            ticks_per_s=published / self._wall_s if self._wall_s else 0.0,
            input_hash=self.dispatcher.input_hash,
            strategies=stats.subscriptions,
            dead_letters=self.dispatcher.dead_letters,
            stopped=self._stopped,
            hash_seed=os.environ.get("PYTHONHASHSEED", "random"),
        )


@contextmanager
def _stopped_by_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """While inside, the first Ctrl-C calls ``stop`` and raises nothing; the next one does what it did before.

    Only the main thread may set signal handlers; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
        stop()

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)


def _on_own_thread(job: Callable[[], ReplayResult]) -> ReplayResult:
    """Run the job on a thread and return its result, or raise what it raised."""
    outcome: list[ReplayResult | BaseException] = []

    def work() -> None:
        try:
            outcome.append(job())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            outcome.append(error)

    thread = threading.Thread(target=work, name="headrace-replay", daemon=True)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
