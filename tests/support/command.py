"""The real command, as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

COMMAND = [sys.executable, "-m", "headrace.cli"]
# Runs the command and returns its end; the fixture ``headrace_run`` is one.
Run = Callable[..., subprocess.CompletedProcess[str]]
