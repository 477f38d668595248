"""The other process of row 24: asks for one path at a rate, over one connection. It needs nothing but Python.

python http_asker.py PORT TOKEN REQUESTS_PER_S    until its standard input closes; prints the durations, ms, as JSON
"""

from __future__ import annotations

import http.client
import json
import selectors
import sys
import time


def ask(port: int, token: str, per_s: float) -> list[float]:
    """Ask until standard input closes or the server ends; return how long each answer took, ms. Each must be a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    durations_ms: list[float] = []
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        due_s = time.perf_counter()
        while not selector.select(max(0.0, due_s - time.perf_counter())):
            began_s = time.perf_counter()
            try:
                connection.request("GET", "/v1/status", headers={"Authorization": f"Bearer {token}"})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                break  # The ticks are over, and the engine ends.
            assert response.status == 200, response.status
            durations_ms.append((time.perf_counter() - began_s) * 1e3)
            due_s = max(due_s + 1 / per_s, began_s)
    connection.close()
    return durations_ms


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
