"""The small verbs: version, inspect, fields, doctor, new."""

from __future__ import annotations

import gzip
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import headrace
import headrace.examples
from headrace.cli.app import PURPOSES, commands
from headrace.feeds import SyntheticFeed
from tests.support.command import Run
from tests.support.engines import START


def test_version_is_the_installed_one(headrace_run: Run) -> None:
    assert headrace_run("--version").stdout == f"headrace {importlib.metadata.version('headrace')}\n"


def test_the_script_that_is_installed_is_the_same_command() -> None:
    script = Path(sys.executable).parent / "headrace"
    told = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert told == f"headrace {importlib.metadata.version('headrace')}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []], ids=["help", "h", "nothing"])
def test_help_names_every_verb(headrace_run: Run, arguments: list[str]) -> None:
    ended = headrace_run(*arguments)
    assert ended.returncode == 0
    assert ended.stdout.startswith("Usage: headrace")
    assert all(f"\n  {verb} " in ended.stdout for verb in commands.commands)


@pytest.mark.parametrize("group", [["ctl"], ["config"]], ids=" ".join)
def test_a_group_without_a_verb_lists_its_verbs(headrace_run: Run, group: list[str]) -> None:
    ended = headrace_run(*group)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"Usage: headrace {' '.join(group)} [OPTIONS]")
    assert "\nCommands:\n  " in ended.stderr


def test_help_and_readme_show_the_same_table_of_verbs() -> None:
    purposes = {verb: text for section in PURPOSES.values() for verb, text in section.items()}
    assert set(purposes) == set(commands.commands)
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    assert [verb for verb, text in purposes.items() if f"| `headrace {verb}` | {text} |" not in readme] == []


def test_inspect_shows_span_venue_types_instruments_and_rates(headrace_run: Run, usdm_file: Path) -> None:
    ended = headrace_run("inspect", usdm_file)
    assert ended.returncode == 0, ended.stderr
    for text in ("BINANCE_USDM", "span", "bookTicker", "BTCUSDT.BINANCE_USDM", "agg_trade", "per second", "venue gaps"):
        assert text in ended.stdout


def test_inspect_shows_each_gap_and_each_reject(headrace_run: Run, tmp_path: Path) -> None:
    lines = list(SyntheticFeed(frames=5_000).lines())
    trades = [index for index, line in enumerate(lines) if b"@trade" in line]
    del lines[trades[100]]
    lines[trades[200]] = lines[trades[200]][:60] + b"\n"
    path = tmp_path / "holes.gz"
    path.write_bytes(gzip.compress(b"".join(lines)))
    ended = headrace_run("inspect", path)
    assert ended.returncode == 0, ended.stderr
    assert "first venue gaps" in ended.stdout
    assert "first rejects" in ended.stdout
    # The missing frame and the unreadable frame are one gap each.
    assert sum(line.count("VENUE") for line in ended.stdout.splitlines() if "trade" in line) == 2


def test_inspect_of_a_missing_file_is_exit_code_1(headrace_run: Run) -> None:
    ended = headrace_run("inspect", "missing.gz")
    assert ended.returncode == 1
    assert ended.stderr.startswith("headrace: recording missing.gz is missing")


def test_inspect_of_a_file_without_frames_is_exit_code_1(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "noise").write_text(f"{START} {{}}\n{START} nonsense\n")
    ended = headrace_run("inspect", "noise@BINANCE")
    assert ended.returncode == 1
    assert ended.stderr == "headrace: noise holds no accepted frame\n"
    assert "first rejects" in ended.stdout


def test_inspect_reads_saved_ticks(headrace_run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", headrace.ticks(instrument="A.B", ts_init=[1, 2], price=[1.0, 2.0], size=[1.0, 1.0]))
    ended = headrace_run("inspect", "own.npy")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"0\.ARRAY +trade +2 ", ended.stdout)


def test_fields_lists_what_handlers_may_declare(headrace_run: Run) -> None:
    ended = headrace_run("fields")
    assert ended.returncode == 0, ended.stderr
    assert all(
        name in ended.stdout for name in ("bid_price", "microprice", "aggressor_side", "instrument_id", "lag_ns")
    )


def test_doctor_names_versions_build_and_extras(headrace_run: Run) -> None:
    ended = headrace_run("doctor")
    assert ended.returncode == 0, ended.stderr
    for name in ("numpy", "msgspec", "click"):
        assert importlib.metadata.version(name) in ended.stdout
    assert "rich" in ended.stdout


def test_a_new_strategy_is_short_and_runs_as_it_stands(headrace_run: Run, spot_file: Path, tmp_path: Path) -> None:
    made = headrace_run("new", "my_strategy.py")
    assert made.returncode == 0, made.stderr
    assert len((tmp_path / "my_strategy.py").read_text().splitlines()) <= 12
    command = made.stdout.rpartition("headrace ")[2].split()
    assert command == ["replay", "RECORDING", "--strategy", "my_strategy.py:MyStrategy"]
    ended = headrace_run("replay", spot_file, *command[2:])
    assert ended.returncode == 0, ended.stderr
    assert "MyStrategy" in ended.stdout


EXAMPLES = ("spread_watch", "trade_flow", "slow_journal", "faulty")
TRADING_EXAMPLES = ("mean_reversion", "momentum")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_by_the_command_in_its_header(headrace_run: Run, spot_file: Path, example: str) -> None:
    module = importlib.import_module(f"headrace.examples.{example}")
    (command,) = re.findall(r"``headrace (replay RECORDING .*)``", module.__doc__ or "")
    ended = headrace_run(*command.replace("RECORDING", str(spot_file)).split())
    assert ended.returncode == (1 if "quarantine" in command else 0), ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("example", TRADING_EXAMPLES)
def test_the_trading_example_runs_by_its_header_and_fills(headrace_run: Run, tmp_path: Path, example: str) -> None:
    module = importlib.import_module(f"headrace.examples.{example}")
    (command,) = re.findall(r"``headrace (backtest CONFIG .*)``", module.__doc__ or "")
    assert headrace_run("config", "new", "paper.toml").returncode == 0
    shorter = "feeds.0.options.frames=20000"
    arguments = command.replace("CONFIG", "paper.toml").split()
    ended = headrace_run(*arguments, "--set", shorter, "--json", HEADRACE_STATE=str(tmp_path / "state"))
    assert ended.returncode == 0, ended.stderr
    (strategy,) = json.loads(ended.stdout)["strategies"].values()
    assert strategy["stopped_from"] == "running"
    assert strategy["orders"]["fills"] > 0


def test_every_example_is_tested() -> None:
    folder = Path(headrace.examples.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} == {*EXAMPLES, *TRADING_EXAMPLES, "__init__"}


def test_new_never_overwrites(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("precious\n")
    ended = headrace_run("new", "mine.py")
    assert ended.returncode == 1
    assert "exists already" in ended.stderr
    assert (tmp_path / "mine.py").read_text() == "precious\n"


@pytest.mark.parametrize("name", ["my-strategy.py", "strategy.txt", "class.py", "1st.py"])
def test_new_refuses_a_name_that_cannot_be_imported(headrace_run: Run, tmp_path: Path, name: str) -> None:
    ended = headrace_run("new", name)
    assert ended.returncode == 2
    assert "my_strategy.py" in ended.stderr
    assert not (tmp_path / name).exists()
