"""Cash: what an account was given, what positions and open orders lock of it, and the gate that refuses more.

::

    free = deposit + realized profit - fees - funding - cost of open positions - what open orders lock     per currency
                    on margin: cost / leverage, and what the positions have lost by now

    order ─▶ check ─▶ locks the cost of what it adds, and its fee ─▶ fills move it into the position ─▶ its end frees

What happens to an order that only reduces a position
    it always passes: a position must never be too large to be closed. What flips one needs cash for what is beyond.

Guarantees: orders that were sent at the same time cannot spend the same cash; unrealized profit is not spent; amounts
of two currencies are never added.
Does not: lend without a margin: a short position locks its cost, too; or follow the price of a market order that is on
its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from headrace.market.checks import of_type, refuse
from headrace.market.events import (
    FundingPaid,
    OrderAmended,
    OrderAmendRejected,
    OrderCanceled,
    OrderExpired,
    OrderFill,
    OrderFilled,
    OrderRejected,
)
from headrace.market.money import MONEY, ZERO, Amount, decimal_of, shown
from headrace.market.wording import amount_text
from headrace.trading.margin import Margins
from headrace.trading.risk.gate import GateVerdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from headrace.market.events import Event
    from headrace.market.instrument import Instrument
    from headrace.trading.positions import Position, Positions
    from headrace.trading.risk.gate import GateRequest

__all__ = ["Cash", "checked_cash"]


ENDS = (OrderFilled, OrderCanceled, OrderExpired, OrderRejected)


class _Lock(NamedTuple):
    """What an order locks: the whole of it, for the quantity that was judged, and what is left of that."""

    currency: str
    whole: Decimal
    quantity: Decimal
    left: Decimal

    def for_rest(self, left: Decimal) -> _Lock:
        """Return the lock of what is left to fill."""
        return self._replace(left=MONEY.divide(MONEY.multiply(self.whole, left), self.quantity))


class Cash:
    """The cash of one account, shared by the strategies of an engine; a gate with the name "cash".

    deposits : by currency. fee : what an execution would cost at most. is_known : whether an order with this id was
    published. margins : of the account. lost : what the positions on margin in a currency have lost by
    now, but for one of them; at least 0. Subscribe ``take`` to order events and FundingPaid, behind what changes
    positions.
    """

    name = "cash"

    def __init__(
        self,
        deposits: Mapping[str, Decimal],
        positions: Positions,
        *,
        fee: Callable[[Instrument, Decimal, Decimal], Decimal],
        is_known: Callable[[str], bool],
        margins: Margins | None = None,
        lost: Callable[[str, Position | None], Decimal] = lambda *_: ZERO,
    ) -> None:
        self.deposits = deposits
        self._margins = Margins() if margins is None else margins
        self._lost = lost
        self._positions = positions
        self._fee = fee
        self._is_known = is_known
        # By currency: what was earned less what positions cost, and what orders lock.
        self._earned: dict[str, Decimal] = {}
        self._locked: dict[str, Decimal] = {}
        self._of_position: dict[tuple[str, str], Decimal] = {}
        self._locks: dict[str, _Lock] = {}
        # Of orders that may be amended: what they lock if they are not.
        self._before_amend: dict[str, _Lock] = {}
        # An order that passed and may not have found room on the bus.
        self._newest = ""

    def free(self, currency: str) -> Decimal:
        """Return what new orders may spend; below 0 where fills cost more than was locked, or margin was lost."""
        return self._free_without(None, currency)

    def _free_without(self, position: Position | None, currency: str) -> Decimal:
        """Return what is free if a position on margin had lost nothing."""
        own = MONEY.add(self.deposits.get(currency, ZERO), self._earned.get(currency, ZERO))
        return MONEY.subtract(MONEY.subtract(own, self._locked.get(currency, ZERO)), self._lost(currency, position))

    def locked(self, currency: str) -> Decimal:
        """Return what open orders lock."""
        return self._locked.get(currency, ZERO)

    # The gate

    def check(self, request: GateRequest) -> GateVerdict:
        """Compare what an order adds with what is free, and lock it."""
        order, traded = request.order, request.instrument
        assert traded is not None  # The gate "instrument" refuses those before.
        self._forget_unsent()
        price = order.trigger_price if order.price is None else order.price
        if price is None:
            price = _opposite(request)
        held = self._positions.held(order.strategy, order.instrument)
        closing = request.closes
        adding = MONEY.subtract(order.quantity, closing)
        fee = max(ZERO, self._fee(traded, order.quantity, price))
        needed = MONEY.add(self._margins.locked(traded, traded.worth(adding, price)), fee)
        flips = bool(adding and closing)
        before = self._locks.get(order.order_id)
        free = self._free_without(held if flips else None, traded.settles)
        if flips:
            free = MONEY.add(free, self._released(held, closing, price))
        if before is not None:  # The order is amended.
            free = MONEY.add(free, before.left)
        observed = f"{amount_text(needed)} {traded.settles}"
        threshold = f"{amount_text(shown(free))} {traded.settles}"
        if adding and needed > free:
            reason = f"it needs {observed} with its fee, and {threshold} is free: order less, or give more cash"
            return GateVerdict(passed=False, observed=observed, threshold=threshold, reason=reason)
        if before is not None:
            self._before_amend[order.order_id] = before
        self._lock(order.order_id, _Lock(traded.settles, needed, order.quantity, needed))
        self._newest = order.order_id
        return GateVerdict(passed=True, observed=observed, threshold=threshold)

    def _forget_unsent(self) -> None:
        """Free what the order before had locked, if it found no room on the bus: then there is no such order."""
        if self._newest and not self._is_known(self._newest):
            self._free(self._newest)
        self._newest = ""

    def _released(self, held: Position, closing: Decimal, price: Decimal) -> Decimal:
        """Return the cash that closing a part at a price brings back: what it locks and its profit."""
        part = closing if held.quantity > 0 else MONEY.minus(closing)
        cost = MONEY.divide(MONEY.multiply(held.cost, part), held.quantity)
        return MONEY.add(self._margins.locked(held.traded, cost), MONEY.subtract(held.traded.worth(part, price), cost))

    # Events

    def take(self, event: Event) -> None:
        """Follow an order: a fill moves cash into the position, an end frees what is left; follow funding."""
        if isinstance(event, FundingPaid | OrderFill):
            self._account_for(event.strategy, event.instrument)
        if isinstance(event, OrderFill | OrderAmended) and event.left:
            lock = self._locks.get(event.order_id)
            if lock is not None:
                self._lock(event.order_id, lock.for_rest(event.left))
            if isinstance(event, OrderAmended):
                self._before_amend.pop(event.order_id, None)
        elif isinstance(event, OrderAmendRejected):
            before = self._before_amend.pop(event.order_id, None)
            if before is not None and event.order_id in self._locks:
                self._lock(event.order_id, before)
        elif isinstance(event, ENDS):
            self._before_amend.pop(event.order_id, None)
            self._free(event.order_id)

    def _account_for(self, strategy: str, instrument: str) -> None:
        held = self._positions.held(strategy, instrument)
        key, currency = (strategy, instrument), held.currency
        earned = MONEY.subtract(MONEY.subtract(held.realized_pnl, held.fees), held.funding)
        now = MONEY.subtract(earned, self._margins.locked(held.traded, held.cost))
        change = MONEY.subtract(now, self._of_position.get(key, ZERO))
        self._of_position[key] = now
        self._earned[currency] = MONEY.add(self._earned.get(currency, ZERO), change)

    def _lock(self, order_id: str, lock: _Lock) -> None:
        self._free(order_id)
        self._locks[order_id] = lock
        self._locked[lock.currency] = MONEY.add(self._locked.get(lock.currency, ZERO), lock.left)

    def _free(self, order_id: str) -> None:
        lock = self._locks.pop(order_id, None)
        if lock is not None:
            self._locked[lock.currency] = MONEY.subtract(self._locked[lock.currency], lock.left)


def checked_cash(cash: Mapping[str, Amount]) -> dict[str, Decimal]:
    """Return amounts by currency. Raises OptionError."""
    of_type("cash", cash, Mapping)
    checked: dict[str, Decimal] = {}
    for currency, amount in cash.items():
        of_type("cash", currency, str)
        try:
            checked[currency] = decimal_of(amount)
        except (ValueError, TypeError):
            refuse("cash", amount, "a number from 0 on, for each currency")
        if not currency or checked[currency] < 0:
            refuse("cash", cash, "a number from 0 on, for each currency")
    return checked


def _opposite(request: GateRequest) -> Decimal:
    """Return the price that a market order would take now."""
    assert request.quote is not None  # The gate "instrument" refuses an order without one before.
    return decimal_of(request.quote.ask_price if request.order.side > 0 else request.quote.bid_price)
