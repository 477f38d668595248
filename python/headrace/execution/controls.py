"""Controls: what an operator does to recommendations, each with an actor and a reason, on record for ever.

::

    pause · resume    everything, a ticker or an action, until a time     workers obey at the next claim
    cancel · edit     a PENDING recommendation
    requeue           a FAILED one, as a new recommendation with requeue_of; FAILED stays final

Guarantees: the change and its record are one transaction; what a worker has claimed is neither canceled nor edited.
Does not: touch an order that was sent; the kill switch halts all orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from headrace.errors import RecommendationError
from headrace.execution.database.base import transaction
from headrace.execution.recommendation import NewRecommendation
from headrace.execution.values import json_text
from headrace.market.checks import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.execution.database.base import Connection, Value

__all__ = ["EDITABLE", "Controls", "Pause", "Scope", "pauses"]

Scope: TypeAlias = Literal["all", "ticker", "action"]
# What may be edited, and how a statement passes it.
EDITABLE = {
    "ticker": ":ticker",
    "action": ":action",
    "confidence": ":confidence",
    "reason": "JSON(:reason)",
    "priority": ":priority",
    "not_before": "AT(:not_before)",
    "expires_at": "AT(:expires_at)",
}
_RECORD = """
INSERT INTO dispatch_controls (verb, scope, target, until, actor, reason, detail_json)
VALUES (:verb, :scope, :target, AT(:until), :actor, :reason, JSON(:detail))
"""
_CANCEL = """
UPDATE dispatch_recommendations SET status = 'SKIPPED', processed_at = NOW(), failure_reason = :why
WHERE id = :id AND status = 'PENDING'
"""
_CONTENT = """
SELECT ticker, action, confidence, CAST(reason AS TEXT), priority, MS(not_before), MS(expires_at)
FROM dispatch_recommendations WHERE id = :id AND status = 'PENDING'
"""
_REQUEUE = """
INSERT INTO dispatch_recommendations
    (ticker, action, confidence, reason, cause_json, priority, idempotency_key, requeue_of)
SELECT ticker, action, confidence, reason, cause_json, priority, :key, id FROM dispatch_recommendations
WHERE id = :id AND status = 'FAILED' RETURNING id
"""
_STATUS = """
SELECT status, (SELECT MAX(n.id) FROM dispatch_recommendations n WHERE n.requeue_of = r.id)
FROM dispatch_recommendations r WHERE id = :id
"""
_NOW = "SELECT MS(NOW())"
_PAUSES = "SELECT scope, target, MS(until), actor, reason, MS(created_at) FROM dispatch_pauses ORDER BY created_at"


class Pause(NamedTuple):
    """What is paused now. target : of scope "ticker" and "action". until_ms : None: until it is resumed."""

    scope: str
    target: str
    until_ms: int | None
    actor: str
    reason: str
    since_ms: int


class Controls:
    """An operator on one connection. actor, reason : what stands on record. Raises RecommendationError, StoreError."""

    def __init__(self, connection: Connection, *, actor: str, reason: str) -> None:
        for name, value in (("actor", actor), ("reason", reason)):
            if not value.strip():
                msg = f"{name} is empty: it stands on record beside each change"
                raise RecommendationError(msg, field=name)
        self._connection = connection
        self._actor = actor
        self._reason = reason

    def pause(self, scope: Scope = "all", target: str = "", until_ms: int | None = None) -> None:
        """Claim nothing of a scope any more, until a time to come, or until ``resume``."""
        with transaction(self._connection):
            if until_ms is not None and until_ms <= self._connection.rows(_NOW)[0][0]:
                msg = "until is over already by the database's clock: nothing would be paused; use a time to come"
                raise RecommendationError(msg, field="until")
            self._record("pause", scope, target, until_ms=until_ms)

    def resume(self, scope: Scope = "all", target: str = "") -> None:
        """End a pause of the same scope and target. Raises RecommendationError when there is none."""
        with transaction(self._connection):
            paused = pauses(self._connection)
            if (scope, target) not in {(own.scope, own.target) for own in paused}:
                known = ", ".join(f"{own.scope} {own.target}".strip() for own in paused) or "nothing is paused"
                msg = f"{scope} {target}".strip() + f" is not paused: {known}"
                raise RecommendationError(msg, field="scope")
            self._record("resume", scope, target)

    def cancel(self, number: int) -> None:
        """End a PENDING recommendation as SKIPPED (canceled)."""
        with transaction(self._connection):
            values: dict[str, Value] = {"id": number, "why": f"canceled by {self._actor}: {self._reason}"}
            if self._connection.changed(_CANCEL, values) != 1:
                raise self._wrong_state(number, "PENDING", "cancel")
            self._record("cancel", "recommendation", str(number))

    def edit(self, number: int, changes: Mapping[str, Any]) -> None:
        """Change a PENDING recommendation's content. changes : by the names of ``EDITABLE``, as ``recommend`` takes."""
        for name in changes:
            if name not in EDITABLE:
                msg = f"{name} cannot be edited{nearest(name, EDITABLE)}: use one of {', '.join(EDITABLE)}"
                raise RecommendationError(msg, field=name)
        with transaction(self._connection):
            rows = self._connection.rows(_CONTENT, {"id": number})
            if not rows:
                raise self._wrong_state(number, "PENDING", "edit")
            before = dict(zip(EDITABLE, rows[0], strict=True))
            held = {name: value for name, value in before.items() if name not in ("not_before", "expires_at")}
            new = NewRecommendation.checked(**{**held, **changes, "idempotency_key": "unchanged"})._asdict()
            sets = ", ".join(f"{name} = {EDITABLE[name]}" for name in changes)
            self._connection.changed(
                f"UPDATE dispatch_recommendations SET {sets} WHERE id = :id AND status = 'PENDING'",
                {"id": number, **{name: new[name] for name in changes}},
            )
            detail = {name: {"before": before[name], "after": new[name]} for name in changes}
            self._record("edit", "recommendation", str(number), detail=detail)

    def requeue(self, number: int) -> int:
        """Store a FAILED recommendation again, as a new one, and return its id."""
        with transaction(self._connection):
            [status] = self._connection.rows(_STATUS, {"id": number}) or [(None, None)]
            if status[1] is not None:
                msg = f"recommendation {number} was requeued already, as {status[1]}: requeue that one"
                raise RecommendationError(msg, field="id")
            rows = self._connection.rows(_REQUEUE, {"id": number, "key": f"requeue-of-{number}"})
            if not rows:
                raise self._wrong_state(number, "FAILED", "requeue")
            self._record("requeue", "recommendation", str(number), detail={"as": rows[0][0]})
            return int(rows[0][0])

    def _wrong_state(self, number: int, wanted: str, verb: str) -> RecommendationError:
        rows = self._connection.rows(_STATUS, {"id": number})
        found = f"is {rows[0][0]}" if rows else "is unknown"
        return RecommendationError(f"recommendation {number} {found}: {verb} takes one that is {wanted}", field="id")

    def _record(
        self,
        verb: str,
        scope: str,
        target: str,
        *,
        until_ms: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        values: dict[str, Value] = {
            "verb": verb,
            "scope": scope,
            "target": target,
            "until": until_ms,
            "actor": self._actor,
            "reason": self._reason,
            "detail": json_text(detail or {}),
        }
        self._connection.changed(_RECORD, values)


def pauses(connection: Connection) -> list[Pause]:
    """Return what is paused now."""
    return [Pause(*row) for row in connection.rows(_PAUSES)]
