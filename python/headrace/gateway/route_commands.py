"""RouteCommands: what Subscribe, Unsubscribe, SetFilter and ListRoutes do.

::

    Subscribe ─▶ symbols known? ─▶ table, version + 1 ─▶ the venue confirms ─▶ accepted
                                                          └ it does not within 5 s: taken back, failed

Guarantees: a command that is wrong, or that the venue does not confirm, leaves every other route as it was; an answer
has the table's version.
Does not: audit or order commands; the command bus does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from headrace.commands import ListRoutes, Outcome, SetFilter, Subscribe, Unsubscribe
from headrace.dispatch.latency_meter import LatencyMeter
from headrace.errors import HeadraceError, OptionError, RouteError
from headrace.gateway.routes import topics_of
from headrace.market.checks import duration_ns, nearest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from headrace.commands import CommandBus
    from headrace.gateway.adapter import Adapter
    from headrace.gateway.routes import Change, Route, RouteTable, Topic

__all__ = ["RouteCommands"]

log = logging.getLogger(__name__)


class RouteCommands:
    """The handlers of one gateway. changed : called after each change of the table. received : counts a route's own."""

    def __init__(
        self,
        table: RouteTable,
        adapters: Mapping[str, Adapter],
        changed: Callable[[], None],
        received: Callable[[Route], int],
    ) -> None:
        self._table = table
        self._adapters = adapters
        self._changed = changed
        self._received = received
        # From a command's handler to the venue's confirmation, by verb.
        self.confirmations: LatencyMeter[str] = LatencyMeter()
        self._tasks: set[asyncio.Task[None]] = set()

    def register(self, commands: CommandBus) -> None:
        """Register every handler. Raises CommandError."""
        commands.register(Subscribe, self._subscribe)
        commands.register(Unsubscribe, self._unsubscribe)
        commands.register(SetFilter, self._set_filter)
        commands.register(ListRoutes, self._list_routes)

    async def close(self) -> None:
        """Wait for what goes on behind answers."""
        await asyncio.gather(*self._tasks)

    def add(self, command: Subscribe) -> str:
        """Add routes before the feeds run, which subscribe to them then; return what is wrong, empty: nothing."""
        change = self._added(command)
        return change if isinstance(change, str) else ""

    async def _subscribe(self, command: Subscribe) -> Outcome:
        change = self._added(command)
        if isinstance(change, str):
            return Outcome("rejected", change, version=self._table.version)
        routes = [self._table.get(command.type, name) for name in command.instruments]
        topics = dict.fromkeys(topic for route in routes if route is not None for topic in topics_of(route))
        began_ns = time.perf_counter_ns()
        try:
            await self._at_venues(topics, lambda adapter, own: adapter.subscribe(own))
        except HeadraceError as error:
            self._take_back(change)
            return Outcome("failed", f"taken back: {error}", version=self._table.version)
        except BaseException:
            # The command's time is over.
            self._take_back(change)
            raise
        self.confirmations.record(command.verb, time.perf_counter_ns() - began_ns)
        if not change.replaced:
            return Outcome("noop", "these routes are there already", version=change.version)
        return Outcome("accepted", version=change.version)

    async def _unsubscribe(self, command: Unsubscribe) -> Outcome:
        try:
            change = self._table.unsubscribe(command.type, command.instruments)
        except (RouteError, OptionError) as error:
            return Outcome("rejected", str(error), version=self._table.version)
        self._changed()
        began_ns = time.perf_counter_ns()
        try:
            await self._at_venues(change.removed, lambda adapter, own: adapter.unsubscribe(own))
        except HeadraceError as error:
            why = f"the routes are removed, but what they carried may come until the next connection: {error}"
            return Outcome("failed", why, version=change.version)
        self.confirmations.record(command.verb, time.perf_counter_ns() - began_ns)
        return Outcome("accepted", version=change.version)

    def _set_filter(self, command: SetFilter) -> Outcome:
        try:
            change = self._table.set_filter(command.type, command.instrument, command.filters)
        except (RouteError, OptionError) as error:
            return Outcome("rejected", str(error), version=self._table.version)
        if not change.replaced:
            return Outcome("noop", "the route has these filters already", version=change.version)
        self._changed()
        return Outcome("accepted", version=change.version)

    def _list_routes(self, _command: ListRoutes) -> Outcome:
        routes = self.rows()
        held = " ".join(topic for _, topic in self._table.held)
        return Outcome("accepted", detail={"routes": routes, "held": held}, version=self._table.version)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return each route by type and instrument, with its state, topics, filters and counts."""
        return {f"{route.canonical_type} {route.instrument}": self._row(route) for route in self._table.routes}

    def _row(self, route: Route) -> dict[str, Any]:
        venue = route.instrument.rpartition(".")[2]
        states = self._adapters[venue].states
        self._received(route)
        counts = self._table.counts(route)
        return {
            "state": " ".join(states.get(topic, "DOWN") for topic in route.topics) or "polled",
            "topics": " ".join([*route.topics, *(poller.name for poller in route.pollers)]),
            "filters": " and ".join(f"{own.path} {own.op} {own.value!r}" for own in route.filters),
            "throttle_ms": route.throttle_ns / 1e6,
            **{name: getattr(counts, name) for name in counts.__struct_fields__},
        }

    def _added(self, command: Subscribe) -> Change | str:
        """Add routes to the table, and return the change, or what is wrong."""
        for name in command.instruments:
            if problem := self._problem_of(name):
                return problem
        try:
            throttle_ns = 0 if command.throttle is None else duration_ns("throttle", command.throttle)
            change = self._table.subscribe(
                command.type, command.instruments, filters=command.filters, throttle_ns=throttle_ns
            )
        except (RouteError, OptionError) as error:
            return str(error)
        self._changed()
        return change

    def _problem_of(self, instrument: str) -> str:
        symbol, _, venue = instrument.rpartition(".")
        if not symbol:
            # No instrument at all: the table refuses it.
            return ""
        adapter = self._adapters.get(venue)
        if adapter is None:
            known = ", ".join(self._adapters) or "none"
            return f"{instrument}: no adapter of {venue}{nearest(venue, self._adapters)}; there are {known}"
        return adapter.refusal(instrument)

    def _take_back(self, change: Change) -> None:
        undone = self._table.revert(change)
        self._changed()
        if undone.removed:
            task = asyncio.get_running_loop().create_task(
                self._give_up(undone.removed), name="headrace routes taken back"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _give_up(self, topics: Iterable[Topic]) -> None:
        try:
            await self._at_venues(topics, lambda adapter, own: adapter.unsubscribe(own))
        except HeadraceError as error:
            log.warning("topics of routes that were taken back may come until the next connection: %s", error)

    async def _at_venues(
        self, topics: Iterable[Topic], change: Callable[[Adapter, list[str]], Awaitable[None]]
    ) -> None:
        """Have the venues confirm topics, all at once. Raises VenueRequestError, InstrumentError."""
        by_venue: dict[str, list[str]] = {}
        for venue, topic in topics:
            by_venue.setdefault(venue, []).append(topic)
        waits = [change(self._adapters[venue], own) for venue, own in by_venue.items()]
        for outcome in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
