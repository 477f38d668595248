"""What no file of the repository may hold, and what the targets of the Makefile promise."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

TARGETS = [
    *("help", "setup", "demo", "test", "test-pythons", "test-deep", "test-loom", "test-tsan", "fuzz", "planted"),
    *("lint", "bench", "bench-instructions", "bench-peers", "package", "docs", "clean"),
]
HEADER_LINES_MAX = 25
# The tree of errors is drawn whole, one line for each.
LONGER_HEADERS = {"python/headrace/errors.py"}
# Written as patterns that do not match themselves.
REGISTRY_HOSTS = re.compile(r"pypi[.]org|pythonhosted[.]org|crates[.]io|npmjs[.]")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:root|work|Users|home/[a-z]+|tmp/[a-z]{2}|opt/wheels)[/]")
UNOWNED = re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b")
# Documents that are not in the repository: a reader cannot look them up.
ELSEWHERE = re.compile(r"\b(?:RULE[S]|PROMISE[S]|ARCHITECTUR[E]|PERFORMANC[E])\b")
# Cargo writes its own source of crates into these.
WRITTEN_BY_CARGO = "Cargo.lock"


def tracked(root: Path) -> list[Path]:
    """The files of the repository, new ones that are not ignored included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = [root / name for name in listed.split("\0") if name and (root / name).is_file()]
    if not found:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    return found


def lines_that_match(root: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return where a pattern stands in the text files of the repository."""
    found = []
    for path in tracked(root):
        if path.name == WRITTEN_BY_CARGO or b"\0" in (content := path.read_bytes())[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()[:100]}")
    return found


def test_no_file_names_a_package_registry(root: Path) -> None:
    assert not lines_that_match(root, REGISTRY_HOSTS)


def test_no_file_holds_a_path_of_one_machine(root: Path) -> None:
    assert not lines_that_match(root, MACHINE_PATHS)


def test_no_work_is_postponed_without_an_issue(root: Path) -> None:
    assert not lines_that_match(root, UNOWNED)


def test_no_file_refers_to_a_document_outside_the_repository(root: Path) -> None:
    assert not lines_that_match(root, ELSEWHERE)


def test_module_headers_fit_on_a_screen(root: Path) -> None:
    long = {
        name: length
        for path in tracked(root)
        if (name := str(path.relative_to(root))) not in LONGER_HEADERS
        if (length := header_lines(path)) > HEADER_LINES_MAX
    }
    assert not long


def test_every_source_file_has_a_header(root: Path) -> None:
    silent = [
        str(path.relative_to(root))
        for path in tracked(root)
        if path.suffix in {".py", ".rs"} and path.stat().st_size and not header_lines(path)
    ]
    assert not silent


def header_lines(path: Path) -> int:
    """Return the length of a source file's header in lines; 0 without one, or for another type of file."""
    if path.suffix == ".py":
        return len((ast.get_docstring(ast.parse(path.read_text()), clean=False) or "").splitlines())
    if path.suffix == ".rs":
        lines = path.read_text().splitlines()
        return next((number for number, line in enumerate(lines) if not line.startswith("//!")), len(lines))
    return 0


def test_make_alone_prints_every_target_with_what_it_does(root: Path) -> None:
    told = make(root).stdout
    assert re.findall(r"^  ([a-z-]+)  +\S", told, re.MULTILINE) == TARGETS


def test_make_has_every_target(root: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    assert set(TARGETS) <= known


@pytest.mark.parametrize(("missing", "said"), [("cargo", "install Rust"), ("cc", "install a C compiler")])
def test_a_missing_tool_is_one_line_with_what_to_install(root: Path, tmp_path: Path, missing: str, said: str) -> None:
    only = tmp_path / "bin"
    only.mkdir()
    for tool in {"bash", "make", "awk", "find", "cargo", "cc"} - {missing}:
        (only / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is not on this machine"))
    done = make(root, "need-rust", PATH=str(only))
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(told) == 1
    assert said in told[0]


def test_an_old_python_is_one_line_with_what_to_install(root: Path) -> None:
    done = make(root, "need-python", "PYTHON=")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(told) == 1
    assert "install python3" in told[0]


def test_only_a_change_in_rust_rebuilds_the_extension(root: Path) -> None:
    """Asks make for a dry run, as if these files had changed."""
    unchanged = make(root, "-n", "setup").stdout
    assert make(root, "-n", "-W", "python/headrace/py.typed", "setup").stdout == unchanged
    assert "maturin develop --release" in make(root, "-n", "-W", "rust/core/src/lib.rs", "setup").stdout


def make(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make at the root, without the variables of an outer make."""
    outer = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    program = shutil.which("make") or pytest.fail("make is not on this machine")
    return subprocess.run(
        [program, *arguments], cwd=root, env={**outer, **environment}, capture_output=True, text=True, check=False
    )


def test_the_gate_is_lint_test_and_package(root: Path) -> None:
    commands = [line for line in (root / ".ci/run").read_text().splitlines() if re.search(r"\bmake\b", line)]
    assert commands == ["exec make lint test package"]


def test_the_core_install_is_numpy_msgspec_and_click(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert [requirement_name(text) for text in project["dependencies"]] == ["numpy", "msgspec", "click"]
    assert project["requires-python"] == ">=3.11"


def test_every_tool_has_one_exact_version(root: Path) -> None:
    """A fresh machine then gets the versions that were tested."""
    lines = [
        line for line in (root / "requirements-dev.txt").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert not [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)]
    pinned = {requirement_name(line) for line in lines}
    document = tomllib.loads((root / "pyproject.toml").read_text())
    groups = [*document["dependency-groups"].values(), *document["project"]["optional-dependencies"].values()]
    wanted = {requirement_name(text) for group in (document["project"]["dependencies"], *groups) for text in group}
    assert not wanted - pinned


def test_the_demo_installs_the_core_alone(root: Path) -> None:
    make = subprocess.run(["make", "-n", "-B", "demo"], cwd=root, capture_output=True, text=True, check=True)
    installs = [line for line in make.stdout.splitlines() if " pip install " in line]
    (line,) = installs
    assert re.findall(r"\^\((.*?)\)==", line) == ["click|maturin|msgspec|numpy"]


def test_tests_install_what_all_extras_need(root: Path) -> None:
    make = subprocess.run(["make", "-n", "-B", "test"], cwd=root, capture_output=True, text=True, check=True)
    assert "pip install --quiet --disable-pip-version-check -r requirements-dev.txt" in make.stdout


def requirement_name(requirement: str) -> str:
    """Return the project of a requirement in normalized spelling."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def test_cargo_links_tests_with_the_extension_feature(root: Path) -> None:
    assert "extension-module" not in (root / "rust/binding/Cargo.toml").read_text()
