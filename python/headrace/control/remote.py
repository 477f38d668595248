"""RemoteOperator: reaches one engine through its control API, from any machine that has its address and a token.

::

    submit, ask ─▶ https://HOST:PORT/v1/… ─▶ Ack

Guarantees: the answers are those of the local socket; the token goes to that address alone, and into no message; each
command has a key, so that the engine handles it once.
Does not: write a latch file: a halt that does not reach the engine is an error.
"""

from __future__ import annotations

import http.client
import json
import secrets
import urllib.parse
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headrace.commands import COMMANDS, Ack, CommandEntry
from headrace.control.tokens import own_token
from headrace.control.wire import AskLetter, AskLetters, AskTable, Reply
from headrace.errors import ControlError, OptionError
from headrace.limits import COMMAND_TIMEOUT_S, HTTP_PAGE_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headrace.control.wire import Request

__all__ = ["RemoteOperator"]

LOOK_TIMEOUT_S = 5.0
# The engine answers within the command's timeout; this much later it does not at all.
GRACE_S = 2.0
ANSWER_BYTES_MAX = 64 << 20


class _Table(msgspec.Struct):
    engine: str
    version: int
    items: tuple[CommandEntry, ...]


class _Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class RemoteOperator:
    """An operator of the engine at an address.

    url : "https://HOST:PORT" or "http://HOST:PORT". token_file : its first token is used; the environment's
    HEADRACE_HTTP_TOKEN comes first. Raises OptionError, ControlError.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            msg = f"url={url!r} is no address of a control API: write http://HOST:PORT or https://HOST:PORT"
            raise OptionError(msg, option="url")
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc
        self._is_secure = parts.scheme == "https"
        self._token = own_token(token_file)

    def ask(self, request: Request, *, timeout: float = LOOK_TIMEOUT_S) -> Reply:
        """Send a request to the engine. Raises ControlError."""
        match request:
            case AskTable():
                table = self._table(timeout)
                return Reply(engine=table.engine, table=table.items)
            case AskLetters():
                return Reply(letters=tuple(self._letters(request, timeout)))
            case AskLetter():
                answer = self._answer("GET", f"/v1/dead-letters/{request.letter_id}", timeout=timeout)
                return Reply(letters=(answer.document,) if answer.status == HTTPStatus.OK else ())
            case _:
                msg = "a command is submitted, not asked for: call submit"
                raise ControlError(msg)

    def submit(
        self, command: Mapping[str, object], *, key: str | None = None, timeout: float | None = None
    ) -> tuple[str, Ack]:
        """Give a command to the engine; return the engine's name and its answer. Raises ControlError."""
        table = self._table(LOOK_TIMEOUT_S)
        fields = {name: value for name, value in command.items() if name != "command"}
        entry = next((own for own in table.items if own.name == command["command"]), None)
        if entry is None:
            known = ", ".join(own.verb for own in table.items)
            verbs = {own.name: own.verb for own in COMMANDS.values()}
            verb = verbs.get(str(command["command"]), command["command"])
            reason = f"nobody handles {verb!r} here: this engine takes {known}"
            return table.engine, _rejected(reason, table.version)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or secrets.token_urlsafe(16)}
        if timeout is not None:
            headers["Command-Timeout"] = f"{timeout:g}"
        answer = self._answer(
            "POST",
            f"/v1/commands/{entry.verb}",
            timeout=(COMMAND_TIMEOUT_S if timeout is None else timeout) + GRACE_S,
            headers=headers,
            body=msgspec.json.encode(fields),
        )
        document = answer.document
        if answer.status != HTTPStatus.OK:
            document = document.get("ack") or msgspec.to_builtins(_rejected(document["detail"], table.version))
        return table.engine, msgspec.convert({**document, "key": key}, Ack)

    def _table(self, timeout: float) -> _Table:
        answer = self._answer("GET", "/v1/commands", timeout=timeout)
        try:
            return msgspec.json.decode(answer.body, type=_Table)
        except msgspec.MsgspecError as error:
            raise self._broken(f"its table of commands cannot be read: {error}") from error

    def _letters(self, request: AskLetters, timeout: float) -> list[dict[str, Any]]:
        """Return the newest letters: pages begin with the oldest."""
        kind = "" if request.kind is None else f"&kind={request.kind}"
        found: list[dict[str, Any]] = []
        after: str | None = "0"
        while after is not None:
            path = f"/v1/dead-letters?limit={HTTP_PAGE_MAX}&after={after}{kind}"
            page = self._answer("GET", path, timeout=timeout).document
            found, after = [*found, *page["items"]][-request.last :], page["next"]
        return found

    def _answer(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> _Answer:
        """Make one request. Raises ControlError: no connection, no answer, or no admission."""
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = kind(self._host, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            msg = f"no engine can be reached at {self._url} ({error.strerror or error})"
            raise ControlError(msg) from error
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self._token}", **(headers or {})})
            response = connection.getresponse()
            answer = _Answer(response.status, response.read(ANSWER_BYTES_MAX))
        except TimeoutError as error:
            msg = f"the engine at {self._url} took the request and does not answer within {timeout:g} s: it may hang"
            raise ControlError(msg) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        return self._admitted(answer)

    def _admitted(self, answer: _Answer) -> _Answer:
        refused = (HTTPStatus.UNAUTHORIZED, HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.TOO_MANY_REQUESTS)
        try:
            document = answer.document
        except ValueError as error:
            raise self._broken("it is no control API of headrace") from error
        if answer.status in refused or (answer.status == HTTPStatus.FORBIDDEN):
            msg = f"the engine at {self._url} refused the request: {document.get('detail', answer.status)}"
            raise ControlError(msg)
        return answer

    def _broken(self, why: str) -> ControlError:
        return ControlError(f"{self._url} gave no answer ({why}): the command may have been handled or not")


def _rejected(reason: str, version: int) -> Ack:
    """Return an Ack of what reached no command bus."""
    return Ack(status="rejected", version=version, reason=reason, command_id=0)
