"""The cause: while a handler runs, its subscription names the tick or the batch of ticks that it handles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace import Dispatcher, Strategy, Subscription
from headrace.market.events import Cause, current_cause
from tests.support.feeding import BTC, ETH, HandClock, level_event, quotes, trades, wait_until


class Asking(Strategy):
    """Reads its cause in every handler."""

    def __init__(self) -> None:
        self.membership: Subscription | None = None
        self.seen: list[tuple[str, Cause | None]] = []

    def note(self, handler: str) -> None:
        assert self.membership is not None
        self.seen.append((handler, self.membership.cause()))


class Singular(Asking):
    """Singular handlers, gaps included."""

    def on_quote(self, bid_price):
        self.note("on_quote")

    def on_trade(self, price):
        self.note("on_trade")

    def on_gap(self, missing):
        self.note("on_gap")


class Plural(Asking):
    """Plural handlers of each kind, and of all kinds."""

    def on_quotes(self, bid_price):
        self.note("on_quotes")

    def on_trades(self, price):
        self.note("on_trades")

    def on_ticks(self, seq):
        self.note("on_ticks")


def subscribed(dispatcher: Dispatcher, strategy: Asking, **options: Any) -> Subscription:
    strategy.membership = dispatcher.subscribe(strategy, **options)
    return strategy.membership


def test_a_singular_handler_is_caused_by_its_tick() -> None:
    asking = Singular()
    with Dispatcher() as dispatcher:
        subscribed(dispatcher, asking)
        dispatcher.publish(quotes(dispatcher, [1, 2], ts_init=[10, 11]))
        dispatcher.publish(trades(dispatcher, [5], instrument=ETH, ts_init=12))
        dispatcher.dispatch()
    assert asking.seen == [
        ("on_quote", Cause(BTC, "quote", 1, 1, 10)),
        ("on_quote", Cause(BTC, "quote", 2, 2, 11)),
        ("on_trade", Cause(ETH, "trade", 1, 1, 12)),
    ]


def test_a_tick_and_the_gap_before_it_are_causes() -> None:
    first, second = Singular(), Singular()
    with Dispatcher(ring_capacity=16, clock=HandClock(99)) as dispatcher:
        subscribed(dispatcher, first, overflow="drop_oldest", name="first")
        subscribed(dispatcher, second, overflow="drop_oldest", rate_limit=1e9, name="second")
        dispatcher.publish(quotes(dispatcher, range(40), ts_init=range(40)))
        dispatcher.dispatch()
    assert [cause for _, cause in first.seen] == [cause for _, cause in second.seen]
    (told, gap), (_, after), *_ = first.seen
    assert told == "on_gap"
    assert gap is not None
    assert after is not None
    assert (gap.instrument, gap.kind, gap.ts_init) == (None, "gap", after.ts_init)
    newest = Cause(BTC, "quote", 40, 40, 39)
    assert first.seen[-1] == ("on_quote", newest)
    assert after.first == after.last > 1


def test_a_plural_handler_is_caused_by_its_run() -> None:
    asking = Plural()
    with Dispatcher() as dispatcher:
        subscribed(dispatcher, asking)
        dispatcher.publish(quotes(dispatcher, range(3), ts_init=[1, 2, 3]))
        dispatcher.publish(trades(dispatcher, range(2), ts_init=[4, 5]))
        dispatcher.publish(quotes(dispatcher, range(2), ts_init=[6, 7]))
        dispatcher.dispatch()
    assert asking.seen == [
        ("on_quotes", Cause(BTC, "quote", 1, 5, 7)),
        ("on_trades", Cause(BTC, "trade", 1, 2, 5)),
        ("on_ticks", Cause(BTC, "quote", 1, 5, 7)),
    ]


def test_a_batch_of_two_instruments_names_the_last_tick() -> None:
    asking = Plural()
    with Dispatcher() as dispatcher:
        subscribed(dispatcher, asking)
        dispatcher.publish(quotes(dispatcher, range(4), ts_init=1))
        dispatcher.publish(quotes(dispatcher, range(2), instrument=ETH, ts_init=2))
        dispatcher.dispatch()
    assert asking.seen[0] == ("on_quotes", Cause(ETH, "quote", 1, 2, 2))


def test_a_window_is_caused_by_its_ticks() -> None:
    asking = Plural()
    clock = HandClock()
    with Dispatcher(clock=clock) as dispatcher:
        subscribed(dispatcher, asking, every="1ms")
        for at in (1, 2, 1_000_001):
            clock.at_ns = at
            dispatcher.publish(quotes(dispatcher, [1], ts_init=at))
            dispatcher.dispatch()
    assert asking.seen[0] == ("on_quotes", Cause(BTC, "quote", 1, 2, 2))


def test_a_cause_exists_only_in_the_subscriptions_own_handler() -> None:
    asking = Singular()
    others: list[Cause | None] = []
    with Dispatcher() as dispatcher:
        subscription = subscribed(dispatcher, asking)
        dispatcher.subscribe(lambda bid_price: others.append(subscription.cause()), callback="on_quote", name="other")
        assert subscription.cause() is None
        dispatcher.publish(quotes(dispatcher, [1]))
        assert subscription.cause() is None
        dispatcher.dispatch()
        assert subscription.cause() is None
    assert others == [None]
    assert len(asking.seen) == 1


def test_a_tick_is_the_cause_again_after_its_gap() -> None:
    """Both handle one tick; the second strategy gets its gap between the first one's call and its own."""
    first, second, third = Singular(), Singular(), Singular()
    clock = HandClock()
    with Dispatcher(clock=clock) as dispatcher:
        subscribed(dispatcher, first, name="first")
        subscribed(dispatcher, second, name="second", overflow="drop_oldest", rate_limit=1)
        subscribed(dispatcher, third, name="third")
        for second_s in (0, 0, 1):
            clock.at_ns = second_s * 10**9
            dispatcher.publish(quotes(dispatcher, [1], ts_init=clock.at_ns))
            dispatcher.dispatch()
    assert [name for name, _ in second.seen] == ["on_quote", "on_gap", "on_quote"]
    assert first.seen[-1] == second.seen[-1] == third.seen[-1] == ("on_quote", Cause(BTC, "quote", 3, 3, 10**9))


def test_a_levels_handler_is_caused_by_the_whole_event() -> None:
    seen: list[Cause | None] = []
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(lambda price: seen.append(subscription.cause()), callback="on_levels")
        dispatcher.publish(level_event(dispatcher, 5, ts_init=3))
        dispatcher.dispatch()
    assert seen == [Cause(BTC, "level", 1, 5, 3)]


def test_a_thread_sees_its_own_cause_and_others_see_none() -> None:
    asking = Singular()
    with Dispatcher() as dispatcher:
        subscription = subscribed(dispatcher, asking, mode="thread", overflow="block")
        dispatcher.publish(quotes(dispatcher, range(100), ts_init=7))
        wait_until(lambda: len(asking.seen) == 100 or subscription.cause() is not None)
        wait_until(lambda: len(asking.seen) == 100)
        assert subscription.cause() is None
    assert asking.seen[-1] == ("on_quote", Cause(BTC, "quote", 100, 100, 7))


@pytest.mark.parametrize("replay", [False, True])
def test_an_async_handler_and_its_tasks_keep_the_cause(replay: bool) -> None:
    seen: list[tuple[int, Cause | None, Cause | None]] = []

    async def main() -> None:
        with Dispatcher(mode="replay" if replay else "live") as dispatcher:

            async def on_quote(seq):
                await asyncio.sleep(0)
                from_task = await asyncio.create_task(ask(current_cause.get))
                seen.append((seq, subscription.cause(), from_task))
                if seq == 3:
                    done.set()

            done = asyncio.Event()
            subscription = dispatcher.subscribe(on_quote)
            dispatcher.publish(quotes(dispatcher, range(3), ts_init=[4, 5, 6]))
            if replay:
                await dispatcher.drain_async()
            await done.wait()
            await asyncio.sleep(0)
            assert subscription.cause() is None

    asyncio.run(main())
    causes = [Cause(BTC, "quote", seq, seq, 3 + seq) for seq in (1, 2, 3)]
    assert seen == [(cause.first, cause, cause) for cause in causes]


async def ask(question: Callable[[], Cause | None]) -> Cause | None:
    await asyncio.sleep(0)
    return question()
