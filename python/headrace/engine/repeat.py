"""Repeat: a live run once more, from its dispatch log: the same calls at the same times, and what it decides compared.

::

    live    RunLog: begin ─▶ turns · commands · halts · decisions ─▶ leave · stop       marks between calls
    again   Repeat: each mark does what the engine did there; each call is repeated ─▶ decisions compared

A decision is a signal, or an event of an order: what strategies, gates and broker made of the ticks.

What is not repeated exactly
    asynchronous handlers of the bus, services; the times that strategies in threads or tasks of their own read, and
    when what they publish is taken up; a halt by file or signal, which is in force where the engine noticed it.

Guarantees: the first decision that differs is told with both versions; nothing leaves a repetition.
Does not: hold ticks; the feeds must be the same.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headrace.dispatch.log import DispatchLog, Mark, Time
from headrace.dispatch.repetition import LoggedRun
from headrace.engine.readers import Reader
from headrace.errors import DispatchLogError
from headrace.market.event_json import encode_event
from headrace.market.events import Event, OrderEvent, Signal
from headrace.market.listed import Listed
from headrace.trading.kill_switch import HaltChange

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from headrace.bus import EventBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.log import LoggedFeed
    from headrace.trading.risk import Halting

__all__ = ["Repeat", "RepeatReport", "RepeatedSwitch", "RunLog"]

# Turns without a pause after which the log is written all the same.
TURNS_AT_ONCE = 1_000


class Begin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first mark.

    config : the engine was made from, secrets masked. halted : when the run began. listed : what venues listed then.
    """

    config: dict[str, Any] | None
    halted: bool
    listed: tuple[Listed, ...] = ()


# What the marks of an engine hold, by their kind.
PAYLOADS: dict[str, Any] = {
    "begin": Begin,
    "turn": tuple[Time, Time | None],
    "command": dict[str, Any],
    "decision": dict[str, Any],
    "halted": HaltChange,
    "reader": Reader,
    "reader_left": str,
    "listed": Listed,
    "leave": None,
    "stop": None,
}


class RepeatReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a repetition.

    calls : dispatch calls that were repeated, each compared. decisions : that were made live. same : all of them were
    made again, in their order, and no other. difference : the first that was not, with both versions. whole : the log
    has its last line; without it the live process was killed, and what lies behind the cut is not compared.
    torn_bytes : of a last line that was cut off.
    """

    calls: int
    decisions: int
    same: bool
    difference: str
    whole: bool
    torn_bytes: int


class _Decision(NamedTuple):
    """A decision as JSON. line : of the log, where it was made."""

    text: str
    line: int


class RunLog:
    """Writes the dispatch log of a live engine.

    path : a new file, or a folder with a file for each run. config : from which the engine was made, so that the
    command line can make it again. switch : the kill switch of the run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        run_id: str,
        config: Mapping[str, Any] | None,
        switch: Halting | None,
    ) -> None:
        self._path = path
        self._run_id = run_id
        self._config = config
        self._switch = switch
        self._log: DispatchLog | None = None
        self._turns = 0

    def open(
        self, bus: EventBus, dispatcher: Dispatcher, feeds: Sequence[LoggedFeed], listed: Iterable[Listed] = ()
    ) -> None:
        """Begin the log; before anything is published. listed : by venues. Raises DispatchLogError."""
        self._log = DispatchLog(self._path, dispatcher, run_id=self._run_id, feeds=feeds)
        is_halted = self._switch is not None and self._switch.is_halted
        config = None if self._config is None else dict(self._config)
        self.mark("begin", Begin(config, is_halted, tuple(listed)))
        self._log.flush()
        bus.subscribe((Signal, OrderEvent), self._decision, name="dispatch_log")

    def mark(self, kind: str, payload: object = None) -> None:
        """Write what the engine does now."""
        if self._log is not None:
            self._log.mark(kind, payload)

    def _decision(self, event: Event) -> None:
        self.mark("decision", msgspec.Raw(encode_event(event)))

    def turn_over(self, *, idle: bool) -> None:
        """Write what was gathered, when there is time."""
        self._turns += 1
        if self._log is not None and (idle or self._turns >= TURNS_AT_ONCE):
            self._turns = 0
            self._log.flush()

    def close(self) -> None:
        """Write the last line. May be called twice; threads that dispatch have ended before."""
        if self._log is not None:
            self._log.close()


class RepeatedSwitch:
    """The kill switch of a repetition: it changes where the log says so, and no other process sees it."""

    def __init__(self, *, is_halted: bool) -> None:
        self.is_halted = is_halted

    def halt(self, _reason: str, _actor: str) -> bool:
        """Let no new order pass: a strategy that halts in code does so again. Returns whether they passed before."""
        before, self.is_halted = self.is_halted, True
        return not before

    def rearm(self, _actor: str, _reason: str = "") -> bool:
        """Let orders pass again. Returns whether they did not before."""
        before, self.is_halted = self.is_halted, False
        return before

    def close(self) -> None:
        """Nothing is open."""


class Repeat:
    """The log of a live run, and how the decisions of its repetition compare."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.log = LoggedRun(path)
        self.header = self.log.header
        self._begin, self._begun = self._first_mark()
        # The live run may have begun halted.
        self.switch = RepeatedSwitch(is_halted=self._begun.halted)
        self._live: deque[_Decision] = deque()
        self._made: deque[_Decision] = deque()
        self._decisions = 0
        # Decisions that were the same, one after the other from the first.
        self._alike = 0
        self._difference = ""
        # Dispatch calls that were made again.
        self.calls = 0

    @property
    def config(self) -> Mapping[str, Any]:
        """What the live engine was made from. Raises DispatchLogError when it was made by hand."""
        config = self._begun.config
        if config is None:
            msg = (
                "its engine was made in Python, not from a file: repeat it there, by the same Engine with mode='repeat'"
            )
            raise self.log.error(msg)
        return config

    @property
    def listed(self) -> Sequence[Listed]:
        """What venues listed when the live run began."""
        return self._begun.listed

    @property
    def now_ns(self) -> int:
        """When the live run began, by its clock."""
        return self._begin.now_ns

    def attach(self, bus: EventBus) -> None:
        """Receive the decisions; before the first of them is made."""
        bus.subscribe((Signal, OrderEvent), self._keep, name="repeat")

    def payload_of(self, mark: Mark) -> Any:
        """Return what a mark holds, by its kind. Raises DispatchLogError for one that no engine writes."""
        if mark.kind not in PAYLOADS:
            raise self.log.error(f"damaged: {mark.kind!r} is no mark of an engine")
        try:
            return msgspec.convert(mark.payload, PAYLOADS[mark.kind])
        except msgspec.ValidationError as error:
            what = f"damaged: the mark {mark.kind!r} cannot be read ({error})"
        raise self.log.error(what)

    def decided(self, decision: object) -> None:
        """Take a decision of the live run, and compare."""
        self._expect(decision, self.log.line)
        self._compare()

    def diverged(self, error: DispatchLogError) -> None:
        """Take the end of a repetition whose calls differ. Raises the error when no decision says why they do."""
        known, log = self._decisions, LoggedRun(self.log.path)
        try:
            for line in log:
                if isinstance(line, Mark) and line.kind == "decision":
                    known -= 1
                    if known < 0:
                        self._expect(line.payload, log.line)
        except DispatchLogError:
            # What stopped the repetition may be the damage itself.
            raise error from None
        self._compare()
        if not self._difference:
            raise error
        self._difference = f"{self._difference}; then {error}"

    def report(self) -> RepeatReport:
        """Return what came of it, when the engine has ended."""
        self._compare()
        difference = self._difference
        # A killed run wrote no more of what its last step decided, nor the step that makes its last decisions again.
        cut = self._last_step() if self._live or self._made else 0
        live, made = ([own for own in side if own.line < cut] for side in (self._live, self._made))
        if not difference and (live or made):
            texts = (side[0].text if side else "nothing more" for side in (live, made))
            difference = "decision {}: live {}, the repetition {}".format(self._alike + 1, *texts)
        return RepeatReport(
            calls=self.calls,
            decisions=self._decisions,
            same=not difference,
            difference=difference,
            whole=self.log.is_whole,
            torn_bytes=self.log.torn_bytes,
        )

    def _last_step(self) -> float:
        """Return the line of a killed run's last step: behind it there are only decisions; a whole log has none."""
        log, last = LoggedRun(self.log.path), 0
        for line in log:
            if not (isinstance(line, Mark) and line.kind == "decision"):
                last = log.line
        return math.inf if log.is_whole else last

    def _first_mark(self) -> tuple[Mark, Begin]:
        for line in self.log:
            if isinstance(line, Mark) and line.kind == "begin":
                return line, self.payload_of(line)
            break
        raise self.log.error("no engine wrote it: repeat it with headrace.dispatch.repetition.Repetition")

    def _keep(self, event: Event) -> None:
        self._made.append(_Decision(encode_event(event).decode(), self.log.line))

    def _expect(self, event: object, line: int) -> None:
        self._live.append(_Decision(msgspec.json.encode(event).decode(), line))
        self._decisions += 1

    def _compare(self) -> None:
        """Pair what both sides decided so far; one may be ahead, since a mark stands where its event was delivered."""
        while self._live and self._made and not self._difference:
            live, made = self._live.popleft(), self._made.popleft()
            if live.text != made.text:
                self._difference = f"decision {self._alike + 1}: live {live.text}, the repetition {made.text}"
            else:
                self._alike += 1
