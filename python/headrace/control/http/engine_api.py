"""EngineApi: what of an engine is served over HTTP: its state as documents, read when they are asked for.

::

    GET /v1/ status · strategies · subscriptions · routes · lanes · books/{instrument} · orders · positions · account
             dead-letters · audit · config                  GET /metrics

Guarantees: reading changes nothing; amounts are strings, times are RFC 3339 and ns; lists come in pages, by a cursor.
Does not: keep anything; the parts of the engine do.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from litestar import Request, Response, get
from litestar.params import FromPath, PathParameter, QueryParameter

from headrace.bus import AuditSink
from headrace.control.http.book_view import BookView, book_view
from headrace.control.http.pages import After, Limit, audit_page, page_of
from headrace.control.http.problems import ProblemError
from headrace.control.http.stream_api import stream_handlers
from headrace.control.http.views import (
    AccountView,
    LaneView,
    OrderView,
    Page,
    PositionView,
    RouteView,
    StatusView,
    StrategyView,
    SubscriptionView,
    account_view,
    lane_views,
    order_view,
    position_views,
    status_view,
    strategy_view,
    subscription_views,
)
from headrace.control.letters import letter_document, letter_summary
from headrace.control.observation import observe
from headrace.errors import InstrumentError, OptionError
from headrace.limits import HTTP_BOOK_LEVELS_MAX
from headrace.market.checks import nearest_name
from headrace.market.dead_letters import LetterKind
from headrace.telemetry.prometheus import exposition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from headrace.bus import EventBus
    from headrace.commands import CommandBus
    from headrace.control.stream.service import StreamService
    from headrace.engine.engine import Engine
    from headrace.gateway import Gateway

__all__ = ["EngineApi"]

OfStrategy: TypeAlias = Annotated[str | None, QueryParameter(description="only of this strategy")]
OfInstrument: TypeAlias = Annotated[str | None, QueryParameter(description="only of this instrument, SYMBOL.VENUE")]
LetterId: TypeAlias = Annotated[int, PathParameter(ge=1, le=(1 << 53) - 1, description="the letter's id")]


class EngineApi:
    """An engine, served; made before the engine runs.

    config : as plain tables, with secrets masked. gateway : None: there is none. stream : what ``observe`` returned;
    None: the engine is observed from here on.
    """

    title = "Headrace engine"

    def __init__(
        self,
        engine: Engine,
        *,
        config: Mapping[str, Any] | None = None,
        gateway: Gateway | None = None,
        stream: StreamService | None = None,
    ) -> None:
        self._engine = engine
        self._config = dict(config or {})
        self._gateway = gateway
        self.stream = observe(engine, gateway=gateway) if stream is None else stream

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def events(self) -> EventBus:
        """Where audits are published."""
        return self._engine.bus

    @property
    def commands(self) -> CommandBus:
        """The engine's commands."""
        return self._engine.commands

    def problems(self) -> Iterator[str]:
        """Yield why the engine is not ready."""
        if self._engine.is_stopping:
            yield "the engine is stopping"
        for name, health in self._engine.services.health().items():
            if health != "ok":
                yield f"service {name}: {health}"

    def handlers(self, stopping: asyncio.Event) -> list[HTTPRouteHandler]:
        """Return the handlers of the engine's documents, and of its stream."""
        self.stream.end_clients_with(stopping)
        own = (*self._of_engine(), *self._of_ticks(), *self._of_trading(), *self._of_letters())
        return [*own, *stream_handlers(self.stream)]

    def _of_engine(self) -> list[HTTPRouteHandler]:
        engine, config = self._engine, self._config

        @get("/v1/status", tags=["engine"], summary="What runs, and how it is")
        async def status() -> StatusView:
            return status_view(engine)

        @get("/v1/config", tags=["engine"], summary="The configuration, with secrets masked")
        async def configuration() -> dict[str, Any]:
            return config

        @get("/metrics", tags=["engine"], summary="Every metric, as Prometheus reads it", media_type="text/plain")
        async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
            body, content_type = await exposition(engine.metrics, request.headers.get("accept", ""))
            return Response(body, headers={"content-type": content_type})

        @get("/v1/audit", tags=["engine"], summary="The events of the run, in their order")
        async def audit(
            limit: Limit = 100,
            after: After = None,
            event_type: Annotated[
                str | None, QueryParameter(name="type", description="only events of this type")
            ] = None,
            contains: Annotated[
                str | None, QueryParameter(description="only events with each of these words in them, in whatever case")
            ] = None,
        ) -> Page[dict[str, Any]]:
            sink = engine.audit
            if not isinstance(sink, AuditSink):
                detail = "this engine writes no audit file: set audit of [engine], or run it with --audit FILE"
                raise ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail)
            sink.flush()
            return await asyncio.to_thread(audit_page, sink.path, after, limit, event_type, contains)

        return [status, configuration, metrics, audit]

    def _of_ticks(self) -> list[HTTPRouteHandler]:
        engine, gateway = self._engine, self._gateway

        @get("/v1/strategies", tags=["ticks"], summary="The strategies: their ticks, and their trading")
        async def strategies(limit: Limit = 100, after: After = None) -> Page[StrategyView]:
            views = [strategy_view(own) for own in engine.report(with_metrics=False).strategies.values()]
            return page_of(views, lambda own: own.name, after, limit)

        @get("/v1/strategies/{name:str}", tags=["ticks"], summary="One strategy")
        async def strategy(name: FromPath[str]) -> StrategyView:
            found = engine.report(with_metrics=False).strategies.get(name)
            if found is None:
                raise _unknown("strategy", name, engine.strategies)
            return strategy_view(found)

        @get("/v1/subscriptions", tags=["ticks"], summary="The subscriptions, with what became of their ticks")
        async def subscriptions(limit: Limit = 100, after: After = None) -> Page[SubscriptionView]:
            return page_of(subscription_views(engine), lambda own: own.name, after, limit)

        @get("/v1/routes", tags=["ticks"], summary="The routes of the gateway")
        async def routes(limit: Limit = 100, after: After = None) -> Page[RouteView]:
            rows = {} if gateway is None else gateway.commands.rows()
            views = []
            for name, row in rows.items():
                kind, _, instrument = name.partition(" ")
                views.append(RouteView(type=kind, instrument=instrument, **row))
            return page_of(views, lambda own: f"{own.type} {own.instrument}", after, limit)

        @get("/v1/lanes", tags=["ticks"], summary="The lanes of the event bus")
        async def lanes() -> Page[LaneView]:
            return Page(items=lane_views(engine))

        @get("/v1/books/{instrument:str}", tags=["ticks"], summary="The book of one instrument: its best levels")
        async def book(
            instrument: FromPath[str],
            levels: Annotated[
                int, QueryParameter(ge=1, le=HTTP_BOOK_LEVELS_MAX, description="of each side, at most so many")
            ] = 20,
        ) -> BookView:
            return book_view(engine.dispatcher.books, instrument, levels)

        return [strategies, strategy, subscriptions, routes, lanes, book]

    def _of_trading(self) -> list[HTTPRouteHandler]:
        engine = self._engine

        @get("/v1/orders", tags=["trading"], summary="The orders that are kept, oldest first")
        async def orders(
            limit: Limit = 100,
            after: After = None,
            strategy: OfStrategy = None,
            instrument: OfInstrument = None,
            open_only: Annotated[bool, QueryParameter(description="only orders that have not ended")] = False,  # noqa: FBT002
        ) -> Page[OrderView]:
            try:
                found = engine.orders.orders(strategy=strategy, instrument=instrument, open_only=open_only)
            except (InstrumentError, OptionError) as error:
                field = "instrument" if isinstance(error, InstrumentError) else "strategy"
                raise _wrong(field, error) from error
            part = page_of(found, lambda own: own.order_id, after, limit)
            return Page(items=[order_view(own) for own in part.items], next=part.next)

        @get("/v1/orders/{order_id:str}", tags=["trading"], summary="One order")
        async def order(order_id: FromPath[str]) -> OrderView:
            found = engine.orders.order(order_id)
            if found is None:
                detail = f"no order {order_id[:200]} is kept: GET /v1/orders lists what is"
                raise ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail)
            return order_view(found)

        @get("/v1/positions", tags=["trading"], summary="What the strategies hold")
        async def positions(limit: Limit = 100, after: After = None, strategy: OfStrategy = None) -> Page[PositionView]:
            try:
                views = position_views(engine, strategy)
            except OptionError as error:
                raise _wrong("strategy", error) from error
            return page_of(views, lambda own: f"{own.strategy} {own.instrument}", after, limit)

        @get("/v1/account", tags=["trading"], summary="Cash, profit and fees, by currency")
        async def account() -> AccountView:
            return account_view(engine)

        return [orders, order, positions, account]

    def _of_letters(self) -> list[HTTPRouteHandler]:
        letters = self._engine.dead_letters

        @get("/v1/dead-letters", tags=["dead letters"], summary="What was refused or failed, oldest first")
        async def dead_letters(
            limit: Limit = 100,
            after: Annotated[
                int, QueryParameter(ge=0, le=(1 << 53) - 1, description="the id of the last one seen")
            ] = 0,
            kind: Annotated[LetterKind | None, QueryParameter(description="only of this kind")] = None,
        ) -> Page[dict[str, Any]]:
            found = [own for own in letters.list(kind=kind) if own.id > after]
            part = [letter_summary(own) for own in found[:limit]]
            return Page(items=part, next=str(part[-1]["id"]) if len(found) > limit else None)

        @get("/v1/dead-letters/{letter_id:int}", tags=["dead letters"], summary="One, with all that it holds")
        async def dead_letter(letter_id: LetterId) -> dict[str, Any]:
            found = letters.get(letter_id)
            if found is None:
                detail = f"no dead letter {letter_id} is kept: GET /v1/dead-letters lists what is"
                raise ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail)
            return letter_document(found)

        return [dead_letters, dead_letter]


def _unknown(what: str, name: str, known: Mapping[str, object]) -> ProblemError:
    close = nearest_name(name[:100], known)
    hint = f"did you mean {close}? " if close else ""
    detail = f"no {what} is called {name[:100]}: {hint}there are {', '.join(known) or 'none'}"
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail, nearest=close)


def _wrong(field: str, error: Exception) -> ProblemError:
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", str(error)[:1_000], field=field)
