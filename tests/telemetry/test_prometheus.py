"""Metrics of a running engine, scraped over HTTP as Prometheus does."""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace import Strategy
from headrace.bus import EventBus
from headrace.commands import PauseStrategy
from headrace.engine.engine import Engine
from headrace.engine.service import ServiceContext
from headrace.errors import ServiceError
from headrace.feeds import SyntheticFeed
from headrace.market.clock import ModeName
from headrace.market.events import Event, OrderRejected, PositionChanged
from headrace.market.instrument import Instrument, RiskLimits
from headrace.telemetry import METRICS, Metrics, PrometheusEndpoint
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.gateway.test_gateway import OF_GATEWAYS
from tests.support.engines import FAST

BTC = "BTCUSDT.BINANCE"
Scraped = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Trader(Strategy):
    """Sends one allowed and one refused order, and raises once."""

    def __init__(self) -> None:
        self.quotes = 0

    def on_quote(self, instrument: str) -> None:
        self.quotes += 1
        if self.quotes in (10, 20):
            self.buy(instrument, "0.001" if self.quotes == 10 else "1000")
        if self.quotes == 30:
            raise ValueError("not today")


class Held(SyntheticFeed):
    """A session with an unreadable frame and one that is no tick; it ends only with the engine."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        lines = list(self.lines())
        first = int(lines[0].split()[0])
        yield b"".join([b'%d {"result":null,"id":1}\n' % first, b"%d {broken\n" % first, *lines])
        await asyncio.Event().wait()


def parsed(text: str) -> Scraped:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def got(address: tuple[str, int], path: str = "/metrics", verb: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request(verb, path, headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


@asynccontextmanager
async def serving(metrics: Metrics, *, mode: ModeName = "live") -> AsyncIterator[PrometheusEndpoint]:
    bus = EventBus()
    endpoint = PrometheusEndpoint(metrics, port=0)
    await endpoint.setup(ServiceContext(bus=bus, clock=bus.clock, run_id="run", mode=mode))
    try:
        yield endpoint
    finally:
        await endpoint.stop()


def address_of(endpoint: PrometheusEndpoint) -> tuple[str, int]:
    assert endpoint.address is not None
    return endpoint.address


@pytest.mark.asyncio
async def test_a_running_engine_serves_every_metric(tmp_path: Path) -> None:
    engine = Engine(
        feeds=[Held(frames=2_000)],
        strategies=[Trader],
        broker=SimulatedBroker(),
        instruments=[Instrument(BTC, price_tick=Decimal("0.01"), lot_size=Decimal("0.001"))],
        limits=RiskLimits(
            quantity_max=Decimal(1),
            notional_max=Decimal(1_000_000),
            price_collar=Decimal(1),
            open_orders_max=10,
            message_rate_max=1_000.0,
            stale_after_s=60.0,
        ),
        speed=FAST,
        run_id="run",
        audit=tmp_path / "run.jsonl",
        state_folder=tmp_path / "state",
    )
    endpoint = PrometheusEndpoint(engine.metrics, port=0)
    engine.services.add(endpoint)
    over = asyncio.Event()
    seen: list[Event] = []

    def look(event: Event) -> None:
        seen.append(event)
        if {PositionChanged, OrderRejected} <= {type(each) for each in seen}:
            over.set()

    engine.bus.subscribe(Event, look, name="test")
    async with engine:
        await asyncio.wait_for(over.wait(), 10)
        await engine.commands.submit(PauseStrategy(strategy="Trader"), actor="test")
        status, content_type, text = await asyncio.to_thread(got, address_of(endpoint))
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    scraped = parsed(text)
    # It has no live feed, and no gateway: tests/gateway has both. Workers of execution have metrics of their own.
    of_feeds = {"headrace_feed_running", "headrace_breaker_state"}
    of_workers = {name for name in METRICS if name.startswith("headrace_execution_")}
    assert {name for name, _ in scraped} == set(METRICS) - of_feeds - OF_GATEWAYS - of_workers
    for (name, labels), value in (
        (("headrace_engine_info", {"run_id": "run", "version": "0.1.0"}), 1),
        (("headrace_strategy_state", {"strategy": "Trader", "state": "paused"}), 1),
        (("headrace_commands_total", {"command": "pause", "status": "accepted"}), 1),
        (("headrace_subscription_faults_total", {"subscription": "Trader"}), 1),
        (("headrace_orders_total", {"strategy": "Trader", "fate": "submitted"}), 2),
        (("headrace_orders_total", {"strategy": "Trader", "fate": "rejected"}), 1),
        (("headrace_fills_total", {"strategy": "Trader"}), 1),
        (("headrace_position_quantity", {"strategy": "Trader", "instrument": BTC}), 0.001),
        (("headrace_halted", {}), 0),
        (("headrace_service_healthy", {"service": "PrometheusEndpoint"}), 1),
    ):
        assert scraped[name, tuple(sorted(labels.items()))] == value, name


@pytest.mark.asyncio
async def test_after_a_stop_the_port_is_closed() -> None:
    async with serving(Metrics()) as endpoint:
        address = address_of(endpoint)
        assert (await asyncio.to_thread(got, address))[0] == 200
    assert endpoint.address is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


@pytest.mark.asyncio
async def test_a_replay_opens_no_port() -> None:
    async with serving(Metrics(), mode="replay") as endpoint:
        assert endpoint.address is None


@pytest.mark.asyncio
async def test_the_endpoint_is_local_by_default() -> None:
    async with serving(Metrics()) as endpoint:
        assert address_of(endpoint)[0] == "127.0.0.1"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "verb", "status"),
    [("/metrics?name=a", "GET", 200), ("/", "GET", 404), ("/metrics", "POST", 405), ("/metrics", "HEAD", 200)],
)
async def test_only_metrics_are_served(path: str, verb: str, status: int) -> None:
    async with serving(Metrics()) as endpoint:
        answered, _, body = await asyncio.to_thread(got, address_of(endpoint), path, verb)
    assert answered == status
    assert bool(body) == (verb != "HEAD")


@pytest.mark.asyncio
async def test_a_bad_request_ends_only_its_own_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headrace.telemetry.prometheus.SCRAPE_TIMEOUT_S", 0.05)
    async with serving(Metrics()) as endpoint:
        address = address_of(endpoint)
        for sent in (b"\xff\xfe\r\n\r\n", b"x" * 100_000, b"GET /metrics"):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 10)
            assert not answer.startswith(b"HTTP/1.1 200")
            writer.close()
        assert (await asyncio.to_thread(got, address))[0] == 200
        assert endpoint.metrics() == {"scrapes": 1, "refused": 3, "failed": 0}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.asyncio
async def test_a_stop_does_not_wait_for_open_connections() -> None:
    async with serving(Metrics()) as endpoint:
        reader, writer = await asyncio.open_connection(*address_of(endpoint))
        await asyncio.wait_for(endpoint.stop(), 5)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.asyncio
async def test_the_address_it_listens_on_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headrace"):
        async with serving(Metrics()) as endpoint:
            host, port = address_of(endpoint)
    assert f"http://{host}:{port}/metrics" in caplog.text


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_an_error() -> None:
    bus = EventBus()
    async with serving(Metrics()) as endpoint:
        second = PrometheusEndpoint(Metrics(), port=address_of(endpoint)[1])
        with pytest.raises(ServiceError, match=r"at 127.0.0.1:\d+: Address already in use; choose another"):
            await second.setup(ServiceContext(bus=bus, clock=bus.clock, run_id="run", mode="live"))
        await second.stop()
