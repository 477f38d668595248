"""Bars: the ticks of an interval as open, high, low, close and volume, made natively while ticks are numbered.

::

    publish ─▶ Sequencer ─┬▶ Ring
                          └▶ bars ─▶ take() · close_due(now) ─▶ events.Bar ─▶ the bus's data lane

When a bar closes
    By receive time: at its close by the clock (``close_due``), or by any tick received at or after its close.
    By count: on its nth tick.
    By the venue's candle: when it comes.
    By venue time: by a tick at or after its close, or after the largest delay between venue and receipt seen so far.

Late ticks
    A tick older than the open bar or the last closed one, or flagged LATE, is counted and changes no bar.

Guarantees: intervals are ``[open, close)``, multiples of the timeframe since 1970-01-01 UTC, stamped at their close;
bars see every numbered tick once, whatever a subscription loses, so they are the same at each capacity and policy.
Does not: make a bar of an interval that did not end, or publish bars: the owner publishes them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

import msgspec

import headrace._native as _native
from headrace.errors import OptionError
from headrace.limits import WINDOW_MIN_NS
from headrace.market.bar_history import BarArrays, BarHistory
from headrace.market.checks import UNITS_NS, of_type, one_of
from headrace.market.events import EVENT_KEYS, Bar, BarFrame, Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    import numpy as np

    from headrace.dispatch.dispatcher import Dispatcher

__all__ = ["BarSpec", "BarStats", "Bars", "interval_ns", "timeframe_of"]

Prices: TypeAlias = tuple[float, float, float, float, float]
ClosedBar: TypeAlias = tuple[int, str, Prices, tuple[int, int, bool], tuple[int, int], tuple[int, int, int]]

KIND_OF = {"trade": "trade", "agg_trade": "agg_trade", "mid": "quote", "bid": "quote", "ask": "quote", "kline": "kline"}
# A timeframe is written in the largest unit that fits.
TIMEFRAME_UNITS = ("ms", "s", "m", "h", "d")
# No unit of time: bars of so many ticks.
TICKS = "t"


class BarSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which bars to make.

    instrument : ``SYMBOL.VENUE`` or a pattern, ``"*"`` for all; each instrument has its own bars.
    timeframe : a whole number of ``ms``, ``s``, ``m``, ``h`` or ``d``, at least 1 ms; ``"100t"``: a bar of 100 ticks.
        Written in its largest unit: ``"60s"`` becomes ``"1m"``.
    price : the price that bars are made of. "trade" uses trades only and "agg_trade" aggregate trades only, so that
        nothing counts twice; "mid", "bid" and "ask" use quotes, and have volume 0. "kline": the venue's own candle of
        this length, where a feed has its stream (``"kline_1m"``); its time is always "ts_event".
    time : "ts_init", when a tick was received, or "ts_event", the venue's time; a tick without a venue time is in no
        bar by "ts_event".
    empty : whether an interval without ticks makes a bar, with the close before it as its prices and count 0. None
        comes before the first tick; after 100,000 in a row none comes before the next tick.

    Raises OptionError.
    """

    instrument: str = "*"
    timeframe: str = "1m"
    price: Literal["trade", "agg_trade", "mid", "bid", "ask", "kline"] = "trade"
    time: Literal["ts_init", "ts_event"] = "ts_init"
    empty: bool = False

    def __post_init__(self) -> None:
        """Refuse values that are not allowed, and write the timeframe in its largest unit."""
        if "." not in self.instrument and "*" not in self.instrument:
            msg = f"instrument={self.instrument!r} is no instrument: write SYMBOL.VENUE, or a pattern like '*.BINANCE'"
            raise OptionError(msg, option="instrument")
        of_type("instrument", self.instrument, str)
        of_type("empty", self.empty, bool)
        one_of("price", self.price, KIND_OF)
        one_of("time", self.time, ("ts_init", "ts_event"))
        count, unit = _parsed(self.timeframe)
        if unit == TICKS and self.empty:
            msg = f"empty=True with timeframe={self.timeframe!r}: a bar of ticks is never empty; remove empty=True"
            raise OptionError(msg, option="empty")
        if self.price == "kline":
            if unit == TICKS or self.empty:
                msg = f'price="kline" with timeframe={self.timeframe!r}, empty={self.empty}: a venue\'s candle has a '
                msg += "length in time, and one without trades where the venue has it"
                raise OptionError(msg, option="price")
            msgspec.structs.force_setattr(self, "time", "ts_event")
        if unit != TICKS:
            count_ns = count * UNITS_NS[unit]
            unit = next(unit for unit in reversed(TIMEFRAME_UNITS) if count_ns % UNITS_NS[unit] == 0)
            count = count_ns // UNITS_NS[unit]
        msgspec.structs.force_setattr(self, "timeframe", f"{count}{unit}")

    def takes(self, bar: Bar) -> bool:
        """Return whether this spec matches a bar."""
        return self.takes_key(EVENT_KEYS[Bar](bar))

    def takes_key(self, key: tuple[str, str, str, str, bool]) -> bool:
        """Return whether this spec matches the bars of a key, ``EVENT_KEYS[Bar]``."""
        instrument, timeframe, price, time, is_empty = key
        return (
            (timeframe, price, time) == (self.timeframe, self.price, self.time)
            and (self.empty or not is_empty)
            and _native.matches_pattern(self.instrument, instrument)
        )

    @property
    def length(self) -> tuple[Literal["ns", "ticks"], int]:
        """The length of a bar, in ns or in ticks."""
        count, unit = _parsed(self.timeframe)
        return ("ticks", count) if unit == TICKS else ("ns", count * UNITS_NS[unit])

    @property
    def kind(self) -> str:
        """The kind of bar, as in statistics: ``"1m trade"``, ``"1s mid ts_event"``."""
        return f"{self.timeframe} {self.price}" + ("" if self.time == "ts_init" else f" {self.time}")


def _parsed(timeframe: str) -> tuple[int, str]:
    """Return the number and the unit of a timeframe. Raises OptionError."""
    match = re.fullmatch(r"([0-9]{1,12})(ms|s|m|h|d|t)", str(timeframe))
    units_ns: Mapping[str, int] = {**UNITS_NS, TICKS: WINDOW_MIN_NS}
    if match is None or not WINDOW_MIN_NS <= int(match[1]) * units_ns[match[2]] < 1 << 62:
        msg = (
            f"timeframe={timeframe!r} is not allowed: write a whole number above 0 with one of ms, s, m, h, d, like "
            f"'5m', or a number of ticks, like '100t'"
        )
        raise OptionError(msg, option="timeframe")
    return int(match[1]), match[2]


def interval_ns(timeframe: str) -> int:
    """Return the length of a timeframe of time, ns. Raises OptionError: it is none, or counts ticks."""
    unit, length = BarSpec(timeframe=timeframe).length
    if unit == "ticks":
        msg = f"timeframe={timeframe!r} counts ticks: give a length of time, like '1m'"
        raise OptionError(msg, option="timeframe")
    return length


def timeframe_of(length_ns: int) -> str:
    """Return the timeframe of a length, in its largest unit. Raises OptionError: shorter than a millisecond."""
    return BarSpec(timeframe=f"{length_ns // UNITS_NS['ms']}ms").timeframe


class BarStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one kind of bar; each tick is in exactly one of the first five.

    ticks : in a bar, closed or open. late : older than the open bar or the last closed one, or flagged LATE.
    duplicates : flagged DUPLICATE. untimed : without a venue time, for bars by ts_event.
    unpriced : with a price or size that is no finite number, or without the side of the book that the bar needs.
    bars : closed so far, empty ones included. empty : bars without ticks.
    """

    ticks: int
    late: int
    duplicates: int
    untimed: int
    unpriced: int
    bars: int
    empty: int


class Bars:
    """The bars of one dispatcher, of any number of specs. A context manager.

    dispatcher : the source of the ticks; a dispatcher has one ``Bars``. specs : the first specs; ``add`` adds more.

    Two specs that match the same bar make one bar. Bars begin with the next tick. About 5 ns per tick and matching
    spec. Raises OptionError.
    """

    def __init__(self, dispatcher: Dispatcher, specs: Iterable[BarSpec] = ()) -> None:
        self._builder = dispatcher.bar_builder()
        # By kind of bar: the native spec's number, and each spec with the number of times it was added.
        self._kinds: dict[str, tuple[int, dict[BarSpec, int]]] = {}
        self._by_number: dict[int, BarSpec] = {}
        self._history = BarHistory()
        # How many strategies take frames.
        self.frame_takers = 0
        # By timeframe, price and time: the instruments that had bars.
        self._seen: dict[tuple[str, str, str], dict[str, None]] = {}
        for spec in specs:
            self.add(spec)

    def add(self, spec: BarSpec) -> None:
        """Begin the bars of a spec. A spec that was added n times ends after n removals."""
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
        """End the bars of a spec; open intervals that no other spec matches make no bar. Raises OptionError."""
        number, uses = self._kinds.get(spec.kind, (0, {}))
        if spec not in uses:
            msg = f"{spec!r} is not among these bars: remove a spec that was added"
            raise OptionError(msg, option="spec")
        uses[spec] -= 1
        if uses[spec]:
            return
        del uses[spec]
        if not uses:
            # Its number stays in _by_number: bars that closed before may not be taken yet.
            del self._kinds[spec.kind]
        self._change(number, uses)

    def _change(self, number: int, uses: Iterable[BarSpec]) -> None:
        self._builder.change(number, [(spec.instrument, spec.empty) for spec in uses])

    @property
    def specs(self) -> tuple[BarSpec, ...]:
        """The added specs, each once."""
        return tuple(spec for _, uses in self._kinds.values() for spec in uses)

    @property
    def due_ns(self) -> int | None:
        """When the next bar of a time interval closes, ns; None when none is open."""
        return self._builder.due_ns

    @property
    def has_closed(self) -> bool:
        """Whether ``take`` would return a bar."""
        return self._builder.has_closed

    def closed_ns(self, position: int) -> int | None:
        """Return when the first bar was due that ``take(position)`` would return; None when there is none."""
        return self._builder.closed_ns(position)

    def take(self, position: int | None = None, by_ns: int | None = None) -> list[Bar]:
        """Return the bars that ticks closed since the last call, in the order in which they closed.

        position : only those that a reader at this ring position may have: it had all ticks that came before they
        closed. by_ns : only those that were due by then.
        """
        return [self._bar(closed) for closed in self._builder.take(position, by_ns)]

    def close_due(self, now_ns: int) -> list[Bar]:
        """Close the bars due by ``now_ns`` and return them by (due, creation). Call ``take`` first."""
        return [self._bar(closed) for closed in self._builder.close_due(now_ns)]

    def _bar(self, closed: ClosedBar) -> Bar:
        number, instrument, prices, (count, late, partial), (ts_open, ts_close), ticks = closed
        opened, high, low, close, volume = prices
        spec = self._by_number[number]
        return Bar(
            # The publisher stamps a bar by venue time: the venue's time is not the engine's.
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
            partial=partial,
        )

    def published(self, bars: Sequence[Bar]) -> list[BarFrame]:
        """Keep bars that are published now, and return them as frames, if a strategy takes such."""
        self._history.add(bars)
        if not self.frame_takers:
            return []
        groups: dict[tuple[str, str, str, int], dict[str, Bar]] = {}
        for bar in bars:
            groups.setdefault((bar.timeframe, bar.price, bar.time, bar.ts_close), {})[bar.instrument] = bar
        frames = []
        for (timeframe, price, time, ts_close), by_name in groups.items():
            seen = self._seen.setdefault((timeframe, price, time), {})
            missing = tuple(name for name in seen if name not in by_name)
            seen.update(dict.fromkeys(by_name))
            last = next(reversed(by_name.values()))
            frames.append(
                BarFrame(
                    ts=last.ts,
                    cause=last.cause,
                    timeframe=timeframe,
                    price=price,
                    time=time,
                    ts_close=ts_close,
                    bars=by_name,
                    missing=missing,
                )
            )
        return frames

    def follow_candles(self, unread: Mapping[tuple[str, str, str], Callable[[], np.ndarray]]) -> None:
        """Have the history take the candles that native code publishes: by key, what returns those that are new."""
        self._history.follow(unread)

    def history(self, instrument: str, timeframe: str, n: int, *, price: str = "trade") -> BarArrays:
        """Return the latest ``n`` closed bars as arrays, fewer where there are fewer.

        n : 1..10,000. Read-only arrays of one length, the oldest bar first; they never change. O(bars since the last
        call). Raises OptionError: no strategy takes such bars, or n is out of bounds.
        """
        timeframe = BarSpec(timeframe=timeframe).timeframe
        if not any(spec.takes_key((instrument, timeframe, price, spec.time, False)) for spec in self.specs):
            self._history.refuse_unknown(instrument, timeframe, price)
        return self._history.arrays(instrument, timeframe, n, price)

    def stats(self) -> Mapping[str, BarStats]:
        """Return the counts by kind of bar, ``"1m trade"``."""
        counts = self._builder.counts()
        return {kind: BarStats(**counts[number]) for kind, (number, _) in self._kinds.items()}

    def close(self) -> None:
        """Drop every spec and every open bar. May be called twice."""
        self._builder.close()
        self._kinds.clear()
        self._by_number.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
