"""``headrace config``: ``new`` writes a file that runs, ``show`` prints what holds, ``check`` reports every error."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path

import pytest

from tests.support.command import Run

STRATEGIES = """
import headrace


class Fine(headrace.Strategy):
    def __init__(self, span: float = 1.0) -> None:
        self.span = span

    def on_quote(self, bid_price: float) -> None:
        pass

    def on_bar(self, bar) -> None:
        pass


class Misspelt(headrace.Strategy):
    def on_quote(self, bid_prize: float) -> None:
        pass


class Plain:
    pass


class Recorder(headrace.engine.service.Service):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(STRATEGIES)
    return tmp_path


def test_a_new_file_is_right_and_shows_what_it_says(headrace_run: Run, tmp_path: Path) -> None:
    written = headrace_run("config", "new")
    assert written.returncode == 0, written.stderr
    assert "headrace run headrace.toml" in written.stdout
    checked = headrace_run("config", "check", "headrace.toml")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "headrace.toml is right: 1 feed, 1 strategy, 0 services, broker simulated\n"
    shown = headrace_run("config", "show", "headrace.toml", "--set", "engine.name=mine", HEADRACE__ENGINE__GC="idle")
    document = tomllib.loads(shown.stdout)
    assert (document["engine"]["name"], document["engine"]["gc"]) == ("mine", "idle")
    assert document["engine"]["audit"] == f"{tmp_path}/audit/" or document["engine"]["audit"] == "audit/"
    assert document["risk"]["quantity_max"] == 0.01


def test_new_overwrites_nothing(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("mine")
    ended = headrace_run("config", "new")
    assert ended.returncode == 1
    assert ended.stderr == "headrace: headrace.toml exists already and is not changed: choose another name\n"
    assert (tmp_path / "headrace.toml").read_text() == "mine"
    assert headrace_run("config", "new", "engine.yaml").returncode == 2
    assert headrace_run("config", "new", "nowhere/engine.toml").returncode == 1


def test_show_without_a_file_prints_the_defaults(headrace_run: Run) -> None:
    shown = headrace_run("config", "show")
    assert shown.returncode == 0, shown.stderr
    assert tomllib.loads(shown.stdout)["engine"]["ring_capacity"] == 65_536


def test_show_hides_secrets(headrace_run: Run) -> None:
    shown = headrace_run("config", "show", "--set", 'feeds=[{kind = "a:B", options = {api_key = "hush"}}]')
    assert shown.returncode == 0, shown.stderr
    assert "hush" not in shown.stdout
    assert 'api_key = "***"' in shown.stdout


def test_show_of_a_wrong_file_is_exit_code_2_and_one_line(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text("[engine]\nnmae = 'x'\n")
    ended = headrace_run("config", "show", "engine.toml")
    assert ended.returncode == 2
    assert ended.stderr.startswith("headrace: engine.toml: $.engine has no key 'nmae' (did you mean name?)")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["show", "check"])
def test_a_missing_file_is_exit_code_2(headrace_run: Run, verb: str) -> None:
    ended = headrace_run("config", verb, "missing.toml")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


WRONG = """
[engine]
audit = "own.py"
dispatch_log = "own.py/log"
ring_capacity = 2

[[feeds]]
kind = "recording"
path = "missing.gz"

[[feeds]]
kind = "synthetic"
options = { frmes = 1 }

[[strategies]]
use = "own.py:Fine"
parameters = { span = 2, spin = 3 }

[[strategies]]
use = "own.py:Fine"
subscription = { overflow = "conflate", on_lag = "skip" }

[[strategies]]
use = "own:Misspelt"

[[strategies]]
use = "own:Plain"

[[strategies]]
use = "own:Missing"

[[strategies]]
use = "own:Fine"
bars = ["5parsecs"]

[[services]]
use = "own:Plain"

[[services]]
use = "own:Recorder"
restart = "never"

[broker]
parameters = { latency_ns = -1 }

[instruments."BTCUSDT.NOWHERE"]
"""


def test_check_reports_every_error_with_its_path(headrace_run: Run, folder: Path) -> None:
    (folder / "engine.toml").write_text(WRONG)
    ended = headrace_run("config", "check", "engine.toml")
    assert ended.returncode == 2, ended.stderr
    told = dict(
        line.removeprefix("wrong: ").split(": ", 1) for line in ended.stdout.splitlines() if line.startswith("wrong: ")
    )
    expected = {
        "$.feeds[0].path": "missing.gz is no file",
        "$.feeds[1]": "did you mean frames?",
        "$.strategies[0]": "did you mean span?",
        "$.strategies[1]": "on_lag",
        "$.strategies[2]": "bid_price",
        "$.strategies[3]": "headrace.Strategy",
        "$.strategies[4]": "has no 'Missing'",
        "$.strategies[5].bars[0]": 'it takes a time like "1m", or "100t"',
        "$.services[0]": "it lacks",
        "$.broker": "latency_ns",
        "$.engine.audit": "exists already",
        "$.engine.dispatch_log": "is no folder",
    }
    for path, text in expected.items():
        assert text in told.get(path, "nothing"), (path, told.get(path))
    assert set(told) - set(expected) <= {"$.instruments"}
    assert ended.stderr == f"headrace: engine.toml has {len(told)} problems: correct them, then check again\n"


def test_check_runs_nothing_and_leaves_nothing_behind(headrace_run: Run, folder: Path) -> None:
    (folder / "engine.toml").write_text(
        '[engine]\naudit = "audit/"\nstate_folder = "state"\n[[strategies]]\nuse = "own:Fine"\nbars = ["1m"]\n'
    )
    before = {path.name for path in folder.iterdir()}
    ended = headrace_run("config", "check", "engine.toml")
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in folder.iterdir()} - before <= {"__pycache__"}


def test_check_notes_what_refuses_orders(headrace_run: Run, folder: Path) -> None:
    (folder / "engine.toml").write_text('[[strategies]]\nuse = "own:Fine"\n[broker]\n[risk]\nquantity_max = 1\n')
    ended = headrace_run("config", "check", "engine.toml")
    assert ended.returncode == 0, ended.stderr
    assert "note: $.instruments: no instrument is described, so every order is refused" in ended.stdout
    assert "note: $.risk.notional_max: it is not set" in ended.stdout
    assert "quantity_max" not in ended.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_finds_folders_that_may_not_be_written(headrace_run: Run, folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    (folder / "engine.toml").write_text('[engine]\naudit = "closed/run.jsonl"\n')
    ended = headrace_run("config", "check", "engine.toml")
    assert ended.returncode == 2
    assert "may not be written" in ended.stdout


def test_the_schema_is_json(headrace_run: Run) -> None:
    schema = json.loads(headrace_run("config", "schema").stdout)
    assert schema["$defs"]["EngineSection"]["properties"]["wait"]["enum"] == ["park", "spin"]


def test_the_group_alone_lists_its_verbs(headrace_run: Run) -> None:
    told = headrace_run("config", "--help").stdout
    assert all(verb in told for verb in ("new", "show", "check", "schema"))
