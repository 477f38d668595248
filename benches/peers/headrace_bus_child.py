"""Ours: an ``EventBus``, ready-made events 1,024 at a time."""

from __future__ import annotations

import headrace
from benches.bus import through_bus
from benches.peers.child import report

report(headrace.__version__, through_bus)
