"""The kill switch: what halts it, what rearms it, and what its file holds."""

from __future__ import annotations

import gc
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.errors import OptionError, StateFolderError
from headrace.limits import HALT_S, LATCH_POLL_S
from headrace.trading.kill_switch import HaltChange, HaltWatch, KillSwitch
from tests.support.feeding import python, wait_until

TASKS = Path("/proc/self/task")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def watching() -> int:
    """Return how many threads watch a latch."""
    names = []
    for task in TASKS.iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except FileNotFoundError:
            continue
    return names.count("headrace-halt")


def may_order(switch: KillSwitch) -> bool:
    """Read anew at each call: a type checker assumes that a property does not change."""
    return not switch.is_halted


def test_orders_pass_until_a_halt(folder: Path) -> None:
    with KillSwitch(folder) as switch:
        told = (switch.is_halted, switch.version, switch.reason, switch.actor, switch.since_ns)
        assert told == (False, 0, None, None, None)
        assert not switch.path.exists()


def test_a_halt_holds_actor_reason_and_time(folder: Path) -> None:
    with KillSwitch(folder) as switch:
        before_ns = time.time_ns()
        assert switch.halt("fat finger", "alice")
        assert (switch.is_halted, switch.reason, switch.actor, switch.version) == (True, "fat finger", "alice", 1)
        assert switch.since_ns is not None
        assert before_ns <= switch.since_ns <= time.time_ns()
        written = json.loads(switch.path.read_text())
        assert written == {"reason": "fat finger", "actor": "alice", "ts_ns": switch.since_ns}


def test_the_first_halt_keeps_its_reason(folder: Path) -> None:
    with KillSwitch(folder) as switch:
        switch.halt("first", "alice")
        assert not switch.halt("second", "bob")
        assert (switch.reason, switch.version) == ("first", 1)
        assert "first" in switch.path.read_text()


def test_a_halt_survives_a_restart_until_it_is_rearmed(folder: Path) -> None:
    with KillSwitch(folder) as switch:
        switch.halt("overnight", "alice")
        since_ns = switch.since_ns
    with KillSwitch(folder) as switch:
        told = (switch.is_halted, switch.reason, switch.actor, switch.since_ns)
        assert told == (True, "overnight", "alice", since_ns)
        assert switch.rearm("bob")
        assert (switch.is_halted, switch.reason, switch.actor, switch.since_ns) == (False, None, "bob", None)
    with KillSwitch(folder) as switch:
        assert may_order(switch)
        assert not switch.rearm("bob")


@pytest.mark.parametrize("here", [".", "", "./"])
def test_the_current_folder_is_a_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    with KillSwitch(here) as switch:
        assert switch.halt("enough", "alice")
        assert switch.rearm("fine", "bob")
        assert may_order(switch)
    with KillSwitch(here) as switch:
        assert may_order(switch)


def test_the_version_rises_only_with_a_change(folder: Path) -> None:
    with KillSwitch(folder) as switch:
        versions = [switch.version]
        for act in (switch.halt, switch.halt):
            act("why", "who")
            versions.append(switch.version)
        for _ in range(2):
            switch.rearm("who")
            versions.append(switch.version)
        switch.halt("why", "who")
        versions.append(switch.version)
    assert versions == [0, 1, 1, 2, 2, 3]


def test_each_change_is_kept_with_its_actor_and_reason(folder: Path) -> None:
    with KillSwitch(folder) as switch:
        assert switch.changes(0) == []
        switch.halt("fat finger", "alice")
        switch.halt("me too", "bob")
        switch.rearm("bob", "was none")
        switch.rearm("bob", "was none")
        halted, rearmed = (1, True, "fat finger", "alice"), (2, False, "was none", "bob")
        assert switch.changes(0) == [halted, rearmed]
        assert (switch.changes(1), switch.changes(2)) == ([rearmed], [])


def test_the_newest_changes_are_kept(folder: Path) -> None:
    with KillSwitch(folder, watch=False) as switch:
        for _ in range(40):
            switch.halt("why", "who")
            switch.rearm("who")
        assert [version for version, *_ in switch.changes(0)] == list(range(17, 81))


def test_a_signal_and_the_rearm_after_it_are_two_changes(folder: Path) -> None:
    with KillSwitch(folder, signal=True) as switch:
        for _ in range(20):
            signal.raise_signal(signal.SIGUSR2)
            assert switch.rearm("alice")
        changes = switch.changes(0)
    assert [(is_halt, actor) for _, is_halt, _, actor in changes] == [(True, "signal"), (False, "alice")] * 20


def test_a_halt_with_an_existing_latch_keeps_its_reason(folder: Path) -> None:
    with KillSwitch(folder, watch=False) as switch, KillSwitch(folder, watch=False) as other:
        other.halt("from outside", "bob")
        assert not switch.is_halted
        assert not switch.halt("me too", "alice")
        assert (switch.is_halted, switch.reason, switch.actor) == (True, "from outside", "bob")
        assert json.loads(switch.path.read_text())["actor"] == "bob"


def test_a_watch_publishes_each_change_once(folder: Path) -> None:
    published: list[tuple[str, dict[str, object]]] = []
    logged: list[HaltChange] = []
    with KillSwitch(folder) as switch:
        watch = HaltWatch(
            switch, publish=lambda name, detail: published.append((name, dict(detail))), log=logged.append
        )
        watch.look()
        switch.halt("why", "alice")
        watch.look()
        watch.look()
        assert logged == [HaltChange(1, True, "why", "alice")]
        switch.rearm("bob", "fine")
        switch.halt("again", "alice")
        watch.look()
    assert published == [
        ("HALTED", {"actor": "alice", "reason": "why"}),
        ("REARMED", {"actor": "bob", "reason": "fine"}),
        ("HALTED", {"actor": "alice", "reason": "again"}),
    ]
    assert [change.version for change in logged] == [1, 2, 3]


GARBLED = {
    "empty": b"",
    "cut": b'{"reason": "ha',
    "binary": b"\xff\xfe\x00",
    "nothing_said": b"{}",
    "wrong_types": b'{"reason": 1, "actor": null, "ts_ns": "x"}',
    "huge": b" " * 100_000 + b'{"reason": "r", "actor": "a", "ts_ns": 1}',
}


@pytest.mark.parametrize("content", GARBLED.values(), ids=GARBLED)
def test_a_garbled_latch_halts(folder: Path, content: bytes) -> None:
    folder.mkdir(mode=0o700)
    (folder / "halt.json").write_bytes(content)
    with KillSwitch(folder, watch=False) as switch:
        assert switch.is_halted
        assert switch.reason is not None
        assert str(switch.path) in switch.reason
        assert switch.actor == "unknown"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_a_latch_that_is_no_file_halts_without_blocking(folder: Path, make: Callable[[Path], object]) -> None:
    folder.mkdir(mode=0o700)
    make(folder / "halt.json")
    with KillSwitch(folder) as switch:
        assert switch.is_halted
        assert "no regular file" in str(switch.reason)


@pytest.mark.alone
def test_a_latch_written_by_another_process_halts_in_time(folder: Path) -> None:
    with KillSwitch(folder) as switch, KillSwitch(folder, watch=False) as other:
        delays_s = []
        for _ in range(5):
            other.halt("from outside", "bob")
            written_s = time.monotonic()
            wait_until(lambda: switch.is_halted)
            delays_s.append(time.monotonic() - written_s)
            assert (switch.reason, switch.actor) == ("from outside", "bob")
            other.rearm("bob")
            switch.rearm("bob")
    assert sorted(delays_s)[2] <= HALT_S


def test_removing_the_latch_by_hand_rearms_nothing_that_runs(folder: Path) -> None:
    with KillSwitch(folder) as switch, KillSwitch(folder) as other:
        switch.halt("why", "alice")
        wait_until(lambda: other.is_halted)
        switch.path.unlink()
        end_s = time.monotonic() + 5 * LATCH_POLL_S
        while time.monotonic() < end_s:
            assert switch.is_halted
            assert other.is_halted
        assert not switch.halt("why else", "alice")
        assert "why else" in switch.path.read_text()


def test_a_latch_is_written_whole_and_private(folder: Path) -> None:
    with KillSwitch(folder) as switch:
        switch.halt("why", "alice")
        assert [path.name for path in folder.iterdir()] == ["halt.json"]
        assert stat.S_IMODE(switch.path.stat().st_mode) == 0o600
        switch.rearm("alice")
        assert list(folder.iterdir()) == []


def test_halt_holds_and_raises_if_its_latch_cannot_be_written(folder: Path) -> None:
    with KillSwitch(folder) as switch:
        folder.rmdir()
        with pytest.raises(StateFolderError, match="a restart would not be") as raised:
            switch.halt("why", "alice")
        assert raised.value.path == str(switch.path)
        assert (switch.is_halted, switch.reason) == (True, "why")


def test_a_latch_that_cannot_be_removed_keeps_the_halt(folder: Path) -> None:
    (folder / "halt.json").mkdir(parents=True)
    folder.chmod(0o700)
    with KillSwitch(folder) as switch:
        with pytest.raises(StateFolderError, match="still halted"):
            switch.rearm("alice")
        assert switch.is_halted


def test_a_signal_halts_at_once_and_writes_the_latch(folder: Path) -> None:
    with KillSwitch(folder, signal=True) as switch:
        signal.raise_signal(signal.SIGUSR2)
        assert switch.is_halted
        assert "signal" in str(switch.reason)
        wait_until(switch.path.exists)
        wait_until(lambda: switch.version == 1)
        assert json.loads(switch.path.read_text())["actor"] == "signal"
        assert switch.rearm("alice")
        assert may_order(switch)


@pytest.mark.parametrize("end", ["switch.close()", "del switch"])
def test_a_signal_just_before_close_is_in_the_latch(folder: Path, end: str) -> None:
    code = f"""
import signal, sys
from headrace.trading.kill_switch import KillSwitch
switch = KillSwitch(sys.argv[1], signal=True)
signal.raise_signal(signal.SIGUSR2)
{end}
"""
    ended = python(code, str(folder))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads((folder / "halt.json").read_text())["actor"] == "signal"


def test_a_rearm_also_ends_an_earlier_signal(folder: Path) -> None:
    with KillSwitch(folder, signal=True) as switch:
        for _ in range(50):
            signal.raise_signal(signal.SIGUSR2)
            assert switch.is_halted
            assert switch.rearm("alice")
            assert may_order(switch)
            assert not switch.path.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, 0, 99])
def test_a_signal_that_means_something_else_is_refused(folder: Path, number: int) -> None:
    with KillSwitch(folder) as switch, pytest.raises(OptionError, match="does not halt") as raised:
        switch.halt_on_signal(number)
    assert raised.value.option == "signal"


def test_a_signal_needs_the_thread_that_writes_the_latch(folder: Path) -> None:
    with pytest.raises(OptionError, match="watch=True"):
        KillSwitch(folder, watch=False, signal=True)
    with KillSwitch(folder) as switch:
        pass
    with pytest.raises(OptionError, match="before close"):
        switch.halt_on_signal()


def test_a_closed_switch_ignores_signals_and_files(folder: Path) -> None:
    with KillSwitch(folder, signal=True) as halted:
        halted.halt("why", "alice")
    assert halted.is_halted
    halted.rearm("alice")
    signal.raise_signal(signal.SIGUSR2)
    assert may_order(halted)
    halted.close()


@pytest.mark.skipif(not TASKS.is_dir(), reason="this system does not list threads")
def test_the_watch_thread_ends_by_close_or_the_last_reference(folder: Path) -> None:
    assert watching() == 0
    closed = KillSwitch(folder)
    dropped = KillSwitch(folder)
    wait_until(lambda: watching() == 2)
    closed.close()
    assert watching() == 1
    del dropped
    gc.collect()
    wait_until(lambda: watching() == 0)


def test_a_process_that_closes_nothing_ends_cleanly(folder: Path) -> None:
    code = "import sys; from headrace.trading.kill_switch import KillSwitch; s = KillSwitch(sys.argv[1], signal=True)"
    ended = python(code, str(folder))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system for the signals it was given")
def test_without_the_option_no_signal_halts(folder: Path) -> None:
    code = """
import os, signal, sys
from headrace.trading.kill_switch import KillSwitch
with KillSwitch(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGUSR2)
"""
    assert python(code, str(folder)).returncode == -signal.SIGUSR2
    assert not (folder / "halt.json").exists()
