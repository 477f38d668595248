"""Plain values: what JSON and a browser hold without loss.

Guarantees: an amount is a text without an exponent, an integer above 2^53 is a text, a float that JSON does not hold is
None; what has no plain form is shown as Python shows it.
Does not: round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["plain", "plain_amount", "plain_number", "plain_whole"]

SAFE_INTEGER_MAX = 1 << 53
SHOWN_CHARACTERS_MAX = 1_000


def plain_amount(value: Decimal | None) -> str | None:
    """Return an amount as a text."""
    return None if value is None else f"{value:f}"


def plain_number(value: float) -> float | None:
    """Return a float, None for NaN and infinities."""
    return value if math.isfinite(value) else None


def plain_whole(value: int | None) -> int | str | None:
    """Return an integer, as a text where a double would round it."""
    return value if value is None or -SAFE_INTEGER_MAX <= value <= SAFE_INTEGER_MAX else str(value)


def plain(value: object) -> Any:
    """Return a struct, or anything of lists, mappings and values, as plain values."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return plain_whole(int(value))
        case float():
            return plain_number(float(value))
        case Decimal():
            return plain_amount(value)
        case msgspec.Struct():
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        case Mapping():
            return {str(key): plain(own) for key, own in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(own) for own in value]
        case _:
            return f"{value!r:.{SHOWN_CHARACTERS_MAX}}"
