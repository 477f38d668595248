"""The weight of REST requests and the circuit breaker, without a network."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from aiohttp import web

from headrace.venues.binance import breaker
from headrace.venues.binance.breaker import Breaker
from headrace.venues.binance.budget import Budget
from headrace.venues.binance.rest import RestClient
from headrace.venues.binance.rules import rules_of
from tests.support.engines import until


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


@pytest.mark.asyncio
async def test_a_trial_that_is_cancelled_lets_the_next_one_try():
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    rest = RestClient(rules_of("BINANCE"), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    for _ in range(breaker.FAILURES_MAX):
        rest.breaker.failed()
    trial = asyncio.ensure_future(rest.get("ping"))
    await until(lambda: rest.requests == 1)
    assert rest.breaker.state == "HALF_OPEN"
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    assert rest.breaker.allows(), "the breaker would refuse every request from now on"
    await rest.close()
    server.close()
    await server.wait_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [418, 429])
async def test_a_limit_that_was_reached_is_waited_for_and_opens_no_breaker(status):
    """The venue answers, so it is well; a breaker that is trying closes by that, too."""
    asked: list[float] = []

    async def refuse_twice(_request: web.Request) -> web.Response:
        asked.append(time.monotonic())
        return web.Response(status=status if len(asked) < 3 else 200, headers={"Retry-After": "1"}, text="{}")

    app = web.Application()
    app.router.add_get("/api/v3/ping", refuse_twice)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    rest = RestClient(rules_of("BINANCE"), f"http://127.0.0.1:{runner.addresses[0][1]}")
    states: list[str] = []
    rest.follow_breaker(states.append)
    for _ in range(breaker.FAILURES_MAX):
        rest.breaker.failed()
    answers = await asyncio.gather(*(rest.get("ping") for _ in range(2)))
    await rest.close()
    await runner.cleanup()
    assert answers == [b"{}", b"{}"]
    assert states == ["OPEN", "HALF_OPEN", "CLOSED"]
    waits = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert max(waits) > 0.9
    assert rest.failures == 2


@pytest.mark.asyncio
async def test_the_clients_of_one_address_share_its_breaker():
    first, second = (RestClient(rules_of("BINANCE"), "http://127.0.0.1:1") for _ in range(2))
    other = RestClient(rules_of("BINANCE_USDM"), "http://127.0.0.1:2")
    states: list[str] = []
    second.follow_breaker(states.append)
    for _ in range(breaker.FAILURES_MAX):
        first.breaker.failed()
    assert (second.breaker.state, other.breaker.state, states) == ("OPEN", "CLOSED", ["OPEN"])
    await second.close()
    first.breaker.succeeded()
    assert states == ["OPEN"]
