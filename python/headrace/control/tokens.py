"""Tokens: who may use the control API, read from a file that only its owner can read, or from the environment.

::

    HEADRACE_HTTP_TOKEN, else the token file:   TOKEN  ·  NAME TOKEN  ·  NAME TOKEN read-only

Guarantees: a token is compared in constant time, by its hash; the token itself is neither kept nor shown; a missing
file is made with mode 0600 and a new token of 256 bits.
Does not: follow changes of the file: start the engine again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import ControlError
from headrace.limits import HTTP_TOKEN_CHARACTERS_MIN
from headrace.market.checks import FILE_NAME
from headrace.trading.state_folder import open_own

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TOKEN_VARIABLE", "Actor", "Tokens", "own_token", "read_tokens"]

TOKEN_VARIABLE = "HEADRACE_HTTP_TOKEN"  # noqa: S105 - the name of a variable
READ_ONLY = "read-only"
# The name of a token that has none.
UNNAMED = "operator"
# Of a token file: a thousand tokens with their names.
FILE_BYTES_MAX = 1 << 17
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]+) *")


class Actor(NamedTuple):
    """Who has a token. name : for the audit. may_command : whether the token is not read-only."""

    name: str
    may_command: bool


class Tokens:
    """The valid tokens. known : the SHA-256 of each token, with its actor."""

    def __init__(self, known: dict[bytes, Actor]) -> None:
        self._known = list(known.items())

    def find(self, authorization: bytes | None) -> Actor | None:
        """Return the actor of an Authorization header's token; None: it is not valid. The time is the same for each."""
        given = None if authorization is None else _BEARER.fullmatch(authorization)
        digest = hashlib.sha256(b"" if given is None else given[1]).digest()
        found = None
        for own, actor in self._known:
            if hmac.compare_digest(own, digest):
                found = actor
        return found if given is not None else None


def read_tokens(path: Path) -> tuple[Tokens, bool]:
    """Return the tokens of the environment, or else of a file, and whether the file was made. Raises ControlError."""
    if named := os.environ.get(TOKEN_VARIABLE):
        return Tokens(_parsed(named, TOKEN_VARIABLE)), False
    is_made = _make(path)
    return Tokens(_parsed(_content(path), str(path))), is_made


def own_token(path: Path) -> str:
    """Return the first token of the environment, or else of a file, for a client. Raises ControlError."""
    named = os.environ.get(TOKEN_VARIABLE)
    lines = _lines(named or _content(path))
    if not lines:
        msg = f"{path} holds no token: remove the file, and the engine makes a new one"
        raise ControlError(msg)
    words = lines[0].split()
    return words[0] if len(words) == 1 else words[1]


def _make(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        msg = f"the token file {path} cannot be made ({error.strerror}): name another as token_file"
        raise ControlError(msg) from error
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, f"{secrets.token_urlsafe(32)}\n".encode())
    os.close(descriptor)
    return True


def _content(path: Path) -> str:
    if not path.exists():
        msg = f"there is no token file {path}: name the engine's with --token-file, or set {TOKEN_VARIABLE}"
        raise ControlError(msg)
    descriptor = open_own(path, os.O_RDONLY)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            msg = f"others can read the token file {path} (mode {mode:04o}): run chmod 600, and change the tokens in it"
            raise ControlError(msg)
        return os.read(descriptor, FILE_BYTES_MAX).decode("ascii", "replace")
    finally:
        os.close(descriptor)


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


def _parsed(text: str, where: str) -> dict[bytes, Actor]:
    found: dict[bytes, Actor] = {}
    for number, line in enumerate(_lines(text), 1):
        words = line.split()
        name, token = (UNNAMED, words[0]) if len(words) == 1 else (words[0], words[1])
        if len(words) > 3 or (len(words) == 3 and words[2] != READ_ONLY) or not re.fullmatch(FILE_NAME, name):
            msg = f"{where}, entry {number} is no token: write TOKEN, NAME TOKEN or NAME TOKEN {READ_ONLY}"
            raise ControlError(msg)
        if len(token) < HTTP_TOKEN_CHARACTERS_MIN or not re.fullmatch(r"[\x21-\x7e]+", token):
            what = f"a token of {len(token)} characters" if token.isascii() else "a token that is not ASCII"
            msg = (
                f"{where}, entry {number} is {what}: use {HTTP_TOKEN_CHARACTERS_MIN} printable ones or more, by chance"
            )
            raise ControlError(msg)
        digest = hashlib.sha256(token.encode()).digest()
        if digest in found or name in {actor.name for actor in found.values()}:
            msg = (
                f"{where}, entry {number} repeats the name {name} or its token: give each a name and a token of its own"
            )
            raise ControlError(msg)
        found[digest] = Actor(name, may_command=len(words) < 3)
    if not found:
        msg = f"{where} holds no token: remove the file, and a new one is made"
        raise ControlError(msg)
    return found
