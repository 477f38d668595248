"""TickFlow: ticks of the ring as canonical events, while the bus has a subscriber for them.

::

    ring ─▶ on_tick of one instrument and kind ─▶ Flow          no subscriber: no call for a tick

Guarantees: costs a tick nothing without a subscriber; what a route received is counted all the same, by the sequencer.
Does not: change ticks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.market.canonical import KINDS, CanonicalType

if TYPE_CHECKING:
    from headrace.dispatch import Dispatcher, Subscription
    from headrace.gateway.flow import Flow

__all__ = ["PAYLOADS", "TickFlow"]

PAYLOADS = {
    CanonicalType.TICKER: ("bid_price", "bid_size", "ask_price", "ask_size", "venue_seq", "flags"),
    CanonicalType.TRADE: ("price", "size", "aggressor_side", "trade_id", "flags"),
    CanonicalType.AGG_TRADE: ("price", "size", "aggressor_side", "venue_seq", "trade_first", "trade_last", "flags"),
    CanonicalType.BOOK_DELTA: ("side", "price", "size", "venue_seq", "venue_first", "venue_prev", "flags"),
}


class TickFlow:
    """The ticks of one route."""

    def __init__(self, flow: Flow, dispatcher: Dispatcher) -> None:
        self._flow = flow
        self._dispatcher = dispatcher
        self._kind = KINDS[flow.route.canonical_type]
        self._names = PAYLOADS[flow.route.canonical_type]
        self._subscription: Subscription | None = None

    def want(self, *, is_wanted: bool) -> None:
        """Convert ticks from now on, or no more."""
        if is_wanted and self._subscription is None:
            route = self._flow.route
            self._subscription = self._dispatcher.subscribe(
                self._on_tick,
                callback="on_tick",
                name=f"route {route.canonical_type} {route.instrument}",
                instruments=route.instrument,
                kinds=self._kind,
            )
        elif not is_wanted and self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            subscription.close()

    def _on_tick(self, tick: Any) -> None:
        payload = {name: getattr(tick, name) for name in self._names}
        self._flow.take(self._kind, payload, ts_event=tick.ts_event, ts_init=tick.ts_init, seq=tick.seq)
