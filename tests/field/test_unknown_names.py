"""A name that nothing has is an error with the nearest one; a known instrument with nothing held is flat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from headrace import Engine, Strategy
from headrace.errors import HeadraceError, InstrumentError, OptionError, OrderError
from headrace.market.events import OrderFill
from tests.support.engines import INSTRUMENTS, all_events, at_first_quote, engine_over, market
from tests.support.feeding import BTC, ETH

SOL = "SOLUSDT.BINANCE"


class Follower(Strategy):
    """Buys one at each quote at which it is flat, and takes what is passed to it for the instrument's name."""

    def __init__(self, name_of: Callable[[str, str], str]) -> None:
        self.name_of = name_of

    def on_quote(self, symbol: str, instrument: str) -> None:
        if self.position(self.name_of(symbol, instrument)).is_flat:
            self.buy(instrument, 1)


def test_if_flat_buy_by_symbol_raises_instead_of_buying_each_time() -> None:
    with pytest.raises(InstrumentError, match=r"'BTCUSDT' is no known instrument \(did you mean BTCUSDT.BINANCE\?\)"):
        engine_over(market([100.0] * 6), [Follower(lambda symbol, _: symbol)]).run()
    engine = engine_over(market([100.0] * 6), [Follower(lambda _, instrument: instrument)])
    engine.run()
    assert engine.positions.position("Follower", BTC).quantity == 2


@pytest.mark.parametrize("name", ["BTCUSDT", "btcusdt.binance", "BTCUSDT.BINANCE ", "", "BTC*", SOL, None, 5], ids=repr)
def test_position_in_an_unknown_instrument_raises(name: Any) -> None:
    error, _ = at_first_quote(lambda own: own.position(name))
    assert error.startswith(f"InstrumentError: {name!r} is no known instrument")
    assert f"there are {BTC}" in error


def test_a_signal_for_an_unknown_instrument_raises_and_is_not_published() -> None:
    error, _ = at_first_quote(lambda own: own.signal("BTCUSTD.BINANCE", 1))
    assert error.startswith("InstrumentError: 'BTCUSTD.BINANCE' is no known instrument (did you mean BTCUSDT.BINANCE?)")


def test_known_instrument_without_executions_is_flat() -> None:
    error, _ = at_first_quote(lambda own: own.position(ETH).is_flat or own.position("nothing"))
    assert not error


class Announcing:
    """A feed that names an instrument before it brings a tick of it."""

    name, venue = "announcing", None
    instruments = (SOL,)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        for _ in ():
            yield market([])


class Asks(Strategy):
    """Asks for a position at its start."""

    def on_start(self) -> None:
        self.flat = self.position(SOL).is_flat

    def on_quote(self, bid_price: float) -> None: ...


class Subscribes(Asks):
    subscription: ClassVar[dict[str, object]] = {"instruments": [BTC, SOL]}


class Patterned(Asks):
    subscription: ClassVar[dict[str, object]] = {"instruments": "SOL*"}


@pytest.mark.parametrize(
    ("options", "strategy"),
    [({"instruments": [*INSTRUMENTS, SOL]}, Asks), ({"feeds": Announcing()}, Asks), ({}, Subscribes)],
    ids=["configured", "announced", "subscribed"],
)
def test_instrument_is_known_before_its_first_tick(options: dict[str, Any], strategy: type[Asks]) -> None:
    asked = strategy()
    Engine(**{"feeds": market([100.0]), "strategies": asked, "mode": "replay", **options}).run()
    assert asked.flat


@pytest.mark.parametrize("strategy", [Asks, Patterned])
def test_instrument_that_only_a_pattern_may_match_is_unknown(strategy: type[Asks]) -> None:
    with pytest.raises(InstrumentError, match="no known instrument"):
        Engine(feeds=market([100.0]), strategies=strategy(), mode="replay").run()


def test_subscription_beside_the_strategies_makes_its_names_known() -> None:
    engine = engine_over(market([100.0]), [Strategy()])
    with pytest.raises(InstrumentError):
        engine.positions.position("Strategy", SOL)
    engine.dispatcher.subscribe(lambda bid_price: None, callback="on_quote", instruments=SOL)
    assert engine.positions.position("Strategy", SOL).is_flat


ASKED: dict[str, tuple[Callable[[Engine], object], type[HeadraceError], str]] = {
    "position, instrument": (lambda own: own.positions.position("Recorder", "BTC"), InstrumentError, BTC),
    "position, strategy": (lambda own: own.positions.position("recorder", BTC), OptionError, "Recorder"),
    "positions, instrument": (lambda own: own.positions.positions(instrument="BTCUSDT"), InstrumentError, BTC),
    "positions, strategy": (lambda own: own.positions.positions(strategy="Recordr"), OptionError, "Recorder"),
    "flatten, instrument": (lambda own: own.orders.flatten(instrument="BTCUSDT"), InstrumentError, BTC),
    "flatten, strategy": (lambda own: own.orders.flatten(strategy="Recordr"), OptionError, "Recorder"),
    "cancel_all, instrument": (lambda own: own.orders.cancel_all(instrument="BTCUSDT"), InstrumentError, BTC),
    "cancel_all, strategy": (lambda own: own.orders.cancel_all(strategy="Recordr"), OptionError, "Recorder"),
    "orders, instrument": (lambda own: own.orders.orders(instrument="BTCUSDT"), InstrumentError, BTC),
    "orders, strategy": (lambda own: own.orders.orders(strategy="Recordr"), OptionError, "Recorder"),
    "stats": (lambda own: own.orders.stats("Recordr"), OptionError, "Recorder"),
    "account": (lambda own: own.account.of("Recordr").balances(), OptionError, "Recorder"),
    "set_permission": (lambda own: own.orders.set_permission("Recordr", "none"), OptionError, "Recorder"),
    "cancel": (lambda own: own.orders.cancel("Recorder-2"), OrderError, "Recorder-1"),
    "limits_of": (lambda own: own.orders.gates.limits_of("BTCUSDT"), InstrumentError, BTC),
    "quote": (lambda own: own.orders.gates.quote("BTCUSDT"), InstrumentError, BTC),
}


@pytest.mark.parametrize("what", ASKED)
def test_unknown_name_raises_with_the_nearest_everywhere(what: str) -> None:
    from tests.support.engines import Recorder

    engine = engine_over(market([100.0] * 3), [Recorder({1: lambda own: own.buy(BTC, 1)})])
    events = all_events(engine)
    engine.run()
    ask, error, near = ASKED[what]
    before = len(events)
    with pytest.raises(error, match=rf"did you mean {near}\?"):
        ask(engine)
    assert len(events) == before
    assert len([event for event in events if isinstance(event, OrderFill)]) == 1


def test_cancel_is_a_noop_for_ended_orders_and_raises_for_ids_never_given() -> None:
    answers: list[object] = []

    def act(own: Any) -> None:
        order_id = own.buy(BTC, 1)
        answers.extend([own.cancel(order_id), own.cancel(order_id)])
        own.cancel("Recorder-9")

    error, _ = at_first_quote(act)
    assert answers == ["accepted", "noop"]
    assert error.startswith("OrderError: no order is called 'Recorder-9' (did you mean Recorder-1?)")


def test_error_lists_ten_names_and_counts_the_others() -> None:
    names = [f"N{number:02}USDT.BINANCE" for number in range(13)]
    engine = Engine(feeds=market([100.0]), instruments=[*names, BTC], strategies=Strategy(), mode="replay")
    with pytest.raises(InstrumentError) as raised:
        engine.positions.positions(instrument="XYZ.BINANCE")
    assert str(raised.value).endswith(f"there are {', '.join(names[:10])} and 5 more")


def test_whatever_submits_an_order_is_a_known_name() -> None:
    engine = engine_over(market([100.0]), [Strategy()])
    with pytest.raises(OptionError):
        engine.orders.stats("service")
    engine.orders.submit(strategy="service", instrument=BTC, side=1, quantity=1)
    assert engine.orders.stats("service").submitted == 1
    assert engine.positions.position("service", BTC).is_flat
