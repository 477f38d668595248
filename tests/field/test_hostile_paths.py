"""A path that is no file to read is a typed error at once; a pipe waited for its writer, a NUL was our own error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import BacktestResult, Engine, replay
from headrace.app.config import load_config
from headrace.app.objects import load_strategy
from headrace.errors import AuditError, DispatchLogError, HeadraceError, RecordingError
from headrace.research.study import Study, StudyHeader
from headrace.trading.brokers.latency import FileLatency
from tests.field.test_damaged_recordings import LINES, Seen
from tests.support.command import Run
from tests.support.engines import market

STUDY: dict[str, Any] = {"search": "grid", "metric": "sharpe", "seed": 0, "batch": 10, "space": {}, "data": ""}


@pytest.fixture(params=["session", "session.npy"])
def name(request: pytest.FixtureRequest) -> str:
    """The name of a recording, and of an array."""
    return str(request.param)


def refused(path: str | Path, venue: str | None = None) -> str:
    """What the error of a replay of this path says."""
    with pytest.raises(RecordingError) as caught:
        replay(path, Seen(), venue=venue)
    return str(caught.value)


def test_pipe_is_refused_without_waiting_for_its_writer(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    assert "pipe or a device" in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.toml", load_config),
        ("a.yaml", load_config),
        ("a.headrace", BacktestResult.load),
        ("a.csv", FileLatency),
        ("a.py", lambda path: load_strategy(f"{path}:Own", {})),
        ("study", lambda path: Study(path, StudyHeader(**STUDY)).__enter__()),
    ],
)
def test_pipe_in_place_of_any_other_file_is_refused_too(name: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(HeadraceError, match=r"pipe or a device|no regular file"):
        read(path)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_device_is_refused(device: str, name: str, tmp_path: Path) -> None:
    link = tmp_path / name
    link.symlink_to(device)
    assert "pipe or a device" in refused(link)


def test_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert "folder" in refused(tmp_path / name)


@pytest.mark.parametrize("bad", ["a\0b", "x" * 5_000])
def test_impossible_path_is_refused(bad: str, name: str, tmp_path: Path) -> None:
    assert refused(f"{tmp_path}/{bad}{name}")


@pytest.mark.parametrize("bad", ["a\0b", "x" * 5_000])
def test_impossible_path_with_a_venue_is_refused(bad: str, tmp_path: Path) -> None:
    assert refused(f"{tmp_path}/{bad}session@BINANCE")


def test_circle_of_links_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(tmp_path / name)
    assert "link" in refused(tmp_path / name)


def test_file_without_permission_is_refused(name: str, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / name
    path.touch(mode=0)
    assert "Permission denied" in refused(path)


@pytest.mark.parametrize("verb", ["inspect", "replay"])
def test_name_that_is_no_text_is_shown_as_an_escape(verb: str, headrace_run: Run, tmp_path: Path) -> None:
    raw = os.path.join(os.fsencode(tmp_path), b"m\xe4rz\n.txt")  # noqa: PTH118 - of bytes
    with open(raw, "wb") as file:  # noqa: PTH123 - of bytes
        file.writelines(LINES)
    ended = headrace_run(verb, os.fsdecode(raw))
    assert ended.returncode == 0, ended.stderr
    assert r"m\xe4rz\n.txt" in ended.stdout


def test_array_file_with_an_odd_name_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"m\xe4rz.npy")))  # noqa: PTH118 - of bytes
    np.save(path, market([1.0, 2.0]))
    report = replay(path, Seen(), instruments=["BTCUSDT.BINANCE"])
    assert report.ticks == {"quote": 2}
    assert report.sources[0].name.endswith(r"m\xe4rz.npy")


def test_line_without_end_is_cut_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "endless"
    with path.open("wb") as file:
        file.write(b"".join(LINES[:10]))
        file.truncate(200 << 20)
    seen = Seen()
    report = replay(f"{path}@BINANCE", seen)
    assert seen.ids == list(range(1, 11))
    assert report.rejected == {"bad_line": 1}


@pytest.mark.parametrize("option", ["audit", "dispatch_log"])
def test_a_name_that_is_too_long_is_the_files_own_error(tmp_path: Path, option: str) -> None:
    with pytest.raises((AuditError, DispatchLogError), match="cannot be written: File name too long"):
        Engine(**{option: tmp_path / ("x" * 300)}, state_folder=tmp_path).run()  # type: ignore[arg-type]
