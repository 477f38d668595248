"""Texts: margins and limits of a backtest as a command line has them.

::

    BINANCE_USDM=10   BINANCE_USDM=10/0.005                               leverage, maintenance
    position_max=5    loss_max=1000USDT   on_exceed=reduce                of the account
    Trend.position_max=5   *.orders_max=100                               of a strategy, of those that are not named

Guarantees: a wrong text is one OptionError, with what is allowed and the nearest name.
Does not: know strategies or instruments; the engine does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.errors import OptionError
from headrace.market.checks import nearest, refuse
from headrace.market.money import decimal_of
from headrace.research.settings import cash_of
from headrace.trading.margin import Margin
from headrace.trading.risk import TradingLimits

__all__ = ["limits_of", "margins_of", "strategy_limits_of"]

MARGINS = "NAME=LEVERAGE or NAME=LEVERAGE/MAINTENANCE, as BINANCE_USDM=10/0.005"


def margins_of(texts: Iterable[str]) -> dict[str, Margin]:
    """Return margins by venue or instrument. Raises OptionError."""
    found: dict[str, Margin] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        leverage, slash, maintenance = value.partition("/")
        if not (name and equals and leverage) or (slash and not maintenance) or name in found:
            refuse("margin", text, f"{MARGINS}, each name once")
        given = {"leverage": leverage, **({"maintenance": maintenance} if slash else {})}
        found[name] = Margin(**{key: _number("margin", text, own) for key, own in given.items()})
    return found


def limits_of(texts: Iterable[str], option: str = "limit") -> TradingLimits | None:
    """Return the limits of an account; None: there are none. Raises OptionError."""
    names = TradingLimits.__struct_fields__
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and value) or name in given:
            refuse(option, text, "NAME=VALUE, each name once, as position_max=5")
        if name not in names:
            msg = f"{option}={text!r} names no limit{nearest(name, names)}: use one of {', '.join(names)}"
            raise OptionError(msg, option=option)
        given[name] = _limit(option, text, name, value)
    return TradingLimits(**given) if given else None


def strategy_limits_of(texts: Iterable[str]) -> dict[str, TradingLimits]:
    """Return limits by strategy, "*" for the others. Raises OptionError."""
    by_strategy: dict[str, list[str]] = {}
    for text in texts:
        strategy, dot, limit = text.partition("=")[0].rpartition(".")
        if not dot:
            refuse("strategy_limit", text, "STRATEGY.NAME=VALUE, as Trend.position_max=5, or *.position_max=5")
        by_strategy.setdefault(strategy, []).append(f"{limit}={text.partition('=')[2]}")
    made = {strategy: limits_of(own, "strategy_limit") for strategy, own in by_strategy.items()}
    return {strategy: own for strategy, own in made.items() if own is not None}


def _limit(option: str, text: str, name: str, value: str) -> object:
    if name in ("on_exceed", "orders_every"):
        return value
    if name == "position_max":
        return _number(option, text, value)
    if name == "orders_max":
        try:
            return msgspec.convert(value, int, strict=False)
        except msgspec.ValidationError:
            refuse(option, text, "a whole number of orders")
    amounts = cash_of(value)
    if "" in amounts:
        refuse(option, text, f"a currency with the amount, as {name}=1000USDT")
    return amounts


def _number(option: str, text: str, value: str) -> Any:
    try:
        return decimal_of(value)
    except (ValueError, TypeError):
        refuse(option, text, MARGINS if option == "margin" else "a number")
