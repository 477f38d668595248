"""From the parts of a run that is over to its result: rows, curves, figures, settings and versions.

Guarantees: every currency that the account has gets a curve; an open position stays in the result, flagged.
Does not: run anything.
"""

from __future__ import annotations

import hashlib
import inspect
import platform
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import headrace._native as _native
from headrace.engine.tables import time_text
from headrace.engine.trading_report import position_reports
from headrace.market.instrument import instrument_of
from headrace.market.wording import amount_text, counted
from headrace.research.curve import curve_of
from headrace.research.result import BacktestResult
from headrace.research.rows import Fill, FundingRow, OrderRow, PositionRow, Rows
from headrace.research.statistics import statistics_of
from headrace.research.trips import RoundTrip
from headrace.strategies.strategy import Strategy
from headrace.trading.account import Balance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import msgspec

    from headrace.engine.parts import EngineParts
    from headrace.engine.report import Report
    from headrace.market.instrument import Instrument
    from headrace.research.observer import Observer
    from headrace.research.settings import BacktestOptions
    from headrace.strategies.spec import StrategySpec

__all__ = ["result_of", "settings_of"]

PRICE_DTYPE = np.dtype([("ts", "i8"), ("price", "f8")])
# Of so many instruments the result has prices even where none was traded.
PRICES_MAX = 8


def result_of(
    parts: EngineParts, observer: Observer, report: Report, settings: Mapping[str, Any], notes: Sequence[str]
) -> BacktestResult:
    """Return the result of a run that is over, or was broken off where its report ends."""
    observer.finish()
    span = (report.first_ns or 0, (report.first_ns or 0) + report.span_ns)
    known = {name: instrument_of(parts.gates.instruments, name) for name in observer.marks.instruments}
    balances = parts.account.balances() or _empty_balances(known)
    trades = list(observer.trips.ended(observer.mark_of, span[1]))
    curves = {}
    for currency, balance in balances.items():
        curves[currency] = curve_of(
            observer.marks,
            [fill for fill in observer.fills if fill.currency == currency],
            [own for own in observer.funding if own.currency == currency],
            {name: own for name, own in known.items() if own.settles == currency},
            deposit=balance.deposit,
            span=span,
            equity_end=balance.equity,
        )
    currency = next(iter(balances))
    own_trades = [trade for trade in trades if trade.currency == currency]
    own_fills = [fill for fill in observer.fills if fill.currency == currency]
    return BacktestResult(
        currency=currency,
        cash=dict(parts.money.cash.deposits if parts.money.cash is not None else {}),
        balances={name: _amounts(own) for name, own in balances.items()},
        curves=curves,
        prices=_prices(observer, span[1]),
        trades=Rows(RoundTrip, trades),
        orders=Rows(OrderRow, observer.orders),
        fills=Rows(Fill, observer.fills),
        funding=Rows(FundingRow, observer.funding),
        positions=Rows(PositionRow, _positions(parts, observer)),
        statistics=statistics_of(curves[currency], own_trades, own_fills),
        settings=settings,
        notes=(*notes, *_money_notes(parts, observer)),
        engine={name: own for name, own in report.to_dict().items() if name != "config"},
        audit_hash=observer.audit_hash,
        input_hash=observer.input_hash(report.input_hash),
        versions=_versions(),
        stopped=report.stopped,
        report=report,
    )


def _empty_balances(known: Mapping[str, Instrument]) -> dict[str, Balance]:
    """Return what an account without cash has when nothing was traded: nothing, in the first currency of the data."""
    currency = next((own.settles for own in known.values()), "none")
    return {currency: Balance(currency=currency)}


def _amounts(balance: Balance) -> dict[str, Decimal | None]:
    names = ("deposit", "realized_pnl", "unrealized_pnl", "fees", "funding", "balance", "equity")
    return {name: getattr(balance, name) for name in names}


def _positions(parts: EngineParts, observer: Observer) -> list[PositionRow]:
    held = parts.positions.positions()
    return [
        PositionRow(
            strategy=own.strategy,
            instrument=own.instrument,
            quantity=own.quantity,
            average_price=own.average_price,
            mark=observer.mark_of(own.instrument),
            realized_pnl=own.realized_pnl,
            unrealized_pnl=report.unrealized_pnl,
            fees=own.fees,
            funding=own.funding,
            currency=own.currency,
            is_open=not own.is_flat,
        )
        for own, report in zip(held, position_reports(held, parts.account), strict=True)
    ]


def _money_notes(parts: EngineParts, observer: Observer) -> Iterator[str]:
    """Yield what happened to the account that its figures alone do not show."""
    for own in observer.liquidations:
        closed = ", ".join(f"{name} at {mark:f}" for name, mark in own.marks.items())
        yield f"warning: liquidation {time_text(own.ts)}: {closed}; {amount_text(own.equity)} {own.currency} was left"
    for name, missing in parts.money.funding.missing().items():
        times = counted(missing.times, "settlement")
        span = f"{time_text(missing.first_ns)} to {time_text(missing.last_ns)}"
        yield f"warning: no funding rate of {name} for {times} with a position, {span}: these payments are not in it"


def _prices(observer: Observer, end_ns: int) -> dict[str, np.ndarray]:
    marks = observer.marks
    traded = {fill.instrument for fill in observer.fills}
    names = [name for name in marks.instruments if name in traded or len(marks.instruments) <= PRICES_MAX]
    found = {}
    for name in names:
        ends = marks.ends([name], end_ns)
        prices = found[name] = np.empty(len(ends), PRICE_DTYPE)
        prices["ts"], prices["price"] = ends, marks.at(name, ends)
    return found


# Settings


def settings_of(
    parts: EngineParts, options: BacktestOptions, *, seed: int, span: tuple[int | None, int | None]
) -> dict[str, Any]:
    """Return how a run is set, as plain values that JSON holds."""
    given = parts.options
    return {
        "strategies": {name: _strategy(runner.spec) for name, runner in parts.strategies.items()},
        "data": [feed.name for feed in parts.feeds],
        "cash": {
            name: f"{own:f}"
            for name, own in (parts.money.cash.deposits if parts.money.cash is not None else {}).items()
        },
        "margin": {name: _values(own) for name, own in (given["margin"] or {}).items()},
        "fees": _shown(options.get("fees")),
        "latency": _shown(options.get("latency", 0)),
        "fill": _shown(options.get("fill")),
        "broker": type(parts.broker).__name__,
        "gates": None if given["gates"] is None else type(given["gates"]).__name__,
        "runner": given["runner"].__name__,
        "start_ns": span[0],
        "end_ns": span[1],
        "seed": seed,
        "limits": _values(given["limits"]),
        "account_limits": _values(given["account_limits"]),
        "strategy_limits": {name: _values(own) for name, own in (given["strategy_limits"] or {}).items()},
        "config_digest": given["config_digest"],
    }


def _values(given: msgspec.Struct | None) -> dict[str, Any]:
    return {} if given is None else {name: _shown(getattr(given, name)) for name in given.__struct_fields__}


def _strategy(spec: StrategySpec) -> dict[str, Any]:
    given = spec.strategy
    made = type(given) if isinstance(given, Strategy) else given
    return {
        "class": f"{made.__module__}:{getattr(made, '__qualname__', made)}",
        "parameters": {name: _shown(own) for name, own in spec.parameters.items()},
        "code": _code_hash(made),
    }


def _code_hash(made: object) -> str | None:
    """Return the SHA-256 of the file that a class or function is in; None: it is in none, as in a notebook."""
    try:
        file = inspect.getsourcefile(made)  # type: ignore[arg-type]  # anything else raises TypeError
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (TypeError, OSError):
        return None


def _shown(value: object) -> Any:
    if isinstance(value, dict):
        return {str(name): _shown(own) for name, own in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _versions() -> dict[str, str]:
    return {
        "headrace": str(_native.build_info()["version"]),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
