"""The deflated Sharpe ratio: how probable it is that the best of many tries is better than chance.

Source: Bailey and López de Prado 2014, "The Deflated Sharpe Ratio: Correcting for Selection Bias, Backtest Overfitting
and Non-Normality", equations 1 and 2.

Guarantees: all values are per period (a day), never annualised ones; what does not exist is NaN.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["deflated_sharpe", "expected_maximum", "moments"]

EULER = 0.5772156649015329
NORMAL = NormalDist()


def moments(returns: np.ndarray) -> dict[str, float | int]:
    """Return Sharpe ratio per period, skewness, kurtosis (3 for a normal distribution) and the number of returns."""
    if len(returns) < 2 or not returns.std(ddof=1):
        return {"sharpe": math.nan, "skew": math.nan, "kurtosis": math.nan, "days": len(returns)}
    centred = (returns - returns.mean()) / returns.std()
    return {
        "sharpe": float(returns.mean() / returns.std(ddof=1)),
        "skew": float((centred**3).mean()),
        "kurtosis": float((centred**4).mean()),
        "days": len(returns),
    }


def expected_maximum(tries: int, variance: float) -> float:
    """Return the highest Sharpe ratio that chance alone is expected to make in so many tries.

    variance : of the tries' Sharpe ratios, per period.
    """
    if tries < 2:
        return 0.0
    quantiles = NORMAL.inv_cdf(1 - 1 / tries), NORMAL.inv_cdf(1 - 1 / (tries * math.e))
    return math.sqrt(variance) * ((1 - EULER) * quantiles[0] + EULER * quantiles[1])


def deflated_sharpe(*, sharpe: float, skew: float, kurtosis: float, days: int, tries: int, variance: float) -> float:
    """Return the probability, 0 to 1, that a Sharpe ratio is above what chance makes in so many tries.

    sharpe : per period, of the best try. skew, kurtosis : of its returns; 0 and 3 for normal ones. days : how many
    returns. tries : how many were made, variance : of their Sharpe ratios, per period.
    """
    spread = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if days < 2 or not spread > 0 or not math.isfinite(sharpe):
        return math.nan
    return NORMAL.cdf((sharpe - expected_maximum(tries, variance)) * math.sqrt(days - 1) / math.sqrt(spread))
