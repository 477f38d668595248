"""AlertService: judges every rule once a second, and tells what fires and what is over.

::

    look(now, document) ─▶ Alert of each rule and subject ─▶ due? silenced? ─▶ Delivery of each sink, Status on the bus

What happens when
    a rule fails: its subjects have no data, with the error; the other rules go on.
    a rule fires and stops within a moment: both are told, in this order, by each sink.
    the engine ends: what waits in a sink has up to 0.5 s, and is named in the log when it was not sent.

Guarantees: what was told as firing is told when it is over, unless that is silenced; an alert is told by each sink in
the order of its states; each change is an event on the bus, and so in the audit.
Does not: remember anything over a restart: a rule that is broken still fires again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from headrace.commands import Outcome, current_submission
from headrace.control.alerts.alert import Alert, AlertState
from headrace.control.alerts.commands import AcknowledgeAlert, SilenceAlerts, TestAlert
from headrace.control.alerts.measures import Memory, Reading, measured
from headrace.control.alerts.message import AlertMessage, message_of, trial_message
from headrace.control.alerts.sinks import RETRY_FIRST_S, Delivery, LogSink, make_sink
from headrace.control.plain import plain_number, plain_whole
from headrace.dispatch.faults import error_text
from headrace.engine.service import RestartPolicy, Service
from headrace.errors import LaneFullError
from headrace.limits import DRAIN_RUNNING_S
from headrace.market.checks import nearest
from headrace.market.events import Status

if TYPE_CHECKING:
    from headrace.bus import EventBus
    from headrace.commands import CommandBus
    from headrace.control.alerts.settings import AlertsSettings, RuleSettings
    from headrace.control.stream.board import Document
    from headrace.engine.service import ServiceContext
    from headrace.telemetry import Sample

__all__ = ["AlertService"]

log = logging.getLogger(__name__)

SECOND_NS = 1_000_000_000
SILENCES_MAX = 1_000
# Told beside the sinks of the configuration; it has no name that a rule could mean.
LOG = "(log)"


class Silence(NamedTuple):
    """What is not told: alerts that match a pattern, until a time."""

    pattern: str
    until_ns: int
    actor: str
    reason: str


class AlertService(Service):
    """The alerts of one engine.

    engine : its name, in messages. metrics : returns its samples; called when a rule names a metric.
    retry_first_s : the wait before a webhook is tried again. Raises ControlError: a webhook's secret cannot be read.
    """

    restart: ClassVar[RestartPolicy] = "on_failure"

    def __init__(
        self,
        settings: AlertsSettings,
        *,
        engine: str,
        metrics: Callable[[], Iterable[Sample]] = list,
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._rules = settings.all_rules
        self._alerts: dict[str, dict[str, Alert]] = {rule.name: {} for rule in self._rules}
        self._memories = {rule.name: Memory(rule.window_s) for rule in self._rules}
        # Rules that failed, with the error, so that each is logged once.
        self._problems: dict[str, str] = {}
        self._silences: list[Silence] = []
        self._deliveries = {
            LOG: Delivery(LOG, LogSink()),
            **{own.name: Delivery(own.name, make_sink(own), retry_first_s=retry_first_s) for own in settings.sinks},
        }
        self._bus: EventBus | None = None
        self._run_id = ""
        self._stopping = asyncio.Event()

    @property
    def name(self) -> str:
        """What reports call it."""
        return "alerts"

    def register(self, commands: CommandBus) -> None:
        """Take the commands about alerts."""
        commands.register(TestAlert, self._test)
        commands.register(AcknowledgeAlert, self._acknowledge)
        commands.register(SilenceAlerts, self._silence)

    async def setup(self, context: ServiceContext) -> None:
        """Get ready."""
        self._bus, self._run_id = context.bus, context.run_id
        self._stopping.clear()

    async def run(self) -> None:
        """Send what is told until it is stopped; then what waits, for half a second."""
        tasks = [
            asyncio.create_task(own.run(), name=f"headrace alerts {own.name}") for own in self._deliveries.values()
        ]
        try:
            await self._stopping.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_RUNNING_S * 0.8):
                    while any(own.waiting for own in self._deliveries.values()):  # noqa: ASYNC110 - bounded above
                        await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for own in self._deliveries.values():
                if own.waiting:
                    log.error("alert sink %s: %d alerts were not told: the engine ended", own.name, own.waiting)

    async def stop(self) -> None:
        """End."""
        self._stopping.set()

    def health(self) -> str:
        """Return "ok", or why a sink does not tell anything."""
        failing = [f"{own.name}: {own.problem}" for own in self._deliveries.values() if own.problem]
        return "; ".join(failing) or "ok"

    def metrics(self) -> Mapping[str, float]:
        """Return how many alerts fire, and what became of messages."""
        totals: dict[str, float] = {"firing": sum(own.state is AlertState.FIRING for own in self._all())}
        for delivery in self._deliveries.values():
            for name, count in delivery.counts.items():
                totals[name] = totals.get(name, 0) + count
        return totals

    # Judging

    def look(self, now_ns: int, document: Document) -> None:
        """Judge every rule."""
        self._silences = [own for own in self._silences if own.until_ns > now_ns]
        samples: list[Sample] | None = None

        def metrics() -> list[Sample]:
            nonlocal samples
            samples = list(self._metrics()) if samples is None else samples
            return samples

        reading = Reading(now_ns, document, metrics)
        for rule in self._rules:
            try:
                values = measured(rule.measure, reading, self._memories[rule.name])
                self._problems.pop(rule.name, None)
            except Exception as error:
                values = {}
                if rule.name not in self._problems:
                    log.exception("the rule %s failed; its alerts have no data", rule.name)
                self._problems[rule.name] = error_text(error)
            self._judge(rule, now_ns, values)

    def _judge(self, rule: RuleSettings, now_ns: int, values: Mapping[str, float | None]) -> None:
        alerts = self._alerts[rule.name]
        for subject in values:
            if subject not in alerts and fnmatchcase(subject, rule.subject):
                alerts[subject] = Alert(rule, subject, since_ns=now_ns)
        for subject, alert in alerts.items():
            alert.problem = self._problems.get(rule.name, "")
            told_before = bool(alert.told_ns)
            before = alert.look(now_ns, values.get(subject))
            if before is not None:
                self._publish(alert, before)
            is_over = before is AlertState.FIRING and alert.state is AlertState.OK and told_before
            if (is_over or alert.is_due(now_ns)) and not self._silence_of(alert):
                self._tell(rule, message_of(alert, self._engine, now_ns))
                alert.told_ns = now_ns

    def _tell(self, rule: RuleSettings, message: AlertMessage) -> None:
        for name, delivery in self._deliveries.items():
            if name == LOG or not rule.sinks or name in rule.sinks:
                delivery.put(message)

    def _publish(self, alert: Alert, before: AlertState) -> None:
        """Publish a change of state; a rule that has seen its subject for the first time has changed nothing."""
        if self._bus is None or {before, alert.state} <= {AlertState.OK, AlertState.PENDING, AlertState.NO_DATA}:
            return
        event = Status(
            source="alerts",
            ts=self._bus.clock.now_ns(),
            run_id=self._run_id,
            subject=f"alert {alert.key}",
            state=str(alert.state),
            reason="" if alert.value is None else f"{alert.rule.measure} is {alert.value:.6g}",
        )
        # The lane counts what it refuses; the log has it all the same.
        with contextlib.suppress(LaneFullError):
            self._bus.publish_nowait(event)

    def _silence_of(self, alert: Alert) -> Silence | None:
        return next((own for own in self._silences if fnmatchcase(alert.key, own.pattern)), None)

    def _all(self) -> Iterable[Alert]:
        return (alert for alerts in self._alerts.values() for alert in alerts.values())

    # What operators see and do

    def sections(self) -> Document:
        """Return what the state document shows of alerts: those that are not ok, the rules, the sinks, silences."""
        rules: dict[str, Any] = {}
        for rule in self._rules:
            alerts = self._alerts[rule.name].values()
            rules[rule.name] = {
                "measure": rule.measure,
                "above": rule.above,
                "below": rule.below,
                "for_s": rule.for_s,
                "severity": rule.severity,
                "subjects": len(alerts),
                "firing": sum(own.state is AlertState.FIRING for own in alerts),
                "problem": self._problems.get(rule.name, ""),
            }
        return {
            "alerts": {own.key: self._row(own) for own in self._all() if own.state is not AlertState.OK},
            "alert_rules": rules,
            "alert_sinks": {
                own.name: {**own.counts, "waiting": own.waiting, "problem": own.problem}
                for own in self._deliveries.values()
            },
            "silences": {
                own.pattern: {"until_ns": plain_whole(own.until_ns), "actor": own.actor, "reason": own.reason}
                for own in self._silences
            },
        }

    def _row(self, alert: Alert) -> dict[str, Any]:
        silence = self._silence_of(alert)
        return {
            "rule": alert.rule.name,
            "subject": alert.subject,
            "measure": alert.rule.measure,
            "state": str(alert.state),
            "severity": alert.rule.severity,
            "value": None if alert.value is None else plain_number(alert.value),
            "bound": alert.rule.bound,
            "since_ns": plain_whole(alert.since_ns),
            "missing_ns": plain_whole(alert.missing_ns) if alert.missing_ns else None,
            "acknowledged_by": alert.acknowledged_by,
            "acknowledged_until_ns": plain_whole(alert.acknowledged_until_ns) if alert.acknowledged_until_ns else None,
            "silenced_by": "" if silence is None else silence.actor,
            "problem": alert.problem,
        }

    def _test(self, command: TestAlert) -> Outcome:
        names = [own for own in self._deliveries if own != LOG]
        if command.sink is not None and command.sink not in names:
            there = ", ".join(names) or "none"
            return Outcome(
                "rejected", f"no sink is called {command.sink!r}{nearest(command.sink, names)}; there are {there}"
            )
        message = trial_message(self._engine, _actor(), time.time_ns())
        chosen = [LOG, *names] if command.sink is None else [command.sink]
        for name in chosen:
            self._deliveries[name].put(message)
        return Outcome("accepted", f"on its way to {', '.join(chosen)}", detail={"id": message.id})

    def _acknowledge(self, command: AcknowledgeAlert) -> Outcome:
        alert = next((own for own in self._all() if own.key == command.alert), None)
        if alert is None:
            known = [own.key for own in self._all()]
            return Outcome("rejected", f"no alert is called {command.alert!r}{nearest(command.alert, known)}")
        if alert.state is not AlertState.FIRING:
            return Outcome("noop", f"it does not fire: it is {alert.state}")
        if command.for_s == 0:
            was = alert.acknowledged_by
            alert.acknowledged_by, alert.acknowledged_until_ns = "", 0
            return Outcome("accepted" if was else "noop", f"{was} had acknowledged it" if was else "nobody had")
        alert.acknowledged_by = _actor()
        alert.acknowledged_until_ns = 0 if command.for_s is None else time.time_ns() + round(command.for_s * SECOND_NS)
        return Outcome("accepted")

    def _silence(self, command: SilenceAlerts) -> Outcome:
        others = [own for own in self._silences if own.pattern != command.alerts]
        if command.for_s == 0:
            is_changed = len(others) < len(self._silences)
            self._silences = others
            return Outcome("accepted" if is_changed else "noop", "" if is_changed else "there is no such silence")
        if len(others) >= SILENCES_MAX:
            return Outcome("rejected", f"there are {SILENCES_MAX} silences already: end one with for_s 0")
        until_ns = time.time_ns() + round(command.for_s * SECOND_NS)
        self._silences = [*others, Silence(command.alerts, until_ns, _actor(), command.reason)]
        matching = sum(fnmatchcase(own.key, command.alerts) for own in self._all())
        return Outcome("accepted", f"{matching} of the alerts that there are")


def _actor() -> str:
    submission = current_submission()
    return "" if submission is None else submission.actor
