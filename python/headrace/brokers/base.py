"""What a broker is: it takes orders that passed every gate, and answers with events.

::

    RiskGates ─▶ submit(order) ─▶ desk.publish(OrderAccepted · OrderRejected · fills · OrderCanceled · OrderExpired)

Guarantees: methods return at once; what comes of them is published, now or later, on the engine's own thread.
Does not: check orders; that is ``risk``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.clock import Clock
    from headrace.dispatch import Dispatcher
    from headrace.events import Cause, Event, OrderRequested

__all__ = ["Broker", "BrokerDesk"]


class BrokerDesk:
    """What the engine lends a broker.

    publish : puts an event on the bus. clock : the engine's. dispatcher : where its ticks come from, to subscribe.
    replay : whether time is a recording's.
    """

    __slots__ = ("clock", "dispatcher", "publish", "replay")

    def __init__(
        self, *, publish: Callable[[Event], None], clock: Clock, dispatcher: Dispatcher | None, replay: bool
    ) -> None:
        self.publish = publish
        self.clock = clock
        self.dispatcher = dispatcher
        self.replay = replay


@runtime_checkable
class Broker(Protocol):
    """Takes orders, gives executions."""

    @property
    def name(self) -> str:
        """What events and reports call it."""

    def attach(self, desk: BrokerDesk) -> None:
        """Get ready; called once, before any order, while the engine is set up."""

    def submit(self, order: OrderRequested) -> None:
        """Take an order. Answers with OrderAccepted or OrderRejected, then fills."""

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:
        """Cancel an order if it is still open; answers with OrderCanceled."""

    def close(self) -> None:
        """Let go of everything; may be called twice. Open orders stay as they are."""
