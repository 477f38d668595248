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

from headrace.commands import Command, Outcome
from headrace.trading.kill_switch import KillSwitch
from tests.support.commanding import ACCEPTED, Note
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


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("pause", "one"), 0),
        (("pause", "nobody"), 1),
        (("note", "s", "--text", "hello"), 0),
        (("list-routes",), 1),
    ],
)
async def test_both_transports_give_the_same_answer(folder: Path, arguments: tuple[str, ...], code: int) -> None:
    own: dict[type[Command], Any] = {Note: lambda command: Outcome("accepted", "heard", {"text": command.text})}
    answers = {}
    for name in ("socket", "http"):
        async with serving(folder, own=own) as served:
            ended = await ctl(*arguments, "--json", *places(served)[name])
            assert ended.code == code, ended.err
            ack = json.loads(ended.out)
            answers[name] = {
                key: ack[key] for key in ("engine", "status", "version", "target_version", "reason", "detail")
            }
    assert answers["http"] == answers["socket"]


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
