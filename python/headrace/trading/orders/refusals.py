"""Refusals: how often each gate, or the broker, refused a strategy's orders, with the first of each as an example.

Guarantees: the first refusal of a strategy by a gate is a WARNING in the log; later ones are counted.
Does not: refuse; it counts what was published.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.market.events import OrderRejected, OrderRequested

__all__ = ["Refusals", "Refused"]

log = logging.getLogger(__name__)


# Of a strategy. A broker that names each of its refusals anew fills no table without end.
GATES_MAX = 100
OTHERS = "others"


class Refused(NamedTuple):
    """How many orders of a strategy one gate refused. example : the first of them, and what to do about it."""

    times: int
    example: str


class Refusals:
    """All refusals of a run, by strategy and gate."""

    def __init__(self) -> None:
        self._by_strategy: dict[str, dict[str, Refused]] = {}

    def add(self, request: OrderRequested, rejected: OrderRejected) -> None:
        """Count the refusal of an order."""
        own = self._by_strategy.setdefault(request.strategy, {})
        gate = rejected.gate if rejected.gate in own or len(own) < GATES_MAX else OTHERS
        known = own.get(gate)
        if known is not None:
            own[gate] = Refused(known.times + 1, known.example)
            return
        side = "buy" if request.side > 0 else "sell"
        limit = "" if request.price is None else f" at {request.price}"
        if request.is_conditional:
            limit = f" {request.order_type} {request.trail_text or request.trigger_price}{limit}"
        reason = " ".join(str(rejected.reason).split("\n"))
        example = f"{side} {request.quantity} {request.instrument}{limit}: {reason}"
        own[gate] = Refused(1, example)
        log.warning("%s: gate %s refused order %s, %s", request.strategy, gate, request.order_id, example)

    def of(self, strategy: str) -> Mapping[str, Refused]:
        """Return the refusals of a strategy, by gate."""
        return dict(self._by_strategy.get(strategy, {}))
