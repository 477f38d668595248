"""``headrace ctl``: a real engine in one process, the command in another, connected by the socket alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.cli import app
from headrace.commands import COMMANDS

Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]

ENGINE = '''
import sys

from headrace import Strategy
from headrace.commands import Command, Outcome
from headrace.control import ControlServer
from headrace.engine.engine import Engine
from headrace.market.events import Status


class Idle(Strategy):
    def on_quote(self, bid_price: float) -> None: ...


class Greet(Command, frozen=True):
    """Say hello to somebody."""

    verb = "greet"

    who: str
    times: int = 1
    warmly: bool = False
    words: list[str] = []
    engine: str = "steam"


def greet(command: Greet) -> Outcome:
    told = {"who": command.who, "times": command.times, "warmly": command.warmly}
    return Outcome("accepted", "hello", {**told, "words": command.words, "engine": command.engine})


def fail(event: Status) -> None:
    raise ValueError("cannot bear it")


engine = Engine(name=sys.argv[1], strategies=[Idle()])
engine.commands.register(Greet, greet)
engine.bus.subscribe(Status, fail)
engine.bus.publish_nowait(Status(subject="test", state="up"))
engine.services.add(ControlServer(engine.commands, engine=engine.name, dead_letters=engine.dead_letters))
engine.bus.subscribe(lambda event: getattr(event, "name", "") == "ENGINE_READY", lambda _: print("ready", flush=True))
report = engine.run()
print(report.ended_by)
'''


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder whose path is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="headrace-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def engines(tmp_path: Path, state: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start engines, each in a process of its own; those that still run at the end are killed."""
    (tmp_path / "engine.py").write_text(ENGINE)
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "engine.py"), name],
            env={**os.environ, "HEADRACE_STATE": str(state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def ctl(state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``headrace ctl`` for the engines of the state folder, in this process because that is faster."""
    monkeypatch.setenv("HEADRACE_STATE", str(state))

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        code = app.run(["ctl", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


def test_help_lists_every_command_without_an_engine(ctl: Run) -> None:
    ended = ctl("--help")
    assert ended.returncode == 0
    assert [entry.verb for entry in COMMANDS.values() if f"\n  {entry.verb} " not in ended.stdout] == []
    assert "dead-letters" in ended.stdout


@pytest.mark.parametrize("entry", COMMANDS.values(), ids=lambda entry: entry.verb)
def test_every_field_of_a_command_is_an_argument_or_an_option(ctl: Run, entry) -> None:
    told = ctl(entry.verb, "--help").stdout
    for argument in entry.arguments:
        assert (argument.name.upper() if argument.required else f"--{argument.name.replace('_', '-')} ") in told


def test_the_installed_command_does_the_same(headrace_run: Run, state: Path, engines) -> None:
    engines("paper")
    ended = headrace_run("ctl", "pause", "Idle", HEADRACE_STATE=str(state))
    assert (ended.returncode, ended.stdout.startswith("pause: accepted, version 1, ")) == (0, True)
    ended = headrace_run("ctl", "pause", "Nobody", HEADRACE_STATE=str(state))
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


def test_an_operator_steers_a_running_engine(ctl: Run, engines) -> None:
    engine = engines("paper")
    for arguments, code, said in (
        (("status",), 0, "Idle  running"),
        (("pause", "Idle"), 0, "pause: accepted, version 1, "),
        (("pause", "Idle"), 0, "pause: noop, version 1, "),
        (("resume", "Idle", "--engine", "paper", "--timeout", "2"), 0, "resume: accepted"),
        (("pause", "Nobody"), 1, "headrace: pause rejected: no strategy is called 'Nobody'; there are Idle"),
        (("cancel", "o-1"), 1, "headrace: cancel rejected: no order is called 'o-1'"),
        (("set-subscription", "Idle", "--batch-max", "7"), 0, "set-subscription: accepted"),
        (("set-subscription", "Idle", "--batch-max", "0"), 2, "Expected `int` >= 1 - at `$.batch_max`"),
        (("set-subscription", "Idle", "--overflow", "lose"), 2, "'lose' is not one of"),
        (("pause",), 2, "Missing argument 'STRATEGY'"),
        (("rearm",), 0, "rearm: noop"),
        (("nonsense",), 2, "no such command 'nonsense', neither here nor at engine 'paper'"),
    ):
        ended = ctl(*arguments)
        assert (ended.returncode, said in ended.stdout + ended.stderr) == (code, True), (arguments, ended)
    assert ctl("drain").returncode == 0
    assert engine.stdout.read() == "drained by command\n"
    assert engine.wait() == 0
    ended = ctl("status")
    assert (ended.returncode, "no engine runs with the state folder" in ended.stderr) == (3, True)


def test_json_is_one_document_with_the_whole_ack(ctl: Run, engines) -> None:
    engines("paper")
    ack = json.loads(ctl("pause", "Idle", "--key", "k", "--json").stdout)
    assert (ack["engine"], ack["status"], ack["version"], ack["key"]) == ("paper", "accepted", 1, "k")
    again = json.loads(ctl("pause", "Idle", "--key", "k", "--json").stdout)
    assert again == ack
    refused = ctl("resume", "Idle", "--key", "k", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["status"]) == (1, "rejected")
    status = json.loads(ctl("status", "--json").stdout)
    assert status["detail"]["strategies"]["Idle"]["state"] == "paused"


def test_a_users_command_is_a_verb_too(ctl: Run, engines) -> None:
    engines("paper")
    assert "greet  Say hello to somebody." in ctl("--help").stdout
    told = ctl(
        "greet", "Anna", "--times", "3", "--warmly", "true", "--words", '["a", "b"]', "--its-engine", "x", "--json"
    )
    assert json.loads(told.stdout)["detail"] == {
        "who": "Anna",
        "times": 3,
        "warmly": True,
        "words": ["a", "b"],
        "engine": "x",
    }
    assert "greet: accepted" in ctl("greet", "Anna", "--engine=paper").stdout
    for arguments in (("greet",), ("greet", "Anna", "--times", "x"), ("greet", "Anna", "--words", "[")):
        assert ctl(*arguments).returncode == 2
    assert ctl("greet", "Anna", "--engine", "live").returncode == 2


def test_dead_letters_are_listed_shown_and_redriven(ctl: Run, engines) -> None:
    engines("paper")
    listed = ctl("dead-letters", "list").stdout
    assert "cannot bear it" in listed
    assert ctl("dead-letters").stdout == listed
    letter = json.loads(ctl("dead-letters", "list", "--kind", "event", "--json").stdout)[0]
    shown = ctl("dead-letters", "get", str(letter["id"])).stdout
    assert "ValueError: cannot bear it" in shown
    assert "Traceback" in shown
    event = json.loads(ctl("dead-letters", "get", str(letter["id"]), "--json").stdout)["event"]
    assert (event["type"], event["subject"]) == ("Status", "test")
    assert ctl("dead-letters", "redrive", str(letter["id"])).returncode == 0
    twice = ctl("redrive", str(letter["id"]))
    assert (twice.returncode, "redriven already" in twice.stderr) == (1, True)
    assert ctl("dead-letters", "get", "999").returncode == 1
    assert ctl("dead-letters", "list", "--kind", "frame").stdout == "no dead letters\n"


def test_where_several_engines_run_one_must_be_named(ctl: Run, engines) -> None:
    engines("paper")
    engines("live")
    ended = ctl("status")
    assert (ended.returncode, "say which with --engine live|paper" in ended.stderr) == (2, True)
    assert "engine        live" in ctl("status", "--engine", "live").stdout
    missing = ctl("status", "--engine", "demo")
    assert (missing.returncode, "cannot be reached" in missing.stderr) == (3, True)
    halted = json.loads(ctl("halt", "--json").stdout)
    assert set(halted["engines"]) == {"live", "paper"}


@pytest.mark.parametrize("arguments", [("status",), ("dead-letters",), ("pause", "one"), ("--help",), ("greet", "me")])
def test_looking_for_an_engine_makes_no_folder(ctl: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    folder = tmp_path / "nothing"
    ended = ctl("--state-folder", str(folder), *arguments)
    assert arguments == ("--help",) or "no engine runs" in ended.stderr
    assert not folder.exists()


@pytest.mark.parametrize("wrong", ["speed = -1", "wait = 3\n[feeds]", 'audit = ""', "sped = 1\n[risk]\nquantity = 1"])
def test_a_wrong_configuration_prevents_no_halt(ctl: Run, tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "paper.toml"
    file.write_text(f'[engine]\nstate_folder = "own"\n{wrong}\n')
    assert ctl("halt", "--config", str(file)).returncode == 0
    assert (tmp_path / "own" / "halt.json").exists()


@pytest.mark.parametrize("wrong", ["engine = 3", "[engine]\nstate_folder = 3", '[engine]\nname = "a b"'])
def test_a_halt_needs_to_know_its_folder_and_engine(ctl: Run, tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "paper.toml"
    file.write_text(wrong)
    ended = ctl("halt", "--config", str(file))
    assert (ended.returncode, "is wrong" in ended.stderr) == (2, True)


def test_halt_without_an_engine_writes_the_latch(ctl: Run, state: Path, engines) -> None:
    ended = ctl("halt", "--reason", "enough")
    assert ended.returncode == 0
    assert ended.stdout == f"latch: {state}/halt.json\nno engine runs: the next one starts halted\n"
    assert json.loads((state / "halt.json").read_text())["reason"] == "enough"
    engines("paper")
    assert json.loads(ctl("status", "--json").stdout)["detail"]["halted"] is True
    ended = ctl("halt")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"latch: {state}/halt.json\nengine paper: noop")
    assert ctl("rearm", "--reason", "all is well").returncode == 0
    assert not (state / "halt.json").exists()
    assert json.loads(ctl("status", "--json").stdout)["detail"]["halted"] is False


def test_a_second_halt_of_a_running_engine_is_a_noop(ctl: Run, state: Path, engines) -> None:
    engines("paper")
    for reason, said in (("enough", "accepted"), ("enough", "noop"), ("more", "noop")):
        ended = ctl("halt", "--reason", reason)
        assert ended.returncode == 0
        assert ended.stdout.startswith(f"latch: {state}/halt.json\nengine paper: {said}"), ended.stdout
    assert ctl("rearm").returncode == 0
    assert "engine paper: accepted" in ctl("halt", "--reason", "enough").stdout


def test_halt_writes_the_latch_before_it_asks_an_engine(ctl: Run, state: Path) -> None:
    seen: list[bool] = []
    (state / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(state / "run" / "paper.sock"))
        listener.listen()

        def look() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                seen.append((state / "halt.json").exists())

        engine = threading.Thread(target=look)
        engine.start()
        ended = ctl("halt", "--engine", "paper")
        engine.join()
    assert seen == [True]
    assert (ended.returncode, "paper: not confirmed" in ended.stdout) == (3, True)


def test_halt_of_a_hanging_engine_is_written_but_unconfirmed(ctl: Run, state: Path, engines) -> None:
    engine = engines("paper")
    engine.send_signal(signal.SIGSTOP)
    try:
        ended = ctl("halt")
        assert ended.returncode == 3
        assert "engine paper: not confirmed: engine 'paper' took the request and does not answer" in ended.stdout
        assert (state / "halt.json").exists()
    finally:
        engine.send_signal(signal.SIGCONT)


def test_halt_that_cannot_write_its_latch_reaches_the_engine(ctl: Run, state: Path, engines) -> None:
    engines("paper")
    (state / "halt.json").mkdir()
    ended = ctl("halt")
    # The engine reads even a folder of that name as a halt.
    assert "engine paper: " in ended.stdout
    assert json.loads(ctl("status", "--json").stdout)["detail"]["halted"] is True
