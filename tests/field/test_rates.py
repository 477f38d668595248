"""A rate of any size lets as much pass as it says: under one per second, too, and never more."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import pytest

from headrace.commands import RateLimit, default_middleware
from headrace.errors import OptionError
from headrace.trading.risk import GateRequest, GateVerdict
from tests.support.commanding import ACCEPTED, Note, running
from tests.support.feeding import HandClock
from tests.support.trading import KNOWN, WIDE, Desk, S, simulated

RATES = [1e-9, 0.01, 0.1, 0.3, 0.5, 1 / 3, 0.999, 1.0, 1.5, 2.5, 7.0, 1_000.0, 1e6]


def spacing_ns(rate: float) -> int:
    """The time between two that are evenly spaced, rounded up."""
    return math.ceil(1e9 / rate)


@pytest.mark.asyncio
@pytest.mark.parametrize("rate", RATES)
async def test_evenly_spaced_commands_all_pass(rate: float) -> None:
    clock = HandClock(S)
    async with running(middleware=default_middleware(rate_max=rate), clock=clock) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        for _ in range(50):
            assert (await bus.submit(Note("s"))).status == "accepted"
            clock.at_ns += spacing_ns(rate)


@pytest.mark.asyncio
@pytest.mark.parametrize("rate", RATES)
async def test_commands_at_random_never_exceed_burst_and_rate(seed: int, rate: float) -> None:
    dice, clock = random.Random(seed), HandClock(S)
    async with running(middleware=default_middleware(rate_max=rate), clock=clock) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        passed: list[int] = []
        for _ in range(300):
            if (await bus.submit(Note("s"))).status == "accepted":
                passed.append(clock.at_ns)
            clock.at_ns += dice.randrange(2 * spacing_ns(rate))
        burst = max(1, int(rate))
        assert all(
            last - first >= (number - burst) * (1e9 / rate - 1)
            for start, first in enumerate(passed)
            for number, last in enumerate(passed[start:])
        )
        assert len(passed) > 50


def desk(rate: float) -> Desk:
    made = simulated(limits=msgspec.structs.replace(WIDE, message_rate_max=rate, stale_after_s=1e30))
    made.quote(99.0, 101.0)
    return made


def is_sent(desk: Desk) -> bool:
    order = desk.order(desk.ask(1, "0.1", price=60))
    desk.orders.cancel_all()
    desk.drain()
    assert order.gate in ("", "message_rate")
    return not order.gate


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate <= 7])
def test_a_message_passes_the_gate_after_every_window(rate: float) -> None:
    own = desk(rate)
    window_ns = math.ceil(max(1, math.floor(rate)) / rate * 1e9)
    for _ in range(20):
        assert is_sent(own)
        assert rate > 1 or not is_sent(own)
        own.clock.at_ns += window_ns


class Counts:
    """A gate of a user's that looks at how many messages a strategy has sent."""

    name = "counts"

    def __init__(self) -> None:
        self.longest = 0

    def check(self, request: GateRequest) -> GateVerdict:
        self.longest = max(self.longest, len(request.messages))
        return GateVerdict(passed=True, observed=0, threshold=0)


def test_messages_before_the_window_are_forgotten() -> None:
    own, counts = desk(1e6), Counts()
    own.gates.add(counts)
    for _ in range(300):
        assert is_sent(own)
        own.clock.at_ns += S // 10
    # An order and its cancel, ten times a second.
    assert counts.longest <= 20


@pytest.mark.parametrize("rate", [1e-300, 1e300])
def test_a_rate_without_measure_is_a_rate(rate: float) -> None:
    assert is_sent(desk(rate))
    RateLimit(rate)


def test_a_rate_of_zero_refuses_and_says_so() -> None:
    own = desk(0.0)
    order = own.order(own.ask())
    assert (order.gate, "message_rate_max is 0" in order.reason) == ("message_rate", True)


@pytest.mark.parametrize("rate", [0, -1.0, math.nan, math.inf, True, "5", None])
def test_what_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(OptionError, match=r"per_s=.* is not allowed: use a"):
        RateLimit(rate)


def test_a_count_that_is_not_whole_is_no_limit() -> None:
    limits = msgspec.structs.replace(WIDE, open_orders_max=1.5)
    own = simulated(limits=limits, instruments=KNOWN)
    own.quote(99.0, 101.0)
    order = own.order(own.ask())
    assert (order.gate, "is no number" in order.reason) == ("open_orders", True)
