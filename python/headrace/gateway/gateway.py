"""Gateway: routes of venues' data, changed by commands while an engine runs, and what they carry as events of its bus.

::

    Subscribe ─▶ RouteTable ─▶ adapter: topics, confirmed ─▶ Ack
    ring ─────▶ ticks, conductor ─┐
    REST ─────▶ pollers ──────────┼▶ flow: filters, throttle ─▶ CanonicalEvent on the data lane
    bus: bars ────────────────────┘

What happens with ticks that no subscriber of the bus wants
    They reach strategies by the ring, as without a gateway, and no event is made of them.

Guarantees: what is subscribed at a venue is what the table says, after a reconnect, too; every write is done when it
stops.
Does not: decode, number or dispatch ticks; the engine does.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from headrace.dispatch.latency_meter import LatencyMeter
from headrace.engine.service import RestartPolicy, Service
from headrace.errors import OptionError, RouteError
from headrace.gateway.conductor import Conductor
from headrace.gateway.flow import Flow
from headrace.gateway.keeper import SnapshotKeeper
from headrace.gateway.options import complete
from headrace.gateway.pollers import Pollers
from headrace.gateway.pool import WorkPool
from headrace.gateway.route_commands import RouteCommands
from headrace.gateway.routes import RouteTable
from headrace.gateway.snapshots import MemorySnapshots
from headrace.gateway.ticks import TickFlow
from headrace.market.canonical import KINDS, CanonicalEvent, CanonicalType
from headrace.market.events import Bar, Lane
from headrace.telemetry.collect import Sample, quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headrace.bus import BusSubscription
    from headrace.engine.engine import Engine
    from headrace.engine.service import ServiceContext
    from headrace.gateway.adapter import Adapter
    from headrace.gateway.options import GatewayOptions
    from headrace.gateway.routes import Key, Poller, Route

__all__ = ["Gateway"]

# Of a bar, in the payload of its event.
BAR_FIELDS = ("timeframe", "price", "open", "high", "low", "close", "volume", "count", "ts_open", "ts_close")


class Gateway(Service):
    """The routes of one live engine. Made before the engine runs; it adds itself to the engine's services.

    engine : live. adapters : feeds of the engine whose topics the routes decide, one for each venue.
    routes : Subscribe commands that are done when the engine starts.
    pollers : by the type that they serve, in place of the defaults. parsers : of their answers, by name.
    snapshots : where snapshots are kept; in memory unless given. snapshot_ttl_s : an older one is stale.
    levels : of each side of a FUSED event. workers, queue_max : of the pool that parses and stores.

    Raises OptionError, RouteError, CommandError (the engine has a gateway already).
    """

    restart: ClassVar[RestartPolicy] = "never"

    def __init__(self, engine: Engine, adapters: Iterable[Adapter], **options: Unpack[GatewayOptions]) -> None:
        if engine.mode != "live":
            msg = f"a gateway cannot be in an engine of mode {str(engine.mode)!r}: venues are live; leave it out"
            raise OptionError(msg, option="engine")
        own = complete(options)
        self._adapters = _by_venue(adapters)
        self._levels = own["levels"]
        self._engine = engine
        self._routes = tuple(own["routes"])
        pollers = own["pollers"]
        self.table = RouteTable(pollers)
        self.pool = WorkPool(workers=own["workers"], queue_max=own["queue_max"])
        store = MemorySnapshots() if own["snapshots"] is None else own["snapshots"]
        self.snapshots = SnapshotKeeper(store, self.pool, engine.clock, ttl_ns=round(own["snapshot_ttl_s"] * 1e9))
        self.pollers = Pollers(self._adapters, self.pool, own["parsers"] or {}, self._take_answer)
        for poller in [one for of_type in (pollers or {}).values() for one in of_type]:
            self.pollers.check(poller)
        self.stages: LatencyMeter[str] = LatencyMeter()
        self._flows: dict[Key, Flow] = {}
        self._ticks: dict[Key, TickFlow] = {}
        self._conductors: dict[Key, Conductor] = {}
        self._bars: BusSubscription | None = None
        self._has_subscribers = False
        # By key: the number of the last tick before the route began.
        self._before: dict[Key, int] = {}
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.commands = RouteCommands(self.table, self._adapters, self._sync, self.received)
        self.commands.register(engine.commands)
        engine.bus.declare(CanonicalEvent, Lane.DATA)
        for adapter in self._adapters.values():
            adapter.follow(partial(self._topics, adapter.venue))
        engine.services.add(self)
        engine.measure(self.samples)

    @property
    def name(self) -> str:
        """``gateway``."""
        return "gateway"

    async def setup(self, context: ServiceContext) -> None:
        """Begin with the configured routes. Raises RouteError."""
        self._loop = asyncio.get_running_loop()
        for venue, adapter in self._adapters.items():
            self.table.hold((venue, topic) for topic in adapter.topics)
        for route in self._routes:
            if problem := self.commands.add(route):
                raise RouteError(problem)
        context.bus.watch(CanonicalEvent, self._on_interest)

    async def run(self) -> None:
        """Sweep the snapshots until it is stopped."""
        sweeping = asyncio.create_task(self.snapshots.sweep_for_ever(), name="headrace sweep snapshots")
        try:
            await self._stopping.wait()
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def stop(self) -> None:
        """End the polls, forward what waits, and finish what is being stored."""
        self._stopping.set()
        await self.pollers.close()
        await self.commands.close()
        for flow in self._flows.values():
            flow.close()
        await self.snapshots.finish()
        self.snapshots.store.close()
        self.pool.close()

    def health(self) -> str:
        """Return "ok", or which routes have nothing from their venue."""
        dead = sorted({topic for venue, topic in self.table.topics if self._adapters[venue].states.get(topic) != "UP"})
        return f"nothing comes of {', '.join(dead[:3])}, {len(dead)} topics in all" if dead else "ok"

    def received(self, route: Route) -> int:
        """Return how many ticks or events came for a route since it began."""
        key = route.canonical_type, route.instrument
        counts = self.table.counts(route)
        if route.canonical_type in KINDS and key in self._before:
            counts.received = self._newest_seq(*key) - self._before[key]
        return counts.received

    def samples(self) -> Iterator[Sample]:
        """Yield its metrics as they are now. O(routes + streams)."""
        for route in self.table.routes:
            self.received(route)
            labels, counts = (route.canonical_type, route.instrument), self.table.counts(route)
            for fate in counts.__struct_fields__:
                yield Sample("headrace_route_events_total", (*labels, fate), getattr(counts, fate))
        yield Sample("headrace_routes_version", (), self.table.version)
        for verb, latency in self.commands.confirmations.latencies().items():
            yield from quantiles("headrace_subscribe_seconds", (verb,), latency)
        for stage, latency in self.stages.latencies().items():
            yield from quantiles("headrace_gateway_stage_seconds", (stage,), latency)
        yield Sample("headrace_pool_pieces", (), self.pool.depth)
        for fate in self.pollers.counts.__struct_fields__:
            yield Sample("headrace_polls_total", (fate,), getattr(self.pollers.counts, fate))
        own = self.snapshots
        fates = {"stored": own.stored, "retried": own.retries, "failed": own.failures, "swept": own.swept}
        for fate, count in fates.items():
            yield Sample("headrace_snapshots_total", (fate,), count)

    @property
    def flows(self) -> Sequence[Flow]:
        """What carries the routes, in their order."""
        return list(self._flows.values())

    # Routes

    def _topics(self, venue: str) -> list[str]:
        return [topic for own, topic in self.table.topics if own == venue]

    def _sync(self) -> None:
        """Open and close what carries routes, so that it fits the table."""
        routes = {(route.canonical_type, route.instrument): route for route in self.table.routes}
        for key in [own for own in self._flows if own not in routes]:
            self._close(key)
        for key, route in routes.items():
            if key not in self._flows:
                self._open(key, route)
            elif self._flows[key].route is not route:
                self._flows[key].change(route)
        self.pollers.sync(routes.values())
        has_bars = any(kind is CanonicalType.BAR for kind, _ in routes)
        if has_bars and self._bars is None:
            self._bars = self._engine.bus.subscribe(Bar, self._take_bar, name="gateway bars")
        elif not has_bars and self._bars is not None:
            self._bars.close()
            self._bars = None

    def _open(self, key: Key, route: Route) -> None:
        engine, counts = self._engine, self.table.counts(route)
        flow = self._flows[key] = Flow(route, counts, engine.bus, self.stages, engine.traces)
        if route.canonical_type in KINDS:
            self._before[key] = self._newest_seq(*key)
            self._ticks[key] = ticks = TickFlow(flow, engine.readers)
            ticks.want(is_wanted=self._has_subscribers)
        elif route.canonical_type is CanonicalType.FUSED:
            self._conductors[key] = Conductor(flow, engine.readers, self.snapshots, levels=self._levels)

    def _close(self, key: Key) -> None:
        self._flows.pop(key).close()
        self._before.pop(key, None)
        if (ticks := self._ticks.pop(key, None)) is not None:
            ticks.want(is_wanted=False)
        if (conductor := self._conductors.pop(key, None)) is not None:
            conductor.close()

    def _newest_seq(self, kind: CanonicalType, instrument: str) -> int:
        _, streams = self._engine.dispatcher.sequencer.save()
        return next((seq for name, own, seq, _ in streams if (name, own) == (instrument, KINDS[kind])), 0)

    def _on_interest(self, has_subscribers: bool) -> None:  # noqa: FBT001 - the bus calls it
        assert self._loop is not None  # It is watched from ``setup`` on.
        self._loop.call_soon_threadsafe(self._want, has_subscribers)

    def _want(self, has_subscribers: bool) -> None:  # noqa: FBT001 - as above
        self._has_subscribers = has_subscribers
        for ticks in self._ticks.values():
            ticks.want(is_wanted=has_subscribers)

    # What comes

    def _take_bar(self, bar: Bar) -> None:
        flow = self._flows.get((CanonicalType.BAR, bar.instrument))
        if flow is not None:
            flow.counts.received += 1
            payload = {name: getattr(bar, name) for name in BAR_FIELDS}
            flow.take("bar", payload, ts_event=0, ts_init=bar.ts_close)

    def _take_answer(self, poller: Poller, instrument: str, payload: dict[str, Any] | None) -> None:
        now_ns = self._engine.clock.now_ns()
        for (kind, name), flow in self._flows.items():
            if name != instrument or poller not in flow.route.pollers:
                continue
            flow.counts.received += 1
            if payload is None:
                flow.counts.rejected += 1
                continue
            flow.take(
                "snapshot" if kind is CanonicalType.BOOK_SNAPSHOT else poller.name, payload, ts_event=0, ts_init=now_ns
            )
            if kind is CanonicalType.BOOK_SNAPSHOT and "update_id" in payload:
                self.snapshots.keep(instrument, {"quality": "LIVE", **payload, "ts_init": now_ns})


def _by_venue(adapters: Iterable[Adapter]) -> dict[str, Adapter]:
    found: dict[str, Adapter] = {}
    for adapter in adapters:
        if found.setdefault(adapter.venue, adapter) is not adapter:
            msg = f"adapters has two of {adapter.venue}: routes name a venue, so give one adapter with all symbols"
            raise OptionError(msg, option="adapters")
    return found
