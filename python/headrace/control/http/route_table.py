"""RouteTable: which paths and methods the control API has, and which of them need no token.

Guarantees: one table for the guard, which refuses before the framework is reached, and for the nearest path of a wrong
one.
Does not: handle requests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from litestar.routes import HTTPRoute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar import Litestar

__all__ = ["FRAMEWORK_PATHS", "RouteEntry", "RouteTable", "route_table"]

# Litestar's own pages about its document load scripts of other hosts: they are in no table.
FRAMEWORK_PATHS = "/schema"


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


def route_table(app: Litestar) -> RouteTable:
    """Return the paths of an application for its guard: methods, whether they need a token, and query parameters."""
    documented = app.openapi_schema.to_schema()["paths"]
    found = []
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path.startswith(FRAMEWORK_PATHS):
            continue
        # The framework adds one for OPTIONS of its own.
        handlers = [own for own in route.route_handlers if own.http_methods != {"OPTIONS"}]
        parameters = documented.get(route.path_format, {}).get("get", {}).get("parameters", ())
        found.append(
            RouteEntry(
                route.path_format,
                frozenset(str(method) for own in handlers for method in own.http_methods),
                frozenset(own["name"] for own in parameters if own["in"] == "query"),
                is_open=any(own.opt.get("is_open") for own in handlers),
            )
        )
    return RouteTable(found)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/")))
