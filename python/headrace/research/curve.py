"""Curve: the equity of one currency at each step of time, from fills and marks.

::

    cash(t) = deposit - worth of all that was traded - fees - funding
    equity(t) = cash(t) + sum of what is held · mark(t)

Guarantees: the first point is the deposit, when the run began; each point has all fills and marks until its time, and
none after; the last point is the exact equity of the account.
Does not: interpolate; between two marks of an instrument its price is the earlier one.
"""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

import numpy as np

from headrace.market.money import MONEY, ZERO
from headrace.research.statistics import drawdowns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.market.instrument import Instrument
    from headrace.research.marks import Marks
    from headrace.research.rows import Fill, FundingRow

__all__ = ["CURVE_DTYPE", "curve_of"]

# ts : ns since 1970-01-01 UTC. equity, cash : in the currency. exposure : the size of what is held, by equity; without
# unit. drawdown : at most 0, without unit. benchmark : the deposit, invested at the first marks and held.
CURVE_DTYPE = np.dtype(
    [("ts", "i8"), *((name, "f8") for name in ("equity", "cash", "exposure", "drawdown", "benchmark"))]
)


def curve_of(
    marks: Marks,
    fills: Sequence[Fill],
    funding: Sequence[FundingRow],
    traded: Mapping[str, Instrument],
    *,
    deposit: Decimal,
    span: tuple[int, int],
    equity_end: Decimal | None,
) -> np.ndarray:
    """Return the curve of one currency, dtype CURVE_DTYPE.

    fills, funding : of that currency. traded : the instruments with marks that settle in it. span : of the run, ns.
    equity_end : the exact last value; None: a position without a mark has none.
    """
    first_ns, last_ns = span
    filled: dict[str, list[Fill]] = {}
    for fill in sorted(fills, key=attrgetter("held_ns")):
        filled.setdefault(fill.instrument, []).append(fill)
    times = marks.ends(traded, last_ns)
    times = times[(times > first_ns) & (times < last_ns)]
    if last_ns > first_ns:
        times = np.append(times, last_ns)
    held, gross, growth = np.zeros(len(times)), np.zeros(len(times)), np.zeros(len(times))
    growing = 0
    for name, instrument in traded.items():
        prices = marks.at(name, times)
        own = filled.get(name)
        if own is not None:
            quantities = _at(times, [fill.held_ns for fill in own], [float(fill.net) for fill in own])
            worth = _worth(instrument, quantities, prices)
            held += worth
            gross += np.abs(worth)
        if instrument.contract != "inverse":
            # Before its first price an instrument stands where it began.
            growth += np.where(np.isfinite(prices), prices / marks.first(name), 1.0)
            growing += 1
    cash = _at(times, *_paid(fills, funding)) + float(deposit)
    made = np.zeros(len(times) + 1, CURVE_DTYPE)
    made["ts"][0], made["ts"][1:] = first_ns, times
    made["equity"][0] = made["cash"][0] = made["benchmark"][0] = float(deposit)
    made["equity"][1:], made["cash"][1:] = cash + held, cash
    if equity_end is not None:
        made["equity"][-1] = float(equity_end)
    equity = made["equity"][1:]
    made["exposure"][1:] = np.divide(gross, equity, out=np.zeros(len(times)), where=equity > 0)
    made["drawdown"] = drawdowns(made["equity"])
    made["benchmark"][1:] = float(deposit) * (growth / growing if growing else 1.0)
    return made


def _paid(fills: Sequence[Fill], funding: Sequence[FundingRow]) -> tuple[list[int], list[float]]:
    """Return when something was paid, and what in all after it; below 0 where more was paid than received."""
    amounts = [(fill.held_ns, MONEY.add(fill.worth, fill.fee)) for fill in fills]
    amounts += [(own.ts, own.amount) for own in funding]
    total, times, paid = ZERO, [], []
    for ts, amount in sorted(amounts, key=itemgetter(0)):
        total = MONEY.subtract(total, amount)
        times.append(ts)
        paid.append(float(total))
    return times, paid


def _at(times: np.ndarray, changed: Sequence[int], values: Sequence[float]) -> np.ndarray:
    """Return a value that changes at some times, as it is at each of other times; 0 before the first change."""
    rows = np.searchsorted(np.array(changed, np.int64), times, "right")
    found: np.ndarray = np.append(0.0, np.array(values, np.float64))[rows]
    return found


def _worth(instrument: Instrument, quantities: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Return what quantities are worth at prices; 0 where nothing is held, whatever the price."""
    sized = quantities * float(instrument.size or 0)
    is_held = (sized != 0) & np.isfinite(prices)
    if instrument.contract == "inverse":
        coins: np.ndarray = np.divide(sized, prices, out=np.zeros(len(sized)), where=is_held)
        return -coins
    worth: np.ndarray = np.multiply(sized, prices, out=np.zeros(len(sized)), where=is_held)
    return worth
