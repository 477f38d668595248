"""AnswerStore: the answers of commands by actor and Idempotency-Key, in a file that outlives the engine.

::

    look ─▶ begin (before the command is submitted) ─▶ finish (with its answer)

What happens when the engine dies between begin and finish
    The next look finds the key without an answer: what came of the command is unknown, and it is not repeated.

Guarantees: bounded by HTTP_KEYS_MAX and HTTP_KEYS_S; the file has mode 0600; all work is done on a thread of its own,
so that a slow disk holds up no tick.
Does not: wait for the disk's power loss beyond what SQLite's synchronous=NORMAL does.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from headrace.errors import ControlError
from headrace.limits import HTTP_KEYS_MAX, HTTP_KEYS_S
from headrace.trading.state_folder import open_own

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["AnswerStore", "KeptAnswer"]

Value = TypeVar("Value")

BUSY_S = 1.0
# Old keys are removed at each so manieth new one.
SWEEP_EVERY = 256
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    actor TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, at_ms INTEGER NOT NULL, status INTEGER, body BLOB,
    PRIMARY KEY (actor, key)
) WITHOUT ROWID
"""
_INDEX = "CREATE INDEX IF NOT EXISTS answers_at ON answers (at_ms)"
_LOOK = "SELECT digest, status, body FROM answers WHERE actor = ? AND key = ? AND at_ms > ?"
_BEGIN = "INSERT OR REPLACE INTO answers (actor, key, digest, at_ms) VALUES (?, ?, ?, ?)"
_FINISH = "UPDATE answers SET status = ?, body = ? WHERE actor = ? AND key = ?"
_FORGET_OLD = "DELETE FROM answers WHERE at_ms <= ?"
_FORGET_MANY = """
DELETE FROM answers WHERE (actor, key) IN
    (SELECT actor, key FROM answers ORDER BY at_ms DESC LIMIT -1 OFFSET ?)
"""


class KeptAnswer(NamedTuple):
    """What is kept of a key. digest : of the command. status, body : of its answer; None: it has none yet."""

    digest: bytes
    status: int | None
    body: bytes | None


class AnswerStore:
    """The answers in one file. Raises ControlError when it cannot be opened.

    keys_max, keys_s : so many, for so long. now_s : the wall's time.
    """

    def __init__(
        self,
        path: Path,
        *,
        keys_max: int = HTTP_KEYS_MAX,
        keys_s: float = HTTP_KEYS_S,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._keys_max = keys_max
        self._keys_ms = round(keys_s * 1e3)
        self._now_s = now_s
        self._begun = 0
        os.close(open_own(path, os.O_RDWR | os.O_CREAT))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headrace http answers")
        try:
            self._connection = self._thread.submit(self._open).result()
        except sqlite3.Error as error:
            self._thread.shutdown(wait=False)
            msg = f"the answers of commands cannot be kept in {path} ({error}): move the file away"
            raise ControlError(msg) from error

    async def look(self, actor: str, key: str) -> KeptAnswer | None:
        """Return what is kept of a key; None: nothing. Raises sqlite3.Error."""
        values = (actor, key, self._now_ms() - self._keys_ms)
        row = await self._run(lambda: self._connection.execute(_LOOK, values).fetchone())
        return None if row is None else KeptAnswer(*row)

    async def begin(self, actor: str, key: str, digest: bytes) -> None:
        """Keep a key before its command is submitted. Raises sqlite3.Error."""
        await self._run(lambda: self._begin(actor, key, digest))

    async def finish(self, actor: str, key: str, status: int, body: bytes) -> None:
        """Keep the answer. Raises sqlite3.Error."""
        await self._run(lambda: self._connection.execute(_FINISH, (status, body, actor, key)))

    def close(self) -> None:
        """Close the file, when what was begun is written."""
        self._thread.submit(self._connection.close)
        self._thread.shutdown(wait=False)

    def __len__(self) -> int:
        (count,) = self._thread.submit(
            lambda: self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()
        ).result()
        return int(count)

    async def _run(self, work: Callable[[], Value]) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        try:
            # Not WAL: libraries before 3.51.3 may damage such a file when it is reset.
            for statement in ("PRAGMA journal_mode=TRUNCATE", "PRAGMA synchronous=NORMAL", _TABLE, _INDEX):
                with closing(connection.execute(statement)):
                    pass
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, actor: str, key: str, digest: bytes) -> None:
        now_ms = self._now_ms()
        self._connection.execute(_BEGIN, (actor, key, digest, now_ms))
        self._begun += 1
        if self._begun % SWEEP_EVERY == 0:
            self._connection.execute(_FORGET_OLD, (now_ms - self._keys_ms,))
            self._connection.execute(_FORGET_MANY, (self._keys_max,))

    def _now_ms(self) -> int:
        return round(self._now_s() * 1e3)
