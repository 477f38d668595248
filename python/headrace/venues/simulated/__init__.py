"""A venue on loopback that speaks Binance's protocol and fails on demand; users may test against it, too."""

from headrace.errors import MissingExtraError

try:
    import aiohttp as _aiohttp  # noqa: F401 - checked here, so that one line says what is missing
except ImportError:
    msg = 'a simulated venue needs a web server: pip install "headrace[binance]"'
    raise MissingExtraError(msg) from None

from headrace.venues.simulated.faults import Fault, FaultScript
from headrace.venues.simulated.venue import SimulatedVenue

__all__ = ["Fault", "FaultScript", "SimulatedVenue"]
