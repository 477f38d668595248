"""An exception of the user's clock, or of the progress function, names it and ends the run; so does what is no time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine, replay
from headrace.errors import EngineError, FeedError
from headrace.feeds import Frame
from tests.support.engines import START, Recorder, market

ERRORS = [ValueError("oh"), asyncio.CancelledError("oh"), SystemExit("oh"), BaseExceptionGroup("oh", [KeyError("in")])]


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a state folder of the test's own."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Broken:
    """A clock that goes on for a while. then : what it raises, or returns."""

    def __init__(self, then: Any, after: int) -> None:
        self.then = then
        self.left = after

    def now_ns(self) -> int:
        self.left -= 1
        if self.left >= 0:
            return START - self.left
        if isinstance(self.then, BaseException):
            raise self.then
        return self.then  # type: ignore[no-any-return]  # it may be no time at all


class Pushing:
    """Pushes frames until it is cancelled."""

    name, venue, is_live = "pushing", "BINANCE", True

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, push: Any) -> None:
        while True:
            push(Frame(START, b'{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}'))
            await asyncio.sleep(0)


def said(error: BaseException) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", [])])


@pytest.mark.parametrize("feed", [Pushing, lambda: market([1.0] * 50)], ids=["pushed", "paced"])
@pytest.mark.parametrize("after", [0, 1, 2, 5])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_of_the_clock_names_it(error: BaseException, after: int, feed: Any) -> None:
    with pytest.raises((ValueError, EngineError)) as raised:
        Engine(feeds=feed(), clock=Broken(error, after), strategies=Recorder()).run()
    assert "in Broken.now_ns of the clock" in said(raised.value)


@pytest.mark.parametrize("value", [None, "12:00", 1.5, -1, 1 << 63])
def test_what_is_no_time_names_the_clock(value: object) -> None:
    with pytest.raises(EngineError, match=r"Broken\.now_ns of the clock returned .*: return an int"):
        Engine(feeds=Pushing(), clock=Broken(value, 3)).run()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_of_the_progress_function_names_it(error: BaseException) -> None:
    def progress(_: object) -> None:
        raise error

    with pytest.raises((ValueError, EngineError)) as raised:
        replay(market([1.0, 2.0]), Recorder(), progress=progress)
    assert "in progress" in said(raised.value)


def test_every_feed_that_failed_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Pushing):
        def __init__(self, name: str) -> None:
            self.name = name

        async def run(self, push: Any) -> None:
            raise SystemExit(self.name)

    with pytest.raises(FeedError, match="of feed first"):
        Engine(feeds=[Failing("first"), Failing("second")]).run()
    assert "of feed second" in caplog.text
