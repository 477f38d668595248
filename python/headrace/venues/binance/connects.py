"""Connects: how many web sockets one address may open in a while, shared by every line of this process.

::

    under_way ─▶ answered, or failed ─▶ wait_s: 0, or until the oldest of them is old enough

Guarantees: fewer connects leave than the venue allows; a failed one counts, too, and each until its
answer is old enough: the venue counted it before that.
Does not: connect, or wait.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headrace.venues.binance.budget import SHARE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Connects", "connects_of"]


# Until the next look, where all that may be open are being opened.
LOOK_AGAIN_S = 0.1


class Connects:
    """The connects to one host. most : that the venue allows within ``within_s`` seconds."""

    def __init__(self, most: int, within_s: float) -> None:
        self._most = max(1, int(most * SHARE))
        self._within_s = within_s
        self._under_way = 0
        self._answered: deque[float] = deque()

    @property
    def wait_s(self) -> float:
        """How long the next connect must wait; 0: it may leave now."""
        now = time.monotonic()
        while self._answered and now - self._answered[0] >= self._within_s:
            self._answered.popleft()
        if len(self._answered) + self._under_way < self._most:
            return 0.0
        return self._answered[0] + self._within_s - now if self._answered else LOOK_AGAIN_S

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a connect that leaves now, and is answered, or fails, at the end of the block."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._answered.append(time.monotonic())


_connects: dict[tuple[str, int, float], Connects] = {}


def connects_of(url: str, most: int, within_s: float) -> Connects:
    """Return the one count of the connects to a host in this process."""
    host = urlsplit(url).netloc
    return _connects.setdefault((host, most, within_s), Connects(most, within_s))
