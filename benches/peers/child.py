"""What the peers' processes share: the arguments, the anchor beside the peer, and the line that goes back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from benches.baselines.bare_loop import bare_loop
from benches.harness import Span
from benches.workload import quote_objects

ANCHOR_CALLS = 1 << 18


def report(version: str, run: Callable[[int, int], Span]) -> None:
    """Time the peer between two anchors, by processor time, and print ns per tick of both.

    run : gets the number of ticks and of strategies. The arguments of the process are the same two numbers.
    """
    ticks, strategies = int(sys.argv[1]), int(sys.argv[2])
    objects = quote_objects()
    calls = max(1_024, ANCHOR_CALLS // strategies)
    bare_loop(objects, calls, strategies)
    before = bare_loop(objects, calls, strategies).cpu
    own = run(ticks, strategies).cpu
    after = bare_loop(objects, calls, strategies).cpu
    print(json.dumps({"version": version, "anchor_ns": (before + after) / 2, "ns": own}), flush=True)
