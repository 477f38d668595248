"""Watches: what a run looks at from time to time, beside its ticks.

::

    kill switch: its file, every few ms ─▶ events of changes that no command has made
    patterns of strategies: once, when data came for long enough ─▶ a warning of each that matches no instrument
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.limits import HALT_S, PATTERNS_AFTER_S
from headrace.market.clock import Mode

if TYPE_CHECKING:
    from headrace.engine.parts import EngineParts
    from headrace.trading.kill_switch import HaltWatch

__all__ = ["Watches"]

# Between two looks whether enough data came to judge patterns.
LOOK_EVERY_S = 0.2


class Watches:
    """The watches of one run."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to look."""
        parts = self._parts
        if parts.halt_watch is not None:
            work = self._watch_kill_switch(parts.halt_watch)
            self._tasks.append(group.create_task(work, name="headrace-kill-switch"))
        if parts.mode is Mode.LIVE:
            self._tasks.append(group.create_task(self._await_data(), name="headrace-patterns"))

    def stop(self) -> None:
        """End; a change of the kill switch since the last look is told."""
        for task in self._tasks:
            task.cancel()
        if self._parts.halt_watch is not None:
            self._parts.halt_watch.look()

    def judge_patterns(self) -> None:
        """Warn of each pattern of a strategy that matches no instrument."""
        problem_of = self._parts.names.problem_of_pattern()
        for runner in self._parts.strategies.values():
            runner.warn_of_unmatched(problem_of)

    async def _watch_kill_switch(self, watch: HaltWatch) -> None:
        while True:
            watch.look()
            await asyncio.sleep(HALT_S)

    async def _await_data(self) -> None:
        """Judge patterns once data came for long enough."""
        ring, clock = self._parts.dispatcher.ring, self._parts.clock
        while not ring.cursor:  # noqa: ASYNC110 - a look now and then costs no tick anything
            await asyncio.sleep(LOOK_EVERY_S)
        judged_ns = clock.now_ns() + int(PATTERNS_AFTER_S * 1e9)
        while clock.now_ns() < judged_ns:  # noqa: ASYNC110 - as above
            await asyncio.sleep(LOOK_EVERY_S)
        self.judge_patterns()
