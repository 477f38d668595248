"""The real recordings, against the figures of an independent count; skipped where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

import headrace
from headrace import Strategy
from tests.support.command import Run


class Facts(NamedTuple):
    """What one recording holds."""

    file: str
    venue: str
    seconds: int
    frames: dict[str, int]
    ticks: int
    levels: int


RECORDINGS = (
    Facts(
        "spot_btcusdt_20240808.gz",
        "BINANCE",
        346,
        {"bookTicker": 28_040, "trade": 9_757, "aggTrade": 0, "depthUpdate": 3_451, "snapshot": 1},
        163_887,
        126_090,
    ),
    Facts(
        "usdm_btcusdt_20240808.gz",
        "BINANCE_USDM",
        345,
        {"bookTicker": 66_089, "trade": 21_313, "aggTrade": 0, "depthUpdate": 6_551, "snapshot": 1},
        532_923,
        445_521,
    ),
    Facts(
        "spot_ethusdt_20240809.gz",
        "BINANCE",
        305,
        {"bookTicker": 34_681, "trade": 8_409, "aggTrade": 0, "depthUpdate": 3_036, "snapshot": 0},
        209_040,
        165_950,
    ),
)
each_recording = pytest.mark.parametrize("facts", RECORDINGS, ids=lambda facts: facts.file)


class Everything(Strategy):
    """Gets every kind, tick by tick and in columns."""

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        pass

    def on_trades(self, price: object, size: object) -> None:
        pass

    def on_levels(self, price: object, size: object, side: object) -> None:
        pass


class Quotes(Strategy):
    """Gets quotes only, which every policy accepts."""

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        pass


@each_recording
def test_a_recording_replays_whole(recordings: Path, facts: Facts) -> None:
    result = headrace.replay(recordings / facts.file, Everything)
    assert result.frames == facts.frames
    assert result.rejected == {}
    assert result.ignored == {}
    assert result.gaps == 0
    assert sum(result.ticks.values()) == facts.ticks
    assert result.ticks["level"] + result.ticks.get("level_empty", 0) == facts.levels
    assert result.ticks["quote"] == facts.frames["bookTicker"]
    assert result.ticks["trade"] == facts.frames["trade"]
    assert result.sources[0].venue == facts.venue
    assert abs(result.span_ns / 1e9 - facts.seconds) < 1
    assert result.strategies["Everything"].published == facts.ticks


@each_recording
def test_input_is_equal_for_every_capacity_and_policy(recordings: Path, facts: Facts) -> None:
    hashes = {
        headrace.replay(
            recordings / facts.file, Quotes, overflow=overflow, ring_capacity=capacity, hashing=True
        ).input_hash
        for overflow, capacity in (("block", 65_536), ("block", 2), ("drop_oldest", 65_536), ("conflate", 1_024))
    }
    assert len(hashes) == 1
    assert None not in hashes


@each_recording
def test_a_policy_that_lost_nothing_delivers_what_block_delivers(recordings: Path, facts: Facts) -> None:
    delivered = set()
    for overflow in ("block", "drop_oldest"):
        stats = headrace.replay(recordings / facts.file, Everything, overflow=overflow, hashing=True).strategies
        assert stats["Everything"].missed == 0
        delivered.add(stats["Everything"].delivered_hash)
    assert len(delivered) == 1


def test_two_processes_have_equal_hashes(recordings: Path, headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "quotes.py").write_text(
        "from headrace import Strategy\nclass Quotes(Strategy):\n    def on_quote(self, bid_price, ask_price): pass\n"
    )
    arguments = ("replay", recordings / RECORDINGS[0].file, "--strategy", "quotes:Quotes", "--hash", "--json")
    runs = [headrace_run(*arguments, "--ring-capacity", capacity) for capacity in ("65536", "1024")]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    first, second = (json.loads(run.stdout) for run in runs)
    assert first["input_hash"] == second["input_hash"]
    assert first["strategies"]["Quotes"]["delivered_hash"] == second["strategies"]["Quotes"]["delivered_hash"]
    assert first["input_hash"] == headrace.replay(recordings / RECORDINGS[0].file, hashing=True).input_hash


def test_the_same_symbol_of_two_venues_stays_two_instruments(recordings: Path) -> None:
    seen: dict[str, int] = {}

    def on_quote(instrument: str, bid_price: float) -> None:
        seen[instrument] = seen.get(instrument, 0) + 1

    spot, usdm = RECORDINGS[0], RECORDINGS[1]
    result = headrace.replay([recordings / spot.file, recordings / usdm.file], on_quote)
    assert set(result.instruments) == {"BTCUSDT.BINANCE", "BTCUSDT.BINANCE_USDM"}
    assert seen["BTCUSDT.BINANCE"] == spot.frames["bookTicker"]
    assert seen["BTCUSDT.BINANCE_USDM"] == usdm.frames["bookTicker"]
    assert result.gaps == 0
    assert sum(result.ticks.values()) == spot.ticks + usdm.ticks


@each_recording
def test_the_command_says_the_same(recordings: Path, headrace_run: Run, facts: Facts) -> None:
    example = "headrace.examples.spread_watch:SpreadWatch"
    ended = headrace_run("replay", recordings / facts.file, "--strategy", example, "--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["frames"] == facts.frames
    assert document["rejected"] == {}
    assert document["gaps"] == 0
    assert sum(document["ticks"].values()) == facts.ticks


def test_inspect_says_the_same(recordings: Path, headrace_run: Run) -> None:
    ended = headrace_run("inspect", recordings / RECORDINGS[0].file)
    assert ended.returncode == 0, ended.stderr
    for text in ("28,040", "9,757", "BTCUSDT.BINANCE", "venue gaps"):
        assert text in ended.stdout
