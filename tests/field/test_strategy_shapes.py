"""A strategy may be any ordinary class: a dataclass, with slots, derived, or with partials."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest

import headrace
from headrace import Strategy
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
