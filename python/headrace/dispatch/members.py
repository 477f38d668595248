"""Members: the subscriptions of a dispatcher, from joining their group until nothing of them is left.

::

    join ─▶ open, by name ─▶ close ─▶ closing (its last span is still being dispatched) ─▶ only in the sum

Guarantees: a name is unique while its subscription is open; a closed one is in no list, its counts are in the sum.
Does not: check options (``options``), or move subscriptions on (``dispatcher``).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import headrace._native as _native
from headrace.dispatch.joining import Advance, prepare
from headrace.dispatch.names import Names
from headrace.dispatch.slow_handlers import Watch
from headrace.dispatch.subscription import Subscription
from headrace.dispatch.subscription_stats import SubscriptionStats, sum_of_stats

if TYPE_CHECKING:
    from headrace.dispatch.faults import FaultRecord
    from headrace.dispatch.options import SubscriptionOptions
    from headrace.dispatch.signature import BoundHandler
    from headrace.dispatch.subscription import Environment

__all__ = ["CLOSED", "INLINE", "Members"]

# The names of the shared group and of the sum of closed subscriptions; no subscription can have one.
INLINE = "(inline)"
CLOSED = "(closed)"
# A sum of so many costs little more than one of two.
SUMMED_AT = 64


class Members:
    """The subscriptions of one dispatcher. inline : the group of all that its own calls dispatch."""

    def __init__(self, ingest: _native.Ingest, environment: Environment, *, hashing: bool, slow_s: float) -> None:
        self.open: dict[str, Subscription] = {}
        # Those whose calls are awaited.
        self._awaiting: dict[str, Subscription] = {}
        self.environment = environment
        self.names = Names(self.open)
        self.watch = Watch(slow_s, "delays all handlers of its thread")
        self._ingest = ingest
        self._faults = environment.faults
        self._hashing = hashing
        self._kinds = {row[1] for row in _native.kind_table()}
        self.inline = self._new_group("inline")
        # Closed ones whose last span is being dispatched, and the final counts of all others, the older ones summed.
        self._closing: list[Subscription] = []
        self._closed_stats = [sum_of_stats(CLOSED, ())]
        self._changes = threading.Lock()

    def _new_group(self, advance: Literal["inline", "thread", "consumer"]) -> _native.DispatchGroup:
        group = _native.DispatchGroup(
            self._ingest, self._faults, self.environment.books, advance=advance, hashing=self._hashing
        )
        self.watch.watched.append(group)
        return group

    def join(
        self, name: str, options: SubscriptionOptions, handlers: list[BoundHandler], record: FaultRecord | None
    ) -> Subscription:
        """Join the group that fits the handlers. record : whose calls and faults they are; None: its own.

        Raises OptionError, SubscriptionError.
        """
        joining = prepare(name, options, handlers, mode=self.environment.mode, known=self._kinds)
        if joining.advance is Advance.INLINE:
            group = self.inline
        else:
            group = self._new_group("thread" if joining.advance is Advance.THREAD else "consumer")
        membership = group.join(name, joining.handlers, joining.options)
        subscription = self.open[name] = Subscription(
            name=name,
            joining=joining,
            membership=membership,
            group=group,
            environment=self.environment,
            members=self,
        )
        record = record or self._faults.record(name, options.on_fault)
        self._faults.add(subscription, record, options.on_fault)
        if subscription.is_async:
            self._awaiting[name] = subscription
        if handlers:
            self.watch.start()
        return subscription

    def await_returned(self, subscription: Subscription) -> None:
        """Await what a plain handler returned; a replay does so before its next time."""
        self._awaiting[subscription.name] = subscription
        self._ingest.set_awaits(True)

    async def drain_async(self) -> None:
        """Await the calls of every subscription until all are caught up."""
        behind = True
        while behind:
            behind = False
            self._ingest.set_awaits(False)
            for own in list(self._awaiting.values()):
                behind |= await own.awaited.drain()

    def groups(self) -> dict[int, tuple[str, _native.DispatchGroup, Subscription | None]]:
        """Return, by number: the group's name, the group, and the subscription that awaits its calls."""
        groups: dict[int, tuple[str, _native.DispatchGroup, Subscription | None]] = {
            own.group.number: (name, own.group, own if own.is_async else None) for name, own in self.open.items()
        }
        groups[self.inline.number] = (INLINE, self.inline, None)
        return groups

    def close(self, subscription: Subscription) -> None:
        """End a subscription, and keep nothing but its counts."""
        self._end(subscription)
        with self._changes:
            self._let_go()

    def _end(self, subscription: Subscription, deadline_s: float | None = None) -> None:
        name = subscription.name
        with self._changes:
            if self.open.get(name) is not subscription:
                return
            del self.open[name]
            self._awaiting.pop(name, None)
            self.names.free(name)
            self._closing.append(subscription)
        subscription.end(deadline_s)
        if subscription.group is not self.inline:
            self.watch.watched.remove(subscription.group)

    def close_all(self, deadline_s: float) -> None:
        """End all."""
        self.watch.stop()
        # The shared group first, as a whole: if members left one by one, each would recompile the table of the others.
        self.inline.close()
        for own in list(self.open.values()):
            self._end(own, deadline_s)
        with self._changes:
            self._let_go()

    def closed_stats(self) -> SubscriptionStats:
        """Return the sum of the closed ones, with those that are still being dispatched."""
        with self._changes:
            self._let_go()
            if len(self._closed_stats) > 1:
                self._closed_stats = [sum_of_stats(CLOSED, self._closed_stats)]
            return sum_of_stats(CLOSED, [*self._closed_stats, *(own.stats() for own in self._closing)])

    def _let_go(self) -> None:
        """Keep nothing but the counts of the closed ones that are not being dispatched any more."""
        closing, self._closing = self._closing, []
        for own in closing:
            if not own.membership.has_left:
                self._closing.append(own)
                continue
            # Until now a fault of its last call was judged by its own rule.
            self._faults.remove(own)
            self._closed_stats.append(own.keep_stats())
        if len(self._closed_stats) >= SUMMED_AT:
            self._closed_stats = [sum_of_stats(CLOSED, self._closed_stats)]
