"""An exception of a feed or a service names that object and its method, whatever its type.

They were "an error of headrace itself", or, as a cancellation, the quiet end of the feed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from headrace import Engine, Strategy
from headrace.engine import supervisor
from headrace.engine.service import Service, ServiceContext
from headrace.errors import FeedError, ServiceError
from headrace.feeds import live
from tests.support.command import Run
from tests.support.engines import INSTRUMENTS, SECOND, START, HandFeed, Recorder, market, until

RAISED = [
    ValueError("oh"),
    StopIteration("oh"),
    StopAsyncIteration("oh"),
    asyncio.CancelledError("oh"),
    SystemExit("oh"),
    GeneratorExit("oh"),
    BaseExceptionGroup("oh", [KeyError("inside")]),
]


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may be halted by, or leave, a latch of this machine."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Broken:
    """A feed of the past that raises where it is told to."""

    name = "broken"
    venue = None

    def __init__(self, error: BaseException, method: str) -> None:
        self._error = error
        self._method = method

    def _call(self, method: str) -> None:
        if method == self._method:
            raise self._error

    async def open(self) -> None:
        self._call("open")

    async def close(self) -> None:
        self._call("close")

    def __aiter__(self) -> Broken:
        self._call("__aiter__")
        return self

    async def __anext__(self) -> np.ndarray:
        self._call("__anext__")
        raise StopAsyncIteration


class BrokenLive(HandFeed):
    """A live feed that raises after its first item."""

    name = "broken"

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        yield market([100])
        raise self._error


class BrokenPush:
    """A feed that pushes, and raises then."""

    name = "broken"
    venue = None

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, push: Any) -> None:
        push(market([100]))
        await asyncio.sleep(0)
        raise self._error


def text_of(run: Callable[[], object]) -> str:
    """What an exception of a run says, with its notes."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its type is that of the feed
        run()
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


@pytest.mark.parametrize("method", ["open", "__aiter__", "__anext__", "close"])
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_exception_of_a_replayed_feed_names_it(error: BaseException, method: str) -> None:
    if method == "__anext__" and isinstance(error, StopAsyncIteration):
        pytest.skip("it is the end of the feed")
    said = text_of(lambda: Engine(feeds=[Broken(error, method)], mode="replay").run())
    assert f"in Broken.{method} of feed broken" in said


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("kind", "method"), [(BrokenLive, "__anext__"), (BrokenPush, "run")])
def test_exception_of_a_live_feed_names_it(kind: Any, method: str, error: BaseException) -> None:
    strategy = Recorder()
    said = text_of(lambda: Engine(feeds=[kind(error)], strategies=[strategy], instruments=INSTRUMENTS).run())
    assert f"in {kind.__name__}.{method} of feed broken" in said
    assert strategy.quotes == [1]


def test_command_line_does_not_call_it_an_error_of_headrace(headrace_run: Run, tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text(
        "class Mine:\n name, venue = 'mine', None\n async def open(self): raise ValueError('no key')\n"
        " async def close(self): ...\n def __aiter__(self): return self\n async def __anext__(self): ...\n"
    )
    (tmp_path / "engine.toml").write_text('[[feeds]]\nkind = "mine:Mine"\n')
    ended = headrace_run("backtest", "engine.toml")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "headrace: ValueError: no key in Mine.open of feed mine"


class Fails(Service):
    """A service whose run raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def run(self) -> None:
        raise self._error


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_exception_of_a_service_names_it(error: BaseException) -> None:
    with pytest.raises(ServiceError, match=r"service Fails failed: \w+: .*(oh|raised)"):
        Engine(feeds=[market([100])], services=[Fails(error)], mode="replay").run()


class Breaks(Service):
    """A service whose setup or stop raises."""

    def __init__(self, error: BaseException, method: str) -> None:
        self._error = error
        self._method = method

    async def setup(self, _context: ServiceContext) -> None:
        if self._method == "setup":
            raise self._error

    async def run(self) -> None:
        """Return at once."""

    async def stop(self) -> None:
        if self._method == "stop":
            raise self._error


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_exception_of_a_services_setup_names_it(error: BaseException) -> None:
    # Python itself makes a RuntimeError of a StopIteration out of a coroutine.
    with pytest.raises((ServiceError, ValueError, RuntimeError)) as caught:
        Engine(feeds=[market([100])], services=[Breaks(error, "setup")], mode="replay").run()
    told = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "in Breaks.setup of service Breaks" in told


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_exception_of_a_services_stop_is_logged(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    report = Engine(feeds=[market([100])], services=[Breaks(error, "stop")], mode="replay").run()
    assert report.ended_by == "feeds ended"
    assert "service Breaks failed to stop" in caplog.text


def test_constructor_that_exits_is_named(headrace_run: Run, tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text("import sys\nclass Mine:\n def __init__(self): sys.exit()\n")
    (tmp_path / "engine.toml").write_text('[[feeds]]\nkind = "mine:Mine"\n')
    for verb in (["config", "check"], ["backtest"]):
        ended = headrace_run(*verb, "engine.toml")
        assert ended.returncode == 2
        assert "Mine cannot be made" in ended.stdout + ended.stderr


class Flaky(Service):
    """A service that fails at once, some times; what it opened it must close."""

    def __init__(self, setup: Callable[[int], Awaitable[None]] | None = None) -> None:
        self.opened = self.closed = self.setups = 0
        self.began_s: list[float] = []
        self._setup = setup

    async def setup(self, context: ServiceContext) -> None:
        self.setups += 1
        if self._setup is not None:
            await self._setup(self.setups)
        self.opened += 1

    async def run(self) -> None:
        self.began_s.append(time.monotonic())
        raise OSError("down")

    async def stop(self) -> None:
        self.closed = self.opened


@pytest.mark.asyncio
async def test_stop_inside_of_a_restarts_setup_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.01)

    async def slowly(setups: int) -> None:
        await asyncio.sleep(0.1 if setups > 1 else 0)

    flaky = Flaky(slowly)
    async with Engine(feeds=[HandFeed()], services=[flaky]):
        await until(lambda: flaky.setups == 2)
    assert flaky.opened == 2
    assert flaky.closed == 2


@pytest.mark.alone
@pytest.mark.asyncio
async def test_service_that_was_well_for_long_restarts_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.01)
    monkeypatch.setattr(supervisor, "RESTART_MAX_S", 0.6)

    class Long(Flaky):
        async def run(self) -> None:
            await asyncio.sleep(0.65 if len(self.began_s) == 6 else 0)
            await super().run()

    flaky = Long()
    async with Engine(feeds=[HandFeed()], services=[flaky]):
        await until(lambda: len(flaky.began_s) == 8)
    # The seventh ended after it was well: else the wait were 0.6 s. Before that the waits had grown.
    assert flaky.began_s[7] - flaky.began_s[6] < 0.5
    assert flaky.began_s[5] - flaky.began_s[4] >= 0.16


class Holds(Strategy):
    """Holds the ring: its handler is awaited for longer than the test takes."""

    subscription: ClassVar[dict[str, Any]] = {"overflow": "block"}

    async def on_quote(self, bid_price: float) -> None:
        await asyncio.sleep(3_600)


class PushesOn(BrokenPush):
    """A feed that ignores what push() returns."""

    def __init__(self, count: int) -> None:
        super().__init__(ValueError())
        self.refused = 0
        self._count = count

    async def run(self, push: Any) -> None:
        for number in range(self._count):
            self.refused += not push(market([100, 101], start_ns=START + number * SECOND))
        await asyncio.sleep(3_600)


def test_feed_that_never_pauses_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FEED_WAITING_MAX", 50)
    feed = PushesOn(500)
    engine = Engine(feeds=[feed], strategies=[Holds()], instruments=INSTRUMENTS, ring_capacity=4)
    with pytest.raises(FeedError, match="feed broken pushed 50 items while the ring is held"):
        engine.run()
    # What waited is published; what was pushed after the failure changed nothing.
    assert 50 < engine.dispatcher.ring.cursor < 200
