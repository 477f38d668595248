"""Audit: every event in the order of delivery, no file overwritten, no loss without a report."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import signal
import stat
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bus import EventBus, audit
from headrace.bus.audit import AuditSink, audit_header, audit_path, read_audit, replay_events
from headrace.errors import AuditError
from headrace.limits import AUDIT_BUFFER_BYTES
from headrace.market.clock import ModeName, ReplayClock
from headrace.market.events import Cause, Control, Event, Gap, Lane, OrderRequested, Signal, Status
from tests.support.full_disk import files_no_longer_than

BTC = "BTCUSDT.BINANCE"
HEADER = b'{"type":"AuditHeader","run_id":"a","version":"1"}\n'
CAUSE = Cause(instrument=BTC, kind="quote", first=7, last=7, ts_init=1_000)


def signal_of(number: int, reason: str = "") -> Signal:
    return Signal(instrument=BTC, side=1, strength=float(number), reason=reason, cause=CAUSE)


def published(bus: EventBus, *events: Event) -> None:
    for event in events:
        bus.publish_nowait(event)
        bus.drain()


def audited(path: Path, *events: Event, mode: ModeName = "live") -> AuditSink:
    """An audit of these events, closed."""
    bus = EventBus(run_id="run", mode=mode, clock=ReplayClock(5) if mode == "replay" else None)
    with AuditSink(path, run_id="run", config="abc", mode=mode) as sink:
        sink.attach(bus)
        published(bus, *events)
    return sink


# Writing


def test_every_event_is_a_line_in_the_order_of_its_delivery(tmp_path: Path) -> None:
    order = OrderRequested(
        order_id="1",
        strategy="s",
        instrument=BTC,
        side=1,
        order_type="limit",
        quantity=Decimal("0.10"),
        price=Decimal("1E+2"),
    )
    sink = audited(tmp_path / "run.jsonl", signal_of(1), order, Status(subject="feed", state="up"), signal_of(2))
    events = list(read_audit(sink.path))
    assert [type(event) for event in events] == [Signal, OrderRequested, Status, Signal]
    assert events[0].cause == CAUSE
    assert events[1] == msgspec.structs.replace(order, ts=events[1].ts, run_id="run")
    assert all(event.run_id == "run" and event.ts for event in events)
    assert (sink.stats().written, sink.stats().lost, sink.stats().state) == (4, 0, "closed")
    assert sink.stats().bytes == sink.path.stat().st_size


def test_the_first_line_identifies_the_run(tmp_path: Path) -> None:
    before_ns = time.time_ns()
    header = audit_header(audited(tmp_path / "run.jsonl").path)
    assert (header.run_id, header.config, header.version) == ("run", "abc", "0.1.0")
    assert before_ns <= header.ts <= time.time_ns()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    os.umask(os.umask(0))
    sink = audited(tmp_path / "new" / "run.jsonl")
    assert stat.S_IMODE(sink.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(sink.path.parent.stat().st_mode) == 0o700


def test_an_existing_file_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("of another run\n")
    with pytest.raises(AuditError, match="a folder for one file per run"):
        AuditSink(path, run_id="run").attach(EventBus())
    assert path.read_text() == "of another run\n"


def test_an_engine_that_never_ran_leaves_no_file(tmp_path: Path) -> None:
    AuditSink(tmp_path / "run.jsonl").close()
    assert not list(tmp_path.iterdir())


def test_a_folder_gets_a_file_for_each_run(tmp_path: Path) -> None:
    assert audit_path(tmp_path, "a") == tmp_path / "a.jsonl"
    assert audit_path(f"{tmp_path}/later/", "b") == tmp_path / "later" / "b.jsonl"
    assert audit_path(tmp_path / "file", "b") == tmp_path / "file"


def test_an_audit_that_cannot_be_made_names_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be written"):
        AuditSink(tmp_path / "file" / "run.jsonl").attach(EventBus())


def test_the_same_replay_writes_the_same_bytes(tmp_path: Path) -> None:
    events = [signal_of(number, "é\n") for number in range(50)]
    one, two = (audited(tmp_path / name, *events, mode="replay").path.read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.count(b"\n") == 51


def test_a_full_buffer_is_written_without_waiting(tmp_path: Path) -> None:
    bus = EventBus()
    with AuditSink(tmp_path / "run.jsonl") as sink:
        sink.attach(bus)
        published(bus, signal_of(1))
        assert (sink.stats().written, sink.stats().buffered) == (0, 1)
        published(bus, signal_of(2, "x" * AUDIT_BUFFER_BYTES))
        assert (sink.stats().written, sink.stats().buffered) == (2, 0)


KILLED = """
import asyncio, sys
from headrace.bus.audit import AuditSink
from headrace.bus import EventBus
from headrace.market.events import Signal

async def main():
    bus = EventBus(run_id="run")
    AuditSink(sys.argv[1], run_id="run").attach(bus)
    await bus.start()
    for number in range(100):
        await bus.publish(Signal(instrument="A.B", side=1, strength=number))
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_process_loses_no_more_than_its_last_second(tmp_path: Path) -> None:
    """The process is killed once its events are in the file. Only the flush after a second can have written them."""
    path = tmp_path / "run.jsonl"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
    deadline_s = time.monotonic() + 15
    while not path.exists() or path.read_bytes().count(b"\n") < 101:
        assert time.monotonic() < deadline_s
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert [event.strength for event in read_audit(path) if isinstance(event, Signal)] == list(range(100))


# Write errors


def test_on_a_full_disk_losses_are_counted_and_the_bus_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus = EventBus()
    told: list[Event] = []
    bus.subscribe(Event, told.append)
    with AuditSink(tmp_path / "run.jsonl") as sink:
        sink.attach(bus)
        published(bus, *(signal_of(number) for number in range(10)))
        sink.flush()
        with files_no_longer_than(sink.stats().bytes + 100), caplog.at_level(logging.ERROR):
            published(bus, *(signal_of(number) for number in range(10, 20)))
            sink.flush()
            bus.drain()
            published(bus, *(signal_of(number) for number in range(20, 30)))
            sink.flush()
            assert (sink.stats().written, sink.stats().state) == (10, "failing")
            # The 20 signals and the Status events about the file.
            assert sink.stats().lost == 21
        published(bus, signal_of(30))
        sink.flush()
        bus.drain()
    assert len([event for event in told if isinstance(event, Signal)]) == 31
    assert [(event.state, event.reason) for event in told if isinstance(event, Status)] == [
        ("failing", "File too large"),
        ("ok", "21 events were lost"),
    ]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    events = list(read_audit(sink.path))
    assert [event.strength for event in events if isinstance(event, Signal)] == [*range(10), 30]
    assert [event for event in events if isinstance(event, Gap)] == [
        Gap(source="audit", lane="audit", missed=21, first=11, last=31)
    ]
    assert events.index(next(event for event in events if isinstance(event, Gap))) == 10


def test_losses_at_the_very_end_are_counted(tmp_path: Path) -> None:
    bus = EventBus()
    sink = AuditSink(tmp_path / "run.jsonl")
    sink.attach(bus)
    published(bus, signal_of(1))
    with files_no_longer_than(sink.stats().bytes):
        sink.close()
    assert (sink.stats().written, sink.stats().lost) == (0, 1)
    assert list(read_audit(sink.path)) == []


def test_a_full_disk_ends_a_replay_and_what_is_there_is_readable(tmp_path: Path) -> None:
    bus = EventBus(mode="replay", clock=ReplayClock(5))
    sink = AuditSink(tmp_path / "run.jsonl", mode="replay")
    sink.attach(bus)
    published(bus, signal_of(1))
    sink.flush()
    sink.check()
    with files_no_longer_than(sink.stats().bytes + 10):
        published(bus, signal_of(2))
        sink.flush()
    with pytest.raises(AuditError, match="File too large"):
        sink.check()
    published(bus, signal_of(3))
    with pytest.raises(AuditError, match="File too large"):
        sink.close()
    assert (sink.stats().written, sink.stats().lost) == (1, 2)
    assert [event.strength for event in read_audit(sink.path) if isinstance(event, Signal)] == [1]


def test_a_disk_that_is_full_from_the_beginning_is_refused(tmp_path: Path) -> None:
    with files_no_longer_than(10), pytest.raises(AuditError, match="check the free space"):
        AuditSink(tmp_path / "run.jsonl").attach(EventBus())


# Reading


def test_a_torn_last_line_raises_or_is_logged_by_option(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = audited(tmp_path / "run.jsonl", signal_of(1), signal_of(2)).path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AuditError, match="line 3 is torn") as raised:
        list(read_audit(path))
    assert (raised.value.path, raised.value.line) == (str(path), 3)
    with caplog.at_level(logging.WARNING):
        assert [getattr(event, "strength", None) for event in read_audit(path, allow_torn=True)] == [1]
    assert "line 3 is torn" in caplog.text


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"", 1, "is empty"),
        (b'{"type":"Signal"}\n', 1, "no AuditHeader"),
        (HEADER + b"nonsense\n", 2, "no event"),
        (HEADER + b'{"type":"Unknown"}\n', 2, "own_types"),
        (HEADER + b"\n", 2, "no event"),
        (HEADER + b"[1]\n", 2, "no event"),
        (HEADER + b"{}\n", 2, "no event"),
        (HEADER + b'{"type":"Signal","instrument":"A.B","side":"buy"}\n', 2, "no event"),
        (HEADER + b'{"type":"Signal","instrument":null,"side":1}\n', 2, "no event"),
        (b"\0\0\0", 1, "torn"),
    ],
)
def test_a_file_that_is_no_audit_raises_with_the_line(tmp_path: Path, content: bytes, line: int, said: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(AuditError, match=said) as raised:
        list(read_audit(path))
    assert raised.value.line == line


def test_a_missing_audit_raises(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="No such file"):
        audit_header(tmp_path / "nowhere")


class Own(Event, frozen=True, kw_only=True):
    text: str


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5))
def test_every_field_of_an_event_is_read_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("audit") / "run.jsonl"
    bus = EventBus()
    bus.declare(Own, Lane.SIGNAL)
    with AuditSink(path) as sink:
        sink.attach(bus)
        published(bus, *(Own(text=text) for text in texts))
    assert [event.text for event in read_audit(path, own_types=[Own]) if isinstance(event, Own)] == texts


def test_nan_does_not_make_the_audit_unreadable(tmp_path: Path) -> None:
    path = audited(
        tmp_path / "run.jsonl", signal_of(1), Signal(instrument=BTC, side=1, strength=math.nan), signal_of(2)
    )
    strengths = [event.strength for event in read_audit(path.path) if isinstance(event, Signal)]
    assert strengths[0] == 1
    assert math.isnan(strengths[1])
    assert strengths[2] == 2


class Unwritable:
    pass


def test_an_event_json_cannot_hold_is_a_gap_and_a_dead_letter(tmp_path: Path) -> None:
    bus = EventBus()
    with AuditSink(tmp_path / "run.jsonl") as sink:
        sink.attach(bus)
        published(bus, signal_of(1), Status(subject="a", state="b"))
        published(bus, Control(name="x", detail={"own": Unwritable()}), signal_of(2))
    assert (sink.stats().written, sink.stats().lost) == (3, 1)
    assert [type(event) for event in read_audit(sink.path)] == [Signal, Status, Gap, Signal]
    assert [letter.source for letter in bus.dead_letters] == ["audit"]


def test_an_event_that_json_cannot_hold_ends_a_replay(tmp_path: Path) -> None:
    bus = EventBus(mode="replay", clock=ReplayClock(5))
    sink = AuditSink(tmp_path / "run.jsonl", mode="replay")
    sink.attach(bus)
    published(bus, Control(name="x", detail={"own": Unwritable()}))
    with pytest.raises(AuditError, match="cannot hold a Control"):
        sink.close()


# Publishing again


@pytest.mark.asyncio
async def test_replayed_events_are_equal_and_in_the_same_order(tmp_path: Path) -> None:
    control = Control(name="ENGINE_READY", detail={"a": [1]}, source="engine")
    first = audited(tmp_path / "one", control, *(signal_of(number) for number in range(200)), control, mode="replay")
    again = EventBus(run_id="another", mode="replay", clock=ReplayClock(99))
    slow: list[Event] = []

    async def handler(event: Event) -> None:
        await asyncio.sleep(0)
        slow.append(event)

    again.subscribe(Event, handler)
    second = AuditSink(tmp_path / "two", run_id="run", config="abc", mode="replay")
    second.attach(again)
    assert await replay_events(first.path, again) == 202
    second.close()
    assert slow == list(read_audit(first.path))
    assert second.path.read_bytes() == first.path.read_bytes()


@pytest.mark.asyncio
async def test_single_event_is_written_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AUDIT_FLUSH_S", 0.01)
    bus = EventBus(run_id="run")
    with AuditSink(tmp_path / "a", run_id="run", mode="live") as sink:
        sink.attach(bus)
        for count in (1, 2):
            published(bus, signal_of(count))
            assert (sink.stats().written, sink.stats().buffered) == (count - 1, 1)
            async with asyncio.timeout(20):
                while sink.stats().written < count:  # noqa: ASYNC110 - a file that is written has no event
                    await asyncio.sleep(0.005)


@pytest.mark.parametrize(("number", "state"), [(None, "closed"), (errno.EINVAL, "closed"), (errno.EIO, "closed")])
def test_closed_audit_is_synced(
    number: int | None, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    synced: list[int] = []

    def fsync(file: int) -> None:
        synced.append(file)
        if number is not None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    assert audited(tmp_path / "a", signal_of(1)).stats().state == state
    assert len(synced) == 1
    # A pipe has nothing to sync; a disk that fails is a problem.
    assert bool(caplog.records) is (number == errno.EIO)
    assert len(list(read_audit(tmp_path / "a"))) == 1


def test_header_that_was_cut_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(HEADER[:-5])
    with pytest.raises(AuditError):
        audit_header(path)
