"""Rows 6, 7, 13 and 14, which are no times of a call in this process: the ring's Rust bench, memory, sizes, import.

pytest-benchmark times calls. Here a figure is printed by a process of its own (memory that grew, what an import takes
in a fresh interpreter), by Cargo (ns an item, beside its peers), or by the file system.
`python -m benches.whole_process` prints these rows alone.

Guarantees: an import is measured in an interpreter that has imported numpy, msgspec and click already.
Does not: say how the ring is measured: that stands in the header of rust/lockfree/benches/ring/main.rs.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

import headrace
from benches.handlers import PerBatch, PerQuote, quotes
from benches.table import Line, text
from benches.workload import CYCLE, instrument_names

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
MILLION = 1_000_000
IMPORTS = 5
IMPORT_S_MAX = 0.05
MORE_MB_MAX = 12
WHEEL_MB_MAX = 5
MEMORY_MIB_MAX = 16
MEMORY_TIMEOUT_S = 300
RING = ("cargo", "bench", "--quiet", "-p", "headrace-lockfree", "--bench", "ring")
# A build from nothing takes about a minute, the full run two.
RING_TIMEOUT_S = 900
IMPORT = """
import json, time
from pathlib import Path
def resident(): return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
import numpy, msgspec, click
before, start = resident(), time.process_time()
import headrace
print(json.dumps({"s": time.process_time() - start, "bytes": resident() - before}))
"""


def lines(*, quick: bool) -> list[Line]:
    """Measure everything."""
    return [*ring(quick=quick), memory(10**7 if quick else 10**8), *install()]


def ring(*, quick: bool) -> Iterator[Line]:
    """Run the Rust bench: a line per case and peer."""
    if shutil.which("cargo") is None:
        yield Line("6a", "ring: cargo is missing, install Rust to measure it", "-")
        return
    environment = {**os.environ, "HEADRACE_BENCH_QUICK": "1" if quick else "0"}
    try:
        done = subprocess.run(
            RING, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RING_TIMEOUT_S, check=True
        )
    except subprocess.SubprocessError as error:
        reason = (str(getattr(error, "stderr", "") or error).strip().splitlines() or ["no message"])[-1]
        yield Line("6a", f"ring: {' '.join(RING)} failed: {reason}", "-")
        return
    for case in (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")):
        what = f"ring {case['name']}, {case['bytes']} B, batch {case['batch']}"
        for name, peer in case["peers"].items():
            ratio, target = peer["ratio"], peer["target"]
            met = None if target is None else ratio >= target
            shown = "" if target is None else f"≥ {target:g}"
            yield Line(case["row"], what, f"{case['ns_per_item']:.3g} ns", ratio, name, shown, met)


def memory(ticks: int) -> Line:
    """Return how much resident memory grows after the first million ticks."""
    done = subprocess.run(
        [sys.executable, "-m", "benches.whole_process", "--memory", str(ticks)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=MEMORY_TIMEOUT_S,
        check=True,
    )
    what = f"resident memory from 10^6 to {ticks:.0e} ticks".replace("1e+0", "10^")
    return _bounded("13", what, float(done.stdout), "MiB", MEMORY_MIB_MAX)


def install() -> Iterator[Line]:
    """Measure the import over its three dependencies, and the sizes; the first import writes byte code, as pip does."""
    with tempfile.TemporaryDirectory() as compiled:
        runs = [_import_once(Path(compiled)) for _ in range(IMPORTS + 1)][1:]
    yield _bounded(
        "14", "import, over its dependencies", statistics.median(run["s"] for run in runs), "s", IMPORT_S_MAX
    )
    more_mb = statistics.median(run["bytes"] for run in runs) / MB
    yield _bounded("14", "memory after import, over its dependencies", more_mb, "MB", MORE_MB_MAX)
    install_mb = sum(path.stat().st_size for path in _package_files()) / MB
    yield _bounded("14", "installed size", install_mb, "MB", MORE_MB_MAX)
    wheel_mb, whence = _wheel_mb()
    yield _bounded("14", f"wheel ({whence})", wheel_mb, "MB", WHEEL_MB_MAX)


def machine() -> str:
    """Say what is measured on, and with what."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    cpu = model.group(1) if model else platform.machine()
    others = [f"python3.{minor}" for minor in range(11, 16) if minor != sys.version_info.minor]
    beside = ", ".join(version for name in others if (version := _version_of(name)))
    return (
        f"headrace {headrace.__version__}, {_version_of('rustc') or 'no rustc'}, numpy {np.__version__}, "
        f"msgspec {msgspec.__version__}\n"
        f"{os.cpu_count()} cores, {cpu}, {platform.system()}, load {os.getloadavg()[0]:.1f}\n"
        f"measured on CPython {platform.python_version()}; beside it there is: {beside or 'no other'}"
    )


def _bounded(number: str, what: str, value: float, unit: str, bound: float) -> Line:
    return Line(number, what, f"{value:.3g} {unit}", value, unit, f"≤ {bound:g}", value <= bound)


def _version_of(program: str) -> str:
    """Return what a program says its version is; empty where it is missing or does not run."""
    if shutil.which(program) is None:
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return "" if done.returncode else done.stdout.strip()


def _import_once(compiled: Path) -> dict[str, float]:
    # Where the environment forbids byte code, each import would compile every module; an installed package never does.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(compiled)
    command = [sys.executable, "-c", IMPORT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _package_files() -> list[Path]:
    package = Path(headrace.__file__).parent
    return [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _wheel_mb() -> tuple[float, str]:
    """Return the size of the wheel that `make package` left in ``dist``, else of the same files compressed here."""
    wheels = sorted((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    if wheels:
        return wheels[-1].stat().st_size / MB, "of dist"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _package_files():
            archive.write(path)
    return len(packed.getvalue()) / MB, "compressed here"


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 2**20


def memory_growth(ticks: int) -> float:
    """Publish so many ticks to a singular and a plural strategy; return the growth after the first million, in MiB."""
    block = quotes(CYCLE).copy()
    with headrace.Dispatcher(instruments=instrument_names()) as dispatcher:
        handlers: list[PerQuote | PerBatch] = [PerQuote(), PerBatch()]
        for handler in handlers:
            dispatcher.subscribe(handler)
        first_mib = 0.0
        for start in range(0, ticks, CYCLE):
            dispatcher.publish(block)
            dispatcher.dispatch()
            block["venue_seq"] += CYCLE
            block["ts_init"] += CYCLE
            if start <= MILLION < start + CYCLE:
                first_mib = _resident_mib()
        published = -(-ticks // CYCLE) * CYCLE
        assert [handler.count for handler in handlers] == [published, published], "ticks were lost on the way"
        return _resident_mib() - first_mib


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(memory_growth(int(sys.argv[2])))
    else:
        print(text(lines(quick=True)))
