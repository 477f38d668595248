"""Sizing: the quantity of the order that a signal becomes.

Guarantees: a sizing gets the signal, the position that it would change and the instrument, and returns a quantity.
Does not: decide the side, or send anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from headrace.errors import OrderError
from headrace.market.money import ZERO, decimal_of
from headrace.trading.orders.request import amount

if TYPE_CHECKING:
    from decimal import Decimal

    from headrace.market.events import Signal
    from headrace.market.instrument import Instrument
    from headrace.market.money import Amount
    from headrace.trading.positions import Position

__all__ = ["FixedQuantity", "Sizing", "sized"]


@runtime_checkable
class Sizing(Protocol):
    """Chooses how much to buy or sell on a signal."""

    def quantity(self, signal: Signal, position: Position, instrument: Instrument | None) -> Decimal | None:
        """Return the quantity, above 0; None: no order. ``instrument`` is None when it is unknown."""


class FixedQuantity:
    """The same quantity for every signal; one lot by default. Raises OrderError."""

    __slots__ = ("_quantity",)

    def __init__(self, quantity: Amount | None = None) -> None:
        self._quantity = None if quantity is None else amount("quantity", quantity)

    def quantity(self, signal: Signal, position: Position, instrument: Instrument | None) -> Decimal | None:  # noqa: ARG002 - the protocol's
        """Return it. Raises OrderError when it is one lot, and the instrument has no lot_size."""
        if self._quantity is not None:
            return self._quantity
        if instrument is None or instrument.lot_size is None:
            msg = (
                f"{signal.instrument} has no lot_size: pass FixedQuantity(...), "
                f'or add to the configuration:\n[instruments."{signal.instrument}"]\nlot_size = "0.001"'
            )
            raise OrderError(msg, field="quantity")
        return instrument.lot_size


def sized(sizing: Sizing, signal: Signal, position: Position, instrument: Instrument | None) -> Decimal:
    """Return the quantity that a sizing chooses; 0: no order. Raises OrderError when it returns no number."""
    chosen = sizing.quantity(signal, position, instrument)
    try:
        return ZERO if chosen is None else decimal_of(chosen)
    except (TypeError, ValueError) as error:
        name = type(sizing).__name__
        msg = f"{name}.quantity returned {chosen!r}: return a quantity above 0, or None for no order"
        raise OrderError(msg, field="quantity") from error
