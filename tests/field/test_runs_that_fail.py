"""A run that ended with a failed or quarantined strategy exits with 1, and says which strategy and why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace.feeds import SyntheticFeed
from tests.support.command import Run

STRATEGIES = """
from headrace import Strategy


class Watches(Strategy):
    def on_quote(self, bid_price): ...


class Raises(Strategy):
    def on_quote(self, bid_price):
        raise KeyError("x")


class FailsToStart(Strategy):
    def on_start(self):
        raise ValueError("no start")

    def on_quote(self, bid_price): ...


class Logs(Strategy):
    def on_quote(self, bid_price):
        self.log.warning("a quote")
"""
CONFIG = """
[engine]
state_folder = "state"
speed = 100.0
dispatch_log = "log"

[[feeds]]
kind = "recording"
path = "recording.gz"

[[strategies]]
use = "own.py:Watches"

[[strategies]]
use = "own.py:{strategy}"
"""
ENDINGS = {
    "Watches": "",
    "Raises": "headrace: strategy Raises ended in quarantine after 3 faults: KeyError: 'x' in on_quote",
    "FailsToStart": "headrace: strategy FailsToStart failed: ValueError: no start in on_start",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(STRATEGIES)
    SyntheticFeed(frames=400).write(tmp_path / "recording.gz")
    return tmp_path


@pytest.mark.parametrize("strategy", ENDINGS)
def test_every_verb_fails_with_its_strategies(headrace_run: Run, folder: Path, strategy: str) -> None:
    (folder / "engine.toml").write_text(CONFIG.format(strategy=strategy))
    own = ("--strategy", f"own.py:{strategy}")
    for arguments in (
        ("run", "engine.toml"),
        ("backtest", "engine.toml"),
        ("replay", "recording.gz", *own, "--on-fault", "quarantine"),
        ("repeat", "log"),
    ):
        ended = headrace_run(*arguments)
        said = [line for line in ended.stderr.splitlines() if line.startswith("headrace: strategy")]
        assert (ended.returncode, said) == (
            1 if ENDINGS[strategy] else 0,
            [ENDINGS[strategy]] * bool(ENDINGS[strategy]),
        )


@pytest.mark.parametrize("arguments", [("run", "engine.toml"), ("backtest", "engine.toml")])
def test_what_ends_a_run_is_the_strategys_own(headrace_run: Run, folder: Path, arguments: tuple[str, ...]) -> None:
    (folder / "engine.toml").write_text(CONFIG.format(strategy="Raises"))
    ended = headrace_run(*arguments, "--set", "engine.on_fault=raise")
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("headrace: KeyError: 'x' in Raises.on_quote, at BTCUSDT.BINANCE quote seq 1")
    assert "headrace itself" not in ended.stderr
    assert 'raise KeyError("x")' in ended.stderr


def test_a_fault_is_logged_with_its_type_and_the_market_time(headrace_run: Run, folder: Path) -> None:
    (folder / "engine.toml").write_text(CONFIG.format(strategy="Raises"))
    market = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ"
    fault = r"KeyError: 'x' in Raises\.on_quote, at BTCUSDT\.BINANCE quote seq 1 at position 0"
    replayed = headrace_run("replay", "recording.gz", "--strategy", "own.py:Raises", "--on-fault", "quarantine")
    assert re.search(rf"^headrace: {market} {fault}$", replayed.stderr, re.MULTILINE), replayed.stderr
    tested = headrace_run("backtest", "engine.toml")
    assert re.search(rf"\[replay {market}\]: {fault}$", tested.stderr, re.MULTILINE), tested.stderr
    live = headrace_run("run", "engine.toml")
    assert re.search(rf"\[headrace-[^ ]*\]: {fault}$", live.stderr, re.MULTILINE), live.stderr


def test_a_strategys_own_lines_have_the_market_time(headrace_run: Run, folder: Path) -> None:
    ended = headrace_run("replay", "recording.gz", "--strategy", "own.py:Logs")
    lines = [line for line in ended.stderr.splitlines() if line.endswith(" a quote")]
    times = [line.split()[1] for line in lines]
    assert times == sorted(times)
    assert times[0] != times[-1]
