"""The weight of REST requests: one budget for each address, shared by all that ask there.

::

    spend(weight, urgent) ─▶ room in this minute? ─▶ go on         429, 418: everything waits as long as the venue says

Guarantees: requests leave by urgency, then in order; the venue's own count, in each answer, corrects ours.
Does not: send anything.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Budget", "budget_of"]

# Others may use the address, too: an operator's browser, a second process.
SHARE = 0.8
MINUTE_S = 60.0


class Budget:
    """What one address may be asked for. weight_max : of a minute."""

    def __init__(self, weight_max: int, *, minute_s: float = MINUTE_S) -> None:
        self.weight_max = weight_max
        self._minute_s = minute_s
        self._minute = 0
        self.used = 0
        self._paused_until = 0.0
        self._order = count()
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def spend(self, weight: int, *, urgency: int = 0) -> None:
        """Wait until a request of this weight may leave. urgency : higher ones leave first."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-urgency, next(self._order), weight, ready))
        self._serve()
        await ready

    def learn(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the venue's count out of an answer, and obey its wait."""
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdigit():
            self._begin_minute()
            self.used = max(self.used, int(used))
        if status in (418, 429):
            wait = headers.get("Retry-After", "")
            self._paused_until = time.monotonic() + (float(wait) if wait.isdigit() else self._minute_s)

    @property
    def paused_s(self) -> float:
        """For how long nothing may leave."""
        return max(0.0, self._paused_until - time.monotonic())

    def _begin_minute(self) -> None:
        if (minute := int(time.monotonic() // self._minute_s)) != self._minute:
            self._minute, self.used = minute, 0

    def _serve(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._begin_minute()
        while self._waiting and not self._waits_s(self._waiting[0][2]):
            _, _, weight, ready = heapq.heappop(self._waiting)
            if not ready.done():
                self.used += weight
                ready.set_result(None)
        if self._waiting:
            wait_s = self._waits_s(self._waiting[0][2])
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._serve)

    def _waits_s(self, weight: int) -> float:
        if (paused_s := self.paused_s) > 0:
            return paused_s
        if self.used and self.used + weight > self.weight_max * SHARE:
            return self._minute_s - time.monotonic() % self._minute_s + 0.01
        return 0.0


_budgets: dict[str, Budget] = {}


def budget_of(address: str, weight_max: int, minute_s: float) -> Budget:
    """Return the one budget of an address in this process."""
    return _budgets.setdefault(address, Budget(weight_max, minute_s=minute_s))
