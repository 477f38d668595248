"""A subscription that is woken for some instruments takes their ticks alone, by the loss law."""

from __future__ import annotations

import random
from typing import Any

import pytest

from headrace import Dispatcher, Strategy
from headrace.errors import SubscriptionError
from tests.support.feeding import BTC, ETH, HandClock, holds_the_law, quotes

SOL = "SOLUSDT.BINANCE"
NAMES = [BTC, ETH, SOL]


class Listener(Strategy):
    """Keeps the instrument and the position of each quote, and what it missed."""

    def __init__(self) -> None:
        self.got: list[tuple[str, int]] = []
        self.missed = 0

    def on_gap(self, missing):
        self.missed += missing

    def on_quote(self, instrument, position):
        self.got.append((instrument, position))


def publish(dispatcher: Dispatcher, *names: str) -> None:
    for name in names:
        dispatcher.publish(quotes(dispatcher, [1.0], instrument=name))
    dispatcher.dispatch()


def test_it_takes_ticks_of_the_instruments_it_was_woken_for() -> None:
    listener = Listener()
    with Dispatcher(instruments=NAMES) as dispatcher:
        subscription = dispatcher.subscribe(listener)
        subscription.doze()
        assert subscription.wake(ETH)
        assert not subscription.wake(ETH)
        assert subscription.state == "running"
        publish(dispatcher, BTC, ETH, SOL)
        assert subscription.wake(SOL)
        publish(dispatcher, BTC, ETH, SOL)
        assert subscription.doze(ETH)
        assert not subscription.doze(BTC)
        publish(dispatcher, BTC, ETH, SOL)
        stats = subscription.stats()
    assert listener.got == [(ETH, 1), (ETH, 4), (SOL, 5), (SOL, 8)]
    assert (stats.delivered, stats.filtered, stats.skipped) == (4, 5, 0)
    assert holds_the_law(stats)


def test_it_dozes_once_the_last_instrument_does() -> None:
    listener = Listener()
    with Dispatcher(instruments=NAMES) as dispatcher:
        subscription = dispatcher.subscribe(listener)
        subscription.doze()
        subscription.wake(BTC)
        assert subscription.doze(BTC)
        assert subscription.state == "dozing"
        assert not subscription.doze()
        publish(dispatcher, *NAMES)
        assert subscription.wake()
        publish(dispatcher, *NAMES)
    assert [position for _, position in listener.got] == [3, 4, 5]


def test_waking_it_without_an_instrument_wakes_it_for_all() -> None:
    listener = Listener()
    with Dispatcher(instruments=NAMES) as dispatcher:
        subscription = dispatcher.subscribe(listener)
        subscription.doze()
        subscription.wake(BTC)
        assert subscription.wake()
        assert not subscription.wake(BTC)
        assert not subscription.doze(BTC)
        publish(dispatcher, *NAMES)
    assert [name for name, _ in listener.got] == NAMES


def test_an_instrument_that_is_not_known_yet_wakes_it_for_all() -> None:
    listener = Listener()
    with Dispatcher(instruments=[BTC]) as dispatcher:
        subscription = dispatcher.subscribe(listener)
        subscription.doze()
        assert subscription.wake(ETH)
        publish(dispatcher, BTC, ETH)
    assert [name for name, _ in listener.got] == [BTC, ETH]


def test_a_pause_ends_it() -> None:
    listener = Listener()
    with Dispatcher(instruments=NAMES) as dispatcher:
        subscription = dispatcher.subscribe(listener)
        subscription.doze()
        subscription.wake(ETH)
        assert subscription.pause()
        assert not subscription.wake(BTC)
        publish(dispatcher, *NAMES)
        subscription.resume()
        assert not subscription.doze(ETH)
        dispatcher.dispatch()
        listener.got.clear()
        publish(dispatcher, *NAMES)
        stats = subscription.stats()
    assert [name for name, _ in listener.got] == NAMES
    assert (stats.skipped, listener.missed) == (3, 3)
    assert holds_the_law(stats)


def test_what_it_was_lapped_by_counts_as_missed() -> None:
    listener = Listener()
    with Dispatcher(instruments=NAMES, ring_capacity=16) as dispatcher:
        subscription = dispatcher.subscribe(listener, overflow="drop_oldest")
        subscription.doze()
        subscription.wake(ETH)
        dispatcher.publish(quotes(dispatcher, range(100)))
        publish(dispatcher, ETH)
        stats = subscription.stats()
    assert listener.got == [(ETH, 100)]
    assert stats.missed == listener.missed > 0
    assert stats.missed + stats.filtered == 100
    assert holds_the_law(stats)


def test_newest_quotes_after_a_lapse_are_of_its_instruments() -> None:
    listener = Listener()
    with Dispatcher(instruments=NAMES, ring_capacity=16) as dispatcher:
        subscription = dispatcher.subscribe(listener, overflow="conflate", kinds="quote")
        publish(dispatcher, *NAMES)
        subscription.doze()
        subscription.wake(ETH)
        listener.got.clear()
        for name in NAMES:
            dispatcher.publish(quotes(dispatcher, range(40), instrument=name))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert {name for name, _ in listener.got} == {ETH}
    assert holds_the_law(stats)


@pytest.mark.parametrize("handler", ["on_quotes", "on_ticks", None])
def test_a_subscription_that_takes_batches_is_refused(handler: str | None) -> None:
    with Dispatcher(instruments=NAMES) as dispatcher:
        given: dict[str, Any] = {"callback": handler} if handler else {}
        own = dispatcher.subscribe((lambda seq: None) if handler else None, name="batches", **given)
        own.doze()
        with pytest.raises(SubscriptionError, match="takes batches"):
            own.wake(BTC)
        assert own.state == "dozing"


@pytest.mark.parametrize(
    "options",
    [{}, {"overflow": "drop_oldest"}, {"overflow": "drop_oldest", "lag_max_ticks": 500, "on_lag": "warn"}],
)
def test_random_dozes_and_wakes_give_what_a_set_gives(options: dict[str, Any], seed: int) -> None:
    dice = random.Random(seed)
    awake: set[str] = set(NAMES)
    expected: list[tuple[str, int]] = []
    listener = Listener()

    def act() -> None:
        name = dice.choice(NAMES)
        choice = dice.randrange(4)
        if choice == 0:
            subscription.doze()
            awake.clear()
        elif choice == 1:
            subscription.wake()
            awake.update(NAMES)
        elif choice == 2 and subscription.wake(name):
            awake.add(name)
        elif choice == 3 and subscription.doze(name):
            awake.discard(name)

    def before(instrument: str, position: int) -> None:
        if dice.random() < 0.2:
            act()
        if instrument in awake:
            expected.append((instrument, position))

    hashing = dice.random() < 0.5
    with Dispatcher(instruments=NAMES, clock=HandClock(), hashing=hashing) as dispatcher:
        dispatcher.subscribe(before, callback="on_quote", name="before")
        subscription = dispatcher.subscribe(listener, **options)
        for _ in range(300):
            publish(dispatcher, *dice.choices(NAMES, k=dice.randrange(1, 6)))
        stats = subscription.stats()
    assert listener.got == expected, f"HEADRACE_SEED={seed}"
    assert stats.delivered == len(expected)
    assert holds_the_law(stats)
