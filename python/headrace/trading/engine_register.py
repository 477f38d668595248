"""The register: which engines of this user run, each with its process and its state folder.

::

    XDG_STATE_HOME/headrace-engines, or ~/.local/state/headrace-engines: a file for each engine, locked while it runs

What happens when
    a process dies: the kernel frees its lock, and the next reader removes its file.
    the folder cannot be made or written: a warning says so, and the engine runs all the same.

Guarantees: an engine that is found runs; HEADRACE_STATE and configurations do not move the register.
Does not: reach an engine; ``control`` does.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from headrace.errors import StateFolderError
from headrace.trading.state_folder import checked_folder, home_folder, open_own

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["RunningEngine", "registered", "running_engines"]

log = logging.getLogger(__name__)

ATTEMPTS = 3
# Of a name and a path.
ENGINE_BYTES_MAX = 65_536


class RunningEngine(msgspec.Struct, frozen=True):
    """An engine of this user. folder : its state folder."""

    name: str
    pid: int
    folder: str

    def __str__(self) -> str:
        return f"engine {self.name} (process {self.pid}, state folder {self.folder})"


@contextlib.contextmanager
def registered(name: str, folder: Path) -> Iterator[None]:
    """Keep an engine in the register."""
    engine = RunningEngine(name, os.getpid(), str(folder.resolve()))
    try:
        path, descriptor = _written(engine)
    except (OSError, StateFolderError) as error:
        log.warning("engine %s is not in the register of engines, so headrace ctl may not find it: %s", name, error)
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        # Another engine's file keeps the folder.
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def running_engines() -> list[RunningEngine]:
    """Return the engines of this user that run, by name and process."""
    found = []
    for path in _folder().glob("*"):
        # Another reader may have removed it.
        with contextlib.suppress(OSError, StateFolderError, msgspec.MsgspecError):
            descriptor = open_own(path, os.O_RDONLY)
            try:
                if _is_locked(descriptor):
                    text = os.pread(descriptor, ENGINE_BYTES_MAX, 0)
                    found.append(msgspec.json.decode(text, type=RunningEngine))
                else:
                    path.unlink()
            finally:
                os.close(descriptor)
    return sorted(found, key=lambda engine: (engine.name, engine.pid))


def _folder() -> Path:
    return home_folder().with_name("headrace-engines")


def _written(engine: RunningEngine) -> tuple[Path, int]:
    """Write the file of an engine, and return its path and the descriptor that locks it."""
    for _ in range(ATTEMPTS):
        path = checked_folder(_folder()) / f"{engine.pid}-{os.urandom(4).hex()}"
        unfinished = path.with_suffix(".new")
        # The folder is gone when its last engine has just left; so is a file that a reader saw before its lock.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                os.write(descriptor, msgspec.json.encode(engine))
                unfinished.rename(path)
            except BaseException:
                os.close(descriptor)
                raise
            return path, descriptor
    msg = f"{_folder()} is removed again and again"
    raise OSError(msg)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
