"""Follower: asks the venue for the open orders of a broker, until each has ended.

::

    every ``poll_s``, while there are open orders
        GET openOrders, by symbol ─┬▶ listed: as it stands ───┬▶ more executed than published ─▶ GET its trades
                                   └▶ else: GET order by id ──┘

What happens while the venue does not answer
    Nothing is concluded; the follower asks again, at longest every 30 s. The first failure is logged, and the next
    answer.

What happens to orders that are open before the first one is sent
    Each is named once, in the log and as a Status "foreign".

Guarantees: what is asked stays within half of the venue's weight of a minute, whoever used it up at this address.
Does not: send or cancel orders.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from headrace.errors import VenueRequestError
from headrace.trading.brokers.binance.rest import NO_SUCH_ORDER

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.trading.brokers.binance.answers import Answers
    from headrace.trading.brokers.binance.orders import OpenOrder, OpenOrders
    from headrace.trading.brokers.binance.rest import SignedRest

__all__ = ["Follower"]

log = logging.getLogger(__name__)

POLL_MAX_S = 30.0
# Between two tries to end what the thread asks for: it may be connecting just then.
JOIN_S = 0.02
# Trades of an order in one answer.
TRADES_MAX = 1_000


class Follower:
    """The thread that follows one broker's orders. cancel : sends an order's cancel again."""

    def __init__(
        self,
        name: str,
        rest: SignedRest,
        orders: OpenOrders,
        answers: Answers,
        cancel: Callable[[OpenOrder], None],
        poll_s: float,
    ) -> None:
        self._name = name
        self._rest, self._orders, self._answers, self._cancel = rest, orders, answers, cancel
        self._poll_s = poll_s
        self._wake = threading.Event()
        self._is_closed = False
        self._failures = 0
        self._thread = threading.Thread(target=self._work, name=f"follower of {name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Ask now, as far as the venue's limits allow."""
        self._wake.set()

    def close(self) -> None:
        """End the thread, and what it asks for; the loop that calls this may be the one that would answer."""
        self._is_closed = True
        self._wake.set()
        ends_at = time.monotonic() + 2 * self._rest.timeout_s
        while self._thread.is_alive() and time.monotonic() < ends_at:
            self._rest.abort(self._thread.ident or 0)
            self._thread.join(JOIN_S)

    def _work(self) -> None:
        while self._waits_for_a_turn():
            if self._rest.wait_s():
                continue
            try:
                self._look()
                self._poll()
            except VenueRequestError as error:
                if not (self._failures or self._is_closed):
                    log.warning("the %s broker cannot ask for its orders, and tries on: %s", self._name, error)
                self._failures += 1
            except Exception:
                log.exception("the %s broker could not follow its orders", self._name)
                self._failures += 1
            else:
                if self._failures:
                    log.info("the %s broker can ask for its orders again", self._name)
                self._failures = 0

    def _waits_for_a_turn(self) -> bool:
        """Wait until the venue is to be asked; False: the broker is closed."""
        self._wake.wait(self._due_s())
        self._wake.clear()
        return not self._is_closed

    def _due_s(self) -> float | None:
        """Return the seconds until the next look; None: no look is due."""
        if not (self._orders.has_any or self._orders.names is not None):
            return None
        is_first = self._orders.names is not None and not self._failures
        wait_s = 0.0 if is_first else min(self._poll_s * 2 ** min(self._failures, 10), max(POLL_MAX_S, self._poll_s))
        return max(wait_s, self._rest.wait_s())

    def _look(self) -> None:
        """Name the orders that were open before this run: another run or another client sent them."""
        if self._orders.names is None:
            return
        rows = self._rest.request("GET", "openOrders")
        own = self._orders.end_names()
        for row in rows:
            if row["clientOrderId"] in own:
                continue
            what = f"{row['side']} {row['origQty']} {row['symbol']} at {row['price']}, {row['executedQty']} filled"
            reason = f"open at the venue before this run, which does not follow it: {what}"
            log.warning("order %s is %s", row["clientOrderId"], reason)
            self._answers.say(row["clientOrderId"], "foreign", reason)

    def _poll(self) -> None:
        for symbol, orders in self._orders.by_symbol().items():
            rows = {row["clientOrderId"]: row for row in self._rest.request("GET", "openOrders", symbol=symbol)}
            for order in orders:
                name = order.name
                row = rows.get(name) or self._find(order, name)
                if self._is_closed:
                    return
                if row is not None and not self._orders.take(order, name, row):
                    self._orders.take(order, name, row, self._trades(symbol, row["orderId"]))
                if order.is_being_canceled:
                    self._cancel(order)

    def _find(self, order: OpenOrder, name: str) -> dict[str, Any] | None:
        """Return an order that is not listed as open; None: the venue does not know it, now."""
        try:
            row: dict[str, Any] = self._rest.request("GET", "order", symbol=order.symbol, origClientOrderId=name)
        except VenueRequestError as error:
            if getattr(error, "code", None) != NO_SUCH_ORDER:
                raise
            self._orders.missing(order)
            return None
        return row

    def _trades(self, symbol: str, number: object) -> list[dict[str, Any]]:
        """Return every trade of an order that the venue shows."""
        name, trades = "myTrades" if self._rest.is_spot else "userTrades", []
        fields: dict[str, object] = {"symbol": symbol, "orderId": number, "limit": TRADES_MAX}
        while True:
            page: list[dict[str, Any]] = self._rest.request("GET", name, **fields)
            trades += page
            if len(page) < TRADES_MAX:
                return trades
            fields["fromId"] = int(page[-1]["id"]) + 1
