"""Working: the open orders by strategy and instrument, and what they may still fill.

::

    open ─▶ let_work, once it passed the gates ─▶ shrink, with each event that changes what is left ─▶ close

Guarantees: O(1) for an order, whatever else is open; of orders that are one another's OCO partners the largest counts,
since no two of them fill the same; a change that is on its way to the broker counts as if it were made.
Does not: change orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING

from headrace.market.money import MONEY, ZERO
from headrace.trading.orders.groups import Groups, root_of
from headrace.trading.orders.order import FILLED, Order, OrderState

if TYPE_CHECKING:
    from headrace.market.events import OrderRequested

__all__ = ["Entry", "Working"]


@dataclass(slots=True)
class Entry:
    """An order, and what its next event is checked against.

    number : rises with each order. before_cancel : its state without the cancel. works : it passed the gates, so it
    may fill. worth : the sum of its executions, by ``Instrument.worth``. reserved : how much larger it will be once the
    broker has amended it. is_grouped : others are its OCO partners, or it is theirs.
    """

    order: Order
    number: int
    before_cancel: OrderState = OrderState.SUBMITTED
    cancel_reason: str = ""
    works: bool = False
    is_grouped: bool = False
    worth: Decimal = ZERO
    reserved: Decimal = ZERO
    executions: frozenset[str] | set[str] = frozenset()

    @property
    def weight(self) -> Decimal:
        """What it may still fill."""
        return MONEY.add(self.order.left, self.reserved) if self.reserved else self.order.left


@dataclass(slots=True)
class _Open:
    """The open orders of a strategy in an instrument, oldest first.

    working : how many of them passed the gates. left : what these may still fill, by their side.
    """

    entries: dict[str, Entry]
    left: dict[int, Decimal]
    working: int = 0


class Working:
    """The open orders of one table."""

    def __init__(self) -> None:
        # By strategy, then by instrument.
        self._open: dict[str, dict[str, _Open]] = {}
        self._groups = Groups()

    def open(self, entry: Entry) -> None:
        """Add an order that may not fill yet."""
        request = entry.order.request
        of_strategy = self._open.get(request.strategy)
        if of_strategy is None:
            of_strategy = self._open[request.strategy] = {}
        own = of_strategy.get(request.instrument)
        if own is None:
            own = of_strategy[request.instrument] = _Open({}, {1: ZERO, -1: ZERO})
        own.entries[request.order_id] = entry

    def let_work(self, entry: Entry, first: Entry | None) -> None:
        """Count an order that passed the gates. first : of its group."""
        request, entry.works = entry.order.request, True
        own = self._open[request.strategy][request.instrument]
        own.working += 1
        change = request.quantity
        if request.oco:
            self._begin_group(first)
            self._groups.join(entry)
            change = self._groups.recount(root_of(request), request.side)
        own.left[request.side] = MONEY.add(own.left[request.side], change)

    def shrink(self, entry: Entry, by: Decimal) -> None:
        """Count an order that may fill less now, or more where ``by`` is below 0."""
        if entry.works:
            request = entry.order.request
            left, side = self._open[request.strategy][request.instrument].left, request.side
            if entry.is_grouped:
                left[side] = MONEY.add(left[side], self._groups.recount(root_of(request), side))
            else:
                left[side] = MONEY.subtract(left[side], by)

    def reserve(self, entry: Entry, quantity: Decimal) -> None:
        """Count an order as so much larger until the broker has answered: it may be amended."""
        by = MONEY.subtract(entry.reserved, quantity)
        entry.reserved = quantity
        self.shrink(entry, by)

    def close(self, entry: Entry) -> None:
        """Remove an order that is over, or that never was."""
        request = entry.order.request
        of_strategy = self._open[request.strategy]
        own = of_strategy[request.instrument]
        del own.entries[request.order_id]
        if entry.works:
            own.working -= 1
            if entry.is_grouped:
                self._groups.leave(entry)
            # What was filled whole alone was counted down by its fills.
            if entry.is_grouped or entry.reserved or entry.order.state is not FILLED:
                self.shrink(entry, entry.weight)
            entry.works = False
        if not own.entries:
            del of_strategy[request.instrument]
        if not of_strategy:
            del self._open[request.strategy]

    def orders(self, strategy: str | None, instrument: str | None) -> list[Order]:
        """Return the open orders, oldest first."""
        if strategy is not None and strategy not in self._open:
            return []
        strategies = self._open.values() if strategy is None else [self._open[strategy]]
        places = [own for of in strategies for name, own in of.items() if instrument in (None, name)]
        entries = [entry for own in places for entry in own.entries.values()]
        return [entry.order for entry in sorted(entries, key=attrgetter("number"))]

    def of_side(self, strategy: str, instrument: str, side: int) -> tuple[Decimal, int]:
        """Return what the orders of one side may still fill, and how many of both sides work. O(1)."""
        own = self._open.get(strategy, {}).get(instrument)
        return (ZERO, 0) if own is None else (own.left[side], own.working)

    def beside(self, request: OrderRequested, first: Entry | None) -> Decimal:
        """Return what of a request's side may still fill beside it; what its group or it itself has there is not.

        request : a new one of a group, or that of an open order with other values, for what is left of it.
        first : the first order of the group, or the order itself.
        """
        working, _ = self.of_side(request.strategy, request.instrument, request.side)
        if first is None or not first.works:
            return working
        self._begin_group(first)
        root = root_of(request)
        whole = self._groups.weight(root, request.side)
        others = self._groups.weight(root, request.side, without=request.order_id)
        after = MONEY.add(MONEY.subtract(working, whole), max(others, request.quantity))
        return MONEY.subtract(after, request.quantity)

    def _begin_group(self, first: Entry | None) -> None:
        if first is not None and first.works and not first.is_grouped:
            self._groups.begin(first)
