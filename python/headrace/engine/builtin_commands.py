"""BuiltinCommands: what each built-in command does to an engine.

::

    CommandBus ─▶ handler ─▶ Outcome(accepted │ noop │ rejected, why)

Guarantees: a command that is already true is a noop, one about something unknown is rejected; neither changes anything.
Does not: order, repeat or time out commands; that is the command bus.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Union, cast

import msgspec

from headrace.commands import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    Command,
    CommandBus,
    Drain,
    Flatten,
    Halt,
    Outcome,
    PauseStrategy,
    Rearm,
    RedriveDeadLetter,
    RestartStrategy,
    ResumeStrategy,
    SetSubscription,
    Status,
    StopStrategy,
    current_submission,
)
from headrace.errors import HeadraceError, InstrumentError, LaneFullError, OptionError, OrderError
from headrace.limits import FLATTEN_S
from headrace.market.wording import counted
from headrace.strategies.runner import StrategyRunner
from headrace.strategies.states import StrategyState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from headrace.engine.parts import EngineParts
    from headrace.trading.orders.amends import AmendOptions

__all__ = ["BuiltinCommands", "EngineControls"]

# What moves a strategy, and the state in which it is already where the command wants it.
MOVES = {
    PauseStrategy: (StrategyRunner.pause, StrategyState.PAUSED),
    ResumeStrategy: (StrategyRunner.resume, StrategyState.RUNNING),
    StopStrategy: (StrategyRunner.stop, StrategyState.STOPPED),
}


class EngineControls(NamedTuple):
    """What commands do to the engine itself.

    stop : drains and ends it, with a reason. is_stopping : whether it was asked to end. status : what runs now.
    """

    stop: Callable[[str], None]
    is_stopping: Callable[[], bool]
    status: Callable[[], dict[str, object]]


class BuiltinCommands:
    """The handlers of the built-in commands of one engine."""

    def __init__(self, parts: EngineParts, controls: EngineControls) -> None:
        self._engine = parts
        self._controls = controls
        # The kill switch's version that a Halt has been accepted for; a halt from before this engine needs none.
        self._halt_version = 0 if parts.halt_watch is None else parts.halt_watch.switch.version
        self._plain: dict[type[Command], Callable[[Any], Outcome]] = {
            SetSubscription: self._set_subscription,
            AmendOrder: self._amend_order,
            CancelOrder: self._cancel_order,
            CancelAll: self._cancel_all,
            Flatten: self._flatten,
            Halt: self._halt,
            Rearm: self._rearm,
            RedriveDeadLetter: self._redrive,
            Drain: self._drain,
            Status: self._status,
        }
        self._awaited: dict[type[Command], Callable[[Any], Awaitable[Outcome]]] = {
            PauseStrategy: self._move,
            ResumeStrategy: self._move,
            RestartStrategy: self._restart,
            StopStrategy: self._move,
        }

    def register(self, commands: CommandBus) -> None:
        """Register every handler."""
        for command_type in self._plain:
            commands.register(command_type, self._handle)
        for command_type in self._awaited:
            commands.register(command_type, self._handle_awaited)

    def _handle(self, command: Command) -> Outcome:
        if command.changes:
            self._engine.driver.note_command(command)
        return self._plain[type(command)](command)

    async def _handle_awaited(self, command: Command) -> Outcome:
        self._engine.driver.note_command(command)
        return await self._awaited[type(command)](command)

    async def again(self, payload: Mapping[str, Any]) -> Outcome:
        """Do what a command of an earlier run asked for. Raises msgspec.ValidationError when it is none."""
        command: Command = msgspec.convert(payload, Union[(*self._plain, *self._awaited)])
        kind = type(command)
        if isinstance(command, Drain | Halt | Rearm):
            # How far that run came, when it left, and how its kill switch changed, stand in its log as well.
            return Outcome("accepted")
        if kind in self._plain:
            return self._plain[kind](command)
        return await self._awaited[kind](command)

    # Strategies

    async def _restart(self, command: RestartStrategy) -> Outcome:
        runner = self._engine.strategies.get(command.strategy)
        if runner is None:
            return self._unknown(command.strategy)
        if why := runner.spec.restart_problem(runner.name):
            return Outcome("rejected", why)
        await runner.restart("by command")
        if runner.state is StrategyState.FAILED:
            why = f"{runner.name} failed to start again: its dead letter says why"
            return Outcome("failed", why, version=runner.life.version)
        return Outcome("accepted", version=runner.life.version)

    async def _move(self, command: PauseStrategy | ResumeStrategy | StopStrategy) -> Outcome:
        move, already = MOVES[type(command)]
        runner = self._engine.strategies.get(command.strategy)
        if runner is None:
            return self._unknown(command.strategy)
        if runner.state is already:
            return Outcome("noop", f"{runner.name} is {runner.state}", version=runner.life.version)
        if not runner.life.allows(command.verb):
            hint = ": restart it" if runner.life.allows("start") else ""
            why = f"{runner.name} is {runner.state}, from where it cannot {command.verb}{hint}"
            return Outcome("rejected", why, version=runner.life.version)
        await move(runner, "by command")
        if runner.state is StrategyState.FAILED:
            why = f"on_stop of {runner.name} raised: its dead letter says why"
            return Outcome("failed", why, version=runner.life.version)
        return Outcome("accepted", version=runner.life.version)

    def _set_subscription(self, command: SetSubscription) -> Outcome:
        runner = self._engine.strategies.get(command.strategy)
        if runner is None:
            return self._unknown(command.strategy)
        changes = command.tuning()
        if not changes:
            return Outcome("noop", "nothing was to be changed: name at least one option")
        try:
            changed = runner.tune(**changes)
        except HeadraceError as error:
            return Outcome("rejected", str(error))
        if not changed:
            return Outcome("noop", f"{runner.name} has these options already, or takes no ticks")
        return Outcome("accepted")

    def _unknown(self, name: str) -> Outcome:
        known = ", ".join(self._engine.strategies) or "none"
        return Outcome("rejected", f"no strategy is called {name!r}; there are {known}")

    # Orders

    def _cancel_order(self, command: CancelOrder) -> Outcome:
        order = self._engine.orders.order(command.order_id)
        try:
            status = self._engine.orders.cancel(command.order_id, reason="by command")
        except OrderError as error:
            return Outcome("rejected", str(error))
        state = "over, and no longer kept" if order is None else order.state
        return Outcome(status, f"it is {state}" if status != "accepted" else "")

    def _amend_order(self, command: AmendOrder) -> Outcome:
        order = self._engine.orders.order(command.order_id)
        try:
            status = self._engine.orders.amend(command.order_id, **cast("AmendOptions", command.values()))
        except (OrderError, LaneFullError) as error:
            return Outcome("rejected", str(error))
        state = "over, and no longer kept" if order is None else order.state
        return Outcome(status, f"it is {state}" if status != "accepted" else "")

    def _cancel_all(self, command: CancelAll) -> Outcome:
        return self._of_many(self._engine.orders.cancel_all, command)

    def _flatten(self, command: Flatten) -> Outcome:
        outcome = self._of_many(self._engine.orders.flatten, command)
        if outcome.status != "accepted":
            return outcome
        ids = outcome.detail["orders"]
        left = self._engine.orders.orders(strategy=command.strategy, instrument=command.instrument, open_only=True)
        waits = [order.order_id for order in left if order.order_id not in ids]
        if not waits:
            return outcome
        why = f"{outcome.reason}, as soon as {', '.join(waits)} ended, after {FLATTEN_S:g} s at the latest"
        return Outcome("accepted", why, detail={"orders": ids, "waits_for": waits})

    def _of_many(self, act: Callable[..., list[str]], command: CancelAll | Flatten) -> Outcome:
        """Act on a strategy's or an instrument's orders; reject an unknown name: "0 orders" would sound like done."""
        try:
            self._engine.names.check(command.strategy, command.instrument)
        except (InstrumentError, OptionError) as error:
            return Outcome("rejected", str(error))
        ids = act(strategy=command.strategy, instrument=command.instrument, reason="by command")
        return Outcome("accepted" if ids else "noop", counted(len(ids), "order"), detail={"orders": ids})

    # The kill switch

    def _halt(self, command: Halt) -> Outcome:
        watch = self._engine.halt_watch
        if watch is None:
            return Outcome("rejected", "a replay has no kill switch: nothing leaves it")
        switch, actor = watch.switch, _actor()
        try:
            is_made = switch.halt(command.reason, actor)
        finally:
            watch.look()
        # `headrace ctl halt` writes the latch file before it submits the command: the operator's first command with the
        # same reason is that halt's own, whoever saw the file first.
        is_own = (_operator(switch.actor), switch.reason) == (_operator(actor), command.reason)
        if not is_made and (not is_own or switch.version == self._halt_version):
            return Outcome("noop", f"it is halted already: {switch.reason}")
        self._halt_version = switch.version
        return Outcome("accepted")

    def _rearm(self, command: Rearm) -> Outcome:
        watch = self._engine.halt_watch
        if watch is None or not watch.switch.is_halted:
            return Outcome("noop", "it is not halted")
        watch.switch.rearm(_actor(), command.reason)
        watch.look()
        return Outcome("accepted")

    # The engine

    def _redrive(self, command: RedriveDeadLetter) -> Outcome:
        letter = self._engine.dead_letters.get(command.letter_id)
        if letter is None:
            return Outcome("rejected", f"no letter {command.letter_id} is kept")
        try:
            self._engine.dead_letters.redrive(command.letter_id)
        except HeadraceError as error:
            return Outcome("rejected", str(error))
        return Outcome("accepted")

    def _drain(self, _command: Drain) -> Outcome:
        if self._controls.is_stopping():
            return Outcome("noop", "it is draining already")
        self._controls.stop("drained by command")
        return Outcome("accepted")

    def _status(self, _command: Status) -> Outcome:
        return Outcome("accepted", detail=self._controls.status())


def _actor() -> str:
    """Return the actor of the command that is being handled."""
    call = current_submission()
    assert call is not None
    return call.actor


def _operator(actor: str | None) -> str:
    """Return an actor without the process, whose number another container sees differently."""
    return (actor or "").rpartition("/")[0] or actor or ""
