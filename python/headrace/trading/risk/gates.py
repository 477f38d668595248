"""The gates that every order passes, in their order; what they lack refuses.

::

    halted ▸ permission ▸ instrument ▸ tick_and_lot ▸ price_collar ▸ quantity_max ▸ notional_max ▸ open_orders
           ▸ message_rate

What happens to an order that only reduces a position
    it may be larger than quantity_max and notional_max: a position must never be too large to be closed. What an
    operator's flatten sends is bound by no count of orders or messages either; every other gate holds for it.

Guarantees: a limit that was not set, or is no number, refuses each order that it concerns, with the line to add.
Does not: remember anything; what a verdict needs is in the request.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from headrace.market.listed import TRADING
from headrace.market.money import MONEY, SHOWN, decimal_of, is_multiple, mid_of
from headrace.market.tick import has_side
from headrace.trading.risk.gate import GateVerdict

if TYPE_CHECKING:
    from headrace.trading.risk.gate import Gate, GateRequest

__all__ = ["ENGINE_GATES", "GATES", "Warmup", "message_window", "unknown_instrument"]

# What a refusal proposes for a limit that is not there: small, for paper.
PROPOSED = {
    "quantity_max": '"1"',
    "notional_max": '"10000"',
    "price_collar": '"0.01"',
    "open_orders_max": "10",
    "message_rate_max": "10.0",
    "stale_after_s": "5.0",
    "price_tick": '"0.01"',
    "lot_size": '"0.001"',
    "contract": '"spot"',
}


# (observed, threshold, reason) -> verdict.
_passed = partial(GateVerdict, True)  # noqa: FBT003 - its first field
_refused = partial(GateVerdict, False)  # noqa: FBT003 - its first field


def _missing_limit(observed: object, field: str) -> GateVerdict:
    lines = f"[risk]\n{field} = {PROPOSED[field]}"
    return _refused(observed, "not set", f"{field} is not set, or is no number; to set it, add:\n{lines}")


def _missing_fact(request: GateRequest, observed: object, *fields: str) -> GateVerdict:
    lines = "\n".join(
        [f'[instruments."{request.order.instrument}"]', *(f"{name} = {PROPOSED[name]}" for name in fields)]
    )
    return _refused(observed, "not set", f"{' and '.join(fields)} of the instrument must be known; add:\n{lines}")


class Halted:
    """Nothing new passes while the kill switch is set."""

    name = "halted"

    def check(self, request: GateRequest) -> GateVerdict:
        """Look at the switch."""
        if request.is_halted:
            return _refused("halted", "armed", "the kill switch is set: no new order passes until it is rearmed")
        return _passed("armed", "armed")


class PermissionGate:
    """What the strategy's state allows, and what the order itself promises by ``reduce_only``."""

    name = "permission"

    def check(self, request: GateRequest) -> GateVerdict:
        """Look at the strategy's permission; where only reducing is allowed, at the position and what works on it."""
        order, exposure = request.order, request.exposure
        if exposure.permission == "none" and not exposure.by_operator:
            return _refused("none", "all", f"{order.strategy} is quarantined or stopped: it may not send orders")
        if exposure.permission == "all" and not order.reduce_only:
            return _passed("all", "all")
        side = "buys" if order.side > 0 else "sells"
        observed = f"{side} {order.quantity} at position {exposure.position}, {exposure.working} working"
        if request.reduces:
            return _passed(observed, "reduces")
        why = "the order is reduce_only" if order.reduce_only else f"{order.strategy} is paused or stopping"
        return _refused(observed, "reduces", f"{why}: it may bring the position nearer to 0, and not beyond")


def unknown_instrument(request: GateRequest) -> GateVerdict | None:
    """Refuse an instrument whose money cannot be computed; None: it can."""
    name = request.order.instrument
    if request.instrument is None and "." not in name:
        advice = f"{name} names no venue: order SYMBOL.VENUE, like {name}.BINANCE; handlers get it as instrument"
        return _refused(name, "SYMBOL.VENUE", advice)
    if request.instrument is None:
        return _missing_fact(request, f"{name} is unknown", "price_tick", "lot_size")
    if request.instrument.contract is None:
        return _missing_fact(request, "no contract", "contract")
    return None


class InstrumentGate:
    """The instrument is known and traded, its newest quote whole and fresh, and so is what else its strategy uses.

    A book is LIVE, and trades are fresh; orders that reduce a position, or that an operator sends, need no trades.
    """

    name = "instrument"

    def check(self, request: GateRequest) -> GateVerdict:
        """Look at what is known of the instrument, and at the age of its newest quote."""
        name, quote, limit = request.order.instrument, request.quote, request.limits.stale_after_s
        if (unknown := unknown_instrument(request)) is not None:
            return unknown
        if request.status not in (None, TRADING):
            reason = f"{name} is not traded at its venue now: wait for the next listing"
            return _refused(request.status, TRADING, reason)
        if limit is None:
            return _missing_limit("age", "stale_after_s")
        if quote is None:
            return _refused("no quote", "a quote", f"{name} has had no quote yet: subscribe its feed, or wait for one")
        if not (has_side(quote.bid_price, quote.bid_size) and has_side(quote.ask_price, quote.ask_size)):
            observed = f"bid {quote.bid_price!r} of {quote.bid_size!r}, ask {quote.ask_price!r} of {quote.ask_size!r}"
            return _refused(
                observed, "two prices", f"the newest quote of {name} has no two sides: wait for one that has"
            )
        age_s = max(0, request.now_ns - quote.ts_init) / 1e9
        if age_s > limit:
            return _refused(age_s, limit, f"{name} is stale: its newest quote is older than stale_after_s")
        if request.book is not None and request.book != "LIVE":
            reason = f"the book of {name} is not in sync, and {request.order.strategy} uses it: wait until it is LIVE"
            return _refused(request.book, "LIVE", reason)
        return self._judge_trades(request, limit) or _passed(age_s, limit)

    @staticmethod
    def _judge_trades(request: GateRequest, limit: float) -> GateVerdict | None:
        if not request.trades or request.reduces or request.exposure.by_operator:
            return None
        name, user = request.order.instrument, request.order.strategy
        for kind, ts_init in request.trades.items():
            if ts_init is None:
                return _refused(f"no {kind}", f"a {kind}", f"{name} has had no {kind} yet, and {user} uses them: wait")
            age_s = max(0, request.now_ns - ts_init) / 1e9
            if age_s > limit:
                reason = f"{name} is stale: its newest {kind}, which {user} uses, is older than stale_after_s"
                return _refused(age_s, limit, reason)
        return None


class TickAndLot:
    """Quantities are multiples of the lot, limits of the tick."""

    name = "tick_and_lot"

    def check(self, request: GateRequest) -> GateVerdict:
        """Divide, and look at the rest."""
        order, instrument = request.order, request.instrument
        lot = instrument.lot_size if instrument else None
        tick = instrument.price_tick if instrument else None
        if lot is None:
            return _missing_fact(request, order.quantity, "lot_size")
        if not is_multiple(order.quantity, lot):
            reason = f"quantity {order.quantity} is no multiple of lot_size {lot}: round it down to one"
            return _refused(order.quantity, lot, reason)
        if order.order_type == "market" and order.price is None:
            return _passed(order.quantity, lot)
        given = {
            "price": order.price,
            "trigger price": order.trigger_price,
            "trail": order.trail if order.trail_unit == "price" else None,
            "limit offset": order.limit_offset,
        }
        prices = {name: price for name, price in given.items() if price is not None}
        if not prices:
            return _passed(order.quantity, lot)
        if tick is None:
            return _missing_fact(request, next(iter(prices.values())), "price_tick")
        for name, price in prices.items():
            if not is_multiple(price, tick):
                return _refused(price, tick, f"{name} {price} is no multiple of price_tick {tick}: round it to one")
        return _passed(next(iter(prices.values())), tick)


class Warmup:
    """The data has gone on for long enough: a strategy's indicators are filled before its first order.

    length_ns : how long. begins_ns : when the data began, set when the run begins.
    """

    name = "warmup"

    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self.begins_ns = 0

    def check(self, request: GateRequest) -> GateVerdict:
        """Compare the time with the end of the warm-up."""
        passed_s, length_s = (request.now_ns - self.begins_ns) / 1e9, self._length_ns / 1e9
        if passed_s < length_s:
            return _refused(f"{passed_s:g} s", f"{length_s:g} s", "the engine warms up (warmup=): orders come later")
        return _passed(f"{passed_s:g} s", f"{length_s:g} s")


class PriceCollar:
    """A limit lies near the market, or near the trigger from which on it counts."""

    name = "price_collar"

    def check(self, request: GateRequest) -> GateVerdict:
        """Compare a limit with the trigger, or else with the mid of the newest quote, as a part of it."""
        price, quote, collar = request.order.price, request.quote, request.limits.price_collar
        if price is None or quote is None:
            return _passed("market", collar)
        if collar is None:
            return _missing_limit(price, "price_collar")
        middle, what = request.order.trigger_price, "trigger price"
        if middle is None:
            middle, what = mid_of(quote.bid_price, quote.ask_price), "mid"
        away = MONEY.divide(MONEY.subtract(price, middle).copy_abs(), middle)
        if away > collar:
            where = f"price {price} lies too far from the {what} {SHOWN.plus(middle)}"
            reason = f"{where}: bring it nearer, or widen price_collar"
            return _refused(SHOWN.plus(away), collar, reason)
        return _passed(SHOWN.plus(away), collar)


class QuantityMax:
    """One order is not too large."""

    name = "quantity_max"

    def check(self, request: GateRequest) -> GateVerdict:
        """Compare the quantity."""
        quantity, limit = request.order.quantity, request.limits.quantity_max
        if request.reduces:
            return _passed(quantity, limit, "reduces the position")
        if limit is None:
            return _missing_limit(quantity, "quantity_max")
        if quantity > limit:
            return _refused(quantity, limit, f"quantity {quantity} is above quantity_max {limit}: send less")
        return _passed(quantity, limit)


class NotionalMax:
    """One order is not worth too much: at its limit or its trigger, else at the quote that it would meet."""

    name = "notional_max"

    def check(self, request: GateRequest) -> GateVerdict:
        """Compare the notional, in the currency of the instrument's contract."""
        order, limit, quote = request.order, request.limits.notional_max, request.quote
        instrument = request.instrument
        price = order.trigger_price if order.price is None else order.price
        if price is None and quote is not None:
            price = decimal_of(quote.ask_price if order.side > 0 else quote.bid_price)
        notional = None if price is None or instrument is None else instrument.notional(order.quantity, price)
        if request.reduces:
            return _passed(notional, limit, "reduces the position")
        if limit is None:
            return _missing_limit(notional, "notional_max")
        if notional is None or notional > limit:
            worth = f"{notional} {instrument.quote}" if instrument else "nothing that is known"
            return _refused(notional, limit, f"the order is worth {worth}, above notional_max {limit}: send less")
        return _passed(notional, limit)


class OpenOrders:
    """A strategy has not too many orders open in an instrument."""

    name = "open_orders"

    def check(self, request: GateRequest) -> GateVerdict:
        """Count, this one included."""
        count, limit = request.exposure.open_orders + 1, request.limits.open_orders_max
        if request.exposure.by_operator:
            return _passed(count, limit, "sent by an operator")
        if limit is None:
            return _missing_limit(count, "open_orders_max")
        if count > limit:
            reason = f"it would be open order number {count} of {request.order.strategy}: cancel one first"
            return _refused(count, limit, reason)
        return _passed(count, limit)


class MessageRate:
    """A strategy does not send too many messages; cancels count, and always pass."""

    name = "message_rate"

    def check(self, request: GateRequest) -> GateVerdict:
        """Count what the window holds, this one included."""
        rate = request.limits.message_rate_max
        if request.exposure.by_operator:
            return _passed(len(request.messages), rate, "sent by an operator")
        if rate is None:
            return _missing_limit(len(request.messages) + 1, "message_rate_max")
        if rate == 0:
            return _refused(len(request.messages) + 1, rate, "message_rate_max is 0: no message passes; set it above 0")
        count_max, window_ns = message_window(rate)
        recent = len(request.messages) - bisect_right(request.messages, request.now_ns - window_ns) + 1
        if recent > count_max:
            reason = f"{request.order.strategy} sends more than {rate:g} messages per second: wait"
            return _refused(recent, rate, reason)
        return _passed(recent, rate)


@lru_cache
def message_window(rate: float) -> tuple[int, int]:
    """Return how many messages so many ns may hold, for so many per second: 10.0 is 10 in a second, 0.5 one in two."""
    count = max(1, math.floor(rate))
    return count, round(min(count / rate * 1e9, 2.0**62))


# Of the engine, whoever judges the risk.
_OF_THE_ENGINE: tuple[Gate, ...] = (Halted(), PermissionGate())
GATES: tuple[Gate, ...] = (
    *(*_OF_THE_ENGINE, InstrumentGate(), TickAndLot(), PriceCollar()),
    *(QuantityMax(), NotionalMax(), OpenOrders(), MessageRate()),
)
# How many gates stand before those that a risk engine replaces.
ENGINE_GATES = len(_OF_THE_ENGINE)
