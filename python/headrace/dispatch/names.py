"""Names of strategies and subscriptions: each is unique, and free again when its owner is gone.

Guarantees: a default name is the first that is free: ``Class``, then ``Class-2``; finding it takes no walk over all.
Does not: keep a name that was given back.
"""

from __future__ import annotations

from collections.abc import Container

from headrace.errors import OptionError

__all__ = ["Names"]


class Names:
    """Finds free names. taken : the names that are in use, which the owner keeps."""

    def __init__(self, taken: Container[str]) -> None:
        self._taken = taken
        # By base, a number below which every name is taken; absent: 1.
        self._next: dict[str, int] = {}

    def checked(self, name: str) -> str:
        """Return a chosen name. Raises OptionError when it is taken."""
        if name in self._taken:
            msg = f"name={name!r} is taken: use a different name for every subscription of a dispatcher"
            raise OptionError(msg, option="name")
        return name

    def first_free(self, base: str) -> str:
        """Return the first free name: the base itself, then ``base-2`` and so on."""
        number = self._next.get(base, 1)
        while (name := base if number == 1 else f"{base}-{number}") in self._taken:
            number += 1
        if number > 1:
            self._next[base] = number
        return name

    def free(self, name: str) -> None:
        """Take a name back."""
        if not self._next:
            return
        base, _, digits = name.rpartition("-")
        number = int(digits) if base and digits.isdecimal() else 0
        for freed, at in ((name, 1), (base, number)):
            if at == 1:
                self._next.pop(freed, None)
            elif at and at < self._next.get(freed, 1):
                self._next[freed] = at
