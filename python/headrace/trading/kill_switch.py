"""KillSwitch: the latch that lets no new order pass, in memory and as a file in the state folder.

::

    halt() · a signal · the file, of any process ─▶ is_halted ─▶ rearm()
      each change: version, actor, reason ─▶ HaltWatch ─▶ HALTED, REARMED

What happens when
    it is halted: within 0.1 s no new order passes, whatever strategies do; cancels always do (``orders``).
    the process restarts: it is halted as long as the file is there.
    the file is garbled, empty or unreadable: it counts, because it was made to stop something.
    the file is removed by hand: what runs stays halted until ``rearm``; what starts then is not.

Guarantees: signal and file set the flag natively, so a strategy that spins, or holds the interpreter's lock for
seconds, delays nothing; each change is published once.
Does not: stop the process, cancel orders, or close positions; those are commands.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import headrace._native as _native
from headrace.limits import LATCH_POLL_S
from headrace.trading.state_folder import checked_folder, state_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

__all__ = ["HaltChange", "HaltWatch", "KillSwitch"]

log = logging.getLogger(__name__)

LATCH_NAME = "halt.json"


class KillSwitch(_native.KillSwitch):
    """The latch that lets no new order pass. A context manager.

    folder : where the latch file ``halt.json`` is; the state folder unless given. Made if it is not there.
    watch : look for the file every 20 ms, on a native thread; without it a file counts that is there now, which is
        what a command needs that halts another process.
    signal : SIGUSR2 halts from now on; see ``halt_on_signal``.

    ``is_halted`` costs some 30 ns. ``version`` rises with each halt and rearm, ``reason``, ``actor`` and ``since_ns``
    are those of the halt, ``changes(version)`` returns what changed since. Raises StateFolderError, OptionError.
    """

    __slots__ = ()

    def __new__(cls, folder: str | os.PathLike[str] | None = None, *, watch: bool = True, signal: bool = False) -> Self:
        """Halted already when the file is there."""
        path = state_folder() if folder is None else checked_folder(Path(folder))
        made = super().__new__(cls, path / LATCH_NAME, poll_ns=int(LATCH_POLL_S * 1e9), watch=watch)
        if signal:
            made.halt_on_signal()
        return made


class HaltChange(NamedTuple):
    """One change of a kill switch. is_halt : False: it was rearmed."""

    version: int
    is_halt: bool
    reason: str
    actor: str

    @property
    def name(self) -> str:
        """The name of its Control event."""
        return "HALTED" if self.is_halt else "REARMED"

    @property
    def detail(self) -> dict[str, str]:
        """What its Control event says."""
        return {"actor": self.actor, "reason": self.reason}


class HaltWatch:
    """Publishes and logs each change of a kill switch once, by whatever it was made: a command, a signal, a file, code.

    publish : gets the name and the detail of a Control event. log : gets the change; a dispatch log.
    """

    def __init__(
        self,
        switch: KillSwitch,
        *,
        publish: Callable[[str, Mapping[str, object]], None],
        log: Callable[[HaltChange], None],
    ) -> None:
        self.switch = switch
        self._publish = publish
        self._log = log
        self._version = 0

    def look(self) -> None:
        """Publish what has changed since the last look: every HALT_S, and at once for what makes a change itself."""
        for found in self.switch.changes(self._version):
            change = HaltChange(*found)
            self._version = change.version
            self._log(change)
            self._publish(change.name, change.detail)
            log.warning("%s by %s: %s", change.name, change.actor or "-", change.reason or "-")
