"""CommandTable: the commands of one bus, their handlers, and the one place where a command is read and checked.

Guarantees: a command is decoded and validated once: bytes and mappings while they are read, a struct made in Python by
a round trip, since its constructor checks nothing; what is wrong is a text with its path, never an exception.
Does not: call handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from headrace.commands.ack import Outcome
from headrace.commands.family import COMMANDS, Command, CommandEntry, entry_of
from headrace.dispatch.faults import safe_text
from headrace.errors import CommandError

__all__ = ["CommandTable", "Handler"]

# A handler takes its own type of command; the table looks it up by that type.
Handler: TypeAlias = Callable[..., Outcome | Awaitable[Outcome]]


class _Malformed(Command, frozen=True):
    """Stands for what is no command."""

    verb = "malformed"


_MALFORMED = _Malformed()


class CommandTable:
    """Rows by type; the built-in types are readable without a handler. handlers : by type, for reading."""

    def __init__(self) -> None:
        self.handlers: dict[type[Command], Handler] = {}
        self._entries: dict[type[Command], CommandEntry] = dict(COMMANDS)
        self._decoder: msgspec.json.Decoder[Command] | None = None

    def add(self, command_type: type[Command], handler: Handler) -> None:
        """Raises CommandError: no command, one that has a handler already, or a verb or name that another one has."""
        entry = self._entries.get(command_type) or entry_of(command_type)
        if command_type in self.handlers:
            msg = f"{entry.name} has a handler already, {self.handlers[command_type]!r}: a command has one"
            raise CommandError(msg, command=entry.name)
        for other, known in self._entries.items():
            if other is not command_type and (known.verb == entry.verb or known.name == entry.name):
                msg = f"{entry.name} ({entry.verb!r}) is taken by {known.name} ({known.verb!r}): choose another name"
                raise CommandError(msg, command=entry.name)
        self._entries[command_type] = entry
        self.handlers[command_type] = handler
        self._decoder = None

    def types(self) -> list[type[Command]]:
        """Return the commands that have a handler, the built-in ones first."""
        return [kind for kind in self._entries if kind in self.handlers]

    def rows(self) -> list[CommandEntry]:
        """Return the rows of these commands."""
        return [self._entries[kind] for kind in self.types()]

    def read(self, given: Command | Mapping[str, Any] | bytes) -> tuple[Command, str, str]:
        """Return the command, its target, and what is wrong with it; empty: nothing."""
        command: Command = _MALFORMED
        try:
            if isinstance(given, Command):
                command = given
                msgspec.convert(msgspec.to_builtins(command), type(command))
            else:
                decoder = self._decoder or self._make_decoder()
                command = decoder.decode(given) if isinstance(given, bytes) else msgspec.convert(given, decoder.type)
            target: object = command.target
        except Exception as error:  # noqa: BLE001 - a user's own __post_init__ or target may raise anything
            text = safe_text(error)
            if command is _MALFORMED:
                return command, "", f"malformed command: {text}{self._hint(text)}"
            return command, "", f"malformed {command.verb!r}: {text}"
        if not isinstance(target, str):
            return command, "", f"malformed {command.verb!r}: its target is {target!r:.100}, and must be a text"
        return command, target, ""

    def _make_decoder(self) -> msgspec.json.Decoder[Command]:
        union: Any = None
        for kind in self._entries:
            union = kind if union is None else union | kind
        self._decoder = msgspec.json.Decoder(union)
        return self._decoder

    def _hint(self, text: str) -> str:
        """Name the commands when what was wrong is the command's name."""
        if not text.endswith("`$.command`") and "`command`" not in text:
            return ""
        return f"; there are {', '.join(entry.name for entry in self._entries.values())}"
