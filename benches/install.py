"""Row 14: what ``import headrace`` takes beyond its three dependencies, and how large the install and the wheel are.

Each measurement is a fresh interpreter that imports numpy, msgspec and click first and reads its processor
time and memory before and after importing us. The wheel is the one ``make package`` left in
``dist``, else the same files compressed here.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import headrace
from benches.harness import Row

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
IMPORT_S_MAX = 0.05
MORE_MB_MAX = 12
WHEEL_MB_MAX = 5
CHILD = """
import json, sys, time
from pathlib import Path
def resident(): return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
import numpy, msgspec, click
before, start = resident(), time.process_time()
import headrace
print(json.dumps({"s": time.process_time() - start, "bytes": resident() - before}))
"""


def rows(rounds: int) -> list[Row]:
    """Measure import and sizes; the first import, which may write byte code, does not count."""
    runs = [_import_once() for _ in range(rounds + 1)][1:]
    import_s = statistics.median(run["s"] for run in runs)
    memory_mb = statistics.median(run["bytes"] for run in runs) / MB
    install_mb = sum(path.stat().st_size for path in _package_files()) / MB
    wheel_mb, whence = _wheel_mb()
    return [
        _row("import, over its dependencies, s", f"{import_s * 1e3:.0f} ms", import_s, IMPORT_S_MAX),
        _row("memory after import, over its dependencies, MB", f"{memory_mb:.1f} MB", memory_mb, MORE_MB_MAX),
        _row("installed size, MB", f"{install_mb:.1f} MB", install_mb, MORE_MB_MAX),
        _row(f"wheel ({whence}), MB", f"{wheel_mb:.2f} MB", wheel_mb, WHEEL_MB_MAX),
    ]


def _row(what: str, ours: str, value: float, limit: float) -> Row:
    return Row("14", what, ours, value, "", limit, at_most=True)


def _import_once() -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _package_files() -> list[Path]:
    package = Path(headrace.__file__).parent
    return [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _wheel_mb() -> tuple[float, str]:
    wheels = sorted((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    if wheels:
        return wheels[-1].stat().st_size / MB, "of dist"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _package_files():
            archive.write(path)
    return len(packed.getvalue()) / MB, "compressed here"
