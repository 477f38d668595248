"""Pages: parts of lists by a cursor, and of an audit file by the place in it.

Guarantees: following ``next`` gives each item once, as long as it is kept; a page of an audit reads a bounded part of
the file, whatever it looks for.
Does not: sort.
"""

from __future__ import annotations

import os
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

__all__ = ["After", "Limit", "audit_page", "no_cursor", "page_of"]

Item = TypeVar("Item")

Limit: TypeAlias = Annotated[int, QueryParameter(ge=1, le=HTTP_PAGE_MAX, description="items of one page")]
After: TypeAlias = Annotated[
    str | None, QueryParameter(description="next of the page before; without it the first page")
]

# So much of an audit is read for one page; a search goes on with the next one.
SEARCH_BYTES_MAX = 8 << 20
# Of a place in its file.
PLACE_DIGITS_MAX = 18


def page_of(items: Sequence[Item], name_of: Callable[[Item], str], after: str | None, limit: int) -> Page[Item]:
    """Return the items behind the one that is called ``after``. Raises ProblemError: it is not kept any more."""
    start = 0
    if after is not None:
        start = next((number for number, own in enumerate(items, 1) if name_of(own) == after), 0)
        if not start:
            raise no_cursor(after)
    part = list(items[start : start + limit])
    has_more = start + len(part) < len(items)
    return Page(items=part, next=name_of(part[-1]) if part and has_more else None)


def audit_page(path: Path, after: str | None, limit: int, event_type: str | None, contains: str | None) -> Page[Any]:
    """Return events of an audit file, from the place ``after`` on. Reads the disk: call it in a thread.

    event_type : only events of this type. contains : only those whose line has each of these words, in whatever case.
    Raises ProblemError (no place in the file) and OSError.
    """
    words = [] if contains is None else contains.encode().lower().split()
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
            if not words or _has_all(words, line.lower()):
                event = msgspec.json.decode(line)
                if event_type in (None, event["type"]):
                    items.append(event)
    return Page(items=items, next=str(place))


def _has_all(words: Sequence[bytes], line: bytes) -> bool:
    return all(word in line for word in words)


def _seek(file: Any, after: str) -> None:
    is_number = after.isascii() and after.isdigit() and len(after) <= PLACE_DIGITS_MAX
    # A system seeks only as far as its files can be long.
    if not is_number or int(after) > os.fstat(file.fileno()).st_size:
        raise no_cursor(after)
    # The byte before a line ends the one before it.
    file.seek(max(0, int(after) - 1))
    if file.read(1) != b"\n":
        raise no_cursor(after)


def no_cursor(after: str) -> ProblemError:
    """Return the refusal of a cursor that names nothing."""
    detail = f"there is nothing called {after[:100]} in this list any more: begin without after"
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail, field="after")
