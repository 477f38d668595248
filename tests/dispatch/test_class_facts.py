"""What is found out once for a class: as long as it lives, and as long as it stays what it was."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import headrace
from headrace.dispatch.signature import bind_strategy, has_tick_handlers, life_cycle_of
from headrace.errors import SubscriptionError
from headrace.strategies.spec import StrategySpec


def made(**methods: Any) -> headrace.Strategy:
    """Return an object of a fresh class."""
    kind = type("Fresh", (headrace.Strategy,), {"on_quote": lambda self, seq: None, **methods})
    strategy: headrace.Strategy = kind()
    return strategy


def names_of(strategy: headrace.Strategy) -> list[str]:
    return [bound.name for bound in bind_strategy(strategy, None)]


def test_a_class_that_is_gone_leaves_nothing_behind() -> None:
    def ran() -> weakref.ref[type]:
        strategy = made(on_stop=lambda self: None, overflow="block")
        ticks = headrace.ticks(
            instrument="A.X", ts_init=[1], bid_price=[1.0], ask_price=[2.0], bid_size=[1.0], ask_size=[1.0]
        )
        headrace.replay(ticks, strategy, instruments=["A.X"])
        return weakref.ref(type(strategy))

    gone = ran()
    gc.collect()
    assert gone() is None


def test_a_method_that_comes_later_is_found() -> None:
    strategy = made()
    assert names_of(strategy) == ["on_quote"]
    type(strategy).on_trade = lambda self, price: None  # type: ignore[attr-defined]
    assert names_of(strategy) == ["on_quote", "on_trade"]
    type(strategy).on_quots = lambda self: None  # type: ignore[attr-defined]
    with pytest.raises(SubscriptionError, match="on_quotes"):
        names_of(strategy)


def test_a_method_that_is_replaced_is_the_one_that_is_called() -> None:
    strategy = made()
    names_of(strategy)
    type(strategy).on_quote = later = lambda self, bid_price: None  # type: ignore[attr-defined]
    (bound,) = bind_strategy(strategy, None)
    assert (bound.function, bound.positional) == (later, ("bid_price",))


def test_a_handler_of_an_object_is_found_beside_those_of_its_class() -> None:
    strategy, other = made(), made()
    assert names_of(strategy) == names_of(other) == ["on_quote"]
    strategy.on_trade = lambda price: None  # type: ignore[attr-defined]
    strategy.on_stop = lambda: None  # type: ignore[attr-defined]
    assert names_of(other) == ["on_quote"]
    assert [bound.name for bound in bind_strategy(strategy, None, {"on_stop"})] == ["on_quote", "on_trade"]
    assert (list(life_cycle_of(strategy)), list(life_cycle_of(other))) == (["on_stop"], [])


def test_a_class_that_answers_to_any_name_has_only_its_own_handlers() -> None:
    strategy = made(__getattr__=lambda self, name: lambda: None)
    assert names_of(strategy) == ["on_quote"]
    assert life_cycle_of(strategy) == {}


def test_a_handler_of_an_object_alone_takes_ticks() -> None:
    strategy = type("Bare", (headrace.Strategy,), {"on_stop": lambda self: None})()
    assert not has_tick_handlers(strategy)
    strategy.on_quote = lambda seq: None
    assert has_tick_handlers(strategy)


def test_unread_options_are_judged_for_each_object_in_the_order_of_the_options() -> None:
    kind = type("Own", (headrace.Strategy,), {"on_quote": lambda self: None, "mode": "thread", "instrument": "A.X"})
    bare, given = StrategySpec(strategy=kind), StrategySpec(strategy=kind, subscription={"instruments": "B.X"})
    assert bare.unread_options(kind()) == [("instrument", "instruments"), ("mode", "mode")]
    assert given.unread_options(kind()) == [("mode", "mode")]
    setattr(kind, "mode", 7)  # noqa: B010 - its type checker knows no such attribute
    assert bare.unread_options(kind()) == [("instrument", "instruments")]
