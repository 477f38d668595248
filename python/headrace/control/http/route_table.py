"""RouteTable: which paths and methods the control API has, and which of them need no token.

Guarantees: one table for the guard, which refuses before the framework is reached, and for the nearest path of a wrong
one.
Does not: handle requests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["RouteEntry", "RouteTable"]


class RouteEntry(NamedTuple):
    """One path.

    path : with parameters in braces: "/v1/orders/{order_id}". query : the names that a query may have.
    is_open : whether it needs no token.
    """

    path: str
    methods: frozenset[str]
    query: frozenset[str] = frozenset()
    is_open: bool = False


class RouteTable:
    """The paths of one server."""

    def __init__(self, entries: Iterable[RouteEntry]) -> None:
        self.entries = tuple(entries)
        self._plain = {entry.path: entry for entry in self.entries if "{" not in entry.path}
        self._patterns = [(_pattern(entry.path), entry) for entry in self.entries if "{" in entry.path]

    def find(self, path: str) -> RouteEntry | None:
        """Return the entry of a path; None: there is none."""
        if entry := self._plain.get(path):
            return entry
        return next((entry for pattern, entry in self._patterns if pattern.fullmatch(path)), None)

    @property
    def paths(self) -> list[str]:
        """Every path."""
        return [entry.path for entry in self.entries]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/")))
