"""The life cycle of a strategy: its states, and the only ways from one to another.

::

    CREATED ─start─▶ STARTING ─started─▶ RUNNING ◀─resume─ PAUSED
                        │                │  │ ─pause──────▶   │
                       fail         quarantine ◀──────────────┘
                        ▼                │  ▲
                     FAILED         QUARANTINED ─resume─▶ RUNNING
                        ▲                │
                       fail             stop (from each state that lives)
                        └─ STOPPING ◀────┘  ─stopped─▶ STOPPED ─start─▶ STARTING

Guarantees: what is not in the table does not happen; every change has a version of its own, one above the last.
Does not: call anything; whoever holds it acts on what it says.
"""

from __future__ import annotations

from enum import StrEnum

from headrace.errors import LifeCycleError

__all__ = ["LIVING", "TRANSITIONS", "LifeCycle", "StrategyState"]


class StrategyState(StrEnum):
    """Where a strategy is in its life."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    QUARANTINED = "quarantined"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


_S = StrategyState

# (state, verb) -> state; what is missing is refused.
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

# States in which a strategy may hold orders of its own making.
LIVING = frozenset({_S.STARTING, _S.RUNNING, _S.PAUSED, _S.QUARANTINED, _S.STOPPING})


class LifeCycle:
    """One strategy's state and the version of it.

    stopped_from : what it was when it was stopped; None until then, and when it was started again.
    """

    __slots__ = ("name", "state", "stopped_from", "version")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = StrategyState.CREATED
        self.stopped_from: StrategyState | None = None
        self.version = 0

    def allows(self, verb: str) -> bool:
        """Say whether ``move(verb)`` would be accepted."""
        return (self.state, verb) in TRANSITIONS

    def move(self, verb: str) -> tuple[StrategyState, StrategyState]:
        """Go on to the next state and return (before, after). Raises LifeCycleError."""
        before = self.state
        after = TRANSITIONS.get((before, verb))
        if after is None:
            valid = ", ".join(known for state, known in TRANSITIONS if state is before) or "nothing"
            msg = f"strategy {self.name!r} is {before}, which {verb!r} does not leave: from here there is {valid}"
            raise LifeCycleError(msg, strategy=self.name, state=str(before), verb=verb)
        if verb == "stop":
            self.stopped_from = before
        elif verb == "start":
            self.stopped_from = None
        self.state = after
        self.version += 1
        return before, after
