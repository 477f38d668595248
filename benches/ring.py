"""Rows 6a, 6b and 7 from the Rust bench of the ring, which prints a JSON line per case.

Does not: measure anything itself; method and limits stand in the header of rust/lockfree/benches/ring/main.rs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from benches.harness import Row

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ("cargo", "bench", "--quiet", "-p", "headrace-lockfree", "--bench", "ring")
# A build from nothing takes about a minute, the full run two.
TIMEOUT_S = 900


def rows(*, quick: bool) -> list[Row]:
    """Run the bench and return a row per case and peer."""
    if shutil.which("cargo") is None:
        return [Row("6a", "ring: cargo is missing, install Rust to measure it", "-")]
    environment = {**os.environ, "HEADRACE_BENCH_QUICK": "1" if quick else "0"}
    try:
        done = subprocess.run(
            COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return [Row("6a", f"ring: no result within {TIMEOUT_S} s", "-")]
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [Row("6a", f"ring: {' '.join(COMMAND)} failed: {reason}", "-")]
    cases = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [
        Row(
            case["row"],
            f"ring {case['name']}, {case['bytes']} B, batch {case['batch']}",
            f"{case['ns_per_item']:.3g} ns",
            peer["ratio"],
            name,
            peer["target"],
        )
        for case in cases
        for name, peer in case["peers"].items()
    ]
