"""The command bus: each command answered exactly once, in order for its target, whatever its handler does."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from headrace import ReplayClock
from headrace.bus import EventBus
from headrace.commands import (
    Ack,
    Command,
    CommandBus,
    Halt,
    Outcome,
    PauseStrategy,
    Rearm,
    Status,
    Submission,
    current_submission,
)
from headrace.limits import COMMANDS_WAITING_MAX
from tests.support.commanding import ACCEPTED, Gate, Note, running, turns
from tests.support.feeding import HandClock

pytestmark = pytest.mark.asyncio


def submitted(bus: CommandBus, *commands: Command, timeout: float = 5.0) -> list[asyncio.Task[Ack]]:
    return [asyncio.ensure_future(bus.submit(command, timeout=timeout)) for command in commands]


# What handlers do


async def test_the_ack_holds_the_handlers_outcome() -> None:
    async with running() as bus:
        bus.register(Note, lambda command: Outcome("noop", "known", {"text": command.text}, version=4))
        ack = await bus.submit(Note("s", "t"), key="k", actor="somebody")
        assert (ack.status, ack.reason, ack.detail, ack.target_version) == ("noop", "known", {"text": "t"}, 4)
        assert (ack.command_id, ack.key, ack.actor, ack.version) == (1, "k", "somebody", 0)
        assert ack.is_done


async def test_the_version_rises_with_accepted_and_failed_commands() -> None:
    said = iter([Outcome("accepted"), Outcome("noop"), Outcome("rejected"), Outcome("failed"), Outcome("accepted")])
    async with running() as bus:
        bus.register(Note, lambda _: next(said))
        bus.register(Status, lambda _: ACCEPTED)
        seen = [(await bus.submit(Note("s"))).version for _ in range(5)]
        assert seen == [1, 1, 1, 2, 3]
        assert (await bus.submit(Status())).version == bus.version == 3


async def test_a_handler_may_read_its_submission() -> None:
    seen: list[Submission | None] = []

    def plain(_: Note) -> Outcome:
        seen.append(current_submission())
        return ACCEPTED

    async def slow(_: PauseStrategy) -> Outcome:
        await asyncio.sleep(0)
        seen.append(current_submission())
        return ACCEPTED

    async with running() as bus:
        bus.register(Note, plain)
        bus.register(PauseStrategy, slow)
        await asyncio.gather(bus.submit(Note("s"), actor="me", key="k"), bus.submit(PauseStrategy("s"), actor="you"))
        assert [(call.actor, call.key) for call in seen if call] == [("me", "k"), ("you", None)]
        assert current_submission() is None


class Panic(BaseException):
    pass


class Wordless(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error",
    [ValueError("bad"), SystemExit(3), Panic("deep"), asyncio.CancelledError(), Wordless()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_raising_handler_fails_only_its_own_command(error: BaseException, is_async: bool) -> None:
    def plain(_: Note) -> Outcome:
        raise error

    async def slow(_: Note) -> Outcome:
        await asyncio.sleep(0)
        raise error

    async with running() as bus:
        bus.register(Note, slow if is_async else plain)
        bus.register(PauseStrategy, lambda _: ACCEPTED)
        failed, fine = await asyncio.gather(bus.submit(Note("s")), bus.submit(PauseStrategy("one")))
        assert failed.status == "failed"
        assert "outcome unknown" in failed.reason
        assert fine.status == "accepted"


@pytest.mark.parametrize("garbage", [None, True, "accepted", {"status": "accepted"}])
async def test_a_handler_that_returns_no_outcome_fails_its_command(garbage: object) -> None:
    async with running() as bus:
        bus.register(Note, lambda _: garbage)  # type: ignore[arg-type,return-value]
        ack = await bus.submit(Note("s"))
        assert ack.status == "failed"
        assert repr(garbage) in ack.reason


async def test_a_handler_may_return_a_future() -> None:
    async with running() as bus:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        bus.register(Note, lambda _: future)
        (task,) = submitted(bus, Note("s"))
        await turns()
        assert not task.done()
        future.set_result(ACCEPTED)
        assert (await task).status == "accepted"


# Order and workers


async def test_commands_to_one_target_run_one_by_one_in_order() -> None:
    trace: list[str] = []

    async def handler(command: Note) -> Outcome:
        trace.append(f"begin {command.text}")
        for _ in range(3 - int(command.text)):  # The first takes longest.
            await asyncio.sleep(0)
        trace.append(f"end {command.text}")
        return ACCEPTED

    async with running() as bus:
        bus.register(Note, handler)
        await asyncio.gather(*(bus.submit(Note("s", str(number))) for number in range(3)))
    assert trace == [f"{step} {number}" for number in range(3) for step in ("begin", "end")]


async def test_four_targets_are_served_at_once_and_a_fifth_waits() -> None:
    gate = Gate()
    async with running() as bus:
        bus.register(Note, gate)
        tasks = submitted(bus, *(Note(f"s{number}") for number in range(5)))
        await gate.has_begun(4)
        await turns()
        assert len(gate.began) == 4
        assert (bus.stats().running, bus.stats().waiting, bus.in_flight) == (4, 1, 5)
        gate.open()
        assert {ack.status for ack in await asyncio.gather(*tasks)} == {"accepted"}
        assert len(gate.ended) == 5
        assert (bus.stats().running, bus.stats().waiting, bus.in_flight) == (0, 0, 0)


async def test_a_thousand_waiting_commands_do_not_block_the_loop() -> None:
    gate = Gate()
    done: list[str] = []

    def plain(command: PauseStrategy) -> Outcome:
        done.append(command.strategy)
        return ACCEPTED

    async with running(middleware=(), workers=1) as bus:
        bus.register(Note, gate)
        bus.register(PauseStrategy, plain)
        (first,) = submitted(bus, Note("s"))
        await gate.has_begun(1)
        names = [f"s{number}" for number in range(COMMANDS_WAITING_MAX)]
        tasks = submitted(bus, *map(PauseStrategy, names))
        await turns(2)
        refused = await bus.submit(PauseStrategy("one too many"))
        assert refused.status == "rejected"
        assert "1,000 commands wait already" in refused.reason
        gate.open()
        await first
        longest = before = 0
        while len(done) < len(names):
            await asyncio.sleep(0)
            longest, before = max(longest, len(done) - before), len(done)
        assert longest <= 8
        await asyncio.gather(*tasks)
    assert done == names


async def test_a_handler_may_await_a_command_when_all_workers_wait() -> None:
    async with running(workers=1) as bus:

        async def handler(command: Note) -> Outcome:
            inner = await bus.submit(PauseStrategy(command.subject))
            return Outcome(inner.status, inner.reason)

        bus.register(Note, handler)
        bus.register(PauseStrategy, Gate.__call__.__get__(opened()))
        acks = await asyncio.gather(*(bus.submit(Note(f"s{number}"), timeout=5) for number in range(3)))
        assert [ack.status for ack in acks] == ["accepted"] * 3


def opened() -> Gate:
    gate = Gate()
    gate.open()
    return gate


async def test_a_handler_that_awaits_itself_is_rejected_at_once() -> None:
    async with running() as bus:

        async def handler(command: Note) -> Outcome:
            if command.text:
                return ACCEPTED
            inner = await bus.submit(Note(command.subject, "inner"))
            return Outcome("noop", inner.reason)

        bus.register(Note, handler)
        ack = await bus.submit(Note("s"), timeout=60)
        assert ack.reason.startswith("submitted by the handler of 'note', which has s until it returns")


async def test_a_cycle_of_waiting_handlers_is_rejected() -> None:
    async with running() as bus:

        async def handler(command: Note) -> Outcome:
            following = {"a": "b", "b": "a"}[command.subject]
            inner = await bus.submit(Note(following))
            return Outcome("noop", inner.reason)

        bus.register(Note, handler)
        ack = await bus.submit(Note("a"), timeout=60)
        assert ack.reason.startswith("submitted by the handler of 'note', which has a until it returns")


async def test_nested_commands_behind_one_another_need_no_worker() -> None:
    gate = Gate()
    async with running(workers=2) as bus:

        async def outer(command: Note) -> Outcome:
            acks = [await bus.submit(PauseStrategy("t")) for _ in range(2)]
            return Outcome(acks[1].status, acks[1].reason)

        bus.register(Note, outer)
        bus.register(PauseStrategy, gate)
        tasks = submitted(bus, Note("first"), Note("second"), timeout=5)
        await gate.has_begun(1)
        gate.open()
        async with asyncio.timeout(20):
            assert [(await task).status for task in tasks] == ["accepted"] * 2
        assert len(gate.ended) == 4


def submissions() -> int:
    """Return how many submissions are alive."""
    gc.collect()
    return sum(isinstance(own, Submission) for own in gc.get_objects())


async def test_an_expired_command_leaves_the_queue_of_its_target() -> None:
    gate = Gate()
    async with running() as bus, ending(gate):
        bus.register(Note, gate)
        (held,) = submitted(bus, Note("s"), timeout=60)
        await gate.has_begun(1)
        before = submissions()
        late = await asyncio.gather(*submitted(bus, *(Note("s", str(number)) for number in range(50)), timeout=0.02))
        assert {ack.status for ack in late} == {"failed"}
        del late
        assert submissions() == before
        gate.open()
        assert (await held).status == "accepted"


async def test_a_chain_of_handlers_with_tasks_leaks_nothing() -> None:
    alive: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tasks: set[asyncio.Task[Ack]] = set()
    async with running(middleware=()) as bus:

        def handler(command: Note) -> Outcome:
            if command.text == "500":
                alive.set_result(submissions())
            else:
                task = asyncio.ensure_future(bus.submit(Note("s", str(int(command.text) + 1))))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            return ACCEPTED

        bus.register(Note, handler)
        await bus.submit(Note("s", "0"))
        async with asyncio.timeout(20):
            # The loop keeps up to a hundred cancelled timers, with all that their contexts hold.
            assert await alive < 200


async def test_idle_targets_take_no_memory() -> None:
    async def pause(_: PauseStrategy) -> Outcome:
        await asyncio.sleep(0)
        return ACCEPTED

    async with running(middleware=()) as bus:
        bus.register(Note, lambda _: ACCEPTED)
        bus.register(PauseStrategy, pause)

        async def handle(numbers: range) -> int:
            for number in numbers:
                await bus.submit(Note(f"s{number}"))
                await bus.submit(PauseStrategy(f"s{number}"))
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await handle(range(200))
            assert await handle(range(200, 2_200)) - before < 100_000
        finally:
            tracemalloc.stop()


# Time


async def test_a_handler_past_its_timeout_is_unknown_and_blocks_none(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    async with running(workers=1) as bus:
        bus.register(Note, gate)
        (hung,) = submitted(bus, Note("s", "hung"), timeout=0.02)
        behind, other = submitted(bus, Note("s", "behind"), Note("t", "other"))
        ack = await hung
        assert (ack.status, ack.reason, ack.version) == ("failed", "timeout, outcome unknown", 1)
        await gate.has_begun(2)
        assert gate.cancelled == [Note("s", "hung")]
        gate.open()
        assert [(await task).status for task in (behind, other)] == ["accepted"] * 2
    assert "command 'note' to s: timeout, outcome unknown" in caplog.text


async def test_a_command_without_a_timeout_has_that_of_the_bus() -> None:
    bus = CommandBus(bus=None, clock=HandClock(), timeout_s=0.02)
    bus.register(Note, Gate())
    await bus.start()
    assert (await bus.submit(Note("s"))).reason == "timeout, outcome unknown"
    await bus.stop()


async def test_a_command_that_expires_before_its_turn_is_not_run() -> None:
    gate = Gate()
    async with running(workers=1) as bus:
        bus.register(Note, gate)
        hung, behind, elsewhere = submitted(bus, Note("s", "first"), Note("s", "next"), Note("t", "next"))
        await gate.has_begun(1)
        late = await asyncio.gather(
            *submitted(bus, Note("s", "late"), Note("t", "late"), Note("u", "late"), timeout=0.02)
        )
        assert {ack.reason for ack in late} == {"timeout after 0.02 s behind other commands: it was not run"}
        assert {(ack.status, ack.version) for ack in late} == {("failed", 0)}
        gate.open()
        assert [(await task).status for task in (hung, behind, elsewhere)] == ["accepted"] * 3
        assert {command.text for command in gate.began if isinstance(command, Note)} == {"first", "next"}
        # A target whose command expired in the queue is free again.
        assert (await bus.submit(Note("u", "again"))).status == "accepted"


@asynccontextmanager
async def ending(gate: Gate) -> AsyncIterator[None]:
    """Release a handler at the end in any case: the loop cannot close while a handler refuses its cancellation."""
    try:
        yield
    finally:
        gate.open()
        await turns()


async def test_an_uncancellable_handler_does_not_block_its_target(caplog: pytest.LogCaptureFixture) -> None:
    stubborn, gate = Gate(stubborn=True), Gate()

    async def handler(command: Note) -> Outcome:
        return await (stubborn if command.text == "stubborn" else gate)(command)

    async with running(workers=1) as bus, ending(stubborn):
        bus.register(Note, handler)
        hung = asyncio.ensure_future(bus.submit(Note("s", "stubborn"), timeout=0.02))
        behind = asyncio.ensure_future(bus.submit(Note("s", "behind")))
        other = asyncio.ensure_future(bus.submit(Note("t", "other")))
        assert (await hung).reason == "timeout, outcome unknown"
        # Its worker is free at once, its target after COMMAND_CANCEL_S.
        await gate.has_begun(1)
        assert gate.began == [Note("t", "other")]
        gate.open()
        assert [(await task).status for task in (other, behind)] == ["accepted"] * 2
        assert bus.stats().abandoned == 1
        assert "would not be cancelled and is left behind" in caplog.text
        stubborn.open()
        await turns()
        assert bus.stats().abandoned == 0
        assert "that was left behind has ended" in caplog.text


async def test_in_a_replay_a_slow_handler_is_named_and_awaited(caplog: pytest.LogCaptureFixture) -> None:
    clock, gate = ReplayClock(1_000), Gate()
    bus = CommandBus(bus=EventBus(clock=clock, mode="replay"), clock=clock)
    named = asyncio.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "was not done within 0.02 s" in record.getMessage():
                named.set()

    told = Told()
    logging.getLogger("headrace.commands").addHandler(told)
    try:
        bus.register(Note, gate)
        await bus.start()
        task = asyncio.ensure_future(bus.submit(Note("s"), timeout=0.02))
        await named.wait()
        assert (task.done(), bus.in_flight) == (False, 1)
        clock.advance_to(1_500)
        gate.open()
        ack = await task
        assert (ack.status, ack.queued_ns, ack.handled_ns) == ("accepted", 0, 500)
        await bus.stop()
    finally:
        logging.getLogger("headrace.commands").removeHandler(told)


# Halt


async def test_halt_overtakes_every_queue_even_while_all_workers_hang() -> None:
    gate = Gate()
    halted: list[Halt] = []

    def halt(command: Halt) -> Outcome:
        halted.append(command)
        return ACCEPTED

    async with running() as bus:
        bus.register(Note, gate)
        bus.register(Halt, halt)
        bus.register(Status, lambda _: Outcome("accepted", detail={"halted": len(halted)}))
        tasks = submitted(bus, *(Note(f"s{number}") for number in range(20)), timeout=60)
        await gate.has_begun(4)
        assert (await bus.submit(Halt("enough"), timeout=10)).status == "accepted"
        assert (await bus.submit(Status())).detail == {"halted": 1}
        assert len(gate.ended) == 0
        gate.open()
        await asyncio.gather(*tasks)


async def test_a_waiting_rearm_does_not_undo_a_later_halt() -> None:
    """The rearm waits for its target, for a worker, in its handler or in a middleware."""
    gate, slow = Gate(), asyncio.Event()
    rearmed: list[str] = []

    async def rearm(command: Rearm) -> Outcome:
        if command.reason == "running":
            await gate(command)
        rearmed.append(command.reason)
        return ACCEPTED

    async def ponder(call, proceed):
        if call.command == Rearm("pondered"):
            await slow.wait()
        return await proceed()

    async with running(middleware=[ponder], workers=1) as bus:
        bus.register(Rearm, rearm)
        bus.register(Halt, lambda _: ACCEPTED)
        tasks = submitted(bus, Rearm("running"), Rearm("behind"), Rearm("pondered"))
        await gate.has_begun(1)
        assert (await bus.submit(Halt("enough"))).status == "accepted"
        slow.set()
        running_, behind, pondered = await asyncio.gather(*tasks)
        assert (running_.status, running_.reason) == ("failed", "overtaken by 'halt', outcome unknown")
        assert behind.status == pondered.status == "rejected"
        assert behind.reason == pondered.reason == "overtaken by 'halt': submit it again if it is still meant"
        assert rearmed == []
        assert (await bus.submit(Rearm("after"))).status == "accepted"
        assert rearmed == ["after"]


async def test_a_rearm_that_waits_for_a_worker_is_overtaken_by_a_halt() -> None:
    gate = Gate()
    async with running(workers=1) as bus:
        bus.register(Note, gate)
        bus.register(Rearm, lambda _: ACCEPTED)
        bus.register(Halt, lambda _: ACCEPTED)
        note, rearm = submitted(bus, Note("s"), Rearm())
        await gate.has_begun(1)
        await bus.submit(Halt())
        assert (await rearm).status == "rejected"
        gate.open()
        assert (await note).status == "accepted"
        assert (await bus.submit(Rearm())).status == "accepted"


# Cancelled submitters, and stopping


async def test_a_cancelled_submitter_does_not_stop_the_command() -> None:
    gate = Gate()
    async with running() as bus:
        bus.register(Note, gate)
        (task,) = submitted(bus, Note("s"))
        await gate.has_begun(1)
        task.cancel()
        task.cancel()
        await turns()
        assert not task.done()
        assert gate.cancelled == []
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.ended == [Note("s")]
        assert (bus.stats().answered, bus.in_flight) == (1, 0)
        assert bus.stats().outcomes["note", "accepted"].count == 1


async def test_a_timeout_around_a_submission_ends_with_the_answer() -> None:
    gate = Gate()
    async with running() as bus:
        bus.register(Note, gate)

        async def impatient() -> None:
            async with asyncio.timeout(0.01):
                await bus.submit(Note("s"), timeout=0.05)

        with pytest.raises(TimeoutError):
            await impatient()
        assert bus.stats().outcomes["note", "failed"].count == 1


async def test_stop_answers_waiting_and_running_commands() -> None:
    gate = Gate()
    async with running(workers=1) as bus:
        bus.register(Note, gate)
        tasks = submitted(bus, Note("s"), Note("s"), Note("t"))
        await gate.has_begun(1)
        await bus.stop(0.01)
        reasons = [(await task).reason for task in tasks]
        assert reasons == ["engine stopped, outcome unknown", *["engine stopped: it was not run"] * 2]
        assert gate.cancelled == [Note("s")]
        assert bus.in_flight == 0


async def test_stop_waits_for_commands_that_end_in_time() -> None:
    gate = Gate()
    async with running() as bus:
        bus.register(Note, gate)
        (task,) = submitted(bus, Note("s"))
        await gate.has_begun(1)
        stopping = asyncio.ensure_future(bus.stop(5))
        await turns()
        gate.open()
        await stopping
        assert (await task).status == "accepted"


async def test_stop_answers_a_command_with_an_endless_handler(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(stubborn=True)
    async with running() as bus, ending(gate):
        bus.register(Note, gate)
        (task,) = submitted(bus, Note("s"))
        await gate.has_begun(1)
        await bus.stop(0.01)
        assert (await task).reason == "engine stopped, outcome unknown"
        assert bus.stats().abandoned == 1
    assert "left behind" in caplog.text


async def test_a_handler_may_stop_the_bus_that_called_it() -> None:
    async with running() as bus:

        async def handler(_: Note) -> Outcome:
            await bus.stop(0.01)
            return ACCEPTED

        bus.register(Note, handler)
        ack = await bus.submit(Note("s"))
        assert ack.status == "accepted"


async def test_a_handler_cancelled_before_its_start_was_not_run() -> None:
    async with running() as bus:
        bus.register(Note, Gate())
        tasks = submitted(bus, Note("s"))

        def cancel_newest() -> None:
            for task in asyncio.all_tasks():
                if task.get_name().startswith("headrace command"):
                    task.cancel()

        # The submission runs in the next turn of the loop, its handler in the one after.
        asyncio.get_running_loop().call_soon(cancel_newest)
        (task,) = tasks
        ack = await task
        assert (ack.status, ack.reason) == ("failed", "its handler was cancelled before it began: it was not run")
