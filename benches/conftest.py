"""Benches under pytest: groups run in interleaved rounds; with ``--benchmark-disable`` each case runs once, as a test.

    pytest benches --benchmark-only -k on_quote      the cases of one file, and the table of their ratios
    pytest benches --benchmark-disable               every case once, small, its result asserted

Does not: take part in the tests' own run: `make test` starts it with ``--benchmark-disable``.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from benches.bench import FULL, QUICK, SMALL, Bench, Size
from benches.rounds import Patience, Rounds
from benches.table import lines, text

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = pytest.StashKey[Rounds]()
SIZE = pytest.StashKey[Size]()
ROWS = pytest.StashKey[dict[str, list[dict[str, Any]]]]()
# One round of one case, at its full size.
TIMEOUT_S = 300


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="benches: more rounds, ticks and frames")
    parser.addoption("--peers", action="store_true", help="benches: only the groups that a peer is in")


def pytest_configure(config: pytest.Config) -> None:
    size = SMALL if _is_disabled(config) else FULL if config.getoption("full") else QUICK
    config.stash[SIZE] = size
    config.stash[ROUNDS] = Rounds(size.rounds, Patience(size.patience_s))
    config.stash[ROWS] = {}


def _is_disabled(config: pytest.Config) -> bool:
    return bool(config.getoption("benchmark_disable"))


def _group(item: pytest.Item) -> str:
    """The class of a case, with what the class is parametrized by."""
    return item.nodeid.rpartition("::")[0] + item.name.partition("[")[2]


def _is_own(item: pytest.Item) -> bool:
    """Say whether an item is a case, not a test of another folder."""
    return "bench" in getattr(item, "fixturenames", ())


def _is_installed(item: pytest.Item) -> bool:
    """Say whether the peer that a case is written with is there; true of our own cases."""
    written_with = item.get_closest_marker("peer")
    return written_with is None or find_spec(written_with.args[0]) is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:] = filter(_is_installed, items)
    own = [item for item in items if _is_own(item)]
    for item in own:
        config.stash[ROWS][_group(item)] = [asdict(row) for row in item.cls.rows]  # type: ignore[attr-defined]
        timer = time.perf_counter if item.get_closest_marker("wall") else time.process_time
        item.add_marker(pytest.mark.benchmark(group=_group(item), timer=timer))
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    if config.getoption("peers"):
        chosen = {_group(item) for item in own if item.get_closest_marker("peer")}
        items[:] = [item for item in own if _group(item) in chosen]


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run tests of other folders once, then the groups of cases one after the other."""
    config = session.config
    if _is_disabled(config) or config.option.collectonly or session.testsfailed:
        return None
    rounds = config.stash[ROUNDS]
    own = sorted(filter(_is_own, session.items), key=_group)
    others = [item for item in session.items if not _is_own(item)]
    for item, following in zip(others, [*others[1:], None], strict=False):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
    for _, group in groupby(own, key=_group):
        rounds.run(session, list(group))
        if session.shouldstop or session.shouldfail:
            break
    return True


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """Count a case as passed once, not with every round."""
    return ("", "", "") if report.passed and not config.stash[ROUNDS].is_last else None


@pytest.fixture
def bench(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Bench:
    """Run this test's case under pytest-benchmark."""
    made = Bench(benchmark, request.config.stash[SIZE])
    if written_by := request.node.get_closest_marker("peer"):
        benchmark.extra_info["peer"] = written_by.args[0]
    request.config.stash[ROUNDS].fresh[request.node.nodeid] = made
    return made


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Keep the rows beside the times: the table is made of the file alone."""
    output_json |= _about(config)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the ratios below pytest-benchmark's own table, unless it is quiet, too."""
    kept = [found.as_dict() for found in config.stash[ROUNDS].kept.values() if found]
    if kept and not config.getoption("benchmark_quiet"):
        document = {"benchmarks": kept, **_about(config)}
        terminalreporter.write_line(f"\n{text(list(lines(document)))}\n{document['verdict']}")


def _about(config: pytest.Config) -> dict[str, Any]:
    rounds = config.stash[ROUNDS]
    return {"rows": config.stash[ROWS], "rounds": rounds.rounds, "verdict": rounds.patience.verdict()}
