"""What goes over the control socket: one JSON object a line, a request and then its reply.

::

    {"ask": "submit", "command": {"command": "PauseStrategy", "strategy": "one"}}  ─▶  {"ack": {…}}
    {"ask": "table"}                                                               ─▶  {"table": […]}
    {"ask": "letters"} · {"ask": "letter", "letter_id": 7}                         ─▶  {"letters": […]}

An actor is ``user@terminal/process``: user and process by the kernel's word, the terminal by the client's.

Guarantees: what cannot be read is answered with ``error``; a reply has either that or what was asked for.
Does not: carry the actor of a command; the server makes it of the connection.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec

from headrace.commands.ack import Ack
from headrace.commands.family import CommandEntry
from headrace.errors import ControlError
from headrace.market.checks import FILE_NAME

__all__ = [
    "AskLetter",
    "AskLetters",
    "AskTable",
    "Peer",
    "Reply",
    "Request",
    "Submit",
    "own_peer",
    "peer_of",
    "socket_path",
]

TERMINAL_CHARACTERS_MAX = 40
# The kernel's sockaddr_un has 108 bytes, the last of them a zero.
SOCKET_PATH_BYTES_MAX = 107


class _Ask(msgspec.Struct, frozen=True, tag_field="ask", forbid_unknown_fields=True):
    pass


class Submit(_Ask, frozen=True, tag="submit", kw_only=True):
    """Give a command. terminal : where its operator sits, for the audit."""

    command: msgspec.Raw
    key: str | None = None
    timeout: float | None = None
    terminal: str = ""


class AskTable(_Ask, frozen=True, tag="table"):
    """The commands that this engine takes."""


class AskLetters(_Ask, frozen=True, tag="letters"):
    """The newest dead letters, without what they hold."""

    kind: Literal["frame", "call", "event"] | None = None
    last: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 20


class AskLetter(_Ask, frozen=True, tag="letter"):
    """One dead letter with all that it holds; none when it is not kept."""

    letter_id: Annotated[int, msgspec.Meta(ge=1)]


Request: TypeAlias = Submit | AskTable | AskLetters | AskLetter


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a request. error : why there is none; empty otherwise."""

    error: str = ""
    engine: str = ""
    ack: Ack | None = None
    table: tuple[CommandEntry, ...] | None = None
    letters: tuple[dict[str, Any], ...] | None = None


def socket_path(name: str, folder: Path) -> Path:
    """Return the socket of the engine with this name, in this state folder. Raises ControlError."""
    if not re.fullmatch(FILE_NAME, name):
        msg = f"an engine called {name!r} has no socket: use up to 64 letters, digits and . _ -"
        raise ControlError(msg)
    path = folder / "run" / f"{name}.sock"
    if len(bytes(path)) > SOCKET_PATH_BYTES_MAX:
        msg = f"{path} has {len(bytes(path))} bytes, a socket's path at most {SOCKET_PATH_BYTES_MAX}"
        raise ControlError(f"{msg}: name a shorter state folder")
    return path


class Peer(NamedTuple):
    """A process at one end of the socket. pid : 0 where the system does not say it."""

    pid: int
    uid: int
    user: str

    def actor(self, terminal: str) -> str:
        """Return what audits call it."""
        shown = terminal[:TERMINAL_CHARACTERS_MAX]
        if not shown.isprintable():
            shown = "".join(character if character.isprintable() else "?" for character in shown)
        return f"{self.user}@{shown or '-'}/{self.pid}"


def peer_of(pid: int, uid: int) -> Peer:
    """Return a process with its user's name; the number where there is no name."""
    try:
        return Peer(pid, uid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return Peer(pid, uid, str(uid))


def own_peer() -> Peer:
    """Return this process, as a server at the other end sees it."""
    return peer_of(os.getpid() if hasattr(socket, "SO_PEERCRED") else 0, os.geteuid())
