"""The life cycle of a strategy: its states, and the allowed changes between them.

::

    CREATED ─start─▶ STARTING ─started─▶ RUNNING ◀─resume─ PAUSED
                        │                │  │ ─pause──────▶   │
                       fail         quarantine ◀──────────────┘
                        ▼                │  ▲
                     FAILED         QUARANTINED ─resume─▶ RUNNING
                        ▲                │
                       fail             stop (from each state that lives)
                        └─ STOPPING ◀────┘  ─stopped─▶ STOPPED ─start─▶ STARTING

Guarantees: a change that is not in the table is refused; every change raises the version by one.
Does not: call the strategy; the runner does, on each change.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from headrace.errors import LifeCycleError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = ["ENGINE_ENDS", "LIVING", "TRANSITIONS", "LifeCycle", "StrategyState"]


class StrategyState(StrEnum):
    """The state of a strategy."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    QUARANTINED = "quarantined"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


_S = StrategyState

# (state, verb) -> state; every other pair is refused.
TRANSITIONS: dict[tuple[StrategyState, str], StrategyState] = {
    (_S.CREATED, "start"): _S.STARTING,
    (_S.CREATED, "stop"): _S.STOPPED,
    (_S.STARTING, "started"): _S.RUNNING,
    (_S.STARTING, "fail"): _S.FAILED,
    (_S.RUNNING, "pause"): _S.PAUSED,
    (_S.RUNNING, "quarantine"): _S.QUARANTINED,
    (_S.RUNNING, "stop"): _S.STOPPING,
    (_S.PAUSED, "resume"): _S.RUNNING,
    (_S.PAUSED, "quarantine"): _S.QUARANTINED,
    (_S.PAUSED, "stop"): _S.STOPPING,
    (_S.QUARANTINED, "resume"): _S.RUNNING,
    (_S.QUARANTINED, "stop"): _S.STOPPING,
    (_S.STOPPING, "stopped"): _S.STOPPED,
    (_S.STOPPING, "fail"): _S.FAILED,
    (_S.STOPPED, "start"): _S.STARTING,
    (_S.FAILED, "start"): _S.STARTING,
}

# Why every strategy is stopped when a run ends.
ENGINE_ENDS = "the engine ends"
# States in which a strategy may have open orders.
LIVING = frozenset({_S.STARTING, _S.RUNNING, _S.PAUSED, _S.QUARANTINED, _S.STOPPING})


class Gate(Protocol):
    """What lets calls pass while it is open."""

    def set_open(self, is_open: bool, /) -> None:  # noqa: FBT001 - a setter
        """Open or close it."""


class LifeCycle:
    """One strategy's state and its version.

    stopped_from : the state in which it was stopped; None before that, and after the next start. stopped_by : why.
    """

    __slots__ = ("_gates", "name", "state", "stopped_by", "stopped_from", "version")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = StrategyState.CREATED
        self.stopped_from: StrategyState | None = None
        self.stopped_by = ""
        self.version = 0
        self._gates: dict[Gate, AbstractSet[StrategyState]] = {}

    def keep_open(self, gate: Gate, states: AbstractSet[StrategyState]) -> None:
        """Keep a gate open in these states, and closed in the others."""
        self._gates[gate] = states
        gate.set_open(self.state in states)

    def leave(self, gate: Gate) -> None:
        """Leave a gate closed."""
        del self._gates[gate]
        gate.set_open(False)

    def allows(self, verb: str) -> bool:
        """Return whether ``move(verb)`` would be accepted."""
        return (self.state, verb) in TRANSITIONS

    def move(self, verb: str, reason: str = "") -> tuple[StrategyState, StrategyState]:
        """Change to the next state and return (before, after). Raises LifeCycleError."""
        before = self.state
        try:
            after = TRANSITIONS[before, verb]
        except KeyError:
            valid = ", ".join(known for state, known in TRANSITIONS if state is before) or "nothing"
            msg = f"strategy {self.name!r} is {before}, where {verb!r} is not possible: possible here: {valid}"
            raise LifeCycleError(msg, strategy=self.name, state=str(before), verb=verb) from None
        if verb == "stop":
            self.stopped_from, self.stopped_by = before, reason
        elif verb == "start":
            self.stopped_from, self.stopped_by = None, ""
        self.state = after
        self.version += 1
        for gate, states in self._gates.items():
            gate.set_open(after in states)
        return before, after
