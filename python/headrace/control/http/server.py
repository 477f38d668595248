"""HttpServer: the service that serves the control API over HTTP, in the engine's own loop.

::

    socket ─▶ BoundedProtocol (deadlines) ─▶ Guard (who, what, how large) ─▶ framework ─▶ handlers ─▶ CommandBus, parts

What happens when the engine ends
    Nothing more is accepted; idle connections are closed; requests and streams have 0.5 s; then they are cut off.

Guarantees: no signal handler is touched; no client delays the engine's end; in a replay nothing listens.
Does not: run on a thread of its own: a handler reads the engine's parts between two turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headrace.control.http.answer_store import AnswerStore
from headrace.control.http.application import application
from headrace.control.http.audit import HttpAudit
from headrace.control.http.command_calls import CommandCalls
from headrace.control.http.guard import Guard
from headrace.control.http.rates import ClientRates
from headrace.control.http.route_table import route_table
from headrace.control.settings import address_of, is_loopback
from headrace.control.tokens import read_tokens
from headrace.engine.service import Service
from headrace.errors import ControlError, MissingExtraError
from headrace.limits import DRAIN_RUNNING_S, HTTP_HEAD_BYTES_MAX, HTTP_IDLE_S
from headrace.market.clock import Mode
from headrace.trading.state_folder import checked_folder, state_folder

try:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from headrace.control.http.protocol import BoundedProtocol
except ImportError as error:
    msg = 'the control API needs a server: pip install "headrace[http]"'
    raise MissingExtraError(msg) from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from litestar.handlers import HTTPRouteHandler

    from headrace.bus import EventBus
    from headrace.commands import CommandBus
    from headrace.control.http.exchange import Message, Receive, Send
    from headrace.control.settings import HttpSettings
    from headrace.engine.service import ServiceContext

__all__ = ["HttpServer", "Served", "token_path"]

log = logging.getLogger(__name__)

BACKLOG = 256


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
        self._state = ServerState()
        self._server: asyncio.Server | None = None
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
        if self._server is None:
            return ""
        host, port = self._server.sockets[0].getsockname()[:2]
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
        app = application(self._served, calls, self._stopping)
        listener = await self._listen(tls)
        self._guard = Guard(
            app,
            routes=route_table(app),
            tokens=tokens,
            hosts=self._hosts(listener),
            origins=self._origins(listener),
            refused_login=audit.refused_login,
            rates=self._rates,
        )
        self._server = listener
        if is_made:
            log.info("a token for the control API was made: %s", path)
        log.info("the control API is at %s", self.url)

    async def _listen(self, tls: ssl.SSLContext | None) -> asyncio.Server:
        host, port = address_of(self._settings.listen)
        config = Config(
            self._admit,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            proxy_headers=False,
            h11_max_incomplete_event_size=HTTP_HEAD_BYTES_MAX,
            timeout_keep_alive=int(HTTP_IDLE_S),
        )
        config.load()
        try:
            return await asyncio.get_running_loop().create_server(
                lambda: BoundedProtocol(config=config, server_state=self._state, app_state={}),
                host,
                port,
                ssl=tls,
                backlog=BACKLOG,
            )
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
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in list(self._state.connections):
            # In the middle of a request it cannot say that it closes; it is cut off below.
            with contextlib.suppress(Exception):
                connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=DRAIN_RUNNING_S)
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=DRAIN_RUNNING_S)
        for connection in list(self._state.connections):
            assert isinstance(connection, BoundedProtocol)
            connection.end()
        await asyncio.sleep(0)
        self._close_answers()

    def metrics(self) -> Mapping[str, float]:
        """Return how many requests there were, refused and failed ones among them, and open connections."""
        counts = {} if self._guard is None else self._guard.counts
        return {**counts, "open": len(self._state.connections)}

    async def _admit(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request to the guard, which is made when the port is known."""
        assert self._guard is not None
        await self._guard(scope, receive, send)

    def _close_answers(self) -> None:
        if self._answers is not None:
            self._answers.close()
            self._answers = None

    def _hosts(self, listener: asyncio.Server) -> set[str]:
        """Return the values of the Host header that mean this server."""
        host, _ = address_of(self._settings.listen)
        bound, port = listener.sockets[0].getsockname()[:2]
        names = {host, bound, *(("localhost", "127.0.0.1") if is_loopback(bound) else ())}
        return {f"{_in_brackets(name)}:{port}" for name in names} | set(self._settings.hosts)

    def _origins(self, listener: asyncio.Server) -> set[str]:
        return {f"{self._scheme}://{host}" for host in self._hosts(listener)} | set(self._settings.origins)

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
