"""TradingLimits: what a strategy, or all of them together, may hold, order and lose; and the gate that enforces it.

::

    order ─▶ strategy's limits ▸ account's limits ─▶ room for so much ─┬▶ enough: it passes
                                                                      └▶ less: refused, or reduced to the room
    each minute: equity ─▶ its value at 00:00 UTC, its peak ─▶ stopped: only orders that reduce pass

What happens to an order that only reduces a position
    it always passes, and so does what an operator sends to flatten: a limit never keeps a position open.

Guarantees: what works already counts as filled; amounts of two currencies are never added; equity that is not known,
since a position has no mark, refuses; a day begins at 00:00 UTC; a drawdown stops for the rest of the run.
Does not: close positions.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from headrace.errors import OptionError
from headrace.market.checks import duration_ns, nearest, of_type, one_of, refuse, whole
from headrace.market.instrument import instrument_of
from headrace.market.money import MONEY, ZERO, Amount, decimal_of, shown
from headrace.trading.risk.gate import GateVerdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from headrace.market.instrument import Instrument
    from headrace.trading.account import Account
    from headrace.trading.orders import Order, OrderManager
    from headrace.trading.risk.gate import GateRequest

__all__ = ["EQUITY_EVERY_NS", "LimitsGate", "TradingLimits"]

EQUITY_EVERY_NS = 60 * 1_000_000_000
DAY_NS = 86_400 * 1_000_000_000
ORDERS_MAX = 1_000_000
# The limits of every strategy that has none of its own.
OTHERS = "*"


class TradingLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one strategy, or of an account. A limit that is not given bounds nothing.

    position_max : quantity that may be held of an instrument, long or short.
    exposure_max : notional of all that is held, by currency, { USDT = 50_000 }.
    orders_max : orders within ``orders_every``.
    orders_every : a time, or ns.
    loss_max : by currency, what may be lost since 00:00 UTC; then only reducing orders pass until the next day.
    drawdown_max : by currency, how far equity may fall below its highest; then only reducing orders pass.
    on_exceed : "refuse" an order that has no room, or "reduce" it to what there is room for.

    Raises OptionError.
    """

    position_max: Decimal | None = None
    exposure_max: dict[str, Decimal] = {}
    orders_max: int | None = None
    orders_every: str | int = "1m"
    loss_max: dict[str, Decimal] = {}
    drawdown_max: dict[str, Decimal] = {}
    on_exceed: Literal["refuse", "reduce"] = "refuse"

    def __post_init__(self) -> None:
        if self.position_max is not None:
            force_setattr(self, "position_max", _limit("position_max", self.position_max))
        for name in ("exposure_max", "loss_max", "drawdown_max"):
            given = getattr(self, name)
            of_type(name, given, dict)
            force_setattr(self, name, {currency: _limit(name, own) for currency, own in given.items()})
        if self.orders_max is not None:
            whole("orders_max", self.orders_max, 1, ORDERS_MAX, "orders")
        if duration_ns("orders_every", self.orders_every) <= 0:
            refuse("orders_every", self.orders_every, "a time above 0, as '1m'")
        one_of("on_exceed", self.on_exceed, ("refuse", "reduce"))


class _Room(NamedTuple):
    """What one limit leaves for an order. quantity : that it may have; 0: none."""

    quantity: Decimal
    observed: object
    threshold: object
    reason: str


class _Equity:
    """The equity of one currency: since midnight, and below its highest."""

    __slots__ = ("day", "day_began", "is_stopped", "lost_day", "peak")

    def __init__(self) -> None:
        self.day = -1
        self.day_began = ZERO
        # The day whose loss was reached.
        self.lost_day = -1
        self.peak: Decimal | None = None
        self.is_stopped = False

    def sample(self, now_ns: int, equity: Decimal, loss: Decimal | None, drawdown: Decimal | None) -> None:
        """Take the equity of now, and what may be lost of it."""
        day = now_ns // DAY_NS
        if day != self.day:
            self.day, self.day_began = day, equity
        self.peak = equity if self.peak is None else max(self.peak, equity)
        if loss is not None and MONEY.subtract(self.day_began, equity) >= loss:
            self.lost_day = day
        if drawdown is not None and MONEY.subtract(self.peak, equity) >= drawdown:
            self.is_stopped = True


class _Scope:
    """One strategy, or the account. strategy : None: all of them."""

    def __init__(self, strategy: str | None, limits: TradingLimits) -> None:
        self.strategy = strategy
        self.limits = limits
        self.title = "the account" if strategy is None else strategy
        self.every_ns = duration_ns("orders_every", limits.orders_every)
        self.orders: deque[tuple[int, str]] = deque()
        self.equities: dict[str, _Equity] = {}

    @property
    def currencies(self) -> Iterable[str]:
        """Those whose equity is limited."""
        return dict.fromkeys((*self.limits.loss_max, *self.limits.drawdown_max))


class LimitsGate:
    """The gate "limits". account_limits : of all strategies together. strategy_limits : by strategy, "*" for others.

    strategies : those that there are. account_of : the account of a strategy, or of all. Call ``sample`` when the run
    begins and each EQUITY_EVERY_NS. Raises OptionError.
    """

    name = "limits"

    def __init__(
        self,
        account_limits: TradingLimits | None,
        strategy_limits: Mapping[str, TradingLimits],
        strategies: Iterable[str],
        *,
        orders: OrderManager,
        account_of: Callable[[str | None], Account],
        instruments: Mapping[str, Instrument],
        mark_of: Callable[[str], Decimal | None],
    ) -> None:
        known = [*strategies, OTHERS]
        for name, own in strategy_limits.items():
            of_type("strategy_limits", own, TradingLimits)
            if name not in known:
                msg = (
                    f"strategy_limits has {name!r}, which is no strategy{nearest(name, known)}; use {', '.join(known)}"
                )
                raise OptionError(msg, option="strategy_limits")
        of_type("account_limits", account_limits, TradingLimits, None)
        self._orders = orders
        self._account_of = account_of
        self._instruments = instruments
        self._mark_of = mark_of
        self._others = strategy_limits.get(OTHERS)
        self._account = None if account_limits is None else _Scope(None, account_limits)
        self._scopes = {name: _Scope(name, own) for name, own in strategy_limits.items() if name != OTHERS}
        for name in known[:-1]:
            self._scope_of(name)

    def _scope_of(self, strategy: str) -> _Scope | None:
        if strategy not in self._scopes and self._others is not None:
            self._scopes[strategy] = _Scope(strategy, self._others)
        return self._scopes.get(strategy)

    def sample(self, now_ns: int) -> None:
        """Look at the equity of each scope."""
        for scope in (*self._scopes.values(), *(() if self._account is None else (self._account,))):
            self._sample(scope, now_ns)

    def _sample(self, scope: _Scope, now_ns: int) -> Iterable[str]:
        """Look at the equity of one scope; return the currencies in which it is not known."""
        if not scope.currencies:
            return ()
        balances, limits = self._account_of(scope.strategy).balances(), scope.limits
        unknown = []
        for currency in scope.currencies:
            equity = balances[currency].equity if currency in balances else ZERO
            own = scope.equities.setdefault(currency, _Equity())
            if equity is None:
                unknown.append(currency)
            else:
                own.sample(now_ns, equity, limits.loss_max.get(currency), limits.drawdown_max.get(currency))
        return unknown

    # The gate

    def check(self, request: GateRequest) -> GateVerdict:
        """Compare an order with the room that each limit leaves."""
        order = request.order
        if request.reduces or request.exposure.by_operator:
            return GateVerdict(passed=True, observed=order.quantity, threshold="reduces the position")
        scopes = [own for own in (self._scope_of(order.strategy), self._account) if own is not None]
        least: _Room | None = None
        for scope in scopes:
            for room in self._rooms(scope, request):
                if room.quantity < order.quantity and (scope.limits.on_exceed == "refuse" or not room.quantity):
                    return GateVerdict(False, room.observed, room.threshold, room.reason)  # noqa: FBT003 - its first
                if least is None or room.quantity < least.quantity:
                    least = room
        for scope in scopes:
            scope.orders.append((request.now_ns, order.order_id))
        if least is None or order.quantity <= least.quantity:
            return GateVerdict(passed=True, observed=order.quantity, threshold="within all limits")
        reason = f"reduced from {order.quantity} to {least.quantity}: {least.reason}"
        return GateVerdict(True, least.observed, least.threshold, reason, least.quantity)  # noqa: FBT003 - its first

    def _rooms(self, scope: _Scope, request: GateRequest) -> Iterator[_Room]:
        """Yield what each limit of a scope leaves."""
        limits = scope.limits
        if scope.currencies:
            yield from self._room_of_equity(scope, request)
        if limits.orders_max is not None:
            yield self._room_of_orders(scope, request, limits.orders_max)
        if limits.position_max is not None:
            yield self._room_of_position(scope, request, limits.position_max)
        if limits.exposure_max:
            yield self._room_of_exposure(scope, request)

    def _room_of_equity(self, scope: _Scope, request: GateRequest) -> Iterator[_Room]:
        closing = _in_lots(request, request.closes)
        for currency in self._sample(scope, request.now_ns):
            why = f"the equity of {scope.title} in {currency} is not known: an open position has no mark; wait for one"
            yield _Room(closing, "no mark", "a mark", why)
        for currency, own in scope.equities.items():
            if own.is_stopped:
                limit = scope.limits.drawdown_max[currency]
                why = (
                    f"{scope.title} fell {limit} {currency} below its peak: for the rest of the run it may only reduce"
                )
                yield _Room(closing, "drawdown", f"{limit} {currency}", why)
            if own.lost_day == request.now_ns // DAY_NS:
                limit = scope.limits.loss_max[currency]
                why = f"{scope.title} lost {limit} {currency} today: until 00:00 UTC it may only reduce"
                yield _Room(closing, "daily loss", f"{limit} {currency}", why)

    def _room_of_orders(self, scope: _Scope, request: GateRequest, limit: int) -> _Room:
        sent = scope.orders
        if sent and not self._was_sent(sent[-1][1]):
            sent.pop()
        while sent and sent[0][0] <= request.now_ns - scope.every_ns:
            sent.popleft()
        why = f"{scope.title} has sent {len(sent)} orders within {scope.limits.orders_every}: wait"
        return _Room(ZERO if len(sent) >= limit else request.order.quantity, len(sent) + 1, limit, why)

    def _was_sent(self, order_id: str) -> bool:
        order = self._orders.order(order_id)
        return order is not None and order.request.verdict == "passed"

    def _working(self, scope: _Scope, request: GateRequest) -> list[Order]:
        """Return the open orders of a scope that passed the gates, without this one."""
        each = self._orders.orders(strategy=scope.strategy, open_only=True)
        return [own for own in each if own.request.verdict == "passed" and own.order_id != request.order.order_id]

    def _room_of_position(self, scope: _Scope, request: GateRequest, limit: Decimal) -> _Room:
        order, positions = request.order, self._orders.positions
        held = positions.positions(strategy=scope.strategy, instrument=order.instrument)
        net = sum((own.quantity for own in held), ZERO)
        left = (
            own.left
            for own in self._working(scope, request)
            if (own.instrument, own.side) == (order.instrument, order.side)
        )
        there = MONEY.add(net if order.side > 0 else MONEY.minus(net), sum(left, ZERO))
        room = max(ZERO, MONEY.subtract(limit, there))
        why = (
            f"{scope.title} would hold {MONEY.add(there, order.quantity)} {order.instrument}, above {limit}: order less"
        )
        return _Room(_in_lots(request, room), MONEY.add(there, order.quantity), limit, why)

    def _room_of_exposure(self, scope: _Scope, request: GateRequest) -> _Room:
        order, traded = request.order, request.instrument
        assert traded is not None  # The gate "instrument" refuses those before.
        limit = scope.limits.exposure_max.get(traded.quote)
        if limit is None:
            return _Room(order.quantity, "another currency", "no limit", "")
        gross = self._exposure(scope, request, traded.quote)
        price = order.price or self._mark_of(order.instrument)
        if gross is None or price is None:
            why = f"the exposure of {scope.title} is not known: an open position has no mark; wait for one"
            return _Room(_in_lots(request, request.closes), "no mark", "a mark", why)
        unit = traded.notional(Decimal(1), price).copy_abs()
        # What closes frees as much as it takes.
        freed = MONEY.multiply(request.closes, Decimal(2))
        room = MONEY.add(MONEY.divide(MONEY.subtract(limit, gross), unit), freed)
        after = MONEY.fma(unit, MONEY.subtract(order.quantity, freed), gross)
        why = f"{scope.title} would hold {shown(after)} {traded.quote} in all, above {limit}: order less"
        return _Room(_in_lots(request, max(ZERO, room)), shown(after), limit, why)

    def _exposure(self, scope: _Scope, request: GateRequest, currency: str) -> Decimal | None:
        """Return the notional of what is held and what works in a currency; None: something has no mark."""
        each = [
            *((own.traded, own.quantity, None) for own in self._orders.positions.positions(strategy=scope.strategy)),
            *(
                (instrument_of(self._instruments, own.instrument), own.left, own.price)
                for own in self._working(scope, request)
            ),
        ]
        total = ZERO
        for traded, quantity, price in each:
            if traded.quote != currency or not quantity:
                continue
            at = price or self._mark_of(traded.name)
            if at is None:
                return None
            total = MONEY.add(total, traded.notional(quantity.copy_abs(), at).copy_abs())
        return total


def _in_lots(request: GateRequest, quantity: Decimal) -> Decimal:
    """Return a quantity in whole lots, not beyond that of the order."""
    assert request.instrument is not None  # The gate "instrument" refuses those before.
    return min(request.order.quantity, request.instrument.in_lots(quantity))


def _limit(option: str, value: Amount) -> Decimal:
    try:
        number = decimal_of(value)
    except (ValueError, TypeError):
        number = ZERO
    if number <= 0:
        refuse(option, value, "a number above 0")
    return number
