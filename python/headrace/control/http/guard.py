"""Guard: lets a request pass to the framework, or refuses it, before anything of the framework runs.

::

    by the head, at once:   421 host ─▶ 403 origin ─▶ 429 rate ─▶ 401 token ─▶ 404 · 405 ─▶ 413 announced
    with the body, a task:  413 ─▶ 422 query ─▶ 415 ─▶ 422 key ─▶ framework

Guarantees: this order, on every path, unknown ones included; a body is read only behind all that can be judged without
it; each refused login is reported. Loopback alone does not stop a page of another site whose name is made to point
here, so hosts are compared before tokens, exactly, port included.
Does not: trust a forwarded header, or know what a path means.
"""

from __future__ import annotations

import logging
import re
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from headrace.control.http.exchange import JSON, shown
from headrace.control.http.problems import ProblemError
from headrace.market.checks import nearest_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from headrace.control.http.exchange import Exchange
    from headrace.control.http.rates import ClientRates
    from headrace.control.http.route_table import RouteEntry, RouteTable
    from headrace.control.tokens import Tokens

__all__ = ["Guard"]

log = logging.getLogger(__name__)

# With the actor's name before it, it is a key of the command bus. The OpenAPI document says the same.
KEY_CHARACTERS_MAX = 128
KEY_PATTERN = "^[!-~]+$"
VISIBLE_ASCII = re.compile(KEY_PATTERN.encode()).fullmatch
CORS_HEADERS = b"Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Command-Timeout"
CORS_SECONDS = b"600"


class Guard:
    """What stands before the framework.

    app : the framework's. routes : what there is. tokens : who may. hosts : allowed values of the Host header.
    origins : allowed values of the Origin header. refused_login : called for each request without a valid token.
    rates : of each client.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        routes: RouteTable,
        tokens: Tokens,
        hosts: Iterable[str],
        origins: Iterable[str],
        refused_login: Callable[[Exchange], None],
        rates: ClientRates,
    ) -> None:
        self._app = app
        self._routes = routes
        self._tokens = tokens
        self._hosts = frozenset(host.encode() for host in hosts)
        self._origins = frozenset(origin.encode() for origin in origins)
        self._refused_login = refused_login
        self._rates = rates
        self.counts = dict.fromkeys(("requests", "refused", "failed"), 0)

    def take(self, exchange: Exchange) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """Judge a request by its head, and answer it where that is enough.

        Returns what goes on with it, as its body comes; it raises nothing but a cancellation. None: it is answered.
        """
        self.counts["requests"] += 1
        try:
            entry = self._judged(exchange)
        except ProblemError as error:
            self._refuse(exchange, error)
        except Exception as error:  # noqa: BLE001 - it is logged, and answered
            self._fail(exchange, error)
        else:
            return None if entry is None else partial(self._go_on, exchange, entry)
        return None

    async def _go_on(self, exchange: Exchange, entry: RouteEntry) -> None:
        try:
            await exchange.read_body()
            self._check_query(exchange, entry)
            if exchange.method == "POST":
                self._check_media_type(exchange)
                exchange.key = self._checked_key(exchange)
            await self._app(exchange.scope(), exchange.receive, exchange.send)
        except ProblemError as error:
            self._refuse(exchange, error)
        except ConnectionError:
            log.debug("a client of the control API left during its request")
        except Exception as error:  # noqa: BLE001 - it is logged, and answered
            self._fail(exchange, error)

    def _refuse(self, exchange: Exchange, error: ProblemError) -> None:
        self.counts["refused"] += 1
        exchange.refuse(error)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        self.counts["failed"] += 1
        log.error("the control API failed on %s %s", exchange.method, shown(exchange.path), exc_info=error)
        if exchange.is_started:
            exchange.abort()
        else:
            detail = "an error of the engine's own: its log says which"
            exchange.refuse(ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail))

    def _judged(self, exchange: Exchange) -> RouteEntry | None:
        """Return the path that a request is for; None: it is answered already. Raises ProblemError."""
        self._check_host(exchange)
        origin = self._checked_origin(exchange)
        self._check_rate(exchange)
        if exchange.method == "OPTIONS" and origin and b"access-control-request-method" in exchange.headers:
            exchange.answer(HTTPStatus.NO_CONTENT, b"", headers=self._preflight())
            return None
        entry = self._routes.find(exchange.path)
        if entry is None or not entry.is_open:
            self._check_token(exchange)
        entry = self._checked_route(exchange, entry)
        exchange.check_announced()
        return entry

    def _check_host(self, exchange: Exchange) -> None:
        if (host := exchange.header(b"host")) not in self._hosts:
            what = "no host, or several" if host is None else f"the host {shown(host)}"
            detail = f"{what} in the request: this server is not it; name it in hosts of [control.http] if it is"
            raise ProblemError(HTTPStatus.MISDIRECTED_REQUEST, "host", detail, field="Host")

    def _checked_origin(self, exchange: Exchange) -> bytes | None:
        """Return the origin of the page that asks; None: there is none, as with a script."""
        values = exchange.headers.get(b"origin")
        if values is None:
            return None
        if len(values) != 1 or values[0] not in self._origins:
            detail = f"a page of {shown(values[0])} may not use this server: name it in origins of [control.http]"
            raise ProblemError(HTTPStatus.FORBIDDEN, "origin", detail, field="Origin")
        exchange.more += [
            (b"access-control-allow-origin", values[0]),
            (b"access-control-expose-headers", b"Idempotent-Replayed, Retry-After"),
            (b"vary", b"Origin"),
        ]
        return values[0]

    def _preflight(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", CORS_HEADERS),
            (b"access-control-max-age", CORS_SECONDS),
        ]

    def _check_rate(self, exchange: Exchange) -> None:
        if wait_s := self._rates.wait_s(exchange.address, time.monotonic()):
            headers = ((b"retry-after", b"%d" % (int(wait_s) + 1)),)
            detail = f"too many requests from {exchange.address}: wait {wait_s:.2g} s"
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, "rate", detail, headers=headers)

    def _check_token(self, exchange: Exchange) -> None:
        exchange.actor = self._tokens.find(exchange.header(b"authorization"))
        if exchange.actor is None:
            self._refused_login(exchange)
            detail = "no valid token: send the header Authorization: Bearer TOKEN, with a line of the token file"
            challenge = ((b"www-authenticate", b'Bearer realm="headrace"'),)
            raise ProblemError(HTTPStatus.UNAUTHORIZED, "token", detail, field="Authorization", headers=challenge)

    def _checked_route(self, exchange: Exchange, entry: RouteEntry | None) -> RouteEntry:
        if entry is None:
            close = nearest_name(exchange.path[:100], self._routes.paths)
            hint = f"did you mean {close}? " if close else ""
            detail = f"there is no {shown(exchange.path)}: {hint}/openapi.json lists what there is"
            raise ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail, nearest=close)
        if exchange.method not in entry.methods:
            allowed = ", ".join(sorted(entry.methods))
            detail = f"{shown(exchange.method)} is not possible at {entry.path}: use {allowed}"
            headers = ((b"allow", allowed.encode()),)
            raise ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, "method", detail, headers=headers)
        return entry

    def _check_query(self, exchange: Exchange, entry: RouteEntry) -> None:
        query = exchange.query
        for name in {own.partition(b"=")[0] for own in query.split(b"&") if own} if query else ():
            text = unquote_plus(name.decode("latin-1"))
            if text not in entry.query:
                close = nearest_name(text[:100], entry.query)
                hint = f"did you mean {close}? " if close else ""
                there = ", ".join(sorted(entry.query)) or "none"
                detail = f"{entry.path} has no parameter {shown(text)}: {hint}it has {there}"
                problem = ("invalid", detail)
                raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, *problem, field=shown(text), nearest=close)

    def _check_media_type(self, exchange: Exchange) -> None:
        given = exchange.header(b"content-type") or b""
        kind, _, parameters = given.partition(b";")
        charset = parameters.strip().lower().replace(b'"', b"")
        if kind.strip().lower() != JSON or charset not in (b"", b"charset=utf-8"):
            detail = f"the content type is {shown(given) or 'missing'}: send application/json"
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", detail, field="Content-Type")
        if b"content-encoding" in exchange.headers:
            detail = "the body is encoded: send it as it is"
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", detail, field="Content-Encoding")

    def _checked_key(self, exchange: Exchange) -> str | None:
        if b"idempotency-key" not in exchange.headers:
            return None  # A command that changes nothing needs none.
        key = exchange.header(b"idempotency-key") or b""
        if len(key) > KEY_CHARACTERS_MAX or not VISIBLE_ASCII(key):
            what = f"the Idempotency-Key has {len(key)} characters, or some that are not visible ASCII"
            detail = f"{what}: send one text of 1 to {KEY_CHARACTERS_MAX}, another one for each command"
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, field="Idempotency-Key")
        return key.decode("ascii")
