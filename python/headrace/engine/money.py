"""Money: the parts of an engine that follow its account: margins, cash, funding, liquidation.

::

    fills ─▶ orders ─▶ positions ─▶ funding ─▶ cash ─▶ liquidation      each handles an event behind the one before

Guarantees: each sees the positions with the event already in them.
Does not: compute anything; the parts do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headrace.engine.loop import ReplayDriver
from headrace.errors import OptionError
from headrace.market.events import FundingPaid, OrderEvent, OrderFill, PositionChanged
from headrace.market.instrument import instrument_of
from headrace.market.money import ZERO
from headrace.trading.account import Account
from headrace.trading.brokers import FeeBroker, MarginBroker
from headrace.trading.cash import Cash, checked_cash
from headrace.trading.funding import Funding
from headrace.trading.liquidation import Liquidation
from headrace.trading.margin import Margins
from headrace.trading.risk import LimitsGate
from headrace.trading.risk.limits import EQUITY_EVERY_NS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack
    from decimal import Decimal

    from headrace.engine.parts import EngineParts
    from headrace.market.money import Amount
    from headrace.trading.positions import Position

__all__ = ["Money"]


class Money:
    """The money of an engine's parts, whose orders' manager and positions are there.

    limits, cash, liquidation : None: there is none. Raises OptionError.
    """

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts
        self.margins: Final = Margins(parts.options["margin"], parts.gates.instruments)
        self.funding: Final = Funding(
            parts.positions,
            self.margins,
            lambda name: instrument_of(parts.gates.instruments, name),
            clock=parts.clock,
            publish=parts.driver.publish,
            run_id=parts.run_id,
        )
        parts.bus.subscribe((OrderFill, FundingPaid), self.funding.take, name="funding")
        self.limits: Final = self._limits()
        self.cash: Final = self._cash()
        self.account: Final = Account(parts.positions, parts.marks.mid, cash=self.cash)
        self.liquidation: Final = self._liquidation()

    def _cash(self) -> Cash | None:
        parts = self._parts
        broker: object = parts.broker
        given: Mapping[str, Amount] | None = parts.options["cash"]
        if given is None:
            return None
        cash = Cash(
            checked_cash(given),
            parts.positions,
            fee=broker.fee if isinstance(broker, FeeBroker) else lambda *_: ZERO,
            is_known=lambda order_id: parts.orders.order(order_id) is not None,
            margins=self.margins,
            lost=self._lost,
        )
        parts.gates.add(cash)
        parts.bus.subscribe((OrderEvent, FundingPaid), cash.take, name="cash")
        return cash

    def _limits(self) -> LimitsGate | None:
        """Add the gate of the limits, if there are any; before that of the cash, which sees the reduced order."""
        parts = self._parts
        account, strategies = parts.options["account_limits"], parts.options["strategy_limits"]
        if account is None and not strategies:
            return None
        gate = LimitsGate(
            account,
            strategies or {},
            parts.specs,
            orders=parts.orders,
            account_of=lambda strategy: self.account if strategy is None else self.account.of(strategy),
            instruments=parts.gates.instruments,
            mark_of=parts.marks.mid,
        )
        parts.gates.add(gate)
        return gate

    def _sample(self) -> None:
        """Look at the equity, and again at the next whole minute."""
        assert self.limits is not None  # Nothing else calls it.
        now_ns = self._parts.clock.now_ns()
        self.limits.sample(now_ns)
        self._parts.call_at("limits", (now_ns // EQUITY_EVERY_NS + 1) * EQUITY_EVERY_NS, self._sample)

    def _lost(self, currency: str, but: Position | None) -> Decimal:
        return ZERO if self.liquidation is None else self.liquidation.lost(currency, but)

    def _liquidation(self) -> Liquidation | None:
        parts = self._parts
        if not self.margins:
            return None
        broker: object = parts.broker
        if self.cash is None or not isinstance(broker, MarginBroker):
            lacks = "cash" if self.cash is None else "a broker that has fill_at"
            msg = f"margin without {lacks}: it is for an account on paper, with cash= and a SimulatedBroker"
            raise OptionError(msg, option="margin")
        made = Liquidation(
            self.cash.deposits,
            parts.positions,
            self.margins,
            parts.orders,
            bus=parts.bus,
            clock=parts.clock,
            instruments=parts.gates.instruments,
            mark_of=parts.marks.mid,
        )
        parts.bus.subscribe((OrderEvent, PositionChanged, FundingPaid), made.take, name="margin")
        if isinstance(parts.driver, ReplayDriver):
            parts.driver.judge_candles = made.on_candles
        return made

    def attach(self, undo: ExitStack) -> None:
        """Take ticks, behind the broker and before the strategies. undo : closes what is opened."""
        parts = self._parts
        if parts.broker is not None:
            undo.callback(self.funding.close)
            undo.callback(self.funding.finish)
            self.funding.attach(parts.dispatcher, parts.mode)
        if self.limits is not None:
            self._sample()
        if self.liquidation is not None:
            undo.callback(self.liquidation.close)
            self.liquidation.attach(parts.dispatcher, parts.mode)
