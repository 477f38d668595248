"""AlertsSettings: what is watched, and where it is told; the section ``[control.alerts]``.

::

    [[control.alerts.rules]]   name · measure · above, below · for · clear · window_s · repeat_s · subject · severity
    [[control.alerts.sinks]]   name · kind · url, secret_file, template · argv

Guarantees: immutable; a rule has a bound; what no type expresses is a problem with its key and the line to write.
Does not: read files or send anything.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec

from headrace.control.alerts.measures import is_measure, measure_names
from headrace.market.checks import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEFAULT_RULES", "AlertsSettings", "RuleSettings", "Severity", "SinkSettings", "alert_problems"]

Name: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?![\s\S])", extra={"takes": "a name"})
]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=86_400 * 31)]
Severity: TypeAlias = Literal["info", "warning", "critical"]
_Url: TypeAlias = Annotated[str, msgspec.Meta(pattern="^https?://.+", extra={"takes": "http://HOST:PORT/PATH"})]
OwnPath: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]+$", extra={"is": "path", "takes": "a path"})]


class RuleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule; it is judged once a second for each subject that its measure has.

    name : unique; in messages and commands.
    measure : what is judged, like "lag" or "drawdown", or a metric's name; docs/how-to/alerts lists them.
    above, below : the bound; one of them. The rule is broken by a value on its other side.
    for_s : it fires when it was broken for so long, s.
    clear : a firing rule is over when the value is back behind this; by default the bound itself.
    window_s : of measures that count, how far back they do, s.
    subject : a pattern of what it concerns, like "momentum" or "*.BINANCE".
    severity : in messages and on the page.
    repeat_s : while it fires it is told again after so long, s; 0: never.
    no_data : "keep": no message while its input is missing; "tell": sinks get a message of that, too.
    sinks : where it is told; by default everywhere.
    """

    name: Name
    measure: Annotated[str, msgspec.Meta(min_length=1)]
    above: float | None = None
    below: float | None = None
    for_s: Seconds = 0.0
    clear: float | None = None
    window_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    subject: str = "*"
    severity: Severity = "warning"
    repeat_s: Seconds = 3_600.0
    no_data: Literal["keep", "tell"] = "keep"
    sinks: tuple[Name, ...] = ()

    @property
    def bound(self) -> float:
        """The bound, whichever side it is of."""
        bound = self.above if self.above is not None else self.below
        assert bound is not None  # ``alert_problems`` refuses a rule without.
        return bound

    def is_broken(self, value: float) -> bool:
        """Whether a value is on the wrong side of the bound."""
        return value > self.bound if self.above is not None else value < self.bound

    def is_clear(self, value: float) -> bool:
        """Whether a value ends an alert that fires."""
        clear = self.bound if self.clear is None else self.clear
        return value <= clear if self.above is not None else value >= clear


class SinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place where alerts are told.

    name : unique; in rules and in the test-alert command.
    kind : "log"; "webhook": an HTTP POST; "command": a process, with the alert as JSON on its standard input.
    url : of a webhook. secret_url : the same, where the address itself is a secret: it is shown nowhere.
    secret_file : of a webhook: a file with the key that signs it; by default it is not signed.
    template : of a webhook: its body, with $title, $text, $rule, $subject, $state, $severity, $value, $engine; by
        default one JSON object. Values are written as they stand inside of a JSON string.
    content_type : of that body.
    argv : of a command: the program and its arguments; no shell reads them.
    timeout_s : of a request or a process, s.
    """

    name: Name
    kind: Literal["log", "webhook", "command"]
    url: _Url | None = None
    secret_url: _Url | None = None
    secret_file: OwnPath | None = None
    template: str | None = None
    content_type: str = "application/json"
    argv: tuple[str, ...] = ()
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0


class AlertsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is watched, and where it is told.

    defaults : whether the usual rules hold, too: halted, quarantined, lag, drops, refused orders, stale feeds, dead
        letters, services. A rule of the same name takes the place of a usual one.
    rules : what is watched.
    sinks : where it is told, beside the log, the page and the audit.
    """

    defaults: bool = True
    rules: tuple[RuleSettings, ...] = ()
    sinks: tuple[SinkSettings, ...] = ()

    @property
    def all_rules(self) -> tuple[RuleSettings, ...]:
        """The usual rules that are not replaced, and the own ones."""
        own = {rule.name for rule in self.rules}
        usual = DEFAULT_RULES if self.defaults else ()
        return (*(rule for rule in usual if rule.name not in own), *self.rules)


DEFAULT_RULES = (
    RuleSettings(name="halted", measure="halt", above=0, severity="critical"),
    RuleSettings(name="quarantined", measure="quarantine", above=0, severity="critical"),
    RuleSettings(name="lag", measure="lag", above=1.0, clear=0.5, for_s=5.0),
    RuleSettings(name="drops", measure="drops", above=0),
    RuleSettings(name="refused-orders", measure="refused_orders", above=0),
    RuleSettings(name="stale-feed", measure="stale_feed", above=10.0, clear=0.0, severity="critical"),
    RuleSettings(name="feed-failed", measure="feed_failed", above=0, severity="critical"),
    RuleSettings(name="dead-letters", measure="dead_letters", above=0),
    RuleSettings(name="service", measure="service", above=0, for_s=5.0),
)


def alert_problems(settings: AlertsSettings) -> Iterator[tuple[str, object, str]]:
    """Yield what no type expresses: the key, its value, and what to write."""
    sinks = [sink.name for sink in settings.sinks]
    for key, names in (("rules", [rule.name for rule in settings.rules]), ("sinks", sinks)):
        for number, name in enumerate(names):
            if name in names[:number]:
                yield f"{key}[{number}].name", name, "give each a name of its own"
    for number, rule in enumerate(settings.rules):
        where = f"rules[{number}]"
        if not is_measure(rule.measure):
            hint = nearest(rule.measure, measure_names())
            yield f"{where}.measure", rule.measure, f"there is no such measure{hint}: use {', '.join(measure_names())}"
        if (rule.above is None) == (rule.below is None):
            yield f"{where}.above", rule.above, "give one of above and below"
        elif rule.clear is not None and rule.is_broken(rule.clear):
            yield f"{where}.clear", rule.clear, "write a value on the good side of the bound, or the bound itself"
        for name in rule.sinks:
            if name not in sinks:
                yield f"{where}.sinks", name, f"there is no such sink{nearest(name, sinks)}"
    for number, sink in enumerate(settings.sinks):
        yield from ((f"sinks[{number}].{key}", value, advice) for key, value, advice in _sink_problems(sink))


def _sink_problems(sink: SinkSettings) -> Iterator[tuple[str, object, str]]:
    if sink.kind == "webhook" and (sink.url is None) == (sink.secret_url is None):
        yield "url", "missing" if sink.url is None else "given twice", "name the address by one of url and secret_url"
    if sink.kind == "command" and not sink.argv:
        yield "argv", "missing", 'name the program and its arguments: ["notify-send", "headrace"]'
    for key, given, kind in (
        ("url", sink.url, "webhook"),
        ("secret_url", sink.secret_url, "webhook"),
        ("argv", sink.argv, "command"),
    ):
        if given and sink.kind != kind:
            yield key, given, f"only a {kind} has it: leave it out"
    for key, given in (("template", sink.template), ("secret_file", sink.secret_file)):
        if given is not None and sink.kind != "webhook":
            yield key, given, "only a webhook has it: leave it out"
    if sink.template is not None:
        try:
            string.Template(sink.template).substitute(dict.fromkeys(TEMPLATE_WORDS, ""))
        except (KeyError, ValueError) as error:
            words = ", ".join(f"${word}" for word in TEMPLATE_WORDS)
            yield "template", sink.template, f"{error} is none of its words: use {words}; write $$ for a dollar"


TEMPLATE_WORDS = ("title", "text", "rule", "subject", "state", "severity", "value", "engine")
