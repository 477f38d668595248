"""OrderTable: every order by its id, and what each event makes of it.

::

    new_id ─▶ add ─▶ sent ─▶ apply(event) … ─▶ final: kept while it is among the latest 10,000, counted always
                └▶ works, once it passed the gates: it counts in what they judge next

What happens to an impossible event
    a fill after the last one, for an unknown order, of the other side or above the quantity, an execution that comes
    twice, a cancel that leaves another quantity than what is left: ``apply`` raises, and the order stays as it was.

Guarantees: one id is one order, also when the order was forgotten; an order that is open is never forgotten.
Does not: publish, or hold positions.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import msgspec

from headrace.dispatch.faults import safe_text
from headrace.errors import OrderError
from headrace.limits import ORDERS_KEPT_MAX
from headrace.market.checks import nearest, side_of
from headrace.market.events import (
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderFilled,
    OrderRejected,
    OrderRequested,
)
from headrace.market.instrument import instrument_of
from headrace.market.money import MONEY, ZERO, is_computable, shown
from headrace.market.wording import value_text
from headrace.trading.orders.order import FINAL, ORDER_TRANSITIONS, Order, OrderState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.market.instrument import Instrument

__all__ = ["OrderStats", "OrderTable", "id_prefix"]

# Of two thousand runs of a year two share a beginning with a probability of 1 in 500.
PREFIX_CHARACTERS = 6
# A longer text is near none.
ID_CHARACTERS_MAX = 200
# No run has so many orders; a longer number is not converted.
ID_DIGITS_MAX = 18


class OrderStats(NamedTuple):
    """What became of a strategy's orders: ``submitted == open + filled + canceled + rejected + expired``.

    fills : executions. pending_cancel : of the open ones, those whose cancel the broker has not answered. unknown : of
    the open ones, those on which the broker raised and that it has not answered since: it may have them.
    """

    submitted: int
    open: int
    pending_cancel: int
    filled: int
    canceled: int
    rejected: int
    expired: int
    fills: int
    unknown: int


@dataclass(slots=True)
class _Entry:
    """An order, and what its next event is checked against.

    number : rises with each order. before_cancel : its state without the cancel. works : it passed the gates, so it
    may fill. worth : the sum of its executions, by ``Instrument.worth``.
    """

    order: Order
    number: int
    before_cancel: OrderState = OrderState.SUBMITTED
    cancel_reason: str = ""
    works: bool = False
    worth: Decimal = ZERO
    executions: frozenset[str] | set[str] = frozenset()


@dataclass(slots=True)
class _Open:
    """The open orders of a strategy in an instrument, oldest first.

    working : how many of them passed the gates. left : what these may still fill, by their side.
    """

    entries: dict[str, _Entry]
    left: dict[int, Decimal]
    working: int = 0


def id_prefix(run_id: str) -> str:
    """Return the beginning of the ids of a run: short enough to type, and another one for each run."""
    digest = hashlib.sha256(run_id.encode()).digest()
    return f"{base64.b32encode(digest)[:PREFIX_CHARACTERS].decode().lower()}-"


class OrderTable:
    """All orders of a run. prefix : the beginning of every id. instruments : whose contracts average prices follow."""

    def __init__(self, prefix: str = "", instruments: Mapping[str, Instrument] = MappingProxyType({})) -> None:
        self._instruments = instruments
        self._prefix = prefix
        self._entries: dict[str, _Entry] = {}
        # By strategy, then by instrument.
        self._open: dict[str, dict[str, _Open]] = {}
        self._added = 0
        # Over, oldest first.
        self._over: deque[str] = deque()
        self._issued: dict[str, int] = {}
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    # Ids

    def new_id(self, strategy: str) -> str:
        """Return the id of a strategy's next order; it is used up, whether there will be an order or not."""
        number = self._issued[strategy] = self._issued.get(strategy, 0) + 1
        return f"{self._prefix}{strategy}-{number}"

    def owner(self, order_id: object) -> str | None:
        """Return the strategy that got this id from ``new_id``, also when its order is forgotten; None: none did."""
        if not isinstance(order_id, str):
            return None
        strategy, _, digits = order_id.removeprefix(self._prefix).rpartition("-")
        number = int(digits) if digits.isdecimal() and len(digits) <= ID_DIGITS_MAX else 0
        is_given = 0 < number <= self._issued.get(strategy, 0)
        return strategy if is_given and order_id == f"{self._prefix}{strategy}-{number}" else None

    def nearest_id(self, order_id: object) -> str:
        """Return a hint with the nearest id of a kept order; empty when none is near."""
        if not isinstance(order_id, str) or len(order_id) > ID_CHARACTERS_MAX:
            return ""
        return nearest(order_id, self._entries)

    # Orders

    def add(self, request: OrderRequested, *, works: bool = False) -> None:
        """Add an order; one that is there, since it was not judged yet, gets the judged request."""
        order_id, strategy = request.order_id, request.strategy
        entry = self._entries.get(order_id)
        if entry is None:
            self._added += 1
            entry = self._entries[order_id] = _Entry(Order(request=request, ts=request.ts), self._added)
            own = self._open_at(strategy, request.instrument)
            own.entries[order_id] = entry
            self._counts[strategy]["submitted"] += 1
        else:
            own = self._open[strategy][request.instrument]
            entry.order = msgspec.structs.replace(entry.order, request=request)
        if works:
            entry.works = True
            own.working += 1
            own.left[request.side] = MONEY.add(own.left[request.side], request.quantity)

    def _open_at(self, strategy: str, instrument: str) -> _Open:
        of_strategy = self._open.get(strategy)
        if of_strategy is None:
            of_strategy = self._open[strategy] = {}
        own = of_strategy.get(instrument)
        if own is None:
            own = of_strategy[instrument] = _Open({}, {1: ZERO, -1: ZERO})
        return own

    def discard(self, order_id: str) -> None:
        """Remove an order of which no event was published."""
        entry = self._entries.pop(order_id)
        self._close(entry)
        self._counts[entry.order.strategy]["submitted"] -= 1

    def get(self, order_id: str) -> Order | None:
        """Return an order; None: unknown, or over and forgotten."""
        entry = self._entries.get(order_id)
        return None if entry is None else entry.order

    def select(self, strategy: str | None, instrument: str | None, *, open_only: bool) -> list[Order]:
        """Return orders, oldest first."""
        if open_only:
            return self._open_orders(strategy, instrument)
        orders = [entry.order for entry in self._entries.values()]
        return [own for own in orders if strategy in (None, own.strategy) and instrument in (None, own.instrument)]

    def _open_orders(self, strategy: str | None, instrument: str | None) -> list[Order]:
        if strategy is not None and strategy not in self._open:
            return []
        strategies = self._open.values() if strategy is None else [self._open[strategy]]
        places = [own for of in strategies for name, own in of.items() if instrument in (None, name)]
        entries = [entry for own in places for entry in own.entries.values()]
        return [entry.order for entry in sorted(entries, key=attrgetter("number"))]

    def working(self, strategy: str, instrument: str, side: int) -> tuple[Decimal, int]:
        """Return what the working orders of one side may still fill, and how many of both sides there are. O(1)."""
        own = self._open.get(strategy, {}).get(instrument)
        return (ZERO, 0) if own is None else (own.left[side], own.working)

    def mark(self, order_id: str, **changes: Any) -> None:
        """Change fields of an order that no event changes: ``is_sent``, ``reason``."""
        entry = self._entries[order_id]
        entry.order = msgspec.structs.replace(entry.order, **changes)

    def mark_cancel(self, order_id: str, reason: str, ts: int) -> None:
        """Set an order to PENDING_CANCEL."""
        entry = self._entries[order_id]
        entry.before_cancel, entry.cancel_reason = entry.order.state, reason
        entry.order = msgspec.structs.replace(entry.order, state=OrderState.PENDING_CANCEL, ts=ts)

    def unmark_cancel(self, order_id: str) -> None:
        """Undo ``mark_cancel``."""
        entry = self._entries[order_id]
        entry.order = msgspec.structs.replace(entry.order, state=entry.before_cancel)

    def cancel_reason(self, order_id: str) -> str:
        """Return the reason of an order's cancel."""
        return self._entries[order_id].cancel_reason

    # Events

    def apply(self, event: OrderEvent) -> Order:
        """Apply an event of a gate or the broker to its order, and return the order after it. Raises OrderError."""
        try:
            return self._applied(event)
        except OrderError:
            raise
        except Exception as error:  # noqa: BLE001 - a broker's event may hold anything
            _refuse(event, f"it cannot be applied ({type(error).__name__}: {safe_text(error)})", "event")

    def _applied(self, event: OrderEvent) -> Order:
        entry = self._entries.get(event.order_id)
        if entry is None:
            _refuse(event, "the orders hold no such order", "order_id")
        order, request = entry.order, entry.order.request
        if (event.strategy, event.instrument) != (request.strategy, request.instrument):
            _refuse(event, f"the order is {request.strategy}'s, in {request.instrument}", "instrument")
        after = ORDER_TRANSITIONS.get((order.state, type(event)))
        is_late = order.state is OrderState.PENDING_CANCEL and entry.before_cancel is not OrderState.SUBMITTED
        if after is None or (is_late and isinstance(event, OrderRejected)):
            _refuse(event, f"the order is {order.state}, and cannot take this event", "state")
        if isinstance(event, OrderFill):
            self._fill(entry, event, after)
        else:
            entry.order = _changed(order, event, after, entry.cancel_reason)
        if after is OrderState.PENDING_CANCEL:
            # The state that it returns to when its cancel fails.
            entry.before_cancel = ORDER_TRANSITIONS.get((entry.before_cancel, type(event)), entry.before_cancel)
        if after in FINAL:
            self._close(entry)
            # Its state refuses each later execution.
            entry.executions = frozenset()
            self._counts[request.strategy][after] += 1
            self._over.append(request.order_id)
            if len(self._over) > ORDERS_KEPT_MAX:
                del self._entries[self._over.popleft()]
        return entry.order

    def _fill(self, entry: _Entry, event: OrderFill, after: OrderState) -> None:
        order, request = entry.order, entry.order.request
        # No float and no number of NumPy, which would be equal: the audit holds ints.
        if side_of(event.side) is not event.side or event.side != request.side:
            _refuse(event, f"the order's side is {request.side:+d}, the fill's {event.side!r}", "side")
        amounts: dict[str, object] = {"quantity": event.quantity, "price": event.price, "fee": event.fee}
        for what, amount in amounts.items():
            if not (isinstance(amount, Decimal) and is_computable(amount) and (amount > 0 or what == "fee")):
                _refuse(event, f"its {what} is {value_text(amount)}", what)
        traded = instrument_of(self._instruments, request.instrument)
        if event.execution_id in entry.executions:
            _refuse(event, f"execution {event.execution_id!r} came before", "execution_id")
        filled = MONEY.add(order.filled, event.quantity)
        left = MONEY.subtract(request.quantity, filled)
        if left < 0:
            _refuse(event, f"it fills {event.quantity}, and {order.left} is left", "quantity")
        if (event.filled, event.left) != (filled, left) or (left == 0) != isinstance(event, OrderFilled):
            fact = f"filled is {event.filled} and left {event.left}, where {filled} and {left} are right"
            _refuse(event, fact, "filled")
        worth = MONEY.add(entry.worth, traded.worth(event.quantity, event.price))
        after_it = msgspec.structs.replace(
            order,
            state=after,
            filled=filled,
            average_price=shown(traded.price_of(worth, filled)),
            fees=MONEY.add(order.fees, event.fee),
            reason="",
            ts=event.ts,
        )
        # All is computed: from here on nothing raises.
        if isinstance(entry.executions, frozenset):
            entry.executions = set()
        entry.executions.add(event.execution_id)
        entry.worth, entry.order = worth, after_it
        self._counts[request.strategy]["fills"] += 1
        if entry.works:
            own = self._open[request.strategy][request.instrument]
            own.left[request.side] = MONEY.subtract(own.left[request.side], event.quantity)

    def _close(self, entry: _Entry) -> None:
        order = entry.order
        of_strategy = self._open[order.strategy]
        own = of_strategy[order.instrument]
        del own.entries[order.order_id]
        if entry.works:
            own.working -= 1
            own.left[order.side] = MONEY.subtract(own.left[order.side], order.left)
        if not own.entries:
            del of_strategy[order.instrument]
        if not of_strategy:
            del self._open[order.strategy]

    def stats(self, strategy: str | None) -> OrderStats:
        """Count the orders of one strategy, or of all."""
        total: dict[str, int] = dict.fromkeys((*FINAL, "submitted", "fills"), 0)
        for owner in self._counts if strategy is None else {strategy} & self._counts.keys():
            for name, count in self._counts[owner].items():
                total[name] += count
        is_open = self._open_orders(strategy, None)
        return OrderStats(
            submitted=total["submitted"],
            open=len(is_open),
            pending_cancel=[order.state for order in is_open].count(OrderState.PENDING_CANCEL),
            filled=total[OrderState.FILLED],
            canceled=total[OrderState.CANCELED],
            rejected=total[OrderState.REJECTED],
            expired=total[OrderState.EXPIRED],
            fills=total["fills"],
            unknown=[order.is_unknown for order in is_open].count(True),
        )


def _changed(order: Order, event: OrderEvent, after: OrderState, cancel_reason: str) -> Order:
    """Return the order after an event that is no fill."""
    if isinstance(event, OrderAccepted):
        return msgspec.structs.replace(
            order, state=after, broker_order_id=event.broker_order_id, reason="", ts=event.ts
        )
    if isinstance(event, OrderRejected):
        return msgspec.structs.replace(order, state=after, gate=event.gate, reason=event.reason, ts=event.ts)
    assert isinstance(event, OrderCanceled | OrderExpired)  # The table of transitions holds no other.
    if event.left != order.left:
        _refuse(event, f"it leaves {event.left}, and {order.left} is left", "left")
    reason = "expired" if isinstance(event, OrderExpired) else cancel_reason or event.reason
    return msgspec.structs.replace(order, state=after, reason=reason, ts=event.ts)


def _refuse(event: OrderEvent, fact: str, field: str) -> NoReturn:
    kind = type(event).__name__
    order_id = value_text(event.order_id)
    msg = f"{kind} for order {order_id} is refused: {fact}; the order and its position do not change"
    raise OrderError(msg, field=field)
