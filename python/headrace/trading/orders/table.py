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
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import msgspec
from msgspec.structs import force_setattr

from headrace.dispatch.faults import safe_text
from headrace.errors import OrderError
from headrace.limits import ORDERS_KEPT_MAX
from headrace.market.checks import nearest, side_of
from headrace.market.events import (
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderFilled,
    OrderRejected,
    OrderRequested,
    OrderTriggered,
)
from headrace.market.instrument import instrument_of
from headrace.market.money import MONEY, ZERO, is_computable, shown
from headrace.market.wording import value_text
from headrace.trading.orders.groups import root_of
from headrace.trading.orders.order import (
    FILLED,
    FINAL,
    ORDER_TRANSITIONS,
    PENDING_CANCEL,
    SUBMITTED,
    Order,
    OrderState,
)
from headrace.trading.orders.working import Entry, Working

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


# Of a strategy that had none; most of a large run trade nothing.
_NO_ORDERS = OrderStats(0, 0, 0, 0, 0, 0, 0, 0, 0)


def id_prefix(run_id: str) -> str:
    """Return the beginning of the ids of a run: short enough to type, and another one for each run."""
    digest = hashlib.sha256(run_id.encode()).digest()
    return f"{base64.b32encode(digest)[:PREFIX_CHARACTERS].decode().lower()}-"


class OrderTable:
    """All orders of a run. prefix : the beginning of every id. instruments : whose contracts average prices follow.

    working : the open ones, and what they may still fill.
    """

    def __init__(self, prefix: str = "", instruments: Mapping[str, Instrument] = MappingProxyType({})) -> None:
        self._instruments = instruments
        self._prefix = prefix
        self._entries: dict[str, Entry] = {}
        self.working = Working()
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

    def owner_of(self, order_id: object) -> str:
        """Return as ``owner``. Raises OrderError, with the nearest id, for one that was never given."""
        owner = self.owner(order_id)
        if owner is None:
            is_short = isinstance(order_id, str) and len(order_id) <= ID_CHARACTERS_MAX
            hint = nearest(str(order_id), self._entries) if is_short else ""
            msg = f"no order is called {value_text(order_id)}{hint}"
            raise OrderError(msg, field="order_id")
        return owner

    def join(self, request: OrderRequested) -> None:
        """Have a new request name the first order of its group. Raises OrderError (no partner for it)."""
        partner_id = request.oco
        if self.owner_of(partner_id) != request.strategy:
            msg = f"oco={partner_id!r} is another strategy's order: only orders of one strategy are partners"
            raise OrderError(msg, field="oco")
        entry = self._entries.get(partner_id)
        if entry is None:
            return
        partner = entry.order
        if partner.instrument != request.instrument:
            msg = f"oco={partner_id!r} is in {partner.instrument}, and the order in {request.instrument}: use one"
            raise OrderError(msg, field="oco")
        force_setattr(request, "oco", root_of(partner.request))

    def is_filled(self, order_id: str) -> bool:
        """Whether an order was filled whole; also one that is forgotten, which has ended long ago."""
        entry = self._entries.get(order_id)
        return entry is None or entry.order.state is FILLED

    # Orders

    def add(self, request: OrderRequested, *, works: bool = False) -> None:
        """Add an order; one that is there, since it was not judged yet, gets the judged request."""
        order_id, strategy = request.order_id, request.strategy
        entry = self._entries.get(order_id)
        if entry is None:
            self._added += 1
            entry = self._entries[order_id] = Entry(Order(request=request, ts=request.ts), self._added)
            self.working.open(entry)
            self._counts[strategy]["submitted"] += 1
        else:
            entry.order = msgspec.structs.replace(entry.order, request=request)
        if works:
            self.working.let_work(entry, self._entries.get(request.oco))

    def discard(self, order_id: str) -> None:
        """Remove an order of which no event was published."""
        entry = self._entries.pop(order_id)
        self.working.close(entry)
        self._counts[entry.order.strategy]["submitted"] -= 1

    def get(self, order_id: str) -> Order | None:
        """Return an order; None: unknown, or over and forgotten."""
        entry = self._entries.get(order_id)
        return None if entry is None else entry.order

    def select(self, strategy: str | None, instrument: str | None, *, open_only: bool) -> list[Order]:
        """Return orders, oldest first."""
        if open_only:
            return self.working.orders(strategy, instrument)
        orders = [entry.order for entry in self._entries.values()]
        return [own for own in orders if strategy in (None, own.strategy) and instrument in (None, own.instrument)]

    def working_beside(self, request: OrderRequested) -> Decimal:
        """Return what works on a request's side beside it and its OCO partners. O(partners)."""
        return self.working.beside(request, self._entries.get(root_of(request)))

    def reserve(self, order_id: str, quantity: Decimal) -> None:
        """Count an order as so much larger, until its next OrderAmended: the broker may amend it."""
        entry = self._entries.get(order_id)
        if entry is not None:
            self.working.reserve(entry, quantity)

    def mark(self, order_id: str, **changes: Any) -> None:
        """Change fields of an order that no event changes: ``is_sent``, ``reason``."""
        entry = self._entries[order_id]
        entry.order = msgspec.structs.replace(entry.order, **changes)

    def mark_cancel(self, order_id: str, reason: str, ts: int) -> None:
        """Set an order to PENDING_CANCEL."""
        entry = self._entries[order_id]
        entry.before_cancel, entry.cancel_reason = entry.order.state, reason
        entry.order = msgspec.structs.replace(entry.order, state=PENDING_CANCEL, ts=ts)

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
        is_late = order.state is PENDING_CANCEL and entry.before_cancel is not SUBMITTED
        if after is None or (is_late and isinstance(event, OrderRejected)):
            _refuse(event, f"the order is {order.state}, and cannot take this event", "state")
        if type(event) is OrderAccepted:
            entry.order = msgspec.structs.replace(
                order, state=after, broker_order_id=event.broker_order_id, reason="", ts=event.ts
            )
        elif isinstance(event, OrderFill):
            self._fill(entry, event, after)
        elif isinstance(event, OrderAmended):
            self._amend(entry, event, after)
        else:
            entry.order = _changed(order, event, after, entry.cancel_reason)
        if after is PENDING_CANCEL:
            # The state that it returns to when its cancel fails.
            entry.before_cancel = ORDER_TRANSITIONS.get((entry.before_cancel, type(event)), entry.before_cancel)
        if after in FINAL:
            self.working.close(entry)
            # Its state refuses each later execution.
            entry.executions = frozenset()
            self._counts[request.strategy][after] += 1
            self._over.append(request.order_id)
            if len(self._over) > ORDERS_KEPT_MAX:
                del self._entries[self._over.popleft()]
        return entry.order

    def _fill(self, entry: Entry, event: OrderFill, after: OrderState) -> None:
        order, request = entry.order, entry.order.request
        # No float and no number of NumPy, which would be equal: the audit holds ints.
        if side_of(event.side) is not event.side or event.side != request.side:
            _refuse(event, f"the order's side is {request.side:+d}, the fill's {event.side!r}", "side")
        amounts: tuple[tuple[str, object], ...] = (
            ("quantity", event.quantity),
            ("price", event.price),
            ("fee", event.fee),
            *(() if event.other_fee is None else (("other_fee", event.other_fee.amount),)),
        )
        for what, amount in amounts:
            if not (isinstance(amount, Decimal) and is_computable(amount) and (what.endswith("fee") or amount > 0)):
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
        self.working.shrink(entry, event.quantity)

    def _amend(self, entry: Entry, event: OrderAmended, after: OrderState) -> None:
        """Give an order the values that it has at the broker now."""
        order = entry.order
        left = MONEY.subtract(event.quantity, order.filled)
        if event.left != left or left <= 0:
            fact = f"quantity is {event.quantity} and left {event.left}, where {order.filled} is filled"
            _refuse(event, fact, "left")
        request = msgspec.structs.replace(
            order.request,
            quantity=event.quantity,
            price=event.price,
            trigger_price=event.trigger_price,
            trail=event.trail,
        )
        entry.order = msgspec.structs.replace(order, request=request, state=after, ts=event.ts)
        self.working.shrink(entry, MONEY.subtract(order.quantity, event.quantity))
        self.working.reserve(entry, ZERO)

    def stats(self, strategy: str | None) -> OrderStats:
        """Count the orders of one strategy, or of all."""
        if strategy is not None and strategy not in self._counts:
            return _NO_ORDERS
        total: dict[str, int] = dict.fromkeys((*FINAL, "submitted", "fills"), 0)
        for owner in self._counts if strategy is None else (strategy,):
            for name, count in self._counts[owner].items():
                total[name] += count
        is_open = self.working.orders(strategy, None)
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
    """Return the order after an event that is no answer to a request, and no fill."""
    if isinstance(event, OrderRejected):
        return msgspec.structs.replace(order, state=after, gate=event.gate, reason=event.reason, ts=event.ts)
    if isinstance(event, OrderTriggered):
        request = order.request
        if event.limit is not None:
            request = msgspec.structs.replace(request, price=event.limit)
        return msgspec.structs.replace(order, request=request, state=after, ts=event.ts)
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
