"""csp: two NumPy curves, bid and ask, and a Python node for each strategy.

Tuned: curves are arrays in C++, not lists; a node takes two floats, not a struct. Building the graph is part
of the run, as ``csp.run`` does it.
"""

from datetime import datetime, timedelta

import csp  # type: ignore[import-not-found]
import numpy as np
from csp import ts

from benches.harness import Span, Timer
from benches.peers.child import report
from benches.workload import columns, expected_sum

START = datetime(2026, 1, 5)  # noqa: DTZ001 - csp takes naive times, as UTC
totals: list[tuple[int, float]] = []


@csp.node
def add(bid: ts[float], ask: ts[float], number: int):  # noqa: ARG001 - see below
    with csp.state():
        s_sum = 0.0
        s_count = 0
    with csp.stop():
        totals.append((s_count, s_sum))
    if csp.ticked(bid):
        s_sum += (bid + ask) / 2
        s_count += 1


def run(ticks: int, strategies: int) -> Span:
    """One run of a graph."""
    bid, ask = columns(ticks)
    times = np.datetime64(START, "ns") + np.arange(1, ticks + 1).astype("timedelta64[us]")

    def graph():
        bids, asks = csp.curve(float, (times, bid)), csp.curve(float, (times, ask))
        # Equal nodes would be one node: the number makes them differ.
        for number in range(strategies):
            add(bids, asks, number)

    with Timer() as timer:
        csp.run(csp.graph(graph), starttime=START, endtime=START + timedelta(seconds=60))
    assert totals == [(ticks, expected_sum(ticks))] * strategies, totals
    return timer.per(ticks)


report(csp.__version__, run)
