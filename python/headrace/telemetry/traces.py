"""Traces: spans of frame batches, routes, the conductor, commands and orders, by OpenTelemetry, over OTLP/HTTP.

::

    push(frame) ─▶ one of ``every`` is sampled ─▶ span "frame batch" ┬▶ span "route", "conductor" (their keys)
                                                                     └▶ span "order" (its cause), "command"

What joins spans
    Our own numbers: ring positions of a frame batch, ``instrument:kind:seq`` of a route's event and an order's cause.
    What happens inside of a sampled push is its child, too.

Guarantees: without an endpoint there is no object of this module; a frame that is not sampled costs no call. Spans
leave in a thread of their own; what is not sent yet when the engine stops is sent then.
Does not: sample commands and orders: each has a span.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from headrace.errors import MissingExtraError
from headrace.limits import TRACE_SAMPLE
from headrace.market.checks import number, refuse
from headrace.market.events import (
    Audit,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderRequested,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span

    from headrace.bus import BusSubscription
    from headrace.engine.service import RestartPolicy, ServiceContext
    from headrace.market.events import Cause

__all__ = ["Traces"]

# Where OTLP over HTTP takes spans, unless the endpoint has a path.
PATH = "/v1/traces"
ENDS = (OrderRejected, OrderCanceled, OrderExpired, OrderFilled)
EXPORT_EVERY_MS = 1_000
TIMEOUT_S = 5


class Traces:
    """Sends spans of one live engine to a collector; a service of that engine.

    endpoint : of a collector, ``"http://localhost:4318"``. sample : the part of frames whose batch is traced, 0 to 1.
    name : of the service, as the collector shows it. headers : of each request.
    Raises OptionError; MissingExtraError without OpenTelemetry.
    """

    restart: ClassVar[RestartPolicy] = "never"

    def __init__(
        self,
        endpoint: str,
        *,
        sample: float = TRACE_SAMPLE,
        name: str = "headrace",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            refuse("endpoint", endpoint, 'the address of a collector, like "http://localhost:4318"')
        if not 0 <= number("sample", sample) <= 1:
            refuse("sample", sample, "a number from 0 to 1")
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            msg = 'traces need OpenTelemetry: pip install "headrace[otel]"'
            raise MissingExtraError(msg) from None
        address = endpoint if parts.path.strip("/") else f"{endpoint.rstrip('/')}{PATH}"
        exporter = OTLPSpanExporter(endpoint=address, headers=dict(headers or {}), timeout=TIMEOUT_S)
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_EVERY_MS))
        self._tracer = self._provider.get_tracer("headrace")
        # One of so many frames of each feed is sampled; 0: none.
        self.every = round(1 / sample) if sample else 0
        # Whether the frame that is pushed now is sampled.
        self.is_sampling = False
        # By order id; those that are open.
        self._orders: dict[str, Span] = {}
        self._subscriptions: list[BusSubscription] = []
        self._stopping = asyncio.Event()
        self._spans = 0

    @property
    def name(self) -> str:
        """The service's name in reports."""
        return "traces"

    # Its life as a service

    async def setup(self, context: ServiceContext) -> None:
        """Follow commands and orders."""
        bus = context.bus
        self._subscriptions = [
            bus.subscribe(Audit, self._on_audit, name="traces of commands"),
            bus.subscribe(OrderEvent, self._on_order, name="traces of orders"),
        ]

    async def run(self) -> None:
        """Wait for the engine's end."""
        await self._stopping.wait()

    async def stop(self) -> None:
        """End the spans of open orders, and send what waits."""
        self._stopping.set()
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions = []
        for span in self._orders.values():
            span.end()
        self._orders = {}
        await asyncio.to_thread(self._provider.shutdown)

    def health(self) -> str:
        """Return "ok": what the collector does not take is in the log."""
        return "ok"

    def metrics(self) -> Mapping[str, float]:
        """Return the number of spans, and of orders whose span is open."""
        return {"spans": self._spans, "open_orders": len(self._orders)}

    # Spans

    @contextmanager
    def batch(self, feed: str, position: Callable[[], int]) -> Iterator[None]:
        """Trace what is done inside as one frame batch. position : the ring's, before and after."""
        with self.span("frame batch", {"headrace.feed": feed, "headrace.position.first": position()}) as span:
            self.is_sampling = True
            try:
                yield
            finally:
                self.is_sampling = False
            span.set_attribute("headrace.position.last", position() - 1)

    def span(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[Span]:
        """Return the context of one span: what is done inside is its child."""
        self._spans += 1
        return self._tracer.start_as_current_span(name, attributes=attributes)

    def _on_audit(self, audit: Audit) -> None:
        self._spans += 1
        attributes: dict[str, str | int] = {
            "headrace.actor": audit.actor,
            "headrace.target": audit.target,
            "headrace.outcome": audit.outcome,
            "headrace.version": audit.version,
        }
        name = f"command {audit.action}"
        span = self._tracer.start_span(name, start_time=audit.ts - audit.duration_ns, attributes=attributes)
        span.end(end_time=audit.ts)

    def _on_order(self, event: OrderEvent) -> None:
        if isinstance(event, OrderRequested):
            self._spans += 1
            attributes: dict[str, str | int] = {
                "headrace.order": event.order_id,
                "headrace.strategy": event.strategy,
                "headrace.instrument": event.instrument,
                "headrace.side": event.side,
                "headrace.quantity": str(event.quantity),
                **_cause_of(event.cause),
            }
            self._orders[event.order_id] = self._tracer.start_span("order", start_time=event.ts, attributes=attributes)
            return
        span = self._orders.get(event.order_id)
        if span is None:
            return
        span.add_event(type(event).__name__, timestamp=event.ts)
        if isinstance(event, ENDS):
            del self._orders[event.order_id]
            span.set_attribute("headrace.outcome", type(event).__name__)
            span.end(end_time=event.ts)


def _cause_of(cause: Cause | None) -> dict[str, str | int]:
    """Return the ticks that something was decided on: the key of the first and of the last."""
    if cause is None:
        return {}
    stream = f"{cause.instrument}:{cause.kind}"
    return {"headrace.cause.first": f"{stream}:{cause.first}", "headrace.cause.last": f"{stream}:{cause.last}"}
