"""Instrument: what is known of one instrument beyond its name, and what may be ordered of it.

Guarantees: immutable; a limit that is missing or no number is one that refuses (``risk``).
Does not: give ids; that is the native table's part.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

__all__ = ["Instrument", "RiskLimits"]


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gates allow; None: not said, which refuses every order that the limit concerns.

    quantity_max : per order. notional_max : per order, quantity times price. price_collar : how far a price may lie
    from the newest mid, as a part of it (0.01: one per cent). open_orders_max : per strategy and instrument.
    message_rate_max : orders and cancels per second and strategy. stale_after_s : the newest quote may be so old.
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
    limits : its own; each that is None is the engine's.
    """

    name: str
    price_tick: Decimal | None = None
    lot_size: Decimal | None = None
    limits: RiskLimits | None = None
