"""Instrument: the price tick and lot size of one instrument, and the limits of its orders.

Guarantees: immutable; a limit that is missing or no number refuses orders (see ``trading.risk``).
Does not: assign ids; the native table does.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

__all__ = ["Instrument", "RiskLimits"]


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gates allow. None means not set: the gate refuses every order that the limit concerns.

    quantity_max : per order. notional_max : per order, quantity times price. price_collar : how far a price may lie
    from the newest mid, as a part of it (0.01: one per cent). open_orders_max : per strategy and instrument.
    message_rate_max : orders and cancels per second and strategy. stale_after_s : the highest age of the newest quote.
    """

    quantity_max: Decimal | None = None
    notional_max: Decimal | None = None
    price_collar: Decimal | None = None
    open_orders_max: int | None = None
    message_rate_max: float | None = None
    stale_after_s: float | None = None


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One instrument.

    name : ``SYMBOL.VENUE``. price_tick, lot_size : prices and quantities are multiples of them.
    limits : its own limits; for each one that is None the engine's limit holds.
    """

    name: str
    price_tick: Decimal | None = None
    lot_size: Decimal | None = None
    limits: RiskLimits | None = None
