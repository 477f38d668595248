"""HttpServer: the service that serves the control API over HTTP, in the engine's own loop.

::

    socket ─▶ Listener (how many) ─▶ BoundedProtocol (deadlines) ─▶ Guard (who, what, how large) ─▶ framework ─▶
              handlers ─▶ CommandBus, parts

What happens when the engine ends
    Nothing more is accepted; idle connections are closed; requests and streams have 0.5 s; then they are cut off.

Guarantees: no signal handler is touched; no client delays the engine's end; in a replay nothing listens.
Does not: run on a thread of its own: a handler reads the engine's parts between two turns.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headrace.control.http.answer_store import AnswerStore
from headrace.control.http.application import application
from headrace.control.http.audit import HttpAudit
from headrace.control.http.command_calls import CommandCalls
from headrace.control.http.guard import Guard
from headrace.control.http.listener import Listener, listening
from headrace.control.http.pace import Pace
from headrace.control.http.rates import ClientRates
from headrace.control.http.route_table import route_table
from headrace.control.settings import address_of, is_loopback
from headrace.control.tokens import read_tokens
from headrace.engine.service import Service
from headrace.errors import ControlError, MissingExtraError
from headrace.limits import DRAIN_RUNNING_S
from headrace.market.clock import Mode
from headrace.trading.state_folder import checked_folder, state_folder

try:
    from headrace.control.http.protocol import BoundedProtocol, Open
except ImportError as error:
    msg = 'the control API needs a server: pip install "headrace[http]"'
    raise MissingExtraError(msg) from error

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping

    from litestar.handlers import HTTPRouteHandler

    from headrace.bus import EventBus
    from headrace.commands import CommandBus
    from headrace.control.settings import HttpSettings
    from headrace.engine.service import ServiceContext

__all__ = ["HttpServer", "Served", "token_path"]

log = logging.getLogger(__name__)


class Served(Protocol):
    """What a server serves: an engine, or a worker of recommendations.

    name : of files, logs and documents. title : of the API's document.
    """

    @property
    def name(self) -> str:
        """The engine's or worker's name."""

    @property
    def title(self) -> str:
        """What it is."""

    @property
    def events(self) -> EventBus | None:
        """Where audits are published; None: they stand in the log."""

    @property
    def commands(self) -> CommandBus:
        """Where commands go."""

    def handlers(self, stopping: asyncio.Event) -> Iterable[HTTPRouteHandler]:
        """Return the handlers of its own. stopping : set when the server ends; a stream ends with it.

        A handler whose ``opt`` has ``is_open=True`` needs no token.
        """

    def problems(self) -> Iterable[str]:
        """Yield why it is not ready; nothing: it is."""


class HttpServer(Service):
    """Serves one engine or worker.

    folder : the state folder, for the token file and the answers; the user's own unless given. rates : how many
    requests of one client are let in, in place of the usual.
    """

    def __init__(
        self,
        served: Served,
        settings: HttpSettings,
        *,
        folder: str | Path | None = None,
        rates: ClientRates | None = None,
    ) -> None:
        self._served = served
        self._settings = settings
        self._folder = None if folder is None else Path(folder)
        self._rates = ClientRates() if rates is None else rates
        self._open = Open()
        self._listener: Listener | None = None
        self._pace: Pace | None = None
        self._guard: Guard | None = None
        self._answers: AnswerStore | None = None
        self._stopping = asyncio.Event()

    @property
    def name(self) -> str:
        """What reports call it."""
        return "http"

    @property
    def url(self) -> str:
        """Where it listens; empty when it does not."""
        if self._listener is None:
            return ""
        host, port = self._listener.address
        return f"{self._scheme}://{_in_brackets(host)}:{port}"

    @property
    def _scheme(self) -> str:
        return "https" if self._settings.has_tls else "http"

    async def setup(self, context: ServiceContext) -> None:
        """Listen. Raises ControlError: the address is taken, or tokens, certificate or answers cannot be read."""
        if context.mode is not Mode.LIVE:
            return
        folder = state_folder() if self._folder is None else checked_folder(self._folder)
        path = token_path(self._settings, folder)
        tokens, is_made = read_tokens(path)
        tls = self._tls()
        self._stopping.clear()
        self._answers = AnswerStore(folder / f"{self._served.name}.http.sqlite")
        audit = HttpAudit(self._served.events)
        calls = CommandCalls(self._served.commands, self._answers, audit)
        app = application(self._served, calls, self._stopping, engines=self._settings.engines)
        sockets = await self._sockets()
        bound = sockets[0].getsockname()[:2]
        guard = self._guard = Guard(
            app,
            routes=route_table(app),
            tokens=tokens,
            hosts=self._hosts(*bound),
            origins=self._origins(*bound),
            refused_login=audit.refused_login,
            rates=self._rates,
        )
        pace = self._pace = Pace(asyncio.get_running_loop())
        self._listener = Listener(sockets, lambda: BoundedProtocol(self._open, guard, pace), pace, tls)
        if is_made:
            log.info("a token for the control API was made: %s", path)
        log.info("the control API is at %s", self.url)

    async def _sockets(self) -> list[socket.socket]:
        try:
            return await listening(*address_of(self._settings.listen))
        except OSError as error:
            self._close_answers()
            advice = "choose another listen of [control.http], port 0 for a free one"
            msg = f"the control API cannot listen at {self._settings.listen} ({error.strerror or error}): {advice}"
            raise ControlError(msg) from error

    async def run(self) -> None:
        """Serve until stopped."""
        await self._stopping.wait()

    async def stop(self) -> None:
        """Accept nothing more, give what runs half a second, and close every connection."""
        self._stopping.set()
        listener, self._listener = self._listener, None
        if listener is None or self._pace is None:
            return
        listener.close()
        for connection in list(self._open.connections):
            connection.shutdown()
        if self._open.tasks:
            await asyncio.wait(self._open.tasks, timeout=DRAIN_RUNNING_S)
        for task in list(self._open.tasks):
            task.cancel()
        if self._open.tasks:
            await asyncio.wait(self._open.tasks, timeout=DRAIN_RUNNING_S)
        for connection in list(self._open.connections):
            connection.end()
        self._pace.close()
        await asyncio.sleep(0)
        self._close_answers()

    def metrics(self) -> Mapping[str, float]:
        """Return how many requests there were, refused and failed ones among them, and open connections."""
        counts = {} if self._guard is None else self._guard.counts
        return {**counts, "open": len(self._open.connections)}

    def _close_answers(self) -> None:
        if self._answers is not None:
            self._answers.close()
            self._answers = None

    def _hosts(self, bound: str, port: int) -> set[str]:
        """Return the values of the Host header that mean this server. bound, port : where it listens."""
        host, _ = address_of(self._settings.listen)
        names = {host, bound, *(("localhost", "127.0.0.1") if is_loopback(bound) else ())}
        return {f"{_in_brackets(name)}:{port}" for name in names} | set(self._settings.hosts)

    def _origins(self, bound: str, port: int) -> set[str]:
        return {f"{self._scheme}://{host}" for host in self._hosts(bound, port)} | set(self._settings.origins)

    def _tls(self) -> ssl.SSLContext | None:
        certificate, key = self._settings.tls_certificate, self._settings.tls_key
        if certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            msg = f"the certificate {certificate} and its key cannot be used ({error.strerror or error})"
            raise ControlError(f"{msg}: give tls_certificate and tls_key as PEM files that belong together") from error
        return context


def token_path(settings: HttpSettings, folder: Path) -> Path:
    """Return the token file of a server with this state folder."""
    return folder / "http.token" if settings.token_file is None else Path(settings.token_file)


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host
