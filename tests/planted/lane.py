"""A copy of the tree in which one bug at a time is planted and judged.

Guarantees: the tree itself is never touched; only what a bug changes is built again; a command that hangs is an error.
Does not: decide which bugs there are, or whether one was caught.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.planted.bug import BrokenBugError, Planted

COMMAND_TIMEOUT_S = 300
TEST_TIMEOUT_S = 120
# The first build of the extension compiles every crate that it depends on.
BUILD_TIMEOUT_S = 1_800
KILLED_BY_SIGNAL = 128
BUILT = {"target", "__pycache__", ".pytest_cache", ".hypothesis"}
BUILD_EXTENSION = "cargo build --quiet --release -p headrace-binding"
EXTENSION = "_native*.so"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    output: str


class LaneStoppedError(Exception):
    """The lane was stopped and runs no command."""


class Lane:
    """One copy with its own build output, so that two lanes never wait for each other."""

    def __init__(self, root: Path, work: Path, *, builds_extension: bool) -> None:
        self.root = root
        self.work = work
        self.tree = work / "tree"
        self.builds_extension = builds_extension
        self._running: subprocess.Popen[str] | None = None
        self._is_stopped = False

    def prepare(self) -> None:
        """Make the copy equal to the tree, and build or copy the healthy extension."""
        self.copy_tree()
        if self.builds_extension:
            self.build_extension()
        else:
            for built in self._extensions():
                self._put_extension(built, built)

    def plant(self, planted: Planted) -> None:
        """Write the file with the bug into the copy, and build the extension where this lane has its own."""
        (self.tree / planted.path.relative_to(self.root)).write_text(planted.text)
        if self.builds_extension:
            self.build_extension()

    def copy_tree(self) -> None:
        """Make the copy equal to the tree; an equal file keeps its time, so that it causes no build."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self.root, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        wanted = {name for name in listed.split("\0") if name and (self.root / name).is_file()}
        for stale in set(self._files()) - wanted:
            (self.tree / stale).unlink()
        for name in wanted:
            source, copy = self.root / name, self.tree / name
            content = source.read_bytes()
            if not copy.is_file() or copy.read_bytes() != content:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content)
                copy.chmod(source.stat().st_mode)

    def build_extension(self) -> None:
        """Build the copy's extension and put it where the package looks for it."""
        built = self.run(BUILD_EXTENSION, BUILD_TIMEOUT_S)
        if built.code != 0:
            raise BrokenBugError(f"the extension does not build:\n{tail(built.output)}")
        for place in self._extensions():
            self._put_extension(self.work / "cargo" / "release" / "lib_native.so", place)

    def run(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Outcome:
        """Run a shell command at the root of the copy; raise BrokenBugError when it hangs."""
        if self._is_stopped:
            raise LaneStoppedError
        self._running = process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.tree, env=self._environment(), text=True,
            errors="replace", start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise BrokenBugError(f"the command hangs for more than {timeout_s} s: {command}") from None
        finally:
            self._running = None
        if self._is_stopped:
            raise LaneStoppedError
        code = process.returncode
        return Outcome(code if code >= 0 else KILLED_BY_SIGNAL - code, output)

    def stop(self) -> None:
        """Kill the running command and start no other."""
        self._is_stopped = True
        if (running := self._running) is not None:
            os.killpg(running.pid, signal.SIGKILL)

    def _extensions(self) -> list[Path]:
        """Name the tree's own extension; `make setup` builds it."""
        found = sorted((self.root / "python").rglob(EXTENSION))
        if not found:
            raise BrokenBugError("the extension is not built; run `make setup` first")
        return found

    def _put_extension(self, built: Path, place: Path) -> None:
        """Copy an extension to its place in the copy, without changing a file that a process still maps."""
        target = self.tree / place.relative_to(self.root)
        target.unlink(missing_ok=True)
        shutil.copy2(built, target)

    def _files(self) -> Iterator[str]:
        """Name what lies in the copy, build output excepted."""
        for folder, folders, files in os.walk(self.tree):
            folders[:] = [name for name in folders if name not in BUILT]
            for name in files:
                if not Path(name).match(EXTENSION):
                    yield str((Path(folder) / name).relative_to(self.tree))

    def _environment(self) -> dict[str, str]:
        """Return an environment in which the copy is the only Headrace."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # Before the editable install of the tree itself.
            "PYTHONPATH": str(self.tree / "python"),
            "PYTHONDONTWRITEBYTECODE": "1",
            # The usual 30 s are too short for a long test beside another lane; a hang still fails.
            "PYTEST_ADDOPTS": f"--timeout={TEST_TIMEOUT_S}",
            "PYO3_PYTHON": sys.executable,
            "PYO3_BUILD_EXTENSION_MODULE": "1",
            "CARGO_TARGET_DIR": str(self.work / "cargo"),
            "CARGO_TERM_COLOR": "never",
            # Fast to build rather than fast to run: whole-program optimisation would take a minute for each bug.
            "CARGO_PROFILE_RELEASE_LTO": "off",
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
            "CARGO_PROFILE_RELEASE_DEBUG": "false",
            "CARGO_PROFILE_RELEASE_INCREMENTAL": "true",
            # The copy lies inside the repository, where git would look for its paths.
            "GIT_CEILING_DIRECTORIES": str(self.work),
        }


def tail(output: str, lines: int = 25) -> str:
    """Return the end of an output, where the reason stands."""
    return "\n".join("    " + line for line in output.strip().splitlines()[-lines:])
