"""Kinds of orders: a paper engine over live time does what a replay of the same quotes does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from headrace import Strategy
from headrace.market.events import OrderEvent, OrderFill, OrderType
from tests.support.engines import FAST, SECOND, engine_over, market

BIDS = [100.0, 100.0, 103.0, 106.0, 104.0, 101.0, 99.0, 96.0, 94.0, 95.5, 97.0, 99.0, 102.0]
# By type: what sells 1 of a position, so that something becomes of it over these quotes.
SELLS: dict[str, dict[str, Any]] = {
    "market": {},
    "limit": {"price": 105},
    "stop": {"stop": 97},
    "stop_limit": {"stop": 97, "price": 97},
    "take_profit": {"take_profit": 103},
    "take_profit_limit": {"take_profit": 103, "price": 104},
    "trailing_stop": {"trail": "3%"},
    "trailing_stop_limit": {"trail": 4, "limit_offset": 1},
}
HOW: dict[str, dict[str, Any]] = {
    "post only": {"price": 105, "post_only": True},
    "post only that would take": {"price": 90, "post_only": True},
    "immediate or cancel": {"quantity": 20, "time_in_force": "ioc"},
    "fill or kill": {"quantity": 20, "time_in_force": "fok"},
    "good till a time": {"price": 150, "expires_after": "2s"},
    "reduced by a gate of its own": {"stop": 97, "reduce_only": True},
}


class Sells(Strategy):
    """Buys 1 at the first quote, protects it in one way, amends at quote 5, and notes what it hears."""

    def __init__(self, options: dict[str, Any], partner: dict[str, Any] | None = None) -> None:
        self.options, self.partner = options, partner
        self.heard: list[tuple[Any, ...]] = []

    def on_quote(self, instrument: str, seq: int) -> None:
        if seq == 1:
            self.buy(instrument, 1)

    def on_fill(self, fill: OrderFill) -> None:
        at = None if fill.quote is None else fill.quote.last
        self.heard.append((self._name(fill), fill.side, fill.quantity, fill.price, fill.liquidity, at))
        if fill.side > 0:
            own = dict(self.options)
            first = self.sell(fill.instrument, own.pop("quantity", 1), **own)
            if self.partner is not None:
                self.sell(fill.instrument, 1, oco=first, **self.partner)

    def on_order(self, event: OrderEvent) -> None:
        self.heard.append((self._name(event), getattr(event, "price", None), getattr(event, "left", None)))

    def _name(self, event: OrderEvent) -> str:
        # The id of a live order begins with its run.
        return f"{type(event).__name__} {event.order_id.rpartition('-')[2]}"


def heard(tmp_path: Path, mode: Any, *options: Any) -> list[tuple[Any, ...]]:
    strategy = Sells(*options)
    # What ends at a time has a tenth of a second of the wall until then: a busy machine takes some milliseconds.
    speed = 20.0 if "expires_after" in options[0] else FAST
    more = {"speed": speed, "state_folder": tmp_path / "state", "on_fault": "raise"} if mode == "live" else {}
    engine_over(market(BIDS, every_ns=SECOND), [strategy], mode=mode, **more).run()
    return strategy.heard


def test_every_type_of_order_is_compared() -> None:
    assert set(SELLS) == set(get_args(OrderType))


@pytest.mark.parametrize("options", [*SELLS.values(), *HOW.values()], ids=[*SELLS, *HOW])
def test_kind_does_live_what_it_does_in_a_replay(tmp_path: Path, options: dict[str, Any]) -> None:
    live, again = heard(tmp_path, "live", options), heard(tmp_path, "replay", options)
    assert live == again
    # Its buy, and what became of the order.
    assert len(again) > 3
    assert again[-1][0].split()[0] in ("OrderFilled", "OrderCanceled", "OrderExpired"), again


def test_partners_do_live_what_they_do_in_a_replay(tmp_path: Path) -> None:
    pair = ({"price": 105, "reduce_only": True}, {"trail": "2%", "reduce_only": True})
    live, again = heard(tmp_path, "live", *pair), heard(tmp_path, "replay", *pair)
    assert live == again
    assert {own[0].split()[0] for own in again} >= {"OrderFilled", "OrderCanceled"}
