"""Consumer: the pull side of the event bus; an event is held until the body that took it has ended.

::

    async with consumer.consume() as envelope:     the event's lane waits …
        await work(envelope.event)                 … what is published in here is a consequence of it …
                                                   … and is counted before the event is let go

What happens when the body raises
    The event is given up: a dead letter, and the exception goes on to whoever wrote the body. It is given once; who
    wants to try again does so inside of the body, or redrives the letter.

Guarantees: leaving the body lets the event go, however it is left. Several ``consume()`` at once share the events.
Does not: iterate. ``async for`` would let an event go when the next one is asked for, not when its work is done.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from headrace.bus.current_event import HANDLING, Handling, handling_in
from headrace.errors import ClosedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import TracebackType

    from headrace.market.events import Event, Lane

__all__ = ["Consumer", "Envelope"]


class Envelope(NamedTuple):
    """An event as a consumer gets it.

    number : its place in its lane, from 1; 0 for a gap, which is none of the lane's own. attempt : from 1.
    """

    event: Event
    lane: Lane
    number: int
    attempt: int


class Consumer:
    """What ``EventBus.consumer`` returns."""

    def __init__(
        self,
        name: str,
        bus: object,
        *,
        release: Callable[[Lane, BaseException | None], None],
        close: Callable[[Consumer], None],
    ) -> None:
        self.name = name
        self.is_open = True
        self._bus = bus
        self._release = release
        self._close = close
        self._offered: deque[Envelope] = deque()
        self._in_hand: dict[Lane, Handling] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    def consume(self) -> _Consume:
        """Return ``async with … as envelope``: wait for the next event, hold it in the body, let it go behind it.

        Raises ClosedError when no more events will come.
        """
        return _Consume(self)

    def __aiter__(self) -> NoReturn:
        msg = (
            "a Consumer is not iterable: the event before would be let go when the next one is asked for, done or not; "
            "use: async with consumer.consume() as envelope"
        )
        raise TypeError(msg)

    def close(self) -> None:
        """Take no more events. What it was offered and has not taken goes on to the next handler."""
        if self.is_open:
            self._close(self)
            offered = list(self._offered)
            self.end()
            for envelope in offered:
                self._release(envelope.lane, None)

    def end(self) -> None:
        """Let those who wait know that nothing more comes; called by the bus. What was offered is left."""
        self.is_open = False
        self._offered.clear()
        while self._waiters:
            self._wake_one()

    def offer(self, envelope: Envelope) -> None:
        """Have an event ready for the next ``consume()``; called by the bus."""
        self._offered.append(envelope)
        self._wake_one()

    def handling(self, lane: Lane) -> Handling | None:
        """Return what a body is at with an event of this lane; None when nobody has come for it yet."""
        return self._in_hand.get(lane)

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _take(self) -> Envelope:
        import asyncio  # 20 ms that only who awaits pays

        holder = handling_in(self._bus)
        try:
            while not self._offered:
                if not self.is_open:
                    msg = f"consumer {self.name!r} was closed, or its bus shut down: no more events will come"
                    raise ClosedError(msg)
                if holder is not None:
                    holder.waits_for = f"the next event of consumer {self.name!r}"
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                try:
                    await waiter
                except asyncio.CancelledError:
                    if waiter.done() and not waiter.cancelled():
                        # It was meant for an event that this task will not take.
                        self._wake_one()
                    raise
        finally:
            if holder is not None:
                holder.waits_for = None
        return self._offered.popleft()

    def _begin(self, envelope: Envelope) -> Handling:
        handling = self._in_hand[envelope.lane] = Handling(self._bus, envelope.event, self.name)
        return handling

    def _done(self, lane: Lane, error: BaseException | None) -> None:
        self._in_hand.pop(lane).is_over = True
        self._release(lane, error)


class _Consume:
    """One event, from its arrival to the end of the body."""

    __slots__ = ("_before", "_consumer", "_envelope")

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._envelope: Envelope | None = None
        self._before: Handling | None = None

    async def __aenter__(self) -> Envelope:
        envelope = self._envelope = await self._consumer._take()  # noqa: SLF001 - its other half
        self._before = HANDLING.get()
        HANDLING.set(self._consumer._begin(envelope))  # noqa: SLF001
        return envelope

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        assert self._envelope is not None
        HANDLING.set(self._before)
        self._consumer._done(self._envelope.lane, error)  # noqa: SLF001
