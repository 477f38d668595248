"""Subscription: one consumer of a dispatcher's ticks, moved on by its thread, its task, the dispatcher or the caller.

Guarantees: everything it starts ends with ``close``; a thread that does not end is named in the log and left running.
A closed one is gone from its dispatcher, and keeps its last counts.
Does not: call handlers, which native code does, or check options (``options``) and handlers (``signature``).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from headrace.dispatch.awaited_calls import AwaitedCalls
from headrace.dispatch.joining import Advance, bound_handlers, described, refuse_flow
from headrace.dispatch.loop_wakeup import LoopWakeup
from headrace.dispatch.options import Overflow
from headrace.dispatch.signature import kinds_of
from headrace.dispatch.subscription_stats import SubscriptionStats, stats_of
from headrace.errors import ClosedError, OptionError, ReentrantDispatchError, SubscriptionError
from headrace.limits import CLOSE_DEADLINE_S
from headrace.market.checks import whole
from headrace.market.clock import Mode
from headrace.market.events import Cause, current_cause
from headrace.market.user_waits import bounded_s, leave_behind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    import numpy as np

    import headrace._native as _native
    from headrace.dispatch.awaited_calls import AwaitedCall
    from headrace.dispatch.books import BookDesk
    from headrace.dispatch.faults import FaultDesk
    from headrace.dispatch.joining import Described, Joining
    from headrace.dispatch.loop_wakeup import WakeupKind
    from headrace.dispatch.members import Members
    from headrace.dispatch.options import TuneOptions
    from headrace.dispatch.signature import HasHandlers
    from headrace.market.clock import Clock

__all__ = ["Environment", "Subscription"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Environment:
    """What the subscriptions of one dispatcher share. called_by_owner : callbacks that are no handlers of ticks."""

    clock: Clock
    mode: Mode
    wakeup: WakeupKind
    faults: FaultDesk
    books: BookDesk
    called_by_owner: AbstractSet[str]


class Subscription:
    """One consumer of a dispatcher's ticks. Made by ``Dispatcher.subscribe``.

    A subscription with handlers calls them; one without is pulled: ``for batch in subscription``,
    ``async for batch in subscription``, or ``subscription.read_into(array)``. Batches are arrays of TICK_DTYPE that the
    caller owns. A gap is the first tick of a batch, of kind gap; no batch has a gap in its middle.
    """

    def __init__(
        self,
        *,
        name: str,
        joining: Joining,
        membership: _native.Membership,
        group: _native.DispatchGroup,
        environment: Environment,
        members: Members,
    ) -> None:
        self.name = name
        self.options = joining.options
        self.kinds = joining.kinds
        self.advance = joining.advance
        self._describe(joining.handlers)
        self.membership = membership
        self.group = group
        self.is_open = True
        self.environment = environment
        self._members = members
        self._thread: threading.Thread | None = None
        self._last_stats: SubscriptionStats | None = None
        self.awaited = AwaitedCalls(self)

    @property
    def is_pull(self) -> bool:
        """Whether it has no handlers."""
        return self.advance is Advance.PULL

    @property
    def is_async(self) -> bool:
        """Whether its handlers are awaited."""
        return self.advance is Advance.AWAIT

    @property
    def state(self) -> str:
        """``"running"``, ``"paused"``, ``"quarantined"``, ``"resuming"``, ``"dozing"`` or ``"closed"``."""
        return self.membership.state

    def pause(self) -> bool:
        """Stop calling its handlers from the next tick on; ticks in between are skipped and counted.

        Returns False when it was not running. O(1); takes no lock and never waits.
        """
        return self.membership.pause()

    def resume(self) -> bool:
        """Resume delivery, also out of quarantine: first the gap is delivered, then the newest quotes.

        Returns False when it was neither paused nor quarantined.
        """
        return self.membership.resume()

    def doze(self, instrument: str | None = None) -> bool:
        """Suspend delivery until ``wake()``. Ticks in between count as filtered and raise no gap.

        Takes effect in the middle of a batch, too; a plural call depends on the state at the time of the call. A block
        reader still gates the writer. Returns False when it was not running. O(1); never waits.

        instrument : only the ticks of this one, which it was woken for; False: it was not.
        """
        return self.membership.doze(instrument)

    def wake(self, instrument: str | None = None) -> bool:
        """End a doze: deliver ticks again, from the next one on. There is no gap, and no newest quotes.

        Woken in the middle of a venue event, it gets the rest of the event. Returns False when it did not doze
        (``pause`` ends a doze).

        instrument : only the ticks of this one, beside those that it was woken for before; all ticks, as long as the
        dispatcher does not know it. Returns False when it gets them already. Raises SubscriptionError: it takes
        batches, which other subscriptions share.
        """
        if instrument is not None and self._takes_batches:
            msg = f"{self.name!r} takes batches, and only single ticks can be chosen by instrument: wake it without one"
            raise SubscriptionError(msg, handler=self.name)
        return self.membership.wake(instrument)

    def rebind(self, strategy: HasHandlers | Callable[..., object], *, callback: str | None = None) -> None:
        """Deliver its ticks to another object's handlers, from the next edge of a batch on.

        Its options, its counts and its undelivered gaps stay. Raises SubscriptionError, ClosedError.
        """
        self._refuse_closed()
        handlers = bound_handlers(strategy, callback, self.options.kinds, self.environment.called_by_owner)
        same_kinds = kinds_of(handlers, self.options.kinds)[0] == self.kinds
        if not same_kinds or any(bound.is_async for bound in handlers) != self.is_async:
            msg = f"{type(strategy).__name__} takes other ticks than {self.name!r}: subscribe it anew"
            raise SubscriptionError(msg, handler=self.name)
        made = [described(bound, awaited=self.is_async) for bound in handlers]
        self._describe(made)
        self.membership.bind(made)

    def _describe(self, handlers: Iterable[Described]) -> None:
        self.handler_names: list[str] = []
        self._takes_batches = self.advance is Advance.PULL
        for name, role, *_ in handlers:
            self.handler_names.append(name)
            self._takes_batches |= role in ("plural", "ticks")

    def take_over(self, strategy: HasHandlers | Callable[..., object], *, callback: str | None = None) -> None:
        """Deliver its ticks to a fresh object, and resume; what the object before it still does counts for nothing.

        Raises SubscriptionError, ClosedError.
        """
        self.rebind(strategy, callback=callback)
        self.awaited.end()
        self.awaited = AwaitedCalls(self)
        if self.is_async:
            self.start()
        self.resume()

    def tune(self, **changes: Unpack[TuneOptions]) -> bool:
        """Change how its ticks are delivered, from the next edge of a batch on; False: no change.

        Options as in ``Dispatcher.subscribe``: overflow, batch_max, lag_max_ticks, lag_max_ns, on_lag. Raises
        OptionError, ClosedError.
        """
        self._refuse_closed()
        options = self.options.changed(**changes)
        if options == self.options:
            return False
        if options.overflow is Overflow.CONFLATE:
            refuse_flow(self.name, self.kinds)
        self.membership.tune(options)
        self.options = options
        return True

    def cause(self) -> Cause | None:
        """Return the ticks of its handler that runs now, in this thread or task; None outside a handler.

        For a singular handler, its tick; for ``on_gap``, the tick of kind gap; for a plural handler, its batch: the
        instrument and kind of its last tick, and the first and last ``seq`` of these.
        """
        seen = self.membership.cause()
        return current_cause.get() if seen is None else Cause(*seen)

    def close(self) -> None:
        """Leave the ring and the dispatcher; its name is free again. ``stats`` answers with the last counts.

        Waits up to 5 s for a thread that is in its handler. May be called twice, and by a handler.
        """
        self._members.close(self)

    def stats(self) -> SubscriptionStats:
        """Return every term of the loss law, faults and latency, as they are now."""
        return self._last_stats or stats_of(self.name, self.membership)

    def read_into(self, out: np.ndarray, *, max_ticks: int | None = None) -> int:
        """Copy this subscription's next ticks into ``out`` and return how many were copied.

        out : shape (n,), dtype TICK_DTYPE, C-contiguous, writable. ``ts_event`` is int64 ns since 1970-01-01 UTC.
        max_ticks : 1..n, or None for n.
        Returns 0 when caught up. Never blocks; O(copied).
        Raises ClosedError (no more ticks will come), ValueError (wrong dtype or layout), ReentrantDispatchError.
        """
        self._refuse_handlers()
        if max_ticks is not None:
            whole("max_ticks", max_ticks, 1, max(1, len(out)), "ticks")
        try:
            count = self.membership.read_into(self.environment.clock.now_ns(), out, max_ticks)
        except ReentrantDispatchError:
            # A close holds the reader for good; any other concurrent read is the caller's mistake.
            if self.state != "closed":
                raise
            count = 0
        if count == 0 and self._has_ended():
            msg = f"subscription {self.name!r} is closed and read to its end: no more ticks will come"
            raise ClosedError(msg)
        return count

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield batches as they come; wait without the interpreter's lock. Ends when the dispatcher is closed."""
        self._refuse_handlers()
        while True:
            batch = self._next_batch()
            if batch is not None:
                yield batch
            elif self._has_ended():
                return
            else:
                self.membership.wait()

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        """Yield batches as they come, woken by the ring; ends when the dispatcher is closed."""
        self._refuse_handlers()
        wakeup = LoopWakeup(self.group, self.environment.wakeup)
        try:
            while True:
                batch = self._next_batch()
                if batch is not None:
                    yield batch
                    continue
                wakeup.arm()
                if self.membership.has_pending():
                    continue
                if self._has_ended():
                    return
                # With the time limit, a close from another thread is noticed soon in any case.
                await wakeup.wait(0.05)
        finally:
            wakeup.close()

    # Called by its dispatcher

    def start(self) -> None:
        """Start its thread or its task, if it has one."""
        mode = self.environment.mode
        if self.advance is Advance.THREAD and mode is not Mode.REPEAT:
            self._thread = threading.Thread(target=self._run_thread, name=f"headrace-{self.name}", daemon=True)
            self._thread.start()
        elif self.is_async and mode is Mode.LIVE:
            self.awaited.start()

    def _run_thread(self) -> None:
        try:
            self.group.run_thread(self.environment.clock.now_ns)
        except BaseException:
            log.exception("subscription %s ended with its handler's exception", self.name)
            self.membership.pause()

    def end(self, deadline_s: float | None = None) -> None:
        """End it for the dispatcher: wait for its thread until ``deadline_s`` (monotonic); None: as ``close`` does."""
        self.is_open = False
        self.membership.close()
        if self.advance is not Advance.INLINE:
            self.group.close()
        self.awaited.end()
        if self._thread is not None and self._thread is not threading.current_thread():
            left_s = bounded_s(CLOSE_DEADLINE_S) if deadline_s is None else deadline_s - time.monotonic()
            self._thread.join(max(0.0, left_s))
            if self._thread.is_alive():
                leave_behind(f"the thread of subscription {self.name}, which is still in its handler,")

    def keep_stats(self) -> SubscriptionStats:
        """Return its last counts, and keep them: it has left its group."""
        self._last_stats = stats_of(self.name, self.membership)
        return self._last_stats

    def take_returned(self, call: AwaitedCall) -> None:
        """Await what a plain handler returned. Raises TypeError where that is impossible."""
        self.awaited.owe(call)
        self._members.await_returned(self)

    # Pulling

    def _next_batch(self) -> np.ndarray | None:
        try:
            return self.membership.next_batch(self.environment.clock.now_ns())
        except ReentrantDispatchError:
            if self.state != "closed":  # As in `read_into`.
                raise
            return None

    def _has_ended(self) -> bool:
        return self.state == "closed" or (self.membership.is_ring_closed() and not self.membership.has_pending())

    def _refuse_handlers(self) -> None:
        if not self.is_pull:
            msg = f"subscription {self.name!r} has handlers, which get its ticks: subscribe without a handler to pull"
            raise OptionError(msg, option="handler")

    def _refuse_closed(self) -> None:
        if not self.is_open:
            msg = f"subscription {self.name!r} is closed: subscribe anew"
            raise ClosedError(msg)

    def __repr__(self) -> str:
        return f"<Subscription {self.name} {self.state}>"
