"""The planted bugs stay usable: each says what it breaks and still applies to today's sources."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATCHES = sorted((Path(__file__).resolve().parents[1] / "planted").glob("*.patch"))


@pytest.fixture(scope="module")
def runner(root: Path) -> ModuleType:
    """The runner's module, which is a script and not a package."""
    spec = importlib.util.spec_from_file_location("planted_run", root / "tests/planted/run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # A dataclass looks its own module up.
    spec.loader.exec_module(module)
    return module


def test_there_are_planted_bugs() -> None:
    assert PATCHES


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.stem)
def test_a_planted_bug_names_its_law_and_applies(root: Path, runner: ModuleType, path: Path) -> None:
    assert runner.Patch.read(path).law
    done = subprocess.run(["git", "apply", "--check", str(path)], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_exactly_three_are_fast(runner: ModuleType) -> None:
    assert sum(runner.Patch.read(path).fast for path in PATCHES) == runner.FAST_PATCHES


def test_a_test_that_passes_with_the_bug_is_reported(runner: ModuleType) -> None:
    patch = runner.Patch(Path("x.patch"), law="a law", test="true", native=False, fast=False)
    with pytest.raises(runner.BrokenPatchError, match="passes with the bug"):
        runner.judge(patch, runner.Outcome(0, ""))


def test_a_bug_that_does_not_compile_is_reported(runner: ModuleType) -> None:
    patch = runner.Patch(Path("x.patch"), law="a law", test="cargo test", native=False, fast=False)
    with pytest.raises(runner.BrokenPatchError, match="does not compile"):
        runner.judge(patch, runner.Outcome(101, "error[E0425]: cannot find value\n"))


def test_a_pytest_run_that_collected_nothing_is_reported(runner: ModuleType) -> None:
    patch = runner.Patch(Path("x.patch"), law="a law", test="python -m pytest x", native=False, fast=False)
    with pytest.raises(runner.BrokenPatchError, match="no test judged"):
        runner.judge(patch, runner.Outcome(4, "file not found"))
    runner.judge(patch, runner.Outcome(1, "1 failed"))


def test_a_header_with_an_unknown_line_is_reported(runner: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "bad.patch"
    path.write_text("# law: a law\n# tset: true\n")
    with pytest.raises(runner.BrokenPatchError, match="tset"):
        runner.Patch.read(path)
