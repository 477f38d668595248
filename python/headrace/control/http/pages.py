"""Pages: parts of lists by a cursor, and of an audit file by the place in it.

Guarantees: following ``next`` gives each item once, as long as it is kept; a page of an audit reads a bounded part of
the file, whatever it looks for.
Does not: sort.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import msgspec
from litestar.params import QueryParameter

from headrace.control.http.problems import ProblemError
from headrace.control.http.views import Page
from headrace.limits import HTTP_PAGE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["After", "Limit", "audit_page", "page_of"]

Item = TypeVar("Item")

Limit: TypeAlias = Annotated[int, QueryParameter(ge=1, le=HTTP_PAGE_MAX, description="items of one page")]
After: TypeAlias = Annotated[
    str | None, QueryParameter(description="next of the page before; without it the first page")
]

# So much of an audit is read for one page; a search goes on with the next one.
SEARCH_BYTES_MAX = 8 << 20


def page_of(items: Sequence[Item], name_of: Callable[[Item], str], after: str | None, limit: int) -> Page[Item]:
    """Return the items behind the one that is called ``after``. Raises ProblemError: it is not kept any more."""
    start = 0
    if after is not None:
        start = next((number for number, own in enumerate(items, 1) if name_of(own) == after), 0)
        if not start:
            raise _no_cursor(after)
    part = list(items[start : start + limit])
    has_more = start + len(part) < len(items)
    return Page(items=part, next=name_of(part[-1]) if part and has_more else None)


def audit_page(path: Path, after: str | None, limit: int, event_type: str | None, contains: str | None) -> Page[Any]:
    """Return events of an audit file, from the place ``after`` on. Reads the disk: call it in a thread.

    event_type : only events of this type. contains : only those whose line contains this text.
    Raises ProblemError (no place in the file) and OSError.
    """
    wanted = None if contains is None else contains.encode()
    items: list[Any] = []
    with path.open("rb") as file:
        if after is None:
            file.readline()  # Its header is no event.
        else:
            _seek(file, after)
        place = first = file.tell()
        while len(items) < limit and place - first < SEARCH_BYTES_MAX:
            line = file.readline()
            if not line.endswith(b"\n"):
                # The last line may be half written.
                return Page(items=items, next=str(place) if items or after else None)
            place += len(line)
            if wanted is None or wanted in line:
                event = msgspec.json.decode(line)
                if event_type in (None, event["type"]):
                    items.append(event)
    return Page(items=items, next=str(place))


def _seek(file: Any, after: str) -> None:
    if not after.isdecimal() or len(after) > 18:
        raise _no_cursor(after)
    # The byte before a line ends the one before it.
    file.seek(max(0, int(after) - 1))
    if file.read(1) != b"\n":
        raise _no_cursor(after)


def _no_cursor(after: str) -> ProblemError:
    detail = f"there is nothing called {after[:100]} in this list any more: begin without after"
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail, field="after")
