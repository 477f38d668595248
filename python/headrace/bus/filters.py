"""Filter rules: which events of a route go on, by a path into the event and a comparison.

::

    {"path": "payload.price", "op": "eq", "value": 61837.6}        all rules of a route must hold

Guarantees: a rule is checked when it is made; a path that an event does not have makes the rule false, except "neq".
Does not: convert: a text is no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from headrace.market.checks import refuse

__all__ = ["FilterOp", "FilterRule", "passes"]

FilterOp: TypeAlias = Literal["eq", "neq", "in", "prefix"]
PLAIN = (str, int, float, bool, type(None))
MISSING = object()


class FilterRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule. Raises OptionError.

    path : names joined by dots, from the event down, like payload.price.
    op : "eq", "neq", "in" (the value is a list) or "prefix" (a text).
    value : compared with what is at the path, without converting.
    """

    path: str
    op: FilterOp
    value: str | int | float | bool | list[str | int | float | bool | None] | None

    def __post_init__(self) -> None:
        if not all(self.path.split(".")):
            refuse("path", self.path, "names joined by dots, such as payload.price")
        if self.op == "in" and not isinstance(self.value, list):
            refuse("value", self.value, 'a list, for op "in"')
        if self.op != "in" and not isinstance(self.value, PLAIN):
            refuse("value", self.value, f"one value, for op {self.op!r}")
        if self.op == "prefix" and not isinstance(self.value, str):
            refuse("value", self.value, 'a text, for op "prefix"')

    def holds(self, event: object) -> bool:
        """Return whether an event passes."""
        found = _at(event, self.path)
        match self.op:
            case "eq":
                return _same(found, self.value)
            case "neq":
                return not _same(found, self.value)
            case "in":
                assert isinstance(self.value, list)
                return any(_same(found, own) for own in self.value)
            case "prefix":
                assert isinstance(self.value, str)
                return isinstance(found, str) and found.startswith(self.value)


def passes(event: object, rules: tuple[FilterRule, ...]) -> bool:
    """Return whether an event passes every rule."""
    return all(rule.holds(event) for rule in rules)


def _same(found: object, wanted: object) -> bool:
    # True equals 1 in Python, and is no number in an event.
    return found is not MISSING and isinstance(found, bool) == isinstance(wanted, bool) and found == wanted


def _at(event: object, path: str) -> Any:
    found: Any = event
    for name in path.split("."):
        found = found.get(name, MISSING) if isinstance(found, Mapping) else getattr(found, name, MISSING)
        if found is MISSING:
            return MISSING
    return found
