"""Money: Decimals made from values of a venue or a user, and the one decimal context for all computations.

Guarantees: a float becomes the shortest decimal text that reads back as it in its own width (0.1 becomes 0.1, without a
binary tail); sums of products of doubles are exact; the thread's own decimal context changes nothing.
Does not: round to ticks or lots; the gates and the broker do.
"""

from __future__ import annotations

import operator
import re
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)
from typing import TypeAlias

import numpy as np

__all__ = ["MONEY", "SHOWN", "ZERO", "Amount", "decimal_of", "is_multiple", "shown"]

Amount: TypeAlias = "Decimal | int | str | float | np.floating | np.integer"

# 60 digits: two doubles multiply to 34, and 10^20 such products still add up without rounding.
MONEY = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
# For reports: a quotient such as an average price, rounded to 28 digits.
SHOWN = Context(prec=28, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
# A remainder needs as many digits as the quotient has: 10^45 in steps of 10^-30 has 76.
_REMAINDERS = Context(prec=100, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
# Amounts below 10^8 have 20 digits behind the point in SHOWN; larger ones get as many.
SHOWN_DIGITS_MAX = 8
SHOWN_STEP = Decimal("1E-20")
# Not Decimal(0): that sets a context variable for good, and numpy looks for its own at each sum.
ZERO = MONEY.create_decimal(0)
# Decimal() takes more: spaces, underscores, exponents, digits of other scripts, "nan".
_PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


def decimal_of(value: Amount) -> Decimal:
    """Return a finite number as a Decimal; a float, NumPy's included, as the shortest text that reads back as it.

    Raises ValueError for NaN, infinity and text other than ASCII digits with a point, TypeError for another type.
    """
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, float):
        # float(): np.float64 is a float, and its own repr names its type.
        number = Decimal(repr(float(value)))
    elif isinstance(value, str):
        if _PLAIN.fullmatch(value) is None:
            msg = f"{value!r} is no number: write digits and a point, like 0.001"
            raise ValueError(msg)
        number = Decimal(value)
    elif isinstance(value, bool):
        msg = f"{value!r} is a truth value, not a number"
        raise TypeError(msg)
    elif isinstance(value, np.floating):
        number = Decimal(np.format_float_positional(value, trim="-"))
    else:
        number = Decimal(operator.index(value))
    if not number.is_finite():
        msg = f"{value!r} is not finite"
        raise ValueError(msg)
    return number


def shown(amount: Decimal) -> Decimal:
    """Return an amount for reports: rounded to 28 digits, or to 10^-20 where that is finer."""
    if amount.adjusted() < SHOWN_DIGITS_MAX:
        return SHOWN.plus(amount)
    quantized = MONEY.quantize(amount, SHOWN_STEP)
    return amount if quantized == amount else quantized


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Return whether a value is a whole number of steps. ``step`` is above 0."""
    return _REMAINDERS.remainder(value, step) == 0
