"""Supervisor: runs an engine's services, and starts those again that fail.

::

    setup() of each ─▶ run() in a task each ─┬▶ returned: done (restart="always": again)
                                             └▶ raised: live, again after 0.5 s, 1 s, … 30 s; replay: the run ends
    stop() of each, last one first           a run of 30 s or more begins with 0.5 s again

Guarantees: ``stop`` is called for every service whose ``setup`` was; one service that fails stops no other; every
start, failure and end is a Status event and a line in the log.
Does not: know what services do.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn, SupportsFloat

from headrace.dispatch.faults import error_text
from headrace.engine.builtin_services import BuiltinService
from headrace.engine.service import ServiceReport, check_service
from headrace.errors import EngineError, ServiceError
from headrace.limits import DRAIN_RUNNING_S, RESTART_FIRST_S, RESTART_MAX_S
from headrace.market.clock import Mode
from headrace.market.events import Event, Status
from headrace.market.user_errors import is_requested, problem_of
from headrace.market.user_functions import refuse_generator, refuse_unfinished
from headrace.market.user_waits import bounded_s, returned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.engine.service import ServiceContext, ServiceProtocol

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)


class Supervisor:
    """Looks after the services of one engine.

    publish : publishes an event, now or when there is room. builtin : listed and measured beside them, and never run.
    """

    def __init__(
        self,
        services: Iterable[ServiceProtocol],
        context: ServiceContext,
        publish: Callable[[Event], None],
        builtin: Iterable[BuiltinService] = (),
    ) -> None:
        self._services: list[ServiceProtocol] = []
        self._builtin = list(builtin)
        self._context = context
        self._publish = publish
        self._set_up: list[ServiceProtocol] = []
        # In the ``setup`` of a restart: stopped when that is over.
        self._setting_up: list[ServiceProtocol] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        # Starts after the first, by service.
        self.restarts: dict[str, int] = dict.fromkeys((own.name for own in self._builtin), 0)
        # Calls of health() and metrics() that raised, or returned what is none, by service.
        self.faults: dict[str, int] = dict(self.restarts)
        for service in services:
            self.add(service)

    def add(self, service: ServiceProtocol) -> None:
        """Look after one more; before the engine runs. Raises OptionError, and EngineError: its name is taken."""
        check_service(service)
        if service.name in self.restarts:
            msg = f"service name {service.name!r} is taken: every service of an engine has a name of its own"
            raise EngineError(msg)
        self._services.append(service)
        self.restarts[service.name] = self.faults[service.name] = 0

    async def setup(self) -> None:
        """Set every service up, in order. What one raises ends the engine before it began."""
        for service in self._services:
            self._set_up.append(service)
            try:
                await _called(service, "setup", self._context)
            except BaseException as error:
                if problem := problem_of(error, f"in {_where(service, 'setup')}"):
                    raise ServiceError(problem, service=service.name) from error
                raise

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Run each in a task of its own, and return when each has begun, before the first tick."""
        for service in self._services:
            self._tasks[service.name] = group.create_task(self._look_after(service), name=f"headrace-{service.name}")
        # Its task has the first turn, and the call of ``run`` in it the second.
        for _ in range(2 if self._services else 0):
            await asyncio.sleep(0)

    async def stop(self, within_s: float) -> None:
        """Ask every service to leave, last one first, give them half a second, and cancel who stays.

        within_s : how long the ``stop`` of one may take.
        """
        self._stopping.set()
        await self._stop_each([service for service in self._set_up if service not in self._setting_up], within_s)
        running = [task for task in self._tasks.values() if not task.done()]
        if running:
            limit_s = bounded_s(DRAIN_RUNNING_S)
            _, late = await asyncio.wait(running, timeout=limit_s)
            for task in late:
                log.warning("%s still ran %.1f s after it was stopped: cancelled", task.get_name(), limit_s)
                task.cancel()
            if late:
                # They wait for a service, which they leave behind when it does not end.
                await asyncio.wait(late)
        await self._stop_each(self._set_up, within_s)

    async def _stop_each(self, services: Iterable[ServiceProtocol], within_s: float) -> None:
        """Stop services, last one first; once for each ``setup``."""
        for service in reversed(list(services)):
            self._set_up.remove(service)
            try:
                await _called(service, "stop", within_s=within_s)
            except BaseException as error:
                if is_requested(error):
                    raise
                log.exception("service %s failed to stop", service.name)

    def health(self) -> Mapping[str, str]:
        """Return what each service says of itself; one that ended says so."""
        return {service.name: self._health_of(service) for service in self._listed}

    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """Return what each service measures; nothing of one that cannot say."""
        return {service.name: self._metrics_of(service) for service in self._listed}

    def report(self, *, with_metrics: bool = True) -> dict[str, ServiceReport]:
        """Return what is to be said of each service, the built-in ones first. with_metrics : ask each for its own."""
        metrics = self.metrics() if with_metrics else {}
        return {
            name: ServiceReport(health=health, restarts=self.restarts[name], metrics=metrics.get(name, {}))
            for name, health in self.health().items()
        }

    @property
    def _listed(self) -> list[ServiceProtocol | BuiltinService]:
        return [*self._builtin, *self._services]

    def _metrics_of(self, service: ServiceProtocol | BuiltinService) -> Mapping[str, float]:
        try:
            return _numbers(refuse_unfinished(service.metrics(), "here: return a dict of numbers by name"))
        except BaseException as error:  # noqa: BLE001 - as in `_health_of`
            self._contain(service, "metrics", error)
            return {}

    def _contain(self, service: ServiceProtocol | BuiltinService, method: str, error: BaseException) -> None:
        """Count what a service's method raised, and log the first."""
        if is_requested(error):
            raise error
        self.faults[service.name] += 1
        if self.faults[service.name] == 1:
            log.error("%s failed; more like this are counted", _where(service, method), exc_info=error)

    def _health_of(self, service: ServiceProtocol | BuiltinService) -> str:
        task = self._tasks.get(service.name)
        if task is not None and task.done():
            return "ended"
        try:
            health = refuse_unfinished(service.health(), 'here: return "ok", or what is wrong')
            if not isinstance(health, str):
                _refuse(health, '"ok", or a text of what is wrong')
        except BaseException as error:  # noqa: BLE001 - a service that cannot say how it is, is not well
            self._contain(service, "health", error)
            return f"health() raised {error_text(error)}"
        return health

    async def _look_after(self, service: ServiceProtocol) -> None:
        wait_s, again = RESTART_FIRST_S, False
        while True:
            began_s = time.monotonic()
            error = await self._run_once(service, again=again)
            if time.monotonic() - began_s >= RESTART_MAX_S:
                # It was well for a while: what failed now is something new.
                wait_s = RESTART_FIRST_S
            again = True
            if error is None:
                self._say(service, "ended")
            elif self._context.mode is not Mode.LIVE:
                msg = f"service {service.name} failed: {type(error).__name__}: {error}"
                raise ServiceError(msg, service=service.name) from error
            else:
                log.error("service %s failed", service.name, exc_info=error)
                self._say(service, "failed", f"{type(error).__name__}: {error}")
            wants_more = service.restart == "always" or (error is not None and service.restart == "on_failure")
            if not wants_more or await self._is_stopped_within(wait_s):
                return
            wait_s = min(2 * wait_s, RESTART_MAX_S)
            self.restarts[service.name] += 1

    async def _run_once(self, service: ServiceProtocol, *, again: bool) -> BaseException | None:
        """Run a service to its end, set up anew when it ran before; return what it raised."""
        try:
            if again and not await self._is_set_up_anew(service):
                return None
            self._say(service, "running")
            await _called(service, "run")
        except BaseException as error:
            if is_requested(error):
                raise
            # Judged by the loop that looks after it: a service's SystemExit, too, is its own.
            return error
        return None

    async def _is_set_up_anew(self, service: ServiceProtocol) -> bool:
        """Stop a service and set it up again; False: the engine stops meanwhile, and then stops it."""
        if service in self._set_up:
            self._set_up.remove(service)
            await _called(service, "stop")
        if self._stopping.is_set():
            return False
        self._set_up.append(service)
        self._setting_up.append(service)
        try:
            await _called(service, "setup", self._context)
        finally:
            self._setting_up.remove(service)
        return not self._stopping.is_set()

    async def _is_stopped_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _say(self, service: ServiceProtocol, state: str, reason: str = "") -> None:
        log.info("service %s: %s%s", service.name, state, f" ({reason})" if reason else "")
        self._publish(
            Status(
                source="engine",
                ts=self._context.clock.now_ns(),
                run_id=self._context.run_id,
                subject=service.name,
                state=state,
                reason=reason,
            )
        )


def _numbers(values: object) -> dict[str, float]:
    """Return a service's metrics, checked, so that they can be written down."""
    if not isinstance(values, Mapping):
        _refuse(values, "a dict of numbers by name")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, SupportsFloat):
            _refuse({name: value}, "a dict of numbers by name")
        name.encode()  # A lone surrogate cannot be written.
    return {name: float(value) for name, value in values.items()}


def _refuse(returned: object, wanted: str) -> NoReturn:
    msg = f"it returned {returned!r:.100}: return {wanted}"
    raise TypeError(msg)


async def _called(service: ServiceProtocol, method: str, *arguments: object, within_s: float | None = None) -> None:
    """Await a method of a service.

    Raises what it raises, TypeError when there is nothing to await, and TimeoutError after ``within_s``.
    """
    awaitable = getattr(service, method)(*arguments)
    if not inspect.isawaitable(refuse_generator(awaitable)):
        msg = f"{type(service).__name__}.{method} returned {awaitable!r:.100}: write async def {method}"
        raise TypeError(msg)
    refuse_generator(await returned(awaitable, _where(service, method), within_s))


def _where(service: ServiceProtocol | BuiltinService, method: str) -> str:
    part = service.part if isinstance(service, BuiltinService) else service
    return f"{type(part).__name__}.{method} of service {service.name}"
