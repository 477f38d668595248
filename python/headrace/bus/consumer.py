"""Consumer: the pull side of the event bus; an event is held until the body that handles it has ended.

::

    async with consumer.consume() as envelope:     the event's lane waits …
        await work(envelope.event)                 … an event published in here is a consequence of it …
                                                   … and is counted before the event is released

What happens when the body raises
    The event becomes a dead letter, and the exception propagates out of the body. The event is delivered once; to try
    again, retry inside the body or redrive the letter.

Guarantees: leaving the body in any way releases the event. Several ``consume()`` at once share the events.
Does not: iterate. ``async for`` would release an event when the next one is requested, not when its work is done.
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
    """An event as a consumer receives it.

    number : its number in its lane, from 1; 0 for a gap, which the lane does not number. attempt : from 1.
    """

    event: Event
    lane: Lane
    number: int
    attempt: int


class Consumer:
    """The pull side of a bus, made by ``EventBus.consumer``."""

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
        """Return ``async with … as envelope``: wait for the next event, hold it in the body, release it at its end.

        Raises ClosedError when no more events will come.
        """
        return _Consume(self)

    def __aiter__(self) -> NoReturn:
        msg = (
            "a Consumer is not iterable: an event would be released when the next one is requested, not when its work "
            "is done; use: async with consumer.consume() as envelope"
        )
        raise TypeError(msg)

    def close(self) -> None:
        """Take no more events. Events that were offered and not taken go on to the next handler."""
        if self.is_open:
            self._close(self)
            offered = list(self._offered)
            self.end()
            for envelope in offered:
                self._release(envelope.lane, None)

    def end(self) -> None:
        """End every waiting ``consume()`` with ClosedError; called by the bus. Offered events are left."""
        self.is_open = False
        self._offered.clear()
        while self._waiters:
            self._wake_one()

    def offer(self, envelope: Envelope) -> None:
        """Queue an event for the next ``consume()``; called by the bus."""
        self._offered.append(envelope)
        self._wake_one()

    def handling(self, lane: Lane) -> Handling | None:
        """Return the Handling of the body that holds an event of this lane; None while no body has taken it."""
        return self._in_hand.get(lane)

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _take(self) -> Envelope:
        import asyncio  # 20 ms, spent only where something is awaited

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
                        # This task will not take its event: another waiter takes it.
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
    """One event, from its arrival to the end of the body that handles it."""

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
