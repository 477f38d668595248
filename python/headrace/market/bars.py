"""Bars: the ticks of an interval as open, high, low, close and volume, made natively while ticks are numbered.

::

    publish ─▶ Sequencer ─┬▶ Ring
                          └▶ bars ─▶ take() · close_due(now) ─▶ events.Bar ─▶ the bus's data lane

When a bar closes
    By receipt: at its close by the clock (``close_due``), or by a tick at or after it. By count: on its nth tick.
    By venue time: by a tick at or after its close, or when the slowest tick so far would have come.

Late ticks
    One that is older than what is open or closed, or that the sequencer flagged LATE, is counted and changes no bar.

Guarantees: intervals are ``[open, close)``, multiples of the timeframe since 1970-01-01 UTC, stamped at their close;
bars see every numbered tick once, whatever a subscription loses, so they are the same at each capacity and policy.
Does not: make a bar of an interval that did not end, or publish: who owns it does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

import msgspec

import headrace._native as _native
from headrace.errors import OptionError
from headrace.limits import WINDOW_MIN_NS
from headrace.market.events import EVENT_KEYS, Bar, Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from headrace.dispatch.dispatcher import Dispatcher

__all__ = ["BarSpec", "BarStats", "Bars"]

Prices: TypeAlias = tuple[float, float, float, float, float]
ClosedBar: TypeAlias = tuple[int, str, Prices, tuple[int, int], tuple[int, int], tuple[int, int, int]]

KIND_OF = {"trade": "trade", "agg_trade": "agg_trade", "mid": "quote", "bid": "quote", "ask": "quote"}
# Largest first: a timeframe is written in the largest unit that fits.
UNITS_NS = {"d": 86_400 * 10**9, "h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6}
# No unit of time: bars of so many ticks.
TICKS = "t"


class BarSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What bars somebody wants.

    instrument : ``SYMBOL.VENUE`` or a pattern, ``"*"`` for all; each instrument has bars of its own.
    timeframe : a whole number of ``ms``, ``s``, ``m``, ``h`` or ``d``, from 1 ms on; ``"100t"``: a bar each 100 ticks.
        Written in its largest unit: ``"60s"`` becomes ``"1m"``.
    price : what they are made of. "trade" counts trades and "agg_trade" aggregates of them, each only its own kind, so
        that nothing counts twice; "mid", "bid" and "ask" are of quotes, and have volume 0.
    time : "ts_init", when a tick was received, or "ts_event", the venue's time; ticks without one are in no such bar.
    empty : an interval without ticks repeats the close before it, with count 0; none before the first tick, and after
        100,000 in a row none before the next one.

    Raises OptionError.
    """

    instrument: str = "*"
    timeframe: str = "1m"
    price: Literal["trade", "agg_trade", "mid", "bid", "ask"] = "trade"
    time: Literal["ts_init", "ts_event"] = "ts_init"
    empty: bool = False

    def __post_init__(self) -> None:
        """Refuse what no bar can be, and write the timeframe in its largest unit."""
        if "." not in self.instrument and "*" not in self.instrument:
            msg = f"instrument={self.instrument!r} is no instrument: give SYMBOL.VENUE, or a pattern like '*.BINANCE'"
            raise OptionError(msg, option="instrument")
        _refuse_unknown("price", self.price, KIND_OF)
        _refuse_unknown("time", self.time, ("ts_init", "ts_event"))
        count, unit = _parsed(self.timeframe)
        if unit == TICKS and self.empty:
            msg = f"empty=True with timeframe={self.timeframe!r}: a bar of ticks is never empty; leave empty out"
            raise OptionError(msg, option="empty")
        if unit != TICKS:
            count_ns = count * UNITS_NS[unit]
            unit = next(unit for unit, length in UNITS_NS.items() if count_ns % length == 0)
            count = count_ns // UNITS_NS[unit]
        msgspec.structs.force_setattr(self, "timeframe", f"{count}{unit}")

    def takes(self, bar: Bar) -> bool:
        """Say whether a bar is one that this spec asks for."""
        return self.takes_key(EVENT_KEYS[Bar](bar))

    def takes_key(self, key: tuple[str, str, str, str, bool]) -> bool:
        """Say whether it asks for bars of a key, ``EVENT_KEYS[Bar]``."""
        instrument, timeframe, price, time, is_empty = key
        return (
            (timeframe, price, time) == (self.timeframe, self.price, self.time)
            and (self.empty or not is_empty)
            and _native.matches_pattern(self.instrument, instrument)
        )

    @property
    def length(self) -> tuple[Literal["ns", "ticks"], int]:
        """How long a bar is."""
        count, unit = _parsed(self.timeframe)
        return ("ticks", count) if unit == TICKS else ("ns", count * UNITS_NS[unit])

    @property
    def kind(self) -> str:
        """The kind of bar, as statistics name it: ``"1m trade"``, ``"1s mid ts_event"``."""
        return f"{self.timeframe} {self.price}" + ("" if self.time == "ts_init" else f" {self.time}")


def _refuse_unknown(option: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        msg = f"{option}={value!r} is unknown: use one of {', '.join(known)}"
        raise OptionError(msg, option=option)


def _parsed(timeframe: str) -> tuple[int, str]:
    """Return the number and the unit of a timeframe. Raises OptionError."""
    match = re.fullmatch(r"([0-9]{1,12})(ms|s|m|h|d|t)", str(timeframe))
    units_ns: Mapping[str, int] = {**UNITS_NS, TICKS: WINDOW_MIN_NS}
    if match is None or not WINDOW_MIN_NS <= int(match[1]) * units_ns[match[2]] < 1 << 62:
        msg = (
            f"timeframe={timeframe!r} is not allowed: write a whole number from 1 on and one of ms, s, m, h, d, like "
            f"'5m', or how many ticks, like '100t'"
        )
        raise OptionError(msg, option="timeframe")
    return int(match[1]), match[2]


class BarStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the ticks of one kind of bar; each is in exactly one of the first five numbers.

    ticks : in a bar, closed or open. late : older than the open bar or the last closed one, or flagged LATE.
    duplicates : flagged DUPLICATE. untimed : without a venue time, for bars by ts_event.
    unpriced : with a price or size that is no finite number.
    bars : closed so far, empty ones included. empty : those without ticks.
    """

    ticks: int
    late: int
    duplicates: int
    untimed: int
    unpriced: int
    bars: int
    empty: int


class Bars:
    """The bars of one dispatcher, as many specs as wanted; two specs that want the same bar get one. A context manager.

    dispatcher : whose ticks; there is one ``Bars`` for each. specs : to begin with.

    Bars begin with the next tick. About 5 ns a tick and spec that matches. Raises OptionError.
    """

    def __init__(self, dispatcher: Dispatcher, specs: Iterable[BarSpec] = ()) -> None:
        self._builder = dispatcher.bar_builder()
        # By kind of bar: the native spec's number, and who asks for it, how often.
        self._kinds: dict[str, tuple[int, dict[BarSpec, int]]] = {}
        self._by_number: dict[int, BarSpec] = {}
        for spec in specs:
            self.add(spec)

    def add(self, spec: BarSpec) -> None:
        """Begin the bars of a spec; a spec that is there already is counted, and removed as often."""
        known = self._kinds.get(spec.kind)
        if known is None:
            wanted = [(spec.instrument, spec.empty)]
            number = self._builder.add(wanted, spec.length, spec.price, spec.time == "ts_event")
            self._kinds[spec.kind] = (number, {spec: 1})
            self._by_number[number] = spec
            return
        number, uses = known
        uses[spec] = uses.get(spec, 0) + 1
        if uses[spec] == 1:
            self._change(number, uses)

    def remove(self, spec: BarSpec) -> None:
        """End the bars of a spec; what is open, and nobody else asks for, makes no bar. Raises OptionError."""
        number, uses = self._kinds.get(spec.kind, (0, {}))
        if spec not in uses:
            msg = f"{spec!r} is not among these bars: remove what was added"
            raise OptionError(msg, option="spec")
        uses[spec] -= 1
        if uses[spec]:
            return
        del uses[spec]
        if not uses:
            # Its number is still known: bars that closed before may not be taken yet.
            del self._kinds[spec.kind]
        self._change(number, uses)

    def _change(self, number: int, uses: Iterable[BarSpec]) -> None:
        self._builder.change(number, [(spec.instrument, spec.empty) for spec in uses])

    @property
    def specs(self) -> tuple[BarSpec, ...]:
        """What was asked for, each once."""
        return tuple(spec for _, uses in self._kinds.values() for spec in uses)

    @property
    def due_ns(self) -> int | None:
        """When the next bar of time is due, ns; None when none runs."""
        return self._builder.due_ns

    @property
    def has_closed(self) -> bool:
        """Whether ``take`` has something to give."""
        return self._builder.has_closed

    def take(self) -> list[Bar]:
        """Return the bars that ticks closed since the last call, in the order in which they closed."""
        return [self._bar(closed) for closed in self._builder.take()]

    def close_due(self, now_ns: int) -> list[Bar]:
        """Close what is due by ``now_ns`` and return it by (due, creation). Take first what ticks closed before."""
        return [self._bar(closed) for closed in self._builder.close_due(now_ns)]

    def _bar(self, closed: ClosedBar) -> Bar:
        number, instrument, (opened, high, low, close, volume), (count, late), (ts_open, ts_close), ticks = closed
        spec = self._by_number[number]
        return Bar(
            # A bar by venue time is stamped by who publishes it: the venue's time is none of the engine's.
            ts=ts_close if spec.time == "ts_init" else 0,
            cause=Cause(instrument, KIND_OF[spec.price], *ticks),
            instrument=instrument,
            timeframe=spec.timeframe,
            price=spec.price,
            time=spec.time,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            count=count,
            ts_open=ts_open,
            ts_close=ts_close,
            late=late,
        )

    def stats(self) -> Mapping[str, BarStats]:
        """Return the counts by kind of bar, ``"1m trade"``."""
        counts = self._builder.counts()
        return {kind: BarStats(**counts[number]) for kind, (number, _) in self._kinds.items()}

    def close(self) -> None:
        """Drop every spec and what is open. May be called twice."""
        self._builder.close()
        self._kinds.clear()
        self._by_number.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
