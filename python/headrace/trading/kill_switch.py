"""KillSwitch: the latch that lets no new order pass, in memory and as a file in the state folder.

::

    halt() · a signal · the file, whoever writes it ─▶ is_halted ─▶ rearm()

What happens when
    somebody halts: within 0.1 s no new order passes, whatever strategies do; cancels always do (``orders``).
    the process restarts: it is halted as long as the file is there.
    the file is garbled, empty or unreadable: it counts, because whoever made it wanted to stop something.
    somebody removes the file by hand: what runs stays halted until ``rearm``; what starts then is not.

Guarantees: signal and file set the flag natively, so a strategy that spins, or holds the interpreter's lock for
seconds, delays nothing.
Does not: stop the process, cancel orders, or close positions; those are commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import headrace._native as _native
from headrace.limits import LATCH_POLL_S
from headrace.trading.state_folder import checked_folder, state_folder

if TYPE_CHECKING:
    import os

__all__ = ["KillSwitch"]

LATCH_NAME = "halt.json"


class KillSwitch(_native.KillSwitch):
    """The latch that lets no new order pass. A context manager.

    folder : where the latch file ``halt.json`` is; the state folder unless given. Made if it is not there.
    watch : look for the file every 20 ms, on a native thread; without it a file counts that is there now, which is
        what a command needs that halts another process.
    signal : SIGUSR2 halts from now on; see ``halt_on_signal``.

    ``is_halted`` costs some 30 ns. ``version`` rises with each halt and rearm, ``reason``, ``actor`` and ``since_ns``
    tell of the halt. Raises StateFolderError, OptionError.
    """

    __slots__ = ()

    def __new__(cls, folder: str | os.PathLike[str] | None = None, *, watch: bool = True, signal: bool = False) -> Self:
        """Halted already when the file is there."""
        path = state_folder() if folder is None else checked_folder(Path(folder))
        made = super().__new__(cls, path / LATCH_NAME, poll_ns=int(LATCH_POLL_S * 1e9), watch=watch)
        if signal:
            made.halt_on_signal()
        return made
