"""Traces: spans reach a collector over HTTP, joined by our sequence numbers, and cost nothing where there are none."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace import Engine, Strategy
from headrace.commands import Subscribe
from headrace.errors import MissingExtraError, OptionError
from headrace.feeds import SyntheticFeed
from headrace.feeds.base import Frame, Push
from headrace.gateway import CanonicalEvent, CanonicalType, Gateway
from headrace.telemetry import Traces
from headrace.trading.brokers.simulated import SimulatedBroker
from headrace.venues import BinanceFeed, SimulatedVenue
from tests.support.engines import INSTRUMENTS, LIMITS, until

pytestmark = pytest.mark.asyncio

BTC = "BTCUSDT.BINANCE"
FRAME_NS = 1_700_000_000_000_000_000


class Span:
    """One span as the collector got it."""

    def __init__(self, span: Any) -> None:
        self.name = span.name
        self.trace = span.trace_id
        self.id, self.parent = span.span_id, span.parent_span_id
        self.duration_ns = span.end_time_unix_nano - span.start_time_unix_nano
        self.attributes = {own.key: own.value.string_value or own.value.int_value for own in span.attributes}


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Span]]]:
    """A plain HTTP server that takes spans."""
    spans: list[Span] = []

    async def take(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(Span(own) for row in sent.resource_spans for scope in row.scope_spans for own in scope.spans)
        return web.Response(body=b"")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", spans
    finally:
        await runner.cleanup()


class Buying(Strategy):
    """Buys once, on its tenth quote."""

    def __init__(self) -> None:
        self.quotes = 0
        # By key: the place in the ring.
        self.positions: dict[str, int] = {}

    def on_quote(self, instrument: str, seq: int, position: int) -> None:
        self.quotes += 1
        self.positions[f"{instrument}:quote:{seq}"] = position
        if self.quotes == 10:
            self.buy(instrument, "0.01")


def traced(venue: SimulatedVenue, endpoint: str, sample: float) -> tuple[Engine, Buying, list[CanonicalEvent]]:
    """An engine that follows a venue with traces, its strategy, and the events that its gateway will make."""
    addresses = venue.addresses["BINANCE"]
    feed = BinanceFeed("BINANCE", ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"])
    strategy = Buying()
    engine = Engine(
        feeds=[feed],
        strategies=[strategy],
        broker=SimulatedBroker(),
        instruments=INSTRUMENTS,
        limits=LIMITS,
        traces=Traces(endpoint, sample=sample),
    )
    Gateway(engine, [feed])
    events: list[CanonicalEvent] = []
    engine.bus.subscribe(CanonicalEvent, events.append, name="test")
    return engine, strategy, events


async def test_spans_of_frames_routes_commands_and_orders_reach_the_collector() -> None:
    async with (
        collector() as (endpoint, spans),
        SimulatedVenue(SyntheticFeed("BTCUSDT", frames=20_000), speed=4) as venue,
    ):
        engine, strategy, events = traced(venue, endpoint, 1.0)
        async with engine:
            await engine.commands.submit(Subscribe(CanonicalType.TICKER, (BTC,)))
            await engine.commands.submit(Subscribe(CanonicalType.FUSED, (BTC,)))
            await until(lambda: strategy.quotes > 50 and len({event.canonical_type for event in events}) == 2)
    names = {span.name for span in spans}
    assert names >= {"frame batch", "route", "conductor", "command subscribe", "order"}
    by_id = {span.id: span for span in spans}
    routes = [span for span in spans if span.name == "route"]
    assert all(by_id[span.parent].name == "frame batch" for span in routes)
    assert {span.attributes["headrace.key"] for span in routes} <= {event.key for event in events}
    (order,) = (span for span in spans if span.name == "order")
    assert order.attributes["headrace.cause.last"].startswith(f"{BTC}:quote:")
    assert order.attributes["headrace.outcome"] == "OrderFilled"
    # Decided inside of a sampled push: one trace.
    assert by_id[order.parent].name == "frame batch"
    batch = by_id[order.parent].attributes
    assert batch["headrace.position.first"] <= batch["headrace.position.last"]


async def test_spans_are_joined_by_our_numbers_across_traces() -> None:
    # Half of the frames: the order may be decided in one that is not sampled.
    async with (
        collector() as (endpoint, spans),
        SimulatedVenue(SyntheticFeed("BTCUSDT", frames=20_000), speed=4) as venue,
    ):
        engine, strategy, events = traced(venue, endpoint, 0.5)
        async with engine:
            ack = await engine.commands.submit(Subscribe(CanonicalType.TICKER, (BTC,)))
            await engine.commands.submit(Subscribe(CanonicalType.FUSED, (BTC,)))
            await until(lambda: strategy.quotes > 50 and len({event.canonical_type for event in events}) == 2)
        ticks = strategy.positions
    by_id = {span.id: span for span in spans}
    batches = [span.attributes for span in spans if span.name == "frame batch"]
    forwarded = {event.key for event in events}
    for name in ("route", "conductor"):
        own = [span for span in spans if span.name == name]
        assert own
        assert all(by_id[span.parent].name == "frame batch" for span in own)
        assert {span.attributes["headrace.key"] for span in own} <= forwarded
    # A tick's key leads to its place in the ring, and so to the batch that brought it, if that was sampled.
    routes = [span for span in spans if span.name == "route"]
    for span in routes:
        batch = by_id[span.parent].attributes
        place = ticks[span.attributes["headrace.key"]]
        assert batch["headrace.position.first"] <= place <= batch["headrace.position.last"]
    (order,) = (span for span in spans if span.name == "order")
    assert order.attributes["headrace.cause.last"] in ticks
    assert 0 < len(batches) < 20_000
    commands = [span.attributes for span in spans if span.name == "command subscribe"]
    (command,) = (own for own in commands if own["headrace.target"] == f"route:TICKER:{BTC}")
    assert (command["headrace.version"], command["headrace.outcome"]) == (ack.version, "accepted")


async def test_a_frame_that_is_not_sampled_costs_no_call() -> None:
    most = 999
    untraced, traced, sampled = Pushing(most), Pushing(most), Pushing(most + 1)
    async with collector() as (endpoint, _):
        await Engine(feeds=[untraced]).run_async()
        for feed in (traced, sampled):
            await Engine(feeds=[feed], traces=Traces(endpoint, sample=0.001)).run_async()
    assert traced.calls == untraced.calls > most
    # The next frame is the one.
    assert sampled.calls > traced.calls * 1.01


class Pushing:
    """A live feed that pushes so many frames, and counts the calls, of Python and of C, that this makes."""

    name, venue, is_live = "pushing", "BINANCE", True

    def __init__(self, frames: int) -> None:
        self._frames = [quote(number) for number in range(frames)]
        self.calls = 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, push: Push) -> None:
        sys.setprofile(self._count)
        try:
            for frame in self._frames:
                push(frame)
        finally:
            sys.setprofile(None)

    def _count(self, _frame: object, event: str, _argument: object) -> None:
        self.calls += event in ("call", "c_call")


def quote(number: int) -> Frame:
    """A frame whose update id is its number."""
    data = b'{"u":%d,"s":"BTCUSDT","b":"1.0","B":"1","a":"1.5","A":"1"}' % (number + 1)
    return Frame(FRAME_NS + number, data)


async def test_an_engine_without_an_endpoint_does_not_import_the_library() -> None:
    code = """
import asyncio, sys
from headrace import Engine

class Feed:
    name, venue, instruments, is_live = "feed", "BINANCE", ("BTCUSDT.BINANCE",), True
    async def open(self): pass
    async def close(self): pass
    async def run(self, push): pass

engine = Engine(feeds=[Feed()])
asyncio.run(engine.run_async())
assert engine.traces is None
assert not any(name.startswith("opentelemetry") for name in sys.modules)
"""
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    _, errors = await ended.communicate()
    assert ended.returncode == 0, errors.decode()


@pytest.mark.parametrize(("sample", "spans"), [(1.0, 1_000), (0.01, 10), (0.0, 0)])
async def test_a_part_of_the_frames_is_sampled(sample: float, spans: int) -> None:
    async with collector() as (endpoint, sent):
        traces = Traces(endpoint, sample=sample)
        report = await Engine(feeds=[Pushing(1_000)], traces=traces).run_async()
    assert (sum(report.frames.values()), traces.metrics()["spans"]) == (1_000, spans)
    # Each frame is one tick; the last of so many is sampled.
    every = 1_000 // spans if spans else 0
    places = [span.attributes["headrace.position.first"] for span in sent if span.name == "frame batch"]
    assert sorted(places) == [every * number - 1 for number in range(1, spans + 1)]


async def test_a_collector_that_is_gone_holds_up_nothing() -> None:
    engine = Engine(traces=Traces("http://127.0.0.1:9", sample=1.0))
    async with asyncio.timeout(20):
        async with engine:
            await engine.commands.submit({"command": "Status"})


async def test_wrong_endpoints_and_samples_are_refused() -> None:
    for options in ({"endpoint": "localhost:4318"}, {"endpoint": "http://x", "sample": 2.0}):
        with pytest.raises(OptionError):
            Traces(**options)
    with pytest.raises(OptionError, match="only a live engine"):
        Engine(mode="replay", traces=Traces("http://127.0.0.1:9"))


async def test_traces_without_their_library_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r'pip install "headrace\[otel\]"'):
        Traces("http://127.0.0.1:9")
