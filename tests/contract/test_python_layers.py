"""The walls between the Python modules: imports flow downwards, and only the command line knows everything."""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

import pytest

# From the top down; a module may import the layers below it, and its own layer as long as that makes no circle.
LAYERS: tuple[frozenset[str], ...] = (
    # The package itself ('') is the front door: the command line and the examples use it like everybody else.
    frozenset({"cli", "__main__", "", "examples"}),
    frozenset(
        {
            "engine",
            "engine_parts",
            "engine_run",
            "repeat",
            "engine_report",
            "interrupts",
            "assembly",
            "checking",
            "turns",
            "supervisor",
            "runner",
            "strategy_spec",
            "shutdown",
            "desk",
            "operators",
            "intake",
            "live_source",
            "control",
            "session",
            "result",
            "report",
        }
    ),
    frozenset(
        {"service", "feeds", "brokers", "telemetry", "commands", "orders", "risk", "kill_switch"}
        | {"audit", "bars", "timers", "dispatch_log"}
    ),
    frozenset(
        {
            "bus",
            "bus_subscription",
            "consumer",
            "lane_tasks",
            "subscribers",
            "dispatch",
            "driver",
            "handlers",
            "strategy",
            "subscription",
        }
    ),
    frozenset(
        {
            "events",
            "fields",
            "instrument",
            "tick",
            "clock",
            "config",
            "loading",
            "deadletters",
            "faults",
            "wakeup",
            "watch",
        }
        | {"handling", "lane", "lifecycle", "money", "positions", "state_folder"}
    ),
    frozenset({"limits", "errors"}),
)
RANK = {name: rank for rank, names in enumerate(reversed(LAYERS)) for name in names}
# Below everything: the native module looks up `errors` at the first raise, and in `tick` the dtypes and GapCause.
NATIVE = "_native"
# Written as a user would write them: they see what a user sees, the package and what its callbacks are given.
GUESTS = {"examples"}
DOORS = {"", "events", "timers"}
ALLOWED_AT_THE_TOP = sys.stdlib_module_names | {"numpy", "msgspec", "click"}


def modules(package: Path) -> dict[str, Path]:
    """Every module below the package, by dotted name without ``headrace.``; the package itself is ''."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, module: str, known: set[str]) -> set[str]:
    """The modules of ours that a file imports, wherever in the file it does so."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(
                name.name.removeprefix("headrace").removeprefix(".") for name in node.names if is_ours(name.name)
            )
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ["headrace", *package.split(".")] if package else ["headrace"]
                base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])])
            if is_ours(base):
                base = base.removeprefix("headrace").removeprefix(".")
                for name in node.names:
                    inner = f"{base}.{name.name}".removeprefix(".")
                    found.add(inner if inner in known or inner == NATIVE else base)
    return found


def is_ours(name: str) -> bool:
    """Whether a dotted name belongs to the package."""
    return name == "headrace" or name.startswith("headrace.")


@pytest.fixture(scope="module")
def graph(root: Path) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports."""
    package = root / "python" / "headrace"
    known = modules(package)
    assert "errors" in known, f"{package} holds no modules to look at"
    return {module: imports(path, module, set(known)) for module, path in known.items()}


def top(module: str) -> str:
    """The first word of a module's name, which the table ranks."""
    return module.partition(".")[0]


def test_every_module_has_a_layer(graph: dict[str, set[str]]) -> None:
    assert not {top(module) for module in graph} - RANK.keys()


def test_imports_flow_downwards(graph: dict[str, set[str]]) -> None:
    upwards = {
        f"{module} imports {target or 'headrace'}"
        for module, targets in graph.items()
        for target in targets
        if module and target != NATIVE and RANK[top(module)] < RANK[top(target)]
    }
    assert not upwards


def test_imports_make_no_circle(graph: dict[str, set[str]]) -> None:
    inner = {module: targets - {module} for module, targets in graph.items() if module}
    graphlib.TopologicalSorter(inner).prepare()


def test_errors_import_nothing_of_ours_and_limits_only_the_native_ones(graph: dict[str, set[str]]) -> None:
    """The native module looks the error classes up while it raises, when no other module may be loading."""
    assert graph["errors"] == set()
    assert graph["limits"] <= {NATIVE}


def test_examples_use_only_the_front_door(graph: dict[str, set[str]]) -> None:
    seen = {target for module, targets in graph.items() if top(module) in GUESTS for target in targets}
    assert {top(target) for target in seen} <= {*DOORS, *GUESTS}


def test_nothing_below_the_command_line_prints_or_reads_arguments(graph: dict[str, set[str]], root: Path) -> None:
    package = root / "python" / "headrace"
    outside = {
        module: path for module, path in modules(package).items() if top(module) not in {"cli", "__main__", *GUESTS}
    }
    found = {
        f"{module} imports {name}"
        for module, path in outside.items()
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported_roots(node)
        if name in {"click", "argparse"}
    }
    assert not found
    assert graph


def test_the_core_install_needs_only_numpy_msgspec_and_click(root: Path) -> None:
    """At import time; an extra is imported inside the function that needs it."""
    package = root / "python" / "headrace"
    found = {
        f"{module or 'headrace'} imports {name}"
        for module, path in modules(package).items()
        for node in ast.parse(path.read_text()).body
        for name in imported_roots(node)
        if name not in ALLOWED_AT_THE_TOP
    }
    assert not found


def imported_roots(node: ast.AST) -> set[str]:
    """The first words of what one statement imports, our own package left out."""
    if isinstance(node, ast.Import):
        return {name.name.partition(".")[0] for name in node.names if not is_ours(name.name)}
    if isinstance(node, ast.ImportFrom) and not node.level and not is_ours(node.module or ""):
        return {(node.module or "").partition(".")[0]}
    return set()


def test_the_import_reader_resolves_relative_and_submodule_imports(tmp_path: Path) -> None:
    path = tmp_path / "recording.py"
    path.write_text(
        "from ..errors import ClosedError\nfrom . import base\nfrom headrace import _native, clock\nimport os\n"
    )
    seen = imports(path, "feeds.recording", {"errors", "feeds", "feeds.base", "clock"})
    assert seen == {"errors", "feeds.base", NATIVE, "clock"}
