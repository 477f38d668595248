"""A live feed ends cleanly only by ending; anything else is an error that names it, and an option decides for the rest.

A feed that was cancelled ended in silence, and the run went on without it; a push from a thread ran handlers there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from headrace import Engine, Strategy
from headrace.errors import FeedError, OptionError, SourceOrderError
from headrace.market.events import Control
from tests.support.command import Run
from tests.support.engines import INSTRUMENTS, SECOND, START, HandFeed, Recorder, all_events, market, until

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may be halted by, or leave, a latch of this machine."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Acts(HandFeed):
    """A live feed that yields one quote, and then does what a test says."""

    name = "acts"

    def __init__(self, act: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._act = act

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield market([1.0])
        await self._act()


class Pushing:
    """A feed that pushes one quote, and then does what a test says."""

    name = "acts"
    venue = None

    def __init__(self, act: Callable[..., Awaitable[object]]) -> None:
        self._act = act

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, push: Any) -> None:
        push(market([1.0]))
        await self._act()


async def returns() -> None:
    """End the feed."""


async def raises() -> None:
    msg = "the line is dead"
    raise ConnectionError(msg)


async def is_cancelled() -> None:
    raise asyncio.CancelledError


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(3_600)


def controls(events: list[Any]) -> list[tuple[str, Any]]:
    return [(event.name, event.detail) for event in events if isinstance(event, Control) and event.name == "FEED_ENDED"]


def running(engine: Engine) -> dict[str, float]:
    """The metric of each live feed."""
    samples = engine.metrics.snapshot()
    return {sample.labels[0]: sample.value for sample in samples if sample.name == "headrace_feed_running"}


BAD = [raises, is_cancelled, cancels_itself]


@pytest.mark.parametrize("kind", [Acts, Pushing])
@pytest.mark.parametrize("act", BAD)
@pytest.mark.parametrize("alone", [True, False])
async def test_feed_that_does_not_end_by_ending_ends_the_run(kind: Any, act: Any, alone: bool) -> None:
    strategy = Recorder()
    feeds = [kind(act)] if alone else [HandFeed(), kind(act)]
    engine = Engine(feeds=feeds, strategies=[strategy], instruments=INSTRUMENTS)
    events = all_events(engine)
    with pytest.raises((FeedError, ConnectionError)) as caught:
        await engine.run_async()
    assert "feed acts" in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert strategy.quotes == [1]
    (state,) = [source.state for source in engine.report().sources if source.name == "acts"]
    assert state.startswith("failed: ")
    assert [detail["state"] for _, detail in controls(events)] == ["failed"]
    assert running(engine)["acts"] == 0


@pytest.mark.parametrize("kind", [Acts, Pushing])
@pytest.mark.parametrize("act", [returns, *BAD])
async def test_run_goes_on_without_a_feed_where_it_may(kind: Any, act: Any, caplog: pytest.LogCaptureFixture) -> None:
    hand, strategy = HandFeed(), Recorder()
    engine = Engine(feeds=[hand, kind(act)], strategies=[strategy], instruments=INSTRUMENTS, on_feed_end="continue")
    events = all_events(engine)
    async with engine:
        await until(lambda: bool(controls(events)))
        assert running(engine) == {"hand": 1, "acts": 0}
        hand.put(market([5.0], start_ns=START + SECOND))
        await until(lambda: len(strategy.quotes) == 2)
        hand.end()
        await until(lambda: engine.is_stopping)
    state = "ended" if act is returns else "failed"
    assert [detail["state"] for _, detail in controls(events)] == [state, "ended"]
    assert engine.report().ended_by == "feeds ended"
    assert engine.report().sources[1].state.partition(":")[0] == state
    assert ("the run goes on without it" in caplog.text) is (state == "failed")
    assert ("acts, failed" in str(engine.report()).replace("ticks, failed", "acts, failed")) is (state == "failed")


async def test_clean_end_beside_others_stops_the_run_by_default() -> None:
    hand, strategy = HandFeed(), Recorder()
    engine = Engine(feeds=[hand, Acts(returns)], strategies=[strategy], instruments=INSTRUMENTS)
    report = await engine.run_async()
    assert (report.ended_by, report.stopped) == ("feed acts ended", True)
    assert strategy.quotes == [1]
    assert running(engine) == {"hand": 1, "acts": 0}


async def test_wrong_item_and_time_are_ends_of_their_feed() -> None:
    class Wrong(HandFeed):
        name = "wrong"

        async def __aiter__(self) -> AsyncIterator[Any]:
            yield None

    class Back(HandFeed):
        name = "back"

        async def __aiter__(self) -> AsyncIterator[np.ndarray]:
            yield market([1.0])
            yield market([1.0], start_ns=START - 1)

    engine = Engine(feeds=[Wrong(), Back()], instruments=INSTRUMENTS, on_feed_end="continue")
    report = await engine.run_async()
    assert [source.state.partition(":")[2].split()[0] for source in report.sources] == [
        f"{FeedError.__name__}:",
        f"{SourceOrderError.__name__}:",
    ]


async def test_strategys_error_ends_the_run_all_the_same() -> None:
    class Broken(Strategy):
        def on_quote(self, bid_price: float) -> None:
            raise ArithmeticError

    engine = Engine(
        feeds=[HandFeed(), Pushing(returns)],
        strategies=[Broken()],
        instruments=INSTRUMENTS,
        on_feed_end="continue",
        on_fault="raise",
    )
    with pytest.raises(ArithmeticError):
        await engine.run_async()


@pytest.mark.parametrize("value", ["go on", None, True])
async def test_unknown_choice_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="on_feed_end="):
        Engine(feeds=HandFeed(), on_feed_end=value)


async def test_push_from_another_thread_is_refused_there() -> None:
    refused: list[BaseException] = []
    threads: set[int] = set()

    class Where(Strategy):
        def on_quote(self, bid_price: float) -> None:
            threads.add(threading.get_ident())

    class Threaded(Pushing):
        async def run(self, push: Any) -> None:
            def work() -> None:
                try:
                    push(market([1.0]))
                except FeedError as error:
                    refused.append(error)

            await asyncio.to_thread(work)
            await asyncio.sleep(3_600)

    with pytest.raises(FeedError, match=r"acts called push\(\) in another thread.*call_soon_threadsafe\(push, item\)"):
        await Engine(feeds=Threaded(returns), strategies=[Where()], instruments=INSTRUMENTS).run_async()
    assert len(refused) == 1
    assert not threads


async def test_push_after_the_end_changes_nothing() -> None:
    kept: list[Any] = []

    class Keeps(Pushing):
        async def run(self, push: Any) -> None:
            kept.append(push)

    hand, strategy = HandFeed(), Recorder()
    engine = Engine(
        feeds=[hand, Keeps(returns)], strategies=[strategy], instruments=INSTRUMENTS, on_feed_end="continue"
    )
    async with engine:
        await until(lambda: bool(running(engine)) and not running(engine)["acts"])
        assert kept[0](market([1.0])) is False
        assert kept[0](None) is False
    assert strategy.quotes == []
    assert kept[0](market([1.0])) is False


class Stubborn(Pushing):
    """A feed that swallows its cancellation, as wait_for did on Python 3.11."""

    async def run(self, push: Any) -> None:
        self.is_over = False
        while not self.is_over:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                asyncio.get_running_loop().call_later(2.0, self._end)

    def _end(self) -> None:
        self.is_over = True


async def test_feed_that_swallows_its_cancellation_is_left(caplog: pytest.LogCaptureFixture) -> None:
    feed = Stubborn(returns)
    async with asyncio.timeout(10):
        async with Engine(feeds=feed, instruments=INSTRUMENTS):
            await asyncio.sleep(0.05)
    assert "Stubborn.run of feed acts did not end in its time: it is left behind" in caplog.text
    feed._end()


@pytest.mark.parametrize("feeds", [lambda own: [own, own], lambda own: [own, HandFeed()]])
async def test_feeds_that_would_be_confused_are_refused(feeds: Any) -> None:
    with pytest.raises(OptionError, match="feed hand is given twice"):
        Engine(feeds=feeds(HandFeed()))


@pytest.mark.parametrize("name", [None, 7, "m\udce4rz", "a\nb"])
async def test_name_that_cannot_be_written_is_refused(name: Any) -> None:
    feed = HandFeed()
    feed.name = name
    with pytest.raises(OptionError, match="the name of HandFeed is"):
        Engine(feeds=feed)


CONFIG = '[[feeds]]\nkind = "mine.py:Dies"\n[[feeds]]\nkind = "mine.py:Lives"\n[instruments."BTCUSDT.BINANCE"]\n'
MINE = """
import asyncio
from headrace import ticks

class Lives:
    name, venue, is_live = "lives", None, True
    async def open(self): ...
    async def close(self): ...
    async def __aiter__(self):
        await asyncio.sleep(0.2)
        yield ticks(instrument="BTCUSDT.BINANCE", ts_init=[1], price=1.0)

class Dies(Lives):
    name = "dies"
    async def __aiter__(self):
        raise ConnectionError("no line")
        yield
"""


@pytest.mark.parametrize("choice", [None, "stop", "continue"])
async def test_command_line_decides_alike(choice: str | None, headrace_run: Run, tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "engine.toml").write_text(CONFIG)
    ended = headrace_run("run", "engine.toml", *(["--on-feed-end", choice] if choice else []))
    assert ended.returncode == 1
    said = ended.stderr.splitlines()[-1]
    if choice == "continue":
        assert said == "headrace: feed dies failed: ConnectionError: no line"
        assert "feeds ended" in ended.stdout
        assert "trade" in ended.stdout
    else:
        assert said == "headrace: ConnectionError: no line in Dies.__anext__ of feed dies"


async def test_error_of_ours_out_of_a_feed_names_it(headrace_run: Run, tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text(
        MINE.replace('raise ConnectionError("no line")', "ticks(instrument='x', ts_init=1)")
    )
    (tmp_path / "engine.toml").write_text(CONFIG)
    ended = headrace_run("run", "engine.toml")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith(" in Dies.__anext__ of feed dies")
