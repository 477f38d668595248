"""PageFiles: the files of the page, read once, with what a browser may do with them.

Guarantees: only what is in the folder is served; the document names the version of all files, so that a page notices
when it is older than its server; the policy allows no script, style or image of another host, nor inline ones, and
requests to its own server and to named engines alone.
Does not: speak HTTP; ``control.http`` serves what is here.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

__all__ = ["PageFile", "PageFiles", "page_files", "page_policy"]

DOCUMENT = "index.html"
# In the document, in place of the version.
VERSION_MARK = b"PAGE_VERSION"
VERSION_CHARACTERS = 12
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS: Mapping[str, str] = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Asked for each time, answered with 304 where nothing has changed: no page is older than its server for long.
    "cache-control": "no-cache",
}


def page_policy(engines: Sequence[str] = ()) -> dict[str, str]:
    """Return the headers of each file. engines : origins that the page's requests may go to beside its own."""
    asked = " ".join(["'self'", *engines])
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {asked}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return {"content-security-policy": policy, **HEADERS}


class PageFile(NamedTuple):
    """One file. path : where it is served: "/" for the document, "/page/…" for the others. tag : its ETag."""

    path: str
    body: bytes
    media_type: str
    tag: str


class PageFiles:
    """All files of the page. version : of all of them together."""

    def __init__(self) -> None:
        bodies = dict(_bodies(resources.files(__package__).joinpath("page")))
        digest = hashlib.sha256()
        for name, body in sorted(bodies.items()):
            digest.update(f"{name} {len(body)} ".encode() + body)
        self.version = digest.hexdigest()[:VERSION_CHARACTERS]
        bodies[DOCUMENT] = bodies[DOCUMENT].replace(VERSION_MARK, self.version.encode())
        self.files = tuple(_file(name, body) for name, body in sorted(bodies.items()))


@cache
def page_files() -> PageFiles:
    """Return the files of the page, read at the first call."""
    return PageFiles()


def _bodies(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield each file below a folder: its path there, and its bytes."""
    entries: Iterable[Traversable] = folder.iterdir()
    for entry in entries:
        name = prefix + entry.name
        if entry.is_dir():
            yield from _bodies(entry, f"{name}/")
        elif any(name.endswith(suffix) for suffix in MEDIA_TYPES):
            yield name, entry.read_bytes()


def _file(name: str, body: bytes) -> PageFile:
    suffix = name[name.rindex(".") :]
    tag = f'"{hashlib.sha256(body).hexdigest()[:VERSION_CHARACTERS]}"'
    return PageFile("/" if name == DOCUMENT else f"/page/{name}", body, MEDIA_TYPES[suffix], tag)
