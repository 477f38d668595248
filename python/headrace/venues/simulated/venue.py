"""SimulatedVenue: a server on loopback that plays recordings as a venue would send them, with faults on demand.

::

    Timeline ─▶ clock ─▶ market ─▶ FaultPlan ─▶ connections (WebSocket)
                           └─────▶ RestApi: book, instruments, orders

What happens when a client is slow
    With ``speed="max"`` the clock waits for the slowest client, and stands while there is no subscription. At a finite
    speed a client that leaves 64 MiB unread is cut.

Guarantees: the clock starts at the first subscription, so that a client misses nothing; one process may run several.
Does not: listen anywhere but on 127.0.0.1, or touch the network.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

import msgspec
from aiohttp import web

from headrace.errors import InstrumentError
from headrace.feeds.given import feeds_of
from headrace.market.checks import nearest, number, of_type, refuse
from headrace.venues.binance.rules import rules_of
from headrace.venues.simulated.connection import Connection
from headrace.venues.simulated.derived import AllMarks
from headrace.venues.simulated.faults import Fault, FaultPlan, FaultScript, Sent
from headrace.venues.simulated.listening import Connects, Listening
from headrace.venues.simulated.listing import Listed
from headrace.venues.simulated.matching import FeeAsset
from headrace.venues.simulated.rest import RestApi
from headrace.venues.simulated.timeline import Moment, Timeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from headrace.feeds.given import Source
    from headrace.market.money import Amount
    from headrace.venues.binance.rules import VenueRules

__all__ = ["SimulatedVenue", "VenueAddresses", "VenueStats"]

HOST = "127.0.0.1"
# Frames that are read ahead to list the symbols and the steps of their prices.
HEAD_MOMENTS = 2_000
# Frames between two looks at the clients, without a clock or behind it.
BURST = 64


class VenueAddresses(TypedDict):
    """Where one market listens. ws : what routes, ``/ws`` and ``/stream`` follow. rest : what ``/api/v3`` follows."""

    ws: str
    rest: str


class VenueStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue has done: frames due so far, clients now and in all, requests, faults by kind.

    unread : lines of the sources that hold no frame. has_ended : whether the last frame was due.
    """

    frames: int
    connections: int
    connected: int
    requests: int
    faults: dict[str, int]
    unread: int
    has_ended: bool


class _Market(NamedTuple):
    """One of Binance's markets."""

    rules: VenueRules
    listed: dict[str, Listed]
    rest: RestApi
    marks: AllMarks


class SimulatedVenue:
    """A venue for tests, demos and backtests of a whole gateway.

    sources : recordings (``"FILE@VENUE"``), ``SyntheticFeed`` or any feed of recorded lines.
    speed : seconds of the recording per second; "max" waits for nothing but the clients.
    faults : a FaultScript, its file, or Faults. limits : rules of the venue to change, such as
        ``{"ping_every_s": 0.5}``.
    credentials : API key and secret of the one account.
    fee_asset : a third asset that its fees are paid in, and its price in the quote currency, ``("BNB", "600")``.
    clock_offset_s : how far the venue's clock is ahead.
    port : 0 takes a free one.

    An asynchronous context manager. Raises OptionError, also for a port that is taken, and what the sources raise.
    """

    def __init__(
        self,
        *sources: Source,
        speed: float | Literal["max"] = "max",
        faults: FaultScript | str | os.PathLike[str] | Iterable[Fault] = (),
        limits: Mapping[str, float] | None = None,
        credentials: tuple[str, str] = ("test-key", "test-secret"),
        fee_asset: tuple[str, Amount] | None = None,
        clock_offset_s: float = 0.0,
        port: int = 0,
    ) -> None:
        if speed != "max" and not 0 < number("speed", speed) < math.inf:
            refuse("speed", speed, '"max", or a number above 0')
        of_type("port", port, int)
        self._speed, self._limits, self.port = speed, limits, port
        paid_in = None if fee_asset is None else FeeAsset.of(fee_asset)
        self._rest = partial(RestApi, credentials=credentials, fee_asset=paid_in, clock_offset_s=clock_offset_s)
        self._timeline = Timeline(feeds_of(list(sources)))
        if isinstance(faults, str | os.PathLike):
            faults = FaultScript.load(faults)
        self._plan = FaultPlan(faults if isinstance(faults, FaultScript) else FaultScript.of(faults))
        self._markets: dict[str, _Market] = {}
        self._connections: set[Connection] = set()
        self._connects = Connects()
        self._connected = self._frames = 0
        # By venue and symbol: the kinds of streams that have a subscription.
        self._wanted: dict[tuple[str, str], set[str]] = {}
        self._started, self._has_clients = asyncio.Event(), asyncio.Event()
        self._first_ns: int | None = None
        self._last: Moment | None = None
        self._started_at = 0.0
        self._moments: AsyncIterator[Moment] | None = None
        self._head: deque[Moment] = deque()
        self._runner: web.AppRunner | None = None
        self._listening = Listening(HOST)
        self._player: asyncio.Task[None] | None = None
        self._restart: tuple[asyncio.Task[None], int] | None = None

    @property
    def addresses(self) -> dict[str, VenueAddresses]:
        """Where each market listens: the options ``url=`` and ``rest_url=`` of a feed."""
        base = f"{HOST}:{self.port}"
        return {
            venue: VenueAddresses(ws=f"ws://{base}/{venue}", rest=f"http://{base}/{venue}") for venue in self._markets
        }

    @property
    def instruments(self) -> list[str]:
        """The names of what is listed so far."""
        return [f"{symbol}.{venue}" for venue, market in self._markets.items() for symbol in market.listed]

    @property
    def subscriptions(self) -> list[list[str]]:
        """The names of the streams that each open connection is subscribed to."""
        return [connection.names for connection in self._connections]

    def stats(self) -> VenueStats:
        """Return what it has done."""
        requests = sum(market.rest.requests for market in self._markets.values())
        return VenueStats(
            frames=self._frames,
            connections=len(self._connections),
            connected=self._connected,
            requests=requests,
            faults=dict(self._plan.counts),
            unread=self._timeline.unread,
            has_ended=self._player is not None and self._player.done(),
        )

    def start(self) -> None:
        """Start the clock; the first subscription does, too."""
        if not self._started.is_set():
            self._started_at = time.monotonic()
            self._started.set()

    def inject(self, fault: Fault) -> None:
        """Let a fault of connections or of REST begin now; a fault of frames begins at its frame, counted from now."""
        if not self._plan.add(fault):
            self._begin(fault, self._last)

    async def ended(self) -> None:
        """Wait until the last frame is due. Raises what the sources raise."""
        assert self._player is not None
        await self._player

    def set_book(
        self, instrument: str, last: int, bids: Iterable[tuple[str, str]], asks: Iterable[tuple[str, str]]
    ) -> None:
        """Give an instrument a book: a recording without a snapshot has none. Raises InstrumentError.

        last : update id. bids, asks : price and size as text, the best first; resting orders fill against the best.
        """
        market = self._find(instrument).market
        self._markets[market.venue].rest.set_book(market, last, list(bids), list(asks))

    def set_status(self, instrument: str, status: str) -> None:
        """List an instrument with another status, like "HALT"; "BREAK" ends its orders. Raises InstrumentError."""
        listed = self._find(instrument)
        self._markets[listed.market.venue].rest.set_status(listed, status)

    def _find(self, instrument: str) -> Listed:
        symbol, _, venue = instrument.rpartition(".")
        market = self._markets.get(venue)
        if market is None or symbol not in market.listed:
            msg = f"{instrument} is not listed{nearest(instrument, self.instruments)}"
            raise InstrumentError(msg)
        return market.listed[symbol]

    async def __aenter__(self) -> Self:
        """Open the sources and listen."""
        try:
            await self._open()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _open(self) -> None:
        await self._timeline.open()
        self._moments = aiter(self._timeline)
        while len(self._head) < HEAD_MOMENTS and (moment := await anext(self._moments, None)) is not None:
            self._head.append(moment)
            self._listed(moment).market.measure(moment)
        app = web.Application(client_max_size=1 << 20)
        app.router.add_get("/{venue}{route:(/public|/market|/private)?}/ws{names:(/.*)?}", self._serve)
        app.router.add_get("/{venue}{route:(/public|/market|/private)?}/stream", self._serve)
        for market in self._markets.values():
            market.rest.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self.port = await self._listening.open(self._runner, self.port)
        self._player = asyncio.create_task(self._play(), name="simulated-venue")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut every connection, close the port and the sources."""
        restart = None if self._restart is None else self._restart[0]
        tasks = [task for task in (self._player, restart) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._listening.close()
        self._cut_all()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._timeline.close()

    def _listed(self, moment: Moment) -> Listed:
        market = self._markets.get(moment.venue)
        if market is None:
            rules = rules_of(moment.venue, self._limits)
            listed: dict[str, Listed] = {}
            own = _Market(rules, listed, self._rest(rules, listed), AllMarks(moment.venue))
            market = self._markets[moment.venue] = own
        if moment.symbol not in market.listed:
            market.listed[moment.symbol] = Listed(moment.venue, moment.symbol)
        return market.listed[moment.symbol]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        market = self._markets.get(request.match_info["venue"])
        if market is None:
            raise web.HTTPNotFound(text="no such venue")
        rules = market.rules
        if not self._connects.lets_in(rules):
            raise web.HTTPTooManyRequests(text="too many connections")
        combined = request.path.endswith("/stream")
        listing = request.query.get("streams", "") if combined else request.match_info["names"].strip("/")
        in_us = rules.venue == "BINANCE" and request.query.get("timeUnit", "").upper() == "MICROSECOND"
        connection = Connection(
            rules, request.match_info["route"], combined=combined, in_us=in_us, on_change=self._subscriptions_changed
        )
        self._connections.add(connection)
        self._connected += 1
        try:
            return await connection.serve(request, [name for name in listing.split("/") if name])
        finally:
            self._connections.discard(connection)
            self._subscriptions_changed()

    def _subscriptions_changed(self) -> None:
        self._wanted = {}
        for connection in self._connections:
            for symbol, kind in connection.streams:
                self._wanted.setdefault((connection.rules.venue, symbol), set()).add(kind)
        if self._wanted:
            self._has_clients.set()
            self.start()
        else:
            self._has_clients.clear()

    async def _play(self) -> None:
        await self._started.wait()
        assert self._moments is not None
        while self._head:
            await self._perform(self._head.popleft())
        async for moment in self._moments:
            await self._perform(moment)
        for sent in self._plan.rest():
            self._offer(sent)

    async def _perform(self, moment: Moment) -> None:
        """Wait until a moment is due, then let it happen."""
        if self._first_ns is None:
            self._first_ns = moment.ts_init
        elapsed_s = (moment.ts_init - self._first_ns) / 1e9
        if self._speed == "max":
            await self._has_clients.wait()
            if self._frames % BURST == 0:
                await asyncio.sleep(0)
                for connection in list(self._connections):
                    await connection.room()
            if self._restart is not None and moment.ts_init > self._restart[1]:
                await self._restart[0]
        elif (wait_s := self._started_at + elapsed_s / self._speed - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        elif self._frames % BURST == 0:
            # It is behind: clients in the same loop have their turns all the same.
            await asyncio.sleep(0)
        self._happen(moment, elapsed_s)

    def _happen(self, moment: Moment, elapsed_s: float) -> None:
        self._frames, self._last = self._frames + 1, moment
        listed, rest = self._listed(moment), self._markets[moment.venue].rest
        event = listed.market.take(moment)
        listed.keep(moment)
        rest.orders.after(listed.market, event, rest.ms())
        if moment.kind == "snapshot":
            return
        frames, begun = self._plan.frames(moment, elapsed_s)
        listed.update_offset = self._plan.update_offset(moment.symbol)
        for fault in begun:
            self._begin(fault, moment)
        for sent in frames:
            self._offer(sent)
        for made in listed.derived.after(moment.ts_init, event, self._wanted.get(_stream_of(moment), ())):
            self._offer(Sent(made))
        if (moment.venue, "") in self._wanted:
            all_derived = [own.derived for own in self._markets[moment.venue].listed.values()]
            if (marks := self._markets[moment.venue].marks.at(moment.ts_init, all_derived)) is not None:
                self._offer(Sent(marks))

    def _offer(self, sent: Sent) -> None:
        moment = sent.moment
        venue, symbol = _stream_of(moment)
        if moment.kind in self._wanted.get((venue, symbol), ()):
            for connection in list(self._connections):
                if connection.rules.venue == venue:
                    connection.offer(symbol, moment.kind, moment.data, sent.how)

    def _begin(self, fault: Fault, moment: Moment | None) -> None:
        """Let a fault of connections or of REST begin; moment : the newest, None before the first."""
        now_ns = 0 if moment is None else moment.ts_init
        match fault.kind:
            case "stall":
                for connection in self._connections:
                    connection.hold(fault.for_s)
            case "shutdown":
                for connection in self._connections:
                    connection.announce_shutdown(now_ns // 1_000_000)
                    asyncio.get_running_loop().call_later(fault.for_s, connection.abort)
            case "restart":
                before = None if self._restart is None else self._restart[0]
                restarting = asyncio.create_task(self._restarted(fault.for_s, before))
                self._restart = restarting, now_ns + round(fault.for_s * 1e9)
            case _:
                for market in self._markets.values():
                    market.rest.begin(fault)

    async def _restarted(self, after_s: float, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            # It listens again before it stops again.
            await before
        await self._listening.close()
        self._cut_all()
        await asyncio.sleep(after_s)
        assert self._runner is not None
        self.port = await self._listening.open(self._runner, self.port)

    def _cut_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()


def _stream_of(moment: Moment) -> tuple[str, str]:
    return moment.venue, moment.symbol.lower()
