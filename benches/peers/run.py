"""``make bench-peers``: nautilus_trader and csp beside ours and the bare loop, in an environment of their own.

::

    .venv          headrace_child, headrace_bus_child   ┐  a process each, every round, in rotated order;
    .venvs/peers   csp_child                            ├▶ each times the bare loop before and after itself,
    .venvs/peers   nautilus_child, nautilus_bus_child   ┘  and what counts is the median of the ratios

Guarantees: one workload, one exact sum, asserted in every process; the same interpreter version for all.
Does not: measure what else the peers do (orders, portfolios, graphs of many inputs), or run for ever: a process that
takes longer than two minutes is ended and its peer is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benches.harness import Load, Patience, Row, rate, table  # noqa: E402 - the script finds its own folder first

HERE = Path(__file__).resolve().parent
VENV = ROOT / ".venvs" / "peers"
CHILD_TIMEOUT_S = 120
INSTALL_TIMEOUT_S = 900
ROUNDS = 5
QUICK_ROUNDS = 3
PATIENCE_S = 120
FAN_OUTS = (1, 4, 16)


class Peer(NamedTuple):
    """A contender, its module, and how many ticks keep a run near half a second."""

    name: str
    module: str
    calls: int
    is_own: bool = False


PEERS = (
    Peer("headrace, on_quote", "headrace_child", 1 << 20, is_own=True),
    Peer("csp, two NumPy curves", "csp_child", 1 << 20),
    Peer("nautilus_trader, BacktestEngine", "nautilus_child", 1 << 17),
    Peer("headrace, EventBus", "headrace_bus_child", 1 << 20, is_own=True),
    Peer("nautilus_trader, MessageBus", "nautilus_bus_child", 1 << 18),
)
# Ours must be so many times as fast as theirs, with one plain subscriber.
BUSES = ("headrace, EventBus", "nautilus_trader, MessageBus")
BUS_TIMES_MIN = 3.0


class Result(NamedTuple):
    """One process's figures."""

    version: str
    anchor_ns: float
    ns: float


def install() -> None:
    """Make the peers' environment, once for each version of the list."""
    requirements = HERE / "requirements.txt"
    done = VENV / ".installed"
    if done.exists() and done.read_text(encoding="utf-8") == requirements.read_text(encoding="utf-8"):
        return
    print(f"installing the peers into {VENV.relative_to(ROOT)} (about 1.2 GB)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True, timeout=INSTALL_TIMEOUT_S)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--only-binary", ":all:", "-r", str(requirements)], check=True, timeout=INSTALL_TIMEOUT_S)
    done.write_text(requirements.read_text(encoding="utf-8"), encoding="utf-8")


def measure(peer: Peer, strategies: int) -> Result:
    """Run one process. Raises subprocess.SubprocessError."""
    python = sys.executable if peer.is_own else str(VENV / "bin" / "python")
    ticks = max(1_024, peer.calls // strategies)
    done = subprocess.run(
        [python, "-m", f"benches.peers.{peer.module}", str(ticks), str(strategies)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_S,
        check=True,
    )
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def rounds_of(rounds: int, patience: Patience) -> dict[tuple[str, int], list[Result]]:
    """Every peer at every fan-out once a round; a peer that fails is named and left out."""
    cases = [(peer, strategies) for strategies in FAN_OUTS for peer in PEERS]
    results: dict[tuple[str, int], list[Result]] = {(peer.name, strategies): [] for peer, strategies in cases}
    failed: set[str] = set()
    kept = turn = 0
    while kept < rounds:
        started = Load.now()
        first = turn % len(cases)
        turn += 1
        fresh = {}
        for peer, strategies in [*cases[first:], *cases[:first]]:
            if peer.name in failed:
                continue
            try:
                fresh[peer.name, strategies] = measure(peer, strategies)
            except subprocess.SubprocessError as error:
                failed.add(peer.name)
                said = (getattr(error, "stderr", "") or "").strip().splitlines()[-1:]
                print(f"{peer.name} is left out: {error} {' '.join(said)}", file=sys.stderr)
        foreign_cores, round_s = Load.now().since(started)
        if patience.accepts(foreign_cores, round_s):
            kept += 1
            for key, result in fresh.items():
                results[key].append(result)
    return {key: found for key, found in results.items() if key[0] not in failed}


def rows(results: dict[tuple[str, int], list[Result]]) -> list[Row]:
    """A row per peer and fan-out, after one for the bare loop."""
    found = []
    for strategies in FAN_OUTS:
        to = "A" if strategies == 1 else f"A to {strategies}"
        who = "1 strategy" if strategies == 1 else f"{strategies} strategies"
        own = {name: runs for (name, count), runs in results.items() if count == strategies}
        anchors = [run.anchor_ns for runs in own.values() for run in runs]
        if anchors:
            found.append(Row("", f"bare loop (A), {who}", rate(statistics.median(anchors)), 1.0, to))
        for name, runs in own.items():
            ratio = statistics.median(run.anchor_ns / run.ns for run in runs)
            ns = statistics.median(run.ns for run in runs)
            found.append(Row("", f"{name} {runs[0].version}, {who}", rate(ns), ratio, to))
    ours, theirs = (results.get((name, 1)) for name in BUSES)
    if ours and theirs:
        speeds = [statistics.median(run.anchor_ns / run.ns for run in runs) for runs in (ours, theirs)]
        ns = statistics.median(run.ns for run in ours)
        found.append(Row("", BUSES[0], rate(ns), speeds[0] / speeds[1], BUSES[1], BUS_TIMES_MIN))
    return found


def main() -> int:
    """Install, measure, print."""
    parser = argparse.ArgumentParser(description="The peers beside ours and a bare Python loop.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}")
    options = parser.parse_args()
    try:
        install()
    except subprocess.SubprocessError as error:
        print(f"the peers could not be installed: {error}", file=sys.stderr)
        return 1
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    patience = Patience(PATIENCE_S if not options.quick else PATIENCE_S / 4)
    results = rounds_of(rounds, patience)
    print(f"\n{table(rows(results))}\n\nmedians of {rounds} rounds; {patience.verdict()}")
    return 0 if len(results) == len(PEERS) * len(FAN_OUTS) else 1


if __name__ == "__main__":
    sys.exit(main())
