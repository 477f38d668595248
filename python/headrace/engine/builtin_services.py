"""BuiltinServices: the four parts of an engine that it calls directly, listed and measured beside its services.

::

    StrategyRunner       the runners of its strategies       runner=   [runner]
    RiskEngine           the gates of its orders             gates=    [gates]      judge(request) -> verdict
    ExecutionSimulator   its simulated broker                broker=   [broker]     "Execution" for a live one
    AuditRunner          the file of its events              audit=    [audit]

Guarantees: each is replaced at the place where it is called, so that no order or event makes another trip over the bus;
what replaces one is asked for ``health`` and ``metrics`` of its own, where it has these methods.
Does not: run or restart them: they live as long as the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from headrace.strategies.states import StrategyState
from headrace.trading.brokers import PaperBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.engine.parts import EngineParts

__all__ = ["BuiltinService", "builtin_services"]


class BuiltinService(NamedTuple):
    """A part in the list of services.

    part : the object that may have ``health`` and ``metrics`` of its own; None: many do the work, or the engine itself.
    measured : what the engine counts of it. problem : "ok", or what the engine sees is wrong.
    """

    name: str
    part: object
    measured: Callable[[], Mapping[str, float]]
    problem: Callable[[], str] = lambda: "ok"

    def health(self) -> str:
        """Return "ok", or what is wrong; what the engine sees comes first."""
        problem = self.problem()
        own = _method(self.part, "health")
        return problem if problem != "ok" or own is None else cast("str", own())

    def metrics(self) -> Mapping[str, float]:
        """Return what the engine counts, and the part's own numbers."""
        own = _method(self.part, "metrics")
        return self.measured() if own is None else {**self.measured(), **cast("Mapping[str, float]", own())}


def _method(part: object, name: str) -> Callable[[], object] | None:
    found = getattr(part, name, None)
    return found if callable(found) else None


def builtin_services(parts: EngineParts) -> Iterator[BuiltinService]:
    """Yield those that an engine has."""
    yield BuiltinService("StrategyRunner", None, lambda: _of_strategies(parts))
    yield BuiltinService("RiskEngine", parts.gates.risk_engine, lambda: _of_gates(parts))
    if parts.broker is not None:
        name = "ExecutionSimulator" if isinstance(parts.broker, PaperBroker) else "Execution"
        yield BuiltinService(name, parts.broker, lambda: _of_orders(parts))
    if parts.audit is not None:
        yield BuiltinService("AuditRunner", parts.audit, lambda: _of_audit(parts), lambda: _audit_problem(parts))


def _of_strategies(parts: EngineParts) -> dict[str, float]:
    runners = parts.strategies.values()
    return {
        "strategies": len(runners),
        "running": sum(own.state is StrategyState.RUNNING for own in runners),
        "quarantined": sum(own.state is StrategyState.QUARANTINED for own in runners),
        "calls": sum(own.calls for own in runners),
    }


def _of_gates(parts: EngineParts) -> dict[str, float]:
    counts = list(parts.gates.counts().values())
    return {"passed": counts[-1].passed, "refused": sum(own.refused for own in counts)}


def _of_orders(parts: EngineParts) -> dict[str, float]:
    stats = parts.orders.stats()
    return {"orders": stats.submitted - stats.rejected, "open": stats.open, "fills": stats.fills}


def _of_audit(parts: EngineParts) -> dict[str, float]:
    assert parts.audit is not None  # It is listed.
    stats = parts.audit.stats()
    return {"written": stats.written, "buffered": stats.buffered, "lost": stats.lost}


def _audit_problem(parts: EngineParts) -> str:
    assert parts.audit is not None  # It is listed.
    stats = parts.audit.stats()
    return f"failing: {stats.reason}" if stats.state == "failing" else "ok"
