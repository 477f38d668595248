"""Orders: their states (``order``), their way through the gates to the broker and back (``manager``), their sizes."""

from headrace.trading.orders.manager import OrderManager, OrderStats
from headrace.trading.orders.order import FINAL, ORDER_TRANSITIONS, Order, OrderState
from headrace.trading.orders.refusals import Refused
from headrace.trading.orders.sizing import FixedQuantity, Sizing

__all__ = [
    "FINAL",
    "ORDER_TRANSITIONS",
    "FixedQuantity",
    "Order",
    "OrderManager",
    "OrderState",
    "OrderStats",
    "Refused",
    "Sizing",
]
