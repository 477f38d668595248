"""Values as both databases hold them: times in whole ms, amounts as one canonical decimal text, JSON as one text.

Guarantees: the same value has the same text on both databases, whatever it was given as; a time is rounded down to ms.
Does not: round amounts.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from headrace.errors import RecommendationError
from headrace.market.money import AMOUNTS, decimal_of, is_amount
from headrace.market.times import time_problem
from headrace.market.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.market.money import Amount

__all__ = [
    "DAY_MS",
    "Time",
    "amount_of",
    "canonical",
    "day_start_ms",
    "json_list",
    "json_object",
    "json_of_plain",
    "json_text",
    "ms_of",
    "refuse_value",
    "time_of",
]

# ns since 1970, or an aware datetime.
Time: TypeAlias = "int | dt.datetime"
DAY_MS = 86_400_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def refuse_value(field: str, value: object, allowed: str) -> RecommendationError:
    """Return the error of a value that cannot be stored."""
    return RecommendationError(f"{field}={value_text(value)} is not allowed: use {allowed}", field=field)


def ms_of(field: str, value: Time) -> int:
    """Return a time as ms since 1970, rounded down. Raises RecommendationError."""
    if isinstance(value, dt.datetime):
        if value.utcoffset() is None:
            raise refuse_value(field, value, "a datetime with a time zone, like datetime.now(UTC)")
        ms = (value - _EPOCH) // dt.timedelta(milliseconds=1)
        if time_problem(ms * 1_000_000):
            raise refuse_value(field, str(value), "a time between 2000 and 2200")
        return ms
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise refuse_value(field, value, "ns since 1970, or a datetime with a time zone")
    if problem := time_problem(int(value)):
        msg = f"{field} is {value}, {problem}"
        raise RecommendationError(msg, field=field)
    return int(value) // 1_000_000


def time_of(ms: int) -> dt.datetime:
    """Return ms since 1970 as a datetime in UTC."""
    return _EPOCH + dt.timedelta(milliseconds=ms)


def day_start_ms(ms: int) -> int:
    """Return when the UTC day of a time began."""
    return ms // DAY_MS * DAY_MS


def amount_of(field: str, value: Amount) -> str:
    """Return an amount's canonical text. Raises RecommendationError."""
    try:
        number = decimal_of(value)
    except (TypeError, ValueError) as error:
        raise RecommendationError(f"{field}: {error}", field=field) from None
    if not is_amount(number):
        raise refuse_value(field, value, AMOUNTS)
    return canonical(number)


def canonical(number: Decimal) -> str:
    """Return a Decimal without exponent, without zeros at its end, and without a sign on 0."""
    text = str(number)
    if "E" in text:
        text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def json_object(field: str, value: object) -> str:
    """Return a JSON object's canonical text. value : a mapping, or an object's text. Raises RecommendationError."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise RecommendationError(f"{field} is no JSON: {error}", field=field) from None
    if not isinstance(value, dict):
        raise refuse_value(field, value, "a JSON object, like {'rule': 'breakout'}")
    try:
        text = json_text(value)
    except (TypeError, ValueError) as error:
        raise RecommendationError(f"{field} cannot be written as JSON: {error}", field=field) from None
    if "\\u0000" in text:
        raise refuse_value(field, value, "text without NUL characters, which PostgreSQL refuses")
    return text


def json_text(value: Mapping[str, Any]) -> str:
    """Return a JSON text with sorted keys; NaN and infinity are refused. Raises ValueError, TypeError."""
    return _ENCODER.encode(value)


def json_list(texts: Sequence[str]) -> str:
    """Return the JSON text of a list of texts, as ``EACH(:name)`` of a statement takes it."""
    return _PLAIN_ENCODER.encode(texts).decode()


def json_of_plain(value: Mapping[str, Any]) -> str:
    """Return the JSON text of numbers, texts, None, and dicts, Structs and lists of them, quicker than ``json_text``.

    The caller makes sure that all numbers are finite: a NaN would be written as null. Keys keep their order.
    """
    return _PLAIN_ENCODER.encode(value).decode()


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return canonical(value)
    if isinstance(value, np.floating | np.integer):
        return value.item()
    msg = f"{type(value).__name__} is no type of JSON"
    raise TypeError(msg)


# Made once: a run writes four texts for each recommendation.
_PLAIN_ENCODER = msgspec.json.Encoder()
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
