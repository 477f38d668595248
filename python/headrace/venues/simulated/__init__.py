"""A venue on loopback that speaks Binance's protocol and fails on demand; users may test against it, too."""

from headrace.venues.simulated.faults import Fault, FaultScript
from headrace.venues.simulated.venue import SimulatedVenue

__all__ = ["Fault", "FaultScript", "SimulatedVenue"]
