"""Flow: the events of one route, from what was received to the bus.

::

    received ─▶ converted ─▶ filters ─▶ throttle ─▶ forwarded to the bus
                   └ rejected   └ filtered  └ suppressed

Guarantees: ``converted == filtered + suppressed + forwarded + held``, held being 0 or 1.
Does not: receive; ticks, bars, pollers and the conductor bring what it converts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.bus.filters import passes
from headrace.errors import LaneFullError
from headrace.gateway.throttle import Throttle
from headrace.market.canonical import CanonicalEvent, CanonicalType, key_of

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.dispatch.latency_meter import LatencyMeter
    from headrace.gateway.routes import Route, RouteCounts
    from headrace.telemetry import Traces

__all__ = ["Flow"]


class Flow:
    """The events of one route. counts : of the route. stages : how long each stage took. traces : None: not traced."""

    def __init__(
        self,
        route: Route,
        counts: RouteCounts,
        bus: EventBus,
        stages: LatencyMeter[str],
        traces: Traces | None = None,
    ) -> None:
        self._traces = traces
        self.route = route
        self.counts = counts
        self._bus = bus
        self._stages = stages
        self._throttle = Throttle(route.throttle_ns, self._forward)
        # Of events that have no number of their own.
        self._seq = 0

    def change(self, route: Route) -> None:
        """Go on by the filters and the throttle of a changed route."""
        self._throttle.flush()
        self._throttle = Throttle(route.throttle_ns, self._forward)
        self.route = route

    def close(self) -> None:
        """Forward what waits."""
        self._throttle.flush()

    @property
    def is_holding(self) -> bool:
        """Whether an event waits for the end of its window."""
        return self._throttle.is_holding

    def take(self, kind: str, payload: dict[str, Any], *, ts_event: int, ts_init: int, seq: int | None = None) -> None:
        """Convert what was received, and forward it where filters and throttle let it.

        kind : the middle of its key. seq : its own number; None: the flow's next one.
        """
        if seq is None:
            self._seq += 1
            seq = self._seq
        route, counts, now_ns = self.route, self.counts, self._bus.clock.now_ns()
        event = CanonicalEvent(
            source="gateway",
            ts=now_ns,
            run_id=self._bus.run_id,
            canonical_type=route.canonical_type,
            instrument=route.instrument,
            seq=seq,
            key=key_of(route.instrument, kind, seq),
            ts_event=ts_event,
            ts_init=ts_init,
            payload=payload,
        )
        counts.converted += 1
        self._stages.record("convert", max(0, now_ns - ts_init))
        if self._traces is not None and self._traces.is_sampling:
            name = "conductor" if route.canonical_type is CanonicalType.FUSED else "route"
            with self._traces.span(name, {"headrace.type": route.canonical_type, "headrace.key": event.key}):
                self._pass(event)
        else:
            self._pass(event)

    def _pass(self, event: CanonicalEvent) -> None:
        if not passes(event, self.route.filters):
            self.counts.filtered += 1
        elif self._throttle.offer(event):
            self.counts.suppressed += 1

    def _forward(self, event: CanonicalEvent) -> None:
        self.counts.forwarded += 1
        try:
            self._bus.publish_nowait(event)
        except LaneFullError:
            # A lane that refuses, by its configuration, counts it, too.
            self.counts.forwarded -= 1
            self.counts.suppressed += 1
        self._stages.record("forward", max(0, self._bus.clock.now_ns() - event.ts_init))
