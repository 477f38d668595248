"""The table of ratios, from what pytest-benchmark saved: ``python -m benches.table target/bench.json``.

Guarantees: a ratio is the median of the ratios within the rounds. The rows that count for a user come first.
Does not: measure. Rows of whole processes (``whole_process``) are measured and added where ``--whole`` asks for them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Every tick has a time of its own, as in a user's data.
FIRST = ("1r", "3r", "4r", "4s", "11r", "13r", "17", "19", "22")
HEADS = ("row", "what", "ours", "ratio", "to", "target", "met", "best peer")
ANCHOR = "bare_loop"
# What a time per item is divided by, for a row in a unit of time.
NS = {"ns": 1, "µs": 1_000, "ms": 1_000_000}


class Line(NamedTuple):
    """One line of the table. met : None where no target was set, or there is no figure."""

    number: str
    what: str
    ours: str
    ratio: float | None = None
    to: str = ""
    target: str = ""
    met: bool | None = None
    best_peer: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return its texts, in the order of the columns."""
        ratio = "" if self.ratio is None else f"{self.ratio:.3g}"
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return (self.number, self.what, self.ours, ratio, self.to, self.target, met, self.best_peer)


class Group:
    """The cases of one group, by name, and what they measured in each round."""

    def __init__(self, benchmarks: Sequence[Mapping[str, Any]]) -> None:
        self.cases = {str(one["name"]).partition("[")[0].removeprefix("test_"): one for one in benchmarks}

    def series(self, name: str, figure: str = "") -> list[float | None]:
        """Return the ns per item of each round, or the figures; of ``one - other``, the differences."""
        one, _, other = name.partition(" - ")
        if other:
            pairs = zip(self.series(one), self.series(other), strict=True)
            return [None if left is None or right is None else left - right for left, right in pairs]
        case = self.cases[one]
        if figure:
            return list(case["extra_info"]["figures"][figure])
        items = case["extra_info"].get("items", 1)
        return [seconds * 1e9 / items for seconds in case["stats"]["data"]]

    def about(self, name: str) -> str:
        """Return what the case found out about its input, or nothing."""
        return str(self.cases[name.partition(" - ")[0]]["extra_info"].get("about", ""))

    def line(self, row: Mapping[str, Any]) -> Line | None:
        """Return a row's line; None where one of its cases was not run."""
        compared = [name for name in (row["ours"], row["to"]) if name]
        if not {part for name in compared for part in name.split(" - ")} <= set(self.cases):
            return None
        own = self.series(row["ours"], row["figure"])
        known = [value for value in own if value is not None]
        at_least, at_most = row["at_least"], row["at_most"]
        what = row["what"] + (f", {about}" if (about := self.about(row["ours"])) else "")
        target = f"≥ {at_least:g}" if at_least else f"≤ {at_most:g}" if at_most else ""
        if not known:
            return Line(row["number"], what, "no pace was kept", target=target)
        value = statistics.median(known)
        if row["unit"] and not row["figure"]:
            value /= NS[row["unit"]]
        if not row["to"]:
            return Line(row["number"], what, _figure(value, row["unit"]), value, row["unit"], target, _met(value, row))
        ratio = _ratio(own, self.series(row["to"], row["figure"]), grows=at_most is not None)
        ours = _figure(value, row["unit"]) if row["unit"] else rate(value)
        return Line(row["number"], what, ours, ratio, _shown(row["to"]), target, _met(ratio, row), self._best_peer(row))

    def _best_peer(self, row: Mapping[str, Any]) -> str:
        """Return the fastest peer of the group and its ratio to the anchor."""
        if not row["number"] or row["to"] != ANCHOR:
            return ""
        base = self.series(row["to"])
        peers = {
            str(case["extra_info"]["peer"]): _ratio(self.series(name), base)
            for name, case in self.cases.items()
            if "peer" in case["extra_info"]
        }
        found = {name: ratio for name, ratio in peers.items() if ratio is not None}
        best = max(found, key=lambda name: found[name], default="")
        return f"{best} {found[best]:.2g} {_shown(row['to'])}" if best else ""


def _ratio(own: Sequence[float | None], base: Sequence[float | None], *, grows: bool = False) -> float | None:
    """Return how many times as fast as the base it is, or how many times the time it takes, within the rounds."""
    pairs = [(left, right) for left, right in zip(own, base, strict=True) if left and right]
    if not pairs:
        return None
    return statistics.median(left / right if grows else right / left for left, right in pairs)


def _met(value: float | None, row: Mapping[str, Any]) -> bool | None:
    if value is None or (row["at_least"] is None and row["at_most"] is None):
        return None
    return bool(value >= row["at_least"] if row["at_least"] is not None else value <= row["at_most"])


def _shown(case: str) -> str:
    """Return a case's name as the table shows it."""
    return "A" if case == ANCHOR else case.partition(" - ")[0].replace("_", " ")


def _figure(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".rstrip()


def rate(ns: float) -> str:
    """Write a time per item as a rate."""
    return f"{1e3 / ns:.3g} M/s" if ns < 1e6 else f"{1e9 / ns:.3g} /s"


def lines(document: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the lines of all groups in the order in which they ran."""
    by_group: dict[str, list[Mapping[str, Any]]] = {}
    for benchmark in document["benchmarks"]:
        by_group.setdefault(benchmark["group"], []).append(benchmark)
    for name, benchmarks in by_group.items():
        group = Group(benchmarks)
        yield from (line for row in document["rows"][name] if (line := group.line(row)) is not None)


def text(found: Sequence[Line]) -> str:
    """Write lines as a Markdown table that also reads well unrendered; a user's rows first."""
    if not found:
        return "no row was measured: each needs all cases of its group"
    ordered = sorted(found, key=lambda line: FIRST.index(line.number) if line.number in FIRST else len(FIRST))
    cells = [HEADS, *(line.cells() for line in ordered)]
    shown = [column for column in range(len(HEADS)) if any(line[column] for line in cells[1:])]
    widths = {column: max(len(line[column]) for line in cells) for column in shown}
    written = ["| " + " | ".join(line[column].ljust(widths[column]) for column in shown) + " |" for line in cells]
    written.insert(1, "|" + "|".join("-" * (widths[column] + 2) for column in shown) + "|")
    judged = [line for line in ordered if line.met is not None]
    return "\n".join([*written, "", f"targets met: {sum(bool(line.met) for line in judged)} of {len(judged)}"])


def main() -> int:
    """Print the table of a saved run."""
    parser = argparse.ArgumentParser(description="The table of ratios of a saved run.")
    parser.add_argument("file", type=Path, help="what --benchmark-json wrote")
    parser.add_argument("--whole", choices=("quick", "full"), help="also measure what needs a process of its own")
    options = parser.parse_args()
    document = json.loads(options.file.read_text(encoding="utf-8"))
    found = list(lines(document))
    if options.whole:
        from benches import whole_process

        print(whole_process.machine())
        found += whole_process.lines(quick=options.whole == "quick")
    print(f"\n{text(found)}; medians of {document['rounds']} rounds\n{document['verdict']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
