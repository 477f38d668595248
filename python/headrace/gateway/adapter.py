"""Adapter: what a gateway needs of a venue's feed; ``BinanceFeed`` is one.

::

    RouteTable ─▶ topics ─▶ subscribe, unsubscribe ─▶ the venue's confirmation        fetch ─▶ an answer of its REST

Guarantees: nothing; a feed of your own that has these members is an adapter.
Does not: know routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Adapter"]


@runtime_checkable
class Adapter(Protocol):
    """One venue."""

    @property
    def venue(self) -> str:
        """The end of its instruments' names, ``BTCUSDT.BINANCE``."""

    @property
    def topics(self) -> Sequence[str]:
        """The topics of its own configuration, such as ``"btcusdt@trade"``: they are subscribed beside all routes."""

    @property
    def states(self) -> Mapping[str, str]:
        """The state of each topic: DOWN, SILENT (subscribed, nothing has come), UP, STALE."""

    def follow(self, topics: Callable[[], Iterable[str]]) -> None:
        """Subscribe, at each connect, to what ``topics`` returns then and to nothing else."""

    def refusal(self, instrument: str) -> str:
        """Return why an instrument cannot be subscribed to; empty: it can."""

    async def subscribe(self, names: Iterable[str]) -> None:
        """Subscribe to topics, and wait for the venue's confirmation; may be repeated.

        Raises VenueRequestError: not confirmed within 5 s; InstrumentError.
        """

    async def unsubscribe(self, names: Iterable[str]) -> None:
        """Unsubscribe, and wait for the venue's confirmation. Raises VenueRequestError."""

    async def fetch(self, endpoint: str, instrument: str, *, weight: int | None = None) -> bytes:
        """Return the answer of a REST endpoint about an instrument. Raises VenueRequestError.

        endpoint : its name, with a query where one is needed: ``"depth?limit=100"``. weight : of the request, where the
        adapter does not know it.
        """
