"""Instrument: its price tick and lot size, the contract that the arithmetic of its money follows, and order limits.

::

                   notional, in ``quote``       profit, in ``settles``
    spot, linear   price · quantity · size      (exit - entry) · quantity · size
    inverse        quantity · size              (1/entry - 1/exit) · quantity · size

Guarantees: immutable; exact up to 60 digits; a contract that is not known raises, and is never guessed. A limit that is
missing or no number refuses orders (see ``trading.risk``).
Does not: assign ids; the native table does. Convert currencies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from headrace.errors import InstrumentError, OptionError
from headrace.market.checks import one_of, refuse
from headrace.market.money import AMOUNTS, MONEY, Amount, decimal_of, is_amount, shown

__all__ = ["ContractKind", "Instrument", "RiskLimits", "instrument_of"]

ContractKind: TypeAlias = Literal["spot", "linear", "inverse"]
CONTRACTS = ("spot", "linear", "inverse")
# What a step or a limit may be given as.
NUMBERS = (Decimal, int, float, str, np.floating, np.integer)
ONE = Decimal(1)
# What a venue lists, where all of it is of one contract.
VENUE_CONTRACTS: dict[str, ContractKind] = {"BINANCE": "spot", "BINANCE_USDM": "linear"}
COINM = "BINANCE_COINM"
# Each symbol of COIN-M has this form, like BTCUSD_PERP and ETHUSD_260327.
COINM_SYMBOL = re.compile(r"([A-Z0-9]+)USD_[A-Z0-9]+")
# USD, by coin.
COINM_SIZES = {"BTC": Decimal(100)}
COINM_SIZE = Decimal(10)
# Instruments that are named, but not configured: a strategy that asks for a position at each tick names few.
NAMED_MAX = 1_024
# Binance writes its symbols without a separator. No plain USD: BNBUSD could be of BUSD as well.
BINANCE_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY")
SEPARATED_QUOTES = frozenset({*BINANCE_QUOTES, "USD", "GBP", "CHF", "AUD", "CAD", "SGD", "HKD", "KRW"})


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gates allow. None means not set: the gate refuses every order that the limit concerns.

    quantity_max : per order. notional_max : per order, in the currency of its
    notional. price_collar : how far a price may lie
    from the newest mid, as a part of it (0.01: one per cent). open_orders_max : per strategy and instrument.
    message_rate_max : orders and cancels per second and strategy. stale_after_s : the highest age of the newest quote.
    """

    quantity_max: Decimal | None = None
    notional_max: Decimal | None = None
    price_collar: Decimal | None = None
    open_orders_max: int | None = None
    message_rate_max: float | None = None
    stale_after_s: float | None = None

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            _refuse_other_types(field, getattr(self, field))


class Currencies(NamedTuple):
    """Two currencies of an instrument. base : of the coin. quote : of its price."""

    base: str
    quote: str


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One instrument.

    name : ``SYMBOL.VENUE``. price_tick, lot_size : prices and quantities are multiples of them.
    limits : its own limits; for each one that is None the engine's limit holds.
    contract : "spot", "linear" or "inverse"; BINANCE is spot, BINANCE_USDM linear, BINANCE_COINM inverse for symbols
        like BTCUSD_PERP, and unknown for others. At another venue it is spot where price_tick and lot_size are given,
        and unknown otherwise.
    size : what a quantity of 1 is: units of the coin, for an inverse contract of the quote currency; 1, and for
        BINANCE_COINM 100 for BTCUSD contracts and 10 for all others. Another inverse contract needs it.
    settles : the currency of its profit and fees; read from the symbol, or else the instrument's name, so that its
        amounts are added to no others.

    Raises OptionError.
    """

    name: str
    price_tick: Decimal | None = None
    lot_size: Decimal | None = None
    limits: RiskLimits | None = None
    contract: ContractKind | None = None
    size: Decimal | None = None
    settles: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            refuse("name", self.name, "SYMBOL.VENUE")
        if self.limits is not None and not isinstance(self.limits, RiskLimits):
            refuse("limits", self.limits, "RiskLimits(...), or None")
        _refuse_other_types("price_tick", self.price_tick)
        _refuse_other_types("lot_size", self.lot_size)
        contract = self.contract or self._default_contract()
        if contract is not None:
            one_of("contract", contract, CONTRACTS)
        if not isinstance(self.settles, str):
            refuse("settles", self.settles, "a currency, like 'USDT'")
        size = _checked_size(self.size) or self._default_size(contract)
        given = self.settles or (self.currencies.base if contract == "inverse" else self.currencies.quote)
        for field, value in (("contract", contract), ("size", size), ("settles", given)):
            msgspec.structs.force_setattr(self, field, value)

    @property
    def symbol(self) -> str:
        """The first part of its name."""
        return self.name.rpartition(".")[0]

    @property
    def venue(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2]

    @property
    def quote(self) -> str:
        """The currency of its notional."""
        return self.currencies.quote if self.contract == "inverse" else self.settles

    @property
    def native_contract(self) -> tuple[bool, float] | None:
        """Whether it is inverse, and its size; None when the contract is not known."""
        return None if self.size is None else (self.contract == "inverse", float(self.size))

    @property
    def currencies(self) -> Currencies:
        """What its symbol says; a currency that cannot be read is named after the instrument."""
        read = _read_currencies(self.symbol, self.venue)
        return read or Currencies(self.name, f"{self.name} quote" if self.contract == "inverse" else self.name)

    def notional(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Return what a quantity is worth at a price, in ``quote``. Raises InstrumentError."""
        sized = self._sized(quantity)
        return sized if self.contract == "inverse" else MONEY.multiply(sized, price)

    def worth(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Return the amount in ``settles`` whose change from price to price is profit; inverse: below 0 when long.

        Raises InstrumentError, and ArithmeticError for an inverse contract at price 0.
        """
        sized = self._sized(quantity)
        if self.contract == "inverse":
            return MONEY.minus(MONEY.divide(sized, price))
        return MONEY.multiply(sized, price)

    def price_of(self, worth: Decimal, quantity: Decimal) -> Decimal:
        """Return the price at which a quantity has this worth: of several executions the average; 60 digits."""
        sized = self._sized(quantity)
        return MONEY.minus(MONEY.divide(sized, worth)) if self.contract == "inverse" else MONEY.divide(worth, sized)

    def profit(self, quantity: Decimal, entry: Decimal, exit: Decimal) -> Decimal:  # noqa: A002 - the field's word
        """Return the profit of a signed quantity between two prices, in ``settles``."""
        return MONEY.subtract(self.worth(quantity, exit), self.worth(quantity, entry))

    def fee(self, quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
        """Return a part of what a quantity is worth, in ``settles``; of an inverse contract rounded to 28 digits."""
        fee = MONEY.multiply(self.worth(quantity, price).copy_abs(), rate)
        return shown(fee) if self.contract == "inverse" else fee

    def in_lots(self, quantity: Decimal) -> Decimal:
        """Return a quantity, rounded down to whole lots where the lot size is known."""
        if not self.lot_size:
            return quantity
        return MONEY.multiply(MONEY.divide_int(quantity, self.lot_size), self.lot_size)

    def in_ticks(self, price: Decimal, *, up: bool) -> Decimal:
        """Return a price, rounded up or down to whole ticks where the price tick is known."""
        if not self.price_tick:
            return price
        below = MONEY.multiply(MONEY.divide_int(price, self.price_tick), self.price_tick)
        return MONEY.add(below, self.price_tick) if up and below != price else below

    def _sized(self, quantity: Decimal) -> Decimal:
        size = self.size
        if self.contract is None or size is None:
            msg = (
                f"the contract of {self.name} is not known, so its money cannot be computed: give "
                f"Instrument({self.name!r}, contract='spot'), or 'linear' or 'inverse'"
            )
            raise InstrumentError(msg)
        return quantity if size is ONE or size == ONE else MONEY.multiply(quantity, size)

    def _default_contract(self) -> ContractKind | None:
        if self.venue == COINM:
            return "inverse" if COINM_SYMBOL.fullmatch(self.symbol) else None
        has_steps = self.price_tick is not None and self.lot_size is not None
        return VENUE_CONTRACTS.get(self.venue) or ("spot" if has_steps else None)

    def _default_size(self, contract: ContractKind | None) -> Decimal | None:
        if contract != "inverse":
            return None if contract is None else ONE
        listed = COINM_SYMBOL.fullmatch(self.symbol) if self.venue == COINM else None
        if listed is not None:
            return COINM_SIZES.get(listed[1], COINM_SIZE)
        msg = f"size is missing: {self.name} is inverse, so give what one contract is worth in its quote currency"
        raise OptionError(msg, option="size")


def instrument_of(known: Mapping[str, Instrument], name: str) -> Instrument:
    """Return what is known of an instrument; of one that is not configured, what its name says."""
    return known.get(name) or _named(name)


@lru_cache(maxsize=NAMED_MAX)
def _named(name: str) -> Instrument:
    return Instrument(name)


def _refuse_other_types(option: str, value: object) -> None:
    """Refuse what is no number at all; a number that no limit can be, like NaN, refuses orders in its gate."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, NUMBERS)):
        refuse(option, value, "a number, or None")


def _checked_size(size: Amount | None) -> Decimal | None:
    if size is None:
        return None
    try:
        number = decimal_of(size)
    except (ValueError, TypeError):
        number = Decimal(0)
    if number <= 0 or not is_amount(number):
        refuse("size", size, f"a number above 0 of {AMOUNTS}")
    return number


@lru_cache(maxsize=NAMED_MAX)
def _read_currencies(symbol: str, venue: str) -> Currencies | None:
    if venue == COINM:
        listed = COINM_SYMBOL.fullmatch(symbol)
        return None if listed is None else Currencies(listed[1], "USD")
    if venue in VENUE_CONTRACTS:
        pair = symbol.partition("_")[0]
        quotes = [quote for quote in BINANCE_QUOTES if pair.endswith(quote) and pair != quote]
        return Currencies(pair.removesuffix(quotes[0]), quotes[0]) if quotes else None
    parts = re.split(r"[-/_]", symbol)
    return Currencies(parts[0], parts[1]) if len(parts) > 1 and parts[1] in SEPARATED_QUOTES else None
