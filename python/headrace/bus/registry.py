"""Subscribers: the declared event types of a bus, each with its lane and its handlers.

Guarantees: handlers stand in the order in which they subscribed; names are unique; a type has at most one owner, which
owns its subclasses, too. A join or a leave costs the same, however many subscriptions there are.
Does not: deliver; before an event is delivered it passes the handlers of changed types to the native core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.bus.consumer import Consumer
from headrace.bus.lane import LaneOptions
from headrace.bus.subscription import BusSubscription, is_event_type, matches, subscriber_name
from headrace.dispatch.names import Names
from headrace.errors import EventTypeError, OptionError, SubscriptionError
from headrace.limits import LANE_ATTEMPTS_DATA
from headrace.market.checks import of_type, one_of
from headrace.market.events import EVENT_KEYS, Event, Lane
from headrace.market.user_functions import unfinished_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import headrace._native as _native
    from headrace.bus.subscription import E, Handler, What

__all__ = ["Declared", "Subscribers"]

_LANES = tuple(Lane)


class Declared(NamedTuple):
    """A declared event type: its lane, the lane's place in the order of priority, and the lane's options."""

    lane: Lane
    number: int
    options: LaneOptions


class Subscribers:
    """The event types and the subscriptions of one bus."""

    def __init__(self, core: _native.BusCore, options: Mapping[Lane, LaneOptions]) -> None:
        self._core = core
        self._options = options
        self._declared: dict[type[Event], Declared] = {}
        # By name, in the order in which they subscribed.
        self._subscriptions: dict[str, BusSubscription] = {}
        self._names = Names(self._subscriptions)
        # Types whose subscriptions changed since their route was set.
        self._stale: dict[type[Event], None] = {}
        # By type: whether a subscription names it, and what is called when that changes.
        self._watched: dict[type[Event], tuple[bool, Callable[[bool], None]]] = {}
        # The advice in the error when another part publishes it.
        self._owned: dict[type[Event], str] = {}

    def __iter__(self) -> Iterator[BusSubscription]:
        return iter(tuple(self._subscriptions.values()))

    def declare(self, event_type: type[Event], lane: Lane) -> None:
        """See ``EventBus.declare``."""
        if not is_event_type(event_type):
            msg = f"{event_type!r} is no event type: make it a subclass of headrace.market.events.Event"
            raise EventTypeError(msg, event_type=repr(event_type))
        lane = Lane(one_of("lane", lane, Lane))
        if any(own.__name__ == event_type.__name__ and own is not event_type for own in self._declared):
            msg = f"an event type {event_type.__name__} is declared already, and audits know types by name: rename it"
            raise EventTypeError(msg, event_type=event_type.__name__)
        fresh = Declared(lane, _LANES.index(lane), self._options[lane])
        known = self._declared.setdefault(event_type, fresh)
        if known.lane is not lane:
            msg = f"{event_type.__name__} is declared in the {known.lane} lane already: a type has one lane"
            raise OptionError(msg, option="lane")
        self._set_route(event_type)

    def own(self, event_type: type[Event], advice: str) -> None:
        """See ``EventBus.own``."""
        if self._owner_of(event_type) is not None:
            msg = f"{event_type.__name__} has an owner on this bus already: a type has one owner"
            raise OptionError(msg, option="event_type")
        self._owned[event_type] = advice
        for owned in self._matching(event_type):
            self._set_route(owned)

    def declared(self, event: Event, *, by_owner: bool) -> Declared:
        """Return the declaration of an event's type. Raises EventTypeError, also for an owned type of another part."""
        event_type = type(event)
        owned = None if by_owner else self._owner_of(event_type)
        if owned is not None:
            msg = f"{owned.__name__} is published only by its owner: {self._owned[owned]}"
            raise EventTypeError(msg, event_type=event_type.__name__)
        known = self._declared.get(event_type)
        if known is None:
            name = event_type.__name__
            if is_event_type(event_type):
                msg = f"{name} is not declared on this bus: bus.declare({name}, lane) first"
            else:
                msg = f"{name} is no event: publish an instance of a subclass of headrace.market.events.Event"
            raise EventTypeError(msg, event_type=name)
        return known

    def subscribe(
        self,
        what: What[E],
        handler: Handler[E],
        *,
        where: Callable[[Any], bool] | None,
        name: str | None,
        idempotent: bool,
        max_attempts: int | None,
    ) -> BusSubscription:
        """See ``EventBus.subscribe``."""
        of_type("idempotent", idempotent, bool)
        of_type("where", where, Callable, None)  # type: ignore[arg-type]  # isinstance takes it
        for option, chooses in (("what", what), ("where", where)):
            if not isinstance(chooses, type | tuple) and (msg := unfinished_problem(option, chooses)):
                raise SubscriptionError(f"{msg}; it would be true of every event", handler=name or "")
        attempts = self._attempts(what, idempotent=idempotent, max_attempts=max_attempts)
        if where is not None:
            self._refuse_keyless(what)
        return self._join(what, handler, name or subscriber_name(handler), attempts, where)

    def consumer(self, what: What[Event], name: str | None, make: Callable[[str], Consumer]) -> Consumer:
        """See ``EventBus.consumer``."""
        self._matching(what)
        consumer = make(self._names.first_free(name or "consumer"))
        self._join(what, consumer, consumer.name, [1] * len(_LANES))
        return consumer

    def leave(self, consumer: Consumer) -> None:
        """Close a consumer's subscription."""
        self._subscriptions[consumer.name].close()

    def end(self) -> None:
        """End all consumers: their waiting ``consume()`` raises ClosedError."""
        for subscription in self:
            if subscription.consumer is not None:
                subscription.consumer.end()

    def _join(
        self,
        what: What[E],
        handler: Handler[E] | Consumer,
        name: str,
        attempts: list[int],
        where: Callable[[Any], bool] | None = None,
    ) -> BusSubscription:
        subscription = BusSubscription(
            what, handler, name=self._names.first_free(name), attempts=attempts, close=self._left, where=where
        )
        self._subscriptions[subscription.name] = subscription
        self._changed(what)
        return subscription

    def _left(self, subscription: BusSubscription) -> None:
        del self._subscriptions[subscription.name]
        self._names.free(subscription.name)
        self._changed(subscription.what)

    def watch(self, event_type: type[Event], on_change: Callable[[bool], None]) -> None:
        """See ``EventBus.watch``."""
        self._watched[event_type] = (False, on_change)
        self._look(event_type)

    def _look(self, event_type: type[Event]) -> None:
        before, on_change = self._watched[event_type]
        is_named = any(_names(own.what, event_type) for own in self)
        if is_named is not before:
            self._watched[event_type] = (is_named, on_change)
            on_change(is_named)

    def _changed(self, what: What[E]) -> None:
        """Have the routes set again before the next event is delivered: once, for any number of changes."""
        self._stale.update(dict.fromkeys(self._matching(what)))
        self._core.mark_stale()
        for event_type in self._watched:
            if _names(what, event_type):
                self._look(event_type)

    def set_routes(self) -> None:
        """Pass the handlers of each type whose subscriptions changed to the native core."""
        stale, self._stale = self._stale, {}
        for event_type in stale:
            self._set_route(event_type)

    def _set_route(self, event_type: type[Event]) -> None:
        takers = [own for own in self if matches(own.what, event_type)]
        self._core.set_route(
            event_type,
            self._declared[event_type].number,
            [own.native for own in takers],
            key_of=_key_of(event_type) if any(own.where is not None for own in takers) else None,
            is_owned=self._owner_of(event_type) is not None,
        )

    def _owner_of(self, event_type: type[Event]) -> type[Event] | None:
        """Return the owned type that a type is, or is a subclass of."""
        return next((own for own in self._owned if issubclass(event_type, own)), None)

    def _refuse_keyless(self, what: What[E]) -> None:
        keyless = [event_type.__name__ for event_type in self._matching(what) if _key_of(event_type) is None]
        if keyless:
            keyed = ", ".join(event_type.__name__ for event_type in EVENT_KEYS)
            msg = f"where= chooses by an event's key, and {', '.join(keyless)} has none; those of {keyed} have one"
            raise OptionError(msg, option="where")

    def _matching(self, what: What[E]) -> list[type[Event]]:
        found = [event_type for event_type in self._declared if matches(what, event_type)]
        if not found:
            msg = f"no declared event type is a {what!r}: declare it first, bus.declare(type, lane)"
            raise EventTypeError(msg, event_type=getattr(what, "__name__", repr(what)))
        return found

    def _attempts(self, what: What[E], *, idempotent: bool, max_attempts: int | None) -> list[int]:
        matching = self._matching(what)
        usual = [self._options[lane].max_attempts for lane in _LANES]
        if max_attempts is None:
            return [max(own, LANE_ATTEMPTS_DATA) for own in usual] if idempotent else usual
        if max_attempts < 1:
            msg = f"max_attempts={max_attempts} is not allowed: a handler gets an event at least once"
            raise OptionError(msg, option="max_attempts")
        known = [self._declared[event_type] for event_type in matching]
        once = sorted({own.lane for own in known if own.options.max_attempts == 1})
        if max_attempts > 1 and once and not idempotent:
            msg = (
                f"max_attempts={max_attempts}: events of the {', '.join(once)} lane are delivered once, since a retry "
                "may send an order twice; pass idempotent=True if that cannot happen"
            )
            raise OptionError(msg, option="max_attempts")
        return [max_attempts] * len(_LANES)


def _key_of(event_type: type[Event]) -> Callable[[Any], Any] | None:
    """Return the function that returns an event's key, or None: events of this type have no key."""
    return next((key_of for keyed, key_of in EVENT_KEYS.items() if issubclass(event_type, keyed)), None)


def _names(what: What[Any], event_type: type[Event]) -> bool:
    """Return whether a subscription names a type, or one of its bases but the base of all."""
    kinds = what if isinstance(what, tuple) else (what,)
    return any(isinstance(own, type) and own is not Event and issubclass(event_type, own) for own in kinds)
