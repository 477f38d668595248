"""What lies where a file of ours belongs, a link, a pipe, a folder, is neither followed, waited for nor changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.bus import AuditSink, EventBus
from headrace.commands import CommandBus
from headrace.control import ControlServer
from headrace.engine.service import ServiceContext
from headrace.errors import AuditError, ControlError, StateFolderError
from headrace.market.clock import Mode
from headrace.trading.engine_register import registered, running_engines
from headrace.trading.kill_switch import KillSwitch
from headrace.trading.state_folder import open_own
from tests.support.feeding import HandClock

TEXT = "a file of the user's, which nothing may change"
LONG = TEXT * 10


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file that something in the way leads to."""
    path = tmp_path / "precious.txt"
    path.write_text(TEXT)
    return path


def link(path: Path, precious: Path) -> None:
    path.symlink_to(precious)


def dangling_link(path: Path, precious: Path) -> None:
    path.symlink_to(precious.with_name("nothing"))


def second_name(path: Path, precious: Path) -> None:
    path.hardlink_to(precious)


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _: Path) -> None:
    path.mkdir()


def open_to_others(path: Path, _: Path) -> None:
    path.write_text(TEXT)
    path.chmod(0o666)


IN_THE_WAY = [link, dangling_link, second_name, pipe, folder, open_to_others]
each = pytest.mark.parametrize("put", IN_THE_WAY, ids=lambda own: own.__name__)
Put = Callable[[Path, Path], None]


def check_untouched(precious: Path) -> None:
    assert precious.read_text() == TEXT
    assert not precious.with_name("nothing").exists()


def server(state: Path) -> ControlServer:
    return ControlServer(CommandBus(bus=None, clock=HandClock(1)), engine="paper", folder=state)


def context() -> ServiceContext:
    clock = HandClock(1)
    return ServiceContext(bus=EventBus(clock=clock), clock=clock, run_id="r", mode="live")


@pytest.mark.asyncio
@each
async def test_lock_of_an_engine_is_no_other_file(put: Put, precious: Path, tmp_path: Path) -> None:
    run = tmp_path / "state" / "run"
    run.mkdir(mode=0o700, parents=True)
    run.parent.chmod(0o700)
    put(run / "paper.lock", precious)
    with pytest.raises(StateFolderError, match=r"paper\.lock .*: move it away"):
        await server(run.parent).setup(context())
    check_untouched(precious)


@pytest.mark.asyncio
async def test_lock_file_is_never_emptied(tmp_path: Path) -> None:
    run = tmp_path / "state" / "run"
    run.mkdir(mode=0o700, parents=True)
    run.parent.chmod(0o700)
    lock = run / "paper.lock"
    lock.write_text(LONG)
    lock.chmod(0o600)
    with pytest.raises(ControlError, match="holds more than a lock of ours"):
        await server(run.parent).setup(context())
    assert lock.read_text() == LONG
    # That of a process that has ended, of whatever number of digits, is replaced whole.
    lock.write_text("4194304\n".rjust(32))
    own = server(run.parent)
    await own.setup(context())
    assert (lock.read_text().split(), lock.stat().st_size) == ([str(os.getpid())], 32)
    with pytest.raises(ControlError, match=rf"runs already \(process {os.getpid()}\)"):
        await server(run.parent).setup(context())
    await own.stop()


@each
def test_register_of_engines_passes_over_it(
    put: Put, precious: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    with registered("one", tmp_path):
        put(tmp_path / "home" / "headrace-engines" / "1-0000", precious)
        assert [engine.name for engine in running_engines()] == ["one"]
    check_untouched(precious)


@each
def test_latch_of_any_kind_halts(put: Put, precious: Path, tmp_path: Path) -> None:
    """It was put there to stop something."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    put(state / "halt.json", precious)
    with KillSwitch(state) as switch:
        assert switch.is_halted
        if put is folder:
            with pytest.raises(StateFolderError):
                switch.rearm("test", "test")
            assert switch.is_halted
        else:
            switch.rearm("test", "test")
            assert not switch.is_halted
    check_untouched(precious)


@each
def test_audit_writes_to_no_file_that_is_there(put: Put, precious: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    put(path, precious)
    if put is folder:
        with AuditSink(path, run_id="r", mode=Mode.REPLAY) as sink:
            sink.attach(EventBus(clock=HandClock(1), mode="replay"))
        assert [own.name for own in path.iterdir()] == ["r.jsonl"]
        return
    with pytest.raises(AuditError, match=r"audit\.jsonl (exists already|cannot be written)"):
        AuditSink(path, run_id="r").attach(EventBus(clock=HandClock(1)))
    check_untouched(precious)


@each
def test_audits_of_a_folder_take_the_next_name(put: Put, precious: Path, tmp_path: Path) -> None:
    place = tmp_path / "audits"
    place.mkdir()
    put(place / "r.jsonl", precious)
    with AuditSink(place, run_id="r", mode=Mode.REPLAY) as sink:
        sink.attach(EventBus(clock=HandClock(1), mode="replay"))
    assert sink.path.name == "r-2.jsonl"
    check_untouched(precious)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_file_of_another_user_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    path.chmod(0o600)
    os.close(open_own(path, os.O_RDWR))
    os.chown(path, 12_345, -1)
    with pytest.raises(StateFolderError, match="it belongs to user 12345") as raised:
        open_own(path, os.O_RDWR)
    assert raised.value.path == str(path)


def test_new_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(open_own(tmp_path / "file", os.O_RDWR | os.O_CREAT))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
