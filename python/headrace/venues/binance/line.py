"""Line: a set of streams on one route, kept subscribed over one connection after the other.

::

    names ─▶ connect ─▶ SUBSCRIBE ─▶ up ─┬▶ ends: down ─▶ back-off ─▶ connect      (frames may be lost)
                                         └▶ old, or a shutdown is announced: the next connection first, then this
                                            one ends                               (nothing is lost)

What happens when nothing comes
    After ``quiet_s`` without a message the venue's pings are looked at, and REST is asked whether the market is quiet.
    If it is, the connection stays; otherwise it is replaced.

Guarantees: what is subscribed to after a reconnect is ``names`` alone; connecting is tried for ever, with growing,
jittered pauses and within the venue's limit of connects; while two connections overlap, streams without ids come from
one of them only.
Does not: read frames.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from headrace.errors import VenueRequestError
from headrace.venues.binance.connection import Connection
from headrace.venues.binance.connects import connects_of
from headrace.venues.binance.rules import StreamName
from headrace.venues.binance.wanted import WantedStreams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.venues.binance.rules import VenueRules
    from headrace.venues.binance.transport import Transport

__all__ = ["Line", "LineOwner"]

log = logging.getLogger(__name__)

BACKOFF_S, BACKOFF_MAX_S = 0.25, 30.0
# A connection that lived so long was a good one: the next pause is short again.
GOOD_S = 30.0
# The next connection is opened so long before the venue ends this one, spread so that not all are at once.
ROLL_BEFORE_S, ROLL_SPREAD_S = 600.0, 300.0
# Both connections stay at most so long, until each stream has come over the new one.
OVERLAP_S = 5.0
WATCH_EVERY_S = 0.5
# A ping is missing when it is so much later than it should be.
PING_SLACK = 1.5
SHUTDOWN = "!serverShutdown"
# Two connections send these twice, and their ids say so.
WITH_IDS = frozenset({"bookTicker", "trade", "aggTrade", "depth"})


class LineOwner(Protocol):
    """Receives what happens on a line."""

    def on_frame(self, name: str, message: bytes) -> None:
        """Receive a frame; the name is empty for what is no frame of a stream."""

    def before_subscribing(self, line: Line) -> None:
        """Set the line's names, before a new connection subscribes to them."""

    def on_up(self, line: Line, reason: str, *, lost: bool) -> None:
        """Note that the streams are subscribed. lost : whether frames may be missing."""

    def on_down(self, line: Line, reason: str, detail: str) -> None:
        """Note that nothing comes. reason : "DISCONNECTED" or "NOTHING_CAME"; detail : a text for the log."""

    async def is_quiet(self, line: Line) -> bool:
        """Ask the venue whether nothing has happened on these streams."""


class Line:
    """The streams of one line. url : the address with its route. quiet_s : without a message it is looked into."""

    def __init__(
        self,
        rules: VenueRules,
        url: str,
        new_transport: Callable[[], Transport],
        owner: LineOwner,
        *,
        quiet_s: float,
    ) -> None:
        self._rules = rules
        self.url = url
        self._new_transport = new_transport
        self._owner = owner
        self._quiet_s = quiet_s
        self._connects = connects_of(url, rules.connects_max, rules.connects_within_s)
        self._wanted = WantedStreams(self._wake_up)
        self.epoch = 0
        self._current: Connection | None = None
        self._replacement: Connection | None = None
        # Streams that have come over the replacement.
        self._overlapping: set[str] = set()
        self._wake = asyncio.Event()
        self._roll_at = 0.0
        self._roll_because: str | None = None
        # A replacement that failed is tried again from then on.
        self._replace_from = 0.0
        self._next_backoff_s = BACKOFF_S

    @property
    def names(self) -> dict[str, None]:
        """The streams that it is to carry."""
        return self._wanted.names

    @property
    def is_up(self) -> bool:
        """Whether the streams are subscribed now."""
        return self._current is not None

    @property
    def room(self) -> int:
        """How many names more its connection may carry."""
        return self._rules.streams_max - len(self.names)

    def carries(self, name: str) -> bool:
        """Return whether a name is wanted here, or comes still."""
        return name in self.names or (self._current is not None and name in self._current.confirmed)

    async def keep(self) -> None:
        """Keep the streams subscribed until cancelled."""
        try:
            detail = "connected"
            while True:
                reason = "DISCONNECTED"
                try:
                    await self._until_connecting()
                    connection = self._connection()
                    with self._connects.under_way():
                        await connection.open(self.url)
                    self._owner.before_subscribing(self)
                    # Before the first frame: what was lost lies in front of it.
                    self._begin(connection, detail, lost=self.epoch > 0)
                    await self._wanted.settle(connection)
                    reason, detail = await self._until_ended()
                except (OSError, VenueRequestError) as error:
                    detail = str(error)
                await self._drop()
                self._owner.on_down(self, reason, detail)
                detail = f"reconnected: {detail}"
                await asyncio.sleep(self._backoff())
        finally:
            self._wanted.end("the line was closed")
            await self._close_all()

    def want(self, names: Iterable[str]) -> None:
        """Subscribe to more streams, as soon as the line is up."""
        self._wanted.want(names)

    async def add(self, names: Iterable[str]) -> None:
        """Subscribe to more streams, and wait for the venue's confirmation. Raises VenueRequestError."""
        await self._wanted.add(names, () if self._current is None else self._current.confirmed)

    async def remove(self, names: Iterable[str]) -> None:
        """Unsubscribe, and wait for the venue's confirmation where the line is up. Raises VenueRequestError."""
        await self._wanted.remove(names, () if self._current is None else self._current.confirmed)

    def replace(self, reason: str) -> None:
        """Open another connection, then end this one."""
        self._roll_because = reason
        self._wake.set()

    def hold(self) -> None:
        """Read no more until ``release``."""
        for connection in (self._current, self._replacement):
            if connection is not None:
                connection.pause()

    def release(self) -> None:
        """Read again."""
        for connection in (self._current, self._replacement):
            if connection is not None:
                connection.resume()

    def _wake_up(self) -> None:
        self._wake.set()

    def _connection(self) -> Connection:
        return Connection(self._rules, self._new_transport(), self._take, self._wake.set)

    async def _until_connecting(self) -> None:
        """Wait until the venue allows one more connect from this address."""
        if (wait_s := self._connects.wait_s) > 0:
            most, within_s = self._rules.connects_max, self._rules.connects_within_s
            log.warning("%s: no connect for %.1f s: the venue allows %d in %g s", self.url, wait_s, most, within_s)
        while (wait_s := self._connects.wait_s) > 0:  # noqa: ASYNC110 - it waits for time to pass
            await asyncio.sleep(wait_s)

    def _begin(self, connection: Connection, reason: str, *, lost: bool) -> None:
        self._current = connection
        self._roll_because = None
        self._roll_at = time.monotonic() + self._life_s()
        self.epoch += 1
        self._owner.on_up(self, reason, lost=lost)

    async def _until_ended(self) -> tuple[str, str]:
        """Return why the last connection ended; replace each before that where there is time to."""
        while (current := self._current) is not None and current.ended_because is None:
            self._wake.clear()
            if time.monotonic() >= self._roll_at:
                self._roll_because = self._roll_because or "the venue ends connections of this age"
            if self._roll_because is not None and time.monotonic() >= self._replace_from:
                await self._replace(current, self._roll_because)
            elif self._wanted.has_changed:
                try:
                    await self._wanted.settle(current)
                except VenueRequestError as error:
                    # What the venue sends is not known now; the next connection begins anew.
                    self._roll_because = str(error)
            elif time.monotonic() - current.heard_at > self._quiet_s and not await self._is_quiet(current):
                return "NOTHING_CAME", f"nothing came for {self._quiet_s:g} s"
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(WATCH_EVERY_S, self._quiet_s / 2)):
                        await self._wake.wait()
        return "DISCONNECTED", (current and current.ended_because) or "closed"

    async def _drop(self) -> None:
        """Close the connection that ended."""
        current, self._current = self._current, None
        if current is not None:
            if time.monotonic() - current.opened_at > GOOD_S:
                self._next_backoff_s = BACKOFF_S
            await current.close()

    def _life_s(self) -> float:
        life_s = self._rules.life_s
        return life_s - min(ROLL_BEFORE_S, life_s / 4) - random.uniform(0, min(ROLL_SPREAD_S, life_s / 8))

    async def _replace(self, old: Connection, reason: str) -> None:
        """Open the next connection, wait until each stream has come over it, and end this one."""
        if (wait_s := self._connects.wait_s) > 0:
            self._replace_from = time.monotonic() + wait_s
            return
        self._overlapping = set()
        replacement = self._replacement = self._connection()
        try:
            with self._connects.under_way():
                await replacement.open(self.url)
            self._owner.before_subscribing(self)
            await self._wanted.settle(replacement)
        except (OSError, VenueRequestError):
            await self._give_up(replacement)
            return
        deadline = time.monotonic() + OVERLAP_S
        while not self._overlapping >= set(self.names) and time.monotonic() < deadline:
            if old.ended_because is not None or replacement.ended_because is not None:
                break
            if self._wanted.has_changed:
                with suppress(VenueRequestError):
                    await self._wanted.settle(replacement)
            await asyncio.sleep(0.01)
        if replacement.ended_because is not None:
            await self._give_up(replacement)
            return
        self._replacement = None
        # What came over both has no hole; after a sudden end that is not certain.
        lost = old.ended_because is not None and not self._overlapping >= set(self.names)
        self._begin(replacement, f"replaced: {reason}", lost=lost)
        await old.close()

    async def _give_up(self, replacement: Connection) -> None:
        """Close a replacement that failed. The old connection may still work: the next one is tried later."""
        self._replacement = None
        self._replace_from = time.monotonic() + min(self._backoff(), OVERLAP_S)
        self._wanted.note_change()
        await replacement.close()

    async def _is_quiet(self, current: Connection) -> bool:
        """Return whether pings come in time and the venue says that nothing happened."""
        now = time.monotonic()
        if now - current.pinged_at > self._rules.ping_every_s * PING_SLACK or not await self._owner.is_quiet(self):
            return False
        current.heard_at = now
        return True

    def _take(self, connection: Connection, name: str, message: bytes) -> None:
        if name == SHUTDOWN:
            if connection is self._current:
                self.replace("the venue announced a shutdown")
            return
        if connection is self._replacement:
            self._overlapping.add(name)
        if connection is self._current or StreamName.parse(name).kind in WITH_IDS:
            self._owner.on_frame(name, message)

    def _backoff(self) -> float:
        pause_s, self._next_backoff_s = self._next_backoff_s, min(self._next_backoff_s * 2, BACKOFF_MAX_S)
        return pause_s * random.uniform(0.5, 1.0)

    async def _close_all(self) -> None:
        for connection in (self._current, self._replacement):
            if connection is not None:
                await connection.close()
        self._current = self._replacement = None
