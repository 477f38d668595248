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

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

import msgspec
import numpy as np

from headrace import _native
from headrace.dispatch import Dispatcher
from headrace.errors import OptionError
from headrace.feeds import ArrayFeed, Feed, Frame, RecordingFeed, SizedFeed
from headrace.limits import RING_CAPACITY
from headrace.report import Table, duration_text, latency_text, tables_html, tables_text
from headrace.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from types import FrameType

    from headrace.deadletters import DeadLetters
    from headrace.feeds import FeedItem
    from headrace.subscription import SubscriptionStats

__all__ = ["ReplayProgress", "ReplayResult", "ReplaySource", "replay", "strategy_table"]

Source: TypeAlias = "str | os.PathLike[str] | np.ndarray | Feed"
StrategySpec: TypeAlias = "Strategy | type[Strategy] | Callable[..., object]"
StrategyWithOptions: TypeAlias = "StrategySpec | tuple[StrategySpec, Mapping[str, object]]"

# How long the run may be deaf to Ctrl-C while it waits (RULES 3.4).
WAIT_S = 0.05
# How often progress is told.
PROGRESS_EVERY_NS = 100_000_000
# A time later than any tick: the pump runs until it needs something.
END_OF_TIME_NS = (1 << 63) - 1
BEFORE_TIME_NS = -(1 << 63)
FRAME_TYPES = ("bookTicker", "trade", "aggTrade", "depthUpdate", "snapshot")


class ReplaySource(msgspec.Struct, frozen=True, kw_only=True):
    """One source of a finished replay.

    name : a file's path, or the feed's name.
    venue : the venue named or found out; None for ticks.
    frames : frames accepted from it.
    """

    name: str
    venue: str | None
    frames: int


class ReplayProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replay is.

    bytes_done, bytes_total : of the files' bytes; the total is 0 when a feed does not know it.
    ticks : published so far.
    """

    bytes_done: int
    bytes_total: int
    ticks: int


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did; prints as a table.

    sources : in the order of the call.
    instruments : in order of first appearance; an instrument's id is its place here.
    frames : accepted frames by type. ignored : by type. rejected : by reason.
    ticks : published ticks by kind, gaps apart. gaps : gap ticks.
    first_ns : receive time of the first frame, None when there was none. span_ns : from there to the last.
    wall_s, ticks_per_s : measured from the first block to the last tick, strategies included.
    input_hash : SHA-256 of the published ticks (RULES 5.7); None without ``hashing``.
    strategies : statistics by name.
    dead_letters : the rejected frames and failed calls that were kept.
    stopped : True when Ctrl-C ended it early.
    hash_seed : the interpreter's PYTHONHASHSEED, or ``"random"``: then sets of texts iterate differently in each run.
    """

    sources: tuple[ReplaySource, ...]
    instruments: tuple[str, ...]
    frames: Mapping[str, int]
    ignored: Mapping[str, int]
    rejected: Mapping[str, int]
    ticks: Mapping[str, int]
    gaps: int
    first_ns: int | None
    span_ns: int
    wall_s: float
    ticks_per_s: float
    input_hash: str | None
    strategies: Mapping[str, SubscriptionStats]
    dead_letters: DeadLetters
    stopped: bool
    hash_seed: str

    def to_dict(self) -> dict[str, object]:
        """Return the document that ``headrace replay --json`` prints: plain numbers, texts and dicts."""
        return {
            "frames": dict(self.frames),
            "ignored": dict(self.ignored),
            "rejected": dict(self.rejected),
            "ticks": dict(self.ticks),
            "gaps": self.gaps,
            "span_ns": self.span_ns,
            "wall_s": self.wall_s,
            "ticks_per_s": self.ticks_per_s,
            "input_hash": self.input_hash,
            "strategies": {name: _stats_dict(stats) for name, stats in self.strategies.items()},
        }

    def tables(self) -> list[Table]:
        """Return the result as tables, for text or HTML."""
        facts = [
            *((f"source {source.name}", source.venue or "ticks") for source in self.sources),
            ("instruments", f"{len(self.instruments):,}"),
            ("span", duration_text(self.span_ns)),
            ("wall time", duration_text(self.wall_s * 1e9)),
            ("ticks/s", f"{self.ticks_per_s:,.0f}"),
            ("gaps", f"{self.gaps:,}"),
            *([("input hash", self.input_hash)] if self.input_hash else []),
        ]
        frames = [
            *((name, f"{count:,}") for name, count in self.frames.items()),
            *((f"ignored: {name}", f"{count:,}") for name, count in self.ignored.items()),
            *((f"rejected: {name}", f"{count:,}") for name, count in self.rejected.items()),
        ]
        return [
            Table("stopped early" if self.stopped else "replay", ("", ""), facts),
            Table("frames", ("type", "count"), frames),
            Table("ticks", ("kind", "count"), [(name, f"{count:,}") for name, count in self.ticks.items()]),
            strategy_table(self.strategies),
            Table(
                "delivered hashes",
                ("name", "SHA-256"),
                [(name, stats.delivered_hash) for name, stats in self.strategies.items() if stats.delivered_hash],
            ),
        ]

    def __str__(self) -> str:
        return tables_text(self.tables())

    def _repr_html_(self) -> str:
        return tables_html(self.tables())


def strategy_table(strategies: Mapping[str, SubscriptionStats]) -> Table:
    """Return a row per strategy: the terms of the loss law, faults, state, calls and latency."""
    return Table("strategies", STRATEGY_COLUMNS, [_stats_row(name, stats) for name, stats in strategies.items()])


STRATEGY_COLUMNS = (
    *("name", "delivered", "filtered", "missed", "conflated", "skipped", "pending", "faults", "state"),
    *("calls", "p50", "p99", "max"),
)


def _stats_dict(stats: SubscriptionStats) -> dict[str, object]:
    latency = stats.latency
    return {
        "delivered": stats.delivered,
        "filtered": stats.filtered,
        "missed": stats.missed,
        "conflated": stats.conflated,
        "skipped": stats.skipped,
        "pending": stats.pending,
        "faults": stats.faults,
        "delivered_hash": stats.delivered_hash,
        "latency_ns": {
            "p50": latency.p50,
            "p90": latency.p90,
            "p99": latency.p99,
            "p99.9": latency.p999,
            "max": latency.max,
        }
        if latency.count
        else dict.fromkeys(("p50", "p90", "p99", "p99.9", "max")),
    }


def _stats_row(name: str, stats: SubscriptionStats) -> tuple[str, ...]:
    counts = (
        stats.delivered,
        stats.filtered,
        stats.missed,
        stats.conflated,
        stats.skipped,
        stats.pending,
        stats.faults,
    )
    latency = stats.latency
    times = (latency.p50, latency.p99, latency.max) if latency.count else (None, None, None)
    return (
        name,
        *(f"{count:,}" for count in counts),
        stats.state,
        f"{stats.calls:,}",
        *(latency_text(time_ns) for time_ns in times),
    )


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
    hashing : compute ``input_hash`` and every ``delivered_hash``; costs about a third of the speed.
    ring_capacity : ticks, a power of two.
    duplicates, late : what happens to frames that the venue repeated, or sent after newer ones.
    progress : called about ten times a second, on the replay's own thread.

    Raises OptionError (and its kin: unknown fields, handlers, policies) and RecordingError or VenueError before any
    strategy is called; RecordingError and SourceOrderError where the damage stands; what a strategy raised.
    """
    session = _Session(
        feeds=_feeds_of(sources, venue),
        pace=_Pace(speed),
        progress=progress,
        dispatcher=Dispatcher(
            instruments=tuple(instruments),
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


def _paired(spec: StrategyWithOptions) -> tuple[StrategySpec, Mapping[str, object]]:
    return spec if isinstance(spec, tuple) else (spec, {})


def _feeds_of(sources: Source | Iterable[Source], venue: str | None) -> list[Feed]:
    if isinstance(sources, str | os.PathLike | np.ndarray | Feed):
        sources = [sources]
    feeds = [_feed_of(source, venue) for source in sources]
    if not feeds:
        msg = "there is nothing to replay: name at least one recording, array or feed"
        raise OptionError(msg, option="sources")
    return feeds


def _feed_of(source: Source, venue: str | None) -> Feed:
    if isinstance(source, np.ndarray):
        return ArrayFeed(source)
    if isinstance(source, Feed):
        return source
    path, named = _split_venue(os.fspath(source))
    if path.suffix == ".npy":
        return ArrayFeed(path)
    return RecordingFeed(path, venue=_checked_venue(named or venue))


def _split_venue(text: str) -> tuple[Path, str | None]:
    """Divide ``FILE@VENUE``; a file whose very name is the whole text wins."""
    path, at, venue = text.rpartition("@")
    if not at or not path or "/" in venue or os.sep in venue or Path(text).exists():
        return Path(text), None
    return Path(path), venue


def _checked_venue(venue: str | None) -> str | None:
    if venue is not None and venue not in _native.VENUES:
        msg = f"venue {venue!r} is unknown: choose one of {', '.join(_native.VENUES)}"
        raise OptionError(msg, option="venue")
    return venue


class _Pace:
    """How far the replay may run, by the clock on the wall; the only place that looks at it to decide something."""

    def __init__(self, speed: float | Literal["max"]) -> None:
        if not _is_speed(speed):
            msg = f"speed is {speed!r}: it is 'max' or a number above 0, 1.0 for real time"
            raise OptionError(msg, option="speed")
        self._speed = None if speed == "max" else float(speed)
        self._start: tuple[int, int] | None = None

    def until_ns(self) -> int:
        """Return the receive time up to which ticks are due."""
        if self._speed is None:
            return END_OF_TIME_NS
        if self._start is None:
            return BEFORE_TIME_NS
        first_ns, wall_ns = self._start
        return first_ns + int((time.monotonic_ns() - wall_ns) * self._speed)

    async def wait_for(self, next_ns: int) -> None:
        """Wait until ``next_ns`` is due, but never longer than 50 ms; the first call starts the clock."""
        if self._speed is None:
            return
        if self._start is None:
            self._start = (next_ns, time.monotonic_ns())
        await asyncio.sleep(min(max(0.0, (next_ns - self.until_ns()) / self._speed / 1e9), WAIT_S))


def _is_speed(speed: object) -> bool:
    return speed == "max" or (isinstance(speed, int | float) and 0 < speed < float("inf"))


class _Session:
    """One run: owns the dispatcher, the open feeds and the pump between them."""

    def __init__(
        self,
        *,
        feeds: Sequence[Feed],
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.dispatcher.close()

    def run(self) -> ReplayResult:
        """Run to the end, or until stopped; on a thread of its own when this one has a running event loop."""
        with _stopped_by_interrupt(self._stop):
            if _is_loop_running():
                return _on_own_thread(lambda: asyncio.run(self._run()))
            return asyncio.run(self._run())

    def _stop(self) -> None:
        self._stopped = True
        self.dispatcher.stop()

    async def _run(self) -> ReplayResult:
        try:
            for feed in self._feeds:
                await feed.open()
            self._name_array_instruments()
            pump = _native.Replay(self.dispatcher._ingest)  # noqa: SLF001 - its native half
            for feed in self._feeds:
                decoder = None if feed.venue is None else _native.Decoder(feed.venue, self.dispatcher.instruments)
                pump.add_source(feed.name, decoder)
            started_s = time.perf_counter()
            await self._drive(pump)
            self._wall_s = time.perf_counter() - started_s
            return self._result(pump)
        finally:
            for feed in self._feeds:
                await feed.close()

    def _name_array_instruments(self) -> None:
        """Give the ids that arrays use, and nobody named, a name that says where they come from."""
        table = self.dispatcher.instruments
        needed = max((feed.instrument_ids for feed in self._feeds if isinstance(feed, ArrayFeed)), default=0)
        for instrument_id in range(len(table), needed):
            table.add(f"{instrument_id}.ARRAY")

    async def _drive(self, pump: _native.Replay) -> None:
        items = [aiter(feed) for feed in self._feeds]
        while True:
            status, argument = pump.run(self._pace.until_ns())
            if status == "need":
                await self._feed_pump(pump, argument, items[argument])
            elif status == "until":
                await self._pace.wait_for(argument)
            elif status == "async":
                await self.dispatcher.drain_async()
            else:
                break
            self._keep_rejects(pump)
            self._tell_progress()
        self.dispatcher.finish()
        self._keep_rejects(pump)

    def _keep_rejects(self, pump: _native.Replay) -> None:
        for source, row, reason, ts_ns, frame in pump.take_rejects():
            self.dispatcher.dead_letters.add_frame(source=source, row=row, reason=reason, ts_ns=ts_ns, frame=frame)

    async def _feed_pump(self, pump: _native.Replay, index: int, items: AsyncIterator[FeedItem]) -> None:
        """Give the pump the next item of a source; a feed that makes it wait does not make it deaf."""
        waiting = asyncio.ensure_future(anext(items, None))
        while not (await asyncio.wait({waiting}, timeout=WAIT_S))[0]:
            if self._stopped:
                waiting.cancel()
                return
        item = waiting.result()
        if item is None:
            pump.finish(index)
        else:
            pump.push(index, item.as_line() if isinstance(item, Frame) else item)

    def _tell_progress(self) -> None:
        now_ns = time.monotonic_ns()
        if self._progress is None or now_ns < self._progress_due_ns:
            return
        self._progress_due_ns = now_ns + PROGRESS_EVERY_NS
        sized = [feed for feed in self._feeds if isinstance(feed, SizedFeed)]
        total = sum(feed.bytes_total for feed in sized) if len(sized) == len(self._feeds) else 0
        done = sum(feed.bytes_done for feed in sized)
        self._progress(ReplayProgress(bytes_done=done, bytes_total=total, ticks=self.dispatcher.ring.cursor))

    def _result(self, pump: _native.Replay) -> ReplayResult:
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


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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
