"""Operators: what each built-in command does to an engine.

::

    CommandBus ─▶ handler ─▶ Outcome(accepted │ noop │ rejected, why)

Guarantees: a command that is already true is a noop, one about something unknown is rejected; neither changes anything.
Does not: order, repeat or time out commands; that is the command bus.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from headrace.commands import (
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
    entry_of,
)
from headrace.errors import HeadraceError
from headrace.strategies.states import StrategyState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from headrace.engine.parts import EngineParts
    from headrace.strategies.runner import StrategyRunner

__all__ = ["EngineControls", "Operators"]

# Where a strategy already is what the command asks for.
ALREADY = {
    PauseStrategy: StrategyState.PAUSED,
    ResumeStrategy: StrategyState.RUNNING,
    StopStrategy: StrategyState.STOPPED,
}


class EngineControls(NamedTuple):
    """What commands do to the engine itself.

    stop : drains and ends it, with a reason. is_stopping : whether it was asked to end. status : what runs now.
    """

    stop: Callable[[str], None]
    is_stopping: Callable[[], bool]
    status: Callable[[], dict[str, object]]


class Operators:
    """The handlers of the built-in commands of one engine."""

    def __init__(self, parts: EngineParts, controls: EngineControls) -> None:
        self._engine = parts
        self._controls = controls
        self._handlers: dict[type[Command], Callable[[Any], Outcome | Awaitable[Outcome]]] = {
            PauseStrategy: self._pause,
            ResumeStrategy: self._resume,
            RestartStrategy: self._restart,
            StopStrategy: self._stop,
            SetSubscription: self._set_subscription,
            CancelOrder: self._cancel_order,
            CancelAll: self._cancel_all,
            Flatten: self._flatten,
            Halt: self._halt,
            Rearm: self._rearm,
            RedriveDeadLetter: self._redrive,
            Drain: self._drain,
            Status: self._status,
        }

    def register(self, commands: CommandBus) -> None:
        """Register every handler."""
        for command_type, handler in self._handlers.items():
            commands.register(command_type, self._awaited if inspect.iscoroutinefunction(handler) else self._plain)

    async def _awaited(self, command: Command) -> Outcome:
        if command.changes:
            self._engine.driver.note_command(command)
        return await cast("Awaitable[Outcome]", self._handlers[type(command)](command))

    def _plain(self, command: Command) -> Outcome:
        if command.changes:
            self._engine.driver.note_command(command)
        return cast("Outcome", self._handlers[type(command)](command))

    async def again(self, payload: Mapping[str, Any]) -> Outcome:
        """Do what a command of an earlier run asked for. Raises msgspec.ValidationError when it is none."""
        kinds = {entry_of(kind).name: kind for kind in self._handlers}
        command: Command = msgspec.convert(payload, kinds[payload["command"]])
        if isinstance(command, Drain):
            # How far that run came, and when it left, stands in its log; a stop now would come too early.
            return Outcome("accepted")
        outcome = self._handlers[type(command)](command)
        return await outcome if inspect.isawaitable(outcome) else outcome

    # Strategies

    async def _pause(self, command: PauseStrategy) -> Outcome:
        return await self._move(command, "pause", lambda runner: runner.pause("by command"))

    async def _resume(self, command: ResumeStrategy) -> Outcome:
        return await self._move(command, "resume", lambda runner: runner.resume("by command"))

    async def _stop(self, command: StopStrategy) -> Outcome:
        return await self._move(command, "stop", lambda runner: runner.stop("by command"))

    async def _restart(self, command: RestartStrategy) -> Outcome:
        runner = self._engine.strategies.get(command.strategy)
        if runner is None:
            return self._unknown(command.strategy)
        if why := runner.cannot_restart():
            return Outcome("rejected", why)
        await runner.restart("by command")
        if runner.state is StrategyState.FAILED:
            why = f"{runner.name} failed to start again: its dead letter says why"
            return Outcome("failed", why, version=runner.life.version)
        return Outcome("accepted", version=runner.life.version)

    async def _move(
        self,
        command: PauseStrategy | ResumeStrategy | StopStrategy,
        verb: str,
        act: Callable[[StrategyRunner], Awaitable[None]],
    ) -> Outcome:
        runner = self._engine.strategies.get(command.strategy)
        if runner is None:
            return self._unknown(command.strategy)
        if runner.state is ALREADY[type(command)]:
            return Outcome("noop", f"{runner.name} is {runner.state}", version=runner.life.version)
        if not runner.life.allows(verb):
            hint = ": restart it" if runner.life.allows("start") else ""
            why = f"{runner.name} is {runner.state}, from where it cannot {verb}{hint}"
            return Outcome("rejected", why, version=runner.life.version)
        await act(runner)
        return Outcome("accepted", version=runner.life.version)

    def _set_subscription(self, command: SetSubscription) -> Outcome:
        runner = self._engine.strategies.get(command.strategy)
        if runner is None:
            return self._unknown(command.strategy)
        given = {
            name: getattr(command, name) for name in ("batch_max", "lag_max_ticks", "lag_max_ns", "on_lag", "overflow")
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if not changes:
            return Outcome("noop", "nothing was to be changed: name at least one option")
        try:
            changed = runner.tune(changes)
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
        if order is None:
            return Outcome("rejected", f"no order is called {command.order_id!r}")
        status = self._engine.orders.cancel(command.order_id, reason="by command")
        return Outcome(status, f"it is {order.state}" if status != "accepted" else "")

    def _cancel_all(self, command: CancelAll) -> Outcome:
        if unknown := self._nowhere(command):
            return unknown
        ids = self._engine.orders.cancel_all(
            strategy=command.strategy, instrument=command.instrument, reason="by command"
        )
        return Outcome("accepted" if ids else "noop", f"{len(ids)} orders", detail={"orders": ids})

    def _flatten(self, command: Flatten) -> Outcome:
        if unknown := self._nowhere(command):
            return unknown
        ids = self._engine.orders.flatten(strategy=command.strategy, instrument=command.instrument, reason="by command")
        return Outcome("accepted" if ids else "noop", f"{len(ids)} orders", detail={"orders": ids})

    def _nowhere(self, command: CancelAll | Flatten) -> Outcome | None:
        """Return a rejection of a name that nothing here has: "0 orders" would sound like done."""
        strategy, instrument, orders = command.strategy, command.instrument, self._engine.orders
        # A service may trade, too, by signals under its name.
        if strategy is not None and strategy not in self._engine.strategies and not orders.orders(strategy=strategy):
            return self._unknown(strategy)
        known = orders.gates.instruments
        if instrument is not None and instrument not in known and not orders.orders(instrument=instrument):
            there = ", ".join(known) or "none"
            return Outcome("rejected", f"no instrument that may be traded is called {instrument!r}; there are {there}")
        return None

    # The kill switch

    def _halt(self, command: Halt) -> Outcome:
        switch = self._engine.kill_switch
        if switch is None:
            return Outcome("rejected", "a replay has no kill switch: nothing leaves it")
        if switch.is_halted:
            return Outcome("noop", f"it is halted already: {switch.reason}")
        switch.halt(command.reason, "operator")
        self._engine.publish_control("HALTED", {"reason": command.reason})
        return Outcome("accepted")

    def _rearm(self, command: Rearm) -> Outcome:
        switch = self._engine.kill_switch
        if switch is None or not switch.is_halted:
            return Outcome("noop", "it is not halted")
        switch.rearm("operator")
        self._engine.publish_control("REARMED", {"reason": command.reason})
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
