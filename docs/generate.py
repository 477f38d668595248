"""Writes docs/reference from the package's own tables, so that no fact stands twice.

::

    field table, kinds, flags, dtypes · limits.py · reject table · click's commands · errors.py ─┬▶ one page each
    config/tree.py · telemetry/metrics.py · handlers of control/http ───────────────────────────┘

Run it after a change of any of these: ``.venv/bin/python docs/generate.py``.
Guarantees: a page depends on the tables alone; a test compares every page with the text that this would write.
Does not: explain; ``concepts`` and the how-to pages do.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import re
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from api import api_parts

import headrace._native as _native
from headrace import Engine, errors
from headrace.app.config import config_keys
from headrace.cli.app import commands
from headrace.commands import COMMANDS
from headrace.control.http import EngineApi
from headrace.control.http.answer_store import AnswerStore
from headrace.control.http.application import application
from headrace.control.http.audit import HttpAudit
from headrace.control.http.command_calls import CommandCalls
from headrace.control.http.documents import openapi_document
from headrace.dispatch.options import DEFAULTS, SubscriptionOptions
from headrace.limits import LIMITS
from headrace.market.fields import FIELDS
from headrace.market.forms import meanings
from headrace.market.tick import (
    FLAGS,
    KINDS,
    NO_INSTRUMENT,
    STATUS_REASONS,
    STREAM_STATES,
    TICK_DTYPE,
    GapCause,
    dtype_of,
)
from headrace.strategies.states import TRANSITIONS, StrategyState
from headrace.telemetry.metrics import METRICS
from headrace.trading.orders.order import ORDER_TRANSITIONS, OrderState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np

    from headrace.market.events import OrderEvent

REFERENCE = Path(__file__).resolve().parent / "reference"
GENERATED = "<!-- Written by docs/generate.py from {source}: change it there. -->"

CAUSES = {
    GapCause.VENUE: ("feed", "the venue's own numbers show that ticks are missing"),
    GapCause.RECONNECT: ("feed", "the feed was reconnected; the ticks in between are unknown"),
    GapCause.RESTART: ("feed", "the venue began its numbers anew, or the sequencer was restored from a saved state"),
    GapCause.OVERRUN: ("reader", "the ring overtook this subscription"),
    GapCause.PAUSED: ("reader", "this subscription was paused or in quarantine, and resumed"),
    GapCause.LAG: ("reader", 'this subscription lagged and jumped to the newest tick, by `on_lag="skip"`'),
    GapCause.RATE: ("reader", "more ticks came than this subscription's `rate_limit` allows"),
}
LIFE = {
    StrategyState.CREATED: "nothing",
    StrategyState.STARTING: "`on_load` and `on_start`",
    StrategyState.RUNNING: "everything",
    StrategyState.PAUSED: "`on_order` and `on_fill`; no tick, bar or signal, and timers wait. Orders that add exposure "
    "are refused; cancels, and orders that reduce it, pass",
    StrategyState.QUARANTINED: 'no callback; its open orders are canceled unless `on_quarantine` is "keep", its '
    "position is still accounted",
    StrategyState.STOPPING: "`on_stop`, `on_save`, `on_order` and `on_fill`",
    StrategyState.STOPPED: "nothing; its position is still accounted",
    StrategyState.FAILED: "nothing: a callback raised that is needed to start or stop",
}
ORDER_EVENTS = tuple(dict.fromkeys(event for _, event in ORDER_TRANSITIONS))
HEAD_MEANING = {
    "seq": "dense per (instrument, kind) from 1, set by the sequencer; 0 before it",
    "venue_seq": "the venue's own number, 0 when there is none",
    "ts_event": "the venue's time, ns since 1970-01-01 UTC; 0 with `NO_VENUE_TIME`",
    "ts_init": "when it was received, ns since 1970-01-01 UTC",
    "instrument": f"dense id; `{NO_INSTRUMENT:#x}`: no instrument",
    "kind": "a row of the kind table below",
    "side": "+1 buy or bid, -1 sell or ask, 0 none",
    "flags": "bits, see below",
    "values": "four values of 8 bytes, named by the kind",
}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    """Return the text as code; a dash when it is empty."""
    return f"`{text}`" if text else "-"


def page(title: str, source: str, *parts: str) -> str:
    """Return a page that names its source."""
    return "\n\n".join([GENERATED.format(source=source), f"# {title}", *parts]) + "\n"


def fields_page() -> str:
    """Every name that a handler may declare."""
    every = {kind.name for kind in KINDS.values() if kind.number in BUILT_IN}
    rows = [
        (
            code(field.name),
            code(field.singular or ""),
            code(field.plural or ""),
            field.unit or "-",
            "all" if set(field.kinds) >= every else ", ".join(field.kinds),
            field.formula,
        )
        for field in FIELDS
    ]
    return page(
        "Fields",
        "the field table, rust/core/src/market/field_table.rs",
        "A handler declares fields by parameter name. *One tick* is the Python type that a singular handler "
        "(`on_quote`, `on_tick`) gets, *column* the dtype of the NumPy array that a plural one (`on_quotes`, "
        "`on_ticks`) gets; a dash: not available. `headrace fields` prints the same table. A value of a kind that "
        "`register_kind` added is a field, too.",
        table(("field", "one tick", "column", "unit", "kinds", "meaning"), rows),
    )


def limits_page() -> str:
    """Every default and bound."""
    rows = [(code(limit.name), f"{limit.value:,}", limit.unit, limit.reason) for limit in LIMITS]
    return page(
        "Limits",
        "python/headrace/limits.py",
        "Every default and bound, with its unit and its reason. Those of the native core are defined in "
        "`rust/core/src/limits.rs`. An option of the same name replaces a default for one object.",
        table(("name", "value", "unit", "reason"), rows),
    )


def rejects_page() -> str:
    """Every reason to refuse a frame."""
    return page(
        "Rejected frames",
        "RejectReason::TABLE, rust/core/src/ingest/decode/outcome.rs",
        "The reasons to refuse a frame; the list is closed. A rejected frame changes only its count (`rejected` in the "
        "table and in `--json`) and is kept with its bytes in `dead_letters`; the stream goes on. A frame that the "
        "venue documents, but that is no tick here, is not rejected but counted as ignored.",
        table(
            ("reason", "it means", "what to do"),
            [(code(name), meaning, advice) for name, meaning, advice in _native.reject_table()],
        ),
    )


def errors_page() -> str:
    """The tree of exceptions."""
    tree = inspect.getdoc(errors) or ""
    drawn = tree.split("::\n\n", 1)[1].split("\n\nGuarantees", 1)[0]
    rows = [
        (
            code(name),
            ", ".join(code(base.__name__) for base in getattr(errors, name).__bases__),
            ", ".join(code(fact) for fact in getattr(errors, name).__annotations__) or "-",
            as_markdown(inspect.getdoc(getattr(errors, name)) or ""),
        )
        for name in sorted(errors.__all__)
    ]
    return page(
        "Errors",
        "python/headrace/errors.py",
        "Every error that Headrace raises on purpose. `headrace.HeadraceError` is public; import the others from "
        "`headrace.errors`. The facts of a message are attributes.",
        "```text\n" + "\n".join(line.removeprefix("    ") for line in drawn.splitlines()) + "\n```",
        table(("error", "is a", "attributes", "raised for"), rows),
    )


def record_page() -> str:
    """The 72 bytes of a tick, byte by byte."""
    built_in = [KINDS[number] for number in sorted(BUILT_IN)]
    return page(
        "The record",
        "TICK_DTYPE, the kind table and the flag table",
        f"A tick is one record of {TICK_DTYPE.itemsize} bytes, little endian in arrays and files. The same bytes are "
        "on the ring, in `TICK_DTYPE`, and in the dtype of each kind, which names the four values. No field overlaps "
        "another, so `np.save` and pickle work; `array.view(headrace.QUOTE_DTYPE)` copies nothing.",
        table(("bytes", "field", "dtype", "meaning"), byte_rows()),
        "## Kinds",
        "*state*: only the newest tick matters, so it may be conflated. *flow*: every tick matters. *meta*: a tick "
        "about the stream itself. The venue's numbers are *contiguous* (one more each time), *chained* (each event "
        "names the one before it), *monotone* (only rising), or unchecked.",
        table(
            ("number", "kind", "nature", "venue_seq", *value_columns()),
            [
                (
                    str(kind.number),
                    code(kind.name),
                    kind.nature,
                    kind.venue_ids,
                    *(f"`{name}` {dtype}" if name else "-" for name, dtype in kind.values),
                )
                for kind in built_in
            ],
        ),
        "## Flags",
        table(
            ("bit", "flag", "meaning"),
            [(str(flag.value.bit_length() - 1), code(str(flag.name)), meaning) for flag, meaning in FLAGS.items()],
        ),
        "## Gap causes",
        table(
            ("number", "cause", "from", "meaning"),
            [(str(cause.value), code(cause.name), *CAUSES[cause]) for cause in GapCause],
        ),
        "`first` and `last` are the missing venue numbers when the gap comes from the feed, and the missing ring "
        "positions when it comes from the reader. An unknown value is None in a singular handler and 2^64 - 1 in the "
        "record. The record's `cause` also holds the number of the lost kind, shifted left by 8 bits.",
        "## Stream states and reasons",
        "A status tick holds their numbers, a handler gets their names. The record's `stream` is the number of the "
        "stream's kind, plus 256 where frames may be missing before the next one. DOWN, SILENT and UP are states of a "
        "stream, SYNCING and LIVE of a book, STALE of both.",
        table(("number", "state"), [(str(number), code(name)) for number, name in STREAM_STATES.items()]),
        table(("number", "reason"), [(str(number), code(name)) for number, name in STATUS_REASONS.items()]),
    )


def byte_rows() -> list[tuple[str, ...]]:
    """One row per field of TICK_DTYPE, in the order of its bytes."""
    found: list[tuple[str, ...]] = []
    for name in TICK_DTYPE.names or ():
        dtype, start = place(TICK_DTYPE, name)
        shown = f"{dtype.base.str.lstrip('<|')} ({dtype.shape[0]},)" if dtype.shape else dtype.str.lstrip("<|")
        found.append((f"{start}-{start + dtype.itemsize - 1}", code(name), shown, HEAD_MEANING[name]))
    return found


def place(dtype: np.dtype[np.void], name: str) -> tuple[np.dtype[Any], int]:
    """Return a field's dtype and its first byte."""
    assert dtype.fields is not None
    return dtype.fields[name][:2]


def value_columns() -> list[str]:
    """Return the bytes of each of a kind's values."""
    dtype = dtype_of(1)
    starts = [place(dtype, name)[1] for name in (dtype.names or ())[-4:]]
    return [f"bytes {start}-{start + 7}" for start in starts]


def options_page() -> str:
    """The options of a subscription."""
    rows = [
        (code(name), code(repr(getattr(DEFAULTS, name))), f"{as_markdown(meaning)}.")
        for name, meaning in meanings(SubscriptionOptions).items()
    ]
    return page(
        "Subscription options",
        "SubscriptionOptions, python/headrace/dispatch/options.py",
        "Keywords of `Dispatcher.subscribe`, of the pairs `(strategy, options)` that `headrace.replay` takes, of "
        "`[strategies.subscription]` in a configuration, and of the `subscription` of a Strategy class. An option of "
        "the call replaces the one of the class. Each is checked at subscription; a value that is not allowed raises "
        "an `OptionError`, which names what is allowed.",
        table(("option", "default", "meaning"), rows),
    )


def as_markdown(docstring: str) -> str:
    """Return a docstring's text on one line, with Markdown's code quotes."""
    return " ".join(docstring.replace("``", "`").split())


def cli_page() -> str:
    """Every verb, argument and option."""
    ends = (inspect.getdoc(sys.modules[commands.callback.__module__]) or "").split("::\n\n", 1)[1]
    exit_rows = [
        (code(number), meaning)
        for number, meaning in re.findall(
            r"^\s*(?:exit code)?\s+(\d+)\s{2,}(.+)$", ends.split("\n\n", 1)[0], re.MULTILINE
        )
    ]
    parts = []
    for name, command in verbs(commands, "headrace"):
        usage = " ".join([name, *command.collect_usage_pieces(click.Context(command))])
        parts += [
            f"## {name}",
            as_markdown(command.help or ""),
            f"```text\n{usage}\n```",
            table(("option", "default", "meaning"), [option_row(option) for option in options_of(command)]),
        ]
    return page(
        "The command line",
        "the commands in python/headrace/cli",
        "`headrace VERB --help` shows the same. A failure is one line on stderr that begins with `headrace:`.",
        table(("exit code", "meaning"), exit_rows),
        *parts,
    )


def verbs(group: click.Group, name: str) -> Iterable[tuple[str, click.Command]]:
    """Yield every verb with its whole name, with the verbs of a group in the group's place."""
    for own, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, f"{name} {own}")
        else:
            yield f"{name} {own}", command


def commands_page() -> str:
    """Every command that an engine takes."""
    parts = []
    for command_type, entry in COMMANDS.items():
        arguments = [
            (
                code(argument.name),
                ", ".join(code(choice) for choice in argument.choices) or argument.kind,
                "yes" if argument.required else "-",
                argument.meaning,
            )
            for argument in entry.arguments
        ]
        revoked = ", ".join(code(own.verb) for own in command_type.revokes)
        notes = [
            note
            for note, applies in (
                ("Urgent: executed at once, ahead of every queue and without a worker.", entry.urgent),
                ("Changes nothing, so the version stays.", not command_type.changes),
                (f"Waiting commands to {revoked} are rejected.", bool(revoked)),
            )
            if applies
        ]
        parts += [f"## {entry.name}", " ".join([f"`headrace ctl {entry.verb}`: {entry.meaning}", *notes])]
        if arguments:
            parts.append(table(("field", "type", "required", "meaning"), arguments))
    return page(
        "Commands",
        "COMMANDS, python/headrace/commands/family.py",
        "An operator's commands to a running engine: from Python with `await engine.commands.submit(…)`, from "
        'another terminal with `headrace ctl`, as JSON with the name under `"command"`. Each is answered by one '
        "`Ack`: *accepted* (done, or begun), *noop* (the state was already so), *rejected* (not possible; nothing "
        "changed) or *failed* (an error, or the outcome is unknown). [Command a running engine]"
        "(../how-to/commands.md) shows how to send them, and how to add your own.",
        *parts,
    )


def options_of(command: click.Command) -> list[click.Option]:
    """Return the options of a verb; its arguments are in its usage line."""
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def option_row(option: click.Option) -> tuple[str, str, str]:
    """Return an option with its values, its default and its meaning."""
    choices = option.type.choices if isinstance(option.type, click.Choice) else ()
    values = "" if option.is_flag else option.metavar or "|".join(map(str, choices))
    default = "-" if option.is_flag or option.multiple or not option.default else code(f"{option.default}")
    if not isinstance(option.default, str | int) or isinstance(option.default, bool):
        default = "-"
    meaning = re.sub(r"\s*\[default: \w+\]", "", option.help or "")
    return code(" ".join([*option.opts, values]).strip()), default, meaning


def config_page() -> str:
    """Every key of a configuration."""
    # Sections with the same keys stand together.
    sections: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for header, keys in itertools.groupby(config_keys(), key=lambda key: key.section):
        rows = tuple((code(key.key), as_code(key.takes), code(key.default), as_code(key.meaning)) for key in keys)
        sections.setdefault(rows, []).append(header)
    parts = []
    for rows, headers in sections.items():
        parts += [f"## {', '.join(map(code, headers))}", table(("key", "takes", "default", "meaning"), rows)]
    return page(
        "Configuration",
        "the sections in python/headrace/app/config/tree.py",
        "The keys of a TOML or YAML file. `HEADRACE__SECTION__KEY` in the environment replaces the file's value, "
        "`--set section.key=value` replaces both. An unknown key is an error. `headrace config new` writes a file "
        "with all keys, `headrace config schema` prints a schema for editors that complete and check one.",
        *parts,
    )


def as_code(text: str) -> str:
    """Return a text with its quoted values as code."""
    return re.sub(r'"[^"]*"', lambda quoted: code(quoted[0]), text)


def metrics_page() -> str:
    """Every metric, and when to worry."""
    rows = [
        (
            code(metric.name),
            metric.kind,
            metric.unit,
            ", ".join(map(code, metric.labels)) or "-",
            metric.meaning,
            metric.worry or "-",
        )
        for metric in METRICS.values()
    ]
    return page(
        "Metrics",
        "the table in python/headrace/telemetry/metrics.py",
        "An engine's metrics: for Prometheus at `http://HOST:PORT/metrics` when `telemetry.prometheus_port` is set, "
        "and in Python by `engine.metrics.snapshot()`. Each snapshot reads every value; nothing is counted twice. "
        "Those that begin with `headrace_execution_` are of the workers of `headrace execute`, which serves them by "
        "the same key.",
        table(("metric", "kind", "unit", "labels", "meaning", "worry when"), rows),
    )


def openapi_json() -> str:
    """The document of the control API of an engine with a gateway."""
    return json.dumps(asyncio.run(openapi()), indent=1, ensure_ascii=False) + "\n"


async def openapi() -> dict[str, Any]:
    """Return it as an engine makes it, in its loop."""
    engine = Engine(feeds=[], strategies=[], mode="replay")
    with tempfile.TemporaryDirectory() as folder, closing(AnswerStore(Path(folder, "answers"))) as answers:
        calls = CommandCalls(engine.commands, answers, HttpAudit(None))
        app = application(EngineApi(engine), calls, asyncio.Event())
        return openapi_document(app, dict.fromkeys((*COMMANDS, *engine.commands.types())))


def life_cycle_page() -> str:
    """The states of a strategy and of an order, and the changes between them."""
    ways = {state: {verb: after for (before, verb), after in TRANSITIONS.items() if before is state} for state in LIFE}
    width = max(len(state) for state in StrategyState)
    drawn = [
        f"{state:{width}} " + "   ".join(f"─{verb}─▶ {after}" for verb, after in ways[state].items())
        for state in StrategyState
    ]
    rows = [(code(state.name), LIFE[state], ", ".join(map(code, ways[state]))) for state in StrategyState]
    return page(
        "Life cycle",
        "TRANSITIONS, python/headrace/strategies/states.py, and "
        "ORDER_TRANSITIONS, python/headrace/trading/orders/order.py",
        "The allowed changes of state. [What happens on each](../life-cycle.md).",
        "## Of a strategy",
        "Any other change raises a `LifeCycleError` and changes nothing. Each change is a `StrategyStateChanged` "
        "event, whose version is one higher than the last.",
        "```text\n" + "\n".join(drawn) + "\n```",
        table(("state", "what runs", "possible changes"), rows),
        "## Of an order",
        "By the event of a gate or the broker; any other event is refused, and changes nothing. A requested cancel "
        "makes an open order `PENDING_CANCEL` until the broker has answered.",
        table(
            ("state", *(event.__name__.removeprefix("Order") for event in ORDER_EVENTS)),
            [(code(state.name), *(order_way(state, event) for event in ORDER_EVENTS)) for state in OrderState],
        ),
    )


def order_way(state: OrderState, event: type[OrderEvent]) -> str:
    """Return an order's state after an event; a dash where the event is refused."""
    after = ORDER_TRANSITIONS.get((state, event))
    return "-" if after is None else code(after.name)


def api_page() -> str:
    """The public classes."""
    return page("API", "the docstrings of python/headrace, by docs/api.py", *api_parts())


BUILT_IN = frozenset(row[0] for row in _native.kind_table())
PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "fields.md": fields_page,
    "options.md": options_page,
    "limits.md": limits_page,
    "rejects.md": rejects_page,
    "cli.md": cli_page,
    "commands.md": commands_page,
    "errors.md": errors_page,
    "record.md": record_page,
    "config.md": config_page,
    "metrics.md": metrics_page,
    "life-cycle.md": life_cycle_page,
    "openapi.json": openapi_json,
}


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
