"""IdleCollector: ``gc="idle"``: Python's garbage collector runs while no tick waits.

Guarantees: objects that live when the strategies have started are frozen, so no collection visits them again; the
collector's state is restored by ``close``.
Does not: keep memory flat under load without a pause; at four times the bound it collects in any case.
"""

from __future__ import annotations

import gc

__all__ = ["IdleCollector"]

# CPython 3.12 freezes some 400 objects when it starts. An application's own freeze takes all objects: 4,000 and more.
FROZEN_AT_START_MAX = 1_000
# Young containers that make a collection worth its time when the loop is idle.
YOUNG_MAX = 10_000
# Containers after which all generations are collected: when idle, and four times as many in any case.
COLLECT_ALL_AT = 1_000_000


class IdleCollector:
    """Takes the collector over when it is made, until ``close``."""

    def __init__(self) -> None:
        self._was_enabled = gc.isenabled()
        # Objects that the application froze cannot be told from those frozen here: then all of them stay frozen.
        self._had_frozen = gc.get_freeze_count() > FROZEN_AT_START_MAX
        self._since_all = 0
        gc.collect()
        gc.freeze()
        gc.disable()

    def look(self, *, idle: bool) -> None:
        """Collect young objects when idle, and all of them at the bound."""
        young = gc.get_count()[0]
        if self._since_all + young >= COLLECT_ALL_AT * (1 if idle else 4):
            self._since_all = 0
            gc.collect()
        elif idle and young >= YOUNG_MAX:
            self._since_all += young
            gc.collect(1)

    def close(self) -> None:
        """Restore the collector."""
        if not self._had_frozen:
            gc.unfreeze()
        if self._was_enabled:
            gc.enable()
