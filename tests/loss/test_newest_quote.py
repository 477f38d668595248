"""The newest quote of an instrument: the last one published, whether handlers had it already or not."""

from __future__ import annotations

from headrace import Dispatcher
from headrace.market.tick import NewestQuote
from tests.support.feeding import BTC, ETH, quotes, trades


def test_newest_quote_is_the_last_published_one() -> None:
    with Dispatcher(instruments=[BTC, ETH]) as dispatcher:
        assert dispatcher.newest.quote(BTC) is None
        assert dispatcher.newest.quote("NOBODY.BINANCE") is None
        dispatcher.publish(quotes(dispatcher, [1.5, 2.5], ts_init=[7, 8], bid_size=3.0, ask_size=4.0))
        dispatcher.publish(trades(dispatcher, [9.0], ts_init=9))
        dispatcher.publish(quotes(dispatcher, [5.0], instrument=ETH, ts_init=10))
        assert dispatcher.newest.quote(BTC) == NewestQuote(2.5, 3.5, 3.0, 4.0, 8, 2, 1)
        assert dispatcher.newest.quote(ETH) == NewestQuote(5.0, 6.0, 1.0, 1.0, 10, 1, 3)


def test_a_handler_that_lags_still_sees_the_newest() -> None:
    seen: list[int] = []
    with Dispatcher() as dispatcher:

        def on_quote(position: int) -> None:
            newest = dispatcher.newest.quote(BTC)
            assert newest is not None
            seen.append(newest.position - position)

        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(3)))
        dispatcher.dispatch()
    assert seen == [2, 1, 0]


def test_newest_quote_is_right_after_many_laps() -> None:
    with Dispatcher(ring_capacity=8) as dispatcher:
        dispatcher.subscribe(lambda seq: None, callback="on_quote")
        for _ in range(5):
            dispatcher.publish(quotes(dispatcher, range(33)))
        newest = dispatcher.newest.quote(BTC)
        assert newest is not None
        assert (newest.seq, newest.position) == (165, 164)
