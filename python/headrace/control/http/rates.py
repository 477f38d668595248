"""ClientRates: at most so many requests a second of one client, with a burst.

Guarantees: bounded memory; a client that stays below the rate is never refused.
Does not: know users: a client is an address.
"""

from __future__ import annotations

from collections import OrderedDict

from headrace.limits import HTTP_BURST, HTTP_CLIENTS_MAX, HTTP_RATE

__all__ = ["ClientRates"]

SECOND_NS = 1_000_000_000


class ClientRates:
    """The rate of each client. per_s, burst : of one. clients_max : kept; the longest silent is forgotten first."""

    def __init__(
        self, *, per_s: float = HTTP_RATE, burst: int = HTTP_BURST, clients_max: int = HTTP_CLIENTS_MAX
    ) -> None:
        # Whole numbers: sums of a thousand floats refuse the last request of a burst.
        self._spacing_ns = round(SECOND_NS / per_s)
        self._burst_ns = (burst - 1) * self._spacing_ns
        self._clients_max = clients_max
        # The time at which a client's requests so far would have come, evenly spaced, and the next one may.
        self._next_ns: OrderedDict[str, int] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Count a request, and return 0.0; or return the seconds after which the next one is let in. O(1)."""
        now_ns = round(now_s * SECOND_NS)
        next_ns = max(self._next_ns.get(client, now_ns), now_ns)
        if (excess_ns := next_ns - now_ns - self._burst_ns) > 0:
            return excess_ns / SECOND_NS
        self._next_ns[client] = next_ns + self._spacing_ns
        self._next_ns.move_to_end(client)
        if len(self._next_ns) > self._clients_max:
            self._next_ns.popitem(last=False)
        return 0.0
