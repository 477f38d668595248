"""The trading part of a report: positions, totals per currency, and their tables.

Guarantees: amounts are shown with their currency and enough digits to tell them from 0; no two currencies are added.
Does not: compute profit; ``trading.positions`` and ``trading.account`` do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from headrace.engine.tables import Table
from headrace.market.money import MONEY, shown
from headrace.market.wording import amount_text

if TYPE_CHECKING:
    from headrace.engine.report import StrategyReport
    from headrace.trading.account import Account, Balance
    from headrace.trading.orders import OrderStats
    from headrace.trading.positions import Position

__all__ = ["PositionReport", "position_reports", "trading_tables"]

COUNTS = ("submitted", "filled", "canceled", "rejected", "expired", "open", "fills")


class PositionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A position at the end; its amounts are in ``currency``.

    unrealized_pnl : at the mid of the newest quote of two sides; None for an open position without one.
    net_pnl : realized and unrealized profit less fees and funding.
    """

    instrument: str
    currency: str
    quantity: Decimal
    average_price: Decimal
    realized_pnl: Decimal
    unrealized_pnl: Decimal | None
    fees: Decimal
    funding: Decimal
    net_pnl: Decimal | None


def position_reports(held: Sequence[Position], account: Account) -> tuple[PositionReport, ...]:
    """Return positions with what they would earn at the marks of now."""
    return tuple(
        PositionReport(
            instrument=own.instrument,
            currency=own.currency,
            quantity=own.quantity,
            average_price=own.average_price,
            realized_pnl=own.realized_pnl,
            unrealized_pnl=(unrealized := account.unrealized(own)),
            fees=own.fees,
            funding=own.funding,
            net_pnl=None if unrealized is None else shown(MONEY.add(own.net_pnl, unrealized)),
        )
        for own in held
    )


def trading_tables(
    traders: Sequence[StrategyReport], states: Mapping[str, str], totals: Mapping[str, Balance]
) -> list[Table]:
    """Return what became of orders, which gate refused how many, and each strategy's profit by currency, with sums.

    states : by strategy, in words. totals : of all strategies.
    """
    orders = [
        (
            own.name,
            states[own.name],
            *(_count_text(own.orders, name) for name in COUNTS),
            ", ".join(f"{held.quantity:f} {held.instrument}" for held in own.positions if held.quantity) or "flat",
        )
        for own in traders
    ]
    refusals = [
        (own.name, gate, refused.example, f"{refused.times:,}")
        for own in traders
        for gate, refused in own.refusals.items()
    ]
    # Where there is none, a column of zeros says nothing.
    funding = ("funding",) if any(balance.funding for balance in totals.values()) else ()
    profit = [_profit_row(own.name, balance, funding) for own in traders for balance in own.totals.values()]
    if len(profit) > len(totals):
        profit += [_profit_row("all", balance, funding) for balance in totals.values()]
    return [
        Table("trading", ("strategy", "state", *COUNTS, "position"), orders, texts=2),
        Table("refused orders", ("strategy", "gate", "first", "count"), refusals, texts=3),
        Table("profit", ("strategy", "currency", "realized", "unrealized", "fees", *funding, "net"), profit, texts=2),
    ]


def _count_text(orders: OrderStats, name: str) -> str:
    text = f"{getattr(orders, name):,}"
    return f"{text} ({orders.unknown:,} unknown)" if name == "open" and orders.unknown else text


def _profit_row(name: str, balance: Balance, funding: tuple[str, ...]) -> tuple[str, ...]:
    columns = ("realized_pnl", "unrealized_pnl", "fees", *funding, "equity")
    amounts: list[Decimal | None] = [getattr(balance, own) for own in columns]
    return (name, balance.currency, *("-" if amount is None else amount_text(amount) for amount in amounts))
