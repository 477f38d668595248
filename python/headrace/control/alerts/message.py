"""Message: what is told of an alert, in the forms that sinks send.

Guarantees: one delivery has one id, however often it is tried, so that a receiver can tell a repetition.
Does not: send.
"""

from __future__ import annotations

import hashlib
import string
from typing import TYPE_CHECKING, Literal

import msgspec

from headrace.control.plain import plain_whole

if TYPE_CHECKING:
    from headrace.control.alerts.alert import Alert

__all__ = ["AlertMessage", "message_of", "trial_message"]


class AlertMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message.

    id : of the delivery. state : "firing", "ok" (it is over), "no-data" or "test". since_ns : of the state.
    repeated : how often this state was told before. title, text : for people.
    """

    id: str
    engine: str
    rule: str
    subject: str
    state: Literal["firing", "ok", "no-data", "test"]
    severity: str
    value: float | None
    bound: float | None
    since_ns: int
    now_ns: int
    repeated: bool
    title: str
    text: str

    def as_json(self) -> bytes:
        """Return it as one JSON object; times in ns are texts."""
        plain = msgspec.structs.asdict(self)
        return msgspec.json.encode({name: plain_whole(v) if isinstance(v, int) else v for name, v in plain.items()})

    def filled(self, template: str) -> bytes:
        """Return a template with its words; each as it stands inside of a JSON string."""
        words = {
            name: getattr(self, name) for name in ("title", "text", "rule", "subject", "state", "severity", "engine")
        }
        words["value"] = "" if self.value is None else f"{self.value:.6g}"
        inside = {name: msgspec.json.encode(str(word)).decode()[1:-1] for name, word in words.items()}
        return string.Template(template).substitute(inside).encode()


def message_of(alert: Alert, engine: str, now_ns: int) -> AlertMessage:
    """Return what is told of a rule and a subject now."""
    rule, state = alert.rule, alert.state
    shown = "unknown" if alert.value is None else f"{alert.value:.6g}"
    side = "above" if rule.above is not None else "below"
    text = {
        "firing": f"{rule.measure} of {alert.subject} is {shown}, {side} {rule.bound:.6g}",
        "no-data": f"{rule.measure} of {alert.subject} is not known{f': {alert.problem}' if alert.problem else ''}",
    }.get(state, f"{rule.measure} of {alert.subject} is {shown} again")
    word = {"firing": rule.severity.upper(), "ok": "OK", "no-data": "NO DATA"}[state]
    number = f"{engine}\n{alert.key}\n{state}\n{alert.since_ns}\n{alert.told_ns}"
    return AlertMessage(
        id=hashlib.sha256(number.encode()).hexdigest()[:32],
        engine=engine,
        rule=rule.name,
        subject=alert.subject,
        state=state.value,  # type: ignore[arg-type]  # a pending one is not told
        severity=rule.severity,
        value=alert.value,
        bound=rule.bound,
        since_ns=alert.since_ns,
        now_ns=now_ns,
        repeated=bool(alert.told_ns),
        title=f"{word}: {rule.name} ({alert.subject}) on {engine}",
        text=text,
    )


def trial_message(engine: str, actor: str, now_ns: int) -> AlertMessage:
    """Return the message of the test-alert command."""
    return AlertMessage(
        id=hashlib.sha256(f"{engine}\ntest\n{now_ns}".encode()).hexdigest()[:32],
        engine=engine,
        rule="test",
        subject="test",
        state="test",
        severity="info",
        value=None,
        bound=None,
        since_ns=now_ns,
        now_ns=now_ns,
        repeated=False,
        title=f"TEST: an alert of {engine}",
        text=f"{actor} tests how alerts are told; nothing is wrong",
    )
