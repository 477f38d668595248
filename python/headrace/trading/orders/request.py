"""The check of a request before it is an order: what cannot be an order raises, and nothing is published.

Guarantees: ``amount`` returns a finite Decimal above 0; a float counts as the shortest text that names it.
Does not: know ticks, lots or limits; those are the gates'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from headrace.errors import OrderError
from headrace.market.money import Amount, decimal_of

if TYPE_CHECKING:
    from decimal import Decimal

    from headrace.market.events import OrderRequested

__all__ = ["amount", "check_request"]


def amount(field: str, value: Amount) -> Decimal:
    """Return a quantity or price as a Decimal. Raises OrderError, which names the field and the value."""
    try:
        number = decimal_of(value)
    except (ValueError, TypeError):
        _refuse(field, value, "a finite number above 0: a Decimal, an int, a float or text")
    if number <= 0:
        _refuse(field, value, "a number above 0; the side says buy or sell")
    return number


def check_request(request: OrderRequested, now_ns: int) -> None:
    """Refuse a request that no order can be made of; quantity and price went through ``amount``.

    Raises OrderError, which names the field and its value.
    """
    for field in ("order_id", "strategy", "instrument"):
        name = getattr(request, field)
        if not name or not isinstance(name, str):
            _refuse(field, name, "a name")
    if request.side not in (1, -1):
        _refuse("side", request.side, "1 to buy or -1 to sell")
    if request.order_type not in ("market", "limit"):
        _refuse("order_type", request.order_type, "'market' or 'limit'")
    if (request.order_type == "limit") != (request.price is not None):
        _refuse("price", request.price, "a price with 'limit', and none with 'market'")
    if request.time_in_force not in ("gtc", "ioc"):
        valid = "'gtc' (rests until it is canceled) or 'ioc' (fills at once what it can)"
        _refuse("time_in_force", request.time_in_force, valid)
    expires_ns = request.expires_ns
    if expires_ns is not None and not now_ns < expires_ns < 1 << 63:
        _refuse("expires_ns", expires_ns, f"a time after now, which is {now_ns}, in ns")


def _refuse(field: str, value: object, valid: str) -> NoReturn:
    msg = f"{field}={value!r} cannot be ordered: give {valid}"
    raise OrderError(msg, field=field) from None
