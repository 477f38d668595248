"""Round trips: from the fill that opens a position to the one that closes or flips it, per strategy and instrument.

::

    fills ─▶ open ─▶ add, reduce ─▶ flat: closed          profit = - sum of what each fill was worth
                                └▶ flip: closed, and the rest of the fill opens the next one
    marks ─▶ the worst and the best profit that it had: MAE and MFE

Guarantees: money is Decimal and comes from fills and funding alone, so the profits of the trips of a position add up to
its realized and unrealized profit; a trip that is open at the end stays, flagged, valued at the last mark.
Does not: match single entries with single exits; a trip that adds and reduces has average prices.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from headrace.market.money import MONEY, ZERO, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from headrace.market.events import FundingPaid, OrderFill
    from headrace.market.instrument import Instrument

__all__ = ["RoundTrip", "Trip", "Trips"]


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One round trip.

    number : from 1, in the order in which they were opened. side : +1 long, -1 short. quantity : the largest that was
    held. entry_ts, exit_ts : ns since 1970-01-01 UTC, of the first and the last fill; of an open one the last mark.
    entry_price, exit_price : averages over the fills that opened and closed it; for an open one also the last mark.
    pnl : profit without fees and funding; net_pnl : with them; both in ``currency``. profit_part : net_pnl by what was
    paid for the entries, without unit. mae, mfe : the worst and the best profit without fees that it had at any mark or
    fill, in ``currency``, at most and at least 0 (maximum adverse and maximum favourable excursion). tag : of the order
    that opened it. is_open : the run ended before it was closed.
    """

    number: int
    strategy: str
    instrument: str
    side: int
    quantity: Decimal
    entry_ts: int
    exit_ts: int
    entry_price: Decimal
    exit_price: Decimal
    pnl: Decimal
    fees: Decimal
    funding: Decimal
    net_pnl: Decimal
    profit_part: float | None
    mae: float
    mfe: float
    currency: str
    fills: int
    tag: str = ""
    is_open: bool = False

    @property
    def duration_ns(self) -> int:
        """From the first to the last fill."""
        return self.exit_ts - self.entry_ts


class Trip:
    """A round trip in the making.

    cash : what changed hands, bought minus sold, as ``Instrument.worth`` values it. quantity : signed, held now.
    """

    __slots__ = (
        *("cash", "closed_quantity", "closed_worth", "entered", "entered_worth", "entry_ts", "exit_ts", "fees"),
        *("funding", "fills", "best", "number", "peak", "quantity", "side", "strategy", "tag", "traded", "worst"),
    )

    def __init__(self, number: int, strategy: str, traded: Instrument, side: int, ts: int, tag: str) -> None:
        self.number, self.strategy, self.traded, self.side, self.tag = number, strategy, traded, side, tag
        self.entry_ts = self.exit_ts = ts
        self.quantity = self.peak = self.cash = self.fees = self.funding = ZERO
        self.entered = self.entered_worth = self.closed_quantity = self.closed_worth = ZERO
        self.fills = 0
        self.worst = self.best = 0.0

    def add(self, signed: Decimal, price: Decimal, fee: Decimal, ts: int) -> None:
        """Account for a fill, or for its part that belongs to this trip."""
        worth = self.traded.worth(signed, price)
        if (signed > 0) == (self.side > 0):
            self.entered = MONEY.add(self.entered, signed.copy_abs())
            self.entered_worth = MONEY.add(self.entered_worth, worth)
        else:
            self.closed_quantity = MONEY.add(self.closed_quantity, signed.copy_abs())
            self.closed_worth = MONEY.add(self.closed_worth, worth)
        self.quantity = MONEY.add(self.quantity, signed)
        self.peak = max(self.peak, self.quantity.copy_abs())
        self.cash = MONEY.subtract(self.cash, worth)
        self.fees = MONEY.add(self.fees, fee)
        self.exit_ts = ts
        self.fills += 1
        self.look(float(self.profit_at(price)))

    def profit_at(self, price: Decimal) -> Decimal:
        """Return the profit without fees if what is held were closed at a price."""
        held = self.traded.worth(self.quantity, price) if self.quantity else ZERO
        return MONEY.add(self.cash, held)

    def look(self, profit: float) -> None:
        """Keep the worst and the best profit."""
        if profit < self.worst:
            self.worst = profit
        elif profit > self.best:
            self.best = profit

    def ended(self, mark: Decimal | None, ts: int) -> RoundTrip:
        """Return it as it is: closed, or open and valued at a mark. mark : None: what is held has no value yet."""
        is_open = self.quantity != 0
        if is_open and mark is not None:
            closed = MONEY.add(self.closed_worth, self.traded.worth(MONEY.minus(self.quantity), mark))
            closed_quantity, pnl = MONEY.add(self.closed_quantity, self.quantity.copy_abs()), self.profit_at(mark)
        else:
            closed, closed_quantity = self.closed_worth, self.closed_quantity
            # Without a mark, what is open counts at its cost.
            share = MONEY.divide(closed_quantity, self.entered)
            pnl = MONEY.minus(MONEY.add(closed, MONEY.multiply(self.entered_worth, share)))
        paid = float(self.entered_worth.copy_abs())
        net = MONEY.subtract(MONEY.subtract(pnl, self.fees), self.funding)
        sign = Decimal(self.side)
        return RoundTrip(
            number=self.number,
            strategy=self.strategy,
            instrument=self.traded.name,
            side=self.side,
            quantity=self.peak,
            entry_ts=self.entry_ts,
            exit_ts=ts if is_open else self.exit_ts,
            entry_price=shown(self.traded.price_of(self.entered_worth, MONEY.multiply(self.entered, sign))),
            exit_price=shown(self.traded.price_of(closed, MONEY.multiply(closed_quantity, MONEY.minus(sign))))
            if closed_quantity
            else ZERO,
            pnl=shown(pnl),
            fees=shown(self.fees),
            funding=shown(self.funding),
            net_pnl=shown(net),
            profit_part=float(net) / paid if paid else None,
            mae=self.worst,
            mfe=self.best,
            currency=self.traded.settles,
            fills=self.fills,
            tag=self.tag,
            is_open=is_open,
        )


class _Segment:
    """A trip as it is from a fill on, until the next one: its profit is ``cash + sized · price``, or by 1/price."""

    __slots__ = ("cash", "sized", "trip", "ts")

    def __init__(self, trip: Trip, ts: int) -> None:
        self.trip, self.ts = trip, ts
        self.cash = float(trip.cash)
        self.sized = float(trip.quantity) * float(trip.traded.size or 0)

    def look_at(self, marks: np.ndarray) -> None:
        """Let the trip see the lowest and the highest of some marks."""
        for mark in (float(marks.min()), float(marks.max())):
            worth = -self.sized / mark if self.trip.traded.contract == "inverse" else self.sized * mark
            self.trip.look(self.cash + worth)


class Trips:
    """The round trips of a run. tag_of : the tag of an order, by its id."""

    def __init__(self, tag_of: Callable[[str], str]) -> None:
        self._tag_of = tag_of
        self._open: dict[tuple[str, str], Trip] = {}
        # Open or not, in the order of their entries: a rate may come when what it is paid for is closed.
        self._of_position: dict[tuple[str, str], list[Trip]] = {}
        self._closed: list[Trip] = []
        self._count = 0
        # By instrument: what began since the last marks, and by trip: what holds now.
        self._begun: dict[str, list[_Segment]] = {}
        self._now: dict[str, dict[tuple[str, str], _Segment]] = {}

    def fill(self, fill: OrderFill, traded: Instrument, held_ns: int) -> None:
        """Account for a fill: it opens, adds to, reduces, closes or flips a trip. held_ns : from when marks see it."""
        key = (fill.strategy, fill.instrument)
        signed, fee = fill.quantity if fill.side > 0 else MONEY.minus(fill.quantity), fill.fee
        trip = self._open.get(key)
        if trip is not None and (signed > 0) != (trip.side > 0) and signed.copy_abs() > trip.quantity.copy_abs():
            closing = MONEY.minus(trip.quantity)
            share = MONEY.divide(MONEY.multiply(fee, closing), signed)
            self._add(trip, closing, fill, share, held_ns)
            signed, fee, trip = MONEY.subtract(signed, closing), MONEY.subtract(fee, share), None
        if trip is None:
            self._count += 1
            tag = self._tag_of(fill.order_id)
            trip = Trip(self._count, fill.strategy, traded, 1 if signed > 0 else -1, fill.ts, tag)
            self._open[key] = trip
            self._of_position.setdefault(key, []).append(trip)
        self._add(trip, signed, fill, fee, held_ns)

    def _add(self, trip: Trip, signed: Decimal, fill: OrderFill, fee: Decimal, held_ns: int) -> None:
        trip.add(signed, fill.price, fee, fill.ts)
        self._begun.setdefault(fill.instrument, []).append(_Segment(trip, held_ns))
        if not trip.quantity:
            del self._open[fill.strategy, fill.instrument]
            # Marks before its last fill are still to come.
            self._closed.append(trip)

    def pay(self, paid: FundingPaid) -> None:
        """Account for funding, in the trip that was open just before it was settled: another may have begun since."""
        own = self._of_position[paid.strategy, paid.instrument]
        trip = next(trip for trip in reversed(own) if trip.entry_ts < paid.settled_ns)
        trip.funding = MONEY.add(trip.funding, paid.amount)

    @property
    def instruments(self) -> list[str]:
        """Those in which something is held, or was since the last marks."""
        return [name for name in {**self._now, **self._begun} if self._now.get(name) or self._begun.get(name)]

    def look(self, instrument: str, times: np.ndarray, marks: np.ndarray) -> None:
        """Let the trips of an instrument see its marks.

        times : ns, rising; a mark at the time of a fill is after it.
        """
        now, begun = self._now.setdefault(instrument, {}), self._begun.pop(instrument, [])
        first = 0
        for segment in begun:
            last = int(times.searchsorted(segment.ts, "left"))
            _look_at(now, marks[first:last])
            first = max(first, last)
            key = (segment.trip.strategy, instrument)
            if segment.sized:
                now[key] = segment
            else:
                now.pop(key, None)
        _look_at(now, marks[first:])

    def ended(self, mark_of: Callable[[str], Decimal | None], ts: int) -> Iterator[RoundTrip]:
        """Yield every trip, by number; open ones valued at the last marks. ts : of the run's end."""
        trips = sorted([*self._closed, *self._open.values()], key=lambda trip: trip.number)
        for trip in trips:
            yield trip.ended(mark_of(trip.traded.name) if trip.quantity else None, ts)


def _look_at(now: dict[tuple[str, str], _Segment], marks: np.ndarray) -> None:
    if len(marks):
        for segment in now.values():
            segment.look_at(marks)
