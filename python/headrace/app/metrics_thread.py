"""Metrics of a process without an engine: the Prometheus endpoint, on an event loop in a thread of its own.

Guarantees: the port is open when the block begins, and closed when it has ended.
Does not: count; what is served is a ``Metrics`` like an engine's.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headrace.bus import EventBus
from headrace.engine.service import ServiceContext
from headrace.market.clock import WallClock
from headrace.telemetry.prometheus import PrometheusEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.app.config.tree import TelemetrySection
    from headrace.telemetry.collect import Metrics

__all__ = ["serving"]


@contextmanager
def serving(metrics: Metrics, section: TelemetrySection) -> Iterator[None]:
    """Serve metrics at the section's port. Raises ServiceError when it is taken, MissingExtraError."""
    assert section.prometheus_port is not None
    endpoint = PrometheusEndpoint(metrics, port=section.prometheus_port, host=section.prometheus_host)
    context = ServiceContext(bus=EventBus(), clock=WallClock(), run_id=metrics.run_id, mode="live")
    with asyncio.Runner() as runner:
        runner.run(endpoint.setup(context))
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(endpoint.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
