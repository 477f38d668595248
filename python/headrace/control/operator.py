"""Operator: reaches the engines of one state folder, or says which engines it did not reach.

::

    submit, ask ─▶ STATE_FOLDER/run/ENGINE.sock ─▶ Ack
    halt ─▶ STATE_FOLDER/halt.json first ─▶ each engine that listens

What happens when no engine of the folder listens
    ``halt`` and ``rearm`` change the latch file alone; everything else raises ControlError, which names the engines of
    this user that run with other folders.

Guarantees: a halt needs no engine that answers; what is not confirmed is said.
Does not: repeat a command that was not answered: it may have been handled.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.commands import Halt
from headrace.control.client import ControlClient, existing_folder, listening_engines
from headrace.control.wire import Submit, own_peer
from headrace.errors import ControlError, OptionError, StateFolderError
from headrace.limits import COMMAND_TIMEOUT_S
from headrace.trading.engine_register import running_engines
from headrace.trading.kill_switch import KillSwitch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.commands import Ack
    from headrace.control.wire import Reply, Request
    from headrace.trading.engine_register import RunningEngine

__all__ = ["LatchChange", "Operator"]

# The engine answers within the command's timeout; this much later it does not at all.
GRACE_S = 2.0
LOOK_TIMEOUT_S = 5.0
# A halt overtakes everything: an engine that has not confirmed it by then hangs, and obeys the file.
CONFIRM_TIMEOUT_S = 2.0
REASON_CHARACTERS_MAX = 1_000


class LatchChange(NamedTuple):
    """What a halt or a rearm did.

    latch : the file that was changed; empty when it could not be, which ``problem`` explains. engines : what each
    engine of the folder said. unconfirmed : how many of them did not confirm it. elsewhere : engines of other folders.
    """

    latch: str
    problem: str
    engines: Mapping[str, str]
    unconfirmed: int
    elsewhere: Sequence[RunningEngine]


class Operator:
    """An operator of the engines of one state folder.

    folder : HEADRACE_STATE's, or the user's own, unless given. engine : which one; a halt tells it alone.
    configured : which one a configuration names; a halt tells all of its folder. Raises StateFolderError.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        engine: str | None = None,
        configured: str | None = None,
    ) -> None:
        self.folder = existing_folder(folder)
        self._engine = engine
        self._configured = configured

    def engine(self) -> str:
        """Return the name of the engine that is meant. Raises ControlError (none runs), OptionError (several run)."""
        if named := self._engine or self._configured:
            return named
        names = listening_engines(self.folder)
        if len(names) > 1:
            msg = f"several engines run: say which with --engine {'|'.join(names)}"
            raise OptionError(msg, option="engine")
        if not names:
            msg = (
                f"no engine runs with the state folder {self.folder}{self._advice() or ': start one with headrace run'}"
            )
            raise ControlError(msg)
        return names[0]

    def is_alone(self) -> bool:
        """Whether no engine of the folder listens."""
        return not listening_engines(self.folder)

    def elsewhere(self) -> list[RunningEngine]:
        """Return the engines of this user that run with other state folders."""
        return [engine for engine in running_engines() if engine.folder != str(self.folder.resolve())]

    def _advice(self) -> str:
        """Name the engines of other folders, and how to reach them; empty: there is none."""
        names = ", ".join(map(str, self.elsewhere()))
        return names and f", but {names} runs: name its folder with --state-folder, or its file with --config"

    def ask(self, request: Request, *, timeout: float = LOOK_TIMEOUT_S) -> Reply:
        """Send a request to the engine that is meant. Raises ControlError, OptionError."""
        return self._ask(self.engine(), request, timeout)

    def _ask(self, name: str, request: Request, timeout: float) -> Reply:
        try:
            client = ControlClient(name, folder=self.folder)
        except ControlError as error:
            msg = f"{error}{self._advice()}"
            raise ControlError(msg) from error
        with client:
            return client.ask(request, timeout=timeout)

    def submit(
        self, command: Mapping[str, object], *, key: str | None = None, timeout: float | None = None
    ) -> tuple[str, Ack]:
        """Give a command to the engine that is meant; return the engine's name and its answer. Raises as ``ask``."""
        name, wait_s = self.engine(), (COMMAND_TIMEOUT_S if timeout is None else timeout) + GRACE_S
        return name, self._ack(name, command, wait_s, key=key, timeout=timeout)

    def _ack(
        self, name: str, command: object, wait_s: float, *, key: str | None = None, timeout: float | None = None
    ) -> Ack:
        raw = msgspec.Raw(msgspec.json.encode(command))
        reply = self._ask(name, Submit(command=raw, key=key, timeout=timeout, terminal=_terminal()), wait_s)
        if reply.ack is None:
            msg = f"engine {name!r} answered without an Ack: is it of another version?"
            raise ControlError(msg)
        return reply.ack

    def halt(self, reason: str) -> LatchChange:
        """Write the latch file, then tell the engine that is meant, or every engine of the folder."""
        # Whatever an operator writes must halt.
        reason = reason.encode(errors="replace").decode()[:REASON_CHARACTERS_MAX]
        latch, problem = self._write_latch(reason)
        told: dict[str, str] = {}
        unconfirmed = 0
        listening = listening_engines(self.folder)
        for name in listening if self._engine is None else [self._engine]:
            try:
                ack = self._ack(name, Halt(reason), CONFIRM_TIMEOUT_S)
            except ControlError as error:
                told[name] = f"not confirmed: {error}"
                unconfirmed += 1
            else:
                told[name] = f"{ack.status} {ack.reason}".strip()
                unconfirmed += not ack.is_done
        return LatchChange(latch, problem, told | self._silent(listening), unconfirmed, self.elsewhere())

    def _write_latch(self, reason: str) -> tuple[str, str]:
        """Halt through the file, and return its path, or why it was not written."""
        try:
            with KillSwitch(self.folder, watch=False) as switch:
                switch.halt(reason, own_peer().actor(_terminal()))
                return str(switch.path), ""
        except StateFolderError as error:
            return "", str(error)

    def rearm_latch(self, reason: str) -> LatchChange:
        """Remove the latch file, for the folder's next engine; one that runs and takes no command is unconfirmed."""
        try:
            with KillSwitch(self.folder, watch=False) as switch:
                is_removed = switch.rearm(own_peer().actor(_terminal()), reason)
                latch, problem = str(switch.path), "" if is_removed else "it was not there"
        except StateFolderError as error:
            latch, problem = "", str(error)
        stay = {name: f"is not rearmed: it {why}; end it, and start it again" for name, why in self._silent(()).items()}
        return LatchChange(latch, problem, stay, len(stay), self.elsewhere())

    def _silent(self, listening: Sequence[str]) -> dict[str, str]:
        """Return the engines of the folder that obey its latch file and take no commands."""
        own = [engine for engine in running_engines() if engine.folder == str(self.folder.resolve())]
        return {engine.name: "has no control socket" for engine in own if engine.name not in listening}


def _terminal() -> str:
    """Name the terminal that we are at; empty when there is none."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return os.ttyname(stream.fileno()).removeprefix("/dev/")
    return ""
