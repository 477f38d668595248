"""A circuit breaker: after several failures in a row nothing is asked for a while, then one request tries again.

::

    CLOSED ──failures──▶ OPEN ──time──▶ HALF_OPEN ──success──▶ CLOSED
                          ▲                 └──failure──▶ OPEN, for longer

Guarantees: each change of state is passed on; a request that is refused here never left.
Does not: retry.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Breaker", "BreakerState"]

BreakerState: TypeAlias = Literal["CLOSED", "OPEN", "HALF_OPEN"]
FAILURES_MAX = 5
OPEN_S, OPEN_MAX_S = 1.0, 60.0


class Breaker:
    """One breaker. on_change : receives each new state."""

    def __init__(self, on_change: Callable[[BreakerState], None] = lambda _: None) -> None:
        self.state: BreakerState = "CLOSED"
        self._on_change = on_change
        self._failures = 0
        self._open_s = OPEN_S
        self._until = 0.0

    def allows(self) -> bool:
        """Return whether a request may leave; when the time has come, one may."""
        if self.state == "OPEN" and time.monotonic() >= self._until:
            self._change("HALF_OPEN")
            return True
        return self.state == "CLOSED"

    @property
    def wait_s(self) -> float:
        """How long nothing will be let through."""
        return max(0.0, self._until - time.monotonic()) if self.state == "OPEN" else 0.0

    def succeeded(self) -> None:
        """Note an answer."""
        self._failures, self._open_s = 0, OPEN_S
        self._change("CLOSED")

    def failed(self) -> None:
        """Note a request without a useful answer."""
        self._failures += 1
        if self.state == "HALF_OPEN":
            self._open_s = min(self._open_s * 2, OPEN_MAX_S)
        elif self._failures < FAILURES_MAX:
            return
        self._until = time.monotonic() + self._open_s
        self._change("OPEN")

    def _change(self, state: BreakerState) -> None:
        if state != self.state:
            self.state = state
            self._on_change(state)
