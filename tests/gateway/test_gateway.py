"""A gateway over the simulated venue: routes that change while an engine runs, and the events that they carry."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from headrace import Engine
from headrace.commands import ListRoutes, SetFilter, Subscribe, Unsubscribe
from headrace.errors import RouteError
from headrace.feeds import SyntheticFeed
from headrace.gateway import CanonicalEvent, CanonicalType, FilterRule, Gateway, Poller
from headrace.market.events import Audit, Status
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support import engines

pytestmark = pytest.mark.asyncio

until = partial(engines.until, within_s=20.0)
BTC, ETH = "BTCUSDT.BINANCE", "ETHUSDT.BINANCE"
# Metrics that an engine has with a gateway.
OF_GATEWAYS = {
    *("headrace_route_events_total", "headrace_routes_version", "headrace_subscribe_seconds"),
    *("headrace_gateway_stage_seconds", "headrace_pool_pieces", "headrace_polls_total", "headrace_snapshots_total"),
}
TRADE, TICKER, DELTA = CanonicalType.TRADE, CanonicalType.TICKER, CanonicalType.BOOK_DELTA


class World:
    """A venue, an engine with a gateway over it, and the events of the bus."""

    def __init__(self, venue: SimulatedVenue, engine: Engine, gateway: Gateway) -> None:
        self.venue = venue
        self.engine = engine
        self.gateway = gateway
        self.events: list[CanonicalEvent] = []
        self.audits: list[Audit] = []
        engine.bus.subscribe(Audit, self.audits.append, name="test audits")

    def listen(self) -> None:
        self.engine.bus.subscribe(CanonicalEvent, self.events.append, name="test events")

    async def submit(self, command: Any, **options: Any) -> Any:
        return await self.engine.commands.submit(command, **options)

    @property
    def names(self) -> set[str]:
        return {name for names in self.venue.subscriptions for name in names}


@asynccontextmanager
async def world(*, frames: int = 40_000, speed: Any = 1, faults: Any = (), strategies: Any = (), **options: Any) -> Any:
    feeds = [SyntheticFeed(symbol, frames=frames, seed=number) for number, symbol in enumerate(("BTCUSDT", "ETHUSDT"))]
    async with SimulatedVenue(*feeds, speed=speed, faults=faults, limits={"messages_per_s": 50}) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed(
            "BINANCE", [], url=addresses["ws"], rest_url=addresses["rest"], limits={"messages_per_s": 50}
        )
        engine = Engine(feeds=[feed], strategies=list(strategies))
        gateway = Gateway(engine, [feed], **options)
        async with engine:
            yield World(venue, engine, gateway)


async def test_a_subscription_is_confirmed_audited_and_comes():
    async with world() as own:
        own.listen()
        ack = await own.submit(Subscribe(TRADE, (BTC, ETH)), actor="operator")
        assert (ack.status, ack.target_version) == ("accepted", 1)
        assert own.names == {"btcusdt@trade", "ethusdt@trade"}
        await until(lambda: {event.instrument for event in own.events} == {BTC, ETH})
        await until(lambda: own.audits)
        audit = own.audits[0]
        assert (audit.actor, audit.action, audit.outcome) == ("operator", "subscribe", "accepted")
        event = own.events[0]
        assert event.key == f"{event.instrument}:trade:{event.seq}"
        assert event.payload.keys() == {"price", "size", "aggressor_side", "trade_id", "flags"}


async def test_nothing_is_built_without_a_subscriber_of_the_bus():
    async with world() as own:
        await own.submit(Subscribe(TICKER, (BTC,)))
        row = await routes_of(own)
        await until(lambda: own.gateway.received(own.gateway.table.routes[0]) > 20)
        assert own.engine.dispatcher.subscriptions == {}
        row = await routes_of(own)
        assert row["TICKER BTCUSDT.BINANCE"]["converted"] == 0
        own.listen()
        await until(lambda: own.events)
        assert list(own.engine.dispatcher.subscriptions) == ["route TICKER BTCUSDT.BINANCE"]


async def routes_of(own: World) -> Any:
    ack = await own.submit(ListRoutes())
    assert ack.status == "accepted"
    return ack.detail["routes"]


async def test_a_topic_is_given_up_with_the_last_route_that_needs_it():
    async with world() as own:
        for kind in (DELTA, CanonicalType.FUSED):
            assert (await own.submit(Subscribe(kind, (BTC,)))).status == "accepted"
        assert own.names == {"btcusdt@depth@100ms"}
        assert (await own.submit(Unsubscribe(DELTA, (BTC,)))).target_version == 3
        assert own.names == {"btcusdt@depth@100ms"}
        assert (await own.submit(Unsubscribe(CanonicalType.FUSED, (BTC,)))).status == "accepted"
        assert (own.names, own.gateway.table.routes) == (set(), [])


WRONG = [
    {"command": "Subscribe", "type": "TRADES", "instruments": [BTC]},
    {"command": "Subscribe", "type": "TRADE", "instruments": []},
    {"command": "Subscribe", "type": "TRADE", "instruments": ["x"]},
    {"command": "Subscribe", "type": "TRADE", "instruments": [BTC], "throttle": "soon"},
    {"command": "Subscribe", "type": "TRADE", "instruments": [BTC], "filters": [{"path": "", "op": "eq", "value": 1}]},
    {"command": "Subscribe", "type": "TRADE", "instruments": [BTC], "filters": [{"path": "a", "op": "lt", "value": 1}]},
    {"command": "Subscribe", "type": "TRADE", "instruments": [ETH, "NONEUSDT.BINANCE"]},
    {"command": "Subscribe", "type": "TRADE", "instruments": ["BTCUSDT.BINANCE_USDM"]},
    {"command": "Subscribe", "type": "TRADE", "instrument": BTC},
    {"command": "Unsubscribe", "type": "TRADE", "instruments": [BTC, ETH]},
    {"command": "SetFilter", "type": "TICKER", "instrument": BTC},
]


@pytest.mark.parametrize("command", WRONG, ids=str)
async def test_a_wrong_command_leaves_every_route_as_it_was(command):
    async with world() as own:
        await own.submit(Subscribe(TRADE, (BTC,)))
        before = own.gateway.table.routes, own.gateway.table.version, own.names
        ack = await own.submit(command)
        assert (ack.status, bool(ack.reason)) == ("rejected", True)
        assert (own.gateway.table.routes, own.gateway.table.version, own.names) == before


async def test_an_unknown_symbol_names_the_nearest():
    async with world() as own:
        ack = await own.submit(Subscribe(TRADE, ("BTCUSD.BINANCE",)))
        assert "did you mean BTCUSDT.BINANCE" in ack.reason


async def test_what_the_venue_does_not_confirm_is_taken_back():
    async with world() as own:
        await own.submit(Subscribe(TRADE, (BTC,)))
        own.venue.inject(Fault(kind="stall", at_s=0.0, for_s=30.0))
        await until(lambda: own.venue.stats().faults.get("stall"))
        ack = await own.submit(Subscribe(TRADE, (ETH,)))
        assert (ack.status, ack.target_version) == ("failed", 3)
        assert "taken back" in ack.reason
        assert [route.instrument for route in own.gateway.table.routes] == [BTC]


async def test_filters_and_throttle_account_for_every_event():
    async with world(speed=8) as own:
        own.listen()
        rule = FilterRule("payload.aggressor_side", "eq", 1)
        await own.submit(Subscribe(TRADE, (BTC,), (rule,), "200ms"))
        await until(lambda: len(own.events) > 5)
        await own.submit(SetFilter(TRADE, BTC))
        await until(lambda: any(event.payload["aggressor_side"] == -1 for event in own.events))
        (flow,) = own.gateway.flows
        counts = flow.counts
        assert counts.converted == counts.filtered + counts.suppressed + counts.forwarded + flow.is_holding
        assert min(counts.filtered, counts.suppressed, counts.forwarded) > 0
        consolidated = [event.payload for event in own.events if "consolidated" in event.payload]
        assert all(row["volume"] >= row["size"] and row["consolidated"] > 1 for row in consolidated)
        assert consolidated


async def test_fused_events_are_live_and_ordered_and_kept():
    async with world(speed=4) as own:
        own.listen()
        await own.submit(Subscribe(CanonicalType.FUSED, (BTC,)))
        await until(lambda: sum(event.payload["quality"] == "LIVE" for event in own.events) > 20)
        for event in (event for event in own.events if event.payload["quality"] == "LIVE"):
            bids, asks = ([price for price, _ in event.payload[side]] for side in ("bids", "asks"))
            assert (bids, asks) == (sorted(bids, reverse=True), sorted(asks))
            assert 0 < len(bids) <= 10
        assert [event.seq for event in own.events] == list(range(1, len(own.events) + 1))
        await until(lambda: own.gateway.snapshots.stored)
        assert b'"update_id"' in own.gateway.snapshots.store.get(BTC).data


async def test_fused_events_beyond_a_snapshot_are_degraded():
    # 3,000 levels on each side, of which a snapshot returns 5: fewer than the route asks for are known for certain.
    async with SimulatedVenue(SyntheticFeed("BTCUSDT", frames=40_000, levels=3_000), speed=4) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", [], url=addresses["ws"], rest_url=addresses["rest"], snapshot_levels=5)
        engine = Engine(feeds=[feed])
        Gateway(engine, [feed], levels=10)
        events: list[CanonicalEvent] = []
        engine.bus.subscribe(CanonicalEvent, events.append, name="test")
        async with engine:
            await engine.commands.submit(Subscribe(CanonicalType.FUSED, (BTC,)))
            await until(lambda: sum(event.payload["quality"] == "DEGRADED" for event in events) > 5)
            await until(lambda: max(len(event.payload["bids"]) for event in events) == 10)
    degraded = [event.payload for event in events if event.payload["quality"] == "DEGRADED"]
    assert all("deltas" not in payload for payload in degraded)
    known = [len(event.payload[side]) for event in events for side in ("bids", "asks")]
    assert min(known) < 10 >= max(known)


async def test_without_a_snapshot_deltas_go_on_and_say_so():
    faults = [Fault(kind="late_snapshot", at_s=0.0, for_s=600.0)]
    async with world(faults=faults) as own:
        own.listen()
        await own.submit(Subscribe(CanonicalType.FUSED, (BTC,)))
        await until(lambda: len(own.events) > 20)
        assert {event.payload["quality"] for event in own.events} == {"STALE"}
        assert all(event.payload["deltas"] and not event.payload["bids"] for event in own.events)


async def test_snapshots_are_polled_parsed_and_kept():
    pollers = {CanonicalType.BOOK_SNAPSHOT: [Poller("snapshots", "depth?limit=50", 0.1, "snapshot")]}
    async with world(pollers=pollers) as own:
        own.listen()
        await own.submit(Subscribe(TRADE, (BTC,)))
        await own.submit(Subscribe(CanonicalType.BOOK_SNAPSHOT, (BTC,)))
        await until(lambda: sum(event.canonical_type == "BOOK_SNAPSHOT" for event in own.events) >= 3)
        event = next(event for event in own.events if event.canonical_type == "BOOK_SNAPSHOT")
        assert event.payload["bids"][0][0] < event.payload["asks"][0][0]
        await until(lambda: own.gateway.snapshots.stored >= 2)
        await own.submit(Unsubscribe(CanonicalType.BOOK_SNAPSHOT, (BTC,)))
        assert own.gateway.pollers.counts.answered >= 3


async def test_after_a_cut_the_routes_come_back_from_the_table():
    async with world() as own:
        own.listen()
        await own.submit(Subscribe(TRADE, (BTC, ETH)))
        await own.submit(Unsubscribe(TRADE, (ETH,)))
        await until(lambda: own.events)
        own.venue.inject(Fault(kind="cut", stream="*@trade", at_s=0.0))
        await until(lambda: own.venue.stats().connected == 2 and own.names == {"btcusdt@trade"})
        seen = len(own.events)
        await until(lambda: len(own.events) > seen)


async def test_routes_of_the_configuration_are_there_at_the_start():
    async with world(routes=[Subscribe(TICKER, (BTC,))]) as own:
        own.listen()
        await until(lambda: own.events)
        assert own.names == {"btcusdt@bookTicker"}
        assert own.engine.status()["services"]["gateway"] == "ok"


async def test_an_engine_ends_when_a_route_of_the_configuration_is_wrong():
    with pytest.raises(RouteError, match="does not list NONEUSDT"):
        async with world(routes=[Subscribe(TICKER, ("NONEUSDT.BINANCE",))]):
            pass


async def test_metrics_tell_of_routes_confirmations_and_breakers():
    async with world() as own:
        own.listen()
        await own.submit(Subscribe(TRADE, (BTC,)))
        await until(lambda: own.events)
        samples = {(sample.name, sample.labels): sample.value for sample in own.engine.metrics.snapshot()}
        assert {name for name, _ in samples} >= OF_GATEWAYS | {"headrace_feed_running", "headrace_breaker_state"}
        assert samples["headrace_route_events_total", ("TRADE", BTC, "forwarded")] > 0
        assert 0 < samples["headrace_subscribe_seconds", ("subscribe", "1")] < 2
        assert samples["headrace_breaker_state", ("binance BINANCE", "CLOSED")] == 1


async def test_a_breaker_that_opens_is_an_event_and_a_metric():
    pollers = {CanonicalType.BOOK_SNAPSHOT: [Poller("snapshots", "depth", 0.05, "snapshot")]}
    async with world(pollers=pollers) as own:
        states: list[Status] = []
        own.engine.bus.subscribe(Status, states.append, name="test states")
        await own.submit(Subscribe(CanonicalType.BOOK_SNAPSHOT, (BTC,)))
        own.venue.inject(Fault(kind="restart", at_s=0.0, for_s=5.0))
        await own.submit(Subscribe(TRADE, (BTC,)))
        await until(lambda: any(own.state == "OPEN" for own in states))
        assert any(subject.startswith("REST of binance BINANCE") for subject in {own.subject for own in states})
