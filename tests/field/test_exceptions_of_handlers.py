"""An exception of a handler names the handler, and its tick where it has one, whatever its type."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

import headrace
from headrace import BarSpec, Strategy
from headrace.bus import EventBus
from headrace.market.events import Bar, Signal
from headrace.strategies.timers import Timer
from tests.support.command import COMMAND
from tests.support.engines import START, engine_over, market
from tests.support.feeding import BTC

RAISED: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("bad"),
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "SystemExit": SystemExit,
    "ExceptionGroup": lambda: ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [GeneratorExit()]),
}
ROADS: list[Callable[[Any], Any]] = [
    lambda strategy: headrace.replay(market([100] * 3), strategy, instruments=[BTC]),
    lambda strategy: engine_over(market([100] * 3), [strategy]).run(),
]
raised_types = pytest.mark.parametrize("raised", RAISED)


class Raises(Strategy):
    """Raises in its handler, plain or plural."""

    def __init__(self, raised: str) -> None:
        self.raised = raised


class Singular(Raises):
    def on_quote(self, bid_price: float) -> None:
        raise RAISED[self.raised]()  # noqa: RSE102 - some are functions


class Plural(Raises):
    def on_quotes(self, bid_price: Any) -> None:
        raise RAISED[self.raised]()  # noqa: RSE102 - some are functions


class Awaited(Raises):
    async def on_quote(self, bid_price: float) -> None:
        await asyncio.sleep(0)
        raise RAISED[self.raised]()  # noqa: RSE102 - some are functions


def told_by(error: BaseException) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", ())])


@pytest.mark.parametrize("run", ROADS, ids=["replay", "engine"])
@pytest.mark.parametrize("strategy", [Singular, Plural, Awaited])
@raised_types
def test_exception_of_a_handler_names_handler_and_tick(
    run: Callable[[Any], Any], strategy: type[Raises], raised: str
) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - its type may change on the way, its origin may not
        run(strategy(raised))
    assert isinstance(caught.value, Exception)
    handler = "on_quotes" if strategy is Plural else "on_quote"
    assert f"in {strategy.__name__}.{handler}, at " in told_by(caught.value)
    assert f"{BTC} quote seq 1" in told_by(caught.value)


class WithoutTicks(Strategy):
    """Raises in one of the callbacks that have no tick."""

    bars: ClassVar = (BarSpec(BTC, "1t", price="mid"),)

    def __init__(self, callback: str, raised: str) -> None:
        self.callback, self.raised = callback, raised

    def meet(self, callback: str) -> None:
        if callback == self.callback:
            raise RAISED[self.raised]()  # noqa: RSE102 - some are functions

    def on_start(self) -> None:
        self.set_timer("soon", at_ns=START + 1)
        self.meet("on_start")

    def on_stop(self) -> None:
        self.meet("on_stop")

    def on_timer(self, timer: Timer) -> None:
        self.meet("on_timer")

    def on_bar(self, bar: Bar) -> None:
        self.meet("on_bar")


class WithoutTicksAwaited(WithoutTicks):
    async def on_start(self) -> None:  # type: ignore[override]  # a callback may be async
        await asyncio.sleep(0)
        super().on_start()

    async def on_stop(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_stop()

    async def on_bar(self, bar: Bar) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().on_bar(bar)


@pytest.mark.parametrize("strategy", [WithoutTicks, WithoutTicksAwaited])
@pytest.mark.parametrize("callback", ["on_start", "on_stop", "on_timer", "on_bar"])
@raised_types
def test_exception_of_a_callback_names_it(strategy: type[WithoutTicks], callback: str, raised: str) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - as above
        engine_over(market([100] * 3), [strategy(callback, raised)]).run()
    assert isinstance(caught.value, Exception)
    assert f"in {strategy.__name__}.{callback}" in told_by(caught.value)


@pytest.mark.parametrize("callback", ["on_start", "on_timer", "on_bar"])
@raised_types
def test_in_quarantine_mode_it_is_a_letter_and_ends_nothing(callback: str, raised: str) -> None:
    engine = engine_over(market([100] * 3), [WithoutTicks(callback, raised)], on_fault="quarantine")
    assert engine.run().ended_by == "feeds ended"
    letters = engine.dead_letters.list()
    assert letters
    assert all(letter.reason.startswith(raised) for letter in letters)
    assert all(letter.source.startswith("WithoutTicks") for letter in letters)


@pytest.mark.asyncio
@raised_types
async def test_exception_of_a_bus_handler_is_its_letter(raised: str) -> None:
    bus = EventBus()

    def fails(_event: Signal) -> None:
        raise RAISED[raised]()  # noqa: RSE102 - some are functions

    bus.subscribe(Signal, fails, name="mine")
    await bus.start()
    bus.publish_nowait(Signal(instrument=BTC, side=1))
    await bus.wait_until_idle()
    (letter,) = bus.dead_letters.list()
    assert (letter.source, letter.reason.split(":")[0]) == ("mine", raised)
    await bus.shutdown()


def test_the_command_line_shows_the_handler(tmp_path: Path) -> None:
    (tmp_path / "si.py").write_text(
        "from headrace import Strategy\nclass Si(Strategy):\n    def on_quote(self, bid_price): next(iter([]))\n"
    )
    lines = [f'{START + n} {{"u":{n},"s":"BTCUSDT","b":"100","B":"1","a":"101","A":"1"}}\n' for n in range(1, 4)]
    (tmp_path / "quotes.txt").write_text("".join(lines))
    done = subprocess.run(
        [*COMMAND, "replay", f"{tmp_path / 'quotes.txt'}@BINANCE", "--strategy", f"{tmp_path / 'si.py'}:Si"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "in Si.on_quote, at BTCUSDT.BINANCE quote seq 1" in done.stderr
    assert "headrace itself" not in done.stderr
