"""The planted bugs fit today's sources, and their tool reports every bug that proves nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.planted import run
from tests.planted.bug import BrokenBugError, Bug, Planted
from tests.planted.lane import Lane, LaneStoppedError, Outcome
from tests.planted.sources import Function, LookupFailedError, Sources, functions_of_rust, without_opaque

BUGS = sorted(run.BUGS.glob("*.bug"))
BUGS_MAX = 300
# Rust text that confuses a simple brace counter.
TRICKY_RUST = r"""
/* { /* nested { */ still { */
// fn comment() {
const OPEN: &str = "{ \" fn text() {";
const RAW: &str = r##"{ "# fn raw() {"##;
const LETTERS: (char, char, u8) = ('{', '\'', b'{');
mod elsewhere;
impl<'a, const N: usize> Reader<'a, N>
where
    Reader<'a, N>: Sized,
{
    pub(crate) fn first(&'a self, ends: impl Fn([u8; 2]) -> bool) -> impl Iterator<Item = &'a u8> {
        fn inner() {}
        let brace = '}';
        impl Local { fn method(self) {} }
        self.items.iter().filter(|item| matches!(item, b'}'))
    }
}
impl fmt::Display for Reader<'_, 4> {
    fn fmt(&self) -> fmt::Result { write!(f, "}}") }
}
impl<T> From<Vec<T>> for Many<T> { fn from(_: Vec<T>) -> Self { todo() } }
trait Wait { fn wait(&self); fn ready(&self) -> bool { true } }
mod tests { fn first() {} }
"""


@pytest.fixture(scope="module")
def sources(root: Path) -> Sources:
    return Sources(root)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A tree with one Python file and one Rust file."""
    (tmp_path / "python/package").mkdir(parents=True)
    (tmp_path / "python/package/orders.py").write_text(
        "class Manager:\n    @property\n    def size(self):\n        half = 1\n        half = 1\n        return 2\n"
    )
    (tmp_path / "rust/core/src").mkdir(parents=True)
    (tmp_path / "rust/core/src/lane.rs").write_text("impl Lane {\n    fn push(&self) {\n        left();\n    }\n}\n")
    return tmp_path


@pytest.fixture
def lane(root: Path, tmp_path: Path) -> Lane:
    """A lane without a copy in it; it only runs commands."""
    (tmp_path / "tree").mkdir()
    return Lane(root, tmp_path, builds_extension=False)


def planted_in(package: Path, *body: str) -> str:
    """Plant a bug in the small tree and return the changed file."""
    path = package / "some.bug"
    path.write_text("\n".join(["# law: a law", "# test: true", *body, ""]))
    return Bug.read(path).plant(Sources(package)).text


def a_bug(test: str) -> Bug:
    return Bug(Path("x.bug"), law="a law", test=test, function="f", old="a", new="b")


def test_there_are_bugs_and_not_too_many() -> None:
    assert 0 < len(BUGS) <= BUGS_MAX


@pytest.mark.parametrize("path", BUGS, ids=lambda path: path.stem)
def test_a_bug_fits_todays_sources(sources: Sources, path: Path) -> None:
    planted = Bug.read(path).plant(sources)
    assert planted.text != planted.path.read_text()


@pytest.mark.parametrize("path", BUGS, ids=lambda path: path.stem)
def test_the_test_of_a_bug_exists(root: Path, path: Path) -> None:
    words = shlex.split(Bug.read(path).test)
    if "pytest" in words:
        for node in (word for word in words if "::" in word):
            file, _, name = node.partition("[")[0].partition("::")
            assert re.search(rf"^(async )?def {name}\(", (root / file).read_text(), re.MULTILINE), node
    else:
        name = words[words.index("--exact") + 1]
        [rust] = root.glob(f"rust/*/tests/{words[words.index('--test') + 1]}.rs")
        assert re.search(rf"\bfn {name}\(", rust.read_text())


def test_exactly_three_are_fast() -> None:
    assert sum(Bug.read(path).fast for path in BUGS) == run.FAST_BUGS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# law: a law\n# tset: true\nf\na\nb\n", "tset"),
        ("# law: a law\nf\na\nb\n", "# test:"),
        ("# test: true\nf\na\nb\n", "# law:"),
        ("# law: a law\n# test: true\n", "three lines"),
        ("# law: a law\n# test: true\nf\na\n", "three lines"),
        ("# law: a law\n# test: true\nf\na\n\n", "three lines"),
        ("# law: a law\n# test: true\nf\na\nb\nc\n", "three lines"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "bad.bug"
    path.write_text(text)
    with pytest.raises(BrokenBugError, match=problem):
        Bug.read(path)


def test_a_new_line_takes_the_indentation_of_the_old(package: Path) -> None:
    assert "\n        right();\n" in planted_in(package, "Lane::push", "left();", "right();")


def test_a_whole_function_keeps_its_decorators(package: Path) -> None:
    text = planted_in(package, "Manager.size", "replace:", "def size(self):", "    return 3")
    assert text == "class Manager:\n    @property\n    def size(self):\n        return 3\n"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (("Manager.length", "return 2", "return 3"), "no function"),
        (("size", "return 2", "return 3"), "no function"),
        (("Manager::size", "return 2", "return 3"), "no function"),
        (("Manager.size", "return 1", "return 3"), "0 times"),
        (("Manager.size", "half = 1", "half = 2"), "2 times"),
        (("Manager.size", "return 2", "return 2"), "nothing changes"),
        (("Manager.size", "return 2", "return ("), "no Python"),
    ],
)
def test_a_bug_that_does_not_fit_is_refused(package: Path, body: tuple[str, ...], problem: str) -> None:
    with pytest.raises(BrokenBugError, match=problem):
        planted_in(package, *body)


def test_two_functions_of_one_name_are_an_error(package: Path) -> None:
    (package / "python/package/orders.py").rename(package / "python/package/table.py")
    (package / "python/package/orders.py").write_text("class Manager:\n    def size(self): ...\n")
    sources = Sources(package)
    with pytest.raises(LookupFailedError, match=r"2 functions .*orders\.py:2, .*table\.py:3"):
        sources.find("Manager.size")
    assert sources.find("table.Manager.size").path.stem == "table"


def test_a_function_that_moves_is_still_found(package: Path) -> None:
    before = planted_in(package, "Lane::push", "left();", "right();")
    (package / "rust/binding/src/bus").mkdir(parents=True)
    (package / "rust/core/src/lane.rs").rename(package / "rust/binding/src/bus/mod.rs")
    assert planted_in(package, "Lane::push", "left();", "right();") == before
    assert planted_in(package, "bus::Lane::push", "left();", "right();") == before


def test_braces_in_rust_text_and_comments_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "tricky.rs"
    path.write_text(TRICKY_RUST)
    found = {"::".join(each.name): each for each in functions_of_rust(path)}
    assert set(found) == {
        *("Reader::first", "Reader::first::inner", "Reader::first::Local::method", "<Display for Reader>::fmt"),
        *("<From for Many>::from", "Wait::ready", "tests::first"),
    }
    assert lines_of(found["Reader::first"])[-1] == "    }"
    assert len(lines_of(found["Reader::first"])) == 6
    assert found["<Display for Reader>::fmt"].is_called(("Reader", "fmt"))
    assert len(without_opaque(TRICKY_RUST)) == len(TRICKY_RUST)


def test_the_scanner_finds_every_function_of_the_crates(root: Path, sources: Sources) -> None:
    signature = re.compile(r"^ *(?:pub(?:\([^)]*\))? )?(?:const |unsafe |extern +)*fn \w+[^;{]*\{", re.MULTILINE)
    for path in root.glob("rust/*/src/**/*.rs"):
        found = [each for each in sources.functions if each.path == path]
        assert len(found) >= len(signature.findall(without_opaque(path.read_text()))), path


def test_a_test_that_passes_with_the_bug_is_reported() -> None:
    with pytest.raises(BrokenBugError, match="passes with the bug"):
        run.judge(a_bug("true"), Outcome(0, ""))


def test_a_bug_that_does_not_compile_is_reported() -> None:
    with pytest.raises(BrokenBugError, match="does not compile"):
        run.judge(a_bug("cargo test"), Outcome(101, "error[E0425]: cannot find value\n"))


def test_a_pytest_run_without_a_judged_test_is_reported() -> None:
    with pytest.raises(BrokenBugError, match="no test judged"):
        run.judge(a_bug("python -m pytest x"), Outcome(4, "file not found"))
    run.judge(a_bug("python -m pytest x"), Outcome(1, "1 failed"))


def test_a_command_that_hangs_is_an_error(lane: Lane) -> None:
    with pytest.raises(BrokenBugError, match="hangs for more than"):
        lane.run("sleep 60", timeout_s=0.1)


def test_a_stopped_lane_runs_nothing(lane: Lane) -> None:
    lane.stop()
    with pytest.raises(LaneStoppedError):
        lane.run("true")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo 'test result: ok. 2 passed'", None),
        ("echo 'test result: ok. 0 passed'", "no test runs"),
        ("exit 3", "the test fails"),
        ("true pytest", None),
    ],
)
def test_a_command_must_pass_without_the_bug(lane: Lane, command: str, reason: str | None) -> None:
    found = run.reason_against(lane, command)
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("file", "test", "needed"),
    [("a.rs", "python -m pytest x", True), ("a.rs", "cargo test", False), ("a.py", "python -m pytest x", False)],
)
def test_only_rust_bugs_of_python_tests_need_a_build(file: str, test: str, needed: bool) -> None:
    assert run.needs_extension(a_bug(test), Planted(Path(file), "")) is needed


def lines_of(function: Function) -> list[str]:
    return function.path.read_text().splitlines()[function.start : function.stop]
