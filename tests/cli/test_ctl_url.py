"""``headrace ctl --url``: one client, two transports, the same answers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headrace.commands import COMMANDS, Command, Outcome
from headrace.trading.kill_switch import KillSwitch
from tests.support.commanding import ACCEPTED, Note
from tests.support.feeding import BTC
from tests.support.http_serving import Served, serving

# Each starts several processes.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state folder whose path is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="headrace-"))
    yield path
    shutil.rmtree(path)


async def ctl(*arguments: str | Path, **environment: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", "ctl", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


def places(served: Served) -> dict[str, tuple[str, ...]]:
    """Both ways to the engine."""
    file = served.folder / "http.token"
    return {
        "socket": ("--state-folder", str(served.folder)),
        "http": ("--url", served.server.url, "--token-file", str(file)),
    }


# Each verb, as it is done and as it is refused; what follows meets what came before.
SESSION = {
    ("pause", "one"): 0,
    ("pause", "nobody"): 1,
    ("resume", "one"): 0,
    ("set-subscription", "one", "--overflow", "conflate"): 0,
    # It was given as an object, and cannot be made again.
    ("restart", "two"): 1,
    ("stop", "two"): 0,
    ("amend", "none-such", "--price", "1"): 1,
    ("cancel", "none-such"): 1,
    ("cancel-all",): 0,
    ("flatten", "--strategy", "one"): 0,
    ("halt", "fire"): 0,
    ("rearm", "--reason", "it is out"): 0,
    ("redrive", "1"): 1,
    # This engine has no gateway.
    ("subscribe", "TRADE", BTC): 1,
    ("unsubscribe", "TRADE", BTC): 1,
    ("set-filter", "TRADE", BTC): 1,
    ("list-routes",): 1,
    ("note", "s", "--text", "hello"): 0,
    ("status",): 0,
    ("drain",): 0,
}
# What is of one process or one moment.
OF_ITS_TIME = {"now_ns", "run_id", "ticks"}


async def session(folder: Path, transport: str) -> list[tuple[int, dict[str, Any]]]:
    """Give each command over one transport; return its exit code, and what its answer says."""
    own: dict[type[Command], Any] = {Note: lambda command: Outcome("accepted", "heard", {"text": command.text})}
    answers = []
    async with serving(folder, own=own) as served:
        for arguments in SESSION:
            ended = await ctl(*arguments, "--json", *places(served)[transport])
            ack = json.loads(ended.out)
            if arguments[0] == "halt":
                # The local one writes the latch file itself, and tells every engine of the folder.
                ack = {"status": ack["status"] if transport == "http" else ack["engines"]["paper"]}
            detail = {name: told for name, told in ack.get("detail", {}).items() if name not in OF_ITS_TIME}
            said = {name: ack.get(name) for name in ("engine", "status", "version", "target_version", "reason")}
            answers.append((ended.code, {**said, "detail": detail}))
    return answers


async def test_every_verb_gets_the_same_answer_over_both_transports(folder: Path) -> None:
    assert {verb for verb, *_ in SESSION} == {entry.verb for entry in COMMANDS.values()} | {"note"}
    folders = {name: folder / name[0] for name in ("socket", "http")}
    for own in folders.values():
        own.mkdir(mode=0o700)
    local, remote = await asyncio.gather(*(session(own, name) for name, own in folders.items()))
    for arguments, here, there in zip(SESSION, local, remote, strict=True):
        assert (here[0], here) == (SESSION[arguments], there), arguments


async def test_status_table_and_letters_come_over_http(folder: Path) -> None:
    async with serving(folder, own={Note: lambda _: ACCEPTED}) as served:
        place = places(served)["http"]
        shown = await ctl("status", *place)
        assert (shown.code, "paper" in shown.out) == (0, True)
        listed = await ctl("dead-letters", "list", *place)
        assert (listed.code, listed.out) == (0, "no dead letters\n")
        assert (await ctl("dead-letters", "get", "3", *place)).code == 1


async def test_halt_and_rearm_go_over_http(folder: Path) -> None:
    async with serving(folder) as served:
        place = places(served)["http"]
        switch = served.engine.kill_switch
        assert switch is not None
        assert (await ctl("halt", "fire", *place)).code == 0
        assert isinstance(switch, KillSwitch)
        assert (switch.is_halted, switch.reason) == (True, "fire")
        assert (await ctl("rearm", *place)).code == 0
        assert not switch.is_halted


async def test_a_key_makes_a_repeated_command_one_command(folder: Path) -> None:
    calls: list[Note] = []

    def note(command: Note) -> Outcome:
        calls.append(command)
        return ACCEPTED

    async with serving(folder, own={Note: note}) as served:
        place = places(served)["http"]
        for _ in range(2):
            assert (await ctl("note", "s", "--key", "k", *place)).code == 0
        assert len(calls) == 1
        refused = await ctl("note", "t", "--key", "k", *place)
        assert (refused.code, "belongs to another command" in refused.err) == (1, True)


async def test_the_token_may_come_from_the_environment_and_is_never_shown(folder: Path) -> None:
    async with serving(folder) as served:
        token = served.token
        ended = await ctl("status", "--url", served.server.url, HEADRACE_HTTP_TOKEN=token)
        assert ended.code == 0
        wrong = await ctl("status", "--url", served.server.url, HEADRACE_HTTP_TOKEN="w" * 43)
        assert (wrong.code, "no valid token" in wrong.err) == (3, True)
        assert "www" not in wrong.err + wrong.out
        assert token not in ended.err + ended.out


async def test_an_engine_that_is_not_there_is_exit_code_3_and_a_wrong_use_2(folder: Path) -> None:
    token = {"HEADRACE_HTTP_TOKEN": "t" * 43}
    gone = await ctl("status", "--url", "http://127.0.0.1:1", **token)
    assert (gone.code, "no engine can be reached" in gone.err) == (3, True)
    missing = await ctl("status", "--url", "http://127.0.0.1:1", "--state-folder", folder)
    assert (missing.code, "there is no token file" in missing.err) == (3, True)
    for arguments in (
        ("--url", "127.0.0.1:1"),
        ("--url", "http://127.0.0.1:1/x"),
        ("--url", "http://127.0.0.1:1", "--engine", "paper"),
        ("--token-file", "f"),
    ):
        assert (await ctl("status", *arguments, **token)).code == 2, arguments
