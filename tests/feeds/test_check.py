"""The check of data: each kind of finding with its place, the exit codes of the command, and the check in a replay."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from headrace import Engine, ticks
from headrace.errors import DataError
from headrace.feeds import CandleFeed, SyntheticFeed
from headrace.feeds.quality import WORDS, QualityCheck
from tests.support.candles import MINUTE, Trader, candles, replayed, walk
from tests.support.command import Run
from tests.support.engines import START
from tests.support.feeding import BTC

COUNT = 40


def trades(**columns: Any) -> np.ndarray:
    made: dict[str, Any] = {
        "ts_init": START + 1_000 * np.arange(COUNT),
        "price": np.full(COUNT, 100.0),
        "size": np.ones(COUNT),
        "trade_id": np.arange(1, COUNT + 1),
    }
    array = ticks(instrument=BTC, **made)
    for name, (row, value) in columns.items():
        target = array.view(array.dtype)
        place = {"price": 0, "size": 1}.get(name)
        if place is None:
            target["venue_seq" if name == "trade_id" else name][row] = value
        else:
            target["values"][row, place] = value
    return array


def quotes(row: int, bid: float, ask: float) -> np.ndarray:
    bids, asks = np.full(COUNT, 100.0), np.full(COUNT, 101.0)
    bids[row], asks[row] = bid, ask
    return ticks(instrument=BTC, ts_init=START + 1_000 * np.arange(COUNT), bid_price=bids, ask_price=asks)


def bars(name: str, row: int, value: float) -> np.ndarray:
    each = candles(walk(COUNT))
    each[name][row] = value
    return each


WRONG: dict[str, tuple[str, np.ndarray, int]] = {
    "a trade before the one before it": ("backward", trades(ts_init=(7, START)), 8),
    "a time in seconds": ("unit", trades(ts_init=(9, START // 10**9)), 10),
    "a price of NaN": ("missing", trades(price=(3, np.nan)), 4),
    "a candle without an end": ("missing", bars("high", 3, np.inf), 4),
    "a price of 0": ("zero_price", trades(price=(5, 0.0)), 6),
    "a price below 0": ("negative_price", trades(price=(6, -1.0)), 7),
    "a size below 0": ("negative_size", trades(size=(2, -3.0)), 3),
    "a price that doubles": ("outlier", trades(price=(20, 200.0)), 21),
    "a number that is missing": ("gap", trades(trade_id=(COUNT - 1, COUNT + 4)), COUNT),
    "a number twice": ("duplicate", trades(trade_id=(11, 11)), 12),
    "a bid above the ask": ("crossed", quotes(13, 105.0, 101.0), 14),
    "candles that are missing": ("gap", np.delete(candles(walk(COUNT)), [5, 6]), 6),
    "a candle before the one before it": ("backward", bars("ts_open", 9, START), 10),
    "a close above the high": ("shape", bars("close", 4, 1.2 * walk(COUNT)[4][3]), 5),
    "a close of 0": ("zero_price", bars("close", 4, 0.0), 5),
}


def found(block: np.ndarray, size: int = COUNT) -> dict[str, tuple[int, int]]:
    check = QualityCheck()
    for start in range(0, len(block), size):
        check.see(block[start : start + size], [BTC])
    return {own.kind: (own.row, own.total) for own in check.findings}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("size", [COUNT, 1, 7])
def test_each_kind_of_finding_has_its_place(name: str, size: int) -> None:
    """Whatever the blocks are."""
    kind, block, row = WRONG[name]
    assert found(block, size)[kind][0] == row


@pytest.mark.parametrize("block", [trades(), quotes(0, 100.0, 101.0), candles(walk(500))])
def test_clean_data_has_no_finding(block: np.ndarray) -> None:
    assert found(block) == {}


def test_place_of_a_finding_is_its_first_row_in_any_field() -> None:
    each = candles(walk(COUNT))
    each["open"][9] = each["close"][3] = np.nan
    assert found(each)["missing"] == (4, 2)


@pytest.mark.parametrize("size", [COUNT, 1])
def test_every_time_before_the_newest_goes_back(size: int) -> None:
    each = trades(ts_init=(7, START))
    each["ts_init"][8] = START + 1
    assert found(each, size)["backward"] == (8, 2)


# What may be wrong with a candle: a field, what its value is multiplied by, and what is added then.
DAMAGE: list[tuple[str, float, float]] = [
    *((name, 0.0, own) for name in ("open", "high", "low", "close") for own in (0.0, -1.0, np.nan, np.inf)),
    *((name, factor, 0.0) for name in ("open", "high", "low", "close") for factor in (1.6, 1 / 1.6)),
    *((name, 1, by) for name in ("ts_open", "ts_close") for by in (-MINUTE, -1, 1, MINUTE)),
    *(("volume", 0.0, own) for own in (-1.0, np.nan, np.inf)),
]


@pytest.mark.parametrize("seed", range(40))
def test_candles_of_blocks_without_damage_are_checked_as_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    each = candles(walk(200, seed=seed))
    for number in rng.integers(len(DAMAGE), size=seed % 5):
        name, factor, added = DAMAGE[number]
        row = rng.integers(len(each))
        each[name][row] = each[name][row] * factor + added
    # The damage is in the only block, and in few of others.
    assert found(each, 200) == found(each, 1) == found(each, int(rng.integers(2, 40)))


def test_every_kind_has_words() -> None:
    assert {kind for kind, _, _ in WRONG.values()} <= set(WORDS)


# In a replay


@pytest.mark.parametrize("name", ["a price of NaN", "a price of 0"])
def test_what_makes_results_wrong_stops_a_checked_replay(name: str) -> None:
    kind, block, row = WRONG[name]
    with pytest.raises(DataError, match=WORDS[kind]) as caught:
        Engine(mode="replay", feeds=[block], check=True).run()
    assert caught.value.row == row
    assert Engine(mode="replay", feeds=[block]).run().findings == {}


def test_other_findings_warn_and_stand_in_the_report(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        report = replayed(np.delete(candles(walk(COUNT)), [5, 6]), Trader(), check=True)
    ((source, findings),) = report.findings.items()
    assert [own.kind for own in findings] == ["gap"]
    assert "data is missing" in caplog.text
    assert "data is missing" in str(report)
    assert source in str(report)


# The command


def write(folder: Path, name: str, *, close: float = 100.0) -> Path:
    frame = pl.DataFrame({name: [100.0] * 5 for name in ("open", "high", "low")})
    times = (START + MINUTE * np.arange(5)) // 1_000_000
    frame.with_columns(pl.Series("time", times), pl.Series("close", [*[100.0] * 4, close])).write_csv(folder / name)
    return folder / name


@pytest.mark.parametrize(("close", "code"), [(100.0, 0), (0.0, 1)])
def test_exit_code_says_whether_something_was_found(close: float, code: int, headrace_run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "BTCUSDT-1m-2026-01.csv", close=close)
    done = headrace_run("check", str(path), "--json")
    assert done.returncode == code, done.stderr
    document = json.loads(done.stdout)
    assert document["clean"] is (code == 0)
    (file,) = document["files"]
    assert file["rows"] == 5
    places = {own["kind"]: (own["instrument"], own["row"]) for own in file["findings"]}
    assert places == ({} if code == 0 else {"zero_price": ("BTCUSDT.BINANCE", 5), "shape": ("BTCUSDT.BINANCE", 5)})
    table = headrace_run("check", str(path)).stdout
    assert ("a price is 0" if code else "nothing was found") in table


def test_file_that_cannot_be_read_exits_with_2(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    for name in ("a.csv", "missing.parquet"):
        done = headrace_run("check", str(tmp_path / name))
        assert done.returncode == 2
        assert name in done.stderr


def test_file_whose_times_are_all_of_another_age_cannot_be_read(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,open,high,low,close\n0,1,1,1,1\n60000,1,1,1,1\n")
    run = headrace_run("check", f"a.csv@{BTC}", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert "row 1: time is 0, which is not between 2000 and 2200" in run.stderr


def test_errors_send_no_commands_to_a_terminal(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\x1b]0;owned\x07,b\x00\n1,2\n")
    for verb in ("check", "replay"):
        run = headrace_run(verb, "a.csv", cwd=tmp_path)
        assert r"among \x1b]0;owned\x07, b\x00" in run.stderr
        assert run.stderr.strip().isprintable()


def test_rows_behind_a_finding_are_looked_at(headrace_run: Run, tmp_path: Path) -> None:
    """A replay ends at the first wrong row; the check goes on."""
    path = tmp_path / "BTCUSDT-trades-2026-01.csv"
    ms = START // 1_000_000
    rows = [
        f"{number},{price},1,1,{ms + at},true,true"
        for number, price, at in ((1, 0, 0), (2, 9, 5), (3, 9, 1), (9, 9, 6))
    ]
    path.write_text("\n".join(rows) + "\n")
    done = headrace_run("check", str(path), "--json")
    (file,) = json.loads(done.stdout)["files"]
    assert {own["kind"]: own["row"] for own in file["findings"]} == {"backward": 3, "zero_price": 1, "gap": 4}


def test_recording_is_checked_by_its_replay(headrace_run: Run, tmp_path: Path) -> None:
    lines = list(SyntheticFeed("BTCUSDT", frames=500, seed=1).lines())
    (tmp_path / "whole.jsonl").write_bytes(b"".join(lines))
    lost = next(number for number, line in enumerate(lines) if b"@trade" in line and number > 100)
    (tmp_path / "lost.jsonl").write_bytes(b"".join(lines[:lost] + lines[lost + 1 :]))
    assert headrace_run("check", str(tmp_path / "whole.jsonl")).returncode == 0
    done = headrace_run("check", str(tmp_path / "lost.jsonl"), "--json")
    assert done.returncode == 1
    assert "gap" in done.stdout


def test_candle_feed_reads_wrong_rows_only_for_the_check() -> None:
    prices = {name: [1.0, 0.0, 1.0] for name in ("open", "high", "low", "close")}
    feed = CandleFeed(pl.DataFrame({"time": candles(walk(3))["ts_open"], **prices}), instrument=BTC)
    assert sum(len(block) for block, _ in feed.unchecked()) == 3
    with pytest.raises(DataError, match="no price is 0"):
        feed.read()


def test_two_feeds_of_one_name_are_checked_apart() -> None:
    earlier = quotes(0, 100.0, 101.0)
    earlier["ts_init"] -= 500
    report = Engine(mode="replay", feeds=[quotes(0, 100.0, 101.0), earlier], check=True).run()
    assert report.ticks["quote"] == 2 * COUNT
    assert report.findings == {}


@pytest.mark.parametrize(("option", "code"), [((), 1), (("--no-check",), 0)])
def test_backtest_looks_at_the_data_unless_it_is_left_out(
    option: tuple[str, ...], code: int, headrace_run: Run, tmp_path: Path
) -> None:
    from headrace.feeds.writers import write_ticks

    published = np.asarray(trades(price=(5, 0.0)))
    published["seq"] = np.arange(1, COUNT + 1)
    write_ticks(tmp_path / "t.npz", [published], [BTC])
    (tmp_path / "quiet.py").write_text(
        "from headrace import Strategy\n\n\nclass Quiet(Strategy):\n    def on_trade(self, price):\n        pass\n"
    )
    done = headrace_run("backtest", "t.npz", "--strategy", "quiet.py:Quiet", *option)
    assert done.returncode == code, done.stderr
    assert ("a price is 0" in done.stderr) is (code == 1)
