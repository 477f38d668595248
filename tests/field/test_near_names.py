"""What is nearly the name of something known, or nearly a value that is allowed, is refused or warned of."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import numpy as np
import pytest

from headrace import Dispatcher, Engine, Strategy
from headrace.bus import EventBus
from headrace.bus.lane import LaneOptions
from headrace.engine.service import Service
from headrace.errors import EventTypeError, OptionError, SubscriptionError
from headrace.market.events import Event, Lane
from tests.support.engines import START, Recorder, at_first_quote, engine_over, market
from tests.support.feeding import BTC, quotes


def with_attribute(name: str, value: object) -> Strategy:
    made: Strategy = type("Own", (Strategy,), {"on_quote": lambda self, seq: None, name: value})()
    return made


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("onQuote", lambda self, seq: None, "on_quote"),
        ("onfill", lambda self, fill: None, "on_fill"),
        ("subscriptions", {"instruments": BTC}, "subscription"),
        ("subscribtion", {"every": "1s"}, "subscription"),
    ],
)
def test_a_misspelt_attribute_is_refused(name: str, value: object, meant: str) -> None:
    with pytest.raises(SubscriptionError, match=f"Own.{name} is never read: did you mean {meant}"):
        engine_over(market([100.0]), [with_attribute(name, value)]).run()


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [("instrument", BTC, "instruments"), ("instruments", [BTC], "instruments"), ("overflow", "conflate", "overflow")],
)
def test_an_option_beside_the_subscription_is_a_warning(
    name: str, value: object, option: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine_over(market([100.0]), [with_attribute(name, value)]).run()
    assert f"Own.{name} sets nothing: options stand in subscription = {{'{option}'" in caplog.text


class Free(Strategy):
    """Attributes of its own; its instrument is in its subscription, and a parameter too."""

    subscription: ClassVar[dict[str, object]] = {"instruments": BTC}
    instrument = BTC
    model: Any = None
    mode = "fast"
    bar: Any = None
    subscriptions: ClassVar[dict[str, object]] = {}
    stops: ClassVar[list[float]] = []

    def quote(self) -> None: ...

    def order(self) -> None: ...

    def signals(self) -> None: ...

    def once(self) -> None: ...

    def on_quote(self, seq: int) -> None: ...


def test_attributes_of_a_users_own_stay_free(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        engine_over(market([100.0]), [Free]).run()
        with Dispatcher(instruments=[BTC]) as dispatcher:
            dispatcher.subscribe(Free())
            dispatcher.publish(quotes(dispatcher, [1.0]))
    assert "sets nothing" not in caplog.text


@pytest.mark.parametrize(("name", "meant"), [("set_up", "setup"), ("stopp", "stop"), ("health_", "health")])
def test_a_misspelt_method_of_a_service_is_refused(name: str, meant: str) -> None:
    service = type("Own", (Service,), {name: lambda self: None})()
    with pytest.raises(OptionError, match=f"Own.{name} is never called: did you mean {meant}"):
        Engine(services=[service], mode="replay")


@pytest.mark.parametrize(
    "services", [[Service], "x", [None], [object()], None, [type("N", (Service,), {"name": ""})()]]
)
def test_what_is_no_service_is_refused(services: Any) -> None:
    with pytest.raises(OptionError, match=r"services|name"):
        Engine(services=services, mode="replay")


def test_an_event_type_with_a_known_name_is_refused() -> None:
    class Bar(Event, frozen=True, kw_only=True):
        """Not ours."""

    with pytest.raises(EventTypeError, match="an event type Bar is declared already"):
        EventBus().declare(Bar, Lane.DATA)


@pytest.mark.parametrize(
    "options", [{"full": "x"}, {"capacity": 0}, {"growth_max": 0}, {"growth_max": 1.5}, {"max_attempts": True}]
)
def test_options_of_a_lane_are_checked_where_they_are_given(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))}="):
        LaneOptions(**{"capacity": 10, **options})


def test_an_unknown_lane_is_refused() -> None:
    with pytest.raises(OptionError, match="a key of lanes='orders' is unknown: use one of control, order"):
        Engine(lanes={"orders": LaneOptions(capacity=10)}, mode="replay")  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"at_ns": START // 10**6 + 10}, "looks like milliseconds: multiply it by 1,000,000"),
        ({"at_ns": START // 10**9 + 10}, "looks like seconds"),
        ({"at_ns": 1 << 63}, "is not allowed"),
        ({"every": 1 << 64}, "is not allowed"),
        ({"after": (1 << 63) - 1}, "before the year 2262"),
        ({"after": "999999999999999999d"}, "is not allowed"),
        ({"at_ns": np.int64(START + 10**9)}, ""),
    ],
)
def test_times_of_timers_are_checked(given: dict[str, Any], error: str) -> None:
    raised, _ = at_first_quote(lambda own: own.set_timer("own", **given))
    assert error in raised
    assert raised.startswith("OptionError" if error else "")


def test_a_timer_of_a_clock_that_begins_at_0_is_accepted() -> None:
    strategy = Recorder({1: lambda own: own.set_timer("own", at_ns=START // 10**6)})
    engine_over(market([100.0] * 3, start_ns=0, every_ns=START // 10**6), [strategy]).run()
    assert [timer.due_ns for timer in strategy.timers] == [START // 10**6]
