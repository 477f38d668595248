"""BinanceFeed: live frames of one market, as a push feed that heals itself.

::

    lines (web sockets, by route) ─▶ frame ─▶ push ─▶ decoder, sequencer, ring
    request_snapshot ─▶ REST ───────▶ frame ─┘
    changes of a stream's state ────▶ frame ─┘      so a recording holds all three, and a replay repeats them

What happens when a connection ends
    Its streams are DOWN until the next one is up; what may have been lost is a gap in front of the next tick.

Guarantees: receive times never go back; a whole message is pushed in one call, and no object is made for a tick;
symbols that the venue does not list are refused before anything is subscribed.
Does not: build books, or decide which instrument matters.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack
from urllib.parse import parse_qsl

from headrace.errors import InstrumentError
from headrace.feeds.base import Frame
from headrace.market.checks import nearest, of_type, refuse
from headrace.venues.binance.backfill import Backfill
from headrace.venues.binance.lines import Lines
from headrace.venues.binance.listing import MarketListing, refusal_of
from headrace.venues.binance.liveness import Liveness
from headrace.venues.binance.networks import addresses_of
from headrace.venues.binance.options import complete
from headrace.venues.binance.polled_streams import PolledStreams, is_polled
from headrace.venues.binance.rest import RestClient
from headrace.venues.binance.rules import StreamName, rules_of
from headrace.venues.binance.snapshots import Snapshots, snapshot_frame
from headrace.venues.binance.stream_kinds import check_streams
from headrace.venues.binance.stream_states import StreamStates
from headrace.venues.binance.transport import new_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.feeds.base import Push
    from headrace.market.listed import Listed
    from headrace.venues.binance.line import Line
    from headrace.venues.binance.options import FeedOptions

__all__ = ["BinanceFeed"]

log = logging.getLogger(__name__)

STREAMS = ("bookTicker", "trade", "depth@100ms")
# How long a held socket waits before it reads again.
HELD_S = 0.002
# Of a snapshot that a poller fetches, each side.
DEPTH_LEVELS = 100


class BinanceFeed:
    """Live frames of one of Binance's markets.

    venue : "BINANCE", "BINANCE_USDM" or "BINANCE_COINM". symbols : as the venue writes them, ``"BTCUSDT"``.
    streams : of each symbol: "bookTicker", "trade", "aggTrade", "depth@100ms", "kline_1m", "markPrice@1s",
        "forceOrder", …; by REST, of futures, "openInterest@30s" and "fundingRate@5m"; of all symbols of futures at
        once, "!markPrice@arr@1s" and "!forceOrder@arr".
    network : "live", "testnet" or "demo". url, rest_url : addresses in its place, as a simulated venue prints them.
    snapshots : "requested" by books, or "always" after each connect, for a recording that replays alone.
    snapshot_levels : of each side of a book that a snapshot is asked for; beyond them a book knows nothing.
    backfill : whether trades that a connection missed are fetched by REST, and come late, flagged.
    time_unit : "ms", or "us" for venue times in microseconds, which only BINANCE has.
    quiet_s : after so long without a message the connection is looked into.
    listing_every_s : how often the venue's list is read again, for steps and statuses that change.
    limits : rules of the venue that differ, such as ``{"streams_max": 200}``.
    proxy : address of a proxy. source_address : the local IP address to connect from.

    Raises OptionError, MissingExtraError; from ``open`` InstrumentError for an unknown symbol and VenueRequestError.
    """

    is_live: Final = True

    def __init__(
        self, venue: str, symbols: Sequence[str], streams: Sequence[str] = STREAMS, **options: Unpack[FeedOptions]
    ) -> None:
        self._rules = rules = rules_of(venue, options.get("limits"))
        own = complete(rules, options)
        _refuse_wrong_names(symbols=symbols, streams=streams)
        self._symbols = list(dict.fromkeys(symbol.upper() for symbol in symbols))
        self._addresses = addresses_of(venue, own["network"], own["url"], own["rest_url"])
        connect = partial(new_transport, proxy=own["proxy"], source_address=own["source_address"])
        connect()  # A missing extra is said here, not at the first connect.
        self._lines = Lines(rules, connect, self, quiet_s=own["quiet_s"])
        self.rest = RestClient(
            rules,
            self._addresses.rest,
            proxy=own["proxy"],
            source_address=own["source_address"],
            time_unit=own["time_unit"],
        )
        self._query = "?timeUnit=MICROSECOND" if own["time_unit"] == "us" else ""
        self._snapshots = Snapshots(
            self.rest, self._push_snapshot, always=own["snapshots"] == "always", levels=own["snapshot_levels"]
        )
        self._backfill = Backfill(self.rest, rules.trade_weights, self._push_frame) if own["backfill"] else None
        names = _names_of(self._symbols, streams)
        # Without a symbol they are checked, too: a wrong one is wrong for all that come later.
        check_streams(venue, _names_of(self._symbols or ("symbol",), streams))
        self._topics = [name for name in names if not is_polled(name.partition("@")[2])]
        self._polled = PolledStreams(self.rest, self, [name for name in names if name not in self._topics])
        # What is to be subscribed, where another part decides it.
        self._followed: Callable[[], Iterable[str]] | None = None
        self._listing = MarketListing(venue, self.rest, every_s=own["listing_every_s"])
        self.on_listed: Callable[[Listed], object] | None = None
        self._push: Push | None = None
        self._last_ns = 0
        self._states = StreamStates(self._symbols, self._push_frame)
        # By stream: what looks at each of its frames.
        self._looking: dict[str, Callable[[bytes], None] | None] = {}
        self._liveness = Liveness(self.rest, rules, self._states.by_name, self._on_stale, quiet_s=own["quiet_s"])

    @property
    def name(self) -> str:
        """``binance BINANCE_USDM BTCUSDT,ETHUSDT``."""
        shown = ",".join(self._symbols[:3]) + (f",+{len(self._symbols) - 3}" if len(self._symbols) > 3 else "")
        return f"binance {self.venue} {shown}".rstrip()

    @property
    def venue(self) -> str:
        """The market."""
        return self._rules.venue

    @property
    def instruments(self) -> Sequence[str]:
        """The names of its symbols, and of those that were subscribed to since."""
        wanted = self.topics if self._followed is None else self._followed()
        more = (StreamName.parse(name).symbol.upper() for name in (*wanted, *self._states.by_name))
        return [f"{symbol}.{self.venue}" for symbol in dict.fromkeys((*self._symbols, *more)) if symbol]

    @property
    def listed(self) -> dict[str, Listed]:
        """What the venue lists, by name, once the feed is open: contracts, price ticks, lots, statuses."""
        return self._listing.by_name

    @property
    def listings(self) -> Sequence[Listed]:
        """What it lists of the feed's own symbols."""
        return [self.listed[name] for name in self.instruments if name in self.listed]

    @property
    def states(self) -> dict[str, str]:
        """Each stream's state: DOWN, SILENT (subscribed, nothing has come), UP, STALE."""
        return dict(self._states.by_name)

    @property
    def epochs(self) -> dict[str, int]:
        """The number of each stream's connection: 1 is the first, 0 none yet."""
        return {name: self._lines.epoch_of(name) for name in self._states.by_name}

    async def open(self) -> None:
        """Read what the venue lists. Raises InstrumentError, VenueRequestError."""
        await self._listing.read()
        for symbol in self._symbols:
            self._check(symbol)

    async def close(self) -> None:
        """Close the REST session; sockets end with ``run``. May be called twice."""
        await self.rest.close()

    @property
    def topics(self) -> list[str]:
        """The streams of its own symbols, such as ``"btcusdt@trade"``, that come over web sockets."""
        return list(self._topics)

    def follow(self, topics: Callable[[], Iterable[str]]) -> None:
        """Subscribe, at each connect, to what ``topics`` returns then and to nothing else; before ``run``."""
        self._followed = topics

    def refusal(self, instrument: str) -> str:
        """Return why an instrument cannot be subscribed to, once the feed is open; empty: it can."""
        if instrument in self.listed:
            return ""
        return f"{self.venue} does not list {instrument.rpartition('.')[0]}{nearest(instrument, self.listed)}"

    async def run(self, push: Push) -> None:
        """Keep every stream subscribed and push its frames, until cancelled."""
        self._push = push
        try:
            async with asyncio.TaskGroup() as tasks:
                self._lines.open(tasks)
                tasks.create_task(self._snapshots.run(), name=f"{self.name} snapshots")
                tasks.create_task(self._liveness.run(), name=f"{self.name} liveness")
                listing = self._listing.follow(lambda: self.instruments, self._pass_on_listing)
                tasks.create_task(listing, name=f"{self.name} listing")
                tasks.create_task(self._polled.run(), name=f"{self.name} polled")
                if self._backfill is not None:
                    tasks.create_task(self._backfill.run(), name=f"{self.name} backfill")
                self._lines.want(self._urls(self.topics if self._followed is None else self._followed()))
                try:
                    await asyncio.Event().wait()
                finally:
                    # In the group: no line may begin while it ends.
                    self._lines.close()
        finally:
            self._push = None

    async def subscribe(self, names: Iterable[str]) -> None:
        """Subscribe to more streams, such as ``"btcusdt@trade"``, and wait until the venue has confirmed all.

        Raises OptionError for a stream that the market does not have, InstrumentError for a symbol that is not listed,
        VenueRequestError for what is not confirmed in 4.5 s.
        """
        urls = self._urls(names)
        await self._lines.add(urls)
        for name in [own for own in urls if own not in self._states.by_name]:
            self._be_silent([name], "SUBSCRIBED", self._lines.epoch_of(name))

    async def unsubscribe(self, names: Iterable[str]) -> None:
        """Unsubscribe, and wait for the venue where a line is up. Raises VenueRequestError."""
        epochs = {name: self._lines.epoch_of(name) for name in names}
        try:
            await self._lines.remove(epochs)
        finally:
            # One of them may have been subscribed to again meanwhile.
            for name in [own for own in epochs if own in self._states.by_name and not self._lines.has(own)]:
                self._states.change([name], "DOWN", "UNSUBSCRIBED", epochs[name])
                del self._states.by_name[name]
                self._liveness.forget(name)
                self._looking.pop(name, None)
                if self._backfill is not None:
                    self._backfill.forget(name)

    async def fetch(self, endpoint: str, instrument: str, *, weight: int | None = None) -> bytes:
        """Return the answer of a REST endpoint about an instrument. Raises VenueRequestError.

        endpoint : its name, with a query where one is needed: ``"depth?limit=100"``. weight : of the request, 1
        unless given; that of depth is known.
        """
        name, _, text = endpoint.partition("?")
        query: dict[str, Any] = dict(parse_qsl(text))
        symbol = instrument.rpartition(".")[0]
        if name == "depth":
            return await self.rest.depth(symbol, int(query.get("limit", DEPTH_LEVELS)))
        return await self.rest.get(name, weight=weight or 1, symbol=symbol, **query)

    def on_breaker(self, call: Callable[[str], None]) -> None:
        """Call a function with the state of the REST requests' breaker, now and at each change."""
        self.rest.follow_breaker(call)
        call(self.rest.breaker.state)

    def request_snapshot(self, instrument: str, *, urgency: int = 0) -> None:
        """Ask for a fresh snapshot of a book; it comes as a frame. Called on the loop's thread."""
        self._snapshots.request(instrument.rpartition(".")[0], urgency)

    def renew_snapshot(self, instrument: str) -> None:
        """Fetch a snapshot that joins the next depth event, with ``snapshots="always"``. On the loop's thread."""
        self._snapshots.forget([instrument.rpartition(".")[0]])

    def snapshot_frame(self, instrument: str, body: bytes) -> bytes:
        """Return a book's snapshot as the frame in which one that is fetched comes."""
        return snapshot_frame(instrument.rpartition(".")[0], body)

    def on_frame(self, name: str, message: bytes) -> None:
        """Push a frame."""
        state = self._states.by_name.get(name)
        if state is None and self._lines.has(name):
            # Its first frame has overtaken the venue's confirmation.
            state = "SILENT"
        if state is not None:
            self._liveness.on_frame(name, message)
            if state != "UP":
                self._states.change([name], "UP", "FRAME_CAME", self._lines.epoch_of(name))
            look = self._looking[name] if name in self._looking else self._look_at(name)
            if look is not None:
                look(message)
        self._push_frame(message)

    def on_polled(self, name: str, message: bytes) -> None:
        """Push what a polled stream brings."""
        self._states.change([name], "UP", "FRAME_CAME", 1)
        self._push_frame(message)

    def on_poll_failed(self, name: str, problem: str) -> None:
        """Note that a polled stream brings nothing."""
        log.warning("%s: %s could not be polled: %s", self.name, name, problem)
        self._states.change([name], "STALE", "NOTHING_CAME", 1)

    def on_up(self, line: Line, reason: str, *, lost: bool) -> None:
        """Note that a line's streams are subscribed."""
        log.info("%s: %s, %d streams", self.name, reason, len(line.names))
        why = "CONNECTED" if line.epoch == 1 else "RECONNECTED" if lost else "REPLACED"
        self._be_silent(line.names, why, line.epoch, lost=lost)
        if lost or line.epoch == 1:
            self._snapshots.forget(StreamName.parse(name).symbol.upper() for name in line.names if "@depth" in name)

    def on_down(self, line: Line, reason: str, detail: str) -> None:
        """Note that nothing comes over a line."""
        log.warning("%s: connection lost: %s", self.name, detail)
        self._states.change(line.names, "DOWN", reason, line.epoch)

    async def is_quiet(self, line: Line) -> bool:
        """Return whether REST has nothing newer than the newest frames of a line's first symbol."""
        return await self._liveness.are_quiet(line.names)

    def _on_stale(self, name: str) -> None:
        """Note that a stream is stale, and have its connection replaced."""
        self._states.change([name], "STALE", "NOTHING_CAME", self._lines.epoch_of(name))
        self._lines.replace(name, f"nothing comes of {name}")

    def before_subscribing(self, line: Line) -> None:
        """Leave a line those of its names that are wanted still."""
        if self._followed is not None:
            wanted = set(self._followed())
            for name in [own for own in line.names if own not in wanted]:
                del line.names[name]

    def _pass_on_listing(self, listed: Listed) -> None:
        if self.on_listed is not None:
            self.on_listed(listed)

    def _urls(self, names: Iterable[str]) -> dict[str, str]:
        """Return the address of each stream, with its route. Raises OptionError, InstrumentError."""
        names = list(names)
        check_streams(self.venue, names)
        streams = {name: StreamName.parse(name) for name in names}
        for stream in streams.values():
            if stream.symbol:
                self._check(stream.symbol.upper())
        return {
            name: self._addresses.ws + self._rules.route_of(own.kind) + self._query for name, own in streams.items()
        }

    def _check(self, symbol: str) -> None:
        if f"{symbol}.{self.venue}" not in self.listed:
            raise InstrumentError(refusal_of(self.venue, symbol, self.listed))

    def _be_silent(self, names: Iterable[str], reason: str, epoch: int, *, lost: bool = False) -> None:
        """Note that streams are subscribed, and nothing has come yet."""
        for name in self._states.change(names, "SILENT", reason, epoch, lost=lost):
            # What came over the last connection says nothing about this one.
            self._liveness.forget(name)

    def _look_at(self, name: str) -> Callable[[bytes], None] | None:
        look = self._snapshots.looking_at(name)
        if look is None and self._backfill is not None:
            look = self._backfill.looking_at(name)
        self._looking[name] = look
        return look

    def _push_snapshot(self, symbol: str, body: bytes) -> None:
        self._push_frame(snapshot_frame(symbol, body))

    def _push_frame(self, message: bytes) -> None:
        if self._push is None:
            return
        # Without ``max``, whose call takes 1,200 instructions.
        now_ns = time.time_ns()
        if now_ns > self._last_ns:
            self._last_ns = now_ns
        if not self._push(Frame(self._last_ns, message)):
            self._lines.hold()
            asyncio.get_running_loop().call_later(HELD_S, self._lines.release)


def _refuse_wrong_names(**lists: Sequence[str]) -> None:
    for option, names in lists.items():
        if isinstance(names, str):
            refuse(option, names, "a list of texts")
        for name in names:
            of_type(option, name, str)


def _names_of(symbols: Iterable[str], streams: Iterable[str]) -> list[str]:
    """Return the names of streams: those of each symbol, then those of all symbols, which begin with "!"."""
    wanted = dict.fromkeys(streams)
    of_each = [f"{symbol.lower()}@{own}" for symbol in symbols for own in wanted if not own.startswith("!")]
    return of_each + [own for own in wanted if own.startswith("!")]
