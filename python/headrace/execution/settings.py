"""ExecutionSettings: what a run obeys; its keys are those of ``[execution]`` in a configuration.

Guarantees: immutable; every number is above 0, and a value that is not names the line to write in its place.
Does not: read files or the environment; ``headrace.app.config`` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec

from headrace.errors import OptionError
from headrace.execution.values import canonical
from headrace.market.money import AMOUNTS, is_amount

__all__ = ["FRACTIONS", "SIDES", "SSM_PARAMETER", "ExecutionSettings", "settings_problems"]

Action: TypeAlias = Literal["BUY_CALL", "BUY_STOCK", "BUY_PUT", "SELL_STOCK"]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
GateUse: TypeAlias = Annotated[
    str, msgspec.Meta(pattern="^[^:]+:[^:]+$", extra={"is": "use", "takes": "module:function"})
]
# +1 gains when the underlying rises, -1 when it falls; all are priced on the underlying.
SIDES: dict[str, int] = {"BUY_CALL": 1, "BUY_STOCK": 1, "BUY_PUT": -1, "SELL_STOCK": -1}
assert set(SIDES) == set(get_args(Action))
SSM_PARAMETER = "/ops-pipeline/dispatcher_config"
# Above it a fraction is more than the whole.
FRACTIONS = ("confidence_min", "max_risk_per_trade_pct", "max_position_pct")


class ExecutionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How recommendations are executed (headrace execute).

    max_signals_per_run : the most recommendations that one run claims.
    max_trades_per_ticker_per_day : executions of a ticker in one UTC day.
    confidence_min : the lowest confidence that passes.
    lookback_window_minutes : an older recommendation ends as SKIPPED (expired).
    processing_ttl_minutes : how long a lease lasts; after it another worker may claim the recommendation.
    max_bar_age_seconds : the highest age of the newest closed bar, from its end.
    max_feature_age_seconds : the highest age of the newest features.
    allowed_actions : of BUY_CALL, BUY_PUT, BUY_STOCK, SELL_STOCK.
    paper_equity : what risk and position size are parts of.
    max_risk_per_trade_pct : what a trade may lose at its stop, as a part of the equity; 0.02 is 2 %.
    max_position_pct : the largest notional, as a part of the equity.
    default_slippage_bps : the slip against us, in hundredths of a per cent.
    fill_model : "close+slip", the close of the newest bar and the slip.
    stop_loss_atr_mult : the stop's distance, in recent volatilities.
    take_profit_risk_reward : the target's distance, in distances of the stop.
    max_hold_minutes : after it an execution ends at the market.
    outcome_horizon_minutes : how long a real order that its venue denies is asked for; then it ends as FAILED.
    max_attempts : claims of one recommendation; after the last it ends as FAILED.
    gates : further gates of your own, as module:function.
    execution_mode : "SIMULATED", or "REAL" through the [broker] of this configuration.
    ssm_parameter : an AWS SSM parameter with a JSON object of these keys, read over the file; "" reads none.
    """

    max_signals_per_run: Count = 10
    max_trades_per_ticker_per_day: Count = 2
    confidence_min: Decimal = Decimal("0.70")
    lookback_window_minutes: Decimal = Decimal(60)
    processing_ttl_minutes: Decimal = Decimal(10)
    max_bar_age_seconds: Decimal = Decimal(120)
    max_feature_age_seconds: Decimal = Decimal(300)
    allowed_actions: Annotated[tuple[Action, ...], msgspec.Meta(min_length=1)] = ("BUY_CALL", "BUY_PUT", "BUY_STOCK")
    paper_equity: Decimal = Decimal(100_000)
    max_risk_per_trade_pct: Decimal = Decimal("0.02")
    max_position_pct: Decimal = Decimal("0.25")
    default_slippage_bps: Decimal = Decimal(5)
    fill_model: Literal["close+slip"] = "close+slip"
    stop_loss_atr_mult: Decimal = Decimal(2)
    take_profit_risk_reward: Decimal = Decimal(2)
    max_hold_minutes: Decimal = Decimal(240)
    outcome_horizon_minutes: Decimal = Decimal(10)
    max_attempts: Count = 5
    gates: tuple[GateUse, ...] = ()
    execution_mode: Literal["SIMULATED", "REAL"] = "SIMULATED"
    ssm_parameter: str | None = None

    @property
    def lease_ms(self) -> int:
        """How long a lease lasts, ms; at least 1."""
        return max(1, int(self.processing_ttl_minutes * 60_000))

    @property
    def lookback_ms(self) -> int:
        """How far back a run looks, ms; at least 1."""
        return max(1, int(self.lookback_window_minutes * 60_000))

    def document(self) -> dict[str, Any]:
        """Return the settings as a run records them: amounts as texts."""
        return {
            name: canonical(value) if isinstance(value, Decimal) else list(value) if isinstance(value, tuple) else value
            for name, value in msgspec.structs.asdict(self).items()
        }

    def checked(self) -> ExecutionSettings:
        """Return these settings when they are valid. Raises OptionError with the line to write."""
        for key, value, advice in settings_problems(self):
            msg = f"execution.{key} is {value}: {advice}"
            raise OptionError(msg, option=key)
        return self


def settings_problems(settings: ExecutionSettings) -> Iterator[tuple[str, object, str]]:
    """Yield each key with a value that no run accepts, the value, and the line to write in its place."""
    for field in msgspec.structs.fields(ExecutionSettings):
        key, value = field.name, getattr(settings, field.name)
        line = f"write {key} = {field.default}"
        if isinstance(value, int | Decimal) and not (value == value and value > 0 and is_amount(Decimal(value))):
            yield key, value, f"a limit is a number above 0, of {AMOUNTS}; {line}"
        elif key in FRACTIONS and value > 1:
            yield key, value, f"it is a part of the whole, at most 1; {line}"
