"""The fields that a strategy's callbacks declare, read from their parameters once, at subscription.

::

    def on_quote(self, symbol, bid_price, ask_price)   one call per tick, three plain values
    def on_quotes(self, bid_price, ask_price)          one call per batch, two read-only NumPy columns
    def on_tick(self, tick)                            one call per tick of any kind, the whole record
    def on_ticks(self, ticks)                          one call per batch, a structured array
    def on_fill(self, fill)                            life cycle: called by the Engine

Guarantees: a handler that cannot be bound is an error at subscription, with the valid names and the nearest one; a
parameter that is no field but has a default keeps its default; keyword-only parameters work; ``async def`` works.
Does not: wrap or call handlers.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache, lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeGuard

from headrace.dispatch.misspelt import refuse_misspelt
from headrace.errors import SubscriptionError
from headrace.market.checks import nearest
from headrace.market.facts import facts_of, shape_of
from headrace.market.fields import Field, fields
from headrace.market.tick import KINDS, kind_named
from headrace.market.user_functions import generator_problem, is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "LIFE_CYCLE",
    "BoundHandler",
    "HasHandlers",
    "bind_function",
    "bind_strategy",
    "has_handlers",
    "has_tick_handlers",
    "life_cycle_of",
]

Role = Literal["singular", "tick", "plural", "ticks"]

# Callbacks of the Engine, with their arguments. A bare Dispatcher refuses them, since it would never call them.
LIFE_CYCLE: Mapping[str, tuple[str, ...]] = {
    "on_start": (),
    "on_stop": (),
    "on_pause": (),
    "on_resume": (),
    "on_save": (),
    "on_load": ("state",),
    "on_timer": ("timer",),
    "on_bar": ("bar",),
    "on_bars": ("bars",),
    "on_signal": ("signal",),
    "on_order": ("event",),
    "on_fill": ("fill",),
}


class HasHandlers(Protocol):
    """An object whose ``on_`` methods are handlers: a Strategy."""

    @property
    def subscription(self) -> Mapping[str, object]:
        """The options that its class declares."""


def has_handlers(given: object) -> TypeGuard[HasHandlers]:
    """Return whether an object's ``on_`` methods are handlers."""
    return hasattr(given, "subscription")


class BoundHandler(NamedTuple):
    """One handler, ready for the native plan.

    name : as in the user's class. role, kind : the ticks that it takes; kind 0 with "tick" and "ticks".
    function, receiver : called as ``function(receiver, …)``; receiver None: no self.
    positional, keywords : field names in the order of the call. is_async : its calls are awaited.
    """

    name: str
    role: Role
    kind: int
    function: Callable[..., object]
    receiver: object
    positional: tuple[str, ...]
    keywords: tuple[str, ...]
    is_async: bool


def callback_names() -> Mapping[str, tuple[Role, int]]:
    """Return every handler name, with its role and kind."""
    return _callback_names(len(KINDS))


@cache
def _callback_names(_kinds: int) -> Mapping[str, tuple[Role, int]]:
    """Make the table; once for each number of kinds, since rows are only added."""
    names: dict[str, tuple[Role, int]] = {}
    for kind in KINDS.values():
        names[f"on_{kind.name}"] = ("singular", kind.number)
        if kind.plural:
            names[f"on_{kind.plural}"] = ("plural", kind.number)
    names["on_tick"] = ("tick", 0)
    names["on_ticks"] = ("ticks", 0)
    return names


def bind_strategy(
    strategy: object, kinds: Iterable[str] | None, called_by_owner: AbstractSet[str] = frozenset()
) -> list[BoundHandler]:
    """Read the handlers of a strategy object. Raises SubscriptionError.

    called_by_owner : callbacks that are left out; any other callback of ``LIFE_CYCLE`` is refused.
    """
    kind, names = type(strategy), _callbacks_of(strategy)
    facts, key = facts_of(kind), ("handlers", names, frozenset(called_by_owner))
    if key not in facts:
        facts[key] = _handlers_among(names, kind.__name__, called_by_owner)
    bound = []
    for name, what in facts[key]:
        handler, where = getattr(strategy, name), f"{kind.__name__}.{name}"
        if not callable(handler):
            msg = f"{where} is {handler!r}, which cannot be called: write a method, or remove it"
            raise SubscriptionError(msg, handler=name)
        bound.append(_bind(handler, name, what, where, kinds))
    return bound


def has_tick_handlers(strategy: object) -> bool:
    """Return whether a strategy has a handler for ticks."""
    return _of_class(type(strategy)).has_others or not LIFE_CYCLE.keys() >= set(_callbacks_of(strategy))


def life_cycle_of(strategy: object) -> dict[str, Callable[..., Any]]:
    """Return the Engine's callbacks by name, checked. Raises SubscriptionError."""
    found = {}
    for name in _callbacks_of(strategy):
        if name not in LIFE_CYCLE:
            continue
        callback = found[name] = getattr(strategy, name)
        function, receiver = _unbound(callback)
        kept, key = facts_of(function), ("life cycle", name, receiver is None)
        if key not in kept:
            _check_life_cycle(callback, name, f"{type(strategy).__name__}.{name}")
            kept[key] = True
    return found


def _handlers_among(
    names: Iterable[str], title: str, called_by_owner: AbstractSet[str]
) -> tuple[tuple[str, tuple[Role, int]], ...]:
    """Return the handlers of ticks among callbacks, each with its role and kind. Raises SubscriptionError."""
    known = callback_names()
    found = []
    for name in names:
        if name in LIFE_CYCLE:
            if name not in called_by_owner:
                msg = f"{title}.{name} is only called by an Engine: run it with headrace.Engine"
                raise SubscriptionError(msg, handler=name)
        elif name in known:
            found.append(name)
        else:
            near = nearest(name, (*known, *LIFE_CYCLE))
            msg = f"{title}.{name} is no known callback{near}; valid are {_listed((*known, *LIFE_CYCLE))}"
            raise SubscriptionError(msg, handler=name)
    if not found:
        msg = f"{title} has no handler: write at least one of {_listed(known)}"
        raise SubscriptionError(msg, handler="")
    pairs = [(f"on_{kind.name}", f"on_{kind.plural}") for kind in KINDS.values() if kind.plural]
    for singular, plural in [*pairs, ("on_tick", "on_ticks")]:
        if singular in found and plural in found:
            msg = f"{title}.{singular} and {plural} are singular and plural of the same ticks: keep one of them"
            raise SubscriptionError(msg, handler=plural)
    return tuple((name, known[name]) for name in found)


def _check_life_cycle(callback: Callable[..., Any], name: str, where: str) -> None:
    try:
        inspect.signature(callback).bind(*LIFE_CYCLE[name])
    except TypeError as error:
        takes = f"({', '.join(('self', *LIFE_CYCLE[name]))})"
        msg = f"{where} cannot be called ({error}): write def {name}{takes}"
        raise SubscriptionError(msg, handler=name) from error
    _refuse_generator(where, name, callback)
    if name == "on_timer" and is_async(callback):
        msg = f"{where} is called between ticks and cannot be async: start a task in it"
        raise SubscriptionError(msg, handler=name)


class _ClassCallbacks(NamedTuple):
    """The ``on_`` names of a class, sorted, and the known ones that it lacks.

    has_others : whether one of its names is none of the life cycle. is_plain : whether it looks attributes up as object
    does.
    """

    names: tuple[str, ...]
    lacking: tuple[str, ...]
    has_others: bool
    is_plain: bool


def _callbacks_of(strategy: object) -> tuple[str, ...]:
    """Return the names of callbacks, sorted: every ``on_`` name of the class, and the known ones of the object itself.

    dir(object) would list all names of the object, but would make its ``__dict__``, which slows attribute access.
    Raises SubscriptionError for a misspelt one of the class.
    """
    of_class = _of_class(type(strategy))
    has = hasattr if of_class.is_plain else _has_own
    # In C, since nearly no object has one.
    if not any(map(has, repeat(strategy), of_class.lacking)):
        return of_class.names
    own = (name for name in of_class.lacking if has(strategy, name))
    return tuple(sorted((*of_class.names, *own)))


def _has_own(strategy: object, name: str) -> bool:
    """Return as ``hasattr`` does, but without the class's own ``__getattr__``."""
    try:
        object.__getattribute__(strategy, name)
    except AttributeError:
        return False
    return True


def _of_class(kind: type) -> _ClassCallbacks:
    """Return the callbacks of a class, looked up once. Raises SubscriptionError for a misspelt one."""
    facts, key = facts_of(kind), ("callbacks", len(KINDS), shape_of(kind))
    if key not in facts:
        refuse_misspelt(kind, (*callback_names(), *LIFE_CYCLE))
        names = tuple(sorted(name for name in dir(kind) if name[:3] == "on_"))
        lacking = tuple(name for name in (*callback_names(), *LIFE_CYCLE) if name not in names)
        own = {name for base in kind.__mro__[:-1] for name in vars(base)}
        is_plain = own.isdisjoint(("__getattribute__", "__getattr__"))
        facts[key] = _ClassCallbacks(names, lacking, not LIFE_CYCLE.keys() >= set(names), is_plain)
    found: _ClassCallbacks = facts[key]
    return found


def bind_function(
    function: Callable[..., object], callback: str | None, kinds: Iterable[str] | None
) -> list[BoundHandler]:
    """Read a plain function (or any callable) as the handler ``callback``, or the one it is named after."""
    known = callback_names()
    name = callback or str(getattr(function, "__name__", ""))
    if name not in known:
        where = f"callback={callback!r}" if callback else f"function {name!r}"
        advice = "" if callback else ", or pass callback='on_quote'"
        msg = f"{where} is no known callback{nearest(name, known)}; valid are {_listed(known)}{advice}"
        raise SubscriptionError(msg, handler=name)
    return [_bind(function, name, known[name], f"function {name}", kinds)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _bind(
    handler: Callable[..., object], name: str, what: tuple[Role, int], where: str, kinds: Iterable[str] | None
) -> BoundHandler:
    role, kind = what
    wanted = [KINDS[kind].name] if kind else _published() if kinds is None else list(kinds)
    function, receiver = _unbound(handler)
    kept, key = facts_of(function), ("fields", name, what, receiver is None, *wanted, len(KINDS))
    if key not in kept:
        fields_of = _declared(handler, name, role, wanted, where)
        _refuse_generator(where, name, function)
        kept[key] = (*fields_of, is_async(function))
    positional, keywords, awaited = kept[key]
    return BoundHandler(name, role, kind, function, receiver, positional, keywords, awaited)


def _declared(
    handler: Callable[..., object], name: str, role: Role, wanted: Sequence[str], where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields that a handler declares: those by position, and those by keyword."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError) as error:
        msg = f"{where} has no readable signature ({error}): wrap it in a function that names its fields"
        raise SubscriptionError(msg, handler=name) from error
    table = _fields_by_name(len(KINDS))
    positional: list[str] = []
    keywords: list[str] = []
    skipped = False
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            msg = f"{where} takes {parameter}: name the fields it needs; valid are {_valid(table, role, wanted)}"
            raise SubscriptionError(msg, handler=name)
        if parameter.name not in table and parameter.default is not parameter.empty:
            skipped = True
            continue
        _check_field(table, parameter.name, role, wanted, where, name)
        if parameter.kind is parameter.KEYWORD_ONLY or (skipped and parameter.kind is not parameter.POSITIONAL_ONLY):
            keywords.append(parameter.name)
        elif skipped:
            msg = f"{where}: positional-only {parameter.name} follows a parameter that keeps its default: swap them"
            raise SubscriptionError(msg, handler=name)
        else:
            positional.append(parameter.name)
    return tuple(positional), tuple(keywords)


@cache
def _fields_by_name(_kinds: int) -> Mapping[str, Field]:
    """Read the field table; once for each number of kinds, since rows are only added."""
    return {field.name: field for field in fields()}


def _refuse_generator(where: str, name: str, function: object) -> None:
    if msg := generator_problem(where, function):
        raise SubscriptionError(msg, handler=name)


def _unbound(handler: Callable[..., Any]) -> tuple[Callable[..., object], object]:
    """Return the function and its self separately, so that no call makes a bound method."""
    if type(handler) is types.MethodType:
        return handler.__func__, handler.__self__
    return handler, None


def _check_field(
    table: Mapping[str, Field], parameter: str, role: Role, wanted: Sequence[str], where: str, handler: str
) -> None:
    is_plural = role in ("plural", "ticks")
    field = table.get(parameter)
    is_there = field is not None and (field.plural if is_plural else field.singular) is not None
    if field is not None and is_there and set(wanted) <= set(field.kinds):
        return
    valid = _valid(table, role, wanted)
    if field is None:
        near = nearest(parameter, [name for name in table if name in valid.split(", ")] or table)
        msg = f"{where} declares {parameter!r}, which is no field{near}; valid are {valid}"
    elif is_plural and field.plural is None:
        instead = {"symbol": "instrument_id", "instrument": "instrument_id", "venue": "instrument_id", "tick": "ticks"}
        use = f": declare {instead[parameter]}" if parameter in instead else ""
        msg = f"{where} declares {parameter!r}, which has no column{use}; valid are {valid}"
    elif not is_plural and field.singular is None:
        msg = f"{where} declares {parameter!r}, which is for plural handlers: declare tick; valid are {valid}"
    else:
        lacking = [kind for kind in wanted if kind not in field.kinds]
        advice = "" if role in ("singular", "plural") else f", or subscribe with kinds={sorted(field.kinds)}"
        msg = (
            f"{where} declares {parameter!r}, a field of {', '.join(field.kinds)} that {', '.join(lacking)} "
            f"{'does' if len(lacking) == 1 else 'do'} not have{advice}; valid are {valid}"
        )
    raise SubscriptionError(msg, handler=handler)


def _valid(table: Mapping[str, Field], role: Role, wanted: Sequence[str]) -> str:
    is_plural = role in ("plural", "ticks")
    return ", ".join(
        field.name
        for field in table.values()
        if set(wanted) <= set(field.kinds) and (field.plural if is_plural else field.singular) is not None
    )


def kinds_of(handlers: Iterable[BoundHandler], kinds: Iterable[str] | None) -> tuple[frozenset[str], frozenset[str]]:
    """Return the kinds that a subscription takes, and those that its handlers name. Raises SubscriptionError."""
    what = tuple([(handler.name, handler.role, handler.kind) for handler in handlers])
    return _kinds_of(what, None if kinds is None else tuple(kinds), len(KINDS))


@lru_cache(maxsize=256)
def _kinds_of(
    handlers: tuple[tuple[str, Role, int], ...], kinds: tuple[str, ...] | None, _kinds: int
) -> tuple[frozenset[str], frozenset[str]]:
    """Find them; once for each number of kinds, since most strategies have the same few handlers."""
    named = {KINDS[kind].name: name for name, _, kind in handlers if kind}
    chosen = {kind.name for kind in KINDS.values()} if kinds is None else {kind_named(kind).name for kind in kinds}
    # A gap handler is always allowed: every consumer can lose ticks, of any kind.
    idle = sorted(name for kind, name in named.items() if kind not in chosen and kind != "gap")
    if idle:
        msg = f"{', '.join(idle)} is never called with kinds={sorted(chosen)}: add its kind, or remove the handler"
        raise SubscriptionError(msg, handler=idle[0])
    takes_all = not handlers or any(role in ("tick", "ticks") for _, role, _ in handlers)
    return frozenset(named).union(chosen.intersection(_published()) if takes_all else ()), frozenset(named)


def _published() -> list[str]:
    """Return the kinds that are on the ring."""
    return [row.name for row in KINDS.values() if row.is_published]
