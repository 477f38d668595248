"""RepeatDriver: a live run once more, from its dispatch log: the same calls at the same times.

Guarantees: the log alone says when events are drained, commands are handled and strategies stop.
Does not: have effects, or hold ticks; the sources must be those of the live run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headrace.dispatch.repetition import Repetition
from headrace.engine.loop.driver import Driver
from headrace.errors import DispatchLogError
from headrace.market.clock import Mode

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.log import Mark
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
        """Go through the log. Raises DispatchLogError where it diverges, and no decision says why."""
        repeat, sources = self._repeat, self._sources
        assert sources is not None
        repetition = Repetition(repeat.log, self.dispatcher, sources.pump, give=sources.give)
        try:
            async for mark in repetition:
                await self._follow(mark, steps)
                repeat.calls = repetition.calls
        except DispatchLogError as error:
            repeat.diverged(error)
        return "log ended"

    async def _follow(self, mark: Mark, steps: Steps) -> None:
        """Do what the live engine did where this mark stands."""
        payload = self._repeat.payload_of(mark)
        match mark.kind:
            case "turn":
                real_ns, by_ns = payload
                self.clock.native.set_real(real_ns)
                if by_ns is None:
                    self.drain()
                else:
                    self.settle(by_ns)
            case "command":
                assert steps.repeat_command is not None  # An engine has handlers.
                try:
                    await steps.repeat_command(payload)
                except msgspec.ValidationError as error:
                    what = f"damaged: a command cannot be read ({error})"
                    raise self._repeat.log.error(what) from None  # noqa: TRY400 - it makes an error
            case "decision":
                self._repeat.decided(payload)
            case "reader":
                self.readers.stand_in(payload)
            case "reader_left":
                self.readers.leave(payload)
            case "halted":
                self._repeat.switch.is_halted = payload.is_halt
                self.publish_control(payload.name, payload.detail)
            case "listed":
                steps.take_listing(payload)
            case "leave":
                self.dispatcher.finish()
                await self.dispatcher.drain_async()
            case "stop":
                await steps.stop_strategies()
