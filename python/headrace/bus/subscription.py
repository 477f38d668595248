"""BusSubscription: one handler of the event bus, and the events that it gets.

Guarantees: a closed one gets no more events; events that wait for it are not delivered, either.
Does not: hold events.
"""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, cast

import headrace._native as _native
from headrace.bus.consumer import Consumer
from headrace.errors import EventTypeError, SubscriptionError
from headrace.market.events import Event
from headrace.market.user_functions import generator_problem, is_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    # A handler of Signal may be typed with Signal; its result is awaited, or ignored.
    E = TypeVar("E", bound=Event)
    What: TypeAlias = type[E] | tuple[type[E], ...] | Callable[[Event], bool]
    Handler: TypeAlias = Callable[[E], object]

__all__ = ["BusSubscription", "is_event_type", "matches", "subscriber_name", "taken_apart"]


class BusSubscription:
    """One subscription, made by ``EventBus.subscribe``; a context manager that closes it.

    what : the types, or the predicate. where : chooses by key. name : unique on its bus. awaited : its handler, when
    that is async. consumer : the Consumer that gets its events, when it is the pull side.
    """

    def __init__(
        self,
        what: What[E],
        handler: Handler[E] | Consumer,
        *,
        name: str,
        attempts: list[int],
        close: Callable[[BusSubscription], None],
        where: Callable[[Any], bool] | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.name = name
        self.is_open = True
        self._close = close
        self.consumer = handler if isinstance(handler, Consumer) else None
        self.awaited: Callable[[Event], Awaitable[object]] | None = None
        function, receiver = None, None
        if not isinstance(handler, Consumer):
            _check_callable(handler, name)
            if is_async(handler):
                self.awaited = cast("Callable[[Event], Awaitable[object]]", handler)
            else:
                function, receiver = taken_apart(handler)
        self.native = _native.BusHandler(
            name,
            self,
            function=function,
            receiver=receiver,
            predicate=None if isinstance(what, type | tuple) else what,
            takes_key=where,
            attempts=attempts,
        )

    def close(self) -> None:
        """Take no more events. May be called twice, and inside the handler."""
        if self.is_open:
            self.is_open = False
            self.native.close()
            self._close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def matches(what: What[E], event_type: type[Event]) -> bool:
    """Return whether ``what`` may match events of a type. Raises EventTypeError: no type, tuple or predicate."""
    if isinstance(what, type | tuple):
        for wanted in what if isinstance(what, tuple) else (what,):
            if not is_event_type(wanted):
                msg = f"{wanted!r} is no event type: pass subclasses of headrace.market.events.Event, or a predicate"
                raise EventTypeError(msg, event_type=getattr(wanted, "__name__", repr(wanted)))
        return issubclass(event_type, what)
    if not _is_callable(what):
        msg = f"{what!r} is neither an event type nor a predicate: pass a type, a tuple of types, or a predicate"
        raise EventTypeError(msg, event_type=repr(what))
    return True


def is_event_type(value: object) -> bool:
    """Return whether a value is a subclass of Event."""
    return isinstance(value, type) and issubclass(value, Event)


def subscriber_name(handler: object) -> str:
    """Return the default name of a handler."""
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__


def _is_callable(value: object) -> bool:
    return callable(value)


def taken_apart(handler: Callable[..., object]) -> tuple[Callable[..., object], object | None]:
    """Return a method of a Python class as function and receiver, so that a call makes no bound method."""
    if isinstance(handler, types.MethodType) and isinstance(handler.__func__, types.FunctionType):
        return handler.__func__, handler.__self__
    return handler, None


def _check_callable(handler: object, name: str) -> None:
    if not callable(handler):
        msg = f"{handler!r} is not callable: a handler takes one event"
        raise SubscriptionError(msg, handler=name)
    if msg := generator_problem(f"handler {name}", handler):
        raise SubscriptionError(msg, handler=name)
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(object())
    except TypeError as error:
        msg = f"{name}{signature} cannot be called with one event: {error}"
        raise SubscriptionError(msg, handler=name) from None
