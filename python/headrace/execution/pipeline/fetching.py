"""Fetch an address or a file into memory, within a deadline and a bound.

Guarantees: at most ``FETCH_BYTES_MAX`` bytes are read, within ``FETCH_S``, whatever a server sends or holds back.
Does not: follow an address to another scheme than http and https.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import VenueRequestError
from headrace.limits import FETCH_BYTES_MAX, FETCH_S

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fetched"]


def fetched(address: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return what stands at an address, or in a file. Raises VenueRequestError."""
    deadline = time.monotonic() + FETCH_S
    try:
        if not address.startswith(("http://", "https://")):
            with Path(address).open("rb") as file:
                return _bounded(address, file.read(FETCH_BYTES_MAX + 1))
        request = urllib.request.Request(address, headers=dict(headers or {}))  # noqa: S310 - http and https alone
        with urllib.request.urlopen(request, timeout=FETCH_S) as answer:  # noqa: S310 - http and https alone
            found = b""
            while len(found) <= FETCH_BYTES_MAX and (part := answer.read1(1 << 16)):
                found += part
                if time.monotonic() > deadline:
                    msg = f"{address} takes longer than {FETCH_S:g} s: try again later"
                    raise VenueRequestError(msg, url=address, status=None)
            return _bounded(address, found)
    except urllib.error.HTTPError as error:
        with error:
            msg = f"{address} answered {error.code}: check the address and the key"
        raise VenueRequestError(msg, url=address, status=error.code) from error
    except (OSError, http.client.HTTPException) as error:
        msg = f"{address} cannot be read: {error}"
        raise VenueRequestError(msg, url=address, status=None) from error


def _bounded(address: str, found: bytes) -> bytes:
    if len(found) > FETCH_BYTES_MAX:
        msg = f"{address} has more than {FETCH_BYTES_MAX:,} bytes: it is no feed of news or bars"
        raise VenueRequestError(msg, url=address, status=None)
    return found
