"""Flattening: closing a position once the orders that could still change it are over.

::

    begin ─▶ waits for the open orders ─▶ due: a reduce_only market order for what is held then, or nothing

What happens when an order does not end, because its broker does not answer
    after FLATTEN_S the closing order is due all the same, and ``overdue`` is called with the orders that it waited for.
    The gates let it close only what these orders can not close themselves.

Guarantees: one closing order per strategy and instrument at a time; its id is fixed from the beginning.
Does not: cancel or send; that is the manager's part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from headrace.limits import FLATTEN_S
from headrace.trading.orders.request import identify, request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.market.events import Cause, OrderRequested
    from headrace.trading.orders.order import Order
    from headrace.trading.orders.table import OrderTable
    from headrace.trading.positions import Positions

__all__ = ["Flattenings", "Overdue"]

WAIT_NS = int(FLATTEN_S * 1e9)


class _Flattening(NamedTuple):
    """The order that will close, those that have to be over before, and until when it waits for them, ns."""

    order_id: str
    waits_for: tuple[str, ...]
    until_ns: int
    cause: Cause | None


class Overdue(NamedTuple):
    """A flatten whose time is over, and the orders that have not ended."""

    strategy: str
    instrument: str
    open_orders: list[Order]
    cause: Cause | None


class Flattenings:
    """Those that were begun and are not done, by strategy and instrument.

    call_at : has ``due`` asked at a time of the clock; gets a name, which a later call may use again, and the time, ns.
    """

    def __init__(
        self,
        table: OrderTable,
        positions: Positions,
        call_at: Callable[[str, int], None],
        overdue: Callable[[Overdue], None],
    ) -> None:
        self._table = table
        self._positions = positions
        self._call_at = call_at
        self._overdue = overdue
        self.begun: dict[tuple[str, str], _Flattening] = {}

    def begin(self, strategy: str | None, instrument: str | None, cause: Cause | None, now_ns: int) -> list[str]:
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
                waits_for = tuple(order.order_id for order in self._table.select(*pair, open_only=True))
                until_ns = now_ns + WAIT_NS
                self.begun[pair] = _Flattening(self._table.new_id(pair[0]), waits_for, until_ns, cause)
                if waits_for:
                    self._call_at(f"flatten {pair[0]} {pair[1]}", until_ns)
        return [self.begun[pair].order_id for pair in pairs]

    def due(self, now_ns: int, run_id: str) -> Iterator[OrderRequested]:
        """Yield the closing orders that need not wait any longer; each is done when the iteration goes on."""
        for (strategy, instrument), flattening in list(self.begun.items()):
            still_open = [order for order_id in flattening.waits_for if (order := self._open(order_id)) is not None]
            if still_open and now_ns < flattening.until_ns:
                continue
            held = self._positions.held(strategy, instrument).quantity
            if held:
                side: Literal[1, -1] = -1 if held > 0 else 1
                request = request_of(strategy, instrument, side, held.copy_abs(), {"reduce_only": True}, now_ns)
                identify(request, flattening.order_id, run_id, flattening.cause)
                yield request
            del self.begun[strategy, instrument]
            if still_open:
                self._overdue(Overdue(strategy, instrument, still_open, flattening.cause))

    def _open(self, order_id: str) -> Order | None:
        order = self._table.get(order_id)
        return order if order is not None and order.is_open else None
