"""Build the extension for several interpreters, run the test suite on each, and compare the hashes of the same runs.

Guarantees: each interpreter has an environment and a Cargo target of its own, so `.venv` and `target/release` stay as
they are; a failure on one interpreter does not hide the result of the next; the exit code is 0 only if all pass.
Does not: install interpreters, or run what needs no interpreter (Rust's own tests, loom, clippy).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements-dev.txt"
CLASSIFIER = "Programming Language :: Python :: 3."
# One line: the version with the letter of a special build (3.13.1t), then "cpython".
DESCRIBE = (
    "import platform, sys; print(platform.python_version() + getattr(sys, 'abiflags', ''), sys.implementation.name)"
)


class Interpreter(NamedTuple):
    """One CPython: where it is, and its full version, as in 3.13.0."""

    path: str
    version: str


@dataclass(frozen=True)
class Outcome:
    """What the suite did on one interpreter; `trouble` says what went wrong before or after it.

    hashes : of small runs, which are the same on every interpreter.
    """

    interpreter: Interpreter
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    trouble: str = ""
    hashes: str = ""

    @property
    def is_good(self) -> bool:
        """Whether tests ran and none failed."""
        return not self.trouble and self.passed > 0 and self.failed == 0

    def __str__(self) -> str:
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped in {self.seconds:.0f} s"
        return f"CPython {self.interpreter.version}: " + (f"{counts}; {self.trouble}" if self.trouble else counts)


def main(paths: list[str]) -> None:
    """Test on the interpreters of `paths`, or on each supported one that is on PATH."""
    interpreters = given(paths) if paths else found()
    if not interpreters:
        sys.exit("test-pythons: no interpreter found: name some, as in make test-pythons PYTHONS=/path/to/python3.13")
    outcomes = [test(interpreter) for interpreter in interpreters]
    print("\n" + "\n".join(f"test-pythons: {outcome}" for outcome in outcomes))
    differ = len({outcome.hashes for outcome in outcomes}) > 1
    if differ:
        print("test-pythons: the hashes of the same runs differ: python -m tests.support.hashes prints them")
    sys.exit(0 if all(outcome.is_good for outcome in outcomes) and not differ else 1)


def given(paths: list[str]) -> list[Interpreter]:
    """Return the interpreters that were named; stop at one that does not run."""
    interpreters = []
    for path in paths:
        interpreter = describe(path)
        if interpreter is None:
            sys.exit(f"test-pythons: {path} does not run, or is not CPython: name the path of an interpreter")
        interpreters.append(interpreter)
    return interpreters


def found() -> list[Interpreter]:
    """Return the interpreter of each supported version that is on PATH and runs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minors = [name.removeprefix(CLASSIFIER) for name in project["classifiers"] if name.startswith(CLASSIFIER)]
    candidates = [describe(f"python3.{minor}") for minor in minors]
    return [interpreter for interpreter in candidates if interpreter]


def describe(command: str) -> Interpreter | None:
    """Return the interpreter behind a command, or None if it does not run or is not CPython."""
    path = shutil.which(command)
    if path is None:
        return None
    done = subprocess.run([path, "-c", DESCRIBE], capture_output=True, text=True, check=False)
    version, _, implementation = done.stdout.strip().partition(" ")
    return Interpreter(path, version) if done.returncode == 0 and implementation == "cpython" else None


def test(interpreter: Interpreter) -> Outcome:
    """Build and test on one interpreter; what stops it becomes the outcome's trouble."""
    print(f"test-pythons: CPython {interpreter.version} ({interpreter.path})", flush=True)
    target = ROOT / "target" / f"python-{interpreter.version}"
    report = target / "junit.xml"
    begun = time.monotonic()
    try:
        python = install(interpreter)
        build(python, target)
        report.unlink(missing_ok=True)
        environment = environment_of(python, target)
        code = run(python, "-m", "pytest", "-q", f"--junit-xml={report}", environment=environment)
        hashes = hashes_of(python, environment)
    except subprocess.CalledProcessError as error:
        return Outcome(interpreter, time.monotonic() - begun, trouble=f"{Path(error.cmd[0]).name} failed")
    return replace(outcome_of(interpreter, report, code, time.monotonic() - begun), hashes=hashes)


def hashes_of(python: Path, environment: dict[str, str]) -> str:
    """Return the hashes of small runs. Raises CalledProcessError: a run failed."""
    command = [str(python), "-m", "tests.support.hashes"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def install(interpreter: Interpreter) -> Path:
    """Return the Python of this interpreter's environment, which has what requirements-dev.txt lists."""
    venv = ROOT / ".venvs" / f"test-{interpreter.version}"
    python, stamp = venv / "bin" / "python", venv / ".deps"
    if not stamp.exists() or stamp.stat().st_mtime < REQUIREMENTS.stat().st_mtime:
        check(interpreter.path, "-m", "venv", str(venv))
        check(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS))
        stamp.touch()
    return python


def build(python: Path, target: Path) -> None:
    """Build the release extension and install it, editable, beside those of other versions."""
    environment = {**environment_of(python, target), "CARGO_TARGET_DIR": str(target), "PIP_QUIET": "1"}
    check(python.parent / "maturin", "develop", "--release", "--quiet", environment=environment)


def environment_of(python: Path, target: Path) -> dict[str, str]:
    """Return the variables under which an interpreter of ours builds and tests."""
    return {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(python.parent.parent),
        "PYO3_PYTHON": str(python),
        "COVERAGE_FILE": str(target / "coverage"),
    }


def outcome_of(interpreter: Interpreter, report: Path, code: int, seconds: float) -> Outcome:
    """Read the counts of a run of pytest that ended with `code`."""
    if not report.exists():
        return Outcome(interpreter, seconds, trouble=f"pytest ended with {code} and wrote no report")
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - written by the line above
        counts = {name: count + int(suite.get(name, 0)) for name, count in counts.items()}
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    trouble = f"pytest ended with {code}" if code and not failed else ""
    return Outcome(interpreter, seconds, passed, failed, counts["skipped"], trouble)


def run(*command: str | Path, environment: dict[str, str] | None = None) -> int:
    """Run a command in the tree and return its exit code."""
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, check=False).returncode


def check(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a command in the tree; raise CalledProcessError if it fails."""
    if code := run(*command, environment=environment):
        raise subprocess.CalledProcessError(code, [str(part) for part in command])


if __name__ == "__main__":
    main(sys.argv[1:])
