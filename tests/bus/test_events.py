"""The family of events: immutable, distinguished by their type, equal after a round trip through JSON."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.market import events
from headrace.market.event_json import decode_event, encode_event
from headrace.market.events import EVENT_LANES, Bar, Cause, Event, Lane, OtherFee, Signal, stamped

CAUSE = Cause(instrument="BTCUSDT.BINANCE", kind="quote", first=3, last=5, ts_init=7)
TYPES = sorted(EVENT_LANES, key=str)
texts = st.text(max_size=20)
whole = st.integers(-(2**63), 2**63 - 1)
causes = st.builds(Cause, st.none() | texts, texts, whole, whole, whole)
keys = texts | st.sampled_from(["$float", "$object", "$"])
# What a field of type Any holds; an object may look like one of the encoding's own.
anything = st.recursive(
    st.none() | st.booleans() | whole | st.floats() | keys | st.sampled_from(["nan", "inf", "-inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=8,
)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: whole,
    float: st.floats(),
    bool: st.booleans(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    Cause: causes,
    OtherFee: st.builds(OtherFee, texts, st.decimals(allow_nan=False, allow_infinity=False)),
    type(None): st.none(),
}


class Spread(msgspec.Struct, frozen=True):
    low: float
    high: float | None = None


class Measured(Event, frozen=True, kw_only=True):
    rate: float
    detail: Any = None
    nested: tuple[tuple[float, Any], ...] = ()
    spread: Spread | None = None


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field, by its type."""
    if hint in VALUES:
        return VALUES[hint]
    arguments = get_args(hint)
    if getattr(hint, "__origin__", None) is Mapping:
        if arguments[1] is Bar:
            bars = fields(Bar).map(lambda given: Bar(**given))
            return st.dictionaries(texts, bars, max_size=2)
        if arguments[1] is Decimal:
            return st.dictionaries(texts, VALUES[Decimal], max_size=2)
        return st.dictionaries(keys, anything, max_size=3)
    if arguments[1:] == (...,):
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if all(not isinstance(argument, type) for argument in arguments):
        return st.sampled_from(arguments)
    return st.one_of([values(argument) for argument in arguments])


def fields(event_type: type[Event]) -> st.SearchStrategy[dict[str, Any]]:
    """The arguments of an event."""
    hints = get_type_hints(event_type)
    if event_type is Signal:
        hints["side"] = Literal[1, -1, 0]
    return st.fixed_dictionaries({name: values(hints[name]) for name in event_type.__struct_fields__})


def family(root: type[Event] = Event) -> set[type[Event]]:
    """Every type of the package below a root."""
    own = {kind for kind in root.__subclasses__() if kind.__module__.startswith(f"{events.__name__}.")}
    return own | {kind for below in own for kind in family(below)}


@pytest.mark.parametrize("event_type", TYPES)
@given(data=st.data())
@settings(max_examples=25)
def test_every_event_is_equal_after_a_round_trip_through_json(event_type: type[Event], data: st.DataObject) -> None:
    event = event_type(**data.draw(fields(event_type)))
    again = decode_event(encode_event(event))
    # Texts, because NaN is equal to nothing; they also distinguish 1 from 1.0, and 0.0 from -0.0.
    assert repr(again) == repr(event)
    assert encode_event(again) == encode_event(event)


@given(rate=st.floats(), detail=anything, nested=st.lists(st.tuples(st.floats(), anything), max_size=3).map(tuple))
@settings(max_examples=100)
def test_own_types_keep_floats_that_json_lacks(rate: float, detail: Any, nested: Any) -> None:
    event = Measured(rate=rate, detail=detail, nested=nested, spread=Spread(low=rate))
    assert repr(decode_event(encode_event(event), [Measured])) == repr(event)


@pytest.mark.parametrize("said", [{"$float": "NaN"}, {"$float": 3}, {"$float": None}, {"$float": ["nan"]}])
def test_a_float_that_is_spelled_otherwise_is_refused(said: Any) -> None:
    line = msgspec.json.encode({"type": "Signal", "instrument": "A.B", "side": 1, "strength": said})
    with pytest.raises(msgspec.DecodeError, match="is no float"):
        decode_event(line)


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"$object":' * 100_000])
def test_an_event_that_is_nested_without_end_is_refused(deep: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event(b'{"type":"Control","name":"x","detail":{"x":' + deep)


def test_every_type_that_can_be_published_has_a_lane() -> None:
    bases = {kind for kind in family() if kind.__subclasses__()}
    assert family() - bases == set(EVENT_LANES)
    assert set(EVENT_LANES.values()) == set(Lane)


@pytest.mark.parametrize("event_type", TYPES)
def test_events_are_immutable_and_named_by_their_type(event_type: type[Event]) -> None:
    config = event_type.__struct_config__
    assert (config.frozen, config.tag, config.forbid_unknown_fields) == (True, event_type.__name__, True)
    assert {"source", "ts", "run_id", "cause"} <= set(event_type.__struct_fields__)


def test_an_unknown_field_or_event_type_is_an_error() -> None:
    said = msgspec.json.decode(encode_event(Signal(instrument="A.B", side=1)))
    with pytest.raises(msgspec.ValidationError, match="unknown field `sid`"):
        decode_event(msgspec.json.encode({**said, "sid": 1}))
    with pytest.raises(msgspec.ValidationError, match="Invalid value 'Sgnal'"):
        decode_event(msgspec.json.encode({**said, "type": "Sgnal"}))


def test_own_types_are_decoded_when_they_are_named() -> None:
    class Heartbeat(Event, frozen=True, kw_only=True):
        beat: int

    beat = Heartbeat(beat=3, cause=CAUSE)
    assert decode_event(encode_event(beat), [Heartbeat]) == beat
    with pytest.raises(msgspec.ValidationError):
        decode_event(encode_event(beat))


def test_a_stamp_fills_in_what_was_left_open_and_nothing_else() -> None:
    event = Signal(instrument="A.B", side=1)
    said = {"source": "s", "ts": 5, "run_id": "r"}
    assert stamped(event, **said, cause=CAUSE) == Signal(instrument="A.B", side=1, cause=CAUSE, **said)  # type: ignore[arg-type]
    full = Signal(instrument="A.B", side=1, source="me", ts=1, run_id="mine", cause=CAUSE)
    assert stamped(full, **said, cause=None) == full  # type: ignore[arg-type]
