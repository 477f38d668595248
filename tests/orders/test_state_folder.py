"""The state folder: where it is, and which folders are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from headrace.errors import StateFolderError
from headrace.trading.state_folder import checked_folder, state_folder


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the user's own folders from these tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("HEADRACE_STATE", raising=False)


def test_the_folder_comes_from_headrace_state_then_xdg_then_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert state_folder() == tmp_path / "home" / ".local" / "state" / "headrace"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_folder() == tmp_path / "home" / ".local" / "state" / "headrace"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_folder() == tmp_path / "xdg" / "headrace"
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "ours"))
    assert state_folder() == tmp_path / "ours"


def test_the_folder_is_private_to_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = checked_folder(tmp_path / "state")
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert checked_folder(made) == made


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(StateFolderError, match=f"mode {mode:04o}.*chmod 700") as raised:
        checked_folder(path)
    assert raised.value.path == str(path)


def test_a_folder_that_others_may_only_read_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(0o755)
    assert checked_folder(path) == path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    os.chown(path, 12_345, -1)
    with pytest.raises(StateFolderError, match="belongs to user 12345"):
        checked_folder(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(StateFolderError, match="cannot be made"):
        checked_folder(path / "state")
    with pytest.raises(StateFolderError, match="cannot be made"):
        checked_folder(path)
