"""Build the sdist and one wheel per interpreter, and try each wheel in an empty environment, outside the tree.

Guarantees: the wheels are built from the sdist, so the sdist is whole; they need no newer glibc than ``GLIBC_MAX``; the
environment holds the core dependencies only; a wheel is smaller than ``WHEEL_BYTES_MAX``.
Does not: upload anything, or try the optional extras.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
BIN = Path(sys.executable).parent
# Small is a promise (docs: what makes it different); a heavy dependency shows here first.
WHEEL_BYTES_MAX = 5_000_000
# manylinux2014: the oldest glibc that Rust supports. Zig links against it, whatever glibc this machine has.
PLATFORM = "manylinux2014"
GLIBC_MAX = (2, 17)
CORE = {"headrace", "numpy", "msgspec", "click"}
# What pip itself may bring along in a new environment.
INSTALLER = {"pip", "setuptools", "wheel", "colorama"}


def main(interpreters: list[str]) -> None:
    """Build, check, install, run; stop at the first thing that is wrong."""
    suffixes = {interpreter: suffix_of(interpreter) for interpreter in interpreters or [sys.executable]}
    wheels = build(suffixes)
    for interpreter, wheel in wheels.items():
        check_wheel(wheel)
        check_platform(wheel)
        with tempfile.TemporaryDirectory(prefix="headrace-package-") as folder:
            try_wheel(wheel, interpreter, Path(folder))
    for wheel in wheels.values():
        megabytes = wheel.stat().st_size / 1e6
        print(f"package: {wheel.name}, {megabytes:.2f} MB, installs and runs with its core dependencies")


def suffix_of(interpreter: str) -> str:
    """Return how the name of this interpreter's extension modules ends, as in .cpython-313-x86_64-linux-gnu.so."""
    return run(interpreter, "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))", cwd=ROOT).strip()


def build(suffixes: dict[str, str]) -> dict[str, Path]:
    """Return the wheel of each interpreter; they were built from the sdist beside them."""
    shutil.rmtree(DIST, ignore_errors=True)
    # One target folder for the whole project: later builds compile our own three crates and PyO3 again, nothing else.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    environment.pop("PYO3_PYTHON", None)  # Each wheel is for the interpreter that maturin is at.
    run("maturin", "build", "--release", "--sdist", "--zig", "--compatibility", PLATFORM, "--out", str(DIST), "--quiet",
        "--interpreter", *suffixes, cwd=ROOT, environment=environment)  # fmt: skip
    wheels, sdists = sorted(DIST.glob("*.whl")), sorted(DIST.glob("*.tar.gz"))
    if len(wheels) != len(suffixes) or len(sdists) != 1:
        fail(f"dist holds {len(wheels)} wheels and {len(sdists)} sdists, not {len(suffixes)} and 1")
    natives = {f"headrace/_native{suffix}": interpreter for interpreter, suffix in suffixes.items()}
    of = {natives[name]: wheel for wheel in wheels for name in zipfile.ZipFile(wheel).namelist() if name in natives}
    if missing := [interpreter for interpreter in suffixes if interpreter not in of]:
        fail(f"dist holds no wheel for {', '.join(missing)}")
    return of


def check_platform(wheel: Path) -> None:
    """Fail when the wheel does not say that it runs on PLATFORM, or auditwheel says that it needs a newer glibc."""
    if PLATFORM not in wheel.name:
        fail(f"{wheel.name} is not tagged {PLATFORM}")
    said = " ".join(run(sys.executable, "-m", "auditwheel", "show", str(wheel), cwd=ROOT).split())
    needed = re.search(r'consistent with the following platform tag: "manylinux_(\d+)_(\d+)_', said)
    if needed is None or (int(needed[1]), int(needed[2])) > GLIBC_MAX:
        fail(f"{wheel.name} needs a newer glibc than {GLIBC_MAX}: {said}")


def check_wheel(wheel: Path) -> None:
    """Fail when the wheel is too big, or misses or carries a file that it should not."""
    if (size := wheel.stat().st_size) >= WHEEL_BYTES_MAX:
        fail(f"the wheel has {size:,} bytes; the bound is {WHEEL_BYTES_MAX:,}: see what made it grow")
    names = zipfile.ZipFile(wheel).namelist()
    natives = [name for name in names if name.startswith("headrace/_native.") and name.endswith(".so")]
    if len(natives) != 1:
        fail(f"the wheel holds {len(natives)} native modules, not one: {natives}")
    wanted = {"headrace/__init__.py", "headrace/_native.pyi", "headrace/py.typed"}
    if missing := wanted.difference(names):
        fail(f"the wheel misses {', '.join(sorted(missing))}")
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        if not any(name.endswith(licence) for name in names):
            fail(f"the wheel misses {licence}")


def try_wheel(wheel: Path, interpreter: str, folder: Path) -> None:
    """Install the wheel into an empty environment in ``folder`` and run what a newcomer runs first."""
    run(interpreter, "-m", "venv", str(folder / "venv"), cwd=folder)
    python, headrace = str(folder / "venv/bin/python"), str(folder / "venv/bin/headrace")
    # The tested versions as constraints: a release of numpy in the middle of a build must not turn it red.
    constraints = ("--constraint", str(ROOT / "requirements-dev.txt"))
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *constraints, str(wheel), cwd=folder)
    listed = run(python, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check", cwd=folder)
    installed = {line.partition("==")[0].partition(" @")[0].lower() for line in listed.splitlines()}
    if extra := installed - CORE - INSTALLER:
        fail(f"the core install brings more than numpy, msgspec and click: {', '.join(sorted(extra))}")

    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    if version not in (said := run(headrace, "--version", cwd=folder)):
        fail(f"headrace --version says {said.strip()!r}; Cargo.toml says {version}")
    run(headrace, "demo", "--quick", cwd=folder)
    run(python, "-c", "import headrace", cwd=folder)


def run(*command: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Run ``command`` and return what it printed; on failure show both streams and stop."""
    if environment is None:
        # Nothing of the checkout may help the installed package along.
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    print("package: " + " ".join(Path(command[0]).name if part is command[0] else part for part in command), flush=True)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        fail(f"{command[0]} ended with {done.returncode}")
    return done.stdout


def fail(why: str) -> NoReturn:
    """Say why the package is not fit to ship, and end."""
    sys.exit(f"package: {why}")


if __name__ == "__main__":
    main(sys.argv[1:])
