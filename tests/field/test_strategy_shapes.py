"""A strategy may be any ordinary class: a dataclass, with slots, derived, with partials; errors say what may not."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest

import headrace
from headrace import BarSpec, Engine, Strategy, StrategySpec
from headrace.errors import OptionError, SubscriptionError
from headrace.market.events import Bar
from tests.support.engines import engine_over, market
from tests.support.feeding import BTC

ROADS: list[Callable[[Any], Any]] = [
    lambda strategy: headrace.replay(market([100] * 5), strategy, instruments=[BTC]),
    lambda strategy: engine_over(market([100] * 5), [strategy]).run(),
]


@dataclasses.dataclass
class Data(Strategy):
    seen: list[float] = dataclasses.field(default_factory=list)

    def on_quote(self, mid: float) -> None:
        self.seen.append(mid)


@dataclasses.dataclass(slots=True)
class DataSlots(Strategy):
    seen: list[float] = dataclasses.field(default_factory=list)

    def on_quote(self, mid: float) -> None:
        self.seen.append(mid)


class Slots(Strategy):
    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_quote(self, mid: float) -> None:
        self.seen.append(mid)


class Derived(Slots):
    def on_quote(self, mid: float, spread: float) -> None:  # type: ignore[override]
        super().on_quote(mid)


class PartialMethod(Slots):
    def _take(self, key: str, mid: float) -> None:
        self.seen.append(mid)

    on_quote = functools.partialmethod(_take, "key")


class PartialOfInstance(Slots):
    def __init__(self) -> None:
        super().__init__()
        self.on_quote = functools.partial(lambda key, mid: self.seen.append(mid), "key")  # type: ignore[method-assign]


@pytest.mark.parametrize("run", ROADS, ids=["replay", "engine"])
@pytest.mark.parametrize("shape", [Data, DataSlots, Slots, Derived, PartialMethod, PartialOfInstance])
def test_each_shape_of_strategy_gets_every_quote(run: Callable[[Any], Any], shape: Callable[[], Any]) -> None:
    strategy = shape()
    run(strategy)
    assert strategy.seen == [100.5] * 5


@dataclasses.dataclass(frozen=True)
class Frozen(Strategy):
    def on_quote(self, mid: float) -> None: ...


class Off(Slots):
    on_quote = None  # type: ignore[assignment]

    def on_trade(self, price: float) -> None: ...


class NoBars(Slots):
    on_bar = None


@pytest.mark.parametrize("run", ROADS, ids=["replay", "engine"])
@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (Frozen, "Frozen cannot be changed, so an engine cannot run it: remove frozen=True"),
        (Off, "Off.on_quote is None, which cannot be called: write a method, or remove it"),
        (NoBars, "NoBars.on_bar cannot be called .* write def on_bar"),
    ],
)
def test_what_no_engine_can_run_is_refused_with_the_reason(
    run: Callable[[Any], Any], shape: Callable[[], Any], said: str
) -> None:
    with pytest.raises(SubscriptionError, match=said):
        run(shape())


class OneBar(Strategy):
    bars = "1s"

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_bar(self, bar: Bar) -> None:
        self.seen.append(bar.close)


class OneSpec(OneBar):
    bars = BarSpec(BTC, "1s", price="mid")  # type: ignore[assignment]


@pytest.mark.parametrize("shape", [OneBar, OneSpec])
def test_a_text_is_one_bar(shape: type[OneBar]) -> None:
    strategy = shape()
    engine = engine_over(market([100] * 30), [strategy])
    engine.run()
    assert [spec.timeframe for spec in StrategySpec(strategy=strategy).bars_of(strategy)] == ["1s"]
    assert len(strategy.seen) == (0 if shape is OneBar else 2)


@pytest.mark.parametrize(
    "given", [Slots, Slots(), [Slots()], (Slots(), {"batch_max": 5}), StrategySpec(strategy=Slots)]
)
def test_an_engine_takes_one_strategy_or_several(given: Any) -> None:
    assert list(Engine(strategies=given, mode="replay").strategies) == ["Slots"]


class NoStrategy:
    def on_quote(self, mid: float) -> None: ...


@pytest.mark.parametrize("given", [NoStrategy, NoStrategy(), [NoStrategy()], "Slots", 7, None, {"Slots": Slots}])
def test_what_is_no_strategy_is_refused_with_what_to_pass(given: Any) -> None:
    with pytest.raises(SubscriptionError, match=r"pass a|subclass headrace\.Strategy"):
        Engine(strategies=given, mode="replay")


def test_callback_that_is_no_name_is_refused() -> None:
    callback: Any = 3
    with pytest.raises(OptionError, match="callback=3"):
        headrace.replay(market([100]), StrategySpec(strategy=lambda mid: None, callback=callback), instruments=[BTC])


def test_what_a_callback_returns_is_no_fault() -> None:
    class Returns(Strategy):
        bars = ("1s",)

        def on_bar(self, bar: Bar) -> object:
            return [bar.close]

        def on_start(self) -> object:
            return 7

    report = engine_over(market([100] * 50), [Returns()]).run()
    assert report.strategies["Returns"].faults == 0
    assert report.dead_letters.total == 0


def test_handlers_and_options_that_on_start_changes_are_used() -> None:
    class Late(Strategy):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_start(self) -> None:
            # Of this object, not of its class.
            vars(self).update(subscription={"instruments": BTC}, on_quote=self.later)

        def on_quote(self, symbol: str) -> None:
            raise AssertionError(symbol)

        def later(self, mid: float) -> None:
            self.seen.append(mid)

    late = Late()
    report = engine_over(market([100] * 5), [StrategySpec(strategy=late, subscription={})]).run()
    assert report.strategies["Late"].delivered == len(late.seen) == 5
    assert report.strategies["Late"].faults == 0


def test_timer_that_nothing_hears_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Strategy):
        def on_start(self) -> None:
            self.set_timer("tea", every="1s")

    engine_over(market([100] * 50), [Deaf()]).run()
    said = [record.getMessage() for record in caplog.records if "tea" in record.getMessage()]
    assert said == ["timer 'tea' fires, and Deaf has no on_timer"]
