"""Status: what runs now and how it is, as a command or a document answers it.

Guarantees: plain types only; it reads the counters that it shows and no others, since an operator's screen may ask for
it many times a second.
Does not: tell what a run did (``report``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.engine.parts import EngineParts
    from headrace.strategies.runner import StrategyRunner

__all__ = ["status_of"]


def status_of(parts: EngineParts, *, stopping: bool) -> dict[str, object]:
    """Return what runs now. O(subscriptions + open orders + positions)."""
    return {
        "engine": parts.name,
        "run_id": parts.run_id,
        "now_ns": parts.clock.now_ns(),
        "halted": parts.kill_switch is not None and parts.kill_switch.is_halted,
        "stopping": stopping,
        "ticks": sum(parts.dispatcher.sequencer.counts()["sequenced"].values()),
        "dead_letters": parts.dead_letters.total,
        "lanes": {str(lane): own.left for lane, own in parts.bus.stats().lanes.items()},
        "services": dict(parts.services.health()),
        "strategies": {name: _strategy(parts, runner) for name, runner in parts.strategies.items()},
    }


def _strategy(parts: EngineParts, runner: StrategyRunner) -> dict[str, object]:
    ticks, name = runner.tick_stats(), runner.name
    held = parts.positions.positions(strategy=name)
    return {
        "state": str(runner.state),
        "version": runner.life.version,
        "pending": sum(own.pending for own in ticks),
        "missed": sum(own.missed for own in ticks),
        "open_orders": [order.order_id for order in parts.orders.orders(strategy=name, open_only=True)],
        "fills": parts.orders.stats(strategy=name).fills,
        "positions": {position.instrument: str(position.quantity) for position in held},
        "realized_pnl": {
            currency: str(total.realized_pnl) for currency, total in parts.account.balances_of(held).items()
        },
    }
