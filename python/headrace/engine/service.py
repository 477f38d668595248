"""Service: something that runs beside the strategies as long as the engine does, and is looked after.

::

    setup() ─▶ run() until it returns or stop() is called ─▶ stop()        health() and metrics() at any time

What happens when run() raises
    live, it is started again by its policy, after 0.5 s, then twice as long each time, at most 30 s; in a replay its
    error ends the run.

Guarantees: ``stop`` is called once for each ``setup``, however ``run`` ended.
Does not: restart anything; that is the engine's supervisor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import msgspec

from headrace.errors import OptionError
from headrace.market.checks import mistaken_for, of_type, one_of
from headrace.market.clock import Mode
from headrace.market.user_functions import generator_problem, unfinished_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.bus import EventBus
    from headrace.market.clock import Clock, ModeName

__all__ = ["RestartPolicy", "Service", "ServiceContext", "ServiceProtocol", "ServiceReport", "check_service"]

RestartPolicy: TypeAlias = Literal["always", "on_failure", "never"]

# The methods of a service: those that are awaited, and those that answer at once.
AWAITED = ("setup", "run", "stop")
AT_ONCE = ("health", "metrics")


class ServiceReport(msgspec.Struct, frozen=True, kw_only=True):
    """A service of a run. health : "ok", "ended", or what is wrong. restarts : starts after the first."""

    health: str
    restarts: int
    metrics: Mapping[str, float]

    @property
    def measured(self) -> str:
        """Its metrics as a text."""
        return ", ".join(f"{name} {value:,.6g}" for name, value in self.metrics.items())


class ServiceContext:
    """What an engine provides to a service: its bus, its clock, the run's id, and its mode.

    In any mode but "live" a service has no effects outside of the engine.
    """

    __slots__ = ("bus", "clock", "mode", "run_id")

    def __init__(self, *, bus: EventBus, clock: Clock, run_id: str, mode: ModeName) -> None:
        self.bus = bus
        self.clock = clock
        self.run_id = run_id
        self.mode = Mode(mode)


@runtime_checkable
class ServiceProtocol(Protocol):
    """What the engine asks of a service."""

    @property
    def name(self) -> str:
        """Unique in an engine."""

    @property
    def restart(self) -> RestartPolicy:
        """When it is started again: "always" also when ``run`` returned, "on_failure" when it raised, or "never"."""

    async def setup(self, context: ServiceContext) -> None:
        """Get ready: open what it needs, subscribe. Raises what makes that impossible, which ends the engine."""

    async def run(self) -> None:
        """Work until there is no more to do, or until ``stop``."""

    async def stop(self) -> None:
        """End soon, and close what ``setup`` opened. May be called twice."""

    def health(self) -> str:
        """Return "ok", or what is wrong."""

    def metrics(self) -> Mapping[str, float]:
        """Return numbers by name."""


class Service:
    """A service that does nothing: subclass it and write what it does."""

    restart: ClassVar[RestartPolicy] = "on_failure"

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    async def setup(self, context: ServiceContext) -> None:
        """Get ready."""

    async def run(self) -> None:
        """Work."""

    async def stop(self) -> None:
        """End."""

    def health(self) -> str:
        """Return "ok", or what is wrong."""
        return "ok"

    def metrics(self) -> Mapping[str, float]:
        """Return numbers by name."""
        return {}


def check_service(service: ServiceProtocol) -> None:
    """Refuse what is no service, and a service of which a method would not run. Raises OptionError."""
    kind = type(service).__name__
    if isinstance(service, type):
        msg = f"services has the class {service.__name__}: pass an object of it, {service.__name__}(...)"
        raise OptionError(msg, option="services")
    lacks = [name for name in ("name", "restart", *AWAITED, *AT_ONCE) if not hasattr(service, name)]
    if lacks:
        msg = f"services has {service!r:.100}, which is no service: it lacks {', '.join(lacks)}; subclass Service"
        raise OptionError(msg, option="services")
    of_type(f"{kind}.name", service.name, str)
    if not service.name:
        msg = f"{kind}.name is empty: give each service a name of its own"
        raise OptionError(msg, option="name")
    one_of(f"restart of service {service.name}", service.restart, get_args(RestartPolicy))
    problems = [
        *(generator_problem(f"{kind}.{name}", getattr(service, name)) for name in AWAITED),
        *(unfinished_problem(f"{kind}.{name}", getattr(service, name)) for name in AT_ONCE),
        *_misspelt(service),
    ]
    for msg in filter(None, problems):
        raise OptionError(msg, option="services")


def _misspelt(service: ServiceProtocol) -> Iterator[str]:
    """Yield a problem for each method with nearly the name of one that the service inherits, and does not write."""
    inherited = [name for name in (*AWAITED, *AT_ONCE) if getattr(type(service), name, None) is vars(Service)[name]]
    for name in dir(type(service)):
        meant = mistaken_for(name, inherited)
        if meant and not hasattr(Service, name) and callable(getattr(type(service), name)):
            yield f"{type(service).__name__}.{name} is never called: did you mean {meant}? rename one of them"
