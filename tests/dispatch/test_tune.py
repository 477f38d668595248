"""What can change in an open subscription: its object, and its delivery options."""

from __future__ import annotations

import pytest

from headrace import Dispatcher, Overflow, Strategy
from headrace.errors import OptionError, SubscriptionError
from tests.support.feeding import BTC, quotes


class Counting(Strategy):
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.gaps: list[int] = []

    def on_quote(self, seq: int) -> None:
        self.seen.append(seq)

    def on_gap(self, missing: int) -> None:
        self.gaps.append(missing)


class Batches(Strategy):
    def __init__(self) -> None:
        self.lengths: list[int] = []

    def on_quotes(self, bid_price) -> None:
        self.lengths.append(len(bid_price))


def test_a_replaced_object_gets_a_gap_for_skipped_ticks() -> None:
    with Dispatcher(instruments=[BTC]) as dispatcher:
        first, second = Counting(), Counting()
        subscription = dispatcher.subscribe(first)
        dispatcher.publish(quotes(dispatcher, range(3)))
        dispatcher.dispatch()
        subscription.pause()
        dispatcher.publish(quotes(dispatcher, range(4)))
        dispatcher.dispatch()
        subscription.rebind(second)
        subscription.resume()
        dispatcher.publish(quotes(dispatcher, range(2)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert first.seen == [1, 2, 3]
    assert second.seen[-2:] == [8, 9]
    assert second.gaps == [4]
    assert stats.accounted == stats.published == 9


def test_an_object_with_other_handlers_is_refused() -> None:
    with Dispatcher(instruments=[BTC]) as dispatcher:
        subscription = dispatcher.subscribe(Batches())

        class Trades(Strategy):
            def on_trade(self, price: float) -> None: ...

        with pytest.raises(SubscriptionError, match="takes other ticks than 'Batches'"):
            subscription.rebind(Trades())


def test_a_smaller_batch_max_applies_from_the_next_batch() -> None:
    with Dispatcher(instruments=[BTC]) as dispatcher:
        batches = Batches()
        subscription = dispatcher.subscribe(batches)
        dispatcher.publish(quotes(dispatcher, range(10)))
        dispatcher.dispatch()
        assert subscription.tune(batch_max=4)
        assert not subscription.tune(batch_max=4)
        dispatcher.publish(quotes(dispatcher, range(10)))
        dispatcher.dispatch()
    assert batches.lengths == [10, 4, 4, 2]
    assert subscription.options.batch_max == 4


@pytest.mark.parametrize("before", [Overflow.BLOCK, Overflow.DROP_OLDEST])
def test_a_changed_overflow_decides_whether_ticks_are_missed(before: Overflow) -> None:
    after = Overflow.DROP_OLDEST if before is Overflow.BLOCK else Overflow.BLOCK
    with Dispatcher(instruments=[BTC], ring_capacity=16) as dispatcher:
        counting = Counting()
        subscription = dispatcher.subscribe(counting, overflow=before)
        dispatcher.publish(quotes(dispatcher, range(4)))
        dispatcher.dispatch()
        subscription.tune(overflow=after)
        for _ in range(10):
            dispatcher.publish(quotes(dispatcher, range(8)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert (stats.missed > 0) == (after is Overflow.DROP_OLDEST)
    assert stats.accounted == stats.published


def test_switching_to_conflate_folds_quotes_and_refuses_flow() -> None:
    with Dispatcher(instruments=[BTC]) as dispatcher:
        counting = Counting()
        subscription = dispatcher.subscribe(counting)
        subscription.tune(overflow="conflate")
        dispatcher.publish(quotes(dispatcher, range(50)))
        dispatcher.dispatch()
        assert counting.seen == [50]
        stats = subscription.stats()
        assert (stats.conflated, stats.delivered) == (49, 1)

        class Trades(Strategy):
            def on_trade(self, price: float) -> None: ...

        trades = dispatcher.subscribe(Trades())
        with pytest.raises(OptionError, match="of which every tick matters"):
            trades.tune(overflow="conflate")
