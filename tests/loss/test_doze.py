"""Dozing: a subscription suspends its delivery at once, and the ticks in between raise no gap."""

from __future__ import annotations

import random
from typing import Any

import pytest

from headrace import Dispatcher, Flags, Strategy, Subscription
from tests.support.feeding import HandClock, holds_the_law, quotes, trades


class Sleeper(Strategy):
    """Keeps all its calls."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def on_gap(self, cause, missing):
        self.got.append(("gap", cause, missing))

    def on_quote(self, position, flags):
        self.got.append(("snapshot" if flags & Flags.SNAPSHOT else "quote", position))

    def positions(self) -> list[int]:
        return [entry[1] for entry in self.got]


def test_a_dozing_subscription_gets_no_tick_and_no_gap() -> None:
    sleeper = Sleeper()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(sleeper)
        assert subscription.doze()
        assert subscription.state == "dozing"
        dispatcher.publish(quotes(dispatcher, range(5)))
        dispatcher.dispatch()
        assert subscription.wake()
        dispatcher.publish(quotes(dispatcher, range(2)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert sleeper.got == [("quote", 5), ("quote", 6)]
    assert (stats.delivered, stats.filtered, stats.skipped, stats.snapshots) == (2, 5, 0, 0)
    assert holds_the_law(stats)


def test_doze_and_wake_take_effect_at_the_next_tick() -> None:
    sleeper = Sleeper()
    with Dispatcher() as dispatcher:

        def on_quote(position: int) -> None:
            if position % 3 == 0:
                target.doze()
            if position % 3 == 2:
                target.wake()

        dispatcher.subscribe(on_quote, name="before")
        target = dispatcher.subscribe(sleeper)
        dispatcher.publish(quotes(dispatcher, range(9)))
        dispatcher.dispatch()
        stats = target.stats()
    assert sleeper.positions() == [2, 5, 8]
    assert (stats.delivered, stats.filtered) == (3, 6)
    assert holds_the_law(stats)


def test_a_handler_may_doze_its_own_subscription() -> None:
    with Dispatcher() as dispatcher:
        seen: list[int] = []

        def on_quote(position: int) -> None:
            seen.append(position)
            target.doze()

        target = dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(4)))
        dispatcher.dispatch()
    assert seen == [0]


def test_a_dozing_block_subscription_keeps_the_gate() -> None:
    sleeper = Sleeper()
    with Dispatcher(ring_capacity=8) as dispatcher:
        subscription = dispatcher.subscribe(sleeper)
        other = dispatcher.subscribe(lambda bid_price: None, callback="on_quote", name="other")
        subscription.doze()
        other.pause()
        dispatcher.publish(quotes(dispatcher, range(20)))
        subscription.wake()
        dispatcher.publish(quotes(dispatcher, range(20)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert (stats.missed, stats.demoted) == (0, False)
    assert holds_the_law(stats)
    assert "gap" not in {entry[0] for entry in sleeper.got}


def test_ticks_lapped_in_a_doze_count_as_filtered() -> None:
    sleeper = Sleeper()
    with Dispatcher(ring_capacity=16) as dispatcher:
        subscription = dispatcher.subscribe(sleeper, overflow="drop_oldest")
        subscription.doze()
        dispatcher.publish(quotes(dispatcher, range(100)))
        dispatcher.dispatch()
        subscription.wake()
        dispatcher.publish(quotes(dispatcher, range(1)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert sleeper.got == [("quote", 100)]
    assert (stats.filtered, stats.missed) == (100, 0)
    assert holds_the_law(stats)


def test_conflate_lapped_in_a_doze_gets_no_newest_quote() -> None:
    sleeper = Sleeper()
    with Dispatcher(ring_capacity=16) as dispatcher:
        subscription = dispatcher.subscribe(sleeper, overflow="conflate", kinds="quote")
        dispatcher.subscribe(lambda bid_price: None, callback="on_quote", overflow="drop_oldest", name="other")
        subscription.doze()
        dispatcher.publish(quotes(dispatcher, range(100)))
        dispatcher.dispatch()
        subscription.wake()
        dispatcher.dispatch()
        assert sleeper.got == []
        assert holds_the_law(subscription.stats())


def test_ticks_of_an_open_window_are_filtered_by_a_doze() -> None:
    calls: list[int] = []
    clock = HandClock()
    with Dispatcher(clock=clock) as dispatcher:
        subscription = dispatcher.subscribe(
            lambda bid_price: calls.append(len(bid_price)), callback="on_quotes", every="1ms"
        )
        dispatcher.publish(quotes(dispatcher, range(3)))
        dispatcher.dispatch()
        subscription.doze()
        clock.at_ns = 2_000_000
        dispatcher.dispatch()
        stats = subscription.stats()
    assert calls == []
    assert (stats.filtered, stats.pending) == (3, 0)
    assert holds_the_law(stats)


@pytest.mark.parametrize("verb", ["pause", "close"])
def test_pausing_or_closing_ends_a_doze(verb: str) -> None:
    sleeper = Sleeper()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(sleeper)
        subscription.doze()
        assert not subscription.doze()
        getattr(subscription, verb)()
        assert not subscription.wake()
        dispatcher.publish(quotes(dispatcher, range(3)))
        dispatcher.dispatch()
        assert holds_the_law(subscription.stats())
    assert sleeper.got == []


def test_a_gap_after_doze_and_pause_counts_only_the_pause() -> None:
    sleeper = Sleeper()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(sleeper)
        subscription.doze()
        dispatcher.publish(quotes(dispatcher, range(3)))
        dispatcher.dispatch()
        subscription.pause()
        dispatcher.publish(quotes(dispatcher, range(2)))
        dispatcher.dispatch()
        subscription.resume()
        dispatcher.dispatch()
        assert [entry[2] for entry in sleeper.got if entry[0] == "gap"] == [2]
        assert holds_the_law(subscription.stats())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"overflow": "drop_oldest"},
        {"overflow": "drop_oldest", "rate_limit": 1e5},
        {"overflow": "conflate", "min_interval_ns": 5},
        {"overflow": "drop_oldest", "lag_max_ticks": 20, "on_lag": "skip"},
        {"batch_max": 7},
        {"every": "1ms"},
    ],
)
def test_the_law_holds_through_random_dozes_pauses_and_lapses(options: dict[str, Any], seed: int) -> None:
    dice = random.Random(seed)

    class Both(Sleeper):
        """A singular handler of quotes and a plural one of trades."""

        def on_trades(self, price):
            self.got.append(("trades", len(price)))

    sleeper = Sleeper() if options.get("overflow") == "conflate" else Both()
    clock = HandClock()
    with Dispatcher(ring_capacity=64, clock=clock, hashing=dice.random() < 0.5) as dispatcher:
        subscription = dispatcher.subscribe(sleeper, **options)
        waker = dispatcher.subscribe(lambda bid_price: shake(), callback="on_quote", name="waker")

        def shake() -> None:
            if dice.random() < 0.05:
                dice.choice([subscription.doze, subscription.wake])()

        for _ in range(400):
            clock.at_ns += dice.randrange(0, 500_000)
            move(dice, dispatcher, subscription, clock.at_ns)
        subscription.wake()
        subscription.resume()
        dispatcher.dispatch()
        assert holds_the_law(subscription.stats()), f"HEADRACE_SEED={seed}"
        assert holds_the_law(waker.stats())


def move(dice: random.Random, dispatcher: Dispatcher, subscription: Subscription, now_ns: int) -> None:
    choice = dice.random()
    if choice < 0.5:
        make = quotes if dice.random() < 0.8 else trades
        dispatcher.publish(make(dispatcher, range(dice.randrange(1, 60)), ts_init=now_ns))
    elif choice < 0.7:
        dispatcher.dispatch()
    else:
        dice.choice([subscription.doze, subscription.wake, subscription.pause, subscription.resume])()


def test_who_wakes_at_a_tick_gets_the_fields_of_that_tick() -> None:
    got: list[tuple[int, str]] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda bid_price: bid_price == 3 and sleeper.wake(), callback="on_quote")
        sleeper = dispatcher.subscribe(lambda seq, symbol: got.append((seq, symbol)), callback="on_quote")
        sleeper.doze()
        dispatcher.publish(quotes(dispatcher, range(5)))
        dispatcher.dispatch()
    assert got == [(4, "BTCUSDT"), (5, "BTCUSDT")]
