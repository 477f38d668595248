"""Observation: the state of an engine, its stream, its history and its alerts, wired to each other.

::

    EngineState + AlertService.sections ─▶ StreamService ─ once a second ─▶ AlertService.look

Guarantees: both are services of the engine; alerts are judged whether anybody looks or not.
Does not: serve or send anything itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.control.alerts import AlertService, AlertsSettings
from headrace.control.stream.engine_state import EngineState
from headrace.control.stream.service import StreamService

if TYPE_CHECKING:
    from headrace.control.stream.board import Document
    from headrace.engine.engine import Engine
    from headrace.gateway.gateway import Gateway

__all__ = ["observe"]


def observe(engine: Engine, *, gateway: Gateway | None = None, alerts: AlertsSettings | None = None) -> StreamService:
    """Observe an engine, before it runs, and return its stream.

    gateway : of the engine, if it has one. alerts : what is watched; None: the usual rules, told to the log.
    Raises ControlError: the secret of a webhook cannot be read.
    """
    state = EngineState(engine, gateway=gateway)
    watch = AlertService(
        AlertsSettings() if alerts is None else alerts,
        engine=engine.name,
        metrics=engine.metrics.snapshot,
    )

    def read() -> Document:
        return {**state.read(), **watch.sections()}

    stream = StreamService(read)
    stream.on_sample.append(watch.look)
    watch.register(engine.commands)
    engine.services.add(watch)
    engine.services.add(stream)
    return stream
