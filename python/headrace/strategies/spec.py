"""StrategySpec: a strategy as an engine takes it: what it is made of, and under which name.

Guarantees: every strategy of an engine has a name of its own; what is no strategy is refused at once.
Does not: run it (``runner``).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import EngineError, SubscriptionError
from headrace.market.bars import BarSpec
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["StrategySpec", "bar_specs", "copied", "named_specs", "pristine"]


@dataclass(frozen=True, kw_only=True)
class StrategySpec:
    """A strategy as an engine takes it.

    strategy : its class, or an object, of which a restart uses a fresh copy. parameters : for the class.
    make : makes one, in place of class and parameters. name : unique in an engine; the class's.
    subscription : options beside those of the class. bars : in place of the class's.
    on_quarantine : "cancel" its open orders, or "keep" them.
    """

    strategy: Strategy | type[Strategy]
    name: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[], Strategy] | None = None
    subscription: Mapping[str, Any] = field(default_factory=dict)
    bars: Sequence[object] | None = None
    on_quarantine: Literal["cancel", "keep"] = "cancel"


def pristine(spec: StrategySpec) -> Strategy | None:
    """Return a copy of a strategy object as it was given, for restarts; None: not needed, or it cannot be copied."""
    if isinstance(spec.strategy, type):
        return None
    try:
        return copied(spec.strategy)
    except Exception:  # noqa: BLE001 - files, sockets, locks: a restart will say so
        return None


def copied(strategy: Strategy) -> Strategy:
    """Return a copy of a strategy; both are as fast as one that was never copied. Raises what cannot be copied."""
    try:
        made = copy.deepcopy(strategy)
    finally:
        _quicken(strategy)
    _quicken(made)
    return made


def _quicken(strategy: Strategy) -> None:
    """Give a strategy attributes that CPython can find quickly again.

    Before 3.13 copying leaves an object with a dictionary that shares its keys, for which no instruction that reads an
    attribute is ever specialised: a handler of three attributes takes twice as long.
    """
    if sys.version_info < (3, 13) and hasattr(strategy, "__dict__"):
        strategy.__dict__ = dict(strategy.__dict__)


def bar_specs(wanted: Iterable[object], instruments: str | Iterable[str]) -> list[BarSpec]:
    """Return what bars a strategy wants: timeframes are of trades, for each of its instruments. Raises OptionError."""
    patterns = [instruments] if isinstance(instruments, str) else list(instruments)
    specs: list[BarSpec] = []
    for want in wanted:
        if isinstance(want, BarSpec):
            specs.append(want)
        else:
            specs += [BarSpec(pattern, str(want)) for pattern in patterns]
    return specs


def named_specs(strategies: Iterable[object]) -> dict[str, StrategySpec]:
    """Give every strategy a name of its own: as it was told, or ``Class``, ``Class-2``."""
    named: dict[str, StrategySpec] = {}
    objects: dict[int, str] = {}
    for given in strategies:
        spec = _spec_of(given)
        if spec.name is not None and spec.name in named:
            msg = f"strategy name {spec.name!r} is taken: every strategy of an engine has a name of its own"
            raise EngineError(msg)
        made = spec.strategy if isinstance(spec.strategy, type) else type(spec.strategy)
        base, number, name = made.__name__, 1, spec.name or made.__name__
        while name in named:
            number += 1
            name = f"{base}-{number}"
        named[name] = spec
        if not isinstance(spec.strategy, type) and spec.make is None:
            other = objects.setdefault(id(spec.strategy), name)
            if other != name:
                msg = f"{name} is the same object as {other}: make another {made.__name__}, or give the class"
                raise EngineError(msg)
    return named


def _spec_of(given: object) -> StrategySpec:
    if isinstance(given, StrategySpec):
        return given
    if isinstance(given, Strategy) or (isinstance(given, type) and issubclass(given, Strategy)):
        return StrategySpec(strategy=given)
    msg = f"{given!r} is no Strategy: subclass headrace.Strategy"
    raise SubscriptionError(msg, handler="")
