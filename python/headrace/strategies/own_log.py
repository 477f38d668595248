"""The loggers of strategies, ``headrace.strategies.strategy.NAME``, which users may set up each by itself.

Guarantees: one is made when something is written with it; whether it would write is known without making it.
Does not: write.
"""

from __future__ import annotations

import logging

__all__ = ["log_of", "writes"]

_PARENT = logging.getLogger("headrace.strategies.strategy")
_PREFIX = f"{_PARENT.name}."
_MADE = _PARENT.manager.loggerDict


def log_of(name: str) -> logging.Logger:
    """Return the logger of a strategy."""
    return logging.getLogger(_PREFIX + name)


def writes(name: str, level: int) -> bool:
    """Return whether the logger of a strategy would write at a level."""
    # The name of a part, as in "a.b", may have a logger of its own that it follows.
    is_made = "." in name or _PREFIX + name in _MADE
    return (log_of(name) if is_made else _PARENT).isEnabledFor(level)
