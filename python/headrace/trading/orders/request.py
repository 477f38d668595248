"""How a request becomes an order: everything that cannot be one is an error, before anybody hears of it.

Guarantees: quantity and price are finite Decimals above 0; floats count as the shortest text that names them.
Does not: know ticks, lots or limits; those are the gates'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from headrace.errors import OrderError
from headrace.market.money import Amount, decimal_of

if TYPE_CHECKING:
    from decimal import Decimal

    from headrace.market.events import OrderRequested

__all__ = ["amount", "check_request", "same_order"]


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
    """Refuse a request that no order can be made of. Raises OrderError, which names the field and its value."""
    for field in ("order_id", "strategy", "instrument"):
        name = getattr(request, field)
        if not name or not isinstance(name, str):
            _refuse(field, name, "a name")
    if request.side not in (1, -1):
        _refuse("side", request.side, "1 to buy or -1 to sell")
    amount("quantity", request.quantity)
    if request.price is not None:
        amount("price", request.price)
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


def same_order(one: OrderRequested, other: OrderRequested) -> bool:
    """Say whether two requests ask for the same, whoever published them and when."""
    return _essence(one) == _essence(other)


def _essence(request: OrderRequested) -> tuple[object, ...]:
    return (
        *(request.order_id, request.strategy, request.instrument, request.side, request.order_type),
        *(request.quantity, request.price, request.time_in_force, request.expires_ns, request.reduce_only),
    )


def _refuse(field: str, value: object, valid: str) -> NoReturn:
    msg = f"{field}={value!r} cannot be ordered: give {valid}"
    raise OrderError(msg, field=field) from None
