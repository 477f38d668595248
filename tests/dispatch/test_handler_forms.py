"""A handler gets the same session in every form: plain or async, method, function or decorated, live or in a replay."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest

from headrace import Dispatcher, Instruments, Strategy, StrategySpec, ticks
from headrace.engine.report import Report
from tests.support.engines import FAST, SECOND, START, engine_over
from tests.support.feeding import BTC, ETH, holds_the_law, quotes

STEPS = 60
# Each handler with the field that its calls add up.
SINGULAR = {
    **{f"on_{kind}": "seq" for kind in ("quote", "trade", "agg_trade", "level")},
    "on_gap": "missing",
    "on_tick": "tick",
}
PLURAL = {**{f"on_{kind}": "seq" for kind in ("quotes", "trades", "agg_trades", "levels")}, "on_ticks": "ticks"}
FORMS = ("method", "decorated", "function", "object")


class Case(NamedTuple):
    """A handler and the options of its subscription."""

    handler: str
    options: dict[str, Any]

    def __str__(self) -> str:
        return "-".join((self.handler, *map(str, self.options.values())))


LOSSLESS = [
    *(Case(name, {}) for name in (*SINGULAR, *PLURAL)),
    *(Case(name, {"every": every}) for name in PLURAL for every in ("1s", "10s", "700ms")),
    *(Case(name, {"batch_max": 7}) for name in PLURAL),
]
FOLDED = [
    Case("on_quote", {"overflow": "conflate"}),
    Case("on_quotes", {"overflow": "conflate"}),
    Case("on_quotes", {"overflow": "conflate", "every": "10s"}),
    Case("on_quote", {"overflow": "conflate", "min_interval_ns": 3 * SECOND}),
    Case("on_quote", {"overflow": "conflate", "min_interval_ns": 60 * SECOND}),
]


def session() -> list[np.ndarray]:
    """Six seconds of two instruments: quotes, trades with a hole in their numbers, aggregates and levels."""
    names = Instruments([BTC, ETH])
    at = START + SECOND // 10 * np.arange(STEPS)
    number = np.arange(STEPS)
    made = []
    for instrument in (BTC, ETH):
        common: dict[str, Any] = {"instrument": instrument, "ts_init": at, "instruments": names}
        made += [
            ticks(kind="quote", bid_price=100.0 + number, ask_price=101.0 + number, bid_size=1, ask_size=1, **common),
            ticks(kind="trade", price=100.0 + number, size=1, trade_id=1 + number + 5 * (number > 40), **common),
            ticks(kind="agg_trade", price=100.0, size=1, trade_first=1 + number, trade_last=1 + number, **common),
            ticks(kind="level", price=100.0 + number, size=1, **common),
        ]
    return made


def collector(name: str, got: list[int], *, is_async: bool, has_self: bool) -> Callable[..., Any]:
    """A handler that adds up what it is given."""

    def add(value: Any) -> None:
        if name in PLURAL:
            got.append(int((value["seq"] if name == "on_ticks" else value).sum()))
        else:
            got.append(value.seq if name == "on_tick" else value or 0)

    async def add_later(value: Any) -> None:
        await asyncio.sleep(0)
        add(value)

    space: dict[str, Any] = {"work": add_later if is_async else add}
    field = {**SINGULAR, **PLURAL}[name]
    parameters = f"self, {field}" if has_self else field
    exec(f"{'async ' * is_async}def {name}({parameters}):\n    {'await ' * is_async}work({field})", space)
    made: Callable[..., Any] = space[name]
    return made


def decorated(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Wrap a function as decorators do: what it returns is returned."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Awaitable[None]:
        return function(*arguments, **keywords)

    return wrapper


class Called:
    """An object with a ``__call__``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__signature__ = inspect.signature(function)
        self._function = function


class CalledPlain(Called):
    def __call__(self, *fields: Any) -> Any:
        return self._function(*fields)


class CalledAsync(Called):
    async def __call__(self, *fields: Any) -> Any:
        return await self._function(*fields)


def spec_of(case: Case, form: str, got: list[int], *, is_async: bool) -> StrategySpec:
    """The handler in a form that an engine takes, named after the form."""
    function = collector(case.handler, got, is_async=is_async, has_self=form in ("method", "decorated"))
    name = f"{form} {'async' if is_async else 'plain'}"
    if form in ("method", "decorated"):
        body = {case.handler: decorated(function) if form == "decorated" else function}
        return StrategySpec(strategy=type("Own", (Strategy,), body)(), name=name, subscription=case.options)
    if form == "object":
        function = (CalledAsync if is_async else CalledPlain)(function)
    return StrategySpec(strategy=function, callback=case.handler, name=name, subscription=case.options)


def run(case: Case, road: Literal["replay", "live"]) -> tuple[dict[str, list[int]], Report]:
    """Run every form of a handler in one engine; return what each got."""
    got: dict[str, list[int]] = {}
    if road == "live" and "overflow" not in case.options:
        case = Case(case.handler, {**case.options, "overflow": "block"})
    specs: list[StrategySpec] = []
    for form in FORMS:
        for is_async in (False, True):
            own: list[int] = []
            specs.append(spec_of(case, form, own, is_async=is_async))
            got[str(specs[-1].name)] = own
    speed = {"speed": FAST} if road == "live" else {}
    report = engine_over(session(), specs, mode=road, **speed).run()
    assert report.dead_letters.total == 0
    return got, report


def expected(case: Case) -> int:
    """What a handler without losses gets, from the input alone."""
    numbers = 2 * sum(range(1, STEPS + 1))
    return {"on_gap": 2 * 5, "on_tick": 4 * numbers + 2, "on_ticks": 4 * numbers + 2}.get(case.handler, numbers)


@pytest.mark.parametrize("road", ["replay", "live"])
@pytest.mark.parametrize("case", LOSSLESS, ids=str)
def test_every_form_gets_the_whole_session(case: Case, road: Literal["replay", "live"]) -> None:
    got, report = run(case, road)
    assert {name: sum(own) for name, own in got.items()} == dict.fromkeys(got, expected(case))
    assert {(own.missed, own.faults) for own in report.strategies.values()} == {(0, 0)}
    assert len({own.delivered for own in report.strategies.values()}) == 1


@pytest.mark.parametrize("case", FOLDED, ids=str)
def test_every_form_conflates_alike(case: Case) -> None:
    first, *others = run(case, "replay")[0].values()
    assert first
    assert others == [first] * 7


@pytest.mark.parametrize("road", ["replay", "live"])
@pytest.mark.parametrize("case", FOLDED, ids=str)
def test_no_conflating_form_loses_the_newest_quote(case: Case, road: Literal["replay", "live"]) -> None:
    got, report = run(case, road)
    for name, own in got.items():
        newest = own[-1] if case.handler == "on_quotes" else own.count(STEPS)
        assert newest >= (STEPS if case.handler == "on_quotes" else 2), name
        assert report.strategies[name].published == report.strategies[name].accounted


def test_an_open_window_of_a_dispatcher_is_awaited_after_finish() -> None:
    got: list[int] = []

    async def on_quotes(seq: Any) -> None:
        await asyncio.sleep(0)
        got.append(int(seq.sum()))

    async def main() -> None:
        with Dispatcher(instruments=[BTC], mode="replay") as dispatcher:
            subscription = dispatcher.subscribe(on_quotes, every="1s")
            dispatcher.publish(quotes(dispatcher, [1.0, 2.0, 3.0]))
            await dispatcher.drain_async()
            dispatcher.finish()
            await dispatcher.drain_async()
            assert holds_the_law(subscription.stats())

    asyncio.run(main())
    assert got == [6]
