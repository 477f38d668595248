"""Observer: keeps what happens in a run: orders, fills, marks, round trips, and the hash of its audit.

::

    bus ─▶ order events ─▶ orders, fills, trips        every event ─▶ SHA-256 of the lines that an audit would have
    dispatcher ─▶ quotes of 5 minutes at once ─┬▶ marks, and the worst and best of each trip
    bus ─▶ candles, a thousand at once ────────┘

Guarantees: it publishes nothing and calls nobody, so a run with it decides what it would without; each fill has the
quote that was there.
Does not: keep ticks; what it holds grows with orders, and with time up to a bound.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

import headrace._native as _native
from headrace.feeds.base import CandleSource
from headrace.market.event_json import encode_event
from headrace.market.events import (
    Bar,
    Event,
    FundingPaid,
    Liquidated,
    OrderAmended,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderFilled,
    OrderRejected,
    OrderRequested,
    OrderTriggered,
    Signal,
)
from headrace.market.instrument import instrument_of
from headrace.market.money import MONEY, ZERO, shown
from headrace.market.tick import NEVER_NEWEST
from headrace.research.marks import Marks
from headrace.research.rows import Fill, FundingRow, OrderRow
from headrace.research.trips import Trips

if TYPE_CHECKING:
    from headrace.engine.parts import EngineParts

__all__ = ["Observer"]

# Times and marks, and times and prices that trips see.
Looked: TypeAlias = "tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]"

# So many quotes and candles at once that NumPy's cost per call is small, and their copy too.
WINDOW = "5m"
CANDLES = 1_024
ENDS: dict[type[OrderEvent], str] = {
    OrderFilled: "filled",
    OrderCanceled: "canceled",
    OrderExpired: "expired",
    OrderRejected: "rejected",
}


class Observer:
    """Keeps a run of these parts, which have not run. hashing : also the hash of its audit."""

    def __init__(self, parts: EngineParts, *, hashing: bool) -> None:
        self._parts = parts
        self._requests: dict[str, OrderRequested] = {}
        self._orders: dict[str, OrderRow] = {}
        self.fills: list[Fill] = []
        self.funding: list[FundingRow] = []
        self.liquidations: list[Liquidated] = []
        self.signals: list[Signal] = []
        self.marks = Marks()
        self.trips = Trips(lambda order_id: self._requests[order_id].tag)
        self._net: dict[str, Decimal] = {}
        # Of each order that is filled in part: what its fills were worth.
        self._worth: dict[str, Decimal] = {}
        self._hash = _native.AuditHash(parts.candles) if hashing else None
        self._names = parts.dispatcher.instruments
        # By instrument: when its first quote was.
        self._quoted_ns: dict[str, int] = {}
        # The candles that were not looked at yet.
        self._candles = _native.CandleRows(parts.candles, CANDLES)
        parts.bus.subscribe(OrderEvent, self._on_order, name="result")
        parts.bus.subscribe(Signal, self._on_signal, name="result signals")
        parts.bus.subscribe((FundingPaid, Liquidated), self._on_money, name="result money")
        if any(isinstance(feed, CandleSource) for feed in parts.feeds):
            self._candles.tap(parts.bus.subscribe(Bar, self._on_bar, name="result candles").native)
        if self._hash is not None:
            self._hash.tap(parts.bus.subscribe(Event, self._on_event, name="result hash").native)
        parts.dispatcher.subscribe(self._on_quotes, callback="on_quotes", name="result", every=WINDOW, overflow="block")

    @property
    def audit_hash(self) -> str | None:
        """SHA-256 of the lines of an audit without its header, lower-case hex; None without hashing."""
        return None if self._hash is None else self._hash.hexdigest()

    def input_hash(self, of_ticks: str | None) -> str | None:
        """Return the hash of the input: that of its ticks, and with candles one over both, by instrument."""
        of_candles = {} if self._hash is None else self._hash.input_hexdigests()
        if of_ticks is None or not of_candles:
            return of_ticks
        parts = [of_ticks, *(f"{name} {own}" for name, own in of_candles.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def orders(self) -> list[OrderRow]:
        """Every order, in the order in which they were submitted."""
        return list(self._orders.values())

    def mark_of(self, instrument: str) -> Decimal | None:
        """Return the last mark, as the account values positions; None: there was none."""
        return self._parts.marks.mid(instrument)

    # Events

    def _on_event(self, event: Event) -> None:
        assert self._hash is not None
        self._hash.update(encode_event(event) + b"\n")

    def _on_signal(self, signal: Event) -> None:
        assert isinstance(signal, Signal)
        self.signals.append(signal)

    def _on_money(self, event: Event) -> None:
        if isinstance(event, FundingPaid):
            self.funding.append(FundingRow.of(event))
            self.trips.pay(event)
        elif isinstance(event, Liquidated):
            self.liquidations.append(event)

    def _on_order(self, event: Event) -> None:
        assert isinstance(event, OrderEvent)
        if self._parts.orders.is_refused(event):
            return
        if isinstance(event, OrderRequested):
            self._requests[event.order_id] = event
            self._orders[event.order_id] = OrderRow.of(event)
            return
        row = self._orders.get(event.order_id)
        if row is None:
            return
        if isinstance(event, OrderFill):
            self._on_fill(event, row)
        elif isinstance(event, OrderAmended):
            row.amend(event)
        elif isinstance(event, OrderTriggered):
            row.triggered_ts = event.ts
            row.price = row.price if event.limit is None else event.limit
        row.state = ENDS.get(type(event), row.state)
        if type(event) in ENDS:
            row.end_ts = event.ts
        if isinstance(event, OrderRejected):
            row.gate, row.reason = event.gate, event.reason
        elif isinstance(event, OrderCanceled):
            row.reason = event.reason

    def _on_fill(self, fill: OrderFill, row: OrderRow) -> None:
        traded = instrument_of(self._parts.gates.instruments, fill.instrument)
        signed = fill.quantity if fill.side > 0 else MONEY.minus(fill.quantity)
        net = self._net[fill.instrument] = MONEY.add(self._net.get(fill.instrument, ZERO), signed)
        held_ns = fill.ts + self._is_behind_close(fill)
        quote = self._parts.marks.quote(fill.instrument)
        self.fills.append(
            Fill(
                ts=fill.ts,
                strategy=fill.strategy,
                instrument=fill.instrument,
                side=fill.side,
                quantity=fill.quantity,
                price=fill.price,
                fee=fill.fee,
                currency=traded.settles,
                liquidity=fill.liquidity,
                order_id=fill.order_id,
                worth=shown(traded.worth(signed, fill.price)),
                notional=shown(traded.worth(fill.quantity, fill.price).copy_abs()),
                net=net,
                held_ns=held_ns,
                bid=None if quote is None else quote.bid_price,
                ask=None if quote is None else quote.ask_price,
            )
        )
        self.trips.fill(fill, traded, held_ns)
        worth = MONEY.add(self._worth.pop(fill.order_id, ZERO), traded.worth(fill.quantity, fill.price))
        if fill.left:
            self._worth[fill.order_id] = worth
        row.fill(fill, shown(traded.price_of(worth, fill.filled)))

    def _is_behind_close(self, fill: OrderFill) -> bool:
        """Return whether an open filled it: at one time a candle closes, and then the next one opens."""
        name = fill.instrument
        if self._candles.closed_ns(name) != fill.ts or self._parts.dispatcher.newest.quote(name) is not None:
            return False
        opened, _ = self._parts.candles.newest(name)
        return opened is not None and opened.ts_open == fill.ts

    # Candles

    def _on_bar(self, event: Event) -> None:
        """Keep a candle that orders are filled from; bars of longer timeframes say nothing more."""
        assert isinstance(event, Bar)
        if self._parts.candle_lengths.get(event.instrument) != event.ts_close - event.ts_open:
            return
        times, prices = (event.ts_open, event.ts_close), (event.low, event.high, event.close)
        if self._candles.add(event.instrument, times, prices) and not self._awaits_quotes(event.instrument):
            self._look_at_candles(event.instrument)

    def _awaits_quotes(self, instrument: str) -> bool:
        """Return whether the first quotes are on their way in a window: candles behind them are no marks."""
        return instrument not in self._quoted_ns and self._parts.dispatcher.newest.mid(instrument) is not None

    def _look_at_candles(self, instrument: str) -> None:
        self._look(instrument, *self._take_candles(instrument))

    def _take_candles(self, instrument: str) -> Looked:
        """Return what marks and trips see of the candles that wait: nothing from the first quote on, as the account."""
        closed, closes, times, prices = self._candles.take(instrument, into=self._hash)
        first_ns = self._quoted_ns.get(instrument)
        if first_ns is not None:
            is_mark, is_seen = closed < first_ns, times < first_ns
            closed, closes, times, prices = closed[is_mark], closes[is_mark], times[is_seen], prices[is_seen]
        # What is filled at the open sees the whole candle, what is filled at the close only that.
        return closed, closes, times, prices

    def finish(self) -> None:
        """Look at the candles that are left; call it when the run is over."""
        for instrument in self._candles.waiting():
            self._look_at_candles(instrument)

    # Ticks

    def _on_quotes(self, instrument_id: np.ndarray, mid: np.ndarray, ts_init: np.ndarray, flags: np.ndarray) -> None:
        usable = np.isfinite(mid) & ((flags & NEVER_NEWEST) == 0)
        if not usable.all():
            instrument_id, mid, ts_init = instrument_id[usable], mid[usable], ts_init[usable]
        if not len(mid):
            return
        if (instrument_id == instrument_id[0]).all():
            self._mark(int(instrument_id[0]), ts_init, mid)
            return
        for number in np.unique(instrument_id).tolist():
            own = instrument_id == number
            self._mark(number, ts_init[own], mid[own])

    def _mark(self, number: int, times: np.ndarray, mids: np.ndarray) -> None:
        name = self._names.name(number)
        assert name is not None
        seen, prices = times, mids
        if name not in self._quoted_ns:
            self._quoted_ns[name] = int(times[0])
            if name in self._candles.waiting():
                # In one look: what the first quotes filled, no candle before them has seen.
                closed, closes, candle_times, candle_prices = self._take_candles(name)
                times, mids = np.append(closed, times), np.append(closes, mids)
                seen, prices = np.append(candle_times, seen), np.append(candle_prices, prices)
        self._look(name, times, mids, seen, prices)

    def _look(
        self, instrument: str, times: np.ndarray, marks: np.ndarray, seen: np.ndarray, prices: np.ndarray
    ) -> None:
        """Keep marks, and let trips see prices. times, seen : ns, rising."""
        if len(times):
            self.marks.add(instrument, times, marks)
        if len(seen):
            self.trips.look(instrument, seen, prices)
