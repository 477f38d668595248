"""An operator's command reaches the engine that was meant, or fails and says which engine it missed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace import Engine
from headrace.commands import Halt
from headrace.trading.engine_register import registered, running_engines
from headrace.trading.kill_switch import KillSwitch
from tests.support.command import COMMAND, Run
from tests.support.feeding import wait_until

CONFIG = """
[engine]
name = "paper"
state_folder = "own"

[[feeds]]
kind = "synthetic"
options = { frames = 1_000_000 }

[[strategies]]
use = "headrace.examples.spread_watch:SpreadWatch"
"""
Ctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home whose path is short enough for a socket, with the configuration of an engine."""
    path = Path(tempfile.mkdtemp(prefix="headrace-"))
    (path / "paper.toml").write_text(CONFIG)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def ctl(headrace_run: Run, home: Path) -> Ctl:
    """Run ``headrace ctl`` as the user of that home, who names no state folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return headrace_run("ctl", *arguments, XDG_STATE_HOME=str(home), HEADRACE_STATE=None)

    return run


@pytest.fixture
def engine(home: Path) -> Iterator[subprocess.Popen[str]]:
    """An engine that runs from the configuration, with the state folder that it names."""
    variables = {**os.environ, "XDG_STATE_HOME": str(home)}
    variables.pop("HEADRACE_STATE", None)
    process = subprocess.Popen(
        [*COMMAND, "run", str(home / "paper.toml")],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while " is ready" not in process.stderr.readline():
        assert process.poll() is None
    yield process
    process.kill()
    process.communicate()


def is_halted(ctl: Ctl, home: Path) -> bool:
    told = ctl("status", "--config", home / "paper.toml", "--json")
    return json.loads(told.stdout)["detail"]["halted"] is True


def test_a_halt_of_another_folder_fails(ctl: Ctl, home: Path, engine: subprocess.Popen[str]) -> None:
    ended = ctl("halt", "--reason", "enough")
    assert ended.returncode == 3
    assert ended.stdout.startswith(f"latch: {home}/headrace/halt.json\n")
    assert f"engine paper (process {engine.pid}, state folder {home}/own)" in ended.stderr
    assert "--state-folder" in ended.stderr
    assert json.loads((home / "headrace" / "halt.json").read_text())["reason"] == "enough"
    assert not is_halted(ctl, home)


@pytest.mark.parametrize("place", ["--config", "--state-folder"])
def test_a_halt_of_the_named_folder_is_accepted(
    ctl: Ctl, home: Path, engine: subprocess.Popen[str], place: str
) -> None:
    named = home / ("paper.toml" if place == "--config" else "own")
    ended = ctl("halt", place, named, "--reason", "enough")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"latch: {home}/own/halt.json\nengine paper: accepted\n"
    assert is_halted(ctl, home)
    assert ctl(place, named, "rearm").stdout.startswith("rearm: accepted")
    assert not is_halted(ctl, home)


@pytest.mark.parametrize("arguments", [("status",), ("pause", "SpreadWatch"), ("drain",), ("dead-letters", "list")])
def test_other_commands_name_the_engine_they_miss(
    ctl: Ctl, home: Path, engine: subprocess.Popen[str], arguments: tuple[str, ...]
) -> None:
    ended = ctl(*arguments)
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1)
    assert f"engine paper (process {engine.pid}, state folder {home}/own)" in ended.stderr
    assert engine.poll() is None


def test_a_rearm_of_another_folder_fails(ctl: Ctl, home: Path, engine: subprocess.Popen[str]) -> None:
    assert ctl("rearm").returncode == 3
    assert ctl("rearm", "--state-folder", home / "own").returncode == 0


def test_a_killed_engine_is_not_reported_as_missed(ctl: Ctl, home: Path, engine: subprocess.Popen[str]) -> None:
    assert len(list((home / "headrace-engines").iterdir())) == 1
    engine.kill()
    engine.wait()
    ended = ctl("halt")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "no engine runs: the next one starts halted" in ended.stdout
    assert list((home / "headrace-engines").iterdir()) == []


def test_rearm_without_an_engine_removes_the_latch(ctl: Ctl, home: Path) -> None:
    latch = home / "own" / "halt.json"
    assert ctl("halt", "--config", home / "paper.toml").returncode == 0
    assert latch.exists()
    ended = ctl("rearm", "--config", home / "paper.toml")
    assert (ended.returncode, ended.stdout) == (
        0,
        f"latch: {latch} was removed\nno engine runs: the next one starts rearmed\n",
    )
    assert not latch.exists()
    assert "it was not there" in ctl("rearm", "--config", home / "paper.toml").stdout


def test_every_text_is_accepted_as_the_reason_of_a_halt(ctl: Ctl, home: Path, engine: subprocess.Popen[str]) -> None:
    for reason in ("x" * 5_000, "\udcff"):
        ended = ctl("halt", "--config", home / "paper.toml", "--reason", reason)
        assert (ended.returncode, ended.stdout.splitlines()[1]) == (0, "engine paper: accepted")
        assert ctl("rearm", "--config", home / "paper.toml").returncode == 0


def test_a_configuration_that_is_wrong_elsewhere_halts(ctl: Ctl, home: Path, engine: subprocess.Popen[str]) -> None:
    (home / "paper.toml").write_text(f"{CONFIG}\n[rsk]\nquantity_max = 1\n")
    assert ctl("halt", "--config", home / "paper.toml").stdout.endswith("engine paper: accepted\n")
    for right, wrong in (("state_folder", "state_fodler"), ("state_folder", "StateFolder"), ("[engine]", "[engin]")):
        (home / "paper.toml").write_text(CONFIG.replace(right, wrong))
        ended = ctl("rearm", "--config", home / "paper.toml")
        assert (ended.returncode, f"did you mean {right.strip('[]')}" in ended.stderr) == (2, True)


@pytest.mark.asyncio
async def test_a_first_halt_is_accepted_whoever_saw_the_file(tmp_path: Path) -> None:
    async with Engine(state_folder=tmp_path) as engine:
        assert engine.kill_switch is not None
        with KillSwitch(tmp_path, watch=False) as outside:
            outside.halt("enough", "alice@pts/1/1")
        await wait_until_halted(engine)
        given = [await engine.commands.submit(Halt("enough"), actor=f"alice@pts/1/{pid}") for pid in (2, 3)]
        assert [ack.status for ack in given] == ["accepted", "noop"]


async def wait_until_halted(engine: Engine) -> None:
    assert engine.kill_switch is not None
    wait_until(lambda: engine.kill_switch is not None and engine.kill_switch.is_halted)


def test_an_engine_is_registered_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with registered("one", tmp_path), registered("two", tmp_path / "b"):
        found = running_engines()
        assert [(engine.name, engine.pid) for engine in found] == [("one", os.getpid()), ("two", os.getpid())]
        assert [engine.folder for engine in found] == [str(tmp_path), str(tmp_path / "b")]
    assert running_engines() == []
    assert list(tmp_path.iterdir()) == []


def test_an_engine_runs_where_nothing_can_be_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "headrace-engines").write_text("in the way")
    with registered("one", tmp_path):
        assert running_engines() == []
    assert "engine one is not in the register of engines" in caplog.text


def test_rearm_does_not_claim_an_engine_that_it_cannot_reach(
    ctl: Ctl, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    with KillSwitch(home / "own") as switch, registered("deaf", home / "own"):
        wait_until(lambda: any(own.name == "deaf" for own in running_engines()))
        assert ctl("halt", "--config", home / "paper.toml").stdout.endswith("engine deaf: has no control socket\n")
        wait_until(lambda: switch.is_halted)
        ended = ctl("rearm", "--config", home / "paper.toml")
        assert ended.returncode == 3
        said = "engine deaf: is not rearmed: it has no control socket; end it, and start it again\n"
        assert ended.stdout == f"latch: {home}/own/halt.json was removed\n{said}"
        assert switch.is_halted


def test_reason_without_its_option_halts_all_the_same(ctl: Ctl, home: Path) -> None:
    ended = ctl("halt", "prices", "are wrong", "--config", home / "paper.toml")
    assert ended.returncode == 0
    assert json.loads((home / "own" / "halt.json").read_text())["reason"] == "prices are wrong"
    assert ctl("rearm", "because", "--config", home / "paper.toml").returncode == 2
    assert (home / "own" / "halt.json").exists()
