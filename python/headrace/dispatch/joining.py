"""Joining: from checked options and bound handlers to a member of a native group.

::

    options, handlers ─▶ relations between both ─▶ kinds, overflow, advance ─▶ group.join ─▶ Subscription

Guarantees: nothing is subscribed when an option does not fit the handlers.
Does not: check an option alone (``options``), or a handler alone (``signature``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

import headrace._native as _native
from headrace.dispatch.loop_wakeup import has_running_loop
from headrace.dispatch.options import Overflow
from headrace.dispatch.signature import HasHandlers, bind_function, bind_strategy, kinds_of
from headrace.dispatch.subscription import Advance
from headrace.errors import OptionError, SubscriptionError
from headrace.market.clock import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.dispatch.options import SubscriptionOptions
    from headrace.dispatch.signature import BoundHandler

__all__ = ["JoinOptions", "Joining", "bound_handlers", "described", "prepare", "refuse_flow"]


class JoinOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a subscription as its group gets them: kinds as sets of bits, the overflow chosen."""

    instruments: tuple[str, ...]
    kinds: int
    every_kinds: int
    overflow: Overflow
    batch_max: int
    every_ns: int
    min_interval_ns: int
    rate_limit: float
    lag_max_ticks: int
    lag_max_ns: int
    on_lag: str
    pull: bool
    awaited: bool


class Joining(NamedTuple):
    """What a subscription joins its group with."""

    options: JoinOptions
    kinds: frozenset[str]
    advance: Advance
    handlers: list[_Described]


_Described = tuple[str, str, int, "Callable[..., object]", object, list[str], list[str]]


def prepare(
    name: str, options: SubscriptionOptions, handlers: Sequence[BoundHandler], *, mode: Mode, known: AbstractSet[str]
) -> Joining:
    """Hold options against handlers, and choose what they leave open. Raises OptionError, SubscriptionError.

    known : the kinds that the dispatcher was made with.
    """
    is_async = any(bound.is_async for bound in handlers)
    _check_relations(name, options, handlers, mode=mode, is_async=is_async)
    chosen, every_kinds = kinds_of(handlers, options.kinds)
    table = _native.kind_table()
    named = {row[1] for row in table if any(bound.kind == row[0] for bound in handlers)}
    if late := sorted((named | set(options.kinds or ())) - known):
        msg = f"subscription {name!r} takes {', '.join(late)}, registered after this dispatcher was made: "
        raise SubscriptionError(msg + "call register_kind before making the dispatcher", handler=name)
    kinds = frozenset(chosen if handlers else options.kinds or (row[1] for row in table))
    threaded = options.mode == "thread" and mode is not Mode.REPLAY
    lossy_by_default = threaded or (is_async and mode is not Mode.REPLAY)
    overflow = options.overflow or (Overflow.DROP_OLDEST if lossy_by_default else Overflow.BLOCK)
    if overflow is Overflow.CONFLATE:
        refuse_flow(name, kinds)
    joining = JoinOptions(
        instruments=options.instruments,
        kinds=_native.kind_set(sorted(kinds)),
        every_kinds=_native.kind_set(sorted(every_kinds)),
        overflow=overflow,
        batch_max=options.batch_max,
        every_ns=options.every_ns,
        min_interval_ns=options.min_interval_ns,
        rate_limit=options.rate_limit,
        lag_max_ticks=options.lag_max_ticks,
        lag_max_ns=options.lag_max_ns,
        on_lag=options.on_lag,
        pull=not handlers,
        awaited=is_async,
    )
    advance = (
        Advance.PULL if not handlers else Advance.AWAIT if is_async else Advance.THREAD if threaded else Advance.INLINE
    )
    return Joining(joining, kinds, advance, [described(bound, awaited=is_async) for bound in handlers])


def _check_relations(
    name: str, options: SubscriptionOptions, handlers: Sequence[BoundHandler], *, mode: Mode, is_async: bool
) -> None:
    if is_async and options.mode == "thread":
        msg = f"subscription {name!r} has async handlers, which run in a task, and mode='thread': remove mode="
        raise OptionError(msg, option="mode")
    if not handlers and (options.mode == "thread" or options.every_ns):
        option = "mode" if options.mode == "thread" else "every"
        msg = f"subscription {name!r} has no handlers, and {option}= is for handlers: remove {option}="
        raise OptionError(msg, option=option)
    if options.every_ns and not any(bound.role in ("plural", "ticks") for bound in handlers):
        msg = f"subscription {name!r} has every= but no plural handler: windows are for on_quotes and the like"
        raise OptionError(msg, option="every")
    if is_async and mode is not Mode.REPLAY and not has_running_loop():
        msg = f"subscription {name!r} has async handlers: subscribe it inside the running event loop to await them"
        raise SubscriptionError(msg, handler=name)


def bound_handlers(
    handler: object, callback: str | None, kinds: tuple[str, ...] | None, called_by_owner: AbstractSet[str]
) -> list[BoundHandler]:
    """Return the bound handlers; empty for a pull subscription."""
    if handler is None:
        return []
    if isinstance(handler, type):
        msg = f"{handler.__name__} is a class: subscribe an object of it, {handler.__name__}(...)"
        raise SubscriptionError(msg, handler=handler.__name__)
    if isinstance(handler, HasHandlers):
        return bind_strategy(handler, kinds, called_by_owner)
    if callable(handler):
        return bind_function(handler, callback, kinds)
    msg = f"{handler!r} is neither a Strategy nor callable: subclass headrace.Strategy, or pass a function"
    raise SubscriptionError(msg, handler=type(handler).__name__)


def described(bound: BoundHandler, *, awaited: bool) -> _Described:
    """Return a handler for native code; beside async handlers, plain ones are awaited too, to keep the order."""
    function = bound.function
    if awaited and not bound.is_async:
        function = _awaited(function)
    return (bound.name, bound.role, bound.kind, function, bound.receiver, list(bound.positional), list(bound.keywords))


def _awaited(function: Callable[..., object]) -> Callable[..., object]:
    async def call(*arguments: object, **keywords: object) -> object:
        return function(*arguments, **keywords)

    return call


def refuse_flow(name: str, kinds: AbstractSet[str]) -> None:
    """Refuse to conflate kinds of which every tick matters. Raises OptionError."""
    nature = {row[1]: row[3] for row in _native.kind_table()}
    flow = sorted(kind for kind in kinds if nature[kind] == "flow")
    if flow:
        msg = (
            f"subscription {name!r} has overflow='conflate' and takes {', '.join(flow)}, of which every tick matters: "
            f"subscribe to quotes only (kinds=['quote']), or use 'drop_oldest'"
        )
        raise OptionError(msg, option="overflow")
