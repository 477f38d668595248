"""Joining: from checked options and bound handlers to a member of a native group.

::

    options, handlers ─▶ relations between both ─▶ kinds, overflow, advance ─▶ group.join ─▶ Subscription

Guarantees: nothing is subscribed when an option does not fit the handlers.
Does not: check an option alone (``options``), or a handler alone (``signature``).
"""

from __future__ import annotations

import inspect
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.dispatch.options import Overflow
from headrace.dispatch.signature import bind_function, bind_strategy, has_handlers, kinds_of
from headrace.errors import OptionError, SubscriptionError
from headrace.market.clock import Mode
from headrace.market.running_loop import has_running_loop
from headrace.market.tick import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.dispatch.options import SubscriptionOptions
    from headrace.dispatch.signature import BoundHandler

__all__ = ["Advance", "Described", "Joining", "bound_handlers", "described", "prepare", "refuse_flow"]


class Advance(Enum):
    """What moves a subscription on: the dispatcher's calls, its own thread, the task that awaits, or its reader."""

    INLINE = "inline"
    THREAD = "thread"
    AWAIT = "await"
    PULL = "pull"


class Joining(NamedTuple):
    """What a subscription joins its group with. options : with an overflow chosen."""

    options: SubscriptionOptions
    kinds: frozenset[str]
    advance: Advance
    handlers: list[Described]


Described = tuple[str, str, int, "Callable[..., object]", object, list[str], list[str]]


def prepare(
    name: str, options: SubscriptionOptions, handlers: Sequence[BoundHandler], *, mode: Mode, known: AbstractSet[str]
) -> Joining:
    """Hold options against handlers, and choose what they leave open. Raises OptionError, SubscriptionError.

    known : the kinds that the dispatcher was made with.
    """
    is_async = any(bound.is_async for bound in handlers)
    _check_relations(name, options, handlers, mode=mode, is_async=is_async)
    kinds, named = kinds_of(handlers, options.kinds)
    if late := sorted((named | set(options.kinds or ())) - known):
        msg = f"subscription {name!r} takes {', '.join(late)}, registered after this dispatcher was made: "
        raise SubscriptionError(msg + "call register_kind before making the dispatcher", handler=name)
    threaded = options.mode == "thread" and mode is not Mode.REPLAY
    lossy_by_default = threaded or (is_async and mode is not Mode.REPLAY)
    overflow = options.overflow or (Overflow.DROP_OLDEST if lossy_by_default else Overflow.BLOCK)
    if overflow is Overflow.CONFLATE:
        refuse_flow(name, kinds)
    advance = (
        Advance.PULL if not handlers else Advance.AWAIT if is_async else Advance.THREAD if threaded else Advance.INLINE
    )
    return Joining(
        _with_overflow(options, overflow),
        kinds,
        advance,
        [described(bound, awaited=is_async) for bound in handlers],
    )


@lru_cache(maxsize=256)
def _with_overflow(options: SubscriptionOptions, overflow: Overflow) -> SubscriptionOptions:
    """Return the options with this overflow; equal ones share one object, since most subscriptions have the same."""
    return msgspec.structs.replace(options, overflow=overflow)


def _check_relations(
    name: str, options: SubscriptionOptions, handlers: Sequence[BoundHandler], *, mode: Mode, is_async: bool
) -> None:
    if is_async and options.mode == "thread":
        msg = f"subscription {name!r} has async handlers, which run in a task, and mode='thread': remove mode="
        raise OptionError(msg, option="mode")
    if not handlers and (options.mode == "thread" or options.every):
        option = "mode" if options.mode == "thread" else "every"
        msg = f"subscription {name!r} has no handlers, and {option}= is for handlers: remove {option}="
        raise OptionError(msg, option=option)
    if options.every and not any(bound.role in ("plural", "ticks") for bound in handlers):
        msg = f"subscription {name!r} has every= but no plural handler: windows are for on_quotes and the like"
        raise OptionError(msg, option="every")
    if not handlers and "book" in (options.kinds or ()):
        msg = f"subscription {name!r} has no handlers, and books are made for handlers: write on_book"
        raise OptionError(msg, option="kinds")
    uses_books = any(bound.kind and not KINDS[bound.kind].is_published for bound in handlers)
    if uses_books and options.rate_limit:
        msg = f"subscription {name!r} takes books and has rate_limit=, and a book needs every level: remove rate_limit="
        raise OptionError(msg, option="rate_limit")
    if is_async and mode is not Mode.REPLAY and not has_running_loop():
        msg = f"subscription {name!r} has async handlers: subscribe it inside the running event loop to await them"
        raise SubscriptionError(msg, handler=name)


def bound_handlers(
    handler: object, callback: str | None, kinds: Iterable[str] | None, called_by_owner: AbstractSet[str]
) -> list[BoundHandler]:
    """Return the bound handlers; empty for a pull subscription."""
    if handler is None:
        return []
    if isinstance(handler, type):
        msg = f"{handler.__name__} is a class: subscribe an object of it, {handler.__name__}(...)"
        raise SubscriptionError(msg, handler=handler.__name__)
    if has_handlers(handler):
        return bind_strategy(handler, kinds, called_by_owner)
    if callable(handler):
        return bind_function(handler, callback, kinds)
    msg = f"{handler!r} is neither a Strategy nor callable: subclass headrace.Strategy, or pass a function"
    raise SubscriptionError(msg, handler=type(handler).__name__)


def described(bound: BoundHandler, *, awaited: bool) -> Described:
    """Return a handler for native code; beside async handlers, plain ones are awaited too, to keep the order."""
    function = bound.function
    if awaited and not bound.is_async:
        function = _awaited(function)
    return (bound.name, bound.role, bound.kind, function, bound.receiver, list(bound.positional), list(bound.keywords))


def _awaited(function: Callable[..., object]) -> Callable[..., object]:
    async def call(*arguments: object, **keywords: object) -> object:
        returned = function(*arguments, **keywords)
        return await returned if inspect.isawaitable(returned) else returned

    return call


def refuse_flow(name: str, kinds: AbstractSet[str]) -> None:
    """Refuse to conflate kinds of which every tick matters. Raises OptionError."""
    flow = sorted(kind.name for kind in KINDS.values() if kind.name in kinds and kind.nature in ("flow", "derived"))
    if flow:
        msg = (
            f"subscription {name!r} has overflow='conflate' and takes {', '.join(flow)}, of which every tick matters: "
            f"subscribe to quotes only (kinds=['quote']), or use 'drop_oldest'"
        )
        raise OptionError(msg, option="overflow")
