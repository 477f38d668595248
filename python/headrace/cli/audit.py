"""``headrace audit`` and ``headrace diff``: what a run decided, from its audit, and where two runs part.

Guarantees: files are only read; ``diff`` exits with 0 where nothing differs, with 1 where something does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from headrace.cli.options import debug_option, json_option
from headrace.engine.tables import Table, tables_text
from headrace.market.tick import ns_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.market.events import Event
    from headrace.research.audit_story import Difference, Line

__all__ = ["audit_command", "diff_command"]

# Fields that stand in columns of their own, or say nothing new.
COLUMNS = ("source", "ts", "run_id", "cause", "strategy", "order_id")


@click.command("audit")
@click.argument("file", metavar="FILE")
@click.option("--strategy", metavar="NAME", help="Only what concerns this strategy.")
@click.option("--since", metavar="TIME", help="Only from this time on, UTC: 2026-01-05T12:00.")
@click.option("--follow-order", metavar="ID", help="The whole story of one order, from its tick to its last fill.")
@json_option
@debug_option
def audit_command(
    *, file: str, strategy: str | None, since: str | None, follow_order: str | None, as_json: bool
) -> None:
    """Show the events in FILE, which a run wrote with --audit."""
    from headrace.research.audit_story import events_of, order_story
    from headrace.research.settings import time_ns

    since_ns = time_ns("since", since)
    if follow_order is not None:
        lines: Iterable[Line] = order_story(file, follow_order)
        if not as_json:
            click.echo(tables_text([_story_table(list(lines), follow_order)]))
            return
    else:
        lines = events_of(file, strategy=strategy, since_ns=since_ns)
    # Line by line: an audit may be larger than memory.
    for line in lines:
        click.echo(msgspec.json.encode(_document(line)) if as_json else _row_text(line))


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@json_option
@debug_option
def diff_command(*, first: str, second: str, as_json: bool) -> int:
    """Show the first event in which the audits A and B differ."""
    from headrace.research.audit_story import difference_of

    found = difference_of(first, second)
    if as_json:
        click.echo(msgspec.json.encode({"same": found is None, "difference": _difference(found)}).decode())
    elif found is None:
        click.echo("the same events, in the same order")
    else:
        click.echo(_difference_text(found, first, second))
    return 0 if found is None else 1


def _story_table(lines: list[Line], order_id: str) -> Table:
    from headrace.research.audit_story import cause_text

    first = lines[0].event.cause
    rows = [("", ns_text(first.ts_init), "tick", cause_text(first))] if first is not None else []
    rows += [(str(own.number), ns_text(own.event.ts), type(own.event).__name__, _facts(own.event)) for own in lines]
    return Table(f"order {order_id}", ("line", "time, UTC", "event", "what"), rows, texts=4)


def _row_text(line: Line) -> str:
    event = line.event
    return f"{line.number:>7}  {ns_text(event.ts)}  {event.source}  {type(event).__name__}  {_facts(event)}"


def _facts(event: Event) -> str:
    """Return the fields of an event that have another value than their default."""
    from headrace.research.audit_story import cause_text

    defaults = {field.name: field.default for field in msgspec.structs.fields(type(event))}
    shown = []
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name in COLUMNS or value == defaults[name]:
            continue
        shown.append(f"{name}={cause_text(value) if name == 'quote' else _value(value)}")
    order_id = getattr(event, "order_id", "")
    return " ".join([*([order_id] if order_id else []), *shown])


def _value(value: Any) -> str:
    return str(msgspec.to_builtins(value)) if not isinstance(value, str) else value


def _document(line: Line) -> dict[str, Any]:
    from headrace.market.event_json import encode_event

    return {"line": line.number, **msgspec.json.decode(encode_event(line.event))}


def _difference(found: Difference | None) -> dict[str, Any] | None:
    from headrace.market.event_json import encode_event

    if found is None:
        return None
    both = (None if own is None else msgspec.json.decode(encode_event(own)) for own in (found.first, found.second))
    return {"line": found.line, "fields": found.fields, "first": next(both), "second": next(both)}


def _difference_text(found: Difference, first: str, second: str) -> str:
    def side(event: Event | None) -> str:
        return "has ended" if event is None else f"{ns_text(event.ts)}  {type(event).__name__}  {_facts(event)}"

    fields = f" in {', '.join(found.fields)}" if found.fields else ""
    return f"they differ at line {found.line}{fields}\n  {first}: {side(found.first)}\n  {second}: {side(found.second)}"
