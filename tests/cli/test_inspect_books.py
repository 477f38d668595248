"""``headrace inspect --books``: how often books equal quotes, and when they are not LIVE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Run
from tests.support.frames import BTCUSDT, START, depth, quote, snapshot, status, written

MS = 1_000_000


def books_of(headrace_run: Run, file: str | Path) -> dict[str, Any]:
    ended = headrace_run("inspect", file, "--books", "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)["books"]
    return found


def test_it_counts_comparisons_resyncs_and_times(headrace_run: Run, tmp_path: Path) -> None:
    levels = [(9.0, 5.0)], [(10.0, 5.0)]
    frames = [
        quote(3),
        depth(4, 5),
        snapshot(4, *levels),
        quote(6),
        depth(6, 6),  # Equal.
        quote(7, bid=8.0),
        depth(7, 7),  # Unequal: the quote is another one.
        status("depth", "DOWN", "DISCONNECTED"),
        depth(9, 9),
        snapshot(9, *levels),
        depth(10, 10),
    ]
    file = f"{written(tmp_path, frames)}@BINANCE"
    assert books_of(headrace_run, file) == {
        BTCUSDT: {
            "comparisons": 2,
            "equal": 1,
            "unequal": 1,
            "resyncs": 1,
            "not_live": [[START + MS, START + 2 * MS], [START + 7 * MS, START + 10 * MS]],
        }
    }
    shown = headrace_run("inspect", file, "--books")
    assert shown.returncode == 0, shown.stderr
    assert "not LIVE" in shown.stdout


@pytest.mark.parametrize(
    ("file", "equal"),
    [("spot_btcusdt_20240808.gz", 564), ("usdm_btcusdt_20240808.gz", 503), ("spot_ethusdt_20240809.gz", 0)],
)
def test_the_recordings_have_no_unequal_book(headrace_run: Run, recordings: Path, file: str, equal: int) -> None:
    (row,) = books_of(headrace_run, recordings / file).values()
    assert (row["comparisons"], row["equal"], row["unequal"], row["resyncs"]) == (equal, equal, 0, 0)
    # From its first depth event on: until the snapshot joined it, or to the end.
    assert len(row["not_live"]) == 1
