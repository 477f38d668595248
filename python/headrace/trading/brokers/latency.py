"""Latency: how long orders, changes and cancels are on their way to the simulated venue.

::

    5_000_000                         always as long, ns
    NormalLatency("5ms", "1ms")       drawn for each message, from a seed; below 0 counts as 0
    FileLatency("latency.csv")        as it was measured: lines of ``ts,latency_ns``, the newest at or before now

Guarantees: the same seed and messages give the same times, whatever other instruments do; a message never overtakes
the one before it of its instrument.
Does not: delay answers or data.
"""

from __future__ import annotations

import csv
import os
import random
import re
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from headrace.errors import OptionError
from headrace.feeds.files import refuse_endless
from headrace.market.checks import TIME_MAX_NS, Duration, duration_ns, refuse, whole

__all__ = ["AnyLatency", "Delays", "FileLatency", "Latency", "NormalLatency", "latency_of"]


@runtime_checkable
class Latency(Protocol):
    """Says how long a message is on its way."""

    def delay_ns(self, instrument: str, now_ns: int) -> int:
        """Return the latency of a message that leaves now, ns, from 0 on."""


AnyLatency: TypeAlias = "int | Latency"


class NormalLatency:
    """Latencies of a normal distribution; one below 0 counts as 0. Raises OptionError.

    mean, deviation : ``"5ms"``, or ns. seed : of the draws; each instrument has its own.
    """

    def __init__(self, mean: Duration, deviation: Duration, *, seed: int = 0) -> None:
        self._mean_ns, self._deviation_ns = (
            _from_0(name, value) for name, value in (("mean", mean), ("deviation", deviation))
        )
        self._seed = whole("seed", seed, 0, (1 << 63) - 1, "")
        self._generators: dict[str, random.Random] = {}

    def delay_ns(self, instrument: str, now_ns: int) -> int:  # noqa: ARG002 - the protocol's
        """Draw one."""
        generator = self._generators.get(instrument)
        if generator is None:
            generator = self._generators[instrument] = random.Random(f"latency {self._seed} {instrument}")
        return max(0, round(generator.gauss(self._mean_ns, self._deviation_ns)))


class FileLatency:
    """Latencies as they were measured. Raises OptionError, which names the file and the line.

    path : a CSV file with a header and the columns ``ts`` and ``latency_ns``, both in ns, in the order of time. Before
    its first line the first latency holds.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._times: list[int] = []
        self._delays: list[int] = []
        try:
            refuse_endless(Path(path))
            with Path(path).open(encoding="utf-8", newline="") as lines:
                self._read(path, csv.DictReader(lines))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            msg = f"{os.fspath(path)} cannot be read: {error}"
            raise OptionError(msg, option="path") from error
        if not self._times:
            msg = f"{os.fspath(path)} has no latency: write lines of ts,latency_ns under that header"
            raise OptionError(msg, option="path")

    def _read(self, path: str | os.PathLike[str], rows: csv.DictReader[str]) -> None:
        for row in rows:
            texts = [row.get("ts"), row.get("latency_ns")]
            if not all(text is not None and text.isascii() and text.isdecimal() for text in texts):
                msg = f"{os.fspath(path)}, line {rows.line_num}: {row} has no ts and latency_ns in whole ns"
                raise OptionError(msg, option="path")
            ts, delay_ns = (int(text) for text in texts if text is not None)
            if self._times and ts < self._times[-1]:
                msg = f"{os.fspath(path)}, line {rows.line_num}: ts {ts} is before the line above: sort it by time"
                raise OptionError(msg, option="path")
            self._times.append(ts)
            self._delays.append(min(delay_ns, TIME_MAX_NS))

    def delay_ns(self, instrument: str, now_ns: int) -> int:  # noqa: ARG002 - the protocol's
        """Return the newest one that was measured by now."""
        return self._delays[max(0, bisect_right(self._times, now_ns) - 1)]


class Delays:
    """The latencies of one broker. given : for every instrument, or by instrument or venue, "*" for all others."""

    def __init__(self, given: AnyLatency | Mapping[str, AnyLatency]) -> None:
        by_name = given if isinstance(given, Mapping) else {"*": given}
        self._by_name = {name: _checked(own) for name, own in by_name.items()}
        # When the latest message of an instrument arrives.
        self._latest_ns: dict[str, int] = {}

    @property
    def constant_ns(self) -> int | None:
        """The latency of all messages, ns; None: it is not always the same."""
        own = self._by_name.get("*")
        return own if len(self._by_name) == 1 and isinstance(own, int) else None

    def of(self, instrument: str, now_ns: int) -> int:
        """Return how long a message that leaves now is on its way, ns."""
        own = self._by_name.get(instrument)
        if own is None:
            own = self._by_name.get(instrument.rpartition(".")[2], self._by_name.get("*", 0))
        delay_ns = (
            own if isinstance(own, int) else whole("latency_ns", own.delay_ns(instrument, now_ns), 0, 1 << 62, "ns")
        )
        arrives_ns = max(now_ns + delay_ns, self._latest_ns.get(instrument, 0))
        self._latest_ns[instrument] = arrives_ns
        return arrives_ns - now_ns


_FORM = re.compile(r"(normal|file)\((.*)\)")


def latency_of(
    option: str, value: Duration | Latency | Mapping[str, Duration | Latency], *, seed: int = 0
) -> AnyLatency | Mapping[str, AnyLatency]:
    """Return latencies of what a user writes: ``"5ms"``, ``"normal(5ms, 1ms)"``, ``"file(PATH)"``, or these by name.

    seed : of drawn ones. Raises OptionError.
    """
    if isinstance(value, Mapping):
        return {name: _one(option, own, seed) for name, own in value.items()}
    return _one(option, value, seed)


def _one(option: str, value: Duration | Latency, seed: int) -> AnyLatency:
    if isinstance(value, Latency):
        return value
    match = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return _from_0(option, value)
    if match[1] == "file":
        return FileLatency(match[2].strip())
    parts = [part.strip() for part in match[2].split(",")]
    if len(parts) != 2:
        refuse(option, value, "a mean and a deviation, as in normal(5ms, 1ms)")
    return NormalLatency(*parts, seed=seed)


def _from_0(option: str, value: Duration) -> int:
    ns = duration_ns(option, value)
    if ns < 0:
        refuse(option, value, "a time from 0 on, as '5ms'")
    return ns


def _checked(own: object) -> AnyLatency:
    if isinstance(own, Latency) and not isinstance(own, type):
        return own
    return whole("latency_ns", own, 0, 1 << 62, "ns")
