"""The state folder: what must outlive a process, first of all the latch of the kill switch.

::

    HEADRACE_STATE, or XDG_STATE_HOME/headrace, or ~/.local/state/headrace

Guarantees: made with mode 0700; one that belongs to somebody else, or that others may write to, is refused, because
who can write there can halt, and pretend that nothing was. Its files are opened through no link, and none is emptied.
Does not: clean up, or hold anything that can be made again.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path

from headrace.errors import StateFolderError

__all__ = ["checked_folder", "home_folder", "open_own", "state_folder", "state_path"]

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def state_folder() -> Path:
    """Return the state folder, made if it is not there. Raises StateFolderError."""
    return checked_folder(state_path())


def state_path() -> Path:
    """Return where the state folder is, or would be made."""
    named = os.environ.get("HEADRACE_STATE")
    return Path(named) if named else home_folder()


def home_folder() -> Path:
    """Return the user's own folder, whatever HEADRACE_STATE names; it may not be there."""
    # The standard says that a relative path in it is to be ignored.
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "headrace"


def checked_folder(path: Path, *, make: bool = True) -> Path:
    """Return ``path`` as a folder of ours. Raises StateFolderError.

    make : make it if it is not there; without it, a folder that is not there stays so.
    """
    advice = "name another with HEADRACE_STATE"
    try:
        if make:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not path.exists():
            return path
        found = path.stat()
    except OSError as error:
        msg = f"the state folder {path} cannot be made ({error.strerror}): {advice}"
        raise StateFolderError(msg, path=str(path)) from error
    if found.st_uid not in (os.geteuid(), 0):
        msg = f"the state folder {path} belongs to user {found.st_uid}, not to {os.geteuid()}: {advice}"
        raise StateFolderError(msg, path=str(path))
    if found.st_mode & OTHERS_MAY_WRITE:
        mode = stat.S_IMODE(found.st_mode)
        command = f"chmod 700 {shlex.quote(str(path))}"
        msg = f"others may write to the state folder {path} (mode {mode:04o}): run {command}, or {advice}"
        raise StateFolderError(msg, path=str(path))
    return path


def open_own(path: Path, flags: int) -> int:
    """Open a file of a state folder, made with mode 0600 where ``flags`` allow it, and return its descriptor.

    Raises StateFolderError for a link, for a pipe, which would be waited for, and for what is not ours alone.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        msg = f"the state file {path} cannot be opened ({why}): move it away"
        raise StateFolderError(msg, path=str(path)) from error
    if why := _not_ours(os.fstat(descriptor)):
        os.close(descriptor)
        msg = f"the state file {path} is not used ({why}): move it away"
        raise StateFolderError(msg, path=str(path))
    return descriptor


def _not_ours(found: os.stat_result) -> str:
    """Return why a file is not ours alone; empty when it is."""
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}, not to {os.geteuid()}"
    if found.st_mode & OTHERS_MAY_WRITE:
        return f"others may write to it, mode {stat.S_IMODE(found.st_mode):04o}"
    return "it has another name, too" if found.st_nlink > 1 else ""
