"""StrategySpec: a strategy as an engine takes it: what it is, its name, its options, and how a restart makes it again.

Guarantees: every strategy of an engine has a name of its own; what is no strategy is refused at once.
Does not: run it (``runner``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, cast

from headrace.dispatch.names import Names
from headrace.dispatch.options import SubscriptionOptions
from headrace.errors import EngineError, OptionError, SubscriptionError
from headrace.market.bars import BarSpec
from headrace.market.checks import of_type, one_of
from headrace.market.facts import facts_of, shape_of
from headrace.strategies.strategy import Strategy

__all__ = ["AnyStrategy", "Strategies", "StrategySpec", "named_specs", "specs_of"]

Handler: TypeAlias = "Strategy | type[Strategy] | Callable[..., object]"


@dataclass(frozen=True, kw_only=True)
class StrategySpec:
    """A strategy as an engine takes it.

    strategy : its class, an object, or a function that is named after a callback.
    parameters : for the class. factory : makes a fresh object for a restart, in place of class and parameters.
    name : unique in an engine; the class's or function's unless given. callback : which one a function is.
    subscription : options over those of the class. bars : in place of the class's.
    on_quarantine : "cancel" its open orders, or "keep" them.

    Raises SubscriptionError (no handler) and OptionError.
    """

    strategy: Handler
    name: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    factory: Callable[[], Strategy] | None = None
    callback: str | None = None
    subscription: Mapping[str, Any] = field(default_factory=dict)
    bars: Sequence[object] | None = None
    on_quarantine: Literal["cancel", "keep"] = "cancel"

    def __post_init__(self) -> None:
        given: object = self.strategy
        if isinstance(given, type) and not issubclass(given, Strategy):
            msg = f"{given.__name__} is no Strategy: subclass headrace.Strategy, or pass a function"
            raise SubscriptionError(msg, handler=given.__name__)
        if not (isinstance(given, Strategy) or callable(given)):
            msg = f"strategy {given!r} has no handler: pass a Strategy, its class, or a function named after a callback"
            raise SubscriptionError(msg, handler="")
        of_type("name", self.name, str, None)
        of_type("parameters", self.parameters, Mapping)
        of_type("factory", self.factory, Callable, None)  # type: ignore[arg-type]  # isinstance takes it
        of_type("callback", self.callback, str, None)
        of_type("subscription", self.subscription, Mapping)
        of_type("bars", self.bars, Sequence, None)
        one_of("on_quarantine", self.on_quarantine, ("cancel", "keep"))

    @property
    def title(self) -> str:
        """The name of its class or function."""
        given = self.strategy
        return str(getattr(given, "__name__", type(given).__name__))

    def options_of(self, strategy: Strategy | Callable[..., object]) -> dict[str, Any]:
        """Return the options of its subscription: over those of the class."""
        declared = strategy.subscription if isinstance(strategy, Strategy) else {}
        return {**declared, **self.subscription}

    def unread_options(self, strategy: Strategy | Callable[..., object]) -> list[tuple[str, str]]:
        """Return attributes of its class that look like options it does not set, each with the option."""
        if not isinstance(strategy, Strategy):
            return []
        kind = type(strategy)
        alike = [(name, option) for name, option in _option_names(kind) if _is_one(kind, name, option)]
        given = self.options_of(strategy) if alike else {}
        return [(name, option) for name, option in alike if option not in given]

    def bars_of(self, strategy: Strategy | Callable[..., object]) -> list[BarSpec]:
        """Return its bars: a timeframe is of trades, for each of its instruments. Raises OptionError."""
        declared = strategy.bars if isinstance(strategy, Strategy) else ()
        wanted = declared if self.bars is None else self.bars
        if not wanted:
            return []
        instruments = self.options_of(strategy).get("instruments", "*")
        patterns = [instruments] if isinstance(instruments, str) else list(instruments)
        specs: list[BarSpec] = []
        for want in [wanted] if isinstance(wanted, str | BarSpec) else wanted:
            specs += [want] if isinstance(want, BarSpec) else [BarSpec(pattern, str(want)) for pattern in patterns]
        return specs

    @property
    def can_restart(self) -> bool:
        """Whether a fresh object can be made; a function has no state, so it is used again."""
        return self.factory is not None or not isinstance(self.strategy, Strategy)

    def restart_problem(self, name: str) -> str:
        """Return why no fresh object can be made; empty when one can. name : what the message calls the strategy."""
        if self.can_restart:
            return ""
        return (
            f"{name} was passed as an object, which cannot be made again: pass its class and parameters, or factory= "
            f"in a StrategySpec"
        )

    def first(self) -> Strategy | Callable[..., object]:
        """Return the object that runs first."""
        if isinstance(self.strategy, type):
            return self.fresh()
        return self.strategy

    def fresh(self) -> Strategy | Callable[..., object]:
        """Return a fresh object. Raises EngineError when there is no way to make one."""
        if self.factory is not None:
            return self.factory()
        if isinstance(self.strategy, type):
            made: Strategy = self.strategy(**self.parameters)
            return made
        if problem := self.restart_problem(self.title):
            raise EngineError(problem)
        return self.strategy


def _option_names(kind: type[Strategy]) -> tuple[tuple[str, str], ...]:
    """Return attributes of a class that have the name of an option, or its singular, and are no parameters of it."""
    facts, key = facts_of(kind), ("option names", shape_of(kind))
    if key not in facts:
        names = [
            (name, option)
            for option in SubscriptionOptions.__struct_fields__
            for name in {option: 0, option.removesuffix("s"): 0}
        ]
        parameters = inspect.signature(kind.__init__).parameters
        facts[key] = tuple((name, option) for name, option in names if hasattr(kind, name) and name not in parameters)
    found: tuple[tuple[str, str], ...] = facts[key]
    return found


def _is_one(kind: type[Strategy], name: str, option: str) -> bool:
    """Return whether an attribute of a class could be the value of an option."""
    value = getattr(kind, name)
    try:
        SubscriptionOptions.checked(**{option: value})
    except (OptionError, TypeError):
        return False
    return value is not None


# A pair holds the options of its subscription, and may name it.
AnyStrategy: TypeAlias = "StrategySpec | Handler | tuple[Handler, Mapping[str, object]]"
Strategies: TypeAlias = "AnyStrategy | Iterable[AnyStrategy]"


def specs_of(strategies: Strategies, defaults: Mapping[str, object] | None = None) -> list[StrategySpec]:
    """Return the spec of each strategy. Raises SubscriptionError.

    defaults : options of every subscription that is not paired with options of its own.
    """
    return [_spec_of(given, defaults or {}) for given in _listed(strategies)]


def named_specs(strategies: Strategies) -> dict[str, StrategySpec]:
    """Return the spec of each strategy by its name: as given, or ``Class``, ``Class-2``.

    Raises EngineError (a name or an object twice) and SubscriptionError.
    """
    named: dict[str, StrategySpec] = {}
    names = Names(named)
    objects: dict[int, str] = {}
    for spec in specs_of(strategies):
        if spec.name is not None and spec.name in named:
            msg = f"strategy name {spec.name!r} is taken: every strategy of an engine has a name of its own"
            raise EngineError(msg)
        name = spec.name or names.first_free(spec.title)
        named[name] = spec
        if isinstance(spec.strategy, Strategy):
            other = objects.setdefault(id(spec.strategy), name)
            if other != name:
                msg = f"{name} is the same object as {other}: make another {spec.title}, or pass the class"
                raise EngineError(msg)
    return named


def _listed(strategies: Strategies) -> list[AnyStrategy]:
    is_one = isinstance(strategies, Strategy | StrategySpec) or callable(strategies) or _is_pair(strategies)
    if is_one or not isinstance(strategies, Iterable):
        return [cast("AnyStrategy", strategies)]
    return list(cast("Iterable[AnyStrategy]", strategies))


def _is_pair(given: object) -> bool:
    return isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping)


def _spec_of(given: AnyStrategy, defaults: Mapping[str, object]) -> StrategySpec:
    if isinstance(given, StrategySpec):
        return replace(given, subscription={**defaults, **given.subscription}) if defaults else given
    handler, own = cast("tuple[Handler, Mapping[str, Any]]", given if _is_pair(given) else (given, {}))
    options: dict[str, Any] = {**defaults, **own}
    name, callback = options.pop("name", None), options.pop("callback", None)
    return StrategySpec(strategy=handler, name=name, callback=callback, subscription=options)
