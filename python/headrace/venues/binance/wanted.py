"""WantedStreams: the streams that a line is to carry, and how a connection is brought to carry them and no others.

::

    want, give up ─▶ names ─▶ settle: SUBSCRIBE what is missing, UNSUBSCRIBE what is too many, in turn ─▶ waits end

What happens when the venue refuses a request
    It may be for one name of many: half as many go into the next one, until a single name is refused, and given up.

Guarantees: names are chosen when a message may be sent, so that all changes of a moment are in one; every wait ends.
Does not: connect.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from headrace.errors import VenueRequestError
from headrace.venues.binance.connection import NAMES_PER_REQUEST, shown_names

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from headrace.venues.binance.connection import Connection, Request

__all__ = ["WantedStreams"]

log = logging.getLogger(__name__)

# A little less than a command has, so that its answer says what became of it.
CONFIRMED_WITHIN_S = 4.5

Waiting: TypeAlias = "dict[str, asyncio.Future[VenueRequestError | None]]"


class WantedStreams:
    """The streams of one line. on_change : called when a connection may have to be settled again."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.names: dict[str, None] = {}
        # Whether names may differ from what the venue sends.
        self.has_changed = False
        self._on_change = on_change
        # By name: the wait for the venue's confirmation that it comes, or comes no more. The result is an error.
        self._coming: Waiting = {}
        self._leaving: Waiting = {}
        self._batch_max = NAMES_PER_REQUEST
        self._asked: list[str] = []
        self._is_subscribing_next = True

    def want(self, names: Iterable[str]) -> None:
        """Add streams."""
        self.names.update(dict.fromkeys(names))
        self.note_change()

    def give_up(self, names: Iterable[str]) -> list[str]:
        """Remove streams, and return those that were there."""
        gone = [name for name in names if self.names.pop(name, "") is None]
        self.note_change()
        return gone

    def note_change(self) -> None:
        """Have the connection settled again."""
        self.has_changed = True
        self._on_change()

    async def add(self, names: Iterable[str], confirmed: Container[str]) -> None:
        """Add streams, and wait until the venue has confirmed them, at most ``CONFIRMED_WITHIN_S``.

        confirmed : those that come already. Raises VenueRequestError; then those that this call added are given up.
        """
        wanted = list(names)
        fresh = [name for name in wanted if name not in self.names]
        self.want(fresh)
        try:
            await self._until_answered(self._coming, [name for name in wanted if name not in confirmed])
        except BaseException:
            self.give_up(fresh)
            raise

    async def remove(self, names: Iterable[str], confirmed: Container[str]) -> None:
        """Remove streams, and wait until the venue has confirmed it for those that come. Raises VenueRequestError."""
        await self._until_answered(self._leaving, [name for name in self.give_up(names) if name in confirmed])

    async def settle(self, connection: Connection) -> None:
        """Have the venue send the names over a connection, and no others. Raises VenueRequestError: no answer."""
        while connection.ended_because is None:
            self.has_changed = False
            self._end_waits(connection.confirmed)
            if self.names.keys() == connection.confirmed:
                return
            try:
                await connection.request(partial(self._next_request, connection))
            except VenueRequestError as error:
                if error.status is None:
                    raise
                self._narrow(error)
            else:
                self._batch_max = min(2 * self._batch_max, NAMES_PER_REQUEST)

    def end(self, reason: str) -> None:
        """End all waits: the line is closed."""
        self._end_waits((), reason)

    def _next_request(self, connection: Connection) -> Request | None:
        """Return what to send next: subscriptions and their ends in turn; None: the venue sends what it should."""
        missing = [name for name in self.names if name not in connection.confirmed]
        extra = [name for name in connection.confirmed if name not in self.names]
        if missing and (self._is_subscribing_next or not extra):
            self._is_subscribing_next = False
            self._asked = missing[: self._batch_max]
            return "SUBSCRIBE", self._asked
        self._is_subscribing_next = True
        self._asked = []
        return ("UNSUBSCRIBE", extra[:NAMES_PER_REQUEST]) if extra else None

    def _narrow(self, error: VenueRequestError) -> None:
        """Ask for half as much, or give up the one name that was refused."""
        if len(self._asked) > 1:
            self._batch_max = len(self._asked) // 2
        elif not self._asked:
            raise error  # A refused end of streams: what comes is not known.
        else:
            (name,) = self._asked
            self.names.pop(name, None)
            log.error("%s was refused and is given up: %s", name, error)
            _end(self._coming, name, error)

    async def _until_answered(self, waiting: Waiting, names: list[str]) -> None:
        loop = asyncio.get_running_loop()
        futures = {waiting.setdefault(name, loop.create_future()) for name in names}
        if not futures:
            return
        done, late = await asyncio.wait(futures, timeout=CONFIRMED_WITHIN_S)
        for problem in filter(None, (future.result() for future in done)):
            raise problem
        if late:
            msg = f"{shown_names(names)}: the venue confirmed nothing within {CONFIRMED_WITHIN_S:g} s"
            raise VenueRequestError(msg, url="", status=None)

    def _end_waits(self, confirmed: Container[str], closed: str = "") -> None:
        """End the waits that the venue has answered; when the line is closed, all of them."""
        for waiting, is_coming in ((self._coming, True), (self._leaving, False)):
            for name in list(waiting):
                is_given_up = is_coming is not (name in self.names)
                if closed or is_given_up or (name in confirmed) is is_coming:
                    problem = closed or ("it was given up meanwhile" if is_given_up and is_coming else "")
                    error = VenueRequestError(f"{name}: {problem}", url="", status=None) if problem else None
                    _end(waiting, name, error)


def _end(waiting: Waiting, name: str, error: VenueRequestError | None) -> None:
    future = waiting.pop(name, None)
    if future is not None and not future.done():
        future.set_result(error)
