"""Money: Decimals made from values of a venue or a user, and the one decimal context for all computations.

Guarantees: an amount that ``is_amount`` has so few digits that its products and sums are exact; a float becomes the
shortest decimal text that reads back as it in its own width (0.1 becomes 0.1, without a binary tail); the thread's own
decimal context changes nothing.
Does not: round to ticks or lots; the gates and the broker do.
"""

from __future__ import annotations

import operator
import re
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)
from typing import TypeAlias

import numpy as np

from headrace.limits import AMOUNT_DIGITS_MAX, AMOUNT_EXPONENT_MAX
from headrace.market.wording import value_text

__all__ = [
    "AMOUNTS",
    "MONEY",
    "SHOWN",
    "ZERO",
    "Amount",
    "decimal_of",
    "is_amount",
    "is_computable",
    "is_multiple",
    "mid_of",
    "shown",
]

Amount: TypeAlias = "Decimal | int | str | float | np.floating | np.integer"

# 60 digits: two doubles multiply to 34, and 10^20 such products still add up without rounding.
DIGITS = 60
MONEY = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
# For reports: a quotient such as an average price, rounded to 28 digits.
SHOWN = Context(prec=28, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
_SHORT = Context(prec=AMOUNT_DIGITS_MAX, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
# The widest exponents: no remainder becomes 0 because it is small.
_REMAINDERS = Context(prec=DIGITS, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation, DivisionByZero, Overflow])
# What ``is_amount`` allows, for an error.
AMOUNTS = f"at most {AMOUNT_DIGITS_MAX} digits, none above 10^{AMOUNT_EXPONENT_MAX} or below 10^-{AMOUNT_EXPONENT_MAX}"
# Amounts below 10^8 have 20 digits behind the point in SHOWN; larger ones get as many.
SHOWN_DIGITS_MAX = 8
SHOWN_STEP = Decimal("1E-20")
# Not Decimal(0): that sets a context variable for good, and numpy looks for its own at each sum.
ZERO = MONEY.create_decimal(0)
_FINEST = MONEY.scaleb(MONEY.create_decimal(1), -AMOUNT_EXPONENT_MAX)
# Decimal() takes more: spaces, underscores, exponents, digits of other scripts, "nan".
_PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


def decimal_of(value: Amount) -> Decimal:
    """Return a finite number as a Decimal; a float, NumPy's included, as the shortest text that reads back as it.

    Raises ValueError for NaN, infinity and text other than ASCII digits with a point, TypeError for another type.
    """
    if type(value) is int:
        return Decimal(value)
    if type(value) is float:
        number = Decimal(repr(value))
    elif isinstance(value, Decimal):
        number = value
    elif isinstance(value, float):
        # float(): np.float64 is a float, and its own repr names its type.
        number = Decimal(repr(float(value)))
    elif isinstance(value, str):
        if _PLAIN.fullmatch(value) is None:
            msg = f"{value_text(value)} is no number: write digits and a point, like 0.001"
            raise ValueError(msg)
        number = Decimal(value)
    elif isinstance(value, bool):
        msg = f"{value_text(value)} is a truth value, not a number"
        raise TypeError(msg)
    elif isinstance(value, np.floating):
        number = Decimal(np.format_float_positional(value, trim="-"))
    else:
        number = Decimal(operator.index(value))
    if not number.is_finite():
        msg = f"{value_text(value)} is not finite"
        raise ValueError(msg)
    return number


def mid_of(bid_price: Amount, ask_price: Amount) -> Decimal:
    """Return the middle of two prices. Raises what ``decimal_of`` does."""
    return MONEY.divide(MONEY.add(decimal_of(bid_price), decimal_of(ask_price)), 2)


def is_amount(number: Decimal) -> bool:
    """Return whether a finite number has few enough digits to be computed with exactly."""
    if number.adjusted() > AMOUNT_EXPONENT_MAX or _SHORT.plus(number) != number:
        return False
    return not MONEY.remainder(number, _FINEST)


def is_computable(number: Decimal) -> bool:
    """Return whether a Decimal is finite, and so near to 1 that no product of several overflows, or becomes 0."""
    return number.is_finite() and (not number or -DIGITS <= number.adjusted() <= DIGITS)


def shown(amount: Decimal) -> Decimal:
    """Return an amount for reports: rounded to 28 digits, or to 10^-20 where that is finer."""
    if amount.adjusted() < SHOWN_DIGITS_MAX:
        return SHOWN.plus(amount)
    quantized = MONEY.quantize(amount, SHOWN_STEP)
    return amount if quantized == amount else quantized


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Return whether a value is a whole number of steps. ``step`` is above 0."""
    return _REMAINDERS.remainder(value, step) == 0
