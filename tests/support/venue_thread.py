"""A simulated venue in a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Self

from headrace.venues import Fault, SimulatedVenue
from tests.support.venue_client import market

BOOK = (1, [("99.90", "50")], [("100.10", "50")])
INSTRUMENT = "BTCUSDT.BINANCE"


class VenueThread:
    """A context manager; the venue has one market, with one level on each side."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.venue = SimulatedVenue(market(snapshot=False), limits={"weight_max": 1_000_000})

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.venue.__aenter__(), self._loop).result(10)
        self._do(lambda: self.venue.set_book(INSTRUMENT, *BOOK))
        return self

    def __exit__(self, *_exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self.venue.__aexit__(None, None, None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def rest_url(self) -> str:
        """What ``/api/v3`` follows."""
        return self.venue.addresses["BINANCE"]["rest"]

    def inject(self, kind: Any, for_s: float, **options: Any) -> None:
        """Let a fault begin, in place of an earlier one of its kind."""
        self._do(lambda: self.venue.inject(Fault(kind=kind, at_s=0, for_s=for_s, **options)))

    def _do(self, what: Callable[[], object]) -> None:
        async def call() -> None:
            what()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)
