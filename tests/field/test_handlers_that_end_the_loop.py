"""A handler that cancels every task, or stops the event loop, ends its engine with an error that names it.

It ended with CancelledError, or "Event loop stopped before Future completed", and nothing said by what.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headrace import Engine, Strategy, replay
from headrace.errors import EngineError
from tests.support.engines import INSTRUMENTS, HandFeed, engine_over, market


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may be halted by, or leave, a latch of this machine."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


def cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


def stop_loop() -> None:
    asyncio.get_running_loop().stop()


ACTS = {"cancel_all": (cancel_all, "cancelled the tasks"), "stop_loop": (stop_loop, "stopped the event loop")}


def strategies(act: Callable[[], None]) -> dict[str, Strategy]:
    class InHandler(Strategy):
        def on_quote(self, bid_price: float) -> None:
            act()

    class InAsyncHandler(Strategy):
        async def on_quote(self, bid_price: float) -> None:
            await asyncio.sleep(0)
            act()

    class InStart(Strategy):
        def on_start(self) -> None:
            act()

        def on_quote(self, bid_price: float) -> None: ...

    return {"handler": InHandler(), "async handler": InAsyncHandler(), "on_start": InStart()}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("where", strategies(stop_loop))
@pytest.mark.parametrize("mode", ["live", "replay"])
def test_handler_that_ends_the_loop_is_named(act: str, where: str, mode: Any) -> None:
    call, said = ACTS[act]
    feed = HandFeed()
    feed.put(market([1.0]))
    strategy = strategies(call)[where]
    if mode == "live":
        engine = Engine(feeds=[feed], strategies=[strategy], instruments=INSTRUMENTS)
    else:
        engine = engine_over(market([1.0, 2.0]), [strategy])
    with pytest.raises(EngineError) as caught:
        engine.run()
    assert f"{act} ({__file__}:" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("act", ACTS)
def test_replay_names_it_too(act: str) -> None:
    call, said = ACTS[act]
    with pytest.raises(EngineError, match=said):
        replay(market([1.0, 2.0]), strategies(call)["handler"], instruments=INSTRUMENTS)


@pytest.mark.asyncio
async def test_program_that_cancels_its_engine_gets_its_cancellation() -> None:
    engine = Engine(feeds=[HandFeed()], instruments=INSTRUMENTS)
    run = asyncio.create_task(engine.run_async())
    await asyncio.sleep(0.01)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


@pytest.mark.asyncio
async def test_loop_is_as_it_was_behind_a_run() -> None:
    loop = asyncio.get_running_loop()
    async with Engine(feeds=[HandFeed()], instruments=INSTRUMENTS):
        pass
    assert "stop" not in vars(loop)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_loop_that_a_thread_stops_is_an_error_with_a_reason() -> None:
    class Leaves(Strategy):
        def on_start(self) -> None:
            loop = asyncio.get_running_loop()
            threading.Thread(target=lambda: loop.call_soon_threadsafe(loop.stop)).start()

    with pytest.raises(EngineError, match="a thread, or a callback of the event loop, stopped the loop"):
        Engine(feeds=[HandFeed()], strategies=[Leaves()], instruments=INSTRUMENTS).run()
