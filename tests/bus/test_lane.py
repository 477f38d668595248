"""The table of lanes: what each carries, how much it holds, and what it does when it is full."""

from __future__ import annotations

import msgspec
import pytest

from headrace.bus.lane import LANE_OPTIONS, LaneOptions
from headrace.limits import CONSEQUENCES_MAX, LANE_GROWTH_MAX
from headrace.market.events import EVENT_LANES, Lane


def test_lanes_are_in_order_of_priority_and_have_options() -> None:
    assert list(Lane) == ["control", "order", "signal", "data"]
    assert list(LANE_OPTIONS) == list(Lane)


def test_each_lane_has_the_options_of_the_rules() -> None:
    told = {str(lane): (own.capacity, own.full, own.max_attempts, own.growth_max) for lane, own in LANE_OPTIONS.items()}
    assert told == {
        "control": (100, "refuse", 1, 1),
        "order": (50, "refuse", 1, 8),
        "signal": (100, "refuse", 1, 1),
        "data": (1_000, "drop_oldest", 3, 1),
    }
    assert (LANE_GROWTH_MAX, CONSEQUENCES_MAX) == (8, 8)


def test_lanes_that_may_send_orders_never_drop_or_retry() -> None:
    for lane in {*EVENT_LANES.values()} - {Lane.DATA}:
        assert (LANE_OPTIONS[lane].full, LANE_OPTIONS[lane].max_attempts) == ("refuse", 1)


def test_lane_options_are_frozen_and_refuse_unknown_names() -> None:
    options = LaneOptions(capacity=1)
    with pytest.raises(AttributeError):
        options.capacity = 2  # type: ignore[misc]
    with pytest.raises(msgspec.ValidationError, match="ful"):
        msgspec.convert({"capacity": 1, "ful": "refuse"}, LaneOptions)
    with pytest.raises(msgspec.ValidationError, match="full"):
        msgspec.convert({"capacity": 1, "full": "drop_newest"}, LaneOptions)
