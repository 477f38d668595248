"""TickFlow: ticks of the ring as canonical events, while the bus has a subscriber for them.

::

    ring ─▶ on_tick of one instrument and kind ─▶ Flow          no subscriber: no call for a tick

Guarantees: costs a tick nothing without a subscriber; what a route received is counted all the same, by the sequencer.
Does not: change ticks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from headrace.market.canonical import KINDS, CanonicalType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.engine.readers import Readers
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

    # Its ``on_`` methods are handlers, by their defaults.
    subscription: ClassVar[Mapping[str, object]] = {}

    def __init__(self, flow: Flow, readers: Readers) -> None:
        self._flow = flow
        self._readers = readers
        self._name = f"route {flow.route.canonical_type} {flow.route.instrument}"
        self._kind = KINDS[flow.route.canonical_type]
        self._names = PAYLOADS[flow.route.canonical_type]
        self._is_joined = False

    def want(self, *, is_wanted: bool) -> None:
        """Convert ticks from now on, or no more."""
        if is_wanted and not self._is_joined:
            self._readers.join(self, name=self._name, instruments=self._flow.route.instrument, kinds=self._kind)
        elif self._is_joined and not is_wanted:
            self._readers.leave(self._name)
        self._is_joined = is_wanted

    def on_tick(self, tick: Any) -> None:
        """Convert a tick."""
        payload = {name: getattr(tick, name) for name in self._names}
        self._flow.take(self._kind, payload, ts_event=tick.ts_event, ts_init=tick.ts_init, seq=tick.seq)
