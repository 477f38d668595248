"""RepeatDriver: a live run once more, from its dispatch log: the same calls at the same times.

Guarantees: the log alone says when events are drained, commands are handled and strategies stop.
Does not: have effects, or hold ticks; the sources must be those of the live run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.engine.loop.driver import Driver
from headrace.market.clock import Mode

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.engine.loop.driver import Steps
    from headrace.engine.repeat import Repeat
    from headrace.feeds.sources import Sources
    from headrace.market.clock import EngineClock

__all__ = ["RepeatDriver"]


class RepeatDriver(Driver):
    """Moves a repetition on."""

    mode = Mode.REPEAT

    def __init__(self, clock: EngineClock, bus: EventBus, dispatcher: Dispatcher, repeat: Repeat) -> None:
        super().__init__(clock, bus, dispatcher)
        self._repeat = repeat
        self._sources: Sources | None = None

    async def start(self, sources: Sources) -> None:
        """Open the sources; the clock begins as it did live."""
        self._sources = sources
        await sources.open()
        self.clock.advance_to(self._repeat.now_ns)
        self._repeat.attach(self.bus)
        # The log says when to drain, and nothing else does.
        await self.bus.start(wake=lambda: None)

    async def run(self, steps: Steps) -> str:
        """Go through the log."""
        assert self._sources is not None
        await self._repeat.run(self, self._sources, steps)
        return "log ended"
