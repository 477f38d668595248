"""A disk that is full: the error names the file, what was written before is readable, and nothing is half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace
from headrace import BacktestResult
from headrace.app.convert import convert
from headrace.bus.audit import read_audit
from headrace.errors import AuditError, HeadraceError, RecordingError, ResultError
from headrace.feeds import SyntheticFeed
from headrace.feeds.writers import write_candles, write_ticks
from headrace.research.past import Past, past_of
from headrace.research.report import write_report
from headrace.research.sweep import sweep
from tests.research.test_sweep import SPACE, recipe
from tests.support.backtests import Reverting, walk
from tests.support.candles import candles
from tests.support.candles import walk as prices
from tests.support.full_disk import files_no_longer_than

ROOM = 4_096


@pytest.fixture(scope="module")
def result() -> BacktestResult:
    return headrace.backtest(Reverting, walk(1_000), fees=0)


@pytest.fixture(scope="module")
def past() -> Past:
    return past_of(walk(400, every_ns=3_600 * 10**9))


def written(target: Path, result: BacktestResult, past: Past) -> None:
    """Write what the name says."""
    match target.name.split("."):
        case ["result", *_]:
            result.save(target)
        case ["page", *_]:
            write_report(result, target, interactive=False)
        case ["table", *_]:
            sweep(recipe, past, SPACE).write_parquet(target)
        case ["session", *_]:
            SyntheticFeed("BTCUSDT", frames=2_000).write(target)
        case ["candles", *_]:
            write_candles(target, [candles(prices(900))])
        case ["ticks", *_]:
            write_ticks(target, [walk(3_000)], ["BTCUSDT.BINANCE"])


@pytest.mark.parametrize(
    "name",
    [
        *("result.headrace", "page.html", "table.parquet", "session.jsonl", "session.jsonl.gz"),
        *("candles.parquet", "candles.csv", "candles.csv.gz", "candles.csv.zst"),
        *("ticks.parquet", "ticks.csv", "ticks.csv.gz", "ticks.csv.zst", "ticks.npz", "ticks.hft.npz"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_not_there(
    name: str, result: BacktestResult, past: Past, tmp_path: Path
) -> None:
    target = tmp_path / name
    with files_no_longer_than(ROOM), pytest.raises((RecordingError, ResultError)) as caught:
        written(target, result, past)
    assert f"{target} cannot be written: File too large; check the folder and the free space" in str(caught.value)
    assert getattr(caught.value, "path", None) == str(target)
    assert list(tmp_path.iterdir()) == []
    written(target, result, past)
    whole = target.read_bytes()
    assert len(whole) > ROOM
    with files_no_longer_than(ROOM), pytest.raises(HeadraceError):
        written(target, result, past)
    assert target.read_bytes() == whole  # The one that was there stays.


def test_an_audit_of_a_backtest_is_readable_up_to_where_the_disk_was_full(tmp_path: Path) -> None:
    run = tmp_path / "whole.jsonl"
    headrace.backtest(Reverting, walk(1_000), audit=run)
    whole = run.read_bytes()
    cut = tmp_path / "cut.jsonl"
    with (
        files_no_longer_than(len(whole) // 3),
        pytest.raises(AuditError, match=r"cut\.jsonl cannot be written: File too large"),
    ):
        headrace.backtest(Reverting, walk(1_000), audit=cut)
    assert whole.startswith(cut.read_bytes())
    assert cut.read_bytes().endswith(b"\n")
    events = list(read_audit(cut))
    assert events == list(read_audit(run))[: len(events)]
    assert len(events) > 100


def test_a_study_has_whole_trials_and_goes_on_when_there_is_room(past: Past, tmp_path: Path) -> None:
    study = tmp_path / "study"
    whole = sweep(recipe, past, SPACE, metric="total_return")
    with files_no_longer_than(2 * ROOM), pytest.raises(ResultError, match=f"study {study} cannot be written: File"):
        sweep(recipe, past, SPACE, metric="total_return", study=study)
    lines = study.read_bytes().splitlines(keepends=True)
    assert 1 < len(lines) <= len(whole.trials)
    assert all(line.endswith(b"}\n") for line in lines)
    assert sweep(recipe, past, SPACE, metric="total_return", study=study).trials == whole.trials
    assert study.read_bytes().startswith(b"".join(lines))


def test_a_conversion_goes_on_when_there_is_room(tmp_path: Path) -> None:
    session, target = SyntheticFeed("BTCUSDT", frames=2_000).write(tmp_path / "session.jsonl"), tmp_path / "t.parquet"
    with (
        files_no_longer_than(10 * ROOM),
        pytest.raises(RecordingError, match=r"part .*t\.parquet\.parts/000001\.npy cannot be written"),
    ):
        convert(session, target)
    assert sorted(own.name for own in tmp_path.rglob("*")) == ["session.jsonl", "state.json", "t.parquet.parts"]
    assert convert(session, target).ticks == convert(session, tmp_path / "same.parquet").ticks


def test_workers_get_whole_data_or_none(past: Past) -> None:
    with files_no_longer_than(ROOM), pytest.raises(ResultError, match=r"workers' data .* cannot be written"):
        sweep(recipe, past, SPACE, workers=2)
