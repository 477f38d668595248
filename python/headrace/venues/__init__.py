"""Venues: one folder for each, and a simulated one that speaks the same protocol and fails on demand.

They are imported at their first use: they need a client library, which the core does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.venues.simulated import Fault, FaultScript, SimulatedVenue

__all__ = ["Fault", "FaultScript", "SimulatedVenue"]


def __getattr__(name: str) -> object:
    """Import a venue at its first use."""
    if name in __all__:
        from headrace.venues import simulated

        return getattr(simulated, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
