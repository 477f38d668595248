"""Numbers in sentences and tables: with their noun, and with enough digits.

Guarantees: one thing is singular; an amount that is not 0 never looks like 0; a value of any type has a short text.
Does not: change a number; what is computed with keeps all its digits.
"""

from __future__ import annotations

from decimal import Decimal

__all__ = ["amount_text", "counted", "printable", "value_text"]

DECIMALS_MIN = 2
SIGNIFICANT_MIN = 4
# Of a value in an error.
VALUE_CHARACTERS_MAX = 200


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return a number and its noun. several : by default with an s, or with ies for a y."""
    if number == 1:
        return f"1 {one}"
    plural = f"{one.removesuffix('y')}ies" if one.endswith("y") else f"{one}s"
    return f"{number:,} {several or plural}"


def amount_text(amount: Decimal) -> str:
    """Return an amount with two decimals, or with as many as four significant digits need."""
    if not amount.is_finite():
        return str(amount)
    decimals = DECIMALS_MIN if not amount else max(DECIMALS_MIN, SIGNIFICANT_MIN - 1 - amount.adjusted())
    whole, _, fraction = f"{amount:z,.{decimals}f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(DECIMALS_MIN, '0')}"


def printable(text: str) -> str:
    r"""Return a text as one line shows it: what cannot be printed, such as a terminal's commands, as ``\xNN``."""
    return text if text.isprintable() else "".join(own if own.isprintable() else ascii(own)[1:-1] for own in text)


def value_text(value: object) -> str:
    """Return a value as an error shows it: its repr, shortened where it is long; its type where it has none."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a hostile object, or an int of more digits than Python converts
        return f"<{type(value).__name__}>"
    if len(text) <= VALUE_CHARACTERS_MAX:
        return text
    return f"{text[:VALUE_CHARACTERS_MAX]}… ({len(text):,} characters)"
