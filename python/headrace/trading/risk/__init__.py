"""Risk: what an order passes before a broker sees it: the words (``gate``), the checks (``gates``), the ``chain``."""

from headrace.trading.risk.chain import GateCounts, GateRecord, RiskGates
from headrace.trading.risk.gate import Exposure, Gate, GateRequest, GateVerdict, Halting, Permission, QuoteLike, Refusal
from headrace.trading.risk.gates import Warmup

__all__ = [
    "Exposure",
    "Gate",
    "GateCounts",
    "GateRecord",
    "GateRequest",
    "GateVerdict",
    "Halting",
    "Permission",
    "QuoteLike",
    "Refusal",
    "RiskGates",
    "Warmup",
]
