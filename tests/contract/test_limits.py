"""Bounds: each has a unit and a reason, and the options obey them."""

from __future__ import annotations

import pytest

from headrace import Dispatcher, limits
from headrace.dispatch.dispatcher_options import complete
from headrace.dispatch.options import SubscriptionOptions
from headrace.errors import InstrumentError, OptionError, RingError
from headrace.limits import LIMITS


def test_every_limit_has_a_name_a_unit_and_a_reason() -> None:
    assert len({limit.name for limit in LIMITS}) == len(LIMITS)
    assert all(limit.unit and len(limit.reason) > 10 and limit.value > 0 for limit in LIMITS)


def test_a_constant_is_its_rows_value() -> None:
    values = {limit.name: limit.value for limit in LIMITS}
    constants = {name: value for name, value in vars(limits).items() if name.isupper() and name != "LIMITS"}
    assert constants
    assert constants == {name: values[name] for name in constants}


@pytest.mark.parametrize(
    ("option", "limit"),
    [
        ("ring_capacity", "RING_CAPACITY"),
        ("instruments_max", "INSTRUMENTS_MAX"),
        ("slow_handler_ms", "SLOW_HANDLER_MS"),
        ("block_max_ns", "BLOCK_MAX_NS"),
    ],
)
def test_a_dispatchers_defaults_are_the_limits(option: str, limit: str) -> None:
    assert complete({}).get(option) == getattr(limits, limit)


def test_a_batch_max_above_its_bound_is_refused() -> None:
    assert SubscriptionOptions.checked().batch_max == limits.BATCH_MAX
    assert SubscriptionOptions.checked(batch_max=limits.BATCH_MAX_MAX).batch_max == limits.BATCH_MAX_MAX
    with pytest.raises(OptionError, match="65,536"):
        SubscriptionOptions.checked(batch_max=limits.BATCH_MAX_MAX + 1)


@pytest.mark.parametrize("capacity", [0, 1, 3, 1_000])
def test_a_ring_has_a_power_of_two_of_slots(capacity: int) -> None:
    with pytest.raises(RingError, match=str(capacity)):
        Dispatcher(ring_capacity=capacity)


def test_a_ring_too_large_for_memory_is_an_error() -> None:
    with pytest.raises(RingError):
        Dispatcher(ring_capacity=1 << 60)


def test_one_instrument_more_than_allowed_is_refused() -> None:
    with Dispatcher(instruments_max=2) as dispatcher:
        dispatcher.instruments.add("A.BINANCE")
        dispatcher.instruments.add("B.BINANCE")
        with pytest.raises(InstrumentError, match="2"):
            dispatcher.instruments.add("C.BINANCE")


def test_a_symbol_longer_than_its_bound_is_refused() -> None:
    longest = {limit.name: limit.value for limit in LIMITS}["SYMBOL_BYTES_MAX"]
    with Dispatcher() as dispatcher:
        dispatcher.instruments.add("A" * int(longest) + ".BINANCE")
        with pytest.raises(InstrumentError):
            dispatcher.instruments.add("A" * (int(longest) + 1) + ".BINANCE")
