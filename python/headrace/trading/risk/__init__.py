"""Risk: what an order passes before a broker sees it: the words (``gate``), the checks (``gates``), the ``chain``."""

from headrace.trading.risk.chain import GateCounts, GateRecord, RiskGates
from headrace.trading.risk.gate import (
    Exposure,
    Gate,
    GateRequest,
    GateVerdict,
    Halting,
    Permission,
    QuoteLike,
    Refusal,
    RiskEngine,
)
from headrace.trading.risk.gates import Warmup
from headrace.trading.risk.limits import LimitsGate, TradingLimits

__all__ = [
    "Exposure",
    "Gate",
    "GateCounts",
    "GateRecord",
    "GateRequest",
    "GateVerdict",
    "Halting",
    "LimitsGate",
    "Permission",
    "QuoteLike",
    "Refusal",
    "RiskEngine",
    "RiskGates",
    "TradingLimits",
    "Warmup",
]
