"""ClientRates: at most so many requests a second of one client, with a burst.

Guarantees: bounded memory; a client that stays below the rate is never refused.
Does not: know users: a client is an address.
"""

from __future__ import annotations

from collections import OrderedDict

from headrace.limits import HTTP_BURST, HTTP_CLIENTS_MAX, HTTP_RATE

__all__ = ["ClientRates"]


class ClientRates:
    """The rate of each client. per_s, burst : of one. clients_max : kept; the longest silent is forgotten first."""

    def __init__(
        self, *, per_s: float = HTTP_RATE, burst: int = HTTP_BURST, clients_max: int = HTTP_CLIENTS_MAX
    ) -> None:
        self._spacing_s = 1 / per_s
        self._burst_s = (burst - 1) * self._spacing_s
        self._clients_max = clients_max
        # The time at which a client's requests so far would have come, evenly spaced, and the next one may.
        self._next_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Count a request, and return 0.0; or return the seconds after which the next one is let in. O(1)."""
        next_s = max(self._next_s.get(client, now_s), now_s)
        if (excess_s := next_s - now_s - self._burst_s) > 0:
            return excess_s
        self._next_s[client] = next_s + self._spacing_s
        self._next_s.move_to_end(client)
        if len(self._next_s) > self._clients_max:
            self._next_s.popitem(last=False)
        return 0.0
