"""csp: two NumPy curves, bid and ask, and a Python node with the workload's handler.

Tuned: curves are arrays in C++, not lists; a node takes two floats, not a struct. Building the graph is part of the
work, as ``csp.run`` does it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import csp  # type: ignore[import-not-found]
import numpy as np
from csp import ts

from benches.bench import Work
from benches.workload import columns, expected_sum

START = datetime(2026, 1, 5)  # noqa: DTZ001 - csp takes naive times, as UTC
totals: list[tuple[int, float]] = []


@csp.node
def add(bid: ts[float], ask: ts[float]):
    with csp.state():
        s_sum = 0.0
        s_count = 0
    with csp.stop():
        totals.append((s_count, s_sum))
    if csp.ticked(bid):
        s_sum += (bid + ask) / 2
        s_count += 1


@csp.graph(memoize=False)
def quotes(times: object, bid: object, ask: object):
    add(csp.curve(float, (times, bid)), csp.curve(float, (times, ask)))


def one_node(count: int) -> Iterator[Work]:
    """Run a graph over quotes a microsecond apart."""
    bid, ask = columns(count)
    times = np.datetime64(START, "ns") + np.arange(1, count + 1).astype("timedelta64[us]")
    totals.clear()
    yield lambda: csp.run(quotes, times, bid, ask, starttime=START, endtime=START + timedelta(seconds=60))
    assert totals == [(count, expected_sum(count))], totals
