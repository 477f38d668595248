"""Features of a ticker, from its newest bars: averages, volume ratio, trend, recent volatility.

Guarantees: the same bars give the same digits on every database: all is computed in decimals, rounded to 10 places.
Does not: fill a gap: what needs more bars than there are is None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.execution.recommendation import Features
from headrace.market.money import SHOWN, ZERO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from headrace.execution.recommendation import Bar

__all__ = ["BARS_NEEDED", "features_of"]

SHORT, LONG = 20, 50
PLACES = 10
# What the longest average needs, and one more for its first return.
BARS_NEEDED = LONG + 1


def features_of(bars: Sequence[Bar]) -> Features | None:
    """Return the features at the newest bar; None without bars. bars : by time, the newest last.

    trend : 1 where the close is above the short average and that above the long one, -1 the other way round, else 0.
    recent_vol : the standard deviation of the last 20 returns.
    """
    if not bars:
        return None
    closes, volumes = [own.close for own in bars], [own.volume for own in bars]
    sma_20, sma_50 = _mean(closes, SHORT), _mean(closes, LONG)
    average_volume = _mean(volumes, SHORT)
    ratio = _rounded(SHOWN.divide(volumes[-1], average_volume)) if average_volume else None
    trend = None
    if sma_20 is not None and sma_50 is not None:
        trend = 1 if closes[-1] > sma_20 > sma_50 else -1 if closes[-1] < sma_20 < sma_50 else 0
    return Features(bars[-1].end_ms, _rounded(sma_20), _rounded(sma_50), ratio, trend, _rounded(_volatility(closes)))


def _rounded(value: Decimal | None) -> Decimal | None:
    return None if value is None else round(value, PLACES)


def _mean(values: Sequence[Decimal], count: int) -> Decimal | None:
    if len(values) < count:
        return None
    total = ZERO
    for value in values[-count:]:
        total = SHOWN.add(total, value)
    return SHOWN.divide(total, count)


def _volatility(closes: Sequence[Decimal]) -> Decimal | None:
    if len(closes) <= SHORT:
        return None
    pairs = zip(closes[-SHORT - 1 :], closes[-SHORT:], strict=False)
    returns = [SHOWN.subtract(SHOWN.divide(after, before), 1) for before, after in pairs]
    mean = _mean(returns, SHORT)
    assert mean is not None
    squares = ZERO
    for value in returns:
        squares = SHOWN.add(squares, SHOWN.power(SHOWN.subtract(value, mean), 2))
    return SHOWN.sqrt(SHOWN.divide(squares, SHORT - 1))
