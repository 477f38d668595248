"""The walls between the Python rooms: imports flow downwards, and a name that begins with ``_`` stays in its room."""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

import pytest

# From the top down; a room may import the rooms below it, and its own as long as that makes no circle.
ROOMS = (
    *("cli", "app", "control", "research", "execution", "gateway", "engine", "telemetry", "trading", "strategies"),
    *("commands", "bus", "venues", "feeds", "dispatch", "market"),
)
# Beside the rooms, at the top of the package: below every room, errors last.
GROUND = ("limits", "errors")
RANK = {name: rank for rank, name in enumerate(reversed(ROOMS + GROUND))}
# The native module imports `errors` and two modules of `market` while it runs; no Python module is above it.
NATIVE = "_native"
# Examples are written as a user writes: they import the package and the types that callbacks receive.
GUESTS = {"examples"}
DOORS = {"", "market.events", "strategies.timers"}
TOP_LEVEL = {"__init__.py", "__main__.py", "_native.pyi", "py.typed", "limits.py", "errors.py"}
ALLOWED_AT_THE_TOP = sys.stdlib_module_names | {"numpy", "msgspec", "click"}
# Folders that are imported at their first use only, with what their extra installs.
OF_EXTRAS = {
    "venues.simulated": {"aiohttp"},
    "venues.binance": {"aiohttp"},
    "control.http": {"httptools", "litestar"},
}
# Names of other libraries: a NamedTuple's public ones, and those without a public face.
FOREIGN_PRIVATE = {
    *("_replace", "_asdict", "_fields", "_get_running_loop"),
    *("_unregister_task", "_log_destroy_pending", "_current_frames", "_exit"),
}


def modules(package: Path) -> dict[str, Path]:
    """Every module below the package, by dotted name without ``headrace.``; the package itself is ''."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, known: set[str]) -> set[str]:
    """The modules of ours that a file imports at run time, wherever in the file it does so."""
    found: set[str] = set()
    for node in run_time_nodes(tree):
        if isinstance(node, ast.Import):
            found.update(shortened(name.name) for name in node.names if is_ours(name.name))
        elif isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            base = shortened(node.module or "")
            for name in node.names:
                inner = f"{base}.{name.name}".removeprefix(".")
                found.add(inner if inner in known or inner == NATIVE else base)
    return found


def run_time_nodes(tree: ast.AST) -> list[ast.AST]:
    """Yield every node that is not below ``if TYPE_CHECKING:``."""
    found, left = [], [tree]
    while left:
        node = left.pop()
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            found.append(node)
            left.extend(ast.iter_child_nodes(node))
    return found


def is_ours(name: str) -> bool:
    """Whether a dotted name belongs to the package."""
    return name == "headrace" or name.startswith("headrace.")


def shortened(name: str) -> str:
    """A dotted name without the package's own."""
    return name.removeprefix("headrace").removeprefix(".")


def room_of(module: str) -> str:
    """The first word of a module's name."""
    return module.partition(".")[0]


@pytest.fixture(scope="module")
def trees(root: Path) -> dict[str, ast.Module]:
    """Module -> its syntax tree."""
    found = {module: ast.parse(path.read_text()) for module, path in modules(root / "python" / "headrace").items()}
    assert "errors" in found
    return found


@pytest.fixture(scope="module")
def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports at run time."""
    return {module: imports(tree, set(trees)) for module, tree in trees.items()}


def test_top_level_holds_only_rooms_and_ground(root: Path) -> None:
    package = root / "python" / "headrace"
    built = {path.name for path in package.glob("_native*.so")}
    files = {path.name for path in package.iterdir() if path.is_file()} - built
    folders = {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert files <= TOP_LEVEL
    assert folders <= {*ROOMS, *GUESTS}


def test_every_folder_is_a_package(root: Path) -> None:
    package = root / "python" / "headrace"
    folders = {path.parent for path in package.rglob("*.py")}
    assert {str(folder.relative_to(package)) for folder in folders if not (folder / "__init__.py").is_file()} == set()


def test_imports_flow_downwards(graph: dict[str, set[str]]) -> None:
    upwards = {
        f"{module} imports {target or 'headrace'}"
        for module, targets in graph.items()
        for target in targets
        if room_of(module) in RANK and room_of(module) != "cli" and target != NATIVE
        if RANK[room_of(module)] < RANK.get(room_of(target), len(RANK))
    }
    assert not upwards


def test_imports_make_no_circle(graph: dict[str, set[str]]) -> None:
    inner = {module: targets - {module} for module, targets in graph.items() if module}
    graphlib.TopologicalSorter(inner).prepare()


def test_private_names_stay_in_their_room(trees: dict[str, ast.Module]) -> None:
    own: dict[str, set[str]] = {}
    for module, tree in trees.items():
        own.setdefault(room_of(module), set()).update(private_names_made(tree))
    crossing = {
        f"{module} uses {name}"
        for module, tree in trees.items()
        for name in private_names_used(tree)
        if name not in own[room_of(module)] | FOREIGN_PRIVATE
    }
    assert not crossing


def private_names_made(tree: ast.AST) -> set[str]:
    """Private names that a file defines: functions, classes, variables, and attributes of ``self`` and ``cls``."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            found.add(node.attr)
    return {name for name in found if is_private(name)}


def private_names_used(tree: ast.AST) -> set[str]:
    """Private names that a file imports, and private attributes of anything but ``self`` and ``cls``."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            found.update(name.name for name in node.names if name.name != NATIVE)
        elif isinstance(node, ast.Attribute) and not is_self(node.value):
            found.add(node.attr)
    return {name for name in found if is_private(name) and name != NATIVE}


def is_private(name: str) -> bool:
    """Whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def is_self(node: ast.AST) -> bool:
    """Whether a node is ``self`` or ``cls``."""
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_errors_import_nothing_and_limits_only_native_ones(graph: dict[str, set[str]]) -> None:
    """The native module imports the error classes while it raises; then no other module may be half loaded."""
    assert graph["errors"] == set()
    assert graph["limits"] <= {NATIVE}


def test_native_module_is_imported_by_one_form(root: Path) -> None:
    """``import headrace._native as _native``: the other form imports the package, which looks like a circle."""
    other = [
        str(path.relative_to(root))
        for folder in ("python", "tests", "benches", "docs", "tools")
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "headrace"
        if NATIVE in {name.name for name in node.names}
    ]
    assert not other


def test_engine_imports_no_feed_or_broker(graph: dict[str, set[str]]) -> None:
    """An engine receives feeds and brokers through Protocols; it opens sources by ``feeds.given`` and ``sources``."""
    names = ("base", "ends", "given", "listings", "progress", "quality", "recorder", "sources")
    allowed = {"feeds", *(f"feeds.{name}" for name in names), "trading.brokers", "trading.brokers.base"}
    seen = {target for module, targets in graph.items() if room_of(module) == "engine" for target in targets}
    assert {own for own in seen if own.startswith(("feeds", "trading.brokers", "venues"))} <= allowed


def test_examples_use_only_the_front_door(graph: dict[str, set[str]]) -> None:
    seen = {target for module, targets in graph.items() if room_of(module) in GUESTS for target in targets}
    assert {target for target in seen if room_of(target) not in GUESTS} <= DOORS


def test_only_the_command_line_reads_arguments(trees: dict[str, ast.Module]) -> None:
    found = {
        f"{module} imports {name}"
        for module, tree in trees.items()
        if room_of(module) not in {"cli", "__main__", *GUESTS}
        for node in ast.walk(tree)
        for name in imported_roots(node)
        if name in {"click", "argparse"}
    }
    assert not found


def test_core_install_needs_only_numpy_msgspec_and_click(trees: dict[str, ast.Module]) -> None:
    """At import time. An extra is imported inside the function that needs it, or by a folder that is imported so."""
    found = {
        f"{module or 'headrace'} imports {name}"
        for module, tree in trees.items()
        for node in tree.body
        for name in imported_roots(node)
        if name not in ALLOWED_AT_THE_TOP | extras_of(module)
    }
    assert not found


def extras_of(module: str) -> set[str]:
    return set().union(*(own for folder, own in OF_EXTRAS.items() if f"{module}.".startswith(f"{folder}.")))


def test_no_core_module_imports_an_extras_folder(trees: dict[str, ast.Module]) -> None:
    """At import time: they need what their extra installs."""
    for module, tree in trees.items():
        for own in imports(imports_at_the_top(tree), set(trees)):
            assert extras_of(own) <= extras_of(module), f"{module} imports {own}"


def imports_at_the_top(tree: ast.Module) -> ast.Module:
    return ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])


def imported_roots(node: ast.AST) -> set[str]:
    """Return the root packages that one statement imports, without our own."""
    if isinstance(node, ast.Import):
        return {name.name.partition(".")[0] for name in node.names if not is_ours(name.name)}
    if isinstance(node, ast.ImportFrom) and not node.level and not is_ours(node.module or ""):
        return {(node.module or "").partition(".")[0]}
    return set()


def test_import_reader_resolves_submodules_and_leaves_types_out() -> None:
    text = (
        "import os\nimport headrace._native as _native\nfrom headrace.market import clock\n"
        "if TYPE_CHECKING:\n    from headrace.engine import loop\n"
    )
    assert imports(ast.parse(text), {"market", "market.clock", "engine.loop"}) == {NATIVE, "market.clock"}


def test_private_name_reader_finds_a_crossing() -> None:
    assert private_names_used(ast.parse("dispatcher._ingest\nself._own\nfrom headrace.bus import _x")) == {
        "_ingest",
        "_x",
    }
    assert private_names_made(ast.parse("class A:\n    _own = 1\n    def _f(self): self._b = 2")) == {
        "_own",
        "_f",
        "_b",
    }
