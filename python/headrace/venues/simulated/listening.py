"""Listening: the port of a simulated venue, which opens and closes while clients connect; and how many may connect.

Guarantees: a connection that is being accepted when the port closes has its transport, and so an end.
Does not: cut connections.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import TYPE_CHECKING

from headrace.errors import OptionError

if TYPE_CHECKING:
    from aiohttp import web

    from headrace.venues.binance.rules import VenueRules

__all__ = ["Connects", "Listening"]


class Connects:
    """When clients connected lately, of which a market allows so many within a time."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def lets_in(self, rules: VenueRules) -> bool:
        """Return whether one more may connect now, and count it if so."""
        now = time.monotonic()
        while self._times and now - self._times[0] > rules.connects_within_s:
            self._times.popleft()
        if len(self._times) >= rules.connects_max:
            return False
        self._times.append(now)
        return True


class Listening:
    """One address to listen at."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._server: asyncio.Server | None = None

    async def open(self, runner: web.AppRunner, port: int) -> int:
        """Listen, and return the port; 0 takes a free one. Raises OptionError (the port is taken)."""
        assert runner.server is not None  # It was set up.
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(runner.server, self._host, port, reuse_address=True)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            msg = f"port={port} cannot be listened at: {why}; take another one, or 0 for a free one"
            raise OptionError(msg, option="port") from error
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more; may be called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        for own in server.sockets:
            asyncio.get_running_loop().remove_reader(own)
        # What was accepted gets its transport in the next turn; of a server that is closed by then asyncio makes
        # none, and leaves the socket open.
        await asyncio.sleep(0)
        server.close()
