"""Options of a subscription: what is allowed, together and alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace import Dispatcher, Overflow
from headrace.dispatch.options import SubscriptionOptions
from headrace.errors import ClosedError, HeadraceError, InstrumentError, KindError, OptionError, SubscriptionError
from tests.support.feeding import BTC, ETH, quotes, read_all, trades


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"instruments": "BTCUSDT"}, "SYMBOL.VENUE"),
        ({"instruments": []}, "at least one"),
        ({"instruments": [BTC, 7]}, "SYMBOL.VENUE"),
        ({"overflow": "wait"}, '"block" or "drop_oldest" or "conflate"'),
        ({"batch_max": 0}, "from 1 to"),
        ({"batch_max": True}, "whole number"),
        ({"batch_max": 2.0}, "whole number"),
        ({"every": "100 ms"}, "is no duration"),
        ({"every": "ms"}, "is no duration"),
        ({"every": "1us"}, "1,000,000 ns"),
        ({"every": -5}, "1,000,000 ns"),
        ({"every": True}, "is no duration"),
        ({"min_interval_ns": -1}, "from 0"),
        ({"min_interval_ns": 5}, "use overflow='conflate' with it"),
        ({"min_interval_ns": 5, "overflow": "drop_oldest"}, "use overflow='conflate' with it"),
        ({"rate_limit": 0, "overflow": "drop_oldest"}, "above 0"),
        ({"rate_limit": float("inf"), "overflow": "drop_oldest"}, "above 0"),
        ({"rate_limit": float("nan"), "overflow": "drop_oldest"}, "above 0"),
        ({"rate_limit": 10}, "throttle the feed of all subscriptions"),
        ({"rate_limit": 10, "overflow": "block"}, "throttle the feed of all subscriptions"),
        ({"lag_max_ticks": 0}, "from 1"),
        ({"lag_max_ns": -1}, "from 1"),
        ({"on_lag": "jump"}, '"skip" or "warn"'),
        ({"on_lag": "skip"}, "lag_max_ticks or lag_max_ns with it"),
        ({"on_lag": "skip", "lag_max_ticks": 5}, "delivers every tick"),
        ({"on_lag": "skip", "lag_max_ticks": 5, "overflow": "block"}, "delivers every tick"),
        ({"mode": "process"}, '"inline" or "thread"'),
        ({"on_fault": "ignore"}, '"quarantine" or "raise"'),
    ],
)
def test_a_refused_value_is_named_with_what_is_allowed(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said) as refused:
        SubscriptionOptions.checked(**options)
    assert refused.value.option in options
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1ms", 10**6),
        ("100ms", 10**8),
        ("1s", 10**9),
        ("5m", 300 * 10**9),
        ("1h", 3_600 * 10**9),
        (2_000_000, 2_000_000),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str | int, ns: int) -> None:
    assert SubscriptionOptions.checked(every=text).every == ns


def test_an_unknown_option_is_an_error_that_names_it() -> None:
    with Dispatcher() as dispatcher, pytest.raises((TypeError, OptionError), match="batch_size"):
        dispatcher.subscribe(lambda bid_price: None, callback="on_quote", batch_size=3)  # type: ignore[call-arg]


def on_quote(bid_price): ...
def on_quotes(bid_price): ...
def on_trade(price): ...
def on_level(price): ...
async def on_agg_trade(price): ...


@pytest.mark.parametrize(
    ("handler", "options", "said"),
    [
        (on_trade, {"overflow": "conflate"}, "takes trade, of which every tick matters"),
        (on_level, {"overflow": "conflate"}, "takes level"),
        (None, {"overflow": "conflate"}, "quotes only"),
        (on_quote, {"every": "100ms"}, "no plural handler"),
        (None, {"every": "100ms"}, "no handlers"),
        (None, {"mode": "thread"}, "no handlers"),
        (on_agg_trade, {"mode": "thread"}, "remove mode="),
        (None, {"kinds": ["qoute"]}, "'qoute' is unknown"),
        (on_quote, {"kinds": ["trade"]}, "is never called"),
    ],
)
def test_options_in_conflict_are_refused_without_a_trace(
    handler: Callable[..., object] | None, options: dict[str, Any], said: str
) -> None:
    with Dispatcher() as dispatcher:
        with pytest.raises((OptionError, SubscriptionError, KindError), match=said):
            dispatcher.subscribe(handler, **options)
        assert not dispatcher.subscriptions
        dispatcher.publish(quotes(dispatcher, [1.0]))


def test_an_async_handler_needs_a_running_loop() -> None:
    with Dispatcher() as dispatcher, pytest.raises(SubscriptionError, match="running event loop"):
        dispatcher.subscribe(on_agg_trade)


def test_a_name_in_use_is_refused() -> None:
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(on_quote, name="mine")
        with pytest.raises(OptionError, match="'mine' is taken"):
            dispatcher.subscribe(on_quote, name="mine")


def test_overflow_accepts_a_name_or_a_member() -> None:
    assert SubscriptionOptions.checked(overflow="drop_oldest").overflow is Overflow.DROP_OLDEST
    assert SubscriptionOptions.checked(overflow=Overflow.CONFLATE).overflow is Overflow.CONFLATE


@pytest.mark.parametrize(
    ("instruments", "gets"),
    [
        ("*", [0, 1, 2]),
        (BTC, [0]),
        ("BTC*.BINANCE", [0]),
        ("*USDT.BINANCE", [0, 1]),
        ("BTC*", [0, 2]),
        ("???USDT.BINANCE", [0, 1]),
        ([BTC, ETH], [0, 1]),
        ("XRPUSDT.BINANCE", []),
    ],
)
def test_instruments_are_names_and_patterns(instruments: str | list[str], gets: list[int]) -> None:
    got: list[int] = []
    with Dispatcher(instruments=[BTC, ETH, "BTCUSDT.BINANCE_USDM"]) as dispatcher:
        subscription = dispatcher.subscribe(
            lambda instrument_id: got.append(instrument_id), callback="on_quote", instruments=instruments
        )
        for name in dispatcher.instruments:
            dispatcher.publish(quotes(dispatcher, [1.0], instrument=name))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert got == gets
    assert (stats.delivered, stats.filtered) == (len(gets), 3 - len(gets))


def test_a_pattern_matches_instruments_that_come_later() -> None:
    got: list[str] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda symbol: got.append(symbol), callback="on_quote", instruments="ETH*")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, [1.0], instrument=ETH))
        dispatcher.dispatch()
    assert got == ["ETHUSDT"]


def test_kinds_choose_what_on_tick_gets() -> None:
    got: list[str] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda kind: got.append(kind), callback="on_tick", kinds="trade")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.publish(trades(dispatcher, [1.0]))
        dispatcher.dispatch()
    assert got == ["trade"]


def test_a_handled_subscription_cannot_be_pulled() -> None:
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(on_quote)
        with pytest.raises(OptionError, match="subscribe without a handler"):
            read_all(subscription)
        with pytest.raises(OptionError):
            iter(subscription).__next__()


def test_state_is_running_paused_or_closed() -> None:
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(on_quote)
        assert subscription.state == "running"
        assert not subscription.resume()
        assert subscription.pause()
        assert not subscription.pause()
        assert subscription.state == "paused"
        assert subscription.resume()
        dispatcher.dispatch()
        assert subscription.state == "running"
        subscription.close()
        assert subscription.state == "closed"
        assert not subscription.pause()
        assert not subscription.resume()
        assert "closed" in repr(subscription)


def test_stats_are_frozen() -> None:
    with Dispatcher() as dispatcher:
        stats = dispatcher.subscribe(on_quote).stats()
        with pytest.raises(AttributeError):
            stats.delivered = 5  # type: ignore[misc]
        with pytest.raises(AttributeError):
            dispatcher.stats().published = 5  # type: ignore[misc]


def test_a_closed_dispatcher_refuses_every_call() -> None:
    dispatcher = Dispatcher(instruments=[BTC])
    made = quotes(dispatcher, [1.0])
    dispatcher.close()
    dispatcher.close()
    with pytest.raises(ClosedError):
        dispatcher.subscribe(on_quote)
    with pytest.raises(ClosedError):
        dispatcher.publish(made)


@pytest.mark.parametrize("field", ["instrument", "kind"])
def test_ticks_of_an_unknown_instrument_or_kind_are_all_refused(field: str) -> None:
    with Dispatcher() as dispatcher:
        made = quotes(dispatcher, [1.0, 2.0])
        made[field][1] = 77
        with pytest.raises((InstrumentError, KindError), match="row 1"):
            dispatcher.publish(made)
        assert dispatcher.ring.cursor == 0
        assert dispatcher.publish(made[:1]) == 1


def test_every_refusal_is_a_headrace_error() -> None:
    with Dispatcher() as dispatcher, pytest.raises(HeadraceError):
        dispatcher.subscribe(on_quote, overflow="never")  # type: ignore[arg-type]
