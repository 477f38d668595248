"""ExecutionApi: workers of recommendations, served over HTTP: what waits, what was done, and the operator's controls.

::

    GET /v1/ status · recommendations · executions · runs · pauses · stream     POST /v1/commands/pause-claims …

Guarantees: each control is on record in the database, with the actor of the token and the reason; the loop waits for no
database: each request has a connection of its own, on a thread.
Does not: execute, or change what a worker has claimed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from contextlib import closing, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from litestar import get
from litestar.params import QueryParameter

from headrace.commands import Command, CommandBus, Halt, Outcome, Rearm, current_submission
from headrace.control.http.pages import After, Limit, no_cursor
from headrace.control.http.stream_api import stream_handlers
from headrace.control.http.views import Page, View
from headrace.control.stream.relay import Relay
from headrace.control.stream.worker_state import WorkerState
from headrace.engine.service import Service
from headrace.errors import HeadraceError
from headrace.execution import claims
from headrace.execution.controls import Controls, pauses
from headrace.execution.reports import report_page
from headrace.execution.schema.migrating import check_version
from headrace.execution.values import time_of
from headrace.market.clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from litestar.handlers import HTTPRouteHandler

    from headrace.engine.service import ServiceContext
    from headrace.execution.controls import Scope
    from headrace.execution.database.base import Connection, Database
    from headrace.execution.workers import Workers
    from headrace.trading.kill_switch import KillSwitch

__all__ = ["ExecutionApi"]

Value = TypeVar("Value")

# How often the state is read for the stream; a command has it read at once.
LOOK_EVERY_S = 1.0
_RECOMMENDATIONS = """
SELECT id, ticker, action, confidence, status, attempts, priority, owner, failure_reason, MS(created_at),
    MS(processed_at) FROM dispatch_recommendations WHERE id > :after ORDER BY id LIMIT :limit
"""
# A cursor: ms since 1970, and the id of a row of that time.
ID_DIGITS_MAX = 15
_PLACE = re.compile(r"([0-9]{1,15})\.([0-9a-f-]{1,36})", re.ASCII)
_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, description="why; it stands on record")]
_Id = Annotated[int, msgspec.Meta(ge=1, le=(1 << 53) - 1, description="the recommendation's id")]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Until = Annotated[dt.datetime, msgspec.Meta(tz=True, description="a time like 2026-01-13T16:00:00Z")]


class _ClaimsCommand(Command, frozen=True, kw_only=True):
    reason: _Reason
    scope: Literal["all", "ticker", "action"] = "all"
    name: _Name | None = None

    def __post_init__(self) -> None:
        if (self.scope == "all") != (self.name is None):
            msg = f"scope {self.scope!r} with the name {self.name!r}: name the ticker or the action, and nothing of all"
            raise ValueError(msg)

    @property
    def target(self) -> str:
        return "claims"


class PauseClaims(_ClaimsCommand, frozen=True, kw_only=True):
    """Claim nothing any more: of everything, a ticker or an action."""

    verb = "pause-claims"

    until: _Until | None = None


class ResumeClaims(_ClaimsCommand, frozen=True, kw_only=True):
    """End a pause of the same ticker, action or everything."""

    verb = "resume-claims"


class _RecommendationCommand(Command, frozen=True, kw_only=True):
    recommendation_id: _Id
    reason: _Reason

    @property
    def target(self) -> str:
        return f"recommendation:{self.recommendation_id}"


class CancelRecommendation(_RecommendationCommand, frozen=True, kw_only=True):
    """End a PENDING recommendation as SKIPPED."""

    verb = "cancel-recommendation"


class EditRecommendation(_RecommendationCommand, frozen=True, kw_only=True):
    """Change a PENDING recommendation: ticker, action, confidence, reason, priority, not_before, expires_at."""

    verb = "edit-recommendation"

    values: Annotated[dict[str, Any], msgspec.Meta(min_length=1, description="new values by name")]


class RequeueRecommendation(_RecommendationCommand, frozen=True, kw_only=True):
    """Store a FAILED recommendation again, as a new one."""

    verb = "requeue-recommendation"


class ExecutionStatus(View, frozen=True, kw_only=True):
    """What waits, and what this process did. age_s : of the oldest PENDING recommendation."""

    owner: str
    halted: bool
    pending: int
    processing: int
    sent: int
    age_s: float
    counts: dict[str, Any]


class RecommendationView(View, frozen=True, kw_only=True):
    """One recommendation."""

    id: int
    ticker: str
    action: str
    confidence: Decimal
    status: str
    attempts: int
    priority: int
    owner: str | None
    failure_reason: str | None
    created_at: str
    processed_at: str | None


class ExecutionApi(Service):
    """Workers of one process, served; as a service it opens and closes their command bus and their stream.

    switch : the kill switch that they obey.
    """

    title = "Headrace execution"
    events = None

    def __init__(self, database: Database, workers: Workers, switch: KillSwitch, *, owner: str) -> None:
        self._database = database
        self._workers = workers
        self._switch = switch
        self._owner = owner
        self._state = WorkerState(database, workers, switch, owner=owner)
        self._relay = Relay(self._state.first())
        self._looking: asyncio.Task[None] | None = None
        # Set when the state is to be read before its time.
        self._wanted = asyncio.Event()
        self.commands = CommandBus(bus=None, clock=WallClock())
        for kind in (PauseClaims, ResumeClaims, CancelRecommendation, EditRecommendation, RequeueRecommendation):
            self.commands.register(kind, self._control)
        self.commands.register(Halt, self._halt)
        self.commands.register(Rearm, self._rearm)

    @property
    def name(self) -> str:
        """What files and reports call it."""
        return "execute"

    async def setup(self, context: ServiceContext) -> None:
        """Take commands, and begin to look."""
        await self.commands.start()
        await self._relay.setup(context)
        self._looking = asyncio.create_task(self._look(), name="headrace look at workers")

    async def stop(self) -> None:
        """Take no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._relay.stop()
        await self.commands.stop()

    async def _look(self) -> None:
        """Read the state at a pace, on a thread: the loop waits for no database."""
        while True:
            self._wanted.clear()
            self._relay.put(await asyncio.to_thread(self._state.read))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wanted.wait()

    def problems(self) -> Iterator[str]:
        """Yield why the workers are not ready."""
        if self._workers.is_stopped:
            yield "the workers are stopping"

    def handlers(self, stopping: asyncio.Event) -> list[HTTPRouteHandler]:
        """Return the handlers of the database's documents, and of the stream."""
        self._relay.stream.end_clients_with(stopping)

        @get("/v1/status", tags=["execution"], summary="What waits, and what this process did")
        async def status() -> ExecutionStatus:
            backlog = await self._ask(claims.backlog)
            counts = self._workers.counts.document()
            return ExecutionStatus(owner=self._owner, halted=self._switch.is_halted, counts=counts, **backlog._asdict())

        @get("/v1/recommendations", tags=["execution"], summary="The recommendations, oldest first")
        async def recommendations(
            limit: Limit = 100,
            after: Annotated[
                int, QueryParameter(ge=0, le=(1 << 53) - 1, description="the id of the last one seen")
            ] = 0,
        ) -> Page[RecommendationView]:
            values = {"after": after, "limit": limit + 1}
            rows = await self._ask(lambda connection: connection.rows(_RECOMMENDATIONS, values))
            views = [_recommendation(row) for row in rows]
            return Page(items=views[:limit], next=str(views[limit - 1].id) if len(views) > limit else None)

        @get("/v1/executions", tags=["execution"], summary="The ledger: one row for each execution")
        async def executions(limit: Limit = 100, after: After = None) -> Page[dict[str, Any]]:
            return await self._report("executions", after, limit)

        @get("/v1/runs", tags=["execution"], summary="The runs of workers")
        async def runs(limit: Limit = 100, after: After = None) -> Page[dict[str, Any]]:
            return await self._report("runs", after, limit)

        @get("/v1/pauses", tags=["execution"], summary="What is paused now")
        async def paused() -> Page[dict[str, Any]]:
            return Page(items=[own._asdict() for own in await self._ask(pauses)])

        return [status, recommendations, executions, runs, paused, *stream_handlers(self._relay.stream)]

    async def _report(self, name: Literal["executions", "runs"], after: str | None, limit: int) -> Page[dict[str, Any]]:
        place = None if after is None else _place(after, is_number=name == "executions")
        # One more than are shown: it says that there is a next page.
        columns, rows = await self._ask(lambda connection: report_page(connection, name, place, limit + 1))
        items = [_document(columns, row) for row in rows[:limit]]
        if len(rows) <= limit:
            return Page(items=items)
        own, ms, *_ = rows[limit - 1]
        return Page(items=items, next=f"{ms}.{own}")

    async def _ask(self, read: Callable[[Connection], Value]) -> Value:
        """Read from the database, on a thread and a connection of its own. Raises StoreError."""

        def work() -> Value:
            with closing(self._database.connect()) as connection:
                check_version(connection, complete=True)
                return read(connection)

        return await asyncio.to_thread(work)

    async def _control(self, command: Command) -> Outcome:
        assert isinstance(command, _ClaimsCommand | _RecommendationCommand)
        actor, reason = _actor(), command.reason
        try:
            detail = await self._ask(
                lambda connection: _applied(Controls(connection, actor=actor, reason=reason), command)
            )
        except HeadraceError as error:
            return Outcome("rejected", str(error))
        self._wanted.set()
        return Outcome("accepted", detail=detail)

    def _halt(self, command: Halt) -> Outcome:
        if not self._switch.halt(command.reason, _actor()):
            return Outcome("noop", f"it is halted already: {self._switch.reason}")
        self._wanted.set()
        return Outcome("accepted")

    def _rearm(self, command: Rearm) -> Outcome:
        if not self._switch.is_halted:
            return Outcome("noop", "it is not halted")
        self._switch.rearm(_actor(), command.reason)
        self._wanted.set()
        return Outcome("accepted")


def _place(after: str, *, is_number: bool) -> tuple[int, int | str]:
    """Return the time and the id that a cursor names. Raises ProblemError: it names none."""
    found = _PLACE.fullmatch(after)
    # SQLite takes no number beyond 2^63.
    if found is None or (is_number and not (found[2].isdecimal() and len(found[2]) <= ID_DIGITS_MAX)):
        raise no_cursor(after)
    return int(found[1]), int(found[2]) if is_number else found[2]


def _actor() -> str:
    call = current_submission()
    assert call is not None
    return call.actor


def _applied(controls: Controls, command: Command) -> dict[str, Any]:
    """Execute a command, and return the text of its answer. Raises RecommendationError, StoreError."""
    match command:
        case PauseClaims():
            until_ms = None if command.until is None else round(command.until.timestamp() * 1e3)
            controls.pause(*_scope(command), until_ms)
        case ResumeClaims():
            controls.resume(*_scope(command))
        case CancelRecommendation():
            controls.cancel(command.recommendation_id)
        case EditRecommendation():
            controls.edit(command.recommendation_id, command.values)
        case RequeueRecommendation():
            return {"recommendation_id": controls.requeue(command.recommendation_id)}
    return {}


def _scope(command: _ClaimsCommand) -> tuple[Scope, str]:
    return command.scope, "" if command.scope == "all" else command.name or ""


def _recommendation(row: tuple[Any, ...]) -> RecommendationView:
    number, ticker, action, confidence, status, attempts, priority, owner, failure, created, processed = row
    return RecommendationView(
        id=number,
        ticker=ticker,
        action=action,
        confidence=Decimal(str(confidence)),
        status=status,
        attempts=attempts,
        priority=priority,
        owner=owner,
        failure_reason=failure,
        created_at=_time(created),
        processed_at=None if processed is None else _time(processed),
    )


def _document(columns: tuple[str, ...], row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        name: _time(value) if name.endswith("_at") and value is not None else value
        for name, value in zip(columns, row, strict=True)
    }


def _time(ms: int) -> str:
    return time_of(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
