"""Plain values: what JSON and a browser hold without loss, for documents, the stream, alerts and dead letters.

Guarantees: an amount is a text without an exponent; an integer above 2^53 is a text; a float that JSON does not hold is
None; a text that UTF-8 does not hold is escaped; what has no plain form is shown as Python shows it.
Does not: round, or read.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

__all__ = ["encoded", "plain", "plain_amount", "plain_number", "plain_whole", "rfc3339"]

# Up to here JavaScript's numbers are exact.
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


def rfc3339(ts_ns: int) -> str:
    """Return a time as text, in UTC and with all of its nanoseconds; empty for 0, which stands for none."""
    if not ts_ns:
        return ""
    seconds, nanoseconds = divmod(ts_ns, 10**9)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def plain(value: object) -> Any:
    """Return a value, whatever it is made of, as dicts, lists, texts, numbers, bools and None. O(size)."""
    return _safe(msgspec.to_builtins(value, builtin_types=(Decimal,), str_keys=True, enc_hook=_without_form))


def encoded(value: object) -> bytes:
    """Return a value as JSON."""
    return msgspec.json.encode(plain(value))


def _without_form(value: object) -> object:
    """Return what msgspec has no form for as something that it has one for."""
    match value:
        case Mapping():
            return dict(value)
        case np.generic():
            return value.item()
        case int():
            return int(value)
        case float():
            return float(value)
        case _:
            return f"{value!r:.{SHOWN_CHARACTERS_MAX}}"


def _safe(value: object) -> object:
    match value:
        case dict():
            return {_text(name): _safe(own) for name, own in value.items()}
        case list() | tuple():
            return [_safe(own) for own in value]
        case str():
            return _text(value)
        case None | bool():
            return value
        case int():
            return plain_whole(value)
        case float():
            return plain_number(value)
        case Decimal():
            return plain_amount(value)
        case _:
            return value


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="backslashreplace").decode()
    return value
