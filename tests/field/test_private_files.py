"""Every file that a run or a verb writes is its owner's alone, and nothing that exists is written over."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from headrace.bus import EventBus
from headrace.bus.audit import AuditSink
from headrace.cli import app
from headrace.dispatch.dispatcher import Dispatcher
from headrace.dispatch.log import DispatchLog
from headrace.dispatch.run_file import new_run_file
from headrace.errors import AuditError, DispatchLogError, HeadraceError, OptionError
from headrace.feeds.recorder import Recorder
from tests.support.full_disk import files_no_longer_than


def audit(path: Path) -> None:
    with AuditSink(path, run_id="run") as sink:
        sink.attach(EventBus())


def dispatch_log(path: Path) -> None:
    with Dispatcher() as dispatcher, DispatchLog(path, dispatcher, run_id="run"):
        pass


def recording(path: Path) -> None:
    recorder = Recorder(path, "run")
    recorder.open("feed", has_frames=True)
    recorder.close()


def configuration(path: Path) -> None:
    if app.run(["config", "new", str(path)]):
        raise HeadraceError("refused")


@pytest.fixture(autouse=True)
def open_mask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("write", [audit, dispatch_log, configuration])
def test_a_file_is_its_owners_and_is_never_written_over(tmp_path: Path, write) -> None:
    file = tmp_path / "file.toml"
    write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"mine")
    with pytest.raises(HeadraceError):
        write(file)
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("write", [audit, dispatch_log, configuration])
def test_a_file_without_room_is_made_by_the_next_run(tmp_path: Path, write, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file.toml"
    with files_no_longer_than(0), pytest.raises(HeadraceError):
        write(file)
    assert not file.exists()
    write(file)
    assert file.stat().st_size


@pytest.mark.parametrize("write", [audit, dispatch_log, recording])
def test_a_folder_gets_a_new_file_each_time(tmp_path: Path, write) -> None:
    for _ in range(3):
        write(tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize(
    ("write", "error"), [(audit, AuditError), (dispatch_log, DispatchLogError), (recording, OptionError)]
)
def test_a_name_with_a_nul_is_refused_as_such(write, error: type[Exception]) -> None:
    with pytest.raises(error, match="NUL"):
        write("a\0b")
    with pytest.raises(OSError, match="NUL"):
        new_run_file("folder/", "a\0b", "txt")


def test_a_link_at_the_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    for name in ("link", "dangling"):
        with pytest.raises(AuditError):
            audit(tmp_path / name)
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()
