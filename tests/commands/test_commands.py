"""The family of commands: one table, typed fields, and a bus that refuses all other objects."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from headrace.bus.filters import FilterRule
from headrace.commands import (
    COMMANDS,
    Ack,
    AmendOrder,
    CancelAll,
    CancelOrder,
    Command,
    CommandBus,
    Flatten,
    Halt,
    ListRoutes,
    Outcome,
    PauseStrategy,
    RedriveDeadLetter,
    SetFilter,
    SetSubscription,
    Status,
    Subscribe,
    Unsubscribe,
)
from headrace.commands.bus import KEY_CHARACTERS_MAX as MAX
from headrace.commands.deadline import Deadline
from headrace.commands.table import CommandTable
from headrace.dispatch.latency_meter import LatencyMeter
from headrace.errors import CommandError, OptionError
from headrace.market.canonical import CanonicalType
from tests.support.commanding import ACCEPTED, Note, running
from tests.support.feeding import HandClock

ARGUMENTS: dict[type[Command], dict[str, Any]] = {
    AmendOrder: {"order_id": "o-1", "price": "99.5", "trail": "2%"},
    CancelOrder: {"order_id": "o-1"},
    RedriveDeadLetter: {"letter_id": 1},
    Subscribe: {
        "type": CanonicalType.TRADE,
        "instruments": ("BTCUSDT.BINANCE",),
        "filters": (FilterRule("a", "eq", 1),),
    },
    Unsubscribe: {"type": CanonicalType.TRADE, "instruments": ("BTCUSDT.BINANCE",)},
    SetFilter: {"type": CanonicalType.TRADE, "instrument": "BTCUSDT.BINANCE"},
}


def example(command_type: type[Command]) -> Command:
    given = ARGUMENTS.get(command_type)
    if given is None:
        given = {"strategy": "one"} if "strategy" in command_type.__struct_fields__ else {}
    return command_type(**given)


def test_verbs_and_names_are_unique() -> None:
    assert len({entry.verb for entry in COMMANDS.values()}) == len(COMMANDS) == 18
    assert len({entry.name for entry in COMMANDS.values()}) == len(COMMANDS)


@pytest.mark.parametrize("command_type", COMMANDS, ids=lambda kind: kind.__name__)
def test_a_command_survives_json_and_refuses_unknown_fields(command_type: type[Command]) -> None:
    command = example(command_type)
    assert msgspec.json.decode(msgspec.json.encode(command), type=command_type) == command
    with pytest.raises(msgspec.ValidationError, match="unknown field `more`"):
        msgspec.convert({**msgspec.to_builtins(command), "more": 1}, command_type)
    with pytest.raises(AttributeError):
        command.more = 1  # type: ignore[attr-defined]


def test_the_table_has_every_fact_for_a_command_line() -> None:
    entry = COMMANDS[SetSubscription]
    assert (entry.name, entry.verb, entry.urgent) == ("SetSubscription", "set-subscription", False)
    arguments = {argument.name: argument for argument in entry.arguments}
    assert arguments["strategy"].required
    assert not arguments["batch_max"].required
    assert arguments["batch_max"].kind == "whole"
    assert arguments["overflow"].choices == ("block", "conflate", "drop_oldest")
    assert all(argument.meaning for entry in COMMANDS.values() for argument in entry.arguments)


def test_halt_and_status_are_urgent_and_only_lists_read() -> None:
    assert {kind for kind in COMMANDS if kind.urgent} == {Halt, Status}
    assert {kind for kind in COMMANDS if not kind.changes} == {ListRoutes, Status}


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (PauseStrategy("one"), "strategy:one"),
        (AmendOrder("o-1", price="5"), "order:o-1"),
        (CancelOrder("o-1"), "order:o-1"),
        (CancelAll(), "orders"),
        (Subscribe(CanonicalType.TRADE, ("A.B", "C.B")), "route:TRADE:A.B,C.B"),
        (SetFilter(CanonicalType.TRADE, "A.B"), "route:TRADE:A.B"),
        (ListRoutes(), "routes"),
        (Flatten(instrument="BTCUSDT.BINANCE"), "instrument:BTCUSDT.BINANCE"),
        (CancelAll("one", "BTCUSDT.BINANCE"), "strategy:one"),
        (Halt("enough"), "kill_switch"),
        (RedriveDeadLetter(7), "letter:7"),
        (Status(), "engine"),
    ],
)
def test_a_command_has_a_target(command: Command, target: str) -> None:
    assert command.target == target


class NoVerb(Command, frozen=True):
    """Has no name."""


class Shouting(Command, frozen=True):
    """Has a name that no command line would take."""

    verb = "Note Down"


class Silent(Command, frozen=True):
    verb = "silent"


class Opaque(Command, frozen=True):
    """Has a field that JSON cannot hold in one way."""

    verb = "opaque"

    value: int | HandClock | Outcome


class TakenVerb(Command, frozen=True):
    """Wants another command's verb."""

    verb = "pause"


class Structured(Command, frozen=True):
    """Has a field of every type that the table distinguishes."""

    verb = "structured"

    amount: float
    is_quick: bool = False
    names: tuple[str, ...] = ()
    either: int | str = 0


@pytest.mark.parametrize(
    ("command_type", "said"),
    [
        (NoVerb, "give it a name"),
        (Shouting, "in lower case"),
        (Silent, "no docstring"),
        (Opaque, "cannot be read from JSON"),
        (TakenVerb, "is taken by PauseStrategy"),
        (type("Status", (Note,), {"verb": "my-status", "__doc__": "Another."}), "is taken by Status"),
        (Command, "give it a name"),
        (int, "no command"),
    ],
)
def test_a_type_that_is_no_command_is_refused_at_registration(command_type: Any, said: str) -> None:
    bus = CommandBus(bus=None, clock=HandClock())
    with pytest.raises(CommandError, match=said):
        bus.register(command_type, lambda _: ACCEPTED)


def test_a_command_has_one_handler() -> None:
    bus = CommandBus(bus=None, clock=HandClock())
    bus.register(Halt, lambda _: ACCEPTED)
    with pytest.raises(CommandError, match="has a handler already"):
        bus.register(Halt, lambda _: ACCEPTED)


def test_a_bus_without_workers_or_timeout_is_refused() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        CommandBus(bus=None, clock=HandClock(), workers=0)
    for timeout_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(CommandError, match="seconds above 0"):
            CommandBus(bus=None, clock=HandClock(), timeout_s=timeout_s)


def test_a_bus_table_holds_its_commands_and_registered_ones() -> None:
    bus = CommandBus(bus=None, clock=HandClock())
    for command_type in (Note, Structured, Halt):
        bus.register(command_type, lambda _: ACCEPTED)
    assert [entry.verb for entry in bus.table()] == ["halt", "note", "structured"]
    kinds = {argument.name: argument.kind for argument in bus.table()[2].arguments}
    assert kinds == {"amount": "number", "is_quick": "flag", "names": "json", "either": "json"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("malformed", "said"),
    [
        (b"", "malformed command"),
        (b"[1]", "Expected `object`"),
        (b"\xff", "malformed command"),
        (b"[" * 100_000, "malformed command"),
        (b'{"subject": "s"}', "missing required field `command`; there are PauseStrategy,"),
        (b'{"command": "Note", "subject": 1}', "at `$.subject`"),
        (b'{"command": "Note", "subject": "s", "more": 1}', "unknown field `more`"),
        (b'{"command": "Nothing"}', "at `$.command`; there are PauseStrategy,"),
        ({"command": "SetSubscription", "strategy": "one", "batch_max": 0}, "at `$.batch_max`"),
        ({"command": "SetSubscription", "strategy": "one", "overflow": "lose"}, "at `$.overflow`"),
        (17, "malformed command"),
        (Note(3), "at `$.subject`"),  # type: ignore[arg-type]
        (PauseStrategy(""), "at `$.strategy`"),
        (PauseStrategy(object()), "malformed 'pause'"),  # type: ignore[arg-type]
    ],
)
async def test_a_malformed_command_is_rejected_with_its_path(malformed: Any, said: str) -> None:
    called: list[Command] = []

    def handler(command: Command) -> Outcome:
        called.append(command)
        return ACCEPTED

    async with running() as bus:
        for command_type in (Note, SetSubscription, PauseStrategy):
            bus.register(command_type, handler)
        ack = await bus.submit(malformed)
        assert (ack.status, ack.version) == ("rejected", 0)
        assert said in ack.reason
        assert not called


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("around", "said"),
    [
        ({"key": ""}, "key of 0 characters"),
        ({"key": "k" * 201}, "key of 201 characters"),
        ({"timeout": 0.0}, "seconds above 0"),
        ({"timeout": float("nan")}, "seconds above 0"),
        ({"timeout": float("inf")}, "seconds above 0"),
        ({"actor": ""}, "actor of 0 characters"),
    ],
)
async def test_options_of_a_submission_are_checked_too(around: dict[str, Any], said: str) -> None:
    async with running() as bus:
        bus.register(Note, lambda _: ACCEPTED)
        ack = await bus.submit(Note("s"), **around)
        assert ack.status == "rejected"
        assert said in ack.reason
        assert bus.in_flight == 0


@pytest.mark.asyncio
async def test_a_command_comes_as_an_object_as_a_mapping_or_as_json() -> None:
    seen = []

    def handler(command: Note) -> Outcome:
        seen.append(command)
        return ACCEPTED

    async with running() as bus:
        bus.register(Note, handler)
        for given in (
            Note("s", "t"),
            {"command": "Note", "subject": "s", "text": "t"},
            b'{"command":"Note","subject":"s","text":"t"}',
        ):
            assert (await bus.submit(given)).status == "accepted"
    assert seen == [Note("s", "t")] * 3


@pytest.mark.asyncio
async def test_a_command_without_a_handler_is_rejected() -> None:
    async with running() as bus:
        bus.register(Halt, lambda _: ACCEPTED)
        ack = await bus.submit(PauseStrategy("one"))
        assert (ack.status, ack.reason) == ("rejected", "nobody handles 'pause' here: this engine takes halt")


@pytest.mark.asyncio
async def test_a_stopped_bus_fails_commands_with_a_reason() -> None:
    bus = CommandBus(bus=None, clock=HandClock())
    bus.register(Note, lambda _: ACCEPTED)
    before = await bus.submit(Note("s"))
    assert (before.status, before.reason) == ("failed", "engine not started: it was not run")
    await bus.start()
    await bus.stop()
    after = await bus.submit(Note("s"))
    assert (after.status, after.reason, after.version) == ("failed", "engine stopped: it was not run", 0)


def test_percentiles_are_at_most_one_thirty_second_too_high(seed: int) -> None:
    import random

    numbers = random.Random(seed)
    durations = sorted(int(10 ** numbers.uniform(0, 11)) for _ in range(999))
    meter: LatencyMeter[tuple[str, str]] = LatencyMeter()
    for duration in durations:
        meter.record(("note", "accepted"), duration)
    stats = meter.latencies()["note", "accepted"]
    assert (stats.count, stats.max) == (999, durations[-1])
    for share, shown in ((0.5, stats.p50), (0.9, stats.p90), (0.99, stats.p99), (0.999, stats.p999)):
        exact = durations[min(998, int(share * 999))]
        assert exact <= shown <= exact * (1 + 1 / 32) + 1


def test_a_command_interrupted_in_its_handler_is_accounted() -> None:
    for is_async in (False, True):
        bus = CommandBus(bus=None, clock=HandClock())
        interrupt(bus, is_async=is_async)
        assert bus.in_flight == 0, is_async


def interrupt(bus: CommandBus, *, is_async: bool) -> None:
    def plain(_: Note) -> Outcome:
        raise KeyboardInterrupt

    async def slow(_: Note) -> Outcome:
        raise KeyboardInterrupt

    bus.register(Note, slow if is_async else plain)

    async def session() -> None:
        await bus.start()
        await bus.submit(Note("s"))

    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(session())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        if task.done():
            assert isinstance(task.exception(), KeyboardInterrupt)
        else:
            loop.run_until_complete(task)
    finally:
        loop.close()


@pytest.mark.parametrize(
    "given", [("bogus",), ("Accepted",), (None,), ("accepted", 3), ("accepted", "", ["x"]), ("accepted", "", {}, "1")]
)
def test_an_outcome_that_is_none_is_refused_where_it_is_made(given: tuple[Any, ...]) -> None:
    with pytest.raises(OptionError):
        Outcome(*given)


def test_an_answer_has_one_of_the_four_states() -> None:
    with pytest.raises(OptionError, match="use one of accepted, noop, rejected, failed"):
        Ack(status="done", version=1, command_id=1)  # type: ignore[arg-type]


def test_command_added_behind_a_first_reading_is_read() -> None:
    class Late(Command, frozen=True):
        """Come later."""

        verb = "late"

    table = CommandTable()
    assert table.read(b'{"command":"Status"}')[2] == ""
    assert "Late" in table.read(b'{"command":"Late"}')[2]
    table.add(Late, lambda _: ACCEPTED)
    command, _, problem = table.read(b'{"command":"Late"}')
    assert (type(command), problem) == (Late, "")


@pytest.mark.asyncio
async def test_deadline_that_was_closed_limits_nothing_more() -> None:
    deadline = Deadline(0.01)
    deadline.expire = lambda: None
    assert deadline.close() is False
    deadline.take_back()
    await asyncio.sleep(0.03)
    task = asyncio.current_task()
    assert task is not None
    assert (task.cancelling(), deadline.is_over) == (0, False)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("length", "status"), [(0, "rejected"), (1, "accepted"), (MAX, "accepted"), (MAX + 1, "rejected")]
)
async def test_actor_has_a_length(length: int, status: str) -> None:
    async with running() as bus:
        bus.register(Note, lambda _: ACCEPTED)
        assert (await bus.submit(Note("s"), actor="x" * length)).status == status


def test_command_bus_takes_no_time_for_a_clock() -> None:
    clock: Any = 5
    with pytest.raises(OptionError, match="clock=5"):
        CommandBus(bus=None, clock=clock)
