"""The dispatch log: what it holds, what it refuses, and where it notices that a repeat differs from the run."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace._native as _native
from headrace import Dispatcher, Strategy, Subscription
from headrace.dispatch.log import Call, DispatchLog, End, LoggedFeed, Mark, Subscribed
from headrace.dispatch.repetition import LoggedRun, Repetition
from headrace.errors import DispatchLogError
from headrace.market.clock import EngineClock, ModeName
from tests.support.dispatch_logs import resealed
from tests.support.feeding import BTC, level_event, quotes, trades, wait_until

RING = 64


class Taker(Strategy):
    """Everything it is given."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def on_quote(self, seq):
        self.got.append(seq)

    def on_gap(self, missing):
        self.got.append(("gap", missing))


def made(*, mode: ModeName = "live", ring_capacity: int = RING) -> Dispatcher:
    return Dispatcher(instruments=[BTC], ring_capacity=ring_capacity, clock=EngineClock(), mode=mode)


def stream(dispatcher: Dispatcher) -> np.ndarray:
    """300 ticks of 20 times."""
    times = np.repeat(np.arange(1, 21), 15)
    return quotes(dispatcher, range(300), ts_init=times)


def pump_of(dispatcher: Dispatcher, ticks: np.ndarray) -> _native.Pump:
    pump = _native.Pump(dispatcher._ingest)
    pump.add_source("ticks")
    pump.peek()
    pump.push(0, ticks)
    return pump


def write(path: Path, subscribe: Callable[[Dispatcher], object] = lambda dispatcher: None) -> list[Any]:
    """Log a live run that is lapped in its middle; return what its strategy got."""
    taker = Taker()
    with made() as dispatcher:
        dispatcher.subscribe(taker, overflow="drop_oldest")
        subscribe(dispatcher)
        pump = pump_of(dispatcher, stream(dispatcher))
        clock = dispatcher.clock
        assert isinstance(clock, EngineClock)
        with DispatchLog(path, dispatcher, run_id="run-1", feeds=[LoggedFeed(name="ticks")]) as log:
            for until_ns in (3, 4, 12, 20):
                pump.ingest(until_ns, 1_000)
                clock.advance_to(until_ns)
                if until_ns == 12:
                    log.mark("command", {"name": "nothing"})
                dispatcher.dispatch()
                dispatcher.dispatch()
    return taker.got


async def repeat(
    path: Path,
    *,
    ring_capacity: int = RING,
    subscribe: Callable[[Dispatcher], object] | None = None,
    ticks: Callable[[Dispatcher], np.ndarray] = stream,
    taker: Taker | None = None,
) -> tuple[list[Any], list[Mark]]:
    """Repeat a log; return what the strategy got, and the marks."""
    taker = taker or Taker()
    marks = []
    with made(mode="repeat", ring_capacity=ring_capacity) as dispatcher:
        if subscribe is None:
            dispatcher.subscribe(taker, overflow="drop_oldest")
        else:
            subscribe(dispatcher)
        pump = pump_of(dispatcher, ticks(dispatcher))

        async def give(source: int) -> None:
            pump.finish(source)

        async for mark in Repetition(LoggedRun(path), dispatcher, pump, give=give):
            assert dispatcher.clock.now_ns() == mark.now_ns
            assert dispatcher.ring.cursor == mark.cursor
            marks.append(mark)
    return taker.got, marks


def test_a_run_is_repeated_with_its_loss_and_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    was = write(path)
    assert any(entry[0] == "gap" for entry in was if isinstance(entry, tuple))
    again, marks = asyncio.run(repeat(path))
    assert again == was
    assert marks == [Mark(180, 12, "command", {"name": "nothing"})]


def test_the_log_has_a_line_for_each_dispatch(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    write(path)
    log = LoggedRun(path)
    assert (log.header.run_id, log.header.ring_capacity, log.header.feeds) == (
        "run-1",
        RING,
        (LoggedFeed(name="ticks"),),
    )
    lines = list(log)
    assert log.is_whole
    assert isinstance(lines[0], Subscribed)
    assert (lines[0].name, lines[0].options["overflow"]) == ("Taker", "drop_oldest")
    calls = [line for line in lines if isinstance(line, Call)]
    assert [(call.cursor, call.start, call.end, call.lost) for call in calls] == [
        (45, 0, 45, 0),
        (60, 45, 60, 0),
        (180, 60, 180, 64),
        (300, 180, 300, 64),
    ]
    assert sum(call.calls for call in calls) == 300 - 128 + 2
    assert lines[-1] == End(300, 0)
    texts = path.read_text().splitlines()
    checks = [number for number, text in enumerate(texts) if text.startswith('["check",')]
    assert len(texts) == len(lines) + 1 + len(checks)
    assert checks[-1] == len(texts) - 1, "the last line seals the whole file"


def test_a_truncated_log_is_repeated_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    was = write(path)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:-4]) + whole[-4][:5])
    again, _ = asyncio.run(repeat(path))
    assert 0 < len(again) < len(was)
    assert again == was[: len(again)]
    log = LoggedRun(path)
    list(log)
    assert (log.is_whole, log.torn_bytes) == (False, 5)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda text: text.replace(b'["call",0,60,4,', b'["call",0,60,3,'), 8),
        (lambda text: text.replace(b'"name":"ticks"', b'"name":"tocks"'), 8),
        (lambda text: text.replace(b'["end",300,0]', b'["end",300,1]'), 10),
        (lambda text: re.sub(rb'\["check",\d+\]\n', b"", text, count=1), 9),
        (lambda text: re.sub(rb'\["check",\d', b'["check",9', text, count=1), 8),
    ],
)
def test_a_change_of_any_line_is_found(tmp_path: Path, damage: Callable[[bytes], bytes], line: int) -> None:
    path = tmp_path / "run.log"
    write(path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    with pytest.raises(DispatchLogError, match="was changed") as raised:
        LoggedRun(path)
    assert raised.value.line == line


@pytest.mark.parametrize(
    ("damage", "line", "words"),
    [
        (lambda lines: [*lines[:3], b'["call",1]\n', *lines[3:]], 4, "damaged"),
        (lambda lines: [*lines[:3], b"\xff\n"], 4, "damaged"),
        (lambda lines: [*lines[:2], lines[4], lines[3], *lines[5:]], 4, "lines were moved"),
        (lambda lines: [b"{}\n", *lines[1:]], 0, "no dispatch log"),
        (lambda lines: [lines[0].replace(b'"dispatch_log":4', b'"dispatch_log":7'), *lines[1:]], 0, "version 7"),
        (lambda lines: [*lines[:3], b'["call",0,45,3,0,45,45,4,-1,15]\n', *lines[3:]], 4, "damaged .*>= 0"),
        (lambda lines: [*lines[:3], b'["call",0,%d,3,0,45,45,4,0,15]\n' % 2**63, *lines[3:]], 4, "damaged"),
        (lambda lines: [*lines[:3], b'["mark",0,%d,"x",0]\n' % 2**63, *lines[3:]], 4, "damaged"),
        (lambda lines: [*lines[:3], b'["mark",0,0,"x",' + b"[" * 100_000 + b"\n", *lines[3:]], 4, "damaged"),
        (lambda lines: [b"[" * 100_000 + b"\n", *lines[1:]], 0, "no dispatch log"),
        (lambda lines: [*lines[:3], b'["call",' + b" " * (17 << 20) + b"\n", *lines[3:]], 4, "damaged"),
    ],
)
def test_a_damaged_log_is_refused_by_path_and_line(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], line: int, words: str
) -> None:
    path = tmp_path / "run.log"
    write(path)
    path.write_bytes(resealed(b"".join(damage(path.read_bytes().splitlines(keepends=True)))))
    with pytest.raises(DispatchLogError, match=words) as raised:
        list(LoggedRun(path))
    assert (raised.value.path, raised.value.line) == (str(path), line)


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DispatchLogError, match="cannot be read"):
        LoggedRun(tmp_path / "nothing")


def test_a_different_ring_or_subscription_is_refused_first(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    write(path)
    with pytest.raises(DispatchLogError, match="ring_capacity=64"):
        asyncio.run(repeat(path, ring_capacity=128))
    for subscribe, words in (
        (lambda dispatcher: None, "'Taker' is missing"),
        (lambda dispatcher: dispatcher.subscribe(Taker(), overflow="block"), "options was .*drop_oldest"),
    ):
        with pytest.raises(DispatchLogError, match=words):
            asyncio.run(repeat(path, subscribe=subscribe))


@pytest.mark.parametrize(
    ("column", "words"), [(6, "stands at position 180, live 179"), (8, "lost 64, live 63"), (9, "made handler calls: ")]
)
def test_each_result_of_a_call_is_compared(tmp_path: Path, column: int, words: str) -> None:
    path = tmp_path / "run.log"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    number = next(at for at, line in enumerate(lines) if line.startswith(b'["call",0,180,'))
    call = json.loads(lines[number])
    call[column] -= 1
    lines[number] = json.dumps(call, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(resealed(b"".join(lines)))
    with pytest.raises(DispatchLogError, match=words):
        asyncio.run(repeat(path))


def test_other_ticks_are_found_where_the_run_diverges(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    write(path)
    with pytest.raises(DispatchLogError, match="the sources end at position 200, before 300"):
        asyncio.run(repeat(path, ticks=lambda dispatcher: stream(dispatcher)[:200]))

    def with_trades(dispatcher: Dispatcher) -> np.ndarray:
        ticks = stream(dispatcher)
        ticks[20:25] = trades(dispatcher, range(5), ts_init=2)
        return ticks

    with pytest.raises(DispatchLogError, match=r"line \d+: .*handler calls: \d+, live \d+") as raised:
        asyncio.run(repeat(path, ticks=with_trades))
    assert raised.value.line > 2


def test_a_strategy_that_decides_otherwise_is_found(tmp_path: Path) -> None:
    class Closing(Taker):
        own: Subscription

        def on_quote(self, seq):
            super().on_quote(seq)
            if seq == 50:
                self.own.pause()

    path = tmp_path / "run.log"
    write(path)
    closing = Closing()

    def subscribe(dispatcher: Dispatcher) -> None:
        closing.own = dispatcher.subscribe(closing, name="Taker", overflow="drop_oldest")

    with pytest.raises(DispatchLogError, match="handler calls: 5, live 15"):
        asyncio.run(repeat(path, subscribe=subscribe))


def test_a_dispatch_inside_a_publish_is_repeated_there(tmp_path: Path) -> None:
    path = tmp_path / "run.log"

    def live_or_again(*, mode: ModeName) -> tuple[list[int], Dispatcher, _native.Pump]:
        got: list[int] = []
        dispatcher = made(mode=mode)
        dispatcher.subscribe(lambda position: got.append(position), callback="on_level", name="levels")
        return got, dispatcher, pump_of(dispatcher, level_event(dispatcher, 500, ts_init=1))

    was, dispatcher, pump = live_or_again(mode="live")
    with dispatcher, DispatchLog(path, dispatcher):
        pump.ingest(1, 1_000)
        dispatcher.dispatch()
    calls = [line for line in LoggedRun(path) if isinstance(line, Call)]
    assert [call.flags & 1 for call in calls] == [1] * (len(calls) - 1) + [0]
    assert len(calls) > 3

    again, dispatcher, pump = live_or_again(mode="repeat")

    async def main() -> None:
        async def give(source: int) -> None:
            pump.finish(source)

        async for _ in Repetition(LoggedRun(path), dispatcher, pump, give=give):
            raise AssertionError("there were no marks")

    with dispatcher:
        asyncio.run(main())
    assert again == was == list(range(500))


def test_a_log_starts_before_the_first_tick_and_only_once(tmp_path: Path) -> None:
    with made() as dispatcher:
        first = DispatchLog(tmp_path / "first", dispatcher)
        with first, pytest.raises(DispatchLogError, match="one log at a time"):
            DispatchLog(tmp_path / "second", dispatcher)
        with DispatchLog(tmp_path / "third", dispatcher):
            pass
        dispatcher.publish(quotes(dispatcher, range(3)))
        with pytest.raises(DispatchLogError, match="3 ticks were published before"):
            DispatchLog(tmp_path / "late", dispatcher)


def test_a_call_that_still_runs_holds_back_what_comes_after_it(tmp_path: Path) -> None:
    import threading

    entered, release = threading.Event(), threading.Event()

    def on_quote(seq: int) -> None:
        entered.set()
        assert release.wait(20)

    path = tmp_path / "run.log"
    with made() as dispatcher:
        dispatcher.subscribe(on_quote, mode="thread", name="slow")
        dispatcher.subscribe(lambda seq: None, callback="on_quote", name="fast")
        log = DispatchLog(path, dispatcher)
        pump = pump_of(dispatcher, stream(dispatcher))
        pump.ingest(1, 100)
        wait_until(entered.is_set)
        dispatcher.dispatch()
        log.mark("after", None)
        log.flush()
        assert not [line for line in LoggedRun(path) if isinstance(line, Call | Mark)]
        release.set()
        thread = dispatcher.subscriptions["slow"]
        wait_until(lambda: thread.stats().pending == 0)

        def is_written() -> bool:
            log.flush()
            return any(isinstance(line, Mark) for line in LoggedRun(path))

        wait_until(is_written)
        log.close()
        log.close()
    lines = [line for line in LoggedRun(path) if isinstance(line, Call | Mark)]
    assert [line.group if isinstance(line, Call) else "mark" for line in lines][:3] == [1, 0, "mark"]


def test_a_driven_dispatcher_starts_no_thread_and_no_task() -> None:
    import threading

    async def on_quote(seq: int) -> None:
        raise AssertionError("nobody may call this")

    async def main() -> None:
        with made(mode="repeat") as dispatcher:
            before = threading.active_count(), len(asyncio.all_tasks())
            dispatcher.subscribe(on_quote, name="async")
            assert len(asyncio.all_tasks()) == before[1]
            dispatcher.subscribe(Taker(), mode="thread")
            names = {thread.name for thread in threading.enumerate()}
            assert "headrace-Taker" not in names
            dispatcher.publish(quotes(dispatcher, range(3)))
            await asyncio.sleep(0)

    asyncio.run(main())


def test_every_line_is_json(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    write(path)
    for text in path.read_text().splitlines():
        json.loads(text)
