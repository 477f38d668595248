"""AuditTrail: publishes one ``Audit`` event for each command, in their order.

What happens when the control lane is full
    The audit waits, and goes first with the next one; no answer waits for it. Of more than AUDITS_WAITING_MAX the
    oldest goes to the log instead, and is counted as lost.

Guarantees: bounded memory; an audit is published, waits, or stands in the log.
Does not: write a file; that is ``bus.audit``.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import BusError, ClosedError
from headrace.limits import AUDITS_WAITING_MAX
from headrace.market.events import Audit

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.commands.ack import Ack
    from headrace.commands.submission import Submission

__all__ = ["AuditTrail"]

log = logging.getLogger("headrace.commands")


class AuditTrail:
    """The audits of one command bus. events : None: nothing is published."""

    def __init__(self, events: EventBus | None) -> None:
        self._events = events
        self._waiting: deque[Audit] = deque()
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Audits that the lane had no room for yet."""
        return len(self._waiting)

    def record(self, call: Submission, ack: Ack, duration_ns: int, *, is_malformed: bool) -> None:
        """Publish what came of a command. is_malformed : its fields cannot be shown."""
        events = self._events
        if events is None:
            return
        detail: dict[str, object] = {"command_id": call.command_id}
        if call.key is not None:
            detail["key"] = call.key
        if not is_malformed:
            detail["command"] = msgspec.to_builtins(call.command)
        if ack.command_id != call.command_id:
            detail["repeats"] = ack.command_id
        audit = Audit(
            source="commands",
            ts=events.clock.now_ns(),
            run_id=events.run_id,
            cause=events.current_cause(),
            actor=call.actor,
            action=call.action,
            target=call.target,
            outcome=ack.status,
            reason=ack.reason,
            duration_ns=duration_ns,
            version=ack.version,
            detail=detail,
        )
        self._waiting.append(audit)
        self._publish(events)
        if len(self._waiting) > AUDITS_WAITING_MAX:
            self._lose(self._waiting.popleft())

    def _publish(self, events: EventBus) -> None:
        while self._waiting:
            try:
                events.publish_nowait(self._waiting[0])
            except (BusError, ClosedError):
                return
            self._waiting.popleft()

    def close(self) -> None:
        """Publish what waits; what finds no room now never will."""
        if self._events is not None:
            self._publish(self._events)
        while self._waiting:
            self._lose(self._waiting.popleft())

    def _lose(self, audit: Audit) -> None:
        self.lost += 1
        log.error("an audit found no room on the bus: %s", msgspec.json.encode(audit).decode())
