"""SubscriptionOptions: how the ticks of a subscription are delivered; each option once, with its type and bounds.

::

    DEFAULTS  <  class attribute  <  configuration, pair  <  keywords of subscribe  <  tune
        └──────────────── checked ────────────────┘               └─ changed ─┘  ─▶ native code, as it is

Guarantees: every value is checked, and the relations between them; an error names the option, its value and what is
allowed.
Does not: check options against handlers (``joining``).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, Unpack

import msgspec

from headrace.limits import BATCH_MAX, BATCH_MAX_MAX, WINDOW_MIN_NS
from headrace.market.checks import converted, duration_ns, refuse, refuse_unknown

__all__ = [
    "DEFAULTS",
    "BatchMax",
    "LagNs",
    "LagTicks",
    "OnLag",
    "Overflow",
    "OverflowName",
    "SubscribeOptions",
    "SubscriptionOptions",
    "TuneOptions",
]


class Overflow(StrEnum):
    """What happens when a consumer is too slow.

    BLOCK : the writer waits (live, at most ``block_max_ns``). DROP_OLDEST : the oldest ticks are lost, counted, and
    delivered as a gap. CONFLATE : older quotes are folded into newer ones; for quotes and other kinds of state only.
    """

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    CONFLATE = "conflate"


OverflowName: TypeAlias = Annotated[
    Literal["block", "drop_oldest", "conflate"], msgspec.Meta(description="what happens when it is too slow")
]
BatchMax: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=BATCH_MAX_MAX, description="ticks per plural call")]
LagTicks: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1 << 62, description="so far behind is too far, ticks")]
LagNs: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1 << 62, description="so far behind is too far, ns")]
OnLag: TypeAlias = Annotated[
    Literal["warn", "skip"], msgspec.Meta(description="what happens then; skip: on to the newest tick")
]
_Instruments: TypeAlias = Annotated[
    str | tuple[str, ...] | None,
    msgspec.Meta(extra={"takes": "SYMBOL.VENUE, or a pattern like 'BTC*.BINANCE', or a list"}),
]
_Kinds: TypeAlias = str | tuple[str, ...] | None
_Every: TypeAlias = Annotated[
    str | Annotated[int, msgspec.Meta(ge=WINDOW_MIN_NS, le=1 << 62)] | None,
    msgspec.Meta(extra={"takes": f"a time from {WINDOW_MIN_NS:,} ns to 2^62 ns, like '100ms'"}),
]


class SubscriptionOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the ticks of a subscription are delivered. What is not set here is as the strategy's class has it.

    instruments : SYMBOL.VENUE or a pattern, one or several; "*" is all.
    kinds : names of kinds; by default those of the handlers.
    overflow : what happens when it is too slow: "block" (default inline, and without a handler), "drop_oldest" (default
        in threads, and for async handlers live) or "conflate" (quotes only).
    batch_max : ticks per plural call.
    every : "100ms": plural handlers get whole windows of the clock, aligned to it, the same live and in replay. A gap,
        a million ticks or the end of the run cut one; each part is then flagged PARTIAL_WINDOW.
    min_interval_ns : with "conflate": at least so long between two quotes of an instrument, ns; the newest waits.
    rate_limit : ticks per second, with a lossy overflow; the excess is skipped and delivered as a gap.
    lag_max_ticks : warn, once per episode, when more ticks behind than this.
    lag_max_ns : warn, once per episode, when further behind than this, ns.
    on_lag : "skip" jumps to the newest tick after the warning, with a lossy overflow, and delivers a gap.
    mode : "inline", or "thread" for its own thread.
    on_fault : "raise" or "quarantine"; by default the engine's or dispatcher's.
    """

    instruments: _Instruments = None
    kinds: _Kinds = None
    overflow: Overflow | None = None
    batch_max: BatchMax | None = None
    every: _Every = None
    min_interval_ns: Annotated[int, msgspec.Meta(ge=0, le=1 << 62)] | None = None
    rate_limit: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    lag_max_ticks: LagTicks | None = None
    lag_max_ns: LagNs | None = None
    on_lag: OnLag | None = None
    mode: Literal["inline", "thread"] | None = None
    on_fault: Literal["raise", "quarantine"] | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that are set, as keywords of ``Dispatcher.subscribe``."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}

    @classmethod
    def checked(cls, **given: object) -> SubscriptionOptions:
        """Return the options with their defaults, each value checked, and their relations. Raises OptionError."""
        # Most strategies have the same few options. True is no 1 here, but equals it.
        values = given.values()
        key = tuple(zip(given, map(type, values), values, strict=True))
        try:
            return _checked(key)
        except TypeError:
            return cls._check(given)  # A list cannot be a key.

    @classmethod
    def _check(cls, given: dict[str, object]) -> SubscriptionOptions:
        values = DEFAULTS.given() | {name: value for name, value in given.items() if value is not None}
        for name in ("instruments", "kinds"):
            if name in values:
                values[name] = _names(values[name])
        if "every" in values:
            values["every"] = duration_ns("every", values["every"])
        options = converted("a subscription", values, cls)
        _check_relations(options)
        return options

    def changed(self, **changes: Unpack[TuneOptions]) -> SubscriptionOptions:
        """Return a copy with some options changed, and all checked again. Raises OptionError."""
        refuse_unknown("tune", changes, TuneOptions.__annotations__)
        return self.checked(**{**self.given(), **changes})


@lru_cache(maxsize=256)
def _checked(key: tuple[tuple[str, type, object], ...]) -> SubscriptionOptions:
    return SubscriptionOptions._check({name: value for name, _, value in key})  # noqa: SLF001 - its other half


DEFAULTS = SubscriptionOptions(instruments="*", batch_max=BATCH_MAX, min_interval_ns=0, on_lag="warn", mode="inline")


class TuneOptions(TypedDict, total=False):
    """The options that ``Dispatcher.tune`` may change while a subscription lives, for type checkers."""

    overflow: Overflow | OverflowName | None
    batch_max: int
    lag_max_ticks: int | None
    lag_max_ns: int | None
    on_lag: OnLag


class SubscribeOptions(TuneOptions, total=False):
    """The options of ``Dispatcher.subscribe``, for type checkers; ``SubscriptionOptions`` describes each."""

    instruments: str | Iterable[str]
    kinds: str | Iterable[str] | None
    every: str | int | None
    min_interval_ns: int
    rate_limit: float | None
    mode: Literal["inline", "thread"]
    on_fault: Literal["raise", "quarantine"] | None


def _names(value: object) -> tuple[object, ...]:
    """Return one name or several as a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def _check_relations(options: SubscriptionOptions) -> None:
    names = options.instruments
    if not names or not all("." in name or "*" in name for name in names):
        refuse("instruments", names, "at least one SYMBOL.VENUE, or a pattern like 'BTC*.BINANCE' ('*' any text)")
    is_lossy = options.overflow in (Overflow.DROP_OLDEST, Overflow.CONFLATE)
    if options.min_interval_ns and options.overflow is not Overflow.CONFLATE:
        refuse("min_interval_ns", options.min_interval_ns, "overflow='conflate' with it: only quotes may be held back")
    if options.rate_limit and not is_lossy:
        reason = "with 'block' it would throttle the feed of all subscriptions"
        refuse("rate_limit", options.rate_limit, f"overflow='drop_oldest' or 'conflate' with it: {reason}")
    if options.on_lag == "skip" and not (options.lag_max_ticks or options.lag_max_ns):
        refuse("on_lag", "skip", "lag_max_ticks or lag_max_ns with it, the lag from which it skips")
    if options.on_lag == "skip" and not is_lossy:
        refuse("on_lag", "skip", "overflow='drop_oldest' or 'conflate' with it: 'block' delivers every tick")
