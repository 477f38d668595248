"""Plant each bug of this folder in a copy of the tree, and fail when its test does not notice.

    name.patch     # law: the sentence that the bug breaks
                   # test: the shell command that must notice, run at the root of the copy
                   # build: native      (only where a Python test needs the extension built with the bug)
                   # fast               (three of them: `make test` runs those)
                   diff --git a/... b/...

Guarantees: each command passes on the healthy copy first, so a test that fails anyway proves nothing here; a patch
that does not apply or does not compile, a test that cannot be collected and a hang are failures of the patch.
Does not: touch the tree itself. The copy stays in target/planted, so that only what a patch changes is built again.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests" / "planted"
WORK = ROOT / "target" / "planted"
TREE = WORK / "tree"
FAST_PATCHES = 3
COMMAND_TIMEOUT_S = 600
# What Cargo prints when the bug does not even compile.
BUILD_ERROR = re.compile(r"^error(\[E\d+\]|: could not compile|: no test target)", re.MULTILINE)
PYTEST_TESTS_FAILED = 1
KILLED_BY_SIGNAL = 128


class BrokenPatchError(Exception):
    """The bug was not really planted, or its test could not judge it."""


@dataclass(frozen=True)
class Patch:
    """One planted bug: what it breaks, and what must notice."""

    path: Path
    law: str
    test: str
    native: bool
    fast: bool

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @classmethod
    def read(cls, path: Path) -> Patch:
        """Read the header above the diff; raise BrokenPatchError when a line is missing or unknown."""
        fields: dict[str, str] = {}
        for line in path.read_text().splitlines():
            if not line.startswith("#"):
                break
            key, _, value = line.removeprefix("#").partition(":")
            fields[key.strip()] = value.strip()
        if unknown := fields.keys() - {"law", "test", "build", "fast"}:
            raise BrokenPatchError(f"{path.name}: the header has unknown lines: {', '.join(sorted(unknown))}")
        if not fields.get("law") or not fields.get("test"):
            raise BrokenPatchError(f"{path.name}: the header needs a `# law:` and a `# test:` line")
        if fields.get("build", "native") != "native":
            raise BrokenPatchError(f"{path.name}: `# build: {fields['build']}` is unknown; the only one is native")
        return cls(path, fields["law"], fields["test"], "build" in fields, "fast" in fields)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    output: str


def main() -> int:
    """Run the chosen patches and return the exit code."""
    parser = argparse.ArgumentParser(description="plant bugs in a copy of the tree; each must be caught by its test")
    parser.add_argument("--fast", action="store_true", help=f"only the {FAST_PATCHES} that are marked fast")
    parser.add_argument("--only", metavar="NAME", help="only patches whose name contains NAME")
    options = parser.parse_args()
    try:
        patches = choose([Patch.read(path) for path in sorted(PATCHES.glob("*.patch"))], options.fast, options.only)
    except BrokenPatchError as error:
        sys.exit(f"planted: {error}")
    with alone():
        escaped = plant_all(patches)
    for line in escaped:
        print(f"planted: {line}", file=sys.stderr)
    print(f"planted: {len(patches) - len(escaped)} of {len(patches)} bugs were caught")
    return 1 if escaped else 0


def choose(patches: list[Patch], fast: bool, only: str | None) -> list[Patch]:
    """Return the patches to run; none at all is an error."""
    chosen = [patch for patch in patches if (patch.fast or not fast) and (only or "") in patch.name]
    if fast and not only and len(chosen) != FAST_PATCHES:
        names = ", ".join(patch.name for patch in chosen) or "none"
        raise BrokenPatchError(f"{FAST_PATCHES} patches must be marked `# fast`; marked are: {names}")
    if not chosen:
        raise BrokenPatchError(f"no patch matches; there are: {', '.join(patch.name for patch in patches) or 'none'}")
    return chosen


@contextmanager
def alone() -> Iterator[None]:
    """Hold the copy for this process; a second runner waits."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def plant_all(patches: list[Patch]) -> list[str]:
    """Return one line for each bug that was not caught."""
    escaped: list[str] = []
    sound: list[Patch] = []
    # All healthy runs come first, so that the copy is built once for them and not once for each bug.
    copy_tree()
    healthy: dict[tuple[str, bool], Outcome] = {}
    for patch in patches:
        key = (patch.test, patch.native)
        if key not in healthy:
            print(f"healthy: {patch.test}", flush=True)
            try:
                healthy[key] = execute(patch)
            except BrokenPatchError as error:
                healthy[key] = Outcome(1, str(error))
        if healthy[key].code == 0:
            sound.append(patch)
        else:
            escaped.append(f"{patch.name}: its test fails without the bug too:\n{tail(healthy[key].output)}")

    for number, patch in enumerate(sound, 1):
        print(f"[{number}/{len(sound)}] {patch.name}: {patch.law}", flush=True)
        started = time.monotonic()
        try:
            plant(patch)
            judge(patch, execute(patch))
            verdict = "caught"
        except BrokenPatchError as error:
            escaped.append(f"{patch.name}: {error}")
            verdict = "NOT CAUGHT"
        print(f"    {verdict} in {time.monotonic() - started:.1f} s", flush=True)
        copy_tree()
    return escaped


def judge(patch: Patch, outcome: Outcome) -> None:
    """Raise BrokenPatchError unless the test noticed the bug, and for the right reason."""
    if outcome.code == 0:
        raise BrokenPatchError(f"the test passes with the bug: {patch.test}")
    if BUILD_ERROR.search(outcome.output):
        raise BrokenPatchError(f"the bug does not compile:\n{tail(outcome.output)}")
    if "pytest" in patch.test and outcome.code != PYTEST_TESTS_FAILED and outcome.code < KILLED_BY_SIGNAL:
        raise BrokenPatchError(f"pytest ended with {outcome.code}, so no test judged the bug:\n{tail(outcome.output)}")


def copy_tree() -> None:
    """Make the copy equal to the tree; a file that is equal already keeps its time, so nothing is built for it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    wanted = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for stale in set(files_of_copy()) - wanted:
        (TREE / stale).unlink()
    for name in wanted:
        source, copy = ROOT / name, TREE / name
        content = source.read_bytes()
        if not copy.is_file() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            copy.chmod(source.stat().st_mode)
    for native in (ROOT / "python" / "headrace").glob("_native*.so"):
        shutil.copy2(native, TREE / "python" / "headrace" / native.name)


def files_of_copy() -> Iterable[str]:
    """Name what lies in the copy, build output excepted."""
    built = {"target", "__pycache__", ".pytest_cache", ".hypothesis"}
    for folder, folders, files in os.walk(TREE):
        folders[:] = [name for name in folders if name not in built]
        for name in files:
            yield str((Path(folder) / name).relative_to(TREE))


def plant(patch: Patch) -> None:
    """Apply the patch to the copy."""
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(patch.path)],
        cwd=TREE, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BrokenPatchError(f"the patch does not apply; make it again on today's sources:\n{done.stderr.strip()}")


def execute(patch: Patch) -> Outcome:
    """Build what the patch's test needs and run the test."""
    if patch.native:
        build_native()
    return shell(patch.test)


def build_native() -> None:
    """Build the copy's extension and put it where the copy's package looks for it."""
    wheels = WORK / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    built = shell(f"maturin build --release --quiet --out '{wheels}' --interpreter '{sys.executable}'")
    if built.code != 0:
        raise BrokenPatchError(f"the extension does not build:\n{tail(built.output)}")
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            if name.startswith("headrace/_native.") and name.endswith(".so"):
                target = TREE / "python" / name
                target.unlink(missing_ok=True)  # A library that is still mapped somewhere must not change under it.
                target.write_bytes(wheel.read(name))


def shell(command: str) -> Outcome:
    """Run a command at the root of the copy; a hang is a broken patch."""
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command], cwd=TREE, env=environment(), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise BrokenPatchError(f"its test hangs for more than {COMMAND_TIMEOUT_S} s: {command}") from None
    code = process.returncode
    return Outcome(code if code >= 0 else KILLED_BY_SIGNAL - code, output)


def environment() -> dict[str, str]:
    """The environment in which the copy is the only Headrace there is."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Before the editable install of the tree itself.
        "PYTHONPATH": str(TREE / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CARGO_TARGET_DIR": str(WORK / "cargo"),
        "CARGO_TERM_COLOR": "never",
        # Fast to build rather than fast to run: whole-program optimisation would take a minute for each bug.
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
        "CARGO_PROFILE_RELEASE_DEBUG": "false",
        # The copy lies inside the repository, where git would look for its paths.
        "GIT_CEILING_DIRECTORIES": str(WORK),
    }


def tail(output: str, lines: int = 25) -> str:
    """The end of an output, where the reason stands."""
    return "\n".join("    " + line for line in output.strip().splitlines()[-lines:])


if __name__ == "__main__":
    sys.exit(main())
