"""The second half of ``headrace demo``: a live feed over real sockets, a connection that is cut, and how it heals.

::

    SimulatedVenue ─▶ web sockets, REST ─▶ BinanceFeed ─▶ Engine ─▶ Watch: quotes, book, states, gaps
         └ cuts the connection in the middle of a frame

Guarantees: a claim is a text and whether it holds; all sockets are on this machine, and closed.
Does not: print, or reach a real venue.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from headrace import Book, Engine, Strategy
from headrace.feeds import SyntheticFeed

if TYPE_CHECKING:
    from headrace import Report

__all__ = ["LiveSession", "claims_of_live", "run_live"]

# Seconds of the market in one of the demo.
SPEED = 16.0
# Depth frames of the venue before the cut.
CUT_AT_FRAME = 60
COMPARISONS_AFTER = 5
WITHIN_S = 20.0


class Watch(Strategy):
    """Compares the book with each quote of the same update id, and notes states and gaps."""

    def __init__(self) -> None:
        self.quotes: dict[int, tuple[float, float]] = {}
        self.equal = self.unequal = self.gaps = 0
        # Comparisons when the book was LIVE again.
        self.healed_at = 0
        self.states: list[str] = []
        self.down_at = self.up_at = 0.0

    def on_quote(self, venue_seq: int, bid_price: float, ask_price: float) -> None:
        """Note a quote by its id."""
        self.quotes[venue_seq] = (bid_price, ask_price)

    def on_book(self, update_id: int, bid_price: float, ask_price: float, book: Book) -> None:
        """Compare the book with the quote of its id."""
        quote = self.quotes.pop(update_id, None)
        if quote is not None:
            is_equal = quote == (bid_price, ask_price) == (book.bids(1)[0][0], book.asks(1)[0][0])
            self.equal, self.unequal = self.equal + is_equal, self.unequal + (not is_equal)

    def on_status(self, stream: str | None, state: str) -> None:
        """Note the states of the book, and how long the connection was away."""
        if stream != "depth":
            return
        if state == "DOWN":
            self.down_at = time.monotonic()
        elif state == "SILENT" and self.down_at:
            self.up_at = time.monotonic()
        if state in ("LIVE", "STALE", "SYNCING"):
            self.states.append(state)
            if state == "LIVE":
                self.healed_at = self.equal

    def on_gap(self) -> None:
        """Count what may be missing."""
        self.gaps += 1

    @property
    def is_healed(self) -> bool:
        """Whether the book was compared often enough after the cut."""
        return self.states[-1:] == ["LIVE"] and len(self.states) > 1 and self.equal - self.healed_at > COMPARISONS_AFTER


class LiveSession(NamedTuple):
    """What came of it. connected : to the venue's web sockets, in all."""

    report: Report
    watch: Watch
    connected: int
    is_healed: bool


def run_live(folder: str) -> LiveSession:
    """Run the session. folder : for the engine's state. Raises MissingExtraError without the extra ``binance``."""
    return asyncio.run(_run(folder))


async def _run(folder: str) -> LiveSession:
    from headrace.venues import BinanceFeed, Fault, SimulatedVenue

    watch = Watch()
    cut = Fault(kind="cut", stream="*@depth*", at_frame=CUT_AT_FRAME)
    async with SimulatedVenue(SyntheticFeed("BTCUSDT", frames=200_000), speed=SPEED, faults=[cut]) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", ["BTCUSDT"], url=addresses["ws"], rest_url=addresses["rest"])
        engine = Engine(name="demo-live", feeds=[feed], strategies=[watch], state_folder=folder)
        async with engine:
            until = time.monotonic() + WITHIN_S
            while not watch.is_healed and time.monotonic() < until:  # noqa: ASYNC110 - it has no event of its own
                await asyncio.sleep(0.01)
            is_healed = watch.is_healed
        return LiveSession(engine.report(), watch, venue.stats().connected, is_healed)


def claims_of_live(session: LiveSession) -> list[tuple[str, bool]]:
    """Return each claim, and whether it holds."""
    watch = session.watch
    away_s = watch.up_at - watch.down_at
    return [
        (f"the venue cut the connection, and the next one was up after {away_s:.1f} s", session.connected == 2),
        (f"the book was {', '.join(watch.states)}: in sync, or it says that it is not", session.is_healed),
        (f"what may be missing at the cut is {watch.gaps} gaps, at their places", watch.gaps > 0),
        (
            f"{watch.equal} of {watch.equal + watch.unequal} quotes equal the book of their update id",
            watch.equal > 0 and not watch.unequal,
        ),
    ]
