"""Settings: what a backtest is given beside strategies and data, checked, and completed where it is silent.

::

    cash="100000USDT" fees="0.0002/0.0005" latency="5ms" start="2026-01-05" ─▶ Settings ─▶ options of an engine

Guarantees: a wrong value is one OptionError with what is allowed; everything that is filled in is a note for the user.
Does not: know the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

import numpy as np

from headrace.errors import OptionError
from headrace.market.checks import TIME_MAX_NS, Duration, nearest, refuse, whole
from headrace.market.instrument import Instrument, RiskLimits
from headrace.market.money import decimal_of
from headrace.market.tick import ns_text
from headrace.trading.brokers import Fees
from headrace.trading.cash import checked_cash

if TYPE_CHECKING:
    import os

    from headrace.bus import AuditRunner
    from headrace.engine.service import ServiceProtocol
    from headrace.feeds.progress import Progress
    from headrace.market.events import Event, Lane
    from headrace.market.money import Amount
    from headrace.strategies.runner import StrategyRunner
    from headrace.trading.brokers import Broker, FillModel, Latency
    from headrace.trading.margin import Margin
    from headrace.trading.orders import Sizing
    from headrace.trading.risk import RiskEngine, TradingLimits

__all__ = [
    "CASH",
    "PAPER_LIMITS",
    "VENUE_FEES",
    "BacktestOptions",
    "Cash",
    "Time",
    "cash_of",
    "fees_of",
    "time_ns",
    "unmatched_notes",
]

Cash: TypeAlias = "Amount | Mapping[str, Amount]"
Time: TypeAlias = "str | int | datetime | np.datetime64"
AnyFees: TypeAlias = "str | Decimal | float | Fees | Mapping[str, Fees]"

# Of an account for which no cash is given, in its only currency.
CASH = Decimal(100_000)
# So wide that on paper only cash is a bound; a quote of a week ago is one of before a long weekend.
PAPER_LIMITS = RiskLimits(
    quantity_max=Decimal(10**9),
    notional_max=Decimal(10**12),
    price_collar=Decimal("0.5"),
    open_orders_max=1_000,
    message_rate_max=1_000.0,
    stale_after_s=7 * 86_400.0,
)
# Source: Binance's fee schedules, regular user (VIP 0), without discounts.
VENUE_FEES = {
    "BINANCE": Fees(Decimal("0.001"), Decimal("0.001")),
    "BINANCE_USDM": Fees(Decimal("0.0002"), Decimal("0.0005")),
    "BINANCE_COINM": Fees(Decimal("0.0002"), Decimal("0.0005")),
}
# Of instruments that no one described: finer than the prices of any venue.
PAPER_STEP = Decimal("0.00000001")
_MONEY = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z][A-Za-z0-9]*)?\s*")


class BacktestOptions(TypedDict, total=False):
    """The options of ``backtest``, which says what each means."""

    cash: Cash | None
    margin: Mapping[str, Margin] | None
    account_limits: TradingLimits | None
    strategy_limits: Mapping[str, TradingLimits] | None
    fees: AnyFees | None
    latency: Duration | Latency | Mapping[str, Duration | Latency]
    fill: str | FillModel | Mapping[str, str | FillModel] | None
    start: Time | None
    end: Time | None
    seed: int
    venue: str | None
    instruments: Instrument | Iterable[Instrument | str]
    limits: RiskLimits | None
    sizing: Sizing | None
    broker: Broker | None
    gates: RiskEngine | None
    runner: type[StrategyRunner]
    services: Iterable[ServiceProtocol]
    event_types: Mapping[type[Event], Lane] | None
    audit: str | os.PathLike[str] | AuditRunner | None
    on_fault: Literal["raise", "quarantine"]
    hashing: bool
    check: bool
    warmup: Duration | None
    progress: Callable[[Progress], object] | None


def cash_of(cash: Cash | None) -> dict[str, Decimal]:
    """Return amounts by currency; under an empty name an amount whose currency is not given.

    cash : 100_000, ``"100000"``, ``"100000USDT"``, several between commas, or a mapping. Raises OptionError.
    """
    if cash is None:
        return {"": CASH}
    if isinstance(cash, Mapping):
        if not cash:
            refuse("cash", cash, "at least one amount")
        return checked_cash(cash)
    if not isinstance(cash, str):
        try:
            amount = decimal_of(cash)
        except (ValueError, TypeError):
            refuse("cash", cash, _CASH_FORMS)
        return _positive({"": amount}, cash)
    found: dict[str, Decimal] = {}
    for part in cash.split(","):
        match = _MONEY.fullmatch(part)
        if match is None:
            refuse("cash", cash, _CASH_FORMS)
        currency = match[2] or ""
        if currency in found:
            refuse("cash", cash, "each currency once")
        found[currency] = decimal_of(match[1].replace("_", ""))
    if "" in found and len(found) > 1:
        refuse("cash", cash, "a currency behind each amount, as in 100000USDT,2BTC")
    return _positive(found, cash)


_CASH_FORMS = "an amount, as 100000 or '100000USDT', or several, as '100000USDT,2BTC'"


def _positive(found: dict[str, Decimal], given: object) -> dict[str, Decimal]:
    if not all(amount >= 0 for amount in found.values()):
        refuse("cash", given, _CASH_FORMS)
    return found


def fees_of(fees: AnyFees | None) -> dict[str, Fees] | None:
    """Return fees by venue or instrument, ``"*"`` for all others; None: those of the venues.

    fees : a part of the notional for all executions, ``"MAKER/TAKER"``, Fees, or Fees by name. Raises OptionError.
    """
    match fees:
        case None:
            return None
        case Fees():
            return {"*": fees}
        case Mapping():
            if not all(isinstance(own, Fees) for own in fees.values()):
                refuse("fees", fees, "Fees by venue or instrument, as {'BINANCE': Fees('0.001', '0.001')}")
            return dict(fees)
    parts = fees.split("/") if isinstance(fees, str) else [fees]
    if len(parts) > 2:
        refuse("fees", fees, "one rate, or MAKER/TAKER, as 0.0002/0.0005")
    try:
        maker, taker = (decimal_of(part.strip() if isinstance(part, str) else part) for part in (parts[0], parts[-1]))
    except (ValueError, TypeError):
        refuse("fees", fees, "a part of the notional, as 0.001, or MAKER/TAKER, as 0.0002/0.0005")
    return {"*": Fees(maker, taker)}


def time_ns(option: str, value: Time | None) -> int | None:
    """Return a time as ns since 1970-01-01 UTC; a text or a datetime without a zone is UTC. Raises OptionError."""
    forms = "a date or time in UTC, as 2026-01-05 or 2026-01-05T12:00:00, or whole ns"
    if value is None:
        return None
    if isinstance(value, np.datetime64):
        ns = int(value.astype("datetime64[ns]").astype(np.int64))
    elif isinstance(value, str | datetime):
        ns = _datetime_ns(option, value, forms)
    else:
        ns = whole(option, value, 0, TIME_MAX_NS, "ns since 1970-01-01 UTC")
    if not 0 <= ns <= TIME_MAX_NS:
        refuse(option, value, forms)
    return ns


def _datetime_ns(option: str, value: str | datetime, forms: str) -> int:
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        refuse(option, value, forms)
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def check_span(start_ns: int | None, end_ns: int | None) -> None:
    """Refuse a span that holds no time. Raises OptionError."""
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        msg = f"start={ns_text(start_ns)} is not before end={ns_text(end_ns)}: nothing lies between them"
        raise OptionError(msg, option="start")


def unmatched_notes(options: BacktestOptions, names: AbstractSet[str]) -> list[str]:
    """Return a warning for each name in an option that is neither an instrument of the data nor a venue.

    A venue of ours without data is no mistake: one table of fees serves many backtests. names : of the instruments.
    """
    venues = {*VENUE_FEES, *(name.rpartition(".")[2] for name in names)}
    known = [*sorted(venues), *sorted(names)]
    return [
        f"warning: {option} of {own!r} is of nothing in the data{nearest(own, known)}"
        for option in ("margin", "fees", "latency", "fill")
        if isinstance(given := options.get(option), Mapping)
        for own in given
        if own != "*" and own not in known
    ]


def paper_instrument(name: str) -> Instrument:
    """Return an instrument that no one described: any price and quantity is a multiple of its steps."""
    return Instrument(name, price_tick=PAPER_STEP, lot_size=PAPER_STEP)
