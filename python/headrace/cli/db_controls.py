"""``headrace db pause | resume | cancel | edit | requeue``: what an operator does to recommendations.

Guarantees: each change is on record with its actor and its reason; workers obey at the next claim.
Does not: change what a worker has claimed.
"""

from __future__ import annotations

import getpass
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.cli.db_report import time_ms
from headrace.cli.options import RECOMMENDATION_ID, db_option, debug_option, json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.execution.controls import Controls, Scope

__all__ = ["CONTROL_COMMANDS"]

Command = TypeVar("Command", bound="Callable[..., Any]")


def control_options(command: Command) -> Command:
    """Add what every control takes."""
    for option in (
        debug_option,
        json_option,
        click.option("--reason", required=True, help="Stands on record."),
        click.option("--actor", default=getpass.getuser, help="Stands on record; by default the user of this process."),
        db_option,
    ):
        command = option(command)
    return command


def scope_options(command: Command) -> Command:
    """Add what a pause concerns."""
    ticker = click.option("--ticker", metavar="TICKER", help="Only this ticker.")
    action = click.option("--action", metavar="ACTION", help="Only this action, like BUY_PUT.")
    return ticker(action(command))


@contextmanager
def controls(db: str | None, actor: str, reason: str) -> Iterator[Controls]:
    """Yield the controls of a database."""
    from headrace.execution.controls import Controls
    from headrace.execution.database.opening import open_database
    from headrace.execution.schema.migrating import check_version

    connection = open_database(db).connect()
    try:
        check_version(connection, complete=True)
        yield Controls(connection, actor=actor, reason=reason)
    finally:
        connection.close()


def _scope(ticker: str | None, action: str | None) -> tuple[Scope, str]:
    if ticker is not None and action is not None:
        msg = "--ticker and --action exclude each other: pause one after the other"
        raise click.UsageError(msg)
    return ("ticker", ticker) if ticker is not None else ("action", action) if action is not None else ("all", "")


def _until(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    return None if text is None else time_ms("--until", text, sign=1)


def _say(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(document) if as_json else text)


@click.command("pause")
@scope_options
@click.option("--until", callback=_until, metavar="TIME", help="A time like 2026-01-13T16:00:00Z, or 30m from now.")
@control_options
def pause_command(
    *,
    db: str | None,
    actor: str,
    reason: str,
    ticker: str | None,
    action: str | None,
    until: int | None,
    as_json: bool,
) -> None:
    """Claim nothing any more: of everything, a ticker or an action."""
    scope, target = _scope(ticker, action)
    with controls(db, actor, reason) as own:
        own.pause(scope, target, until)
    document = {"verb": "pause", "scope": scope, "target": target, "until_ms": until}
    _say(document, f"paused: {f'{scope} {target}'.strip()}", as_json=as_json)


@click.command("resume")
@scope_options
@control_options
def resume_command(
    *, db: str | None, actor: str, reason: str, ticker: str | None, action: str | None, as_json: bool
) -> None:
    """End a pause of the same ticker, action or everything."""
    scope, target = _scope(ticker, action)
    with controls(db, actor, reason) as own:
        own.resume(scope, target)
    _say(
        {"verb": "resume", "scope": scope, "target": target}, f"resumed: {f'{scope} {target}'.strip()}", as_json=as_json
    )


@click.command("cancel")
@click.argument("ids", nargs=-1, type=RECOMMENDATION_ID, required=True, metavar="ID...")
@control_options
def cancel_command(*, db: str | None, actor: str, reason: str, ids: tuple[int, ...], as_json: bool) -> None:
    """End PENDING recommendations as SKIPPED."""
    with controls(db, actor, reason) as own:
        for number in ids:
            own.cancel(number)
    _say({"verb": "cancel", "ids": list(ids)}, f"canceled: {', '.join(map(str, ids))}", as_json=as_json)


@click.command("edit")
@click.argument("number", type=RECOMMENDATION_ID, metavar="ID")
@click.option("--set", "changes", multiple=True, required=True, metavar="KEY=VALUE", help="Like confidence=0.8.")
@control_options
def edit_command(
    *, db: str | None, actor: str, reason: str, number: int, changes: tuple[str, ...], as_json: bool
) -> None:
    """Change a PENDING recommendation: ticker, action, confidence, reason, priority, not_before, expires_at."""
    wanted = _changes(changes)
    with controls(db, actor, reason) as own:
        own.edit(number, wanted)
    _say({"verb": "edit", "id": number, "keys": list(wanted)}, f"edited: {number}", as_json=as_json)


def _changes(texts: tuple[str, ...]) -> dict[str, Any]:
    """Return what --set gives, as ``recommend`` takes it."""
    import datetime as dt

    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            msg = f"--set {text}: write KEY=VALUE"
            raise click.UsageError(msg)
        try:
            if key in ("not_before", "expires_at"):
                found[key] = int(value) if value.isdecimal() else dt.datetime.fromisoformat(value)
            else:
                found[key] = {"confidence": float, "priority": int}.get(key, str)(value)
        except ValueError:
            msg = f"--set {text}: {value!r} does not fit {key}; write a number, or a time like 2026-01-13T16:00:00Z"
            raise click.UsageError(msg) from None
    return found


@click.command("requeue")
@click.argument("ids", nargs=-1, type=RECOMMENDATION_ID, required=True, metavar="ID...")
@control_options
def requeue_command(*, db: str | None, actor: str, reason: str, ids: tuple[int, ...], as_json: bool) -> None:
    """Store FAILED recommendations again, as new ones; FAILED stays final."""
    with controls(db, actor, reason) as own:
        made = {number: own.requeue(number) for number in ids}
    lines = "\n".join(f"requeued: {old} as {new}" for old, new in made.items())
    _say({"verb": "requeue", "ids": made}, lines, as_json=as_json)


CONTROL_COMMANDS = (pause_command, resume_command, cancel_command, edit_command, requeue_command)
