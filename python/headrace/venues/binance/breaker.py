"""A circuit breaker: after several failures in a row nothing is asked for a while, then one request tries again.

::

    CLOSED ──failures──▶ OPEN ──time──▶ HALF_OPEN ──success──▶ CLOSED
                          ▲                 └──failure──▶ OPEN, for longer

What happens when the one that tries is given up
    ``forgotten`` lets the next one try: a request that was cancelled, or ends by an error of our own, decides nothing.

Guarantees: each change of state is passed on; a request that is refused here never left.
Does not: retry.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, TypeAlias
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Breaker", "BreakerState", "breaker_of"]

BreakerState: TypeAlias = Literal["CLOSED", "OPEN", "HALF_OPEN"]
FAILURES_MAX = 5
OPEN_S, OPEN_MAX_S = 1.0, 60.0
# How long others wait for the one that tries, before they look again.
TRYING_S = 0.25


class Breaker:
    """One breaker. state : "CLOSED", "OPEN" or "HALF_OPEN"."""

    def __init__(self) -> None:
        self.state: BreakerState = "CLOSED"
        self._followers: list[Callable[[BreakerState], object]] = []
        self._failures = 0
        self._open_s = OPEN_S
        self._until = 0.0

    def follow(self, call: Callable[[BreakerState], object]) -> None:
        """Call a function with each new state."""
        self._followers.append(call)

    def unfollow(self, call: Callable[[BreakerState], object]) -> None:
        """Call a function no more."""
        self._followers.remove(call)

    def allows(self) -> bool:
        """Return whether a request may leave; when the time has come, one may."""
        if self.state == "OPEN" and time.monotonic() >= self._until:
            self._change("HALF_OPEN")
            return True
        return self.state == "CLOSED"

    @property
    def wait_s(self) -> float:
        """How long nothing will be let through, as far as that is known."""
        if self.state == "HALF_OPEN":
            return TRYING_S
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

    def forgotten(self) -> None:
        """Note that a request ended without an answer of which anything follows."""
        if self.state == "HALF_OPEN":
            self._until = time.monotonic()
            self._change("OPEN")

    def _change(self, state: BreakerState) -> None:
        if state != self.state:
            self.state = state
            for call in tuple(self._followers):
                call(state)


_breakers: WeakValueDictionary[str, Breaker] = WeakValueDictionary()


def breaker_of(address: str) -> Breaker:
    """Return the one breaker of an address in this process; it lasts as long as a client of the address."""
    return _breakers.setdefault(address, Breaker())
