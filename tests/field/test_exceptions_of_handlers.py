"""An exception of a handler names the handler and the tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import headrace
from headrace import Strategy
from tests.support.engines import engine_over, market
from tests.support.feeding import BTC

RAISED = [ValueError, StopAsyncIteration, GeneratorExit, asyncio.CancelledError]
ROADS: list[Callable[[Any], Any]] = [
    lambda strategy: headrace.replay(market([100] * 3), strategy, instruments=[BTC]),
    lambda strategy: engine_over(market([100] * 3), [strategy]).run(),
]


class Raises(Strategy):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def on_quote(self, bid_price: float) -> None:
        raise self.error


@pytest.mark.parametrize("run", ROADS, ids=["replay", "engine"])
@pytest.mark.parametrize("raised", RAISED)
def test_exception_of_a_handler_names_handler_and_tick(run: Callable[[Any], Any], raised: type[BaseException]) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - its type may change on the way, its origin may not
        run(Raises(raised))
    error = caught.value
    assert f"in Raises.on_quote, at {BTC} quote seq 1" in " ".join([str(error), *getattr(error, "__notes__", ())])
