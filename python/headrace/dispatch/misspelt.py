"""Misspelt names of a strategy's class, which nothing would read: handlers, ``subscription`` and ``bars``.

Guarantees: a name that differs from a known one by a letter or two is an error, also where a method assigns it to self.
Does not: refuse every unknown ``on_`` name of a class (``signature``), or read an object: that would make its
``__dict__``, which slows attribute access.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import TYPE_CHECKING

from headrace.errors import SubscriptionError
from headrace.market.checks import mistaken_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["refuse_misspelt"]


def refuse_misspelt(kind: type, callbacks: Iterable[str]) -> None:
    """Refuse methods and options of a class with nearly the name of a known one. Raises SubscriptionError."""
    known = tuple(callbacks)
    for name, meant in (*_of_class(kind, known), *_of_self(kind, known)):
        if meant:
            msg = f"{kind.__name__}.{name} is never read: did you mean {meant}? give it that name, or one less near"
            raise SubscriptionError(msg, handler=name)


def _of_class(kind: type, callbacks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield names of the class, each with the one that was meant, or nothing."""
    own = {name: value for base in kind.__mro__ for name, value in vars(base).items() if name[:1] != "_"}
    for name, value in own.items():
        if callable(value) and name[:2].lower() == "on" and name[:3] != "on_":
            yield name, mistaken_for(name, callbacks)
        elif isinstance(value, Mapping) and value:
            yield name, mistaken_for(name, ("subscription",))
        elif isinstance(value, str | list | tuple) and value:
            yield name, mistaken_for(name, ("bars",))


def _of_self(kind: type, callbacks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield names like a handler's that methods of the class assign to an attribute, as ``_of_class`` does."""
    for base in kind.__mro__:
        for method in vars(base).values():
            code = method.__code__ if isinstance(method, FunctionType) else None
            if code is None or not any(name[:2].lower() == "on" for name in code.co_names):
                continue
            import dis  # Few classes have such a method.

            for step in dis.get_instructions(code):
                if step.opname == "STORE_ATTR" and step.argval[:2].lower() == "on":
                    yield step.argval, mistaken_for(step.argval, callbacks)
