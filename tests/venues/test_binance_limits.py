"""The weight of REST requests and the circuit breaker, without a network."""

from __future__ import annotations

import asyncio

import pytest

from headrace.venues.binance import breaker
from headrace.venues.binance.breaker import Breaker
from headrace.venues.binance.budget import Budget


@pytest.mark.asyncio
async def test_requests_wait_for_the_next_minute_the_urgent_first():
    budget = Budget(10, minute_s=0.4)
    order: list[str] = []

    async def ask(name: str, weight: int, urgency: int = 0) -> None:
        await budget.spend(weight, urgency=urgency)
        order.append(name)

    await ask("first", 6)
    asking = [ask("second", 5), ask("third", 5), ask("urgent", 5, 1)]
    await asyncio.wait_for(asyncio.gather(*asking), 5)
    assert order == ["first", "urgent", "second", "third"]


@pytest.mark.asyncio
async def test_a_hundred_requests_never_exceed_the_weight():
    budget = Budget(20, minute_s=0.2)
    minutes: dict[int, int] = {}

    async def ask() -> None:
        await budget.spend(5)
        minute = int(asyncio.get_running_loop().time() // 0.2)
        minutes[minute] = minutes.get(minute, 0) + 5

    await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(20))), 20)
    assert max(minutes.values()) <= 20


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [418, 429])
async def test_a_refusal_stops_all_for_as_long_as_it_says(status):
    budget = Budget(100)
    budget.learn(status, {"Retry-After": "1"})
    began = asyncio.get_running_loop().time()
    await budget.spend(1)
    assert asyncio.get_running_loop().time() - began > 0.9


@pytest.mark.asyncio
async def test_the_venues_own_count_is_believed():
    budget = Budget(100, minute_s=0.3)
    budget.learn(200, {"X-MBX-USED-WEIGHT-1M": "79"})
    assert budget.used == 79


def test_a_breaker_opens_tries_once_and_closes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(breaker.time, "monotonic", lambda: now[0])
    states: list[str] = []
    own = Breaker()
    own.follow(states.append)
    for _ in range(breaker.FAILURES_MAX):
        assert own.allows()
        own.failed()
    assert not own.allows()
    now[0] += breaker.OPEN_S
    assert own.allows()
    assert not own.allows()
    own.failed()
    now[0] += breaker.OPEN_S
    assert not own.allows()
    now[0] += breaker.OPEN_S
    assert own.allows()
    own.succeeded()
    assert states == ["OPEN", "HALF_OPEN", "OPEN", "HALF_OPEN", "CLOSED"]
