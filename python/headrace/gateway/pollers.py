"""Pollers: REST endpoints that are asked on a schedule, one task for each that a route needs.

::

    route ─▶ poller of its type ─▶ adapter.fetch ─▶ pool: parser ─▶ deliver        again after ``interval_s``

What happens when the venue does not answer
    The REST client waits and tries again within its weight budget and its circuit breaker; a poll that fails for good
    is counted, and the next one comes at its time.

Guarantees: two routes that need the same poll share it; the first comes at once, the others on time, without drift.
Does not: limit requests; the adapter's client does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from headrace.errors import HeadraceError, RouteError
from headrace.market.checks import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headrace.gateway.adapter import Adapter
    from headrace.gateway.pool import WorkPool
    from headrace.gateway.routes import Poller, Route

    # Receives the poller, the instrument and the parsed answer, None for one that could not be parsed.
    Deliver: TypeAlias = "Callable[[Poller, str, dict[str, Any] | None], None]"

__all__ = ["PARSERS", "Parser", "PollCounts", "Pollers", "parsed_snapshot"]

log = logging.getLogger(__name__)

Parser: TypeAlias = "Callable[[bytes], dict[str, Any]]"


class _Depth(msgspec.Struct):
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    last_update_id: int = msgspec.field(name="lastUpdateId")


def parsed_snapshot(body: bytes) -> dict[str, Any]:
    """Return a depth answer as a payload: ``update_id``, ``bids`` and ``asks`` as [price, size], the best first.

    Raises msgspec.ValidationError, ValueError.
    """
    depth = msgspec.json.decode(body, type=_Depth)
    bids, asks = ([[float(price), float(size)] for price, size in side] for side in (depth.bids, depth.asks))
    return {"update_id": depth.last_update_id, "bids": bids, "asks": asks}


def parsed_json(body: bytes) -> dict[str, Any]:
    """Return any JSON object as a payload. Raises msgspec.ValidationError."""
    return msgspec.json.decode(body, type=dict[str, Any])


PARSERS: Mapping[str, Parser] = {"snapshot": parsed_snapshot, "json": parsed_json}


class _Poll(NamedTuple):
    poller: Poller
    instrument: str


class PollCounts(msgspec.Struct):
    """What became of the polls."""

    answered: int = 0
    failed: int = 0
    unparsed: int = 0


class Pollers:
    """The polls of one gateway. parsers : by name, beside the built-in ones. deliver : receives each answer."""

    def __init__(
        self, adapters: Mapping[str, Adapter], pool: WorkPool, parsers: Mapping[str, Parser], deliver: Deliver
    ) -> None:
        self._adapters = adapters
        self._pool = pool
        self._parsers = {**PARSERS, **parsers}
        self._deliver = deliver
        self._tasks: dict[_Poll, asyncio.Task[None]] = {}
        self.counts = PollCounts()

    def check(self, poller: Poller) -> None:
        """Refuse a poller whose parser is unknown. Raises RouteError."""
        if poller.parser not in self._parsers:
            known = f"{nearest(poller.parser, self._parsers)}; there are {', '.join(self._parsers)}"
            msg = f"poller {poller.name}: no parser is called {poller.parser!r}{known}"
            raise RouteError(msg)

    def sync(self, routes: Iterable[Route]) -> None:
        """Poll what routes need, and nothing else. Called on the loop's thread."""
        needed = {_Poll(poller, route.instrument) for route in routes for poller in route.pollers}
        for poll in [own for own in self._tasks if own not in needed]:
            self._tasks.pop(poll).cancel()
        for poll in needed - self._tasks.keys():
            name = f"headrace poll {poll.poller.name} {poll.instrument}"
            self._tasks[poll] = asyncio.get_running_loop().create_task(self._keep(poll), name=name)

    async def close(self) -> None:
        """End every poll."""
        tasks = list(self._tasks.values())
        self.sync(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, poll: _Poll) -> None:
        due = time.monotonic()
        while True:
            await self._once(poll)
            # Without drift; what is missed is not caught up on.
            due = max(due + poll.poller.interval_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _once(self, poll: _Poll) -> None:
        poller, instrument = poll
        adapter = self._adapters[instrument.rpartition(".")[2]]
        try:
            body = await adapter.fetch(poller.endpoint, instrument, weight=poller.weight)
        except HeadraceError as error:
            self.counts.failed += 1
            log.warning("poller %s of %s: %s", poller.name, instrument, error)
            return
        try:
            payload = await self._pool.run(self._parsers[poller.parser], body)
        except Exception as error:  # noqa: BLE001 - a parser of the user's own may raise anything
            self.counts.unparsed += 1
            log.warning("poller %s of %s: its answer was not parsed: %s", poller.name, instrument, error)
            self._deliver(poller, instrument, None)
            return
        self.counts.answered += 1
        self._deliver(poller, instrument, payload)
