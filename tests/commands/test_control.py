"""The control socket: operators in other processes reach an engine; malformed input and other users do not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from headrace.bus import EventBus
from headrace.commands import CommandBus, Outcome, PauseStrategy
from headrace.control import ControlClient, ControlServer, listening_engines
from headrace.control.wire import AskLetter, AskLetters, AskTable, Reply, Request, Submit
from headrace.engine.service import ServiceContext
from headrace.errors import ControlError, StateFolderError
from headrace.limits import CONTROL_LINE_BYTES_MAX
from headrace.market.clock import ModeName
from headrace.market.dead_letters import DeadLetter, DeadLetters
from tests.support.commanding import ACCEPTED, Gate, Note, turns
from tests.support.feeding import HandClock

pytestmark = pytest.mark.asyncio

Value = TypeVar("Value")
NOTE = msgspec.Raw(b'{"command": "Note", "subject": "s"}')


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state folder whose path is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="headrace-"))
    yield path
    shutil.rmtree(path)


def desk(*, mode: ModeName = "live") -> ServiceContext:
    clock = HandClock(1)
    return ServiceContext(bus=EventBus(clock=clock, mode=mode), clock=clock, run_id="r", mode=mode)


@asynccontextmanager
async def serving(
    folder: Path, *, name: str = "paper", **options: object
) -> AsyncIterator[tuple[CommandBus, ControlServer]]:
    """A command bus with a control server before it."""
    bus = CommandBus(bus=None, clock=HandClock(1))
    server = ControlServer(bus, engine=name, folder=folder, **options)  # type: ignore[arg-type]
    await bus.start()
    await server.setup(desk())
    try:
        yield bus, server
    finally:
        await server.stop()
        await bus.stop(0.0)


async def off_loop(work: Callable[[], Value]) -> Value:
    """Make a blocking call in a thread, so that the loop can answer it."""
    return await asyncio.to_thread(work)


async def until(is_so: Callable[[], bool]) -> None:
    """Let other tasks run until a condition holds."""
    while not is_so():
        await turns(1)


async def ask(folder: Path, request: Request) -> Reply:
    def talk() -> Reply:
        with ControlClient("paper", folder=folder) as client:
            return client.ask(request, timeout=5.0)

    return await off_loop(talk)


async def say(folder: Path, *lines: bytes) -> list[dict[str, object]]:
    """Send raw lines and return the answers, until each line is answered or the peer closes."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "run" / "paper.sock"), limit=1 << 24)
    answers = []
    for line in lines:
        writer.write(line)
        answer = await reader.readline()
        if not answer:
            break
        answers.append(msgspec.json.decode(answer))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answers


async def test_a_command_goes_over_the_socket_and_its_ack_comes_back(folder: Path) -> None:
    async with serving(folder) as (bus, server):
        bus.register(Note, lambda command: Outcome("accepted", detail={"heard": command.subject}))
        reply = await ask(folder, Submit(command=NOTE, key="k", terminal="pts/3\x1b[31m"))
        assert reply.ack is not None
        assert (reply.engine, reply.ack.status, reply.ack.detail, reply.ack.key) == (
            "paper",
            "accepted",
            {"heard": "s"},
            "k",
        )
        user = pwd.getpwuid(os.geteuid()).pw_name
        assert reply.ack.actor == f"{user}@pts/3?[31m/{os.getpid()}"
        again = await ask(folder, Submit(command=NOTE, key="k"))
        assert again.ack == reply.ack
        assert server.metrics()["requests"] == 2


async def test_a_rejected_command_is_an_answer_and_not_an_error(folder: Path) -> None:
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: ACCEPTED)
        for data, said in (
            (b'{"command": "Note", "subject": 1}', "at `$.subject`"),
            (b'{"command": "Nothing"}', "at `$.command`"),
            (b'"Note"', "malformed command"),
            (b'{"command": "PauseStrategy", "strategy": "one"}', "nobody handles 'pause' here"),
        ):
            reply = await ask(folder, Submit(command=msgspec.Raw(data)))
            assert reply.ack is not None
            assert reply.ack.status == "rejected"
            assert said in reply.ack.reason


async def test_the_table_of_the_engine_holds_a_users_own_commands(folder: Path) -> None:
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: ACCEPTED)
        bus.register(PauseStrategy, lambda _: ACCEPTED)
        reply = await ask(folder, AskTable())
        assert reply.table == tuple(bus.table())
        assert [entry.verb for entry in reply.table] == ["pause", "note"]


async def test_dead_letters_are_listed_briefly_and_shown_in_full(folder: Path) -> None:
    letters = DeadLetters()
    for number in range(30):
        letters.add(DeadLetter("frame", "not_json", "feed", 7, row=number, frame=b"\xff" * 5))
    async with serving(folder, dead_letters=letters):
        listed = (await ask(folder, AskLetters())).letters
        assert listed is not None
        assert [letter["id"] for letter in listed] == list(range(11, 31))
        assert (listed[0]["reason"], listed[0]["source"]) == ("not_json", "feed")
        assert "frame" not in listed[0]
        assert (await ask(folder, AskLetters(kind="event"))).letters == ()
        shown = (await ask(folder, AskLetter(7))).letters
        assert shown is not None
        assert (shown[0]["row"], shown[0]["frame"]) == (6, "\\xff" * 5)
        assert (await ask(folder, AskLetter(31))).letters == ()


async def test_an_answer_that_json_cannot_hold_still_arrives(folder: Path) -> None:
    endless: dict[str, object] = {}
    endless["more"] = endless
    told: Iterator[dict[str, object]] = iter([{"path": Path("x"), "number": 1}, endless])
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: Outcome("accepted", detail=next(told)))
        replies = [await ask(folder, Submit(command=NOTE)) for _ in range(2)]
        shown, lost = (reply.ack for reply in replies)
        assert shown is not None
        assert lost is not None
        assert shown.status == lost.status == "accepted"
        assert shown.detail == {"path": repr(Path("x")), "number": 1}
        assert lost.detail["lost"] == "this cannot be written as JSON (RecursionError)"


# The owner of the socket


async def test_only_the_owner_may_connect(folder: Path) -> None:
    previous = os.umask(0)
    try:
        async with serving(folder) as (_, server):
            assert server.path is not None
            assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
            assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700
            assert server.health() == "ok"
        assert not list((folder / "run").glob("*.sock"))
        assert listening_engines(folder) == []
    finally:
        os.umask(previous)


async def test_a_peer_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(folder) as (bus, server):
        bus.register(Note, lambda _: ACCEPTED)
        own = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: own + 1)
        with pytest.raises(ControlError, match=f"belongs to user {own + 1}, you are user {own}"):
            await ask(folder, Submit(command=NOTE))
        assert server.metrics()["refused"] == 1
        assert bus.stats().submitted == 0


async def test_only_a_dead_engines_socket_is_replaced(folder: Path) -> None:
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: ACCEPTED)
        second = ControlServer(bus, engine="paper", folder=folder)
        with pytest.raises(ControlError, match=f"runs already .process {os.getpid()}."):
            await second.setup(desk())
        await second.stop()
        assert listening_engines(folder) == ["paper"]
        async with serving(folder, name="live.2"):
            assert await off_loop(lambda: listening_engines(folder)) == ["live.2", "paper"]
    killed = textwrap.dedent(f"""
        import asyncio, os
        from headrace import WallClock
        from headrace.bus import EventBus
        from headrace.commands import CommandBus
        from headrace.control import ControlServer
        from headrace.engine.service import ServiceContext

        async def main():
            server = ControlServer(CommandBus(bus=None, clock=WallClock()), engine="paper", folder={str(folder)!r})
            await server.setup(ServiceContext(bus=EventBus(), clock=WallClock(), run_id="", mode="live"))
            os._exit(9)

        asyncio.run(main())
    """)
    ended = await off_loop(lambda: subprocess.run([sys.executable, "-c", killed], timeout=20, check=False))
    assert ended.returncode == 9
    assert (folder / "run" / "paper.sock").exists()
    assert listening_engines(folder) == []
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: ACCEPTED)
        assert (await ask(folder, Submit(command=NOTE))).ack is not None


async def test_a_replay_does_not_listen(folder: Path) -> None:
    server = ControlServer(CommandBus(bus=None, clock=HandClock()), folder=folder)
    await server.setup(desk(mode="replay"))
    assert server.path is None
    assert not (folder / "run").exists()
    await server.stop()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65])
async def test_a_name_that_is_no_file_name_is_refused(folder: Path, name: str) -> None:
    server = ControlServer(CommandBus(bus=None, clock=HandClock()), engine=name, folder=folder)
    with pytest.raises(ControlError, match="use up to 64 letters"):
        await server.setup(desk())


async def test_a_folder_that_no_socket_can_be_in_is_named(folder: Path) -> None:
    deep = folder / ("d" * 90)
    with pytest.raises(ControlError, match="name a shorter state folder"):
        await ControlServer(CommandBus(bus=None, clock=HandClock()), folder=deep).setup(desk())
    open_to_all = folder / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(StateFolderError, match="others may write"):
        await ControlServer(CommandBus(bus=None, clock=HandClock()), folder=open_to_all).setup(desk())
    (folder / "run").mkdir(mode=0o700)
    (folder / "run" / "paper.sock").mkdir()
    server = ControlServer(CommandBus(bus=None, clock=HandClock()), engine="paper", folder=folder)
    for _ in range(2):  # The lock was let go.
        with pytest.raises(ControlError, match="cannot be made"):
            await server.setup(desk())


# Hostile input


@pytest.mark.parametrize(
    "rubbish",
    [
        *(b"\n", b"{}\n", b"null\n", b"\xff\xfe\n", b'{"ask": "everything"}\n', b'{"ask": "table", "more": 1}\n'),
        *(b'{"ask": "submit"}\n', b'{"ask": "submit", "command": {}, "timeout": "soon"}\n', b"GET / HTTP/1.1\r\n"),
        *(b'{"ask": "letters", "last": 1000000}\n', b'{"ask": "letter", "letter_id": -1}\n', b"[" * 60_000 + b"\n"),
    ],
)
async def test_malformed_input_is_an_error_and_the_connection_stays(folder: Path, rubbish: bytes) -> None:
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: ACCEPTED)
        bad, good = await say(folder, rubbish, b'{"ask": "submit", "command": {"command": "Note", "subject": "s"}}\n')
        assert "the request cannot be read" in str(bad["error"])
        assert "ack" in good


async def test_a_command_nested_too_deep_is_rejected(folder: Path) -> None:
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: ACCEPTED)
        deep = b'{"ask": "submit", "command": ' + b"[" * 30_000 + b"]" * 30_000 + b"}\n"
        (answer,) = await say(folder, deep)
        assert "error" in answer or answer["ack"]["status"] == "rejected"  # type: ignore[index]
        assert bus.stats().outcomes.keys() <= {("malformed", "rejected")}


async def test_wrong_values_around_a_command_are_rejected(folder: Path) -> None:
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: ACCEPTED)
        for around in (b'"timeout": -1', b'"timeout": 0', b'"key": ""', b'"key": "' + b"k" * 500 + b'"'):
            line = b'{"ask": "submit", "command": {"command": "Note", "subject": "s"}, ' + around + b"}\n"
            (answer,) = await say(folder, line)
            assert answer["ack"]["status"] == "rejected"  # type: ignore[index]


async def test_a_line_without_end_is_cut_off(folder: Path) -> None:
    async with serving(folder) as (bus, _):
        bus.register(Note, lambda _: ACCEPTED)
        (answer,) = await say(folder, b"x" * (2 * CONTROL_LINE_BYTES_MAX))
        assert "a line is longer than 65,536 bytes" in str(answer["error"])
        assert (await ask(folder, Submit(command=NOTE))).ack is not None


async def test_a_silent_peer_is_closed_and_one_too_many_refused(folder: Path) -> None:
    async with serving(folder, connections_max=2, idle_s=0.05) as (_, server):
        silent = [await asyncio.open_unix_connection(str(server.path)) for _ in range(2)]
        (refused,) = await say(folder, b'{"ask": "table"}\n')
        assert "2 connections are open already" in str(refused["error"])
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
        assert (await ask(folder, AskTable())).table == ()


async def test_a_peer_that_leaves_early_gets_its_command_handled(folder: Path) -> None:
    gate = Gate()
    async with serving(folder) as (bus, server):
        bus.register(Note, gate)
        _, writer = await asyncio.open_unix_connection(str(server.path))
        writer.write(b'{"ask": "submit", "command": {"command": "Note", "subject": "s"}}\n')
        await gate.has_begun(1)
        writer.close()
        await writer.wait_closed()
        gate.open()
        await until(lambda: not bus.in_flight and not server.metrics()["open"])
        assert len(gate.ended) == 1
        assert bus.stats().outcomes["note", "accepted"].count == 1


async def test_a_peer_that_does_not_read_blocks_no_other(folder: Path) -> None:
    async with serving(folder, idle_s=0.05) as (bus, server):
        bus.register(Note, lambda _: Outcome("accepted", detail={"text": "x" * 5_000_000}))
        deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        deaf.connect(str(server.path))
        deaf.sendall(b'{"ask": "submit", "command": {"command": "Note", "subject": "s"}}\n')
        reply = await ask(folder, Submit(command=NOTE))
        assert reply.ack is not None
        assert len(reply.ack.detail["text"]) == 5_000_000
        await until(lambda: not server.metrics()["open"])
        deaf.close()


def has_hung_up(peer: socket.socket) -> bool:
    """Whether the other end is closed, found out without reading."""
    looking = select.poll()
    looking.register(peer, 0)
    return bool(looking.poll(0))


async def test_peers_that_never_read_leave_nothing_behind(folder: Path) -> None:
    """Their answers stay below the mark at which a writer waits, so only the close finds that nothing is read."""
    async with serving(folder, connections_max=3, idle_s=0.05) as (bus, server):
        bus.register(Note, lambda _: Outcome("accepted", detail={"text": "x" * 250_000}))
        with contextlib.ExitStack() as closing:
            deaf = [closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) for _ in range(3)]
            for peer in deaf:
                peer.connect(str(server.path))
                peer.sendall(b'{"ask": "submit", "command": {"command": "Note", "subject": "s"}}\n')
            await until(lambda: bus.stats().answered == 3)
            # While answers wait for it, a peer counts.
            await asyncio.sleep(0.1)
            (refused,) = await say(folder, b'{"ask": "table"}\n')
            assert "3 connections are open already" in str(refused["error"])
            await until(lambda: not server.metrics()["open"])
            await until(lambda: all(map(has_hung_up, deaf)))
        assert (await ask(folder, AskTable())).table is not None


async def test_stop_answers_running_commands_and_closes_the_rest(folder: Path) -> None:
    gate = Gate()
    async with serving(folder) as (bus, server):
        bus.register(Note, gate)
        idle_reader, idle_writer = await asyncio.open_unix_connection(str(server.path))
        busy = asyncio.ensure_future(ask(folder, Submit(command=NOTE)))
        await gate.has_begun(1)
        running = asyncio.ensure_future(server.run())
        stopping = asyncio.ensure_future(server.stop())
        await turns()
        gate.open()
        await asyncio.gather(running, stopping)
        reply = await busy
        assert reply.ack is not None
        assert reply.ack.status == "accepted"
        assert await idle_reader.read() == b""
        idle_writer.close()
        await server.stop()


async def test_stop_waits_for_a_handler_until_its_deadline(folder: Path) -> None:
    gate = Gate()
    async with serving(folder) as (bus, server):
        bus.register(Note, gate)
        busy = asyncio.ensure_future(ask(folder, Submit(command=NOTE)))
        await gate.has_begun(1)
        await server.stop()
        await bus.stop(0.0)
        with pytest.raises(ControlError, match="gave no answer"):
            await busy


# The client


async def test_an_engine_that_hangs_is_named_within_the_timeout(folder: Path) -> None:
    async with serving(folder):
        # This loop would answer, but it is busy here.
        with (
            ControlClient("paper", folder=folder) as client,
            pytest.raises(ControlError, match="does not answer within"),
        ):
            client.ask(AskTable(), timeout=0.05)


async def test_an_engine_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ControlError, match="cannot be reached"):
        ControlClient("paper", folder=folder)


async def test_a_socket_of_another_program_is_no_engine(folder: Path) -> None:
    (folder / "run").mkdir(mode=0o700)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail ready\n")
        writer.close()

    stranger = await asyncio.start_unix_server(babble, folder / "run" / "paper.sock")
    with pytest.raises(ControlError, match="what it says cannot be read"):
        await ask(folder, AskTable())
    stranger.close()
    await stranger.wait_closed()
