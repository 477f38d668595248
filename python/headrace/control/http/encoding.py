"""JSON of the control API: decimals are strings, and so are integers that a browser would round.

Guarantees: whatever a handler or a dead letter holds is written; what JSON does not have is written as Python shows it.
Does not: read.
"""

from __future__ import annotations

import datetime as dt

import msgspec

__all__ = ["encoded", "rfc3339"]

# Up to here JavaScript's numbers are exact.
INTEGER_MAX = 1 << 53
TEXT_CHARACTERS_MAX = 1_000


def encoded(value: object) -> bytes:
    """Return a value as JSON."""
    return msgspec.json.encode(_bounded(msgspec.to_builtins(value, str_keys=True, enc_hook=_as_text)))


def rfc3339(ts_ns: int) -> str:
    """Return a time as text, in UTC and with all of its nanoseconds; empty for 0, which stands for none."""
    if not ts_ns:
        return ""
    seconds, nanoseconds = divmod(ts_ns, 10**9)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _as_text(value: object) -> str:
    return f"{value!r:.{TEXT_CHARACTERS_MAX}}"


def _bounded(value: object) -> object:
    """Return a plain value with texts in place of large integers, and of texts that no UTF-8 can hold."""
    match value:
        case dict():
            return {_text(name): _bounded(own) for name, own in value.items()}
        case list() | tuple():
            return [_bounded(own) for own in value]
        case bool():
            return value
        case int() if not -INTEGER_MAX <= value <= INTEGER_MAX:
            return str(value)
        case str():
            return _text(value)
        case _:
            return value


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="backslashreplace").decode()
    return value
