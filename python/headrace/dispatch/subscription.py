"""Subscription: one consumer's options, the counts of its ticks, and its pull side.

::

    published == delivered + filtered + missed + conflated + skipped + pending          (the loss law)

Guarantees: while nothing is published or dispatched, the law holds exactly, from the join on, in ring positions.
Does not: call handlers (``dispatcher``) or check them (``signature``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from headrace.dispatch.loop_wakeup import LoopWakeup
from headrace.errors import ClosedError, OptionError, ReentrantDispatchError
from headrace.limits import BATCH_MAX, BATCH_MAX_MAX, WINDOW_MIN_NS
from headrace.market.checks import duration_ns, one_of, refuse, whole
from headrace.market.events import Cause, current_cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    import numpy as np

    import headrace._native as _native
    from headrace.dispatch.loop_wakeup import WakeupKind
    from headrace.market.clock import Clock

__all__ = [
    "LatencyStats",
    "Overflow",
    "SubscribeOptions",
    "Subscription",
    "SubscriptionOptions",
    "SubscriptionStats",
    "TuneOptions",
    "sum_of_stats",
]


class Overflow(StrEnum):
    """What happens when a consumer is too slow.

    BLOCK : the writer waits (live, at most ``block_max_ns``). DROP_OLDEST : the oldest ticks are lost, counted, and
    delivered as a gap. CONFLATE : older quotes are folded into newer ones; for quotes and other kinds of state only.
    """

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    CONFLATE = "conflate"


class SubscribeOptions(TypedDict, total=False):
    """The options of ``Dispatcher.subscribe`` for type checkers; that method describes each."""

    instruments: str | Iterable[str]
    kinds: str | Iterable[str] | None
    overflow: Overflow | Literal["block", "drop_oldest", "conflate"] | None
    batch_max: int
    every: str | int | None
    min_interval_ns: int
    rate_limit: float | None
    lag_max_ticks: int | None
    lag_max_ns: int | None
    on_lag: Literal["warn", "skip"]
    mode: Literal["inline", "thread"]
    on_fault: Literal["raise", "quarantine"] | None


class TuneOptions(TypedDict, total=False):
    """The options that ``Dispatcher.tune`` may change while a subscription lives."""

    overflow: Overflow | Literal["block", "drop_oldest", "conflate"]
    batch_max: int
    lag_max_ticks: int | None
    lag_max_ns: int | None
    on_lag: Literal["warn", "skip"]


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """The options of a subscription, checked. ``Dispatcher.subscribe`` describes each."""

    instruments: tuple[str, ...]
    kinds: tuple[str, ...] | None
    overflow: Overflow | None
    batch_max: int
    every_ns: int
    min_interval_ns: int
    rate_limit: float
    lag_max_ticks: int
    lag_max_ns: int
    on_lag: Literal["warn", "skip"]
    mode: Literal["inline", "thread"]
    on_fault: Literal["raise", "quarantine"] | None

    @classmethod
    def checked(
        cls,
        *,
        instruments: str | Iterable[str] = "*",
        kinds: str | Iterable[str] | None = None,
        overflow: str | Overflow | None = None,
        batch_max: int = BATCH_MAX,
        every: str | int | None = None,
        min_interval_ns: int = 0,
        rate_limit: float | None = None,
        lag_max_ticks: int | None = None,
        lag_max_ns: int | None = None,
        on_lag: str = "warn",
        mode: str = "inline",
        on_fault: str | None = None,
    ) -> SubscriptionOptions:
        """Check every value and the relations between them. Raises OptionError."""
        names = _patterns("instruments", instruments)
        chosen = None if overflow is None else Overflow(one_of("overflow", overflow, Overflow))
        is_lossy = chosen in (Overflow.DROP_OLDEST, Overflow.CONFLATE)
        whole("batch_max", batch_max, 1, BATCH_MAX_MAX, "ticks")
        every_ns = 0 if every is None else duration_ns("every", every)
        if every is not None and not WINDOW_MIN_NS <= every_ns < 1 << 63:
            refuse("every", every, f"at least {WINDOW_MIN_NS:,} ns, like '100ms', and at most 2^63 - 1")
        whole("min_interval_ns", min_interval_ns, 0, 1 << 62, "ns")
        if min_interval_ns and chosen is not Overflow.CONFLATE:
            refuse("min_interval_ns", min_interval_ns, "overflow='conflate' with it: only quotes may be held back")
        _check_rate("rate_limit", rate_limit, is_lossy=is_lossy)
        for name, value in (("lag_max_ticks", lag_max_ticks), ("lag_max_ns", lag_max_ns)):
            if value is not None:
                whole(name, value, 1, 1 << 62, name.rpartition("_")[2])
        for name, text, valid in (
            ("on_lag", on_lag, ("warn", "skip")),
            ("mode", mode, ("inline", "thread")),
            ("on_fault", on_fault, (None, "raise", "quarantine")),
        ):
            if text not in valid:
                refuse(name, text, " or ".join(repr(choice) for choice in valid if choice))
        if on_lag == "skip" and lag_max_ticks is None and lag_max_ns is None:
            refuse("on_lag", on_lag, "lag_max_ticks or lag_max_ns with it, the lag from which it skips")
        if on_lag == "skip" and not is_lossy:
            refuse("on_lag", on_lag, "overflow='drop_oldest' or 'conflate' with it: 'block' delivers every tick")
        return cls(
            instruments=names,
            kinds=None if kinds is None else (kinds,) if isinstance(kinds, str) else tuple(kinds),
            overflow=chosen,
            batch_max=batch_max,
            every_ns=every_ns,
            min_interval_ns=min_interval_ns,
            rate_limit=float(rate_limit or 0.0),
            lag_max_ticks=lag_max_ticks or 0,
            lag_max_ns=lag_max_ns or 0,
            on_lag=on_lag,  # type: ignore[arg-type]  # checked above
            mode=mode,  # type: ignore[arg-type]  # checked above
            on_fault=on_fault,  # type: ignore[arg-type]  # checked above
        )

    def changed(self, **changes: Unpack[TuneOptions]) -> SubscriptionOptions:
        """Return a copy with some options changed, and all checked again. Raises OptionError."""
        now: dict[str, Any] = {
            "instruments": self.instruments,
            "kinds": self.kinds,
            "overflow": self.overflow,
            "batch_max": self.batch_max,
            "every": self.every_ns or None,
            "min_interval_ns": self.min_interval_ns,
            "rate_limit": self.rate_limit or None,
            "lag_max_ticks": self.lag_max_ticks or None,
            "lag_max_ns": self.lag_max_ns or None,
            "on_lag": self.on_lag,
            "mode": self.mode,
            "on_fault": self.on_fault,
        }
        return self.checked(**{**now, **changes})


def _patterns(option: str, value: str | Iterable[object]) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names:
        refuse(option, names, "at least one name or pattern")
    for name in names:
        if not isinstance(name, str) or ("." not in name and "*" not in name):
            advice = "SYMBOL.VENUE, or a pattern like 'BTC*.BINANCE' ('*' any text, '?' one character)"
            refuse(option, name, advice)
    return tuple(str(name) for name in names)


def _check_rate(option: str, value: object, *, is_lossy: bool) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        refuse(option, value, "a number of ticks per second, above 0")
    if not is_lossy:
        reason = "with 'block' it would throttle the feed of all subscriptions"
        refuse(option, value, f"overflow='drop_oldest' or 'conflate' with it: {reason}")


@dataclass(frozen=True, slots=True)
class LatencyStats:
    """The durations of handler calls, ns.

    A fast singular handler is timed at one call in 64, which counts as 64; slow ones (from 65 µs) and plural calls are
    timed every time; async ones until they are done, other tasks' time included. ``max`` : the longest timed call.
    ``count`` : the number of calls behind the percentiles, which are at most 1/32 too high.
    """

    count: int
    p50: int
    p90: int
    p99: int
    p999: int
    max: int


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """The counts of a subscription's ticks, in ring positions since it joined.

    published : all of them. delivered : a handler was called (or the tick was pulled), also when the handler raised.
    filtered : not of its instruments and kinds, or published while it dozed. missed : overwritten before they were
    read, of any kind. conflated : folded into a newer quote. skipped : while paused or quarantined, jumped over, or
    above the rate. pending : not dispatched yet, including ticks that wait for a window. pending_ns : receive time
    between the last dispatched and the newest tick. snapshots : newest quotes delivered on join, resume and overrun;
    not part of the law.
    faults : calls that raised. calls : handler calls. demoted : whether it held the writer too long, and became lossy.
    delivered_hash : SHA-256 of the delivered ticks; None without hashing.
    """

    name: str
    state: str
    published: int
    delivered: int
    filtered: int
    missed: int
    conflated: int
    skipped: int
    pending: int
    pending_ns: int
    snapshots: int
    faults: int
    calls: int
    demoted: bool
    delivered_hash: str | None
    latency: LatencyStats

    @property
    def accounted(self) -> int:
        """The right side of the loss law; equals ``published`` while nothing is published or dispatched."""
        return self.delivered + self.filtered + self.missed + self.conflated + self.skipped + self.pending


_SUMMED = (
    "published",
    "delivered",
    "filtered",
    "missed",
    "conflated",
    "skipped",
    "pending",
    "snapshots",
    "faults",
    "calls",
)
_QUANTILES = ("p50", "p90", "p99", "p999", "max")


def sum_of_stats(name: str, stats: Iterable[SubscriptionStats]) -> SubscriptionStats:
    """Return the sum of several statistics, so that the loss law holds for it as well.

    state, delivered_hash : of the only one; "closed" and None otherwise. latency : the slowest at each percentile.
    """
    each = list(stats)
    counts = {name: sum(getattr(own, name) for own in each) for name in _SUMMED}
    timed = [own.latency for own in each]
    slowest = {name: max((getattr(own, name) for own in timed), default=0) for name in _QUANTILES}
    return SubscriptionStats(
        name=name,
        state=each[0].state if len(each) == 1 else "closed",
        **counts,
        pending_ns=max((own.pending_ns for own in each), default=0),
        demoted=any(own.demoted for own in each),
        delivered_hash=each[0].delivered_hash if len(each) == 1 else None,
        latency=LatencyStats(count=sum(own.count for own in timed), **slowest),
    )


class Subscription:
    """One consumer of a dispatcher's ticks. Made by ``Dispatcher.subscribe``.

    A subscription with handlers calls them; one without is pulled: ``for batch in subscription``,
    ``async for batch in subscription``, or ``subscription.read_into(array)``. Batches are arrays of TICK_DTYPE that the
    caller owns. A gap is the first tick of a batch, of kind gap; no batch has a gap in its middle.
    """

    def __init__(
        self,
        *,
        name: str,
        options: SubscriptionOptions,
        kinds: frozenset[str],
        membership: _native.Membership,
        group: _native.DispatchGroup,
        clock: Clock,
        is_pull: bool,
        wakeup: WakeupKind,
        on_close: Callable[[Subscription], None],
    ) -> None:
        self.name = name
        self.options = options
        self.kinds = kinds
        self._membership = membership
        self._group = group
        self._clock = clock
        self._is_pull = is_pull
        self._wakeup = wakeup
        self._on_close = on_close

    @property
    def state(self) -> str:
        """``"running"``, ``"paused"``, ``"quarantined"``, ``"resuming"``, ``"dozing"`` or ``"closed"``."""
        return self._membership.state

    def pause(self) -> bool:
        """Stop calling its handlers from the next tick on; ticks in between are skipped and counted.

        Returns False when it was not running. O(1); takes no lock and never waits.
        """
        return self._membership.pause()

    def resume(self) -> bool:
        """Resume delivery, also out of quarantine: first the gap is delivered, then the newest quotes.

        Returns False when it was neither paused nor quarantined.
        """
        return self._membership.resume()

    def doze(self) -> bool:
        """Suspend delivery until ``wake()``. Ticks in between count as filtered and raise no gap.

        Takes effect in the middle of a batch, too; a plural call depends on the state at the time of the call. A block
        reader still gates the writer. Returns False when it was not running. O(1); takes no lock and never waits.
        """
        return self._membership.doze()

    def wake(self) -> bool:
        """End a doze: deliver ticks again, from the next one on. There is no gap, and no newest quotes.

        Woken in the middle of a venue event, it gets the rest of the event. Returns False when it did not doze
        (``pause`` ends a doze).
        """
        return self._membership.wake()

    def cause(self) -> Cause | None:
        """Return the ticks of its handler that runs now, in this thread or task; None outside a handler.

        For a singular handler, its tick; for ``on_gap``, the tick of kind gap; for a plural handler, its batch: the
        instrument and kind of its last tick, and the first and last ``seq`` of these.
        """
        seen = self._membership.cause()
        return current_cause.get() if seen is None else Cause(*seen)

    def close(self) -> None:
        """Leave the ring; later ticks count as skipped. Its statistics stay readable."""
        self._on_close(self)

    def stats(self) -> SubscriptionStats:
        """Return every term of the loss law, faults and latency, as they are now."""
        raw = self._membership.stats()
        return SubscriptionStats(
            name=self.name,
            state=self.state,
            published=raw["published"],
            delivered=raw["delivered"],
            filtered=raw["filtered"],
            missed=raw["missed"],
            conflated=raw["conflated"],
            skipped=raw["skipped"],
            pending=raw["pending"],
            pending_ns=raw["pending_ns"],
            snapshots=raw["snapshots"],
            faults=raw["faults"],
            calls=raw["calls"],
            demoted=raw["demoted"],
            delivered_hash=raw["delivered_hash"],
            latency=LatencyStats(
                count=raw["latency_count"],
                p50=raw["p50"],
                p90=raw["p90"],
                p99=raw["p99"],
                p999=raw["p999"],
                max=raw["max"],
            ),
        )

    def read_into(self, out: np.ndarray, *, max_ticks: int | None = None) -> int:
        """Copy this subscription's next ticks into ``out`` and return how many were copied.

        out : shape (n,), dtype TICK_DTYPE, C-contiguous, writable. ``ts_event`` is int64 ns since 1970-01-01 UTC.
        max_ticks : 1..n, or None for n.
        Returns 0 when caught up. Never blocks; O(copied).
        Raises ClosedError (no more ticks will come), ValueError (wrong dtype or layout), ReentrantDispatchError.
        """
        self._refuse_handlers()
        if max_ticks is not None:
            whole("max_ticks", max_ticks, 1, max(1, len(out)), "ticks")
        try:
            count = self._membership.read_into(self._clock.now_ns(), out, max_ticks)
        except ReentrantDispatchError:
            # A close holds the reader for good; any other concurrent read is the caller's mistake.
            if self.state != "closed":
                raise
            count = 0
        if count == 0 and self._has_ended():
            msg = f"subscription {self.name!r} is closed and read to its end: no more ticks will come"
            raise ClosedError(msg)
        return count

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield batches as they come; wait without the interpreter's lock. Ends when the dispatcher is closed."""
        self._refuse_handlers()
        while True:
            batch = self._next_batch()
            if batch is not None:
                yield batch
            elif self._has_ended():
                return
            else:
                self._membership.wait()

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        """Yield batches as they come, woken by the ring; ends when the dispatcher is closed."""
        self._refuse_handlers()
        wakeup = LoopWakeup(self._group, self._wakeup)
        try:
            while True:
                batch = self._next_batch()
                if batch is not None:
                    yield batch
                    continue
                wakeup.arm()
                if self._membership.has_pending():
                    continue
                if self._has_ended():
                    return
                # With the time limit, a close from another thread is noticed soon in any case.
                await wakeup.wait(0.05)
        finally:
            wakeup.close()

    def _next_batch(self) -> np.ndarray | None:
        try:
            return self._membership.next_batch(self._clock.now_ns(), self.options.batch_max)
        except ReentrantDispatchError:
            if self.state != "closed":  # As in `read_into`.
                raise
            return None

    def _has_ended(self) -> bool:
        return self.state == "closed" or (self._membership.is_ring_closed() and not self._membership.has_pending())

    def _refuse_handlers(self) -> None:
        if not self._is_pull:
            msg = f"subscription {self.name!r} has handlers, which get its ticks: subscribe without a handler to pull"
            raise OptionError(msg, option="handler")

    def __repr__(self) -> str:
        return f"<Subscription {self.name} {self.state}>"
