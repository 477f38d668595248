"""The real command, as a process."""

from __future__ import annotations

import sys

COMMAND = [sys.executable, "-m", "headrace.cli"]
