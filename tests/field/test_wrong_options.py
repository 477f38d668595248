"""Nothing that a user misspells is ignored: each public callable refuses an unknown option and a value of a wrong type.

Guarantees: the options are read from the signatures, and from the typed sets behind ``**options``; a public callable
that is in no row here fails the test.
Does not: look at values of the right type; the tests of each part do.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

import headrace
from headrace import (
    BarSpec,
    CommandBus,
    DeadLetters,
    Decoder,
    Dispatcher,
    Engine,
    EventBus,
    Instrument,
    Instruments,
    ReplayClock,
    Ring,
    RiskLimits,
    Sequencer,
    SimulatedBroker,
    Strategy,
    StrategySpec,
    WallClock,
    register_kind,
)
from headrace.bus import LaneOptions
from headrace.dispatch.dispatcher_options import DispatcherOptions
from headrace.dispatch.options import SubscribeOptions, TuneOptions
from headrace.engine.options import EngineOptions
from headrace.errors import HeadraceError
from headrace.feeds import ArrayFeed, RecordingFeed, SyntheticFeed, synthetic_session
from headrace.market.events import Lane, Signal
from headrace.research.settings import BacktestOptions
from headrace.trading.orders import FixedQuantity
from headrace.trading.orders.request import OrderOptions
from tests.support.engines import Recorder, engine_over, market
from tests.support.feeding import BTC

# Of ``headrace.__all__``: what has no options, or is made by the package itself.
WITHOUT_OPTIONS = {
    *(
        "AggTradeTick",
        "Book",
        "BookTick",
        "FundingTick",
        "GapTick",
        "KlineTick",
        "KlineVolumeTick",
        "LevelEmptyTick",
        "LevelTick",
        "LiquidationTick",
        "MarkTick",
        "OpenInterestTick",
        "QuoteTick",
        "StatusTick",
    ),
    *("Tick", "TradeTick"),
    *("DispatcherStats", "LatencyStats", "SubscriptionStats", "Report", "DeadLetter", "Subscription", "RingReader"),
    *("BacktestResult", "Clock", "Feed", "Flags", "GapCause", "Overflow", "HeadraceError", "WallClock", "Strategy"),
}
# Options that a signature hides behind ``**options``.
SETS: dict[str, type] = {
    "Engine": EngineOptions,
    "backtest": BacktestOptions,
    "Dispatcher.subscribe": SubscribeOptions,
    "Dispatcher.check": SubscribeOptions,
    "OrderManager.submit": OrderOptions,
    "Strategy.buy": OrderOptions,
    "Strategy.sell": OrderOptions,
    "Strategy.subscribe": SubscribeOptions,
    "Subscription.tune": TuneOptions,
    "Dispatcher": DispatcherOptions,
}


class Wrong:
    """A value of no type that any option takes."""

    def __repr__(self) -> str:
        return "<wrong>"


class WithBars(Recorder):
    """A strategy that may look at its bars."""

    bars = ("1s",)


class Call(NamedTuple):
    """A callable, and arguments with which it works."""

    function: Callable[..., object]
    arguments: dict[str, object]


def outside() -> dict[str, Call]:
    """Calls that need no running engine."""
    ticks = market([100.0] * 3)
    engine = engine_over(ticks, [Recorder()])
    dispatcher = Dispatcher(instruments=[BTC])

    def on_quote(bid_price: float) -> None: ...

    subscription = dispatcher.subscribe(on_quote)
    orders, positions = engine.orders, engine.positions
    return {
        "Engine": Call(Engine, {"feeds": ticks, "mode": "replay"}),
        "replay": Call(headrace.replay, {"sources": ticks, "strategies": Recorder()}),
        "backtest": Call(headrace.backtest, {"strategies": Recorder(), "data": ticks}),
        "compare": Call(headrace.compare, {"results": [headrace.backtest(Recorder(), ticks)]}),
        "Dispatcher": Call(Dispatcher, {}),
        "EventBus": Call(EventBus, {}),
        "CommandBus": Call(CommandBus, {"bus": EventBus(), "clock": WallClock()}),
        "DeadLetters": Call(DeadLetters, {}),
        "Decoder": Call(Decoder, {"venue": "BINANCE", "instruments": Instruments()}),
        "Instruments": Call(Instruments, {}),
        "Ring": Call(Ring, {}),
        "Sequencer": Call(Sequencer, {"instruments": Instruments()}),
        "ReplayClock": Call(ReplayClock, {}),
        "BarSpec": Call(BarSpec, {"instrument": BTC, "timeframe": "1m"}),
        "Instrument": Call(Instrument, {"name": BTC}),
        "RiskLimits": Call(RiskLimits, {}),
        "SimulatedBroker": Call(SimulatedBroker, {}),
        "StrategySpec": Call(StrategySpec, {"strategy": Recorder}),
        "register_kind": Call(register_kind, {"name": "wrong_options", "values": ["a"]}),
        "ticks": Call(headrace.ticks, {"instrument": BTC, "ts_init": [10**18], **columns()}),
        "ArrayFeed": Call(ArrayFeed, {"source": ticks}),
        "RecordingFeed": Call(RecordingFeed, {"path": "x.gz"}),
        "SyntheticFeed": Call(SyntheticFeed, {}),
        "synthetic_session": Call(synthetic_session, {}),
        "LaneOptions": Call(with_lane, {"capacity": 5}),
        "FixedQuantity": Call(FixedQuantity, {}),
        "Dispatcher.subscribe": Call(dispatcher.subscribe, {"handler": on_quote}),
        "Dispatcher.check": Call(dispatcher.check, {"handler": on_quote}),
        "Subscription.tune": Call(subscription.tune, {}),
        "Dispatcher.publish": Call(dispatcher.publish, {"ticks": ticks}),
        "Newest.quote": Call(dispatcher.newest.quote, {"instrument": BTC}),
        "EventBus.subscribe": Call(EventBus().subscribe, {"what": Signal, "handler": print}),
        "EventBus.declare": Call(EventBus().declare, {"event_type": Signal, "lane": Lane.SIGNAL}),
        "EventBus.publish_nowait": Call(EventBus().publish_nowait, {"event": Signal(instrument=BTC, side=1)}),
        "Engine.stop": Call(engine.stop, {}),
        "Engine.force": Call(engine.force, {}),
        "OrderManager.submit": Call(
            orders.submit, {"strategy": "Recorder", "instrument": BTC, "side": 1, "quantity": 1}
        ),
        "OrderManager.order": Call(orders.order, {"order_id": "Recorder-1"}),
        "OrderManager.orders": Call(orders.orders, {}),
        "OrderManager.stats": Call(orders.stats, {}),
        "OrderManager.amend": Call(orders.amend, {"order_id": orders_id(engine), "quantity": 2}),
        "OrderManager.cancel": Call(orders.cancel, {"order_id": orders_id(engine)}),
        "OrderManager.cancel_all": Call(orders.cancel_all, {}),
        "OrderManager.flatten": Call(orders.flatten, {}),
        "OrderManager.from_signal": Call(
            orders.from_signal, {"signal": Signal(source="Recorder", instrument=BTC, side=1)}
        ),
        "OrderManager.set_permission": Call(orders.set_permission, {"strategy": "Recorder", "permission": "all"}),
        "Positions.position": Call(positions.position, {"strategy": "Recorder", "instrument": BTC}),
        "Positions.positions": Call(positions.positions, {}),
        "Account.of": Call(engine.account.of, {"strategy": "Recorder"}),
        "Account.balance": Call(engine.account.balance, {"currency": "USDT"}),
    }


def columns() -> dict[str, object]:
    return dict.fromkeys(("bid_price", "ask_price", "bid_size", "ask_size"), 1.0)


def with_lane(capacity: object, full: object = "refuse", max_attempts: object = 1, growth_max: object = 1) -> EventBus:
    """Options of a lane are checked by the bus that gets them."""
    options: dict[str, Any] = {"full": full, "max_attempts": max_attempts, "growth_max": growth_max}
    return EventBus(lanes={Lane.DATA: LaneOptions(capacity=capacity, **options)})  # type: ignore[arg-type]


def orders_id(engine: Engine) -> str:
    return engine.orders.submit(strategy="Recorder", instrument=BTC, side=1, quantity=1)


def inside() -> dict[str, tuple[str, dict[str, object]]]:
    """Methods of a strategy, which need an engine that runs."""
    return {
        "Strategy.buy": ("buy", {"instrument": BTC, "quantity": 1}),
        "Strategy.sell": ("sell", {"instrument": BTC, "quantity": 1}),
        "Strategy.amend": ("amend", {"order_id": "Recorder-1", "quantity": 2}),
        "Strategy.cancel": ("cancel", {"order_id": "Recorder-1"}),
        "Strategy.signal": ("signal", {"instrument": BTC, "side": 1}),
        "Strategy.position": ("position", {"instrument": BTC}),
        "Strategy.history": ("history", {"instrument": BTC, "timeframe": "1s", "n": 5}),
        "Strategy.plot": ("plot", {"name": "fast", "value": 1.0, "instrument": BTC}),
        "Strategy.set_timer": ("set_timer", {"name": "a", "after": "1s"}),
        "Strategy.cancel_timer": ("cancel_timer", {"name": "a"}),
        "Strategy.subscribe": ("subscribe", {"instruments": BTC}),
        "Strategy.unsubscribe": ("unsubscribe", {}),
    }


def options_of(name: str, function: Callable[..., object]) -> list[str]:
    """Every option of a callable, by its signature and the set behind ``**options``."""
    parameters = inspect.signature(function).parameters.values()
    named = [
        own.name for own in parameters if own.kind not in (own.VAR_POSITIONAL, own.VAR_KEYWORD) and own.name != "self"
    ]
    return [*named, *(SETS[name].__annotations__ if name in SETS else ())]


def misspelt(option: str, known: list[str], chance: random.Random) -> str:
    """A name with one letter less, more or exchanged, or in another case, that is no option."""
    at = chance.randrange(len(option))
    less, more = option[:at] + option[at + 1 :], option[:at] + option[at] + option[at:]
    names = [less, more, f"{option}_", option.upper(), f"{less}x"]
    return chance.choice([name for name in names if name and name not in known])


def called(function: Callable[..., object], arguments: Mapping[str, object]) -> object:
    """Call it; what its signature takes by place only is passed so."""
    rest = dict(arguments)
    by_place = [own.name for own in inspect.signature(function).parameters.values() if own.kind is own.POSITIONAL_ONLY]
    return function(*[rest.pop(name) for name in by_place if name in rest], **rest)


def refused(function: Callable[..., object], arguments: Mapping[str, object]) -> str:
    """The error of a call, which must be a clear one; empty: it was accepted."""
    try:
        called(function, arguments)
    except (HeadraceError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def cases() -> Iterator[tuple[str, str]]:
    for name, call in outside().items():
        for option in options_of(name, call.function):
            yield name, option
    for name, (method, _) in inside().items():
        for option in options_of(name, getattr(Strategy, method)):
            yield name, option


CASES = list(cases())


def test_every_public_callable_is_in_a_row() -> None:
    public = {name for name in headrace.__all__ if callable(getattr(headrace, name))}
    assert public - WITHOUT_OPTIONS == public & {name for name in outside() if "." not in name}
    methods = {f"Strategy.{name}" for name, own in vars(Strategy).items() if inspect.isfunction(own) and name[0] != "_"}
    assert methods == set(inside())


@pytest.fixture(scope="module")
def errors(seed: int) -> dict[tuple[str, str, str], str]:
    """Of each callable and option: the error of a misspelt name, and of a value of a wrong type."""
    chance = random.Random(seed)
    found: dict[tuple[str, str, str], str] = {}
    calls = outside()
    for name, call in calls.items():
        for option in options_of(name, call.function):
            wrong = misspelt(option, options_of(name, call.function), chance)
            found[name, option, "misspelt"] = refused(call.function, {**call.arguments, wrong: 1})
            found[name, option, "wrong type"] = refused(call.function, {**call.arguments, option: Wrong()})

    def act(strategy: Recorder) -> None:
        for name, (method, arguments) in inside().items():
            function = getattr(strategy, method)
            for option in options_of(name, function):
                order = {"order_id": strategy.buy(BTC, 1)} if method in ("amend", "cancel") else {}
                wrong = misspelt(option, options_of(name, function), chance)
                found[name, option, "misspelt"] = refused(function, {**arguments, **order, wrong: 1})
                found[name, option, "wrong type"] = refused(function, {**arguments, **order, option: Wrong()})

    engine_over(market([100.0] * 2), [WithBars({1: act})]).run()
    return found


@pytest.mark.parametrize(("name", "option"), CASES)
def test_misspelt_option_raises(errors: dict[tuple[str, str, str], str], name: str, option: str) -> None:
    assert errors[name, option, "misspelt"]


@pytest.mark.parametrize(("name", "option"), CASES)
def test_option_of_a_wrong_type_raises(errors: dict[tuple[str, str, str], str], name: str, option: str) -> None:
    assert errors[name, option, "wrong type"]


# A kind that is registered would stay for all tests.
@pytest.mark.parametrize("name", [name for name in outside() if name != "register_kind"])
def test_call_with_its_right_options_is_accepted(name: str) -> None:
    call = outside()[name]
    assert refused(call.function, call.arguments) == ""
