"""OrderRequested from what a caller gives: its options are a closed set, checked here in name and type.

Guarantees: what cannot be an order raises OrderError, which names the field, the value and what is valid.
Does not: know ticks, lots or limits; those are the gates'.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NoReturn, TypedDict

from msgspec.structs import force_setattr

from headrace.errors import OptionError, OrderError
from headrace.market.checks import duration_ns, nearest, side_of
from headrace.market.events import OrderRequested, OrderType, TimeInForce
from headrace.market.money import AMOUNTS, Amount, decimal_of, is_amount
from headrace.market.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.market.checks import Duration
    from headrace.market.events import Cause

__all__ = ["OrderOptions", "amount", "check_names", "identify", "request_of", "trail_of"]

# Names of other libraries, and ours that serve the same.
ELSEWHERE = {
    "limit": "price",
    "order_type": "price, stop, take_profit or trail",
    "trail_percent": "trail='2%'",
    "tif": "time_in_force",
    "side": "buy or sell",
    "trigger_price": "stop or take_profit",
    "stop_price": "stop",
}
# It stands on each event and line of the audit that shows its order.
TAG_CHARACTERS_MAX = 64
TIMES_IN_FORCE = (
    "'gtc' (rests until it is canceled), 'gtd' (rests until expires_after or expires_ns), 'ioc' (fills at once what it "
    "can) or 'fok' (fills at once and whole, or not)"
)
TRIGGERS = ("stop", "take_profit", "trail")
# Texts and whole numbers that are kept as the Decimals that they are.
SAME_AMOUNTS = 256


class OrderOptions(TypedDict, total=False):
    """The options of ``Strategy.buy``, which describes them, of ``sell`` and of ``OrderManager.submit``."""

    price: Amount | None
    time_in_force: TimeInForce
    expires_after: Duration | None
    expires_ns: int | None
    reduce_only: bool
    stop: Amount | None
    take_profit: Amount | None
    trail: Amount | None
    limit_offset: Amount | None
    post_only: bool
    oco: str | None
    tag: str


def check_names(options: Iterable[str], kind: type = OrderOptions, what: str = "an order") -> None:
    """Refuse an option that orders, or ``what`` has these, do not have. Raises OrderError with the nearest one."""
    valid = kind.__annotations__
    for name in options:
        if name not in valid:
            hint = f" (did you mean {ELSEWHERE[name]}?)" if name in ELSEWHERE else nearest(name, valid)
            msg = f"{name} is no option of {what}{hint}; valid are {', '.join(valid)}"
            raise OrderError(msg, field=name)


def request_of(
    strategy: str, instrument: str, side: int, quantity: Amount, options: OrderOptions, now_ns: int
) -> OrderRequested:
    """Return a request that has no id yet. Raises OrderError."""
    if options:
        check_names(options)
    if not strategy or not isinstance(strategy, str):
        _refuse("strategy", strategy, "a name")
    if not instrument or not isinstance(instrument, str):
        _refuse("instrument", instrument, "a name")
    way = side_of(side)
    if not way:
        _refuse("side", side, "1 to buy or -1 to sell")
    price = options.get("price")
    limit = None if price is None else amount("price", price)
    request = OrderRequested(
        source=strategy,
        ts=now_ns,
        order_id="",
        strategy=strategy,
        instrument=instrument,
        side=way,
        order_type="market" if limit is None else "limit",
        quantity=amount("quantity", quantity),
        price=limit,
    )
    return _with_options(request, options, now_ns) if options else request


def _with_options(request: OrderRequested, options: OrderOptions, now_ns: int) -> OrderRequested:
    """Complete a request that nothing else has seen, in place. Raises OrderError."""
    trigger, order_type = _condition(options, request.price)
    expires_ns = _expiry(options, now_ns)
    time_in_force = options.get("time_in_force", "gtc" if expires_ns is None else "gtd")
    if time_in_force not in ("gtc", "ioc", "fok", "gtd"):
        _refuse("time_in_force", time_in_force, TIMES_IN_FORCE)
    if time_in_force == "gtd" and expires_ns is None:
        _refuse("time_in_force", time_in_force, "it with expires_after= or expires_ns=, until when the order rests")
    for name in ("reduce_only", "post_only"):
        if not isinstance(options.get(name, False), bool):
            _refuse(name, options.get(name), "True or False")
    if options.get("post_only", False) and (request.price is None or time_in_force in ("ioc", "fok")):
        _refuse("post_only", options["post_only"], "it with a price, and a time_in_force that rests")
    for name, value in {
        **trigger,
        "order_type": order_type,
        "expires_ns": expires_ns,
        "time_in_force": time_in_force,
        "reduce_only": options.get("reduce_only", False),
        "post_only": options.get("post_only", False),
        "oco": _partner(options.get("oco")),
        "tag": _tag(options.get("tag", "")),
    }.items():
        force_setattr(request, name, value)
    return request


def _condition(options: OrderOptions, limit: Decimal | None) -> tuple[dict[str, object], OrderType]:
    """Return what an order waits for, and its type."""
    given = [name for name in TRIGGERS if options.get(name) is not None]
    offset = options.get("limit_offset")
    if offset is not None and given != ["trail"]:
        _refuse("limit_offset", offset, "it with trail=, whose limit lies so far beyond the trigger; else give price=")
    if not given:
        return {}, "market" if limit is None else "limit"
    name = given[0]
    if len(given) > 1:
        _refuse(given[1], options[given[1]], f"either {name} or {given[1]}; for both, two orders with oco=")  # type: ignore[literal-required]
    if name == "trail":
        if limit is not None:
            _refuse("price", limit, "no price with trail: a trailing stop takes the market's, or give limit_offset=")
        distance, unit = trail_of(options["trail"])
        trail: dict[str, object] = {"trail": distance, "trail_unit": unit}
        if offset is None:
            return trail, "trailing_stop"
        return {**trail, "limit_offset": amount("limit_offset", offset)}, "trailing_stop_limit"
    value = amount(name, options[name])  # type: ignore[literal-required]  # one of TRIGGERS
    if name == "stop":
        return {"trigger_price": value}, "stop" if limit is None else "stop_limit"
    return {"trigger_price": value}, "take_profit" if limit is None else "take_profit_limit"


def identify(request: OrderRequested, order_id: str, run_id: str, cause: Cause | None) -> None:
    """Complete a request that nothing else has seen, in place: a copy would cost more than all the rest of it."""
    force_setattr(request, "order_id", order_id)
    force_setattr(request, "run_id", run_id)
    force_setattr(request, "cause", cause)


def amount(field: str, value: Amount) -> Decimal:
    """Return a quantity or price as a Decimal. Raises OrderError, which names the field and the value."""
    # Strategies order the same quantity again and again. Not a Decimal: 1 and 1.0 are equal, and have other digits.
    return _same_amount(field, value) if type(value) in (int, str) else _read_amount(field, value)


def _read_amount(field: str, value: Amount) -> Decimal:
    try:
        number = decimal_of(value)
    except (ValueError, TypeError):
        _refuse(field, value, "a finite number above 0: a Decimal, an int, a float, or text like '0.001'")
    if number <= 0:
        _refuse(field, value, "a number above 0; buy or sell is the side")
    if not is_amount(number):
        _refuse(field, value, f"a number of {AMOUNTS}")
    return number


_same_amount = lru_cache(maxsize=SAME_AMOUNTS, typed=True)(_read_amount)


def trail_of(trail: object) -> tuple[Decimal, Literal["price", "percent"]]:
    """Return a distance and its unit: 5 is in prices, "2%" in percent of the best price. Raises OrderError."""
    if not (isinstance(trail, str) and trail.endswith("%")):
        return amount("trail", trail), "price"  # type: ignore[arg-type]  # it refuses what is no amount
    percent = amount("trail", trail[:-1])
    if percent >= 100:
        _refuse("trail", trail, "a part of the price, above 0% and below 100%")
    return percent, "percent"


def _partner(oco: object) -> str:
    if oco is None:
        return ""
    if not isinstance(oco, str) or not oco:
        _refuse("oco", oco, "the id of the order that this one is to be the partner of")
    return oco


def _tag(tag: object) -> str:
    if not isinstance(tag, str) or len(tag) > TAG_CHARACTERS_MAX:
        _refuse("tag", tag, f"a text of at most {TAG_CHARACTERS_MAX} characters")
    return tag


def _expiry(options: OrderOptions, now_ns: int) -> int | None:
    """Return when a resting order expires, by the engine's clock."""
    after = options.get("expires_after")
    expires_ns: object = options.get("expires_ns")
    if after is not None:
        if expires_ns is not None:
            _refuse("expires_ns", expires_ns, "either expires_ns or expires_after")
        expires_ns = now_ns + _wait_ns(after)
    if expires_ns is None:
        return None
    if not isinstance(expires_ns, int) or isinstance(expires_ns, bool) or not now_ns < expires_ns < 1 << 63:
        _refuse("expires_ns", expires_ns, f"a time after now, which is {now_ns}, and before {1 << 63}, in ns")
    return expires_ns


def _wait_ns(after: Duration) -> int:
    try:
        wait_ns = duration_ns("expires_after", after)
    except OptionError:
        wait_ns = 0
    if wait_ns <= 0:
        _refuse("expires_after", after, "a time above 0, like '30s', or ns")
    return wait_ns


def _refuse(field: str, value: object, valid: str) -> NoReturn:
    msg = f"{field}={value_text(value)} cannot be ordered: give {valid}"
    raise OrderError(msg, field=field) from None
