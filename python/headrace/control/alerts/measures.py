"""Measures: the numbers that rules judge, each of one or more subjects.

::

    MEASURES["lag"](reading) ─▶ {"momentum": 0.2, "spread": 0.0}        None: its input is missing now

Guarantees: a measure that counts counts what came within its window; a subject that was there and is gone is missing,
not well; memory is bounded by the subjects and WINDOW_POINTS points of each.
Does not: judge; ``rule`` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from headrace.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.control.stream.board import Document
    from headrace.telemetry import Sample

__all__ = ["MEASURES", "Measure", "Memory", "Reading", "is_measure", "measure_names", "measured"]

Values: TypeAlias = "dict[str, float | None]"
SECOND_NS = 1_000_000_000
# Of each counter in a window: the oldest that is still in it counts, so an increase is right within a 60th of it.
WINDOW_POINTS = 60


class Reading(NamedTuple):
    """What measures are read from. metrics : read when a rule names one. now_ns : by the wall clock."""

    now_ns: int
    document: Document
    metrics: Callable[[], Iterable[Sample]]


class Measure(NamedTuple):
    """One measure. unit : of its values. subjects : what they are of."""

    unit: str
    subjects: str
    meaning: str
    read: Callable[[Reading, Memory], Values]


class Memory:
    """What the measures of one rule remember. window_s : how far back counters count."""

    def __init__(self, window_s: float) -> None:
        self.window_ns = round(window_s * SECOND_NS)
        self._points: dict[str, deque[tuple[int, float]]] = {}
        self._peaks: dict[str, float] = {}
        self._since: dict[str, int] = {}

    def increase(self, subject: str, now_ns: int, count: float) -> float:
        """Return how far a counter grew within the window; one that began anew grew by what it has."""
        points = self._points.setdefault(subject, deque())
        if points and count < points[-1][1]:
            points.clear()
            points.append((now_ns, 0.0))
        if not points or now_ns - points[-1][0] >= self.window_ns // WINDOW_POINTS:
            points.append((now_ns, count))
        while len(points) > 1 and points[1][0] <= now_ns - self.window_ns:
            points.popleft()
        return count - points[0][1]

    def below_peak(self, subject: str, value: float) -> float:
        """Return how far a value is below the highest that it had."""
        peak = self._peaks[subject] = max(value, self._peaks.get(subject, value))
        return peak - value

    def held_s(self, subject: str, now_ns: int, *, holds: bool) -> float:
        """Return for how long something has held, s; 0 while it does not."""
        if not holds:
            self._since.pop(subject, None)
            return 0.0
        return (now_ns - self._since.setdefault(subject, now_ns)) / SECOND_NS


def measured(name: str, reading: Reading, memory: Memory) -> Values:
    """Return the values of a measure, or of a metric, by subject. Raises KeyError for an unknown name."""
    if name in MEASURES:
        return MEASURES[name].read(reading, memory)
    own = [sample for sample in reading.metrics() if sample.name == name]
    if METRICS[name].kind == "counter":
        return {_labels(sample): memory.increase(_labels(sample), reading.now_ns, sample.value) for sample in own}
    return {_labels(sample): sample.value for sample in own}


def is_measure(name: str) -> bool:
    """Whether a rule may name it."""
    return name in MEASURES or name in METRICS


def measure_names() -> list[str]:
    """Return the names of the measures, without those of metrics."""
    return list(MEASURES)


def _labels(sample: Sample) -> str:
    return "/".join(sample.labels) or "all"


def _rows(reading: Reading, section: str) -> Mapping[str, Any]:
    return reading.document.get(section, {})


def _field(section: str, field: str) -> Callable[[Reading, Memory], Values]:
    def read(reading: Reading, _memory: Memory) -> Values:
        return {key: _number(row.get(field)) for key, row in _rows(reading, section).items()}

    return read


def _counted(section: str, *fields: str) -> Callable[[Reading, Memory], Values]:
    """The increase of the sum of some counters of each row; a field may be of a row in the row: "orders/rejected"."""

    def read(reading: Reading, memory: Memory) -> Values:
        found: Values = {}
        for key, row in _rows(reading, section).items():
            counts = [_number(_inner(row, field)) for field in fields]
            known = [own for own in counts if own is not None]
            found[key] = memory.increase(key, reading.now_ns, sum(known)) if len(known) == len(counts) else None
        return found

    return read


def _engine_counted(field: str) -> Callable[[Reading, Memory], Values]:
    def read(reading: Reading, memory: Memory) -> Values:
        count = _number(_rows(reading, "engine").get(field))
        return {"engine": None if count is None else memory.increase(field, reading.now_ns, count)}

    return read


def _is(section: str, field: str, *bad: str) -> Callable[[Reading, Memory], Values]:
    def read(reading: Reading, _memory: Memory) -> Values:
        return {key: float(row.get(field) in bad) for key, row in _rows(reading, section).items()}

    return read


def _halt(reading: Reading, _memory: Memory) -> Values:
    halted = _rows(reading, "engine").get("halted")
    return {"engine": None if halted is None else float(halted)}


def _service(reading: Reading, _memory: Memory) -> Values:
    return {name: float(row["health"] != "ok") for name, row in _rows(reading, "services").items()}


def _stale_feed(reading: Reading, memory: Memory) -> Values:
    rows = _rows(reading, "streams").items()
    found: Values = {
        key: memory.held_s(key, reading.now_ns, holds=row["state"] in ("DOWN", "STALE", "SILENT")) for key, row in rows
    }
    venues = {row["venue"] for _, row in rows}
    for name, row in _rows(reading, "feeds").items():
        # A venue's own streams say it better; what has ended is not stale.
        if row["state"] == "running" and row["venue"] not in venues and row["frame_ns"] is not None:
            found[name] = max(0.0, (reading.now_ns - int(row["frame_ns"])) / SECOND_NS)
    return found


def _quote_age(reading: Reading, _memory: Memory) -> Values:
    now_ns = int(_rows(reading, "clock").get("engine_ns", reading.now_ns))
    return {
        name: max(0.0, (now_ns - int(row["quote_ns"])) / SECOND_NS)
        for name, row in _rows(reading, "instruments").items()
        if row.get("quote_ns") is not None
    }


def _drawdown(reading: Reading, memory: Memory) -> Values:
    equities = {key: _number(row["equity"]) for key, row in _rows(reading, "accounts").items()}
    for name, row in _rows(reading, "strategies").items():
        equities |= {f"{name}/{key}": _number(own["equity"]) for key, own in row["accounts"].items()}
    return {key: None if own is None else memory.below_peak(key, own) for key, own in equities.items()}


def _inner(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for name in path.split("/"):
        value = value.get(name)
    return value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


MEASURES: Mapping[str, Measure] = {
    "halt": Measure("0 or 1", "the engine", "1 while the kill switch refuses orders", _halt),
    "quarantine": Measure(
        "0 or 1",
        "strategies",
        "1 while it is quarantined or failed",
        _is("strategies", "state", "quarantined", "failed"),
    ),
    "lag": Measure("s", "strategies", "between its last tick and the newest", _field("strategies", "lag_s")),
    "pending": Measure("ticks", "strategies", "published and not dispatched", _field("strategies", "pending")),
    "drops": Measure("ticks", "strategies", "missed within the window", _counted("strategies", "missed")),
    "lane_drops": Measure(
        "events", "lanes", "dropped, refused or dead within the window", _counted("lanes", "dropped", "refused", "dead")
    ),
    "faults": Measure("calls", "strategies", "that raised within the window", _counted("strategies", "faults")),
    "refused_orders": Measure(
        "orders", "strategies", "rejected within the window", _counted("strategies", "orders/rejected")
    ),
    "dead_letters": Measure("letters", "the engine", "new within the window", _engine_counted("dead_letters")),
    "gaps": Measure("gaps", "the engine", "new within the window", _engine_counted("gaps")),
    "rejected_frames": Measure("frames", "the engine", "new within the window", _engine_counted("rejected_frames")),
    "stale_feed": Measure(
        "s", "streams; feeds without", "for how long a stream is not up, or no frame came", _stale_feed
    ),
    "feed_failed": Measure("0 or 1", "feeds", "1 when it failed", _is("feeds", "state", "failed")),
    "quote_age": Measure("s", "instruments", "since its newest quote was received, by the engine's clock", _quote_age),
    "equity": Measure("currency", "accounts", "the equity", _field("accounts", "equity")),
    "drawdown": Measure("currency", "accounts, strategies' own", "the equity below its peak", _drawdown),
    "service": Measure("0 or 1", "services", "1 while its health is not ok", _service),
    "backlog": Measure("recommendations", "workers", "that wait", _field("worker", "backlog")),
    "backlog_age": Measure(
        "s", "workers", "of the oldest recommendation that waits", _field("worker", "backlog_age_s")
    ),
    "last_run": Measure("s", "workers", "since the last run ended", _field("worker", "last_run_s")),
    "bar_age": Measure("s", "tickers of the last day", "since the newest bar", _field("tickers", "bar_age_s")),
    "feature_age": Measure(
        "s", "tickers of the last day", "since the newest features", _field("tickers", "feature_age_s")
    ),
}
