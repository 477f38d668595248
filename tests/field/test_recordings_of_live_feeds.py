"""A recording holds whole items, of the feed alone, whatever the feed yields and wherever the disk ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import Engine, replay
from headrace.errors import FeedError, RecordingError
from headrace.feeds import Frame
from tests.field.test_wrong_items import Bids, Pushes, YieldsLive, line, quote
from tests.support.command import Run
from tests.support.engines import INSTRUMENTS, START, market
from tests.support.full_disk import files_no_longer_than

WAYS = [YieldsLive, Pushes]


def recorded(
    way: Any, items: list[Any], tmp_path: Path, venue: str | None = "BINANCE"
) -> tuple[list[float], list[Path]]:
    """The bids that a recorded run saw, and its recordings."""
    bids = Bids()
    engine = Engine(
        feeds=way(items, venue),
        strategies=[bids],
        instruments=INSTRUMENTS,
        record=tmp_path / "records",
        state_folder=tmp_path / "state",
    )
    try:
        engine.run()
    finally:
        files = list((tmp_path / "records").iterdir())
    return bids.bids, files


def replayed(path: Path) -> list[float]:
    bids = Bids()
    replay(path if path.suffix == ".npy" else f"{path}@BINANCE", bids, instruments=INSTRUMENTS)
    return bids.bids


@pytest.mark.parametrize("way", WAYS)
def test_blocks_without_a_last_newline_stay_apart(way: Any, tmp_path: Path) -> None:
    items = [line(1), line(2), Frame(START, quote(3)), line(4) + b"\n", bytearray(line(5)), b"", line(6)]
    bids, (path,) = recorded(way, items, tmp_path)
    assert bids == replayed(path) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", [None, Frame(1, b"{}"), Frame(START, "x"), 7, "x"])  # type: ignore[arg-type]
def test_wrong_item_is_not_recorded(way: Any, wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="feed odd yielded"):
        recorded(way, [line(1), wrong, line(2)], tmp_path)
    (path,) = (tmp_path / "records").iterdir()
    first, end = path.read_bytes().splitlines()
    assert first == line(1)
    assert b"FEED_ENDED" in end


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("venue", ["BINANCE", None])
@pytest.mark.parametrize("room", [700, 1_001])
def test_full_disk_ends_the_run_and_whole_items_are_left(
    way: Any, venue: str | None, room: int, tmp_path: Path
) -> None:
    items: list[Any] = [Frame(START + number, quote(number)) for number in range(1, 101)]
    if venue is None:
        items = [market([float(number)], start_ns=START + number) for number in range(1, 101)]
    with files_no_longer_than(room), pytest.raises(RecordingError, match=r"File too large; the \d+ bytes") as caught:
        recorded(way, items, tmp_path, venue)
    (path,) = (tmp_path / "records").iterdir()
    bids = replayed(path)
    assert bids == [float(number) for number in range(1, len(bids) + 1)]
    assert 1 <= len(bids) < 20
    report = caught.value.report
    assert report is not None
    assert report.ticks == {"quote": len(bids)}


def test_array_that_waits_may_be_used_again(tmp_path: Path) -> None:
    reused = market([1.0])

    class Reuses(Pushes):
        async def run(self, push: Any) -> None:
            for number in range(1, 51):
                reused["values"][:, 0] = number
                reused["ts_init"] += 1
                push(reused)

    bids, (path,) = recorded(Reuses, [], tmp_path, None)
    assert bids == replayed(path) == [float(number) for number in range(1, 51)]


MINE = """
import resource
from headrace.feeds import Frame

class Mine:
    name, venue, is_live = "mine", "BINANCE", True
    async def open(self): resource.setrlimit(resource.RLIMIT_FSIZE, (500, -1))
    async def close(self): resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    async def __aiter__(self):
        for n in range(100):
            yield Frame(START + n, b'{"u":%d,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}' % n)
"""


def test_full_disk_is_no_error_of_the_command_line(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace("START", str(START)))
    (tmp_path / "engine.toml").write_text('[[feeds]]\nkind = "mine.py:Mine"\n[instruments."BTCUSDT.BINANCE"]\n')
    ended = headrace_run("run", "engine.toml", "--record", "records")
    assert ended.returncode == 1, ended.stderr
    assert "File too large; the" in ended.stderr
    (path,) = (tmp_path / "records").iterdir()
    assert path.read_bytes().endswith(b"}\n")


def test_odd_items_keep_their_dtype(tmp_path: Path) -> None:
    shifted = np.frombuffer(b"x" + market([7.0]).tobytes(), "u1")[1:].view(market([7.0]).dtype)
    bids, (path,) = recorded(YieldsLive, [shifted, market([8.0])], tmp_path, None)
    assert bids == replayed(path) == [7.0, 8.0]
