"""Options of a subscription: their names for type checkers, and the checked values.

Guarantees: every value is checked, and the relations between them; an error names the option, its value and what is
valid.
Does not: resolve the defaults that depend on handlers (``joining``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypedDict, Unpack

from headrace.limits import BATCH_MAX, BATCH_MAX_MAX, WINDOW_MIN_NS
from headrace.market.checks import duration_ns, of_type, one_of, rate, refuse, whole

__all__ = ["Overflow", "SubscribeOptions", "SubscriptionOptions", "TuneOptions"]


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
    of_type(option, value, str, Iterable)
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names:
        refuse(option, names, "at least one name or pattern")
    for name in names:
        if not isinstance(name, str) or ("." not in name and "*" not in name):
            valid = "SYMBOL.VENUE, or a pattern like 'BTC*.BINANCE' ('*' any text, '?' one character)"
            refuse(option, name, valid)
    return tuple(str(name) for name in names)


def _check_rate(option: str, value: object, *, is_lossy: bool) -> None:
    if value is None:
        return
    rate(option, value, "ticks")
    if not is_lossy:
        reason = "with 'block' it would throttle the feed of all subscriptions"
        refuse(option, value, f"overflow='drop_oldest' or 'conflate' with it: {reason}")
