"""``make bench-instructions``: instructions per tick or frame under callgrind, against the stored ones.

::

    all small ────────────┐
    all small, one large ─┴▶ difference / (large - small) = instructions per tick or frame, ± 2 % of instructions.json

Guarantees: a change of more than 2 % fails, upwards as a regression, downwards until ``--update`` stores the gain; a
compiler, Python or case without a baseline says so and fails too. The counts hardly depend on load.
Does not: see caches, branches or waiting. Fewer instructions are not always less time: ``run`` measures that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benches.frames import TYPES, lines_by_type  # noqa: E402 - the script finds its own folder first

BASELINE = ROOT / "benches" / "instructions.json"
TOLERANCE = 0.02
REPEATS = 2
TIMEOUT_S = 300
FRAMES = 2_000
# Small and large size of each case: blocks of 256 ticks, or frames. The difference is over ten million instructions,
# several times what one run may vary by.
BLOCK = 256
SIZES: dict[str, tuple[int, int]] = {
    "bare_loop": (2, 66),
    "publish": (2, 1_026),
    "on_quote": (2, 66),
    "on_quote_16": (2, 6),
    "on_tick": (2, 66),
    "on_quotes": (2, 514),
    "replay": (2, 66),
    "event_bus": (2, 34),
    **{f"decode_{name}": (20, FRAMES) for name in TYPES},
    "decode_depthUpdate": (20, 520),
    "decode_snapshot": (2, 42),
}

# What is counted together. Frames of all types are one case: some two million instructions that come once a process
# fall now to one type and now to another.
CASES: dict[str, list[str]] = {
    **{name: [name] for name in SIZES if not name.startswith("decode_")},
    "decode": [f"decode_{name}" for name in TYPES],
}


class CountError(Exception):
    """A run that could not be counted."""


def environment_of(tree: Path) -> dict[str, str]:
    """What a counted run of this tree's build gets. One BLAS thread: the others spin."""
    return {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(tree / "python"),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def extension_of(tree: Path) -> tuple[str, int]:
    """The path and the time of change of a tree's extension. Raises CountError when there is none."""
    find = [sys.executable, "-c", "import headrace._native as _native; print(_native.__file__)"]
    done = subprocess.run(
        find, cwd=ROOT, env=environment_of(tree), capture_output=True, text=True, timeout=60, check=False
    )
    path = Path(done.stdout.strip())
    if done.returncode or not path.is_relative_to(tree):
        msg = f"{tree} has no extension that can be imported: run make setup there"
        raise CountError(msg)
    return str(path), path.stat().st_mtime_ns


def count(sizes: Mapping[str, int], folder: Path, environment: Mapping[str, str]) -> int:
    """Instructions of one whole run."""
    arguments = [f"{name}={size}" for name, size in sizes.items()]
    # Without random addresses: CPython's cache of attribute look-ups goes by address, and a collision costs.
    command = [
        "setarch",
        "--addr-no-randomize",
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        sys.executable,
        "-m",
        "benches.instruction_cases",
        str(folder),
    ]
    done = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        said = [line for line in done.stderr.splitlines() if not line.startswith("==")]
        msg = f"the run under valgrind ended with exit code {done.returncode}: {' '.join(said[-1:])}"
        raise CountError(msg)
    return int(found[1])


def measure(names: list[str], stored: Mapping[str, float], tree: Path = ROOT) -> dict[str, float]:
    """Instructions per tick, or per frame, of each case, with the package of ``tree``.

    Now and then a whole run needs two million instructions more or less than the others, whatever it counts. So the
    run that is subtracted is the middle one of three, and so is a case that is not what is stored.
    """
    small = {name: sizes[0] for name, sizes in SIZES.items()}
    environment, extension = environment_of(tree), extension_of(tree)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        for frame_type, lines in lines_by_type(FRAMES + 1).items():
            (Path(folder) / frame_type).write_bytes(b"".join(lines))

        def totals(runs: list[dict[str, int]]) -> list[int]:
            return list(pool.map(lambda sizes: count(sizes, Path(folder), environment), runs))

        large = {name: {**small, **{part: SIZES[part][1] for part in CASES[name]}} for name in names}
        runs = 1 + REPEATS
        every = totals([small] * runs + list(large.values()))
        base = statistics.median_low(every[:runs])
        counted = {name: [total] for name, total in zip(names, every[runs:], strict=True)}
        again = [name for name in names if not _is_near((counted[name][0] - base) / _items(name), stored.get(name))]
        for name, total in zip(again * REPEATS, totals([large[name] for name in again] * REPEATS), strict=True):
            counted[name].append(total)
    if extension_of(tree) != extension:
        msg = f"{extension[0]} was built again while it was measured: count again"
        raise CountError(msg)
    return {name: (statistics.median_low(totals) - base) / _items(name) for name, totals in counted.items()}


def _is_near(now: float, before: float | None) -> bool:
    return before is not None and abs(now / before - 1) <= TOLERANCE


def _items(name: str) -> int:
    frames_or_blocks = sum(SIZES[part][1] - SIZES[part][0] for part in CASES[name])
    return frames_or_blocks * (1 if name == "decode" else BLOCK)


def tools() -> str:
    """What a baseline belongs to: other versions make other code."""
    if shutil.which("rustc") is None:
        msg = "rustc is missing: counts are stored by its version; install Rust"
        raise CountError(msg)
    rustc = subprocess.run(
        ["rustc", "--version"], capture_output=True, text=True, timeout=10, check=True
    ).stdout.split()[1]
    return f"rustc {rustc}, CPython {platform.python_version()}, {platform.machine()}"


def judge(measured: Mapping[str, float], stored: Mapping[str, float], *, beside: str = "stored") -> bool:
    """Print each case beside its baseline; return whether all are within the tolerance."""
    fine = True
    print(f"| {'case':<20} | {'now':>10} | {beside:>10} | change  |\n|{'-' * 22}|{'-' * 12}|{'-' * 12}|---------|")
    for name, now in measured.items():
        before = stored.get(name)
        change = None if before is None else now / before - 1
        fine &= _is_near(now, before)
        shown = "missing" if change is None else f"{change:+.2%}"
        print(f"| {name:<20} | {now:>10,.1f} | {before or 0:>10,.1f} | {shown:<7} |")
    return fine


def main() -> int:
    """Count, and compare or store."""
    parser = argparse.ArgumentParser(description="Instructions per tick or frame, against the stored ones.")
    parser.add_argument("--update", action="store_true", help="store the counts for these versions")
    parser.add_argument("--only", choices=CASES, action="append", help="one case; may be repeated")
    parser.add_argument(
        "--tree", type=Path, metavar="FOLDER", help="compare with this tree's build, not with the stored"
    )
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is missing: install it (Debian: apt install valgrind)", file=sys.stderr)
        return 1
    try:
        key = tools()
        baselines = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
        names = options.only or list(CASES)
        if options.tree:
            other = measure(names, {}, options.tree.resolve())
            return 0 if judge(measure(names, other), other, beside="the tree") else 1
        stored = baselines.get(key, {})
        measured = measure(names, stored)
    except (CountError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    print(key)
    fine = judge(measured, stored)
    if options.update:
        baselines[key] = stored | {name: round(value, 1) for name, value in measured.items()}
        BASELINE.write_text(json.dumps(baselines, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"stored in {BASELINE.relative_to(ROOT)}")
        return 0
    if not stored:
        print(f"no baseline for {key}: look at the counts, then store them with --update", file=sys.stderr)
    elif not fine:
        print(
            f"off by more than {TOLERANCE:.0%}: find out why, or store a wanted change with --update", file=sys.stderr
        )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
