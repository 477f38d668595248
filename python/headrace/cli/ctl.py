"""``headrace ctl``: steer a running engine from another terminal; made from the table of commands.

::

    headrace ctl pause NAME ─▶ STATE_FOLDER/run/ENGINE.sock ─▶ accepted │ noop: exit code 0
                                                               rejected │ failed: 1     unreachable: 3
    headrace ctl halt       ─▶ STATE_FOLDER/halt.json first, then every engine of the folder
    headrace ctl … --url https://HOST:PORT ─▶ the engine's control API: the same commands, the same answers

Guarantees: a command that the engine knows and this program does not is found by asking the engine; a halt needs no
engine that answers, and says what it did.

Does not: reach an engine itself; ``headrace.control.Operator`` does.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from headrace.cli.failure import Failure
from headrace.cli.options import VerbGroup, debug_option, json_option
from headrace.commands import COMMANDS, Halt, Rearm, RedriveDeadLetter, Status
from headrace.control import Operator, RemoteOperator
from headrace.control.wire import AskLetter, AskLetters, AskTable
from headrace.engine.tables import Table, duration_text, named_text, tables_text, value_text
from headrace.errors import ControlError, OptionError, StateFolderError
from headrace.market.checks import mistaken_for, nearest
from headrace.trading.state_folder import state_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headrace.commands import Ack, Argument, CommandEntry
    from headrace.control import LatchChange

__all__ = ["ctl_command"]

UNREACHABLE = 3
WATCH_S = 1.0
# Options of every verb; a field of a user's command with such a name gets another option.
COMMON = {"engine", "state_folder", "config", "url", "token_file", "json", "key", "timeout", "debug", "help"}
_TYPES = {entry.name: command_type for command_type, entry in COMMANDS.items()}


# Which engine


def _keep(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """Keep the place of an engine for ``_operator``, whether its option stood before or after the verb."""
    if value is not None:
        context.meta[f"{__name__}.{option.name}"] = value


def _places(command: click.Command) -> click.Command:
    """Give a command the options that say which engine is meant."""
    file = click.Path(exists=True, dir_okay=False)
    texts = {
        "--engine": ("NAME", None, "Which engine; needed where several run."),
        "--state-folder": ("FOLDER", None, "The engine's state folder; by default HEADRACE_STATE, or your own."),
        "--config": ("FILE", file, "The engine's configuration, which says its name and its state folder."),
        "--url": ("URL", None, "The engine's control API, like https://HOST:PORT, in place of its local socket."),
        "--token-file": ("FILE", None, "The file with the API's token; by default http.token of the state folder."),
    }
    command.params += [
        click.Option([name], metavar=metavar, type=kind, expose_value=False, callback=_keep, help=text)
        for name, (metavar, kind, text) in texts.items()
    ]
    return command


def _operator() -> Operator | RemoteOperator:
    given = click.get_current_context().meta
    engine, folder, file = (given.get(f"{__name__}.{name}") for name in ("engine", "state_folder", "config"))
    url, token_file = (given.get(f"{__name__}.{name}") for name in ("url", "token_file"))
    if url is not None:
        if engine or file:
            msg = "--url names the engine already: leave out --engine and --config"
            raise click.UsageError(msg)
        own = Path(folder) if folder else state_path()
        return RemoteOperator(url, Path(token_file) if token_file else own / "http.token")
    if token_file is not None:
        msg = "--token-file is of the control API: give its --url, too"
        raise click.UsageError(msg)
    if file is None:
        return Operator(folder, engine=engine)
    from headrace.app.config import read_config

    config, problems = read_config(file)
    # What is wrong elsewhere in the file must not prevent a halt.
    for problem in problems:
        if _says_which_engine(problem.path):
            raise problem
    section = config.engine
    return Operator(folder or section.state_folder, engine=engine, configured=section.name)


def _says_which_engine(path: str) -> bool:
    """Return whether a path of a configuration leads to the engine's name or folder, or is a misspelling of one."""
    section, _, key = path.removeprefix("$.").partition(".")
    if section != "engine":
        return bool(mistaken_for(section, ("engine",)))
    places = ("name", "state_folder")
    return key in ("", *places) or bool(mistaken_for(key, places))


_PLACES = _places(click.Command("ctl", add_help_option=False))
_PLACES.ignore_unknown_options = _PLACES.allow_extra_args = True


class _CtlGroup(click.Group):
    """Finds the verbs of a user's own commands by asking the engine."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            verb = args[0]
            try:
                # No verb has read its options yet, since the verb itself is the engine's.
                with _PLACES.make_context("ctl", args[1:], parent=ctx):
                    reply = _operator().ask(AskTable())
            except (ControlError, OptionError, StateFolderError) as error:
                close = nearest(verb, self.commands)
                ctx.fail(f"no such command {verb!r}{close}, and no engine says that it is one of its own: {error}")
            own = {entry.verb: entry for entry in reply.table or ()}
            if verb in own:
                return verb, _verb(own[verb], options=_submitting()), args[1:]
            close = nearest(verb, [*self.commands, *own])
            where = f"neither here nor at engine {reply.engine!r}"
            ctx.fail(f"no such command {verb!r}{close}, {where}: see headrace ctl --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the built-in commands, then those that a running engine takes beside them."""
        super().format_commands(ctx, formatter)
        with contextlib.suppress(ControlError, OptionError, StateFolderError), ctx.scope(cleanup=False):
            reply = _operator().ask(AskTable())
            own = [entry for entry in reply.table or () if entry.verb not in self.commands]
            if own:
                with formatter.section(f"Commands of {reply.engine}"):
                    formatter.write_dl([(entry.verb, entry.meaning) for entry in own])


@click.group("ctl", cls=_CtlGroup)
@debug_option
def ctl_command() -> None:
    """Steer a running engine: pause, cancel, flatten, halt, look.

    Exit code 0: accepted, or it was so already. 1: rejected or failed. 3: no engine answers, or not the one that runs.
    """


_places(ctl_command)


# Commands


def _verb(
    entry: CommandEntry,
    run: Callable[..., int] | None = None,
    *,
    options: Iterable[click.Parameter] = (),
    more: str = "",
) -> click.Command:
    """Make a verb of a row of the table: required fields are arguments, the others options.

    run : in place of ``_submit``. options : besides those of every verb. more : help, after the command's meaning.
    """

    def callback(**given: Any) -> int:
        fields = {argument.name: given.pop(f"field_{argument.name}") for argument in entry.arguments}
        return (run or _submit)(
            entry, {name: value for name, value in fields.items() if value not in (None, ())}, **given
        )

    parameters = [*map(_parameter, entry.arguments), *options]
    text = f"{entry.meaning}\n\n{more}".strip()
    return _common(click.Command(entry.verb, params=parameters, callback=callback, help=text, short_help=entry.meaning))


def _common(command: click.Command) -> click.Command:
    """Give a verb the options that all of them have."""
    return debug_option(json_option(_places(command)))


def _submitting() -> list[click.Option]:
    """Return the options of a verb that waits for an Ack."""
    seconds = click.FloatRange(min=0, min_open=True)
    text = "Seconds after which the outcome is unknown; the engine's own unless given, 5."
    return [
        click.Option(["--key"], metavar="TEXT", help="Repeated with the same key, it is handled once."),
        click.Option(["--timeout"], type=seconds, metavar="S", help=text),
    ]


def _parameter(argument: Argument) -> click.Parameter:
    kinds: dict[str, tuple[Any, str]] = {
        "text": (click.STRING, "TEXT"),
        "texts": (click.STRING, "TEXT"),
        "whole": (click.INT, "N"),
        "number": (click.FLOAT, "X"),
        "choice": (click.Choice(argument.choices), "|".join(argument.choices)),
        "json": (json.loads, "JSON"),
        "flag": (click.BOOL, "true|false"),
    }
    (kind, metavar), name = kinds[argument.kind], f"field_{argument.name}"
    if argument.kind == "texts":
        return click.Argument([name], type=kind, metavar=f"{argument.name.upper()} ...", nargs=-1, required=True)
    if argument.required:
        return click.Argument([name], type=kind, metavar=argument.name.upper())
    option = f"--{'its-' * (argument.name in COMMON)}{argument.name.replace('_', '-')}"
    text = f"{argument.meaning[:1].upper()}{argument.meaning[1:]}." if argument.meaning else ""
    return click.Option([option, name], type=kind, metavar=metavar, help=text)


def _submit(
    entry: CommandEntry, fields: Mapping[str, Any], *, as_json: bool, key: str | None, timeout: float | None
) -> int:
    command = {"command": entry.name, **fields}
    if entry.name in _TYPES:
        try:
            msgspec.convert(command, _TYPES[entry.name])
        except msgspec.ValidationError as error:
            raise Failure(f"ctl {entry.verb}: {error}", exit_code=2) from error
    name, ack = _operator().submit(command, key=key, timeout=timeout)
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
            named = [[named_text(column, row.get(column, "")) for column in columns] for _, row in rows]
            cells = [(own, *(text for _, text in texts)) for (own, _), texts in zip(rows, named, strict=True)]
            tables.append(Table(name, ("", *(shown for shown, _ in named[0])), cells, texts=len(columns) + 1))
        else:
            plain.append(named_text(name, value))
    return [Table(title, ("", ""), plain, texts=2), *tables]


def _status(entry: CommandEntry, fields: Mapping[str, Any], *, watch: bool, **given: Any) -> int:
    """Show the status, once or again and again."""
    while True:
        if watch and sys.stdout.isatty():
            click.clear()
        code = _submit(entry, fields, **given)
        if code or not watch:
            return code
        time.sleep(WATCH_S)


# Halt and rearm need no engine


def _halt(entry: CommandEntry, fields: Mapping[str, Any], *, words: Sequence[str], as_json: bool) -> int:
    # A reason without its --reason must halt, too.
    reason = " ".join([*words, *([fields["reason"]] if "reason" in fields else [])])
    operator = _operator()
    if isinstance(operator, RemoteOperator):
        return _submit(entry, {"reason": reason}, as_json=as_json, key=None, timeout=None)
    change = operator.halt(reason)
    return _print_change(change, "the next one starts halted", as_json=as_json)


def _rearm(entry: CommandEntry, fields: Mapping[str, Any], *, as_json: bool, **given: Any) -> int:
    operator = _operator()
    if isinstance(operator, RemoteOperator) or not operator.is_alone():
        return _submit(entry, fields, as_json=as_json, **given)
    change = operator.rearm_latch(fields.get("reason", ""))
    return _print_change(change, "the next one starts rearmed", as_json=as_json, done=" was removed")


def _print_change(change: LatchChange, following: str, *, as_json: bool, done: str = "") -> int:
    if as_json:
        _print_json(change._asdict())
    else:
        what = f"{change.latch}{done}" if change.latch and not change.problem else change.latch or "not changed"
        click.echo(f"latch: {what}{f': {change.problem}' if change.problem else ''}")
        for name, told in change.engines.items():
            click.echo(f"engine {name}: {told}")
        if not change.engines:
            click.echo(f"no engine runs{f': {following}' if change.latch else ''}")
    others = ", ".join(map(str, change.elsewhere))
    if others and not change.engines:
        msg = f"no engine was reached, and {others} goes on: name its folder with --state-folder, or --config FILE"
        raise Failure(msg, exit_code=UNREACHABLE)
    if others:
        click.echo(f"headrace: not reached: {others}", err=True)
    return UNREACHABLE if change.unconfirmed else 0 if change.latch else 1


# Dead letters


@click.group("dead-letters", cls=VerbGroup, invoke_without_command=True)
@debug_option
@click.pass_context
def _letters_command(context: click.Context) -> int | None:
    """List what was refused or failed, show one, or deliver one again."""
    return context.invoke(_letters_command.commands["list"]) if context.invoked_subcommand is None else None


def _list_letters(*, kind: Literal["frame", "call", "event"] | None, last: int, as_json: bool) -> None:
    letters = _operator().ask(AskLetters(kind=kind, last=last)).letters or ()
    if as_json:
        _print_json(letters)
    elif not letters:
        click.echo("no dead letters")
    else:
        columns = ("id", "kind", "source", "event", "reason")
        rows = [[value_text(letter[column]) for column in columns] for letter in letters]
        click.echo(tables_text([Table("dead letters", columns, rows, texts=len(columns))]))


def _get_letter(*, letter_id: int, as_json: bool) -> None:
    letters = _operator().ask(AskLetter(letter_id)).letters
    if not letters:
        raise Failure(f"no dead letter {letter_id} is kept: see headrace ctl dead-letters list")
    letter = letters[0]
    if as_json:
        _print_json(letter)
        return
    traceback = letter.pop("traceback")
    shown = [named_text(name, value) for name, value in letter.items() if value not in (None, "", [], 0)]
    click.echo(tables_text([Table(f"dead letter {letter_id}", ("", ""), shown, texts=2)]))
    if traceback:
        click.echo(f"\n{traceback}", nl=False)


_KIND = click.Option(["--kind"], type=click.Choice(["frame", "call", "event"]), help="Only of this kind.")
_LAST = click.Option(
    ["--last"], type=click.IntRange(1, 1_000), default=20, metavar="N", show_default=True, help="How many."
)
_ID = click.Argument(["letter_id"], type=click.IntRange(min=1), metavar="ID")


def _print_json(document: object) -> None:
    click.echo(json.dumps(msgspec.to_builtins(document), indent=2 if sys.stdout.isatty() else None))


_WATCH = click.Option(["--watch"], is_flag=True, help="Show it again every second, until Ctrl-C.")
_HALT_HELP = """\
Writes the latch file first, which every engine of the state folder obeys within 0.1 s, also one that hangs or that
starts later; then tells the engines that run. Exit code 3: one of them did not confirm it, or only engines of other
state folders run.\
"""
_REARM_HELP = "Where no engine of the state folder runs, the latch file is removed."

for _type, _entry in COMMANDS.items():
    if _type is Halt:
        _words = click.Argument(["words"], nargs=-1, metavar="[REASON]...")
        _command = _verb(_entry, _halt, options=[_words], more=_HALT_HELP)
    elif _type is Rearm:
        _command = _verb(_entry, _rearm, options=_submitting(), more=_REARM_HELP)
    elif _type is Status:
        _command = _verb(_entry, _status, options=[*_submitting(), _WATCH])
    else:
        _command = _verb(_entry, options=_submitting())
    ctl_command.add_command(_command)
for _command in (
    _common(click.Command("list", params=[_KIND, _LAST], callback=_list_letters, help="List the newest.")),
    _common(click.Command("get", params=[_ID], callback=_get_letter, help="Show one with all that it holds.")),
    _verb(COMMANDS[RedriveDeadLetter], options=_submitting()),
):
    _letters_command.add_command(_command)
ctl_command.add_command(_letters_command)
