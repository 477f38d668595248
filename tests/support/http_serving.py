"""A live engine with its control API, and a client that writes each byte of a request itself.

Guarantees: the engine, the server and the sockets are the real ones; nothing outlives the ``async with``.
Does not: hide a malformed answer: what cannot be read fails the test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from headrace import Engine
from headrace.bus import EventBus
from headrace.commands import Command, Outcome
from headrace.control import ControlServer
from headrace.control.http import EngineApi, HttpServer, token_path
from headrace.control.http.rates import ClientRates
from headrace.control.settings import HttpSettings
from headrace.feeds import ArrayFeed
from headrace.market.events import Audit
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.commanding import ACCEPTED
from tests.support.engines import INSTRUMENTS, LIMITS, Recorder, market

HEAD_END = b"\r\n\r\n"
# Every answer has them, whoever wrote it.
SECURITY_HEADERS = {
    *("cache-control", "content-security-policy", "cross-origin-resource-policy", "referrer-policy"),
    "x-content-type-options",
}
# Ten quotes a second, for longer than any test takes.
QUOTES = 6_000


class Answer(NamedTuple):
    """An answer as it came. headers : by name in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served(NamedTuple):
    """What a test talks to."""

    engine: Engine
    server: HttpServer
    token: str
    folder: Path
    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def headers(self, **more: str | None) -> dict[str, str]:
        """The headers of a good request; None removes one, and underscores stand for hyphens."""
        given = {"Host": self.host, "Authorization": f"Bearer {self.token}", "Connection": "close"}
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {name: value for name, value in {**given, **named}.items() if value is not None}

    async def get(self, path: str, **headers: str | None) -> Answer:
        return await self.ask("GET", path, self.headers(**headers))

    async def command(self, verb: str, key: str | None = None, *, body: bytes | None = None, **fields: Any) -> Answer:
        data = json.dumps(fields).encode() if body is None else body
        more = {} if key is None else {"Idempotency_Key": key}
        return await self.ask(
            "POST", f"/v1/commands/{verb}", self.headers(Content_Type="application/json", **more), data
        )

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        """Send one request over a connection of its own, and return the answer."""
        lines = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if body:
            lines.append(("Content-Length", str(len(body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        request = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
        return (await self.say(request, has_body=method != "HEAD"))[0]

    async def say(self, data: bytes, *, has_body: bool = True) -> list[Answer]:
        """Send bytes, and return every answer until the server closes. has_body : not those to HEAD."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            received = await reader.read()
        finally:
            writer.close()
        return answers_in(received, has_body=has_body)


def answers_in(data: bytes, *, has_body: bool = True) -> list[Answer]:
    """Return the answers in what a server sent: each with a Content-Length, a body of that length, and safe headers."""
    found = []
    while data:
        head, end, data = data.partition(HEAD_END)
        assert end, f"no whole head: {head[:200]!r}"
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert headers.keys() >= SECURITY_HEADERS, f"{status} without {SECURITY_HEADERS - headers.keys()}"
        assert "date" in headers
        assert "server" not in headers
        length = int(headers.get("content-length", 0)) if has_body else 0
        assert len(data) >= length
        found.append(Answer(int(status.split(" ")[1]), headers, data[:length]))
        data = data[length:]
    return found


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    own: Mapping[type[Command], Callable[..., Any]] | None = None,
    settings: HttpSettings | None = None,
    config: Mapping[str, Any] | None = None,
    rates: ClientRates | None = None,
    **options: Any,
) -> AsyncIterator[Served]:
    """A running engine, with two strategies and a simulated broker, and its server at a free port.

    own : handlers of commands of a test's own. config : what is shown of it. rates : of clients.
    options : of the engine, over the usual ones.
    """
    given: dict[str, Any] = {
        "feeds": [ArrayFeed(market([100.0] * QUOTES))],
        "strategies": {"one": Recorder(), "two": Recorder()},
        "broker": SimulatedBroker(),
        "instruments": INSTRUMENTS,
        "limits": LIMITS,
        "mode": "live",
        "name": "paper",
        "state_folder": str(folder),
        **options,
    }
    given["strategies"] = _named(given["strategies"])
    engine = Engine(**given)
    for kind, handler in (own or {}).items():
        engine.commands.register(kind, handler)
    server = HttpServer(
        EngineApi(engine, config=config), settings or HttpSettings(listen="127.0.0.1:0"), folder=folder, rates=rates
    )
    engine.services.add(server)
    # The local socket, too: what one answers, the other must.
    engine.services.add(
        ControlServer(engine.commands, engine=engine.name, dead_letters=engine.dead_letters, folder=folder)
    )
    async with engine:
        port = int(server.url.rpartition(":")[2])
        # Of several, each with its name, the last one.
        token = token_path(settings or HttpSettings(), folder).read_text().split()[-1]
        yield Served(engine, server, token, folder, port)


class Audits:
    """The audits of a bus, from now on."""

    def __init__(self, bus: EventBus) -> None:
        self.seen: list[Audit] = []
        self._more = asyncio.Event()
        bus.subscribe(Audit, self._take, name="test audits")

    async def until(self, count: int) -> list[Audit]:
        """Wait until so many have come, and return them."""
        async with asyncio.timeout(10):
            while len(self.seen) < count:
                self._more.clear()
                await self._more.wait()
        return self.seen

    def _take(self, audit: Audit) -> None:
        self.seen.append(audit)
        self._more.set()


def accept(_command: Command) -> Outcome:
    """A handler that accepts."""
    return ACCEPTED


def _named(strategies: Any) -> Any:
    from headrace import StrategySpec

    if not isinstance(strategies, dict):
        return strategies
    return [StrategySpec(strategy=own, name=name) for name, own in strategies.items()]
