"""PrometheusEndpoint: an engine's metrics over HTTP, for Prometheus to scrape.

::

    GET /metrics ─▶ Metrics.snapshot(), on the loop ─▶ text, in a thread      any other path: 404, any other verb: 405

When metrics cannot be read or written
    The answer is 500, and the log says why.
When a client is slow, or sends an invalid or too long request
    Its connection is closed, after 5 s or 8 KiB. Other clients and the engine are not affected.

Guarantees: values are read on the engine's thread between two turns, so that all are of one time; the endpoint has its
own registry; nothing listens in a replay, or after ``stop``.
Does not: encrypt or authenticate: by default it listens on this machine only.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from headrace.errors import MissingExtraError, OptionError, ServiceError
from headrace.limits import SCRAPE_BYTES_MAX, SCRAPE_TIMEOUT_S
from headrace.market.checks import of_type
from headrace.market.clock import Mode
from headrace.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric as Family

    from headrace.engine.service import RestartPolicy, ServiceContext
    from headrace.telemetry.collect import Metrics, Sample

__all__ = ["PrometheusEndpoint", "exposition"]

log = logging.getLogger(__name__)

PATH = "/metrics"
PLAIN = "text/plain; charset=utf-8"


class PrometheusEndpoint:
    """Serves ``metrics`` at ``http://host:port/metrics``.

    port : 0 takes a free one; ``address`` and the log show which. host : the address to listen on.
    Raises OptionError; MissingExtraError without prometheus-client.
    """

    restart: ClassVar[RestartPolicy] = "on_failure"

    def __init__(self, metrics: Metrics, *, port: int, host: str = "127.0.0.1") -> None:
        of_type("port", port, int)
        of_type("host", host, str)
        if not 0 <= port < 1 << 16:
            msg = f"port={port} is not allowed: use a number from 0 to 65,535"
            raise OptionError(msg, option="port")
        try:
            import prometheus_client  # noqa: F401 - missing, it is missed when the engine is made
        except ImportError:
            msg = 'a Prometheus endpoint needs its client library: pip install "headrace[prometheus]"'
            raise MissingExtraError(msg) from None
        self._metrics = metrics
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._stopped = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self._scrapes = self._refused = self._failed = 0

    @property
    def name(self) -> str:
        """The service's name in reports."""
        return type(self).__name__

    @property
    def address(self) -> tuple[str, int] | None:
        """The host and port that it listens on; None while it does not listen."""
        if self._server is None:
            return None
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def setup(self, context: ServiceContext) -> None:
        """Listen. Raises ServiceError when the port is taken."""
        self._stopped.clear()
        if context.mode is not Mode.LIVE:
            return
        try:
            self._server = await asyncio.start_server(self._answer, self._host, self._port, limit=SCRAPE_BYTES_MAX)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error
            address = f"{self._host}:{self._port}"
            msg = f"metrics cannot be served at {address}: {why}; choose another prometheus_port, 0 for a free one"
            raise ServiceError(msg, service=self.name) from error
        if self.address is not None:
            log.info("metrics are at http://%s:%d%s", *self.address, PATH)

    async def run(self) -> None:
        """Serve until ``stop``."""
        await self._stopped.wait()

    async def stop(self) -> None:
        """Close the port, and the connections that are still open."""
        self._stopped.set()
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for client in self._clients:
                client.cancel()
            await server.wait_closed()

    def health(self) -> str:
        """Return "ok": ``setup`` raises when the port cannot be opened."""
        return "ok"

    def metrics(self) -> Mapping[str, float]:
        """Return the numbers of scrapes, of refused requests, and of scrapes that were answered by 500."""
        return {"scrapes": self._scrapes, "refused": self._refused, "failed": self._failed}

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            async with asyncio.timeout(SCRAPE_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._response(head))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError) as error:
            self._refused += 1
            log.debug("a scrape was interrupted: %s: %s", type(error).__name__, error)
        finally:
            self._clients.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _response(self, head: bytes) -> bytes:
        request, *fields = head.decode("latin-1").split("\r\n")
        verb, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path == PATH and verb in ("GET", "HEAD"):
            self._scrapes += 1
            try:
                body, content_type = await exposition(self._metrics, _accepted(fields))
            except Exception as error:
                self._failed += 1
                log.exception("the metrics could not be read or written")
                text = f"the metrics could not be read or written: {type(error).__name__}, see the log\n"
                return _http("500 Internal Server Error", PLAIN, text.encode(), with_body=verb == "GET")
            return _http("200 OK", content_type, body, with_body=verb == "GET")
        self._refused += 1
        status, text = ("405 Method Not Allowed", "GET only") if path == PATH else ("404 Not Found", f"see {PATH}")
        return _http(status, PLAIN, f"{text}\n".encode())


async def exposition(metrics: Metrics, accepted: str) -> tuple[bytes, str]:
    """Return the metrics of now as Prometheus reads them, and the content type.

    accepted : the request's Accept field.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accepted)
    registry = CollectorRegistry()
    registry.register(_Collector(metrics.snapshot()))
    # Four fifths of a scrape's time make its text. That runs in a thread, so that the loop goes on.
    return await asyncio.to_thread(encode, registry), content_type


class _Collector:
    """A snapshot in the form that prometheus-client reads: in families."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples

    def describe(self) -> list[Family]:
        """Return no names beforehand: they come with the samples."""
        return []

    def collect(self) -> Iterator[Family]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, labels, value in self._samples:
            family = families.get(name)
            if family is None:
                row = METRICS[name]
                make = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
                family = families[name] = make(name, f"{row.meaning} ({row.unit})", labels=row.labels)
            family.add_metric(labels, value)
        yield from families.values()


def _accepted(fields: list[str]) -> str:
    """Return the request's Accept field; empty when it has none."""
    named = (field.partition(":") for field in fields)
    return next((value.strip() for name, _, value in named if name.strip().lower() == "accept"), "")


def _http(status: str, content_type: str, body: bytes, *, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
