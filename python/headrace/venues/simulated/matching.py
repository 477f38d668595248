"""Orders of a simulated venue: an account, and a match against the book that the venue shows.

::

    new ─▶ checks ─▶ taker: fills at the book's prices, level by level
                 └─▶ maker: rests, and fills at its own price when a quote or a trade passes it

Guarantees: a client order id names one open order; amounts are exact; a refusal has the venue's code.
Does not: change the book, know a position's limits, or charge a margin.

Source: the venue's public documentation of orders and error codes, read in November 2026.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.market.checks import of_type, refuse
from headrace.market.instrument import Instrument
from headrace.market.money import decimal_of
from headrace.venues.simulated.market import Best, Trade

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.market.money import Amount
    from headrace.venues.simulated.market import Depth, Market

__all__ = ["Order", "Orders", "RefusalError"]

SIDES = ("BUY", "SELL")
KINDS = ("LIMIT", "MARKET", "LIMIT_MAKER")
TIMES = ("GTC", "IOC", "FOK", "GTX")
ENDED = ("FILLED", "CANCELED", "EXPIRED", "REJECTED")
TAKER_FEE, MAKER_FEE = Decimal("0.001"), Decimal("0.001")
# The venue writes its fees with so many digits.
FEE_STEP = Decimal("0.00000001")
CLIENT_ID = re.compile(r"[a-zA-Z0-9_-]{1,36}")


class RefusalError(Exception):
    """What the venue answers in place of a result. status : of HTTP. code : of the venue."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.text, self.status = code, text, status


class FeeAsset(NamedTuple):
    """A third asset that fees are paid in. price : of one, in the quote currency."""

    asset: str
    price: Decimal

    @classmethod
    def of(cls, given: tuple[str, Amount]) -> FeeAsset:
        """Return it as a user gives it. Raises OptionError."""
        try:
            asset, price = given
            of_type("fee_asset", asset, str)
            made = cls(asset, decimal_of(price))
        except (TypeError, ValueError):
            refuse("fee_asset", given, 'an asset and its price, like ("BNB", "600")')
        if made.price <= 0:
            refuse("fee_asset", given, "an asset and its price, above 0")
        return made


class Fill(msgspec.Struct):
    """One trade of an order. fee : in ``fee_asset``."""

    trade_id: int
    price: Decimal
    quantity: Decimal
    is_maker: bool
    ms: int
    fee: Decimal
    fee_asset: str

    def answer(self, number: str) -> dict[str, object]:
        """Return the trade as REST does. number : what the answer calls its id."""
        amounts = {"price": self.price, "qty": self.quantity, "commission": self.fee}
        texts = {name: f"{value:f}" for name, value in amounts.items()}
        return {number: self.trade_id, "commissionAsset": self.fee_asset, **texts}


class Order(msgspec.Struct):
    """One order. seen_at_ms : before it the venue says that the order does not exist."""

    order_id: int
    client_order_id: str
    instrument: Instrument
    side: str
    kind: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    ms: int
    seen_at_ms: int
    status: str = "NEW"
    fills: list[Fill] = []

    @property
    def symbol(self) -> str:
        """The symbol."""
        return self.instrument.symbol

    @property
    def executed(self) -> Decimal:
        """The filled quantity."""
        return sum((fill.quantity for fill in self.fills), Decimal(0))

    @property
    def left(self) -> Decimal:
        """The quantity that is not filled."""
        return self.quantity - self.executed

    @property
    def turnover(self) -> Decimal:
        """The sum of price times quantity."""
        return sum((fill.price * fill.quantity for fill in self.fills), Decimal(0))

    def answer(self, *, is_new: bool = False) -> dict[str, object]:
        """Return the order as REST does; the spot market's answer to a new order names its trades."""
        names_trades = is_new and self.instrument.contract == "spot"
        average = self.turnover / self.executed if self.executed else Decimal(0)
        amounts = {
            "price": self.price,
            "origQty": self.quantity,
            "executedQty": self.executed,
            "cummulativeQuoteQty": self.turnover,  # The spot market's spelling.
            "cumQuote": self.turnover,
            "avgPrice": average,
        }
        return {
            "symbol": self.symbol,
            "orderId": self.order_id,
            "clientOrderId": self.client_order_id,
            "transactTime": self.ms,
            "time": self.ms,
            "updateTime": self.fills[-1].ms if self.fills else self.ms,
            "status": self.status,
            "timeInForce": self.time_in_force,
            "type": self.kind,
            "side": self.side,
            **({"fills": [fill.answer("tradeId") for fill in self.fills]} if names_trades else {}),
            **{name: f"{value:f}" for name, value in amounts.items()},
        }


class Orders:
    """All orders of the one account of a venue. fee_asset : what all its fees are paid in; None: as the venue does."""

    def __init__(self, fee_asset: FeeAsset | None = None) -> None:
        self._fee_asset = fee_asset
        self._orders: list[Order] = []
        self._open: dict[str, dict[int, Order]] = {}
        self._trade_id = 0
        # New orders exist for a client after so long.
        self.unseen_ms = 0

    def new(self, market: Market, fields: Mapping[str, str], ms: int) -> Order:
        """Take an order and match it. Raises RefusalError."""
        side, kind = _choice(fields, "side", SIDES), _choice(fields, "type", KINDS)
        is_market = kind == "MARKET"
        time_in_force = "GTC" if is_market or kind == "LIMIT_MAKER" else _choice(fields, "timeInForce", TIMES)
        quantity = _amount(fields, "quantity", market.lot_size, (-1013, "Filter failure: LOT_SIZE"))
        price = (
            Decimal(0)
            if is_market
            else _amount(fields, "price", market.price_tick, (-1013, "Filter failure: PRICE_FILTER"))
        )
        number = len(self._orders) + 1
        client_id = fields.get("newClientOrderId") or f"venue-{number}"
        if not CLIENT_ID.fullmatch(client_id):
            raise RefusalError(-1100, f"Illegal characters found in 'newClientOrderId'; legal: {CLIENT_ID.pattern}")
        instrument = Instrument(f"{market.symbol}.{market.venue}")
        if instrument.contract != "spot" and fields.get("newOrderRespType", "ACK") not in ("ACK", "RESULT"):
            raise RefusalError(-1136, "Invalid newOrderRespType.")
        if any(order.client_order_id == client_id for order in self._open_of(market).values()):
            raise RefusalError(-2010, "Duplicate order sent.")
        takes = self._takeable(market, side, None if is_market else price)
        if takes and (kind == "LIMIT_MAKER" or time_in_force == "GTX"):
            raise RefusalError(-2010, "Order would immediately match and take.")
        if is_market and not takes:
            raise RefusalError(-2010, "There is no liquidity on the opposite side.")
        order = Order(number, client_id, instrument, side, kind, time_in_force, quantity, price, ms, 0, fills=[])
        order.seen_at_ms = ms + self.unseen_ms
        self._orders.append(order)
        if time_in_force == "FOK" and sum(size for _, size in takes) < quantity:
            order.status = "EXPIRED"
            return order
        self._take(order, takes, ms)
        if order.left and (is_market or time_in_force in ("IOC", "FOK")):
            order.status = "EXPIRED"
        if order.status not in ENDED:
            self._open_of(market)[number] = order
        return order

    def find(self, market: Market, fields: Mapping[str, str], ms: int) -> Order:
        """Return an order by its id or its client's id. Raises RefusalError."""
        number, client_id = fields.get("orderId"), fields.get("origClientOrderId")
        if number is None and client_id is None:
            raise RefusalError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        for order in reversed(self._orders):
            is_named = str(order.order_id) == number if number is not None else order.client_order_id == client_id
            if is_named and order.symbol == market.symbol and order.seen_at_ms <= ms:
                return order
        raise RefusalError(-2013, "Order does not exist.")

    def cancel(self, market: Market, fields: Mapping[str, str], ms: int) -> Order:
        """Cancel an open order. Raises RefusalError."""
        try:
            order = self.find(market, fields, ms)
        except RefusalError as error:
            raise error if error.code != -2013 else RefusalError(-2011, "Unknown order sent.") from None
        if self._open_of(market).pop(order.order_id, None) is None:
            raise RefusalError(-2011, "Unknown order sent.")
        order.status = "CANCELED"
        return order

    def amend(self, market: Market, fields: Mapping[str, str], ms: int) -> Order:
        """Give an open order of a futures market another quantity, which holds what is filled, and price.

        One that has filled as much is canceled. Raises RefusalError.
        """
        order = self.find(market, fields, ms)
        if order.order_id not in self._open_of(market):
            raise RefusalError(-2011, "Unknown order sent.")
        if _choice(fields, "side", SIDES) != order.side:
            raise RefusalError(-1117, "Invalid side.")
        quantity = _amount(fields, "quantity", market.lot_size, (-1013, "Filter failure: LOT_SIZE"))
        price = _amount(fields, "price", market.price_tick, (-1013, "Filter failure: PRICE_FILTER"))
        if quantity <= order.executed:
            return self.cancel(market, fields, ms)
        order.quantity, order.price = quantity, price
        self._take(order, self._takeable(market, order.side, price), ms)
        if not order.left:
            del self._open_of(market)[order.order_id]
        return order

    def expire(self, market: Market) -> None:
        """End all open orders of a market, whose trading ends."""
        for order in self._open.pop(market.symbol, {}).values():
            order.status = "EXPIRED"

    def open(self, market: Market | None, ms: int) -> list[Order]:
        """Return the open orders of a market, or of all, that a client can see."""
        books = self._open.values() if market is None else [self._open_of(market)]
        return [order for book in books for order in book.values() if order.seen_at_ms <= ms]

    def fills(self, market: Market, ms: int) -> list[tuple[Order, Fill]]:
        """Return every fill of a market that a client can see, the oldest first."""
        own = [order for order in self._orders if order.symbol == market.symbol and order.seen_at_ms <= ms]
        return sorted(((order, fill) for order in own for fill in order.fills), key=lambda pair: pair[1].trade_id)

    def after(self, market: Market, event: Depth | Best | Trade | None, ms: int) -> None:
        """Fill resting orders that a quote or a trade passed."""
        book = self._open.get(market.symbol)
        if not book or event is None:
            return
        for order in list(book.values()):
            is_buy = order.side == "BUY"
            if isinstance(event, Best):
                price, size = (event.a, event.A) if is_buy else (event.b, event.B)
            elif isinstance(event, Trade) and event.m is is_buy:
                price, size = event.p, event.q
            else:
                continue
            if (Decimal(price) <= order.price) if is_buy else (Decimal(price) >= order.price):
                self._fill(order, order.price, min(Decimal(size), order.left), ms, is_maker=True)
                if not order.left:
                    del book[order.order_id]

    def _open_of(self, market: Market) -> dict[int, Order]:
        return self._open.setdefault(market.symbol, {})

    def _take(self, order: Order, levels: list[tuple[Decimal, Decimal]], ms: int) -> None:
        for level, size in levels:
            if order.left:
                self._fill(order, level, min(size, order.left), ms, is_maker=False)

    def _fill(self, order: Order, price: Decimal, quantity: Decimal, ms: int, *, is_maker: bool) -> None:
        if quantity <= 0:
            return
        self._trade_id += 1
        rate, traded = MAKER_FEE if is_maker else TAKER_FEE, order.instrument
        fee, asset = traded.fee(quantity, price, rate), traded.settles
        if self._fee_asset is not None:
            asset, fee = self._fee_asset.asset, (fee / self._fee_asset.price).quantize(FEE_STEP)
        elif traded.contract == "spot" and order.side == "BUY":
            # The spot market takes its fee out of what is bought.
            fee, asset = quantity * rate, traded.currencies.base
        order.fills.append(Fill(self._trade_id, price, quantity, is_maker, ms, fee, asset))
        order.status = "PARTIALLY_FILLED" if order.left else "FILLED"

    def _takeable(self, market: Market, side: str, limit: Decimal | None) -> list[tuple[Decimal, Decimal]]:
        """Return the opposite levels that an order may take, the best first."""
        if market.book is not None:
            bids, asks = market.book.levels(1_000)
        elif market.best is not None:
            best = market.best
            bids, asks = [(best.b, best.B)], [(best.a, best.A)]
        else:
            return []
        is_buy = side == "BUY"
        levels = [(Decimal(price), Decimal(size)) for price, size in (asks if is_buy else bids)]
        if limit is None:
            return levels
        return [level for level in levels if (level[0] <= limit if is_buy else level[0] >= limit)]


def _choice(fields: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = fields.get(name)
    if value is None:
        raise RefusalError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    if value not in choices:
        raise RefusalError(-1116 if name == "type" else -1117 if name == "side" else -1115, f"Invalid {name}.")
    return value


def _amount(fields: Mapping[str, str], name: str, step: Decimal, refusal: tuple[int, str]) -> Decimal:
    text = fields.get(name)
    if text is None:
        raise RefusalError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise RefusalError(-1100, f"Illegal characters found in parameter '{name}'.") from None
    if not amount.is_finite() or amount <= 0 or amount % step:
        raise RefusalError(*refusal)
    return amount
