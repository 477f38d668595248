"""Commands about alerts: try the sinks, acknowledge one, silence some.

Guarantees: each is audited with its actor, as every command is.
Does not: change a rule; the configuration does.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from headrace.commands import Command

__all__ = ["AcknowledgeAlert", "SilenceAlerts", "TestAlert"]

_Alert: TypeAlias = Annotated[str, msgspec.Meta(min_length=3, max_length=300, description="RULE/SUBJECT")]
_Pattern: TypeAlias = Annotated[
    str, msgspec.Meta(min_length=1, max_length=300, description="a pattern of RULE/SUBJECT, like lag/* or *")
]
_For: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=86_400 * 31, description="for so long, s; 0 ends it")]
_Reason: TypeAlias = Annotated[str, msgspec.Meta(max_length=1_000, description="why; it stands in the audit")]


class _AlertCommand(Command, frozen=True):
    @property
    def target(self) -> str:
        return "alerts"


class TestAlert(_AlertCommand, frozen=True):
    """Send a test message to every sink, or to one."""

    # No test of ours, whatever a test runner takes it for.
    __test__ = False
    verb = "test-alert"

    sink: Annotated[str, msgspec.Meta(max_length=64, description="the sink's name")] | None = None


class AcknowledgeAlert(_AlertCommand, frozen=True):
    """Tell a firing alert no more until it is over, or for a time."""

    verb = "acknowledge-alert"

    alert: _Alert
    reason: _Reason = ""
    for_s: _For | None = None


class SilenceAlerts(_AlertCommand, frozen=True):
    """Tell nothing of some alerts for a time; they are judged and shown all the same."""

    verb = "silence-alerts"

    alerts: _Pattern
    for_s: _For
    reason: _Reason = ""
