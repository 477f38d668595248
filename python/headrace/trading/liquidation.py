"""Liquidation: closes what an account holds on margin when its equity no longer covers the maintenance margin.

::

    equity = deposit + realized profit - fees - funding - cost of what is paid for whole + unrealized profit on margin
    maintenance = sum of maintenance · worth at the mark                                  both per settlement currency

    equity <= maintenance ─▶ Liquidated ─▶ open orders canceled ─▶ each position closed at its mark, by the broker

Which mark it is judged at
    that of the newest tick of kind ``mark``; of an instrument that has none, a candle's worst price for what is held of
    it, and without candles the mid of the newest quote. All candles of one time are judged at their worst together, and
    positions are closed where the way from their opens there has used the margin up; at the opens, when these have.
What happens on the same candle as a fill
    resting orders, stops among them, fill first; what is left is judged.

Guarantees: it is final: a price that recovers gives nothing back; an order that no gate holds up closes each position,
for a taker's fee; what is lost beyond the equity stays lost.
Does not: liquidate in parts, or lower a loss by an insurance fund.
"""

from __future__ import annotations

import logging
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from headrace.market.events import Cause, Liquidated, OrderFill
from headrace.market.instrument import instrument_of
from headrace.market.money import MONEY, ZERO, decimal_of, mid_of, shown
from headrace.market.tick import NEVER_NEWEST, has_side
from headrace.trading.own_reader import subscribe_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headrace.bus import EventBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.subscription import Subscription
    from headrace.market.clock import Clock, Mode
    from headrace.market.events import Bar, Event
    from headrace.market.instrument import Instrument
    from headrace.trading.margin import Margins
    from headrace.trading.orders import OrderManager
    from headrace.trading.positions import Position, Positions

__all__ = ["Liquidation", "MarginState"]

log = logging.getLogger(__name__)

OLD = int(NEVER_NEWEST)
# How far above the maintenance, as a part of what is held, floats are believed; nearer to it, Decimals decide.
HAIR = 1e-9
ONE, TWO = Decimal(1), Decimal(2)
# Between an open and a worst price: nearer than any tick.
BISECTIONS = 64
# Of instruments whose tick is not known.
FINEST = Decimal("0.00000001")


class MarginState(NamedTuple):
    """An account's margin in one currency, at some marks: ``equity`` has to be above ``maintenance``."""

    equity: Decimal
    maintenance: Decimal
    held: Sequence[Position]

    @property
    def is_used_up(self) -> bool:
        """Whether what is held is to be closed."""
        return bool(self.held) and self.equity <= self.maintenance


class _Fast(NamedTuple):
    """The same as floats, to be computed at each tick. held : (instrument, sized, cost, maintenance, is inverse)."""

    base: float
    held: Sequence[tuple[str, float, float, float, bool]]


class Liquidation:
    """The margin of one account.

    mark_of : the last mid of an instrument, by name; None: there is none. Subscribe ``take`` to order events,
    PositionChanged and FundingPaid, behind what changes positions.
    """

    def __init__(
        self,
        deposits: Mapping[str, Decimal],
        positions: Positions,
        margins: Margins,
        orders: OrderManager,
        *,
        bus: EventBus,
        clock: Clock,
        instruments: Mapping[str, Instrument],
        mark_of: Callable[[str], Decimal | None],
    ) -> None:
        self._deposits = deposits
        self._positions = positions
        self._margins = margins
        self._orders = orders
        self._bus = bus
        self._clock = clock
        self._instruments = instruments
        self._mark_of = mark_of
        # Of ticks of kind mark: then no other price judges the instrument.
        self._marks: dict[str, Decimal] = {}
        self._fast: dict[str, _Fast] = {}
        self._currency_of: dict[str, str] = {}
        # Marks that came while fills were on their way, judged when these are accounted for.
        self._waiting: dict[str, tuple[Decimal, Cause]] = {}
        self._closing: set[str] = set()
        self._subscriptions: list[Subscription] = []

    # Its ticks

    def attach(self, dispatcher: Dispatcher, mode: Mode) -> None:
        """Take quotes and marks while something is held on margin."""
        for callback, handler in (("on_mark", self._on_mark), ("on_quote", self._on_quote)):
            own = subscribe_own(dispatcher, mode, handler, callback=callback, name=f"margin {callback}")
            own.doze()
            self._subscriptions.append(own)

    def close(self) -> None:
        """Leave the ticks. May be called twice."""
        while self._subscriptions:
            self._subscriptions.pop().close()

    def _on_mark(self, instrument: str, mark_price: float, seq: int, ts_init: int, flags: int) -> None:
        if flags & OLD or not mark_price > 0:
            return
        self._marks[instrument] = decimal_of(mark_price)
        if self._is_near(instrument, mark_price):
            self._look(instrument, self._marks[instrument], Cause(instrument, "mark", seq, seq, ts_init))

    def _on_quote(
        self,
        instrument: str,
        bid_price: float,
        ask_price: float,
        bid_size: float,
        ask_size: float,
        seq: int,
        ts_init: int,
        flags: int,
    ) -> None:
        if instrument in self._marks or flags & OLD:
            return
        is_whole = has_side(bid_price, bid_size) and has_side(ask_price, ask_size)
        if is_whole and self._is_near(instrument, (bid_price + ask_price) / 2):
            self._look(instrument, mid_of(bid_price, ask_price), Cause(instrument, "quote", seq, seq, ts_init))

    def on_candles(self, candles: Iterable[Bar]) -> None:
        """Judge candles that have closed, at their worst prices; call it when nothing is on its way on the bus."""
        opens: dict[str, Decimal] = {}
        worst: dict[str, tuple[Decimal, Cause]] = {}
        for own in candles:
            if own.instrument in self._currency_of and own.instrument not in self._marks:
                net = sum((held.quantity for held in self._positions.positions(instrument=own.instrument)), ZERO)
                number = own.cause.last if own.cause is not None else 0
                cause = Cause(own.instrument, "candle", number, number, own.ts_close)
                worst[own.instrument] = (decimal_of(own.low if net > 0 else own.high), cause)
                opens[own.instrument] = decimal_of(own.open)
        if worst:
            self._judge(worst, opens)

    # Judging

    def take(self, event: Event) -> None:
        """Follow what is held; then judge the marks that came while this was on its way."""
        if isinstance(event, OrderFill):
            self._currency_of.setdefault(
                event.instrument, self._positions.held(event.strategy, event.instrument).currency
            )
        self._fast.clear()
        if isinstance(event, OrderFill) and self._subscriptions:
            is_held = any(self._held(currency)[0] for currency in set(self._currency_of.values()))
            for own in self._subscriptions:
                _ = own.wake() if is_held else own.doze()
        if self._waiting and not self._bus.has_ready:
            marks, self._waiting = self._waiting, {}
            self._judge(marks)

    def _look(self, instrument: str, mark: Decimal, cause: Cause) -> None:
        """Judge a mark, now or when the fills that are on their way are accounted for."""
        if self._bus.is_idle:
            self._judge({instrument: (mark, cause)})
        else:
            self._waiting[instrument] = (mark, cause)

    def _is_near(self, instrument: str, mark: float) -> bool:
        """Return whether the margin may be used up; computed in floats, in a microsecond or two."""
        currency = self._currency_of.get(instrument)
        if currency is None:
            return False
        fast = self._fast.get(currency)
        if fast is None:
            fast = self._fast[currency] = self._as_floats(currency)
        equity, needed, gross = fast.base, 0.0, abs(fast.base)
        for name, sized, cost, maintenance, is_inverse in fast.held:
            price = mark if name == instrument else float(self._mark(name) or 0)
            if not price:
                continue
            worth = -sized / price if is_inverse else sized * price
            equity += worth - cost
            needed += maintenance * abs(worth)
            gross += abs(worth) + abs(cost)
        return equity - needed <= HAIR * gross

    def _as_floats(self, currency: str) -> _Fast:
        held, base = self._held(currency)
        rows = []
        for own in held:
            traded, margin = own.traded, self._margins.of(own.traded)
            assert margin is not None  # It is held on margin.
            sized = float(own.quantity) * float(traded.size or 0)
            is_inverse = traded.contract == "inverse"
            rows.append((own.instrument, sized, float(own.cost), float(margin.maintenance), is_inverse))
        return _Fast(float(base), rows)

    def _held(self, currency: str) -> tuple[list[Position], Decimal]:
        """Return what is held on margin, and the account's equity without its unrealized profit."""
        held, base = [], self._deposits.get(currency, ZERO)
        for own in self._positions.positions():
            if own.currency != currency:
                continue
            earned = MONEY.subtract(MONEY.subtract(own.realized_pnl, own.fees), own.funding)
            base = MONEY.add(base, earned)
            if self._margins.of(own.traded) is None:
                base = MONEY.subtract(base, own.cost.copy_abs())
            elif not own.is_flat:
                held.append(own)
        return held, base

    def state(self, currency: str, marks: Mapping[str, Decimal]) -> MarginState:
        """Return the margin of a currency. marks : before the newest ones; without any a position has its cost."""
        held, equity = self._held(currency)
        maintenance = ZERO
        for own in held:
            margin, mark = self._margins.of(own.traded), marks.get(own.instrument) or self._mark(own.instrument)
            assert margin is not None  # It is held on margin.
            worth = own.cost if mark is None else own.traded.worth(own.quantity, mark)
            equity = MONEY.add(equity, MONEY.subtract(worth, own.cost))
            maintenance = MONEY.fma(margin.maintenance, worth.copy_abs(), maintenance)
        return MarginState(equity, maintenance, held)

    def lost(self, currency: str, but: Position | None) -> Decimal:
        """Return what is lost by now with what is held on margin, but for one position; at least 0."""
        total = ZERO
        for own in self._held(currency)[0]:
            mark = self._mark(own.instrument)
            if mark is not None and (but is None or (own.strategy, own.instrument) != (but.strategy, but.instrument)):
                total = MONEY.add(total, MONEY.subtract(own.traded.worth(own.quantity, mark), own.cost))
        return max(ZERO, MONEY.minus(total))

    def _mark(self, instrument: str) -> Decimal | None:
        return self._marks.get(instrument) or self._mark_of(instrument)

    # Closing

    def _judge(
        self, seen: Mapping[str, tuple[Decimal, Cause]], opens: Mapping[str, Decimal] = MappingProxyType({})
    ) -> None:
        """Judge each currency of these marks, and liquidate where the margin is used up.

        opens : of candles, where the way to these marks began.
        """
        self._closing = {own for own in self._closing if (order := self._orders.order(own)) and order.is_open}
        marks = {name: mark for name, (mark, _) in seen.items()}
        for currency in dict.fromkeys(self._currency_of[name] for name in seen):
            if self._closing or not self.state(currency, marks).is_used_up:
                continue
            cause = next(cause for name, (_, cause) in seen.items() if self._currency_of[name] == currency)
            reached = self._reached(currency, opens, marks) if opens else marks
            self._liquidate(currency, self.state(currency, reached), reached, cause)

    def _reached(
        self, currency: str, opens: Mapping[str, Decimal], worst: Mapping[str, Decimal]
    ) -> Mapping[str, Decimal]:
        """Return where the margin is used up on the straight way from the opens to the worst prices."""
        if self.state(currency, opens).is_used_up:
            return opens
        low, high = ZERO, ONE
        for _ in range(BISECTIONS):
            middle = MONEY.divide(MONEY.add(low, high), TWO)
            at = {name: _between(price, worst[name], middle) for name, price in opens.items()}
            low, high = (low, middle) if self.state(currency, at).is_used_up else (middle, high)
        return {name: self._worse(name, _between(price, worst[name], high), worst) for name, price in opens.items()}

    def _worse(self, instrument: str, price: Decimal, worst: Mapping[str, Decimal]) -> Decimal:
        """Return a price on its tick, rounded to the worse side, and not beyond the worst."""
        step = instrument_of(self._instruments, instrument).price_tick or FINEST
        is_down = worst[instrument] <= price
        steps = MONEY.divide(price, step).to_integral_value(ROUND_FLOOR if is_down else ROUND_CEILING)
        rounded = MONEY.multiply(steps, step)
        return max(rounded, worst[instrument]) if is_down else min(rounded, worst[instrument])

    def _liquidate(self, currency: str, state: MarginState, marks: Mapping[str, Decimal], cause: Cause) -> None:
        at = {own.instrument: marks.get(own.instrument) or self._mark(own.instrument) for own in state.held}
        closed = {name: mark for name, mark in at.items() if mark is not None}
        log.warning(
            "liquidation: equity on margin %s %s is not above the maintenance margin %s: %s closed",
            *(shown(state.equity), currency, shown(state.maintenance), ", ".join(closed)),
        )
        self._bus.publish_consequence(
            Liquidated(
                source="account",
                ts=self._clock.now_ns(),
                run_id=self._bus.run_id,
                cause=cause,
                currency=currency,
                equity=shown(state.equity),
                maintenance=shown(state.maintenance),
                marks=closed,
            )
        )
        for name in closed:
            self._orders.cancel_all(instrument=name, reason="liquidation")
        for own in state.held:
            if own.instrument in closed:
                self._closing.add(self._orders.liquidations.close(own, closed[own.instrument], cause))


def _between(first: Decimal, last: Decimal, part: Decimal) -> Decimal:
    return MONEY.fma(MONEY.subtract(last, first), part, first)
