"""Flattening: closing a position once the orders that could still change it are over.

::

    begin ─▶ waits for the open orders ─▶ due: a reduce_only market order for what is held then, or nothing

Guarantees: one closing order per strategy and instrument at a time; its id is fixed from the beginning.
Does not: cancel or send; that is the manager's part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from headrace.trading.orders.request import request_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.market.events import Cause, OrderRequested
    from headrace.trading.orders.table import OrderTable
    from headrace.trading.positions import Positions

__all__ = ["Flattenings"]


class _Flattening(NamedTuple):
    """The order that will close, and those that have to be over before."""

    order_id: str
    waits_for: frozenset[str]
    cause: Cause | None


class Flattenings:
    """Those that were begun and are not done, by strategy and instrument."""

    def __init__(self, table: OrderTable, positions: Positions) -> None:
        self._table = table
        self._positions = positions
        self.begun: dict[tuple[str, str], _Flattening] = {}

    def begin(self, strategy: str | None, instrument: str | None, cause: Cause | None) -> list[str]:
        """Begin where something is held or open, and return the ids of the closing orders; one begun before counts."""
        pairs = {
            (position.strategy, position.instrument): None
            for position in self._positions.positions(strategy=strategy, instrument=instrument)
            if not position.is_flat
        }
        open_orders = self._table.select(strategy, instrument, open_only=True)
        pairs.update(((order.strategy, order.instrument), None) for order in open_orders)
        for pair in pairs:
            if pair not in self.begun:
                waits_for = frozenset(order.order_id for order in self._table.select(*pair, open_only=True))
                self.begun[pair] = _Flattening(self._table.new_id(pair[0]), waits_for, cause)
        return [self.begun[pair].order_id for pair in pairs]

    def due(self, now_ns: int, run_id: str) -> Iterator[OrderRequested]:
        """Yield the closing orders that need not wait any longer; each is done when the iteration goes on."""
        for (strategy, instrument), flattening in list(self.begun.items()):
            if any(self._is_open(order_id) for order_id in flattening.waits_for):
                continue
            held = self._positions.held(strategy, instrument).quantity
            if held:
                side: Literal[1, -1] = -1 if held > 0 else 1
                request = request_of(strategy, instrument, side, held.copy_abs(), {"reduce_only": True}, now_ns)
                yield msgspec.structs.replace(
                    request, run_id=run_id, cause=flattening.cause, order_id=flattening.order_id
                )
            del self.begun[strategy, instrument]

    def _is_open(self, order_id: str) -> bool:
        order = self._table.get(order_id)
        return order is not None and order.is_open
