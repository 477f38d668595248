"""``headrace ctl``: steer a running engine from another terminal; made from the table of commands.

::

    headrace ctl pause NAME ─▶ HEADRACE_STATE/run/ENGINE.sock ─▶ accepted │ noop: exit code 0
                                                                  rejected │ failed: 1     unreachable: 3
    headrace ctl halt       ─▶ HEADRACE_STATE/halt.json first, then every engine that runs

Guarantees: a command that the engine knows and this program does not is found by asking the engine; a halt needs no
engine that answers, and says what it did.

Does not: repeat a command that was not answered: it may have been handled. ``--key`` makes a repetition safe.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headrace.cli.failure import Failure
from headrace.cli.options import debug_option
from headrace.commands import COMMANDS, Halt, RedriveDeadLetter, Status
from headrace.control import ControlClient, running_engines
from headrace.control.wire import AskLetter, AskLetters, AskTable, Submit, own_peer
from headrace.engine.tables import Table, duration_text, tables_text
from headrace.errors import ControlError, StateFolderError
from headrace.limits import COMMAND_TIMEOUT_S
from headrace.trading.kill_switch import KillSwitch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.commands import Ack, Argument, CommandEntry
    from headrace.control.wire import Reply, Request

__all__ = ["ctl_command"]

UNREACHABLE = 3
# The engine answers within the command's timeout; this much later it does not at all.
GRACE_S = 2.0
LOOK_TIMEOUT_S = 5.0
# A halt overtakes everything: an engine that has not confirmed it by then hangs, and obeys the file.
CONFIRM_TIMEOUT_S = 2.0
# Options of every verb; a field of a user's command with such a name gets another option.
COMMON = {"engine", "json", "key", "timeout", "debug", "help"}
_BUILT_IN = {entry.verb: entry for entry in COMMANDS.values()}
_TYPES = {entry.name: command_type for command_type, entry in COMMANDS.items()}


class _CtlGroup(click.Group):
    """Finds the verbs of a user's own commands by asking the engine."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            try:
                name = _engine_named_in(args)
                table = _ask(name, AskTable()).table or ()
            except (ControlError, Failure) as error:
                ctx.fail(f"no such command {args[0]!r}, and no engine says that it is one of its own: {error}")
            for entry in table:
                if entry.verb == args[0]:
                    return entry.verb, _verb(entry), args[1:]
            ctx.fail(f"no such command {args[0]!r}, neither here nor at engine {name!r}: see headrace ctl --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the built-in commands, then those that a running engine takes beside them."""
        super().format_commands(ctx, formatter)
        with contextlib.suppress(ControlError, Failure, StateFolderError):
            name = _one_engine(None)
            own = [entry for entry in _ask(name, AskTable()).table or () if entry.verb not in self.commands]
            if own:
                with formatter.section(f"Commands of {name}"):
                    formatter.write_dl([(entry.verb, entry.meaning) for entry in own])


@click.group("ctl", cls=_CtlGroup)
@debug_option
def ctl_command() -> None:
    """Steer a running engine: pause, cancel, flatten, halt, look.

    Exit code 0: accepted, or it was so already. 1: rejected or failed. 3: no engine answers.
    """


def _common(command: click.Command) -> click.Command:
    """Give a verb the options that all of them have."""
    command.params += [
        click.Option(["--engine"], metavar="NAME", help="Which engine; needed where several run."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
    ]
    return debug_option(command)


def _commanding(command: click.Command) -> click.Command:
    """Give a verb the options of a command."""
    command.params += [
        click.Option(["--key"], metavar="TEXT", help="Repeated with the same key, it is handled once."),
        click.Option(
            ["--timeout"],
            type=click.FloatRange(min=0, min_open=True),
            metavar="S",
            help="Seconds after which the outcome is unknown; the engine's own unless given, 5.",
        ),
    ]
    return _common(command)


def _verb(entry: CommandEntry) -> click.Command:
    """Make a verb of a row of the table: required fields are arguments, the others options."""

    def run(**given: Any) -> int:
        common = {name: given.pop(name) for name in ("engine", "as_json", "key", "timeout")}
        fields = {argument.name: given[f"field_{argument.name}"] for argument in entry.arguments}
        return _submit(entry, {name: value for name, value in fields.items() if value is not None}, **common)

    parameters = [_parameter(argument) for argument in entry.arguments]
    return _commanding(click.Command(entry.verb, params=parameters, callback=run, help=entry.meaning))


def _parameter(argument: Argument) -> click.Parameter:
    types: dict[str, Any] = {
        "text": click.STRING,
        "whole": click.INT,
        "number": click.FLOAT,
        "choice": click.Choice(argument.choices),
        "json": json.loads,
        "flag": click.BOOL,
    }
    kind, name = types[argument.kind], f"field_{argument.name}"
    shown = argument.name.replace("_", "-")
    if argument.required:
        return click.Argument([name], type=kind, metavar=argument.name.upper())
    option = f"--{shown}" if argument.name not in COMMON else f"--its-{shown}"
    text = argument.meaning[:1].upper() + argument.meaning[1:]
    return click.Option([option, name], type=kind, metavar=_metavar(argument), help=f"{text}." if text else "")


def _metavar(argument: Argument) -> str:
    if argument.kind == "choice":
        return "|".join(argument.choices)
    return {"text": "TEXT", "whole": "N", "number": "X", "flag": "true|false"}.get(argument.kind, "JSON")


def _submit(
    entry: CommandEntry,
    fields: Mapping[str, Any],
    *,
    engine: str | None,
    as_json: bool,
    key: str | None,
    timeout: float | None,
) -> int:
    command = {"command": entry.name, **fields}
    if entry.name in _TYPES:
        try:
            msgspec.convert(command, _TYPES[entry.name])
        except msgspec.ValidationError as error:
            raise Failure(f"ctl {entry.verb}: {error}", exit_code=2) from error
    name = _one_engine(engine)
    request = Submit(command=msgspec.Raw(msgspec.json.encode(command)), key=key, timeout=timeout, terminal=_terminal())
    ack = _ack(_ask(name, request, timeout=(COMMAND_TIMEOUT_S if timeout is None else timeout) + GRACE_S))
    if as_json:
        _print_json({"engine": name, **msgspec.to_builtins(ack)})
    else:
        _print_ack(entry.verb, ack)
    return 0 if ack.is_done else 1


def _print_ack(verb: str, ack: Ack) -> None:
    if not ack.is_done:
        raise Failure(f"{verb} {ack.status}: {ack.reason}")
    if verb != Status.verb:
        told = [ack.status, f"version {ack.version}", duration_text(ack.queued_ns + ack.handled_ns)]
        click.echo(f"{verb}: {', '.join(told)}{f' ({ack.reason})' if ack.reason else ''}")
    if any(ack.detail.values()):
        click.echo(tables_text(_tables(verb, ack.detail)))


def _tables(title: str, detail: Mapping[str, Any]) -> list[Table]:
    """Show what a command told: plain values in one table, each group of alike groups in one of its own."""
    plain: list[tuple[str, str]] = []
    tables: list[Table] = []
    for name, value in detail.items():
        rows = list(value.items()) if isinstance(value, dict) else []
        if rows and all(isinstance(row, dict) for _, row in rows):
            columns = list(dict.fromkeys(column for _, row in rows for column in row))
            cells = [(own, *(_text(row.get(column, "")) for column in columns)) for own, row in rows]
            tables.append(Table(name, ("", *columns), cells, texts=len(columns) + 1))
        else:
            plain.append((name, _text(value)))
    return [Table(title, ("", ""), plain, texts=2), *tables]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(own)}" for name, own in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "-"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


# Halt


@click.command("halt")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the latch file and in the audit.")
@click.option("--engine", metavar="NAME", help="Tell only this engine; the latch file halts all of them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@debug_option
def _halt_command(*, reason: str, engine: str | None, as_json: bool) -> int:
    """Let no new order pass from now on, until rearmed; cancels get through. Overtakes every other command.

    Writes the latch file first, which every engine of this HEADRACE_STATE obeys within 0.1 s, also one that hangs or
    that starts later; then tells the engines that run. Exit code 3: one of them did not confirm it.
    """
    latch, problem = _write_latch(reason)
    request = Submit(command=msgspec.Raw(msgspec.json.encode(Halt(reason))), terminal=_terminal())
    told: dict[str, str] = {}
    unconfirmed = 0
    for name in [engine] if engine is not None else running_engines():
        try:
            ack = _ack(_ask(name, request, timeout=CONFIRM_TIMEOUT_S))
        except ControlError as error:
            told[name] = f"not confirmed: {error}"
            unconfirmed += 1
        else:
            told[name] = f"{ack.status} {ack.reason}".strip()
            unconfirmed += not ack.is_done
    if as_json:
        _print_json({"latch": latch, "problem": problem, "engines": told})
    else:
        click.echo(f"latch: {latch or f'not written: {problem}'}")
        for name, what in told.items():
            click.echo(f"engine {name}: {what}")
        if not told:
            click.echo("no engine runs: the next one starts halted" if latch else "no engine runs")
    return UNREACHABLE if unconfirmed else 0 if latch else 1


def _write_latch(reason: str) -> tuple[str, str]:
    """Halt through the file, and return its path, or why it was not written.

    Actor and reason are those that the command has at the engine, which takes the file for the command's own halt.
    """
    try:
        with KillSwitch(watch=False) as switch:
            switch.halt(reason, own_peer().actor(_terminal()))
            return str(switch.path), ""
    except StateFolderError as error:
        return "", str(error)


# Dead letters


@click.group("dead-letters")
@debug_option
def _letters_command() -> None:
    """Look at what was refused or failed, and give it again."""


def _list_letters(*, kind: str | None, last: int, engine: str | None, as_json: bool) -> None:
    reply = _ask(_one_engine(engine), AskLetters(kind=kind, last=last))  # type: ignore[arg-type]  # click has checked it
    letters = reply.letters or ()
    if as_json:
        _print_json(letters)
    elif not letters:
        click.echo("no dead letters")
    else:
        columns = ("id", "kind", "source", "event", "reason")
        rows = [[_text(letter[column]) for column in columns] for letter in letters]
        click.echo(tables_text([Table("dead letters", columns, rows, texts=len(columns))]))


def _get_letter(*, letter_id: int, engine: str | None, as_json: bool) -> None:
    reply = _ask(_one_engine(engine), AskLetter(letter_id))
    if not reply.letters:
        raise Failure(f"no dead letter {letter_id} is kept: see headrace ctl dead-letters list")
    letter = reply.letters[0]
    if as_json:
        _print_json(letter)
        return
    traceback = letter.pop("traceback")
    shown = [(name, _text(value)) for name, value in letter.items() if value not in (None, "", [], 0)]
    click.echo(tables_text([Table(f"dead letter {letter_id}", ("", ""), shown, texts=2)]))
    if traceback:
        click.echo(f"\n{traceback}", nl=False)


_ID = click.Argument(["letter_id"], type=click.IntRange(min=1), metavar="ID")
_letters_command.add_command(
    _common(
        click.Command(
            "list",
            callback=_list_letters,
            help="List the newest.",
            params=[
                click.Option(["--kind"], type=click.Choice(["frame", "call", "event"]), help="Only of this kind."),
                click.Option(
                    ["--last"],
                    type=click.IntRange(1, 1_000),
                    default=20,
                    metavar="N",
                    show_default=True,
                    help="How many.",
                ),
            ],
        )
    )
)
_letters_command.add_command(
    _common(click.Command("get", callback=_get_letter, params=[_ID], help="Show one with all that it holds."))
)
_redrive = _verb(COMMANDS[RedriveDeadLetter])


# The engine


def _engine_named_in(args: list[str]) -> str:
    """Find ``--engine`` among arguments that no verb has read yet, since the verb itself is the engine's."""
    for option, value in zip(args, [*args[1:], ""], strict=True):
        if option == "--engine":
            return value
        if option.startswith("--engine="):
            return option.partition("=")[2]
    return _one_engine(None)


def _one_engine(name: str | None) -> str:
    if name is not None:
        return name
    running = running_engines()
    if not running:
        msg = "no engine runs with this HEADRACE_STATE: start one with headrace run CONFIG"
        raise Failure(msg, exit_code=UNREACHABLE)
    if len(running) > 1:
        raise Failure(f"several engines run: say which with --engine {'|'.join(running)}", exit_code=2)
    return running[0]


def _ask(name: str, request: Request, *, timeout: float = LOOK_TIMEOUT_S) -> Reply:
    with ControlClient(name) as client:
        return client.ask(request, timeout=timeout)


def _ack(reply: Reply) -> Ack:
    if reply.ack is None:
        msg = f"engine {reply.engine!r} answered without an Ack: is it of another version?"
        raise ControlError(msg)
    return reply.ack


def _terminal() -> str:
    """Name the terminal that we are at; empty when there is none."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return os.ttyname(stream.fileno()).removeprefix("/dev/")
    return ""


def _print_json(document: object) -> None:
    click.echo(json.dumps(msgspec.to_builtins(document), indent=2 if sys.stdout.isatty() else None))


for _entry in _BUILT_IN.values():
    ctl_command.add_command(_halt_command if _entry.verb == Halt.verb else _verb(_entry))
_letters_command.add_command(_redrive)
ctl_command.add_command(_letters_command)
