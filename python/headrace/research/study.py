"""Study: the trials of a sweep in a file, a line each, so that what was killed goes on.

::

    {"format":"headrace sweep 1","search":…,"data":…}      the header: a study of other settings is not resumed
    {"number":0,"parameters":…,"value":…}                  a trial, on disk before it counts

What happens when a process is killed inside of a line: the line is dropped, and its trial runs again.

Guarantees: whole lines only; a trial that was added is in the file after a crash.
Does not: run trials.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from headrace.errors import ResultError
from headrace.feeds.files import refuse_endless, unwritable, write_all
from headrace.research.space import Axis
from headrace.research.trial import Trial

__all__ = ["Study", "StudyHeader"]


class StudyHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a study is: another one is not resumed."""

    format: str = "headrace sweep 1"
    search: str
    metric: str
    seed: int
    batch: int
    space: dict[str, Axis]
    data: str


class Study:
    """The file of a study; without a path it is only memory. A context manager."""

    def __init__(self, path: str | os.PathLike[str] | None, header: StudyHeader) -> None:
        self.trials: dict[int, Trial] = {}
        self._path = None if path is None else Path(path)
        self._header = header
        self._file: int | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            size = self._read(self._path) if self._path.exists() else 0
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                os.ftruncate(self._file, size)
            except OSError as error:
                raise unwritable(self._path, "study", ResultError, error) from error
            if not size:
                self._append(msgspec.json.encode(self._header))
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def ordered(self, end: int) -> list[Trial]:
        """Return the trials with a number below ``end``, by number."""
        return [self.trials[number] for number in sorted(self.trials) if number < end]

    def add(self, trial: Trial) -> None:
        """Keep a trial, on disk before it counts."""
        self._append(msgspec.json.encode(trial))
        self.trials[trial.number] = trial

    def _append(self, line: bytes) -> None:
        """Write a line, whole or not at all. Raises ResultError."""
        if self._path is None or self._file is None:
            return
        size = os.fstat(self._file).st_size
        try:
            write_all(self._file, line + b"\n")
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise unwritable(self._path, "study", ResultError, error) from error

    def _read(self, path: Path) -> int:
        """Read what is whole and return its size. Raises ResultError: no study, or one of other settings."""
        try:
            refuse_endless(path)
            data = path.read_bytes()
        except OSError as error:
            msg = f"study {path} cannot be read: {error.strerror or error}; name another file"
            raise ResultError(msg, path=str(path)) from error
        size = data.rfind(b"\n") + 1
        lines = data[:size].splitlines()
        try:
            if lines:
                self._check(msgspec.json.decode(lines[0], type=StudyHeader), path)
            trials = [msgspec.json.decode(line, type=Trial) for line in lines[1:]]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            msg = f"study {path} is no study, or is damaged ({error}): name another file"
            raise ResultError(msg, path=str(path)) from error
        self.trials = {own.number: own for own in trials}
        return size

    def _check(self, header: StudyHeader, path: Path) -> None:
        for name in header.__struct_fields__:
            before, now = getattr(header, name), getattr(self._header, name)
            if before != now:
                shown = "" if name in ("space", "data") else f": {before!r}, and not {now!r}"
                msg = f"study {path} has another {name}{shown}: give what it was begun with, or name another file"
                raise ResultError(msg, path=str(path))
