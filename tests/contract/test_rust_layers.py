"""The walls between the Rust crates: binding -> core -> lockfree, and what each may not use."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.rust_source import Crate, circles, functions, leaves, stripped

OURS = {"headrace-binding", "headrace-core", "headrace-lockfree"}
MAY_USE = {
    "headrace-binding": {"headrace-core", "headrace-lockfree"},
    "headrace-core": {"headrace-lockfree"},
    "headrace-lockfree": set(),
}
# The files outside lockfree that may hold unsafe code, each because of the interpreter's C interface.
UNSAFE_IN_BINDING = {
    f"hot/{name}.rs"
    for name in (
        "columns",
        "descriptor",
        "exclusive",
        "float",
        "growing",
        "interpreter",
        "python_call",
        "returned",
        "template",
        "tick_object",
        "tick_slot",
        "tick_types",
        "vectorcall",
    )
}
FILE_LINES_MAX, BODY_LINES_MAX, PARAMETERS_MAX = 400, 60, 7
# What would make the native module big, or give it a runtime of its own.
TOO_HEAVY = re.compile(
    r"^(tokio|async-std|rustls|native-tls|openssl.*|arrow.*|parquet|polars.*|sqlx|rusqlite|postgres)$"
)
# Words by which core would read the time, the machine or Python; callers pass these values in.
NOT_IN_CORE = re.compile(
    r"\bpyo3\b|\bnumpy\b|\bstd::(?:thread|fs|net|io|env|process)\b"
    r"|\b(?:Instant|SystemTime)\b|\bthread_local!|\be?print(?:ln)?!|\bdbg!"
)


@pytest.fixture(scope="module")
def packages(root: Path) -> dict[str, dict[str, object]]:
    """Our crates by name, as Cargo sees them."""
    told = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return {package["name"]: package for package in json.loads(told.stdout)["packages"]}


def test_the_workspace_has_exactly_the_three_crates(packages: dict[str, dict[str, object]]) -> None:
    assert set(packages) == OURS


@pytest.mark.parametrize("crate", sorted(OURS))
def test_a_crate_depends_only_on_crates_below_it(packages: dict[str, dict[str, object]], crate: str) -> None:
    dependencies = packages[crate]["dependencies"]
    assert isinstance(dependencies, list)
    ours = {dependency["name"] for dependency in dependencies} & OURS
    assert ours <= MAY_USE[crate]


@pytest.mark.parametrize("crate", ["headrace-core", "headrace-lockfree"])
def test_only_binding_uses_python(packages: dict[str, dict[str, object]], crate: str) -> None:
    dependencies = packages[crate]["dependencies"]
    assert isinstance(dependencies, list)
    assert not {dependency["name"] for dependency in dependencies} & {"pyo3", "pyo3-ffi", "numpy"}


def test_the_native_module_links_no_runtime_tls_or_database(root: Path) -> None:
    tree = subprocess.run(
        ["cargo", "tree", "-p", "headrace-binding", "-e", "normal", "--prefix", "none", "--locked"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    linked = {line.split()[0] for line in tree.splitlines() if line}
    assert "headrace-core" in linked
    assert not {name for name in linked if TOO_HEAVY.match(name)}


def test_core_forbids_unsafe_code(root: Path) -> None:
    assert "#![forbid(unsafe_code)]" in code(root / "rust/core/src/lib.rs")


def test_core_uses_no_clock_thread_disk_or_python(root: Path) -> None:
    found = {
        f"{path.relative_to(root)}: {match.group()}"
        for path in sources(root, "core")
        for match in NOT_IN_CORE.finditer(spelled_out(code(path)))
    }
    assert not found


def test_unsafe_code_is_only_in_lockfree_and_named_files(root: Path) -> None:
    binding = root / "rust/binding/src"
    found = {
        str(path.relative_to(binding))
        for path in sources(root, "binding")
        if re.search(r"\bunsafe\s*(?:\{|fn|impl|extern)", code(path))
    }
    assert found == UNSAFE_IN_BINDING


@pytest.mark.parametrize("crate", ["core", "binding"])
def test_no_two_files_of_a_crate_use_each_other(root: Path, crate: str) -> None:
    assert circles(Crate(root / "rust" / crate / "src").uses()) == []


@pytest.mark.parametrize("crate", ["core", "binding", "lockfree"])
def test_files_and_functions_are_short_and_take_few_parameters(root: Path, crate: str) -> None:
    long = [str(path.relative_to(root)) for path in sources(root, crate) if lines_of(path) > FILE_LINES_MAX]
    assert long == []
    found = [
        f"{path.relative_to(root)}: {function}"
        for path in sources(root, crate)
        for function in functions(path.read_text())
        if function.lines > BODY_LINES_MAX or function.parameters > PARAMETERS_MAX
    ]
    assert found == []


def test_a_circle_is_found_through_every_form_of_import(tmp_path: Path) -> None:
    def circles_of(**files: str) -> list[str]:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.rs"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return circles(Crate(tmp_path).uses())

    parent = "mod one;\nmod two;\npub(crate) use one::{One, Other};\n"
    tests = "#[cfg(test)]\nmod tests {\n    use crate::room::two::Two;\n}\n"
    assert circles_of(lib="mod room;", room__mod=parent, room__one=tests, room__two="use super::One;") == []
    assert circles_of(room__one="use super::{two::{self, Two}};") == [
        "room::one -> room::two -> room::one",
        "room::two -> room::one -> room::two",
    ]
    assert circles_of(room__one="// use super::two::Two;", room__two="fn f() { crate::room::One::new() }") == []
    assert len(circles_of(room__one='fn f(x: &str) { crate::room::two::call("{") }')) == 2
    assert leaves("a::{b, c::{D, E as F}}") == ["a::b", "a::c::D", "a::c::E"]


def test_lines_of_a_function_are_counted_without_signature() -> None:
    text = """
    fn f<T: Fn(u8) -> u8, const N: usize>(
        &self, pair: (u8, u8), map: HashMap<u8, u8>, act: impl FnOnce(&mut T, u8) -> u8,
    ) -> [u8; 2] {
        let text = "}";
        // }
        [1, 2]
    }
    """
    assert [(found.name, found.parameters, found.lines) for found in functions(text)] == [("f", 4, 3)]


def test_forbidden_words_are_found_in_grouped_imports() -> None:
    grouped = spelled_out(stripped("use std::{collections::HashMap, io::{self, Read}}; // std::fs\n/* std::net */"))
    assert {match.group() for match in NOT_IN_CORE.finditer(grouped)} == {"std::io"}
    assert not NOT_IN_CORE.search(stripped('let text = "std::thread";'))


def sources(root: Path, crate: str) -> list[Path]:
    """Return every source file of a crate; with none, the tests above would prove nothing."""
    found = sorted((root / "rust" / crate / "src").rglob("*.rs"))
    assert found, f"rust/{crate}/src holds no source files"
    return found


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text().splitlines())


def code(path: Path) -> str:
    """A source file without its comments and strings."""
    return stripped(path.read_text())


def spelled_out(text: str) -> str:
    """The text with each ``use std::{a::B, c}`` followed by ``std::a std::c``."""

    def names(match: re.Match[str]) -> str:
        depth, heads, word = 0, [], ""
        for char in match.group(1) + ",":
            if char == "," and depth == 0:
                heads.append(word.strip())
                word = ""
                continue
            depth += {"{": 1, "}": -1}.get(char, 0)
            word += char
        return match.group() + " " + " ".join(f"std::{head}" for head in heads)

    return re.sub(r"use\s+std::\{(.*?)\};", names, text, flags=re.DOTALL)
