"""The benches' own arithmetic: ratios within rounds, rotation, rounds that do not count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from benches.rounds import Patience, Rounds
from benches.table import Line, lines, text


def case(name: str, seconds: list[float], **extra: Any) -> dict[str, Any]:
    """A benchmark as pytest-benchmark saves it."""
    return {"group": "g", "name": f"test_{name}", "stats": {"data": seconds}, "extra_info": {"items": 10, **extra}}


def row(ours: str, to: str = "", **told: Any) -> dict[str, Any]:
    """A row as the benches save it."""
    empty = {"at_least": None, "at_most": None, "unit": "", "figure": ""}
    return {"number": "1r", "what": "w", "ours": ours, "to": to, **empty, **told}


def line(told: dict[str, Any], *cases: dict[str, Any]) -> Line | None:
    """The table's line of one row."""
    return next(lines({"benchmarks": list(cases), "rows": {"g": [told]}}), None)


OURS = case("ours", [1.0, 2.0, 9.0])
BASE = case("bare_loop", [2.0, 8.0, 9.0])


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    found = line(row("ours", "bare_loop", at_least=1.9), OURS, BASE)
    assert found is not None
    assert (found.ratio, found.to, found.target, found.met) == (2.0, "A", "≥ 1.9", True)


def test_a_growth_is_a_ratio_of_times() -> None:
    found = line(row("bare_loop", "ours", at_most=1.9), OURS, BASE)
    assert found is not None
    assert (found.ratio, found.met) == (2.0, False)


def test_a_difference_is_taken_within_each_round() -> None:
    found = line(row("bare_loop - ours", at_most=1e9, unit="ms"), OURS, BASE)
    assert found is not None
    # 1, 6 and 0 seconds over ten items.
    assert (found.ratio, found.ours) == (100.0, "100 ms")


def test_items_count_where_cases_differ_in_size() -> None:
    found = line(row("ours", "bare_loop"), OURS, case("bare_loop", [1.0, 4.0, 4.5], items=5))
    assert found is not None
    assert found.ratio == 2.0


def test_a_figure_is_compared_in_place_of_the_time() -> None:
    noted = [case("ours", [1.0], figures={"p99": [4.0]}), case("bare_loop", [1.0], figures={"p99": [6.0]})]
    found = line(row("ours", "bare_loop", figure="p99", unit="µs"), *noted)
    assert found is not None
    assert (found.ratio, found.ours) == (1.5, "4 µs")


def test_a_row_without_its_peer_is_left_out() -> None:
    assert line(row("ours", "csp"), OURS, BASE) is None


def test_the_fastest_peer_stands_beside() -> None:
    peers = [case("slow", [80.0] * 3, peer="slow"), case("fast", [4.0, 16.0, 18.0], peer="fast")]
    found = line(row("ours", "bare_loop"), OURS, BASE, *peers)
    assert found is not None
    assert found.best_peer == "fast 0.5 A"


def test_the_rows_of_a_user_come_first() -> None:
    shown = text([Line("1", "shared", "-"), Line("19", "file", "-"), Line("", "other", "-"), Line("1r", "own", "-")])
    rows = [cells.split("|")[1].strip() for cells in shown.splitlines()[2:6]]
    assert rows == ["1r", "19", "1", ""]


class Item:
    """A case that notes when it ran."""

    def __init__(self, name: str, ran: list[str], rounds: Rounds) -> None:
        self.nodeid = name
        self.ihook = self
        self._ran = ran
        self._rounds = rounds

    def pytest_runtest_protocol(self, item: Item, nextitem: Item | None) -> None:
        assert item is self
        self._ran.append(self.nodeid)
        stats = SimpleNamespace(data=[float(len(self._ran))])
        measured = SimpleNamespace(stats=stats, update=stats.data.append, extra_info={}, fixture=None)
        benchmark = SimpleNamespace(stats=measured, has_error=False)
        self._rounds.fresh[self.nodeid] = SimpleNamespace(benchmark=benchmark, figures={"place": 1.0})  # type: ignore[assignment]


class OneIsDisturbed(Patience):
    """Throws the second round away."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.looked = 0

    def accepts(self, foreign_cores: float, round_s: float) -> bool:
        self.looked += 1
        return self.looked != 2


def test_rounds_rotate_and_only_those_that_count_are_kept() -> None:
    ran: list[str] = []
    rounds = Rounds(2, OneIsDisturbed())
    items = [Item(name, ran, rounds) for name in "abc"]
    rounds.run(SimpleNamespace(testsfailed=0), items)  # type: ignore[arg-type]
    assert "".join(ran) == "abc" + "bca" + "cab" + "abc"
    # The first round warmed up, the third was disturbed.
    assert {name: kept.stats.data for name, kept in rounds.kept.items()} == {"a": [6, 10], "b": [4, 11], "c": [5, 12]}
    assert all(kept.extra_info["figures"] == {"place": [1.0, 1.0]} for kept in rounds.kept.values())
