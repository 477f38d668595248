"""Facts: what was found out about a class or a function once, and is the same for each object of it.

::

    facts_of(Momentum)[("names", shape_of(Momentum))] = …      forgotten when the class is

Guarantees: nothing is kept longer than its class or function lives, unless a fact refers to it.
Does not: notice that an attribute of a class was replaced; one that was added or removed changes its shape.
"""

from __future__ import annotations

import types
import weakref
from typing import Any, TypeAlias

__all__ = ["Facts", "facts_of", "shape_of"]

Facts: TypeAlias = dict[object, Any]

_OWNERS = (type, types.FunctionType)
# Not a WeakKeyDictionary, which looks up in Python: each strategy of a large run asks several times.
_kept: dict[weakref.ref[object], Facts] = {}


def facts_of(owner: object) -> Facts:
    """Return what is kept of a class or a plain function, to be added to; of anything else, nothing is kept."""
    if type(owner) not in _OWNERS and not isinstance(owner, type):
        return {}  # Another callable may change, or compare as it likes.
    try:
        return _kept[weakref.ref(owner)]
    except KeyError:
        found = _kept[weakref.ref(owner, _kept.pop)] = {}
        return found


def shape_of(kind: type) -> tuple[int, ...]:
    """Return how many attributes a class and its bases have: a class may get another callback later."""
    return tuple(map(len, map(vars, kind.__mro__)))
