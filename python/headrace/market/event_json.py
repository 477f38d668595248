"""Events as JSON: one object each, its type under ``"type"``.

::

    Signal(instrument="BTCUSDT.BINANCE", side=1, strength=inf)
        ─▶ {"type":"Signal","instrument":"BTCUSDT.BINANCE","side":1,"strength":{"$float":"inf"},…}

JSON has no NaN and no infinity; they are written as ``{"$float": "nan" | "inf" | "-inf"}``. In a field of type ``Any``,
an object that looks like one is written as ``{"$object": …}``.

Guarantees: ``decode_event(encode_event(event)) == event`` for values of the declared types; an unknown field or type is
an error.
Does not: check the types of an event's fields when it is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from headrace.market.events import EVENT_LANES, Event
from headrace.market.forms import Form, bare

__all__ = ["decode_event", "encode_event"]

FLOAT, OBJECT = "$float", "$object"
SPELLINGS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# Types whose values JSON holds as they are.
WHOLE_TYPES = (
    *(inspect.NoneType, inspect.BoolType, inspect.IntType, inspect.StrType, inspect.DecimalType, inspect.LiteralType),
    *(inspect.EnumType, inspect.BytesType, inspect.DateTimeType, inspect.DateType, inspect.TimeType, inspect.UUIDType),
)

_encoder = msgspec.json.Encoder()


def encode_event(event: Event) -> bytes:
    """Return an event as one JSON object. Raises TypeError or ValueError for what JSON cannot hold."""
    data = _encoder.encode(event)
    # A float that JSON has not became null, and an object that looks like ours has a dollar: mostly there is neither.
    if (b"null" in data or b'"$' in data) and any(
        _needs_spelling(getattr(event, name)) for name in _open_fields(type(event))
    ):
        return _encoder.encode(_spelled(msgspec.to_builtins(event)))
    return data


def decode_event(data: bytes, own_types: Iterable[type[Event]] = ()) -> Event:
    """Return the event of a JSON object that ``encode_event`` made; ``own_types`` are decoded, too.

    Raises msgspec.DecodeError, which names the place.
    """
    decoder = _decoder(frozenset(own_types))
    try:
        if b'"$' not in data:
            return decoder.decode(data)
        event: Event = msgspec.convert(_read(msgspec.json.decode(data)), decoder.type)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(str(error)) from error
    return event


@cache
def _decoder(own_types: frozenset[type[Event]]) -> msgspec.json.Decoder[Event]:
    union: Any = None
    for kind in sorted({*EVENT_LANES, *own_types}, key=lambda kind: kind.__name__):
        union = kind if union is None else union | kind
    return msgspec.json.Decoder(union)


@cache
def _open_fields(kind: type[Event]) -> tuple[str, ...]:
    """Return the fields of an event that may hold a float."""
    form = inspect.type_info(kind)
    assert isinstance(form, inspect.StructType)
    return tuple(field.name for field in form.fields if _is_open(field.type))


def _is_open(form: Form) -> bool:
    form = bare(form)
    if isinstance(form, inspect.UnionType):
        return any(map(_is_open, form.types))
    if isinstance(form, inspect.StructType):
        return any(_is_open(field.type) for field in form.fields)
    return not isinstance(form, WHOLE_TYPES)


def _needs_spelling(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return _is_spelling(value) or any(map(_needs_spelling, value.values()))
    if isinstance(value, msgspec.Struct):
        return any(_needs_spelling(getattr(value, name)) for name in value.__struct_fields__)
    return isinstance(value, list | tuple | set | frozenset) and any(map(_needs_spelling, value))


def _is_spelling(value: Mapping[Any, object]) -> bool:
    """Whether an object looks like one of ours: a single key that begins with a dollar."""
    return len(value) == 1 and str(next(iter(value))).startswith("$")


def _spelled(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT: str(value)}
    if isinstance(value, dict):
        inner = {key: _spelled(item) for key, item in value.items()}
        return {OBJECT: inner} if _is_spelling(value) else inner
    return [_spelled(item) for item in value] if isinstance(value, list | tuple) else value


def _read(value: object) -> object:
    if isinstance(value, dict):
        if value.keys() == {FLOAT}:
            found = SPELLINGS.get(str(value[FLOAT]))
            if found is None:
                msg = f"{value[FLOAT]!r} is no float: {', '.join(SPELLINGS)} are"
                raise msgspec.ValidationError(msg)
            return found
        inner = value[OBJECT] if value.keys() == {OBJECT} else value
        if not isinstance(inner, dict):
            msg = f"{inner!r} is no object"
            raise msgspec.ValidationError(msg)
        return {key: _read(item) for key, item in inner.items()}
    return [_read(item) for item in value] if isinstance(value, list) else value
