"""Tails: the newest fills, order events, audited changes and log lines of an engine.

Guarantees: an event costs its publisher an append; it becomes plain values when a client takes it. A log line that
cannot be shown is shown as the error that it made.
Does not: keep a history; the audit does.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from headrace.control.plain import plain, plain_whole
from headrace.control.stream.board import Tail
from headrace.limits import STREAM_TAIL_MAX
from headrace.market.events import Audit, Control, Event, Gap, OrderEvent, OrderFill, Status, StrategyStateChanged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.bus import BusSubscription, EventBus

__all__ = ["Tails"]

# What an operator's page shows as the story of the run.
AUDITED = (Audit, Control, StrategyStateChanged, Status, Gap)
LOGGER = "headrace"
# Loggers of strategies are below it, by name.
STRATEGY_LOGGER = "headrace.strategies.strategy."
LINE_CHARACTERS_MAX = 2_000


class Tails:
    """The tails of one engine, by name: fills, orders, audit, log."""

    def __init__(self, capacity: int = STREAM_TAIL_MAX) -> None:
        self.fills = Tail(capacity, _event)
        self.orders = Tail(capacity, _event)
        self.audit = Tail(capacity, _event)
        self.log = Tail(capacity)
        self._subscriptions: list[BusSubscription] = []
        self._handler = _TailHandler(self.log)

    @property
    def by_name(self) -> Mapping[str, Tail]:
        """All of them."""
        return {"fills": self.fills, "orders": self.orders, "audit": self.audit, "log": self.log}

    def open(self, bus: EventBus) -> None:
        """Follow a bus, and the log."""
        self.follow(bus)
        logging.getLogger(LOGGER).addHandler(self._handler)

    def follow(self, bus: EventBus) -> None:
        """Follow a bus; called on its thread."""
        self._subscriptions += [
            bus.subscribe(OrderFill, self.fills.add, name="stream fills"),
            bus.subscribe(OrderEvent, self.orders.add, name="stream orders"),
            bus.subscribe(AUDITED, self.audit.add, name="stream audit"),
        ]

    def close(self) -> None:
        """Follow no more. May be called twice."""
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions = []
        logging.getLogger(LOGGER).removeHandler(self._handler)


class _TailHandler(logging.Handler):
    """Adds log records to a tail; called in any thread."""

    def __init__(self, tail: Tail) -> None:
        super().__init__(logging.INFO)
        self._tail = tail

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record."""
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a strategy's own arguments
            message = f"{record.msg!r} ({type(error).__name__} while it was written)"
        name = record.name
        self._tail.add(
            {
                "ts_ns": plain_whole(int(record.created * 1e9)),
                "level": record.levelname,
                "logger": name,
                "strategy": name.removeprefix(STRATEGY_LOGGER) if name.startswith(STRATEGY_LOGGER) else "",
                "message": message[:LINE_CHARACTERS_MAX],
            }
        )


def _event(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = plain(event)
    shown["ts_ns"] = shown.pop("ts")
    del shown["run_id"]
    return shown
