"""Faults: what a simulated venue does wrong on demand, at a frame number, at a time, or at a seeded rate.

::

    frame n ─▶ FaultPlan.frames ─▶ [sent, sent, …]        nothing: dropped; two: duplicated; another text: corrupted
                               └─▶ faults of connections and of REST that begin now

Guarantees: one script and one seed do the same to the same frames, whatever connects; the venue's own book is never
wrong, only what it sends.
Does not: wait; the venue does.
"""

from __future__ import annotations

import random
import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from headrace.errors import OptionError
from headrace.limits import FRAME_BYTES_MAX
from headrace.market.checks import converted, refuse, refuse_unknown

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from headrace.venues.simulated.timeline import Moment

__all__ = ["Fault", "FaultPlan", "FaultScript", "Sent"]

FrameKind = Literal["drop", "duplicate", "reorder", "delay", "corrupt", "wrong_ids", "oversize", "renumber"]
ConnectionKind = Literal["cut", "trickle", "stall", "shutdown", "restart"]
RestKind = Literal["stale_snapshot", "late_snapshot", "unavailable", "cut_answer", "unseen_orders"]

IDS = re.compile(rb'"(u|U|pu|t|a|f|l)":(\d+)')
# Ids of one sequence: updates of the book, trades, aggregates.
SEQUENCES = {b"u": "u", b"U": "u", b"pu": "u", b"t": "t", b"f": "t", b"l": "t", b"a": "a"}
# Added to ids by "wrong_ids": far from every id that could follow.
WRONG_BY = 1_000_000


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. It begins at a frame, at a time, or at random frames.

    kind : of frames "drop", "duplicate", "reorder" (with the next frame), "delay", "corrupt", "wrong_ids", "oversize",
        "renumber" (ids begin anew); of connections "cut" (in the middle of the frame), "trickle" (the frame byte by
        byte), "stall" (nothing is sent), "shutdown" (announced), "restart" (connections are refused); of REST
        "stale_snapshot", "late_snapshot", "unavailable" (503), "cut_answer", "unseen_orders" (a new order does not
        exist yet).
    stream : pattern of ``symbol@kind``, such as ``"btcusdt@depth"`` or ``"*@trade"``.
    at_frame : number of the first frame, among those of ``stream``, from 1. at_s : time of the venue's clock, s.
    rate : part of the frames, 0 to 1. frames : how many frames in a row.
    for_s : how long it lasts, s. size : bytes of an oversize frame, of a trickled piece, or sent of a cut answer.

    Raises OptionError.
    """

    kind: FrameKind | ConnectionKind | RestKind
    stream: str = "*"
    at_frame: int | None = None
    at_s: float | None = None
    rate: float | None = None
    frames: int = 1
    for_s: float = 1.0
    size: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("at_frame", "at_s", "rate") if getattr(self, name) is not None]
        if len(given) != 1:
            msg = f"fault {self.kind!r} begins at {' and '.join(given) or 'no time'}: set one of at_frame, at_s, rate"
            raise OptionError(msg, option="at_frame")
        if self.rate is not None and not 0 < self.rate <= 1:
            refuse("rate", self.rate, "a part of the frames, above 0 and up to 1")
        for option, low in (("at_frame", 1), ("frames", 1), ("at_s", 0), ("for_s", 0), ("size", 0)):
            value = getattr(self, option)
            if value is not None and not value >= low:
                refuse(option, value, f"a number of {low} or more")


class FaultScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults and the seed of their random numbers."""

    faults: tuple[Fault, ...] = ()
    seed: int = 1

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FaultScript:
        """Read a TOML file: ``seed = 7`` and one ``[[fault]]`` table for each fault. Raises OptionError."""
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            msg = f"fault script {path} cannot be read: {error}"
            raise OptionError(msg, option="faults") from error
        refuse_unknown("a fault script", content, ("seed", "fault"))
        return cls.of(content.get("fault", []), seed=content.get("seed", 1))

    @classmethod
    def of(cls, faults: Iterable[Fault | dict[str, object]], *, seed: int = 1) -> FaultScript:
        """Return a script of faults, or of tables of their fields. Raises OptionError."""
        made = (own if isinstance(own, Fault) else converted("a fault", own, Fault) for own in faults)
        return cls(faults=tuple(made), seed=seed)


class Sent(NamedTuple):
    """What is sent in a frame's place. how : a fault of the connection that changes the way it is sent, or None."""

    moment: Moment
    how: Fault | None = None


class _Running:
    """One fault's state in a run."""

    def __init__(self, fault: Fault, seed: str) -> None:
        self.fault = fault
        self._random = random.Random(seed)
        self._seen = self._left = 0
        self.is_due = True

    def begins(self, stream: str, elapsed_s: float) -> bool:
        """Count a frame, and return whether the fault concerns it."""
        fault = self.fault
        if not fnmatchcase(stream, fault.stream):
            return False
        self._seen += 1
        if self._left == 0:
            if fault.rate is not None:
                starts = self._random.random() < fault.rate
            else:
                starts = self.is_due and (
                    self._seen >= fault.at_frame if fault.at_frame is not None else elapsed_s >= (fault.at_s or 0.0)
                )
            if not starts:
                return False
            self.is_due, self._left = False, fault.frames
        self._left -= 1
        return True


class FaultPlan:
    """A script in one run of a venue."""

    def __init__(self, script: FaultScript) -> None:
        self._seed = script.seed
        self._running = [_Running(fault, f"{script.seed}:{index}") for index, fault in enumerate(script.faults)]
        self._random = random.Random(f"{script.seed}:bytes")
        # Streams whose ids begin anew, and what is subtracted: by symbol and sequence of ids.
        self._renumbered: list[str] = []
        self._offsets: dict[tuple[str, str], int] = {}
        # Frames that wait: until the clock, or for the next frame.
        self._delayed: list[tuple[float, Moment]] = []
        self._swapped: dict[str, Moment] = {}
        self.counts: dict[str, int] = {}

    def add(self, fault: Fault) -> bool:
        """Add a fault of frames, or return False: any other begins now."""
        if fault.kind not in FRAME_FAULTS | {"cut", "trickle"}:
            self._count(fault)
            return False
        self._running.append(_Running(fault, f"{self._seed}:{len(self._running)}"))
        return True

    def frames(self, moment: Moment, elapsed_s: float) -> tuple[list[Sent], list[Fault]]:
        """Return what is sent when a frame is due, and the faults of connections and of REST that begin with it."""
        stream = f"{moment.symbol.lower()}@{moment.kind}"
        sent = [Sent(late) for due_s, late in self._delayed if due_s <= elapsed_s]
        self._delayed = [waiting for waiting in self._delayed if waiting[0] > elapsed_s]
        begun = []
        frames = [Sent(self._with_new_ids(moment, stream))]
        for running in self._running:
            if running.begins(stream, elapsed_s):
                fault = running.fault
                self._count(fault)
                if fault.kind in FRAME_FAULTS:
                    frames = self._changed(fault, frames, stream, elapsed_s)
                elif fault.kind in ("cut", "trickle"):
                    frames = [frame._replace(how=fault) for frame in frames]
                else:
                    begun.append(fault)
        if frames and stream in self._swapped:
            frames.append(Sent(self._swapped.pop(stream)))
        return sent + frames, begun

    def rest(self) -> list[Sent]:
        """Return what still waits when the last frame was sent."""
        waiting = [moment for _, moment in self._delayed] + list(self._swapped.values())
        self._delayed, self._swapped = [], {}
        return [Sent(moment) for moment in waiting]

    def _count(self, fault: Fault) -> None:
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1

    def _changed(self, fault: Fault, frames: list[Sent], stream: str, elapsed_s: float) -> list[Sent]:
        match fault.kind:
            case "drop":
                return []
            case "duplicate":
                return [*frames, *frames]
            case "delay":
                self._delayed += [(elapsed_s + fault.for_s, frame.moment) for frame in frames]
                return []
            case "reorder":
                for frame in frames:
                    self._swapped[stream] = frame.moment
                return []
            case "renumber":
                self._renumbered.append(fault.stream)
                return [Sent(self._with_new_ids(frame.moment, stream)) for frame in frames]
            case _:
                return [frame._replace(moment=self._spoiled(fault, frame.moment)) for frame in frames]

    def _spoiled(self, fault: Fault, moment: Moment) -> Moment:
        data = moment.data
        if fault.kind == "corrupt":
            # One byte that no JSON text has, at any place.
            at = self._random.randrange(len(data))
            data = data[:at] + b"\x00" + data[at + 1 :]
        elif fault.kind == "wrong_ids":
            data = IDS.sub(lambda found: b'"%b":%d' % (found[1], int(found[2]) + WRONG_BY), data)
        elif fault.kind == "oversize":
            data = data[:-1] + b" " * ((fault.size or FRAME_BYTES_MAX + 1) - len(data)) + b"}"
        return moment._replace(data=data)

    def update_offset(self, symbol: str) -> int:
        """Return what is subtracted from the update ids of a symbol; 0 while they have not begun anew."""
        return self._offsets.get((symbol, "u"), 0)

    def _with_new_ids(self, moment: Moment, stream: str) -> Moment:
        if not any(fnmatchcase(stream, pattern) for pattern in self._renumbered):
            return moment
        for key, number in IDS.findall(moment.data):
            self._offsets.setdefault((moment.symbol, SEQUENCES[key]), int(number) - 1)

        def renumbered(found: re.Match[bytes]) -> bytes:
            return b'"%b":%d' % (found[1], int(found[2]) - self._offsets[moment.symbol, SEQUENCES[found[1]]])

        return moment._replace(data=IDS.sub(renumbered, moment.data))


FRAME_FAULTS = frozenset(FrameKind.__args__)  # type: ignore[attr-defined]
