"""``make bench``: one table of ratios. ``--quick`` takes under two minutes, ``--json FILE`` also writes the rows.

    fan_out   singular, whole-tick, plural at 1 to 64 strategies; batches; the pure-Python ways     rows 1-4
    bus       the event bus beside the bare loop and the asyncio bus
    commands  to a running engine: submission to answer while ticks saturate the core               row 12
    latency   a frame's bytes at the feed's callback to the handler                                 row 9
    engines   a whole engine over ticks    garbage   the longest call, many objects                 rows 11, 15
    orders    one order, alone and beside strategies that it does not concern                       row 17
    sessions  whole files                  decoding  frame types against msgspec, orjson, json      row 8
    ring      the Rust bench               growth    strategies, instruments, memory                rows 6, 7, 13, 13r
    install   import and sizes                                                                      row 14

Exit code 0 whether or not targets are met: speed is read, not tested. README.md has the method and what is not claimed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402 - the script finds its own folder first
import numpy as np  # noqa: E402

import headrace  # noqa: E402
from benches import (  # noqa: E402
    bus,
    commands,
    decoding,
    engines,
    fan_out,
    garbage,
    growth,
    install,
    latency,
    orders,
    ring,
    sessions,
)
from benches.harness import Patience, Row, table  # noqa: E402
from benches.workload import CYCLE  # noqa: E402

SECTIONS = (
    *("fan_out", "bus", "commands", "latency", "engines", "orders", "garbage"),
    *("sessions", "decoding", "ring", "growth", "install"),
)


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    calls: int
    frames: int
    latency_frames: int
    garbage_ticks: int
    session_frames: int
    files_max: int
    memory_ticks: int
    patience_s: float


FULL = Size(
    rounds=7,
    calls=1_024 * CYCLE,
    frames=20_000,
    latency_frames=10_000,
    garbage_ticks=200_000,
    session_frames=200_000,
    files_max=8,
    memory_ticks=10**8,
    patience_s=120,
)
QUICK = Size(
    rounds=5,
    calls=256 * CYCLE,
    frames=4_000,
    latency_frames=3_000,
    garbage_ticks=60_000,
    session_frames=30_000,
    files_max=1,
    memory_ticks=10**7,
    patience_s=15,
)


def measure(section: str, size: Size, patience: Patience, *, quick: bool) -> list[Row]:
    """Return one section's rows."""
    sections: dict[str, Callable[[], list[Row]]] = {
        "fan_out": lambda: fan_out.rows(size.calls, size.rounds, patience),
        "bus": lambda: bus.rows(size.calls, size.rounds, patience),
        "commands": lambda: commands.rows(4 * size.calls, size.rounds, patience),
        "latency": lambda: latency.rows(size.latency_frames, size.rounds, patience),
        "engines": lambda: engines.rows(size.calls, size.session_frames, size.rounds, patience),
        "orders": lambda: orders.rows(size.rounds, patience),
        "garbage": lambda: garbage.rows(size.garbage_ticks, size.rounds),
        "sessions": lambda: sessions.rows(size.session_frames, size.rounds, patience, files_max=size.files_max),
        "decoding": lambda: decoding.rows(size.frames, size.rounds, patience),
        "ring": lambda: ring.rows(quick=quick),
        "growth": lambda: growth.rows(size.calls, size.rounds, patience, memory_ticks=size.memory_ticks),
        "install": lambda: install.rows(size.rounds),
    }
    return sections[section]()


def machine() -> str:
    """Say what this was measured on and with."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    cpu = model.group(1) if model else platform.machine()
    return (
        f"headrace {headrace.__version__}, {_version_of('rustc') or 'no rustc'}, numpy {np.__version__}, "
        f"msgspec {msgspec.__version__}\n"
        f"{os.cpu_count()} cores, {cpu}, {platform.system()}, load {os.getloadavg()[0]:.1f}\n"
        f"measured on CPython {platform.python_version()}; beside it there is: {_other_pythons() or 'no other'}"
    )


def _other_pythons() -> str:
    """Versions that the tree could be set up with, by `make PYTHON=… setup`; they are not measured by this run."""
    names = [f"python3.{minor}" for minor in range(11, 16) if minor != sys.version_info.minor]
    return ", ".join(version for name in names if (version := _version_of(name)))


def _version_of(program: str) -> str:
    """What a program says its version is; empty where it is missing or does not run."""
    if shutil.which(program) is None:
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return "" if done.returncode else done.stdout.strip()


def main() -> int:
    """Measure, print the table, and write the rows if asked."""
    parser = argparse.ArgumentParser(description="One table of ratios to a bare Python loop.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and ticks: under two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="one section; may be repeated")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    patience = Patience(size.patience_s)
    print(machine())
    rows: list[Row] = []
    started = time.monotonic()
    for section in options.only or SECTIONS:
        print(f"  {section} … {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        rows += measure(section, size, patience, quick=options.quick)
    judged = [row for row in rows if row.met is not None]
    print(f"\n{table(rows)}\n")
    print(f"targets met: {sum(bool(row.met) for row in judged)} of {len(judged)}; ", end="")
    print(f"medians of {size.rounds} rounds, {time.monotonic() - started:.0f} s\n{patience.verdict()}")
    if options.json:
        document = {
            "python": platform.python_version(),
            "headrace": headrace.__version__,
            "rounds": size.rounds,
            "verdict": patience.verdict(),
            "rows": [{**asdict(row), "met": row.met} for row in rows],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
