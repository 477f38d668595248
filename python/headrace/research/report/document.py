"""The frame of every page: head, tiles, sections and cards, and the file that it becomes.

Guarantees: nothing is loaded from anywhere; titles and tiles are escaped.
Does not: know what a page shows; ``page`` and ``executions`` do.
"""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import ResultError
from headrace.feeds.files import write_whole
from headrace.research.report.style import SCRIPT, STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Tile", "card", "document", "pair", "section", "tiles", "write_page"]


class Tile(NamedTuple):
    """A figure at the top of a page. sign : above 0 it is a gain, below 0 a loss."""

    name: str
    text: str
    sign: float = 0.0


def document(title: str, header: str, sections: Iterable[str], *, script: str = "") -> str:
    """Return the HTML document. header, sections : HTML. script : what the charts need, in the head."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{script}</head><body><main>"
        f"{header}{''.join(sections)}</main><script>{SCRIPT}</script></body></html>"
    )


def tiles(own: Iterable[Tile]) -> str:
    """Return figures side by side."""
    boxes = "".join(
        f'<div class="tile"><span>{escape(name)}</span><b class="{_sign(sign)}">{escape(text)}</b></div>'
        for name, text, sign in own
    )
    return f'<div class="tiles">{boxes}</div>'


def section(title: str, *parts: str) -> str:
    """Return parts below a title; without content there is no title."""
    body = "".join(parts)
    return f"<h2>{escape(title)}</h2>{body}" if body else ""


def pair(*charts: str) -> str:
    """Return charts side by side where there is room."""
    return f'<div class="pair">{"".join(charts)}</div>' if any(charts) else ""


def card(body: str) -> str:
    """Return HTML in a box."""
    return f'<div class="card">{body}</div>'


def write_page(page: str, path: str | os.PathLike[str]) -> Path:
    """Write a page and return its path. Raises ResultError: it cannot be written."""
    return write_whole(Path(path), page.encode(), "report", ResultError)


def _sign(value: float) -> str:
    return "gain-text" if value > 0 else "loss-text" if value < 0 else ""
