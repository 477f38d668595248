"""Views: the documents of the control API, each made from an engine's parts by one function.

Guarantees: amounts are Decimals, which JSON gets as strings; a time is text in UTC (``at``) and ns as a string
(``at_ns``), since a browser would round the number.
Does not: change or keep anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headrace.control.http.encoding import rfc3339

if TYPE_CHECKING:
    from headrace.engine.engine import Engine

__all__ = ["StatusView", "status_view"]


class StrategyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy in the status."""

    state: str
    version: int
    pending: int
    missed: int
    open_orders: list[str]
    fills: int
    positions: dict[str, str]
    realized_pnl: dict[str, str]


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """What runs, and how it is."""

    engine: str
    run_id: str
    mode: str
    now: str
    now_ns: str
    halted: bool
    stopping: bool
    ticks: int
    dead_letters: int
    lanes: dict[str, int]
    services: dict[str, str]
    strategies: dict[str, StrategyStatus]


def status_view(engine: Engine) -> StatusView:
    """Return the status of an engine, as its Status command answers it."""
    status: dict[str, Any] = engine.status()
    now_ns = status["now_ns"]
    given = {**status, "mode": str(engine.mode), "now": rfc3339(now_ns), "now_ns": str(now_ns)}
    return msgspec.convert(given, StatusView)
