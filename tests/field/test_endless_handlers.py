"""A handler that never ends does not hold up the end of an engine, and its call is a letter and a log line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import ClassVar

import pytest

from headrace import BarSpec, Dispatcher, Engine, Strategy
from headrace.limits import DRAIN_RUNNING_S, DRAIN_S
from headrace.market.events import Bar
from tests.support.engines import engine_over, market
from tests.support.feeding import BTC, quotes

pytestmark = [pytest.mark.asyncio, pytest.mark.alone]
# The margin that a busy machine needs.
MARGIN_S = 2.5


class Ends(Strategy):
    """Counts the calls that ended."""

    def __init__(self) -> None:
        self.ended = 0

    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.ended += 1


class LastQuote(Ends):
    async def on_quote(self, seq: int) -> None:
        await self.work(3_600 if seq == 3 else 0)


class FirstQuote(Ends):
    async def on_quote(self, seq: int) -> None:
        await self.work(3_600)


class Returned(Ends):
    def on_quote(self, seq: int) -> Awaitable[None] | None:
        return self.work(3_600) if seq == 3 else None


class LastBar(Ends):
    bars: ClassVar = (BarSpec(BTC, "3t", price="mid"),)

    async def on_bar(self, bar: Bar) -> None:
        await self.work(3_600)


class Stubborn(Ends):
    """Goes on after its cancellation."""

    async def on_quote(self, seq: int) -> None:
        for _ in range(4):
            try:
                await self.work(0.4 if seq < 3 else 3)
            except asyncio.CancelledError:
                continue


class SlowToEnd(Ends):
    """Takes a moment for its last quote."""

    async def on_quote(self, seq: int) -> None:
        await self.work(DRAIN_RUNNING_S / 2)


async def end_of(strategy: Strategy) -> tuple[Engine, float]:
    """Run a live engine to the end of its feeds; return it, and how long it took."""
    engine = engine_over(market([100.0] * 3, every_ns=1), [strategy], mode="live", speed=1.0)
    began_s = time.monotonic()
    await engine.run_async()
    return engine, time.monotonic() - began_s


@pytest.mark.parametrize("strategy", [LastQuote, Returned, LastBar])
async def test_where_nothing_else_waits_the_end_is_fast(strategy: type[Ends], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        engine, took_s = await end_of(strategy())
    assert took_s < 4 * DRAIN_RUNNING_S + MARGIN_S
    (letter,) = engine.dead_letters.list()
    assert letter.reason.startswith(("CancelledError", "TimeoutError: on_bar did not return before"))
    assert letter.source.startswith(strategy.__name__)
    assert any(strategy.__name__ in record.getMessage() for record in caplog.records)


@pytest.mark.timeout(60)
async def test_with_ticks_behind_it_the_end_keeps_its_deadline() -> None:
    engine, took_s = await end_of(FirstQuote())
    assert DRAIN_S <= took_s < DRAIN_S + 4 * DRAIN_RUNNING_S + MARGIN_S
    assert [(letter.source, letter.handler) for letter in engine.dead_letters.list()] == [("FirstQuote", "on_quote")]


async def test_a_call_that_ends_soon_is_not_cancelled() -> None:
    strategy = SlowToEnd()
    engine, _ = await end_of(strategy)
    assert strategy.ended == 3
    assert not engine.dead_letters.list()


async def test_a_call_that_goes_on_after_its_cancellation_is_a_letter() -> None:
    engine, _ = await end_of(Stubborn())
    assert "Stubborn" in {letter.source for letter in engine.dead_letters.list()}


async def test_closing_a_dispatcher_keeps_a_letter_of_the_running_call() -> None:
    strategy = FirstQuote()
    with Dispatcher(instruments=[BTC]) as dispatcher:
        subscription = dispatcher.subscribe(strategy)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        async with asyncio.timeout(20):
            while not subscription.awaited.is_running:  # noqa: ASYNC110 - the public face has no event for it
                await asyncio.sleep(0)
    async with asyncio.timeout(20):
        while not dispatcher.dead_letters.total:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    assert dispatcher.dead_letters.list()[0].handler == "on_quote"
