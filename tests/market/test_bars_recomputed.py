"""Bars against a recomputation that keeps every tick in a list, for ticks that are early, late, repeated or invalid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import Dispatcher, Flags, ticks
from headrace.market.bars import Bars, BarSpec
from headrace.market.events import Bar, Cause
from headrace.market.tick import KINDS
from tests.support.feeding import BTC, ETH, read_all

MS = 10**6
NAMES = [BTC, ETH]
KIND_OF = {"trade": "trade", "mid": "quote", "bid": "quote"}
COUNTS = ("ticks", "late", "duplicates", "untimed", "unpriced", "bars", "empty")


@dataclass
class Slow:
    """Computes the bars of one spec and one instrument from lists."""

    spec: BarSpec
    instrument: str
    inside: list[Any] = field(default_factory=list)
    last: Any = None
    open_ns: int | None = None
    floor_ns: int | None = None
    travel_ns: int = 0
    # When the first tick of all was received.
    since_ns: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    @property
    def step_ns(self) -> int:
        unit, length = self.spec.length
        return length if unit == "ns" else 0

    def price(self, tick: Any) -> float:
        first, second = float(tick["values"][0]), float(tick["values"][1])
        return {"trade": first, "bid": first, "mid": (first + second) / 2}[self.spec.price]

    def size(self, tick: Any) -> float:
        return float(tick["values"][1]) if self.spec.price == "trade" else 0.0

    def takes(self, tick: Any) -> bool:
        return (
            KINDS[int(tick["kind"])].name == KIND_OF[self.spec.price] and NAMES[tick["instrument"]] == self.instrument
        )

    def refused(self, tick: Any) -> str | None:
        flags, ts = Flags(int(tick["flags"])), int(tick[self.spec.time])
        if flags & Flags.DUPLICATE:
            return "duplicates"
        if flags & Flags.LATE:
            return "late"
        if self.spec.time == "ts_event" and flags & Flags.NO_VENUE_TIME:
            return "untimed"
        if self.floor_ns is not None and ts < self.floor_ns:
            return "late"
        return None if np.isfinite(self.price(tick)) and np.isfinite(self.size(tick)) else "unpriced"

    def fold(self, tick: Any) -> list[Bar]:
        reason = self.refused(tick)
        if reason is not None:
            self.counts[reason] += 1
            return []
        self.counts["ticks"] += 1
        ts = int(tick[self.spec.time])
        if self.spec.time == "ts_event":
            self.travel_ns = max(self.travel_ns, int(tick["ts_init"]) - ts)
        closed = []
        if self.step_ns:
            while self.open_ns is not None and ts >= self.open_ns + self.step_ns:
                closed.append(self.close())
            if self.open_ns is None:
                self.open_ns = ts // self.step_ns * self.step_ns
            self.floor_ns = self.open_ns
        elif not self.inside:
            self.floor_ns = ts
        self.inside.append(tick)
        if not self.step_ns and len(self.inside) == self.spec.length[1]:
            assert self.floor_ns is not None
            closed.append(self.bar(self.floor_ns, ts))
            self.floor_ns = ts
        return closed

    def due_ns(self) -> int | None:
        return None if self.open_ns is None else self.open_ns + self.step_ns + self.travel_ns

    def close(self) -> Bar:
        assert self.open_ns is not None
        end_ns = self.open_ns + self.step_ns
        bar = self.bar(self.open_ns, end_ns)
        self.floor_ns = end_ns
        self.open_ns = end_ns if self.spec.empty else None
        return bar

    def bar(self, open_ns: int, close_ns: int) -> Bar:
        self.counts["bars"] += 1
        self.counts["empty"] += not self.inside
        made_of = self.inside or [self.last]
        prices = [self.price(tick) for tick in self.inside] or [self.price(self.last)]
        # Added in the order of the ticks, not by NumPy's pairwise sum.
        volume = 0.0
        for tick in self.inside:
            volume += self.size(tick)
        first, last = made_of[0], made_of[-1]
        bar = Bar(
            ts=close_ns if self.spec.time == "ts_init" else 0,
            cause=Cause(
                self.instrument, KIND_OF[self.spec.price], int(first["seq"]), int(last["seq"]), int(last["ts_init"])
            ),
            instrument=self.instrument,
            timeframe=self.spec.timeframe,
            price=self.spec.price,
            time=self.spec.time,
            open=prices[0] if self.inside else prices[-1],
            high=max(prices),
            low=min(prices),
            close=prices[-1],
            volume=volume,
            count=len(self.inside),
            ts_open=open_ns,
            ts_close=close_ns,
            late=self.counts["late"],
            partial=bool(self.step_ns) and open_ns < self.since_ns,
        )
        self.last, self.inside = last, []
        return bar


SPECS = [
    BarSpec(timeframe="1ms"),
    BarSpec(timeframe="5ms", empty=True),
    BarSpec(timeframe="3ms", time="ts_event"),
    BarSpec(timeframe="3ms", price="mid"),
    BarSpec(BTC, "2ms", "bid", empty=True),
    BarSpec(timeframe="3t"),
    BarSpec("ETH*", "2t", "mid", time="ts_event"),
]


def close_due(series: Iterable[Slow], now_ns: int) -> list[Bar]:
    """Close all bars that are due: the earliest first, then by spec, then by instrument."""
    closed: list[Bar] = []
    while True:
        due = [(one.due_ns(), number) for number, one in enumerate(series) if one.due_ns() is not None]
        first = min(due, default=None)
        if first is None or first[0] is None or first[0] > now_ns:
            return closed
        closed.append(list(series)[first[1]].close())


def by_moment(bars: list[Bar]) -> list[Bar]:
    """Sort bars that several specs closed on one tick, so that both lists can be compared."""
    return sorted(bars, key=lambda bar: (bar.instrument, bar.timeframe, bar.price, bar.time, bar.ts_close, bar.ts_open))


moves = st.lists(
    st.tuples(
        st.sampled_from(["trade", "trade", "quote", "close"]),
        st.integers(0, 1),  # which instrument
        st.integers(-3 * MS, 8 * MS),  # how far time goes on, or back
        st.sampled_from([1.0, 1.5, 2.25, 0.1, 0.7, float("nan"), float("inf")]),
        st.sampled_from([0.1, 0.2, 0.3, 1e9, 1e-9]),
        st.integers(-2, 3),  # how far the venue's number goes on, or back
        st.booleans(),  # whether there is a venue time
        st.integers(0, 2 * MS),  # how long it was on its way
    ),
    max_size=60,
)


@given(moves)
@settings(max_examples=300)
def test_bars_are_what_a_recomputation_from_lists_makes(moves: list[tuple[Any, ...]]) -> None:
    with Dispatcher(instruments=NAMES, duplicates="deliver", late="deliver") as dispatcher:
        bars = Bars(dispatcher, SPECS)
        pull = dispatcher.subscribe()
        series = [
            Slow(spec, name) for spec in SPECS for name in NAMES if spec.instrument in ("*", name, f"{name[:3]}*")
        ]
        now_ns, number = 10**10, [100, 100]
        for what, which, step_ns, price, size, gap, timed, travel_ns in moves:
            now_ns += step_ns
            if what == "close":
                assert by_moment(bars.take()) == []
                assert bars.close_due(now_ns) == close_due(series, now_ns)
                continue
            number[which] += gap
            values = {"price": price, "size": size}
            if what == "quote":
                values = {"bid_price": price, "ask_price": price + size, "bid_size": 1.0, "ask_size": 1.0}
            tick = ticks(
                instrument=NAMES[which],
                ts_init=np.array([now_ns]),
                ts_event=np.array([now_ns - travel_ns]) if timed else None,
                instruments=dispatcher.instruments,
                kind=what,
                venue_seq=np.array([number[which]], "u8"),
                **values,
            )
            dispatcher.publish(tick)
            for one in series:
                one.since_ns = one.since_ns or now_ns
            expected = []
            for taken in read_all(pull):
                expected += close_due(series, int(taken["ts_init"]))
                for one in series:
                    if one.takes(taken):
                        expected += one.fold(taken)
            assert by_moment(bars.take()) == by_moment(expected)
        stats = bars.stats()
        for spec in SPECS:
            counts = {name: sum(one.counts[name] for one in series if one.spec == spec) for name in COUNTS}
            assert {name: getattr(stats[spec.kind], name) for name in COUNTS} == counts
