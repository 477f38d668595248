"""Middleware around handlers: a faulty layer is contained, a repeated command gets its first Ack, all is audited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace.bus import EventBus
from headrace.bus.lane import LaneOptions
from headrace.commands import (
    Ack,
    Authorization,
    Command,
    CommandBus,
    Halt,
    Idempotency,
    Outcome,
    PauseStrategy,
    RateLimit,
    Status,
    default_middleware,
)
from headrace.limits import AUDITS_WAITING_MAX
from headrace.market.events import Audit, Event, Lane
from tests.support.commanding import ACCEPTED, Gate, Note, running, turns
from tests.support.feeding import HandClock

pytestmark = pytest.mark.asyncio

SECOND_NS = 1_000_000_000


def noting(handled: list[Command]) -> Callable[[Command], Outcome]:
    """Return a handler that notes its commands."""

    def handler(command: Command) -> Outcome:
        handled.append(command)
        return ACCEPTED

    return handler


# Layers


async def test_middleware_wraps_a_command_from_outside_in() -> None:
    trace: list[str] = []

    def layer(name: str):
        async def middleware(call, proceed):
            trace.append(f"{name} {call.action} {call.target} {call.actor}")
            ack = await proceed()
            trace.append(f"{name} {ack.status}")
            return ack

        return middleware

    async with running(middleware=[layer("outer"), layer("inner")]) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        await bus.submit(Note("s"), actor="me")
    assert trace == ["outer note s me", "inner note s me", "inner accepted", "outer accepted"]


class Panic(BaseException):
    pass


async def raises_before(call, proceed):
    raise ValueError("bad")


async def panics_after(call, proceed):
    await proceed()
    raise Panic("deep")


async def exits(call, proceed):
    raise SystemExit(3)


async def returns_nothing(call, proceed):
    await proceed()


async def hands_on_twice(call, proceed):
    await proceed()
    return await proceed()


async def cancels_itself(call, proceed):
    raise asyncio.CancelledError


async def never_answers(call, proceed):
    await asyncio.Event().wait()


async def never_returns(call, proceed):
    await proceed()
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("broken", "said", "calls"),
    [
        (raises_before, "raised ValueError: bad: the command was not run", 0),
        (panics_after, "raised Panic: deep: after the answer 'accepted'", 1),
        (exits, "raised SystemExit: 3: the command was not run", 0),
        (returns_nothing, "returned None and no Ack: after the answer 'accepted'", 1),
        (hands_on_twice, "hands on a command twice", 1),
        (cancels_itself, "was cancelled, or at it when the command's time was over: the command was not run", 0),
        (never_answers, "at it when the command's time was over: the command was not run", 0),
        (never_returns, "at it when the command's time was over: after the answer 'accepted'", 1),
    ],
)
async def test_a_faulty_layer_loses_no_answer_and_repeats_no_call(broken: Any, said: str, calls: int) -> None:
    handled: list[Command] = []
    seen: list[Ack] = []

    async def outer(call, proceed):
        seen.append(await proceed())
        return seen[0]

    async with running(middleware=[outer, broken]) as bus:
        bus.register(Note, noting(handled))
        ack = await bus.submit(Note("s"), timeout=0.05)
        assert ack.status == "failed"
        assert f"middleware {broken.__qualname__}" in ack.reason
        assert said in ack.reason
        assert seen == [ack]
        assert len(handled) == calls
        assert (bus.in_flight, bus.stats().answered) == (0, 1)


async def test_two_nested_hanging_layers_cannot_delay_an_answer() -> None:
    async with running(middleware=[never_returns, never_answers]) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        assert (await bus.submit(Note("s"), timeout=0.02)).status == "failed"


async def test_a_layer_past_its_answer_cannot_call_the_next() -> None:
    late: list[asyncio.Task[Ack]] = []
    go = asyncio.Event()
    handled: list[Command] = []

    async def hasty(call, proceed):
        async def later():
            await go.wait()
            return await proceed()

        late.append(asyncio.ensure_future(later()))
        return call.answer("noop", "not now")

    async with running(middleware=[hasty]) as bus:
        bus.register(Note, noting(handled))
        assert (await bus.submit(Note("s"))).status == "noop"
        go.set()
        with pytest.raises(Exception, match="after its answer"):
            await late[0]
    assert handled == []


async def test_a_command_not_awaited_by_its_layer_keeps_its_timeout() -> None:
    gate = Gate()
    behind: list[asyncio.Task[Ack]] = []

    async def careless(call, proceed):
        behind.append(asyncio.ensure_future(proceed()))
        await gate.has_begun(len(behind))
        return call.answer("noop", "it is on its way")

    async with running(middleware=[careless], workers=1) as bus:
        bus.register(Note, gate)
        assert (await bus.submit(Note("s", "hangs"), timeout=0.05)).status == "noop"
        assert (await behind[0]).reason == "timeout, outcome unknown"
        gate.open()
        assert (await bus.submit(Note("s", "next"))).status == "noop"
        assert (await behind[1]).status == "accepted"
        assert (bus.stats().running, bus.in_flight) == (0, 0)


async def test_a_layer_that_hangs_after_a_timeout_is_cancelled_too() -> None:
    gate = Gate()
    async with running(middleware=[never_returns]) as bus:
        bus.register(Note, gate)
        ack = await bus.submit(Note("s"), timeout=0.02)
        assert (ack.status, "after the answer 'failed'" in ack.reason) == ("failed", True)


async def test_stopping_the_bus_ends_commands_in_middleware() -> None:
    async with running(middleware=[never_answers]) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        task = asyncio.ensure_future(bus.submit(Note("s"), timeout=60))
        await turns()
        await bus.stop(0.0)
        assert "the command was not run" in (await task).reason


async def test_a_submitter_cancelled_in_middleware_is_accounted() -> None:
    audited = []

    async def record(call, proceed):
        ack = await proceed()
        audited.append(ack.reason)
        return ack

    async with running(middleware=[record, never_answers]) as bus:
        task = asyncio.ensure_future(bus.submit(Note("s")))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(audited) == 1
        assert "the command was not run" in audited[0]
        assert bus.in_flight == 0


async def test_without_layers_a_command_is_validated_and_counted() -> None:
    handled: list[Command] = []
    async with running(middleware=()) as bus:
        bus.register(Note, noting(handled))
        assert (await bus.submit(Note("s"))).status == "accepted"
        for malformed in (b"{}", Note(3)):  # type: ignore[arg-type]
            assert (await bus.submit(malformed)).status == "rejected"
        assert handled == [Note("s")]
        counts = {key: latency.count for key, latency in bus.stats().outcomes.items()}
        assert counts == {("note", "accepted"): 1, ("malformed", "rejected"): 1, ("note", "rejected"): 1}


async def test_no_layer_sees_a_malformed_command() -> None:
    seen: list[Command] = []

    async def watch(call, proceed):
        seen.append(call.command)
        return await proceed()

    async with running(middleware=[watch]) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        for given in (b"{", {"command": "Note"}, PauseStrategy(""), Note("s")):
            await bus.submit(given)
    assert seen == [Note("s")]


async def test_a_layer_past_the_deadline_runs_no_handler() -> None:
    handled: list[Command] = []

    async def late(call, proceed):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await proceed()

    async with running(middleware=[late]) as bus:
        bus.register(Note, noting(handled))
        ack = await bus.submit(Note("s"), timeout=0.02)
        assert (ack.status, "it was not run" in ack.reason) == ("failed", True)
    assert handled == []


# Idempotency


async def test_a_repeated_command_gets_one_ack_and_is_handled_once() -> None:
    handled: list[Command] = []
    async with running() as bus:
        bus.register(Note, noting(handled))
        first = await bus.submit(Note("s"), key="k")
        again = await bus.submit(Note("s"), key="k", actor="another")
        assert again is first
        assert len(handled) == 1
        assert (await bus.submit(Note("s"))).command_id == 3
        assert len(handled) == 2


@pytest.mark.parametrize("other", [Note("s", "other"), PauseStrategy("s"), Halt()])
async def test_a_key_used_by_another_command_is_rejected(other) -> None:
    gate = Gate()
    async with running() as bus:
        bus.register(Note, gate)
        for command_type in (PauseStrategy, Halt):
            bus.register(command_type, lambda _: ACCEPTED)
        task = asyncio.ensure_future(bus.submit(Note("s"), key="k"))
        await gate.has_begun(1)
        while_on_its_way = await bus.submit(other, key="k")
        gate.open()
        await task
        afterwards = await bus.submit(other, key="k")
        assert while_on_its_way.status == afterwards.status == "rejected"
        assert "belongs to another command ('note')" in afterwards.reason
        assert len(gate.began) == 1


async def test_repetitions_share_the_running_command() -> None:
    gate = Gate()
    async with running() as bus:
        bus.register(Note, gate)
        tasks = [asyncio.ensure_future(bus.submit(Note("s"), key="k")) for _ in range(5)]
        await gate.has_begun(1)
        impatient = await bus.submit(Note("s"), key="k", timeout=0.02)
        assert impatient.status == "failed"
        tasks[3].cancel()
        await turns()
        gate.open()
        acks = [await task for task in tasks[:3]]
        assert acks[0] is acks[1] is acks[2]
        assert acks[0].status == "accepted"
        assert len(gate.began) == 1
        with pytest.raises(asyncio.CancelledError):
            await tasks[3]


async def test_an_unknown_outcome_is_not_run_twice() -> None:
    gate = Gate()
    async with running() as bus:
        bus.register(Note, gate)
        first = await bus.submit(Note("s"), key="k", timeout=0.02)
        assert first.reason == "timeout, outcome unknown"
        assert await bus.submit(Note("s"), key="k") is first
        assert len(gate.began) == 1


async def test_a_command_that_was_not_run_is_not_remembered() -> None:
    clock = HandClock()
    async with running(middleware=[RateLimit(1), Idempotency(), Authorization(lambda *_: refusal)], clock=clock) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        refusal: str | None = "not yet"
        assert (await bus.submit(Note("s"), key="k")).status == "rejected"
        refusal = None
        assert "slow down" in (await bus.submit(Note("s"), key="k")).reason
        clock.at_ns = SECOND_NS
        assert (await bus.submit(Note("s"), key="k")).status == "accepted"


async def test_keys_expire_after_an_hour_of_the_engines_clock() -> None:
    clock = HandClock()
    async with running(clock=clock) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        first = await bus.submit(Note("s"), key="k")
        clock.at_ns = 3_600 * SECOND_NS - 1
        assert await bus.submit(Note("s"), key="k") is first
        clock.at_ns += 1
        assert await bus.submit(Note("s"), key="k") is not first


async def test_the_oldest_key_goes_when_there_are_too_many() -> None:
    async with running(middleware=[Idempotency(keys_max=3)]) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        acks = {key: await bus.submit(Note("s"), key=key) for key in "abc"}
        assert await bus.submit(Note("s"), key="a") is acks["a"]
        await bus.submit(Note("s"), key="d")
        assert await bus.submit(Note("s"), key="b") is acks["b"]
        assert await bus.submit(Note("s"), key="a") is not acks["a"]


# Authorization and rate


async def test_the_authorization_hook_may_be_plain_or_async() -> None:
    def plain(actor: str, command: Any) -> str | None:
        return None if actor == "boss" else f"only the boss may {command.verb}"

    async def slow(actor: str, command: Any) -> str | None:
        await asyncio.sleep(0)
        return plain(actor, command)

    for hook in (plain, slow):
        async with running(middleware=default_middleware(authorize=hook)) as bus:
            bus.register(Note, lambda _: ACCEPTED)
            assert (await bus.submit(Note("s"), actor="boss", key="k")).status == "accepted"
            # Repeating a command of an authorized actor does not help.
            refused = await bus.submit(Note("s"), actor="clerk", key="k")
            assert (refused.status, refused.reason) == ("rejected", "'clerk' may not: only the boss may note")


async def test_commands_above_the_rate_are_rejected_except_halt() -> None:
    clock = HandClock(5)
    async with running(middleware=default_middleware(rate_max=2), clock=clock) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        bus.register(Halt, lambda _: ACCEPTED)
        assert [(await bus.submit(Note("s"))).status for _ in range(3)] == ["accepted", "accepted", "rejected"]
        assert (await bus.submit(Halt())).status == "accepted"
        clock.at_ns += SECOND_NS // 2
        assert [(await bus.submit(Note("s"))).status for _ in range(2)] == ["accepted", "rejected"]
        clock.at_ns += 3_600 * SECOND_NS
        assert [(await bus.submit(Note("s"))).status for _ in range(3)] == ["accepted", "accepted", "rejected"]


# Audit and telemetry


async def audited(events: EventBus, *, middleware: Any = None) -> tuple[CommandBus, list[Audit]]:
    seen: list[Audit] = []

    def keep(event: Event) -> None:
        assert isinstance(event, Audit)
        seen.append(event)

    events.subscribe(Audit, keep)
    bus = CommandBus(bus=events, clock=HandClock(7), middleware=middleware)
    bus.register(Note, lambda _: ACCEPTED)
    await bus.start()
    return bus, seen


async def test_every_command_is_audited_whatever_its_outcome() -> None:
    events = EventBus(clock=HandClock(7), run_id="r")
    bus, seen = await audited(events, middleware=default_middleware(authorize=lambda actor, _: None if actor else "no"))
    await bus.submit(Note("s", "t"), actor="me", key="k")
    await bus.submit(Note("s", "t"), actor="you", key="k")
    await bus.submit(b'{"command": "Note"}', actor="me")
    await bus.submit(PauseStrategy("one"), actor="me")
    events.drain()
    assert [(audit.actor, audit.action, audit.target, audit.outcome) for audit in seen] == [
        ("me", "note", "s", "accepted"),
        ("you", "note", "s", "accepted"),
        ("me", "malformed", "", "rejected"),
        ("me", "pause", "strategy:one", "rejected"),
    ]
    first, again, malformed, _ = seen
    assert (first.source, first.ts, first.run_id, first.version) == ("commands", 7, "r", 1)
    assert first.duration_ns > 0
    assert first.detail == {
        "command_id": 1,
        "key": "k",
        "command": {"command": "Note", "subject": "s", "text": "t"},
    }
    assert (again.detail["command_id"], again.detail["repeats"]) == (2, 1)
    assert "missing required field `subject`" in malformed.reason
    await bus.stop()


async def test_a_full_control_lane_delays_audits_but_no_answer() -> None:
    events = EventBus(clock=HandClock(7), lanes={Lane.CONTROL: LaneOptions(capacity=2)})
    bus, seen = await audited(events)
    acks = [await bus.submit(Note("s", str(number))) for number in range(5)]
    assert {ack.status for ack in acks} == {"accepted"}
    assert bus.stats().audits_waiting == 3
    events.drain()
    await bus.submit(Note("s", "5"))
    events.drain()
    await bus.stop()
    events.drain()
    assert [audit.detail["command_id"] for audit in seen] == [1, 2, 3, 4, 5, 6]
    assert (bus.stats().audits_waiting, bus.stats().audits_lost) == (0, 0)


async def test_an_audit_that_never_finds_room_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    events = EventBus(clock=HandClock(7), lanes={Lane.CONTROL: LaneOptions(capacity=1)})
    bus, _ = await audited(events, middleware=())
    for number in range(AUDITS_WAITING_MAX + 2):
        await bus.submit(Note("s", f"text {number}"))
    assert (bus.stats().audits_waiting, bus.stats().audits_lost) == (AUDITS_WAITING_MAX, 1)
    assert "an audit found no room on the bus" in caplog.text
    assert "text 1" in caplog.text
    await bus.stop()
    assert (bus.stats().audits_waiting, bus.stats().audits_lost) == (0, AUDITS_WAITING_MAX + 1)


async def test_a_bus_that_is_closed_loses_no_answer() -> None:
    events = EventBus(clock=HandClock(7))
    bus, _ = await audited(events)
    await events.start()
    await events.shutdown()
    assert (await bus.submit(Note("s"))).status == "accepted"
    await bus.stop()
    assert bus.stats().audits_lost == 1


async def test_telemetry_counts_every_command_by_verb_and_outcome() -> None:
    said = iter([Outcome("accepted"), Outcome("noop"), Outcome("accepted")])
    async with running() as bus:
        bus.register(Note, lambda _: next(said))
        bus.register(Status, lambda _: ACCEPTED)
        for command in (Note("s"), Note("s"), Note("s"), Status(), b"{"):
            await bus.submit(command)
        stats = bus.stats()
    counts = {key: latency.count for key, latency in stats.outcomes.items()}
    assert counts == {
        ("note", "accepted"): 2,
        ("note", "noop"): 1,
        ("status", "accepted"): 1,
        ("malformed", "rejected"): 1,
    }
    assert (stats.submitted, stats.answered, stats.in_flight) == (5, 5, 0)
    assert stats.outcomes["note", "accepted"].max > 0


class Twisted(Command, frozen=True):
    """Has a target that cannot be computed for every text."""

    verb = "twisted"

    subject: str

    @property
    def target(self) -> str:
        return {"number": 7}[self.subject]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (PauseStrategy(object()), "malformed 'pause': "),  # type: ignore[arg-type]
        (Twisted("unknown"), "malformed 'twisted': 'unknown'"),
        (Twisted("number"), "its target is 7, and must be a text"),
        (b'{"command": "Twisted", "subject": "number"}', "its target is 7, and must be a text"),
    ],
)
async def test_an_unserializable_command_is_rejected_and_audited(command: Any, said: str) -> None:
    events = EventBus(clock=HandClock(7))
    bus, seen = await audited(events)
    bus.register(Twisted, lambda _: ACCEPTED)
    ack = await bus.submit(command)
    events.drain()
    assert (ack.status, said in ack.reason) == ("rejected", True)
    assert [(audit.reason, audit.target, audit.detail) for audit in seen] == [(ack.reason, "", {"command_id": 1})]
    await bus.stop()


async def test_authorization_stands_first_and_only_with_a_hook() -> None:
    layers = [type(layer).__name__ for layer in default_middleware(authorize=lambda *_: None)]
    assert layers == ["Authorization", "RateLimit", "Idempotency"]
    assert [type(layer).__name__ for layer in default_middleware()] == layers[1:]
