"""Alert: one rule for one subject, and its state.

::

             broken ─▶ pending ─ for so long ─▶ firing ─ behind `clear` ─▶ ok
    ok ─────┤                                     │ input missing: it goes on firing
             input missing ─▶ no-data             └ acknowledged, silenced: it fires and is not told

Guarantees: lost input never resolves an alert; between bound and `clear` the state stays what it is.
Does not: read measures, or tell anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.control.alerts.settings import RuleSettings

__all__ = ["Alert", "AlertState"]

SECOND_NS = 1_000_000_000


class AlertState(StrEnum):
    """The state of a rule for one subject."""

    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    NO_DATA = "no-data"


@dataclass(slots=True)
class Alert:
    """One rule for one subject.

    since_ns : of its state. value : the last one that was known. missing_ns : since when its input is missing; 0: it is
    there. told_ns : when it was told last in this state; 0: never. acknowledged_by : the actor; empty: it is not.
    acknowledged_until_ns : the end of that; 0: when it is over. problem : why the rule itself failed.
    """

    rule: RuleSettings
    subject: str
    state: AlertState = AlertState.OK
    since_ns: int = 0
    value: float | None = None
    missing_ns: int = 0
    told_ns: int = 0
    acknowledged_by: str = ""
    acknowledged_until_ns: int = 0
    problem: str = ""

    @property
    def key(self) -> str:
        """What operators call it."""
        return f"{self.rule.name}/{self.subject}"

    def look(self, now_ns: int, value: float | None) -> AlertState | None:
        """Judge a value, None where it is missing; return the state before, None where that is the same."""
        before = self.state
        if value is None:
            self.missing_ns = self.missing_ns or now_ns
            if before is not AlertState.FIRING:
                self._move(AlertState.NO_DATA, now_ns)
        else:
            self.missing_ns, self.value = 0, value
            self._judge(now_ns, value)
        if self.acknowledged_until_ns and now_ns >= self.acknowledged_until_ns:
            self.acknowledged_by, self.acknowledged_until_ns = "", 0
        return None if self.state is before else before

    def _judge(self, now_ns: int, value: float) -> None:
        rule = self.rule
        if self.state is AlertState.FIRING:
            if rule.is_clear(value) and not rule.is_broken(value):
                self._move(AlertState.OK, now_ns)
        elif not rule.is_broken(value):
            self._move(AlertState.OK, now_ns)
        else:
            if self.state is not AlertState.PENDING:
                self._move(AlertState.PENDING, now_ns)
            if now_ns - self.since_ns >= rule.for_s * SECOND_NS:
                self._move(AlertState.FIRING, now_ns)

    def _move(self, state: AlertState, now_ns: int) -> None:
        if state is self.state:
            return
        self.state, self.since_ns, self.told_ns = state, now_ns, 0
        self.acknowledged_by, self.acknowledged_until_ns = "", 0

    def is_due(self, now_ns: int) -> bool:
        """Whether it is to be told now, by its own state; a silence is judged by the service."""
        if self.state is AlertState.NO_DATA:
            return self.rule.no_data == "tell" and not self.told_ns
        if self.state is not AlertState.FIRING or self.acknowledged_by:
            return False
        return not self.told_ns or (self.rule.repeat_s > 0 and now_ns - self.told_ns >= self.rule.repeat_s * SECOND_NS)
