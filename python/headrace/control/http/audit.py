"""HttpAudit: audit events of what happens at the control API and never reaches the command bus.

Guarantees: each refused login and each refused or repeated call is one Audit event, with actor and address; where the
lane has no room it stands in the log.
Does not: audit commands; their bus does.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from headrace.control.http.exchange import shown
from headrace.errors import BusError, ClosedError
from headrace.market.events import Audit

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.control.http.exchange import Exchange
    from headrace.control.http.problems import Problem

__all__ = ["HttpAudit"]

log = logging.getLogger(__name__)

SOURCE = "control.http"
NOBODY = "nobody"


class HttpAudit:
    """The audit of one server. events : None: the log alone."""

    def __init__(self, events: EventBus | None) -> None:
        self._events = events

    def actor(self, exchange: Exchange) -> str:
        """Return what audits call the client of a request."""
        name = NOBODY if exchange.actor is None else exchange.actor.name
        return f"http:{name}@{exchange.address}"

    def refused_login(self, exchange: Exchange) -> None:
        """Report a request without a valid token."""
        self._publish(exchange, "login", shown(exchange.path), "rejected", "no valid token")

    def refused_call(self, exchange: Exchange, verb: str, problem: Problem) -> None:
        """Report a command that was not submitted."""
        self._publish(exchange, shown(verb), problem.type, "rejected", problem.detail)

    def repeated_call(self, exchange: Exchange, verb: str, status: int) -> None:
        """Report a call that got the answer of an earlier one with its key."""
        self._publish(exchange, shown(verb), "repeated", "noop", f"the first answer again, {status}")

    def _publish(self, exchange: Exchange, action: str, target: str, outcome: str, reason: str) -> None:
        events = self._events
        audit = Audit(
            source=SOURCE,
            ts=0 if events is None else events.clock.now_ns(),
            run_id="" if events is None else events.run_id,
            actor=self.actor(exchange),
            action=action,
            target=target,
            outcome=outcome,
            reason=reason,
            detail={} if exchange.key is None else {"key": exchange.key},
        )
        try:
            if events is not None:
                events.publish_nowait(audit)
                return
        except (BusError, ClosedError):
            pass
        log.warning("audit: %s", msgspec.json.encode(audit).decode())
