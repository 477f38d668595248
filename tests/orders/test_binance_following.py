"""Orders that rest at the venue are followed to their end, whatever becomes of the requests in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import aiohttp
import pytest

from headrace import Engine, Strategy
from headrace.feeds import SyntheticFeed
from headrace.market.events import (
    OrderAccepted,
    OrderAmended,
    OrderAmendRejected,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    Status,
)
from headrace.trading.brokers.binance import BinanceBroker
from headrace.trading.orders import OrderState
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support.engines import LIMITS, until
from tests.support.venue_client import Client, client_of

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

VENUES = ("BINANCE", "BINANCE_USDM")
WITHIN_S = 60.0
# Far below the market, so that only ``World.sell`` fills it.
PRICE = "10000"


class Resting(Strategy):
    """Sends nothing by itself; keeps every event of its orders."""

    def __init__(self) -> None:
        self.events: list[OrderEvent] = []
        self.has_quote = False

    def on_quote(self, instrument: str) -> None:
        self.has_quote = True

    def on_order(self, event: OrderEvent) -> None:
        self.events.append(event)

    def on_fill(self, fill: OrderFill) -> None:
        self.events.append(fill)


class World(NamedTuple):
    """A venue, an engine that trades there, and another client of the same account."""

    venue: SimulatedVenue
    engine: Engine
    strategy: Resting
    client: Client
    name: str
    statuses: list[Status]

    @property
    def instrument(self) -> str:
        return f"BTCUSDT.{self.name}"

    def buy(self, quantity: str = "1", **options: Any) -> str:
        return self.strategy.buy(self.instrument, quantity, price=PRICE, **options)

    def sell(self, size: str, *, price: str = "9999.00") -> None:
        """Let the venue's market offer a size at a price for a moment."""
        self.venue.set_book(self.instrument, 1, [("5000.00", "1")], [(price, size)])
        self.venue.set_book(self.instrument, 1, [("5000.00", "1")], [("90000.00", "1")])

    def fault(self, kind: Any, for_s: float, **options: Any) -> None:
        self.venue.inject(Fault(kind=kind, at_s=0, for_s=for_s, **options))

    def said(self, order_id: str) -> list[OrderEvent]:
        """What the venue said of an order."""
        ours = ("OrderRequested", "OrderAmendRequested")
        own = [event for event in self.strategy.events if event.order_id == order_id]
        return [event for event in own if type(event).__name__ not in ours]

    def types(self, order_id: str) -> list[type[OrderEvent]]:
        return [type(event) for event in self.said(order_id)]

    async def until(self, done: Callable[[], bool]) -> None:
        await until(done, within_s=WITHIN_S)

    async def accepted(self, order_id: str) -> None:
        await self.until(lambda: OrderAccepted in self.types(order_id))

    async def over(self, order_id: str) -> None:
        await self.until(lambda: not self.order(order_id).is_open)

    def order(self, order_id: str) -> Any:
        return self.engine.orders.order(order_id)

    async def trades(self) -> list[dict[str, Any]]:
        """Every trade of the account, by the venue itself."""
        name = "myTrades" if self.name == "BINANCE" else "userTrades"
        return await self.asked(name, limit=1_000)

    async def traded(self) -> Decimal:
        """The quantity of all these trades."""
        return sum((Decimal(trade["qty"]) for trade in await self.trades()), Decimal(0))

    async def asked(self, name: str, **query: Any) -> list[dict[str, Any]]:
        """What the venue answers the other client, once it listens."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    _, rows = await self.client.signed("GET", name, symbol="BTCUSDT", **query)
                except aiohttp.ClientError:
                    await asyncio.sleep(0.01)
                else:
                    assert isinstance(rows, list), rows
                    return rows


@asynccontextmanager
async def world_of(name: str, *, poll_s: float = 0.02, weight_max: int = 1_000_000) -> AsyncIterator[World]:
    feed = SyntheticFeed("BTCUSDT", venue=name, frames=300)
    rules = {"weight_max": weight_max}
    async with SimulatedVenue(feed, limits=rules) as venue, client_of(venue, name) as client:
        addresses, key = venue.addresses[name], {"api_key": "test-key", "secret": "test-secret"}
        live = BinanceFeed(name, ["BTCUSDT"], ["bookTicker"], url=addresses["ws"], rest_url=addresses["rest"])
        broker = BinanceBroker(rest_url=addresses["rest"], venue=name, timeout_s=2, poll_s=poll_s, limits=rules, **key)
        strategy = Resting()
        statuses: list[Status] = []
        engine = Engine(feeds=[live], strategies=[strategy], broker=broker, limits=LIMITS)
        engine.bus.subscribe(Status, statuses.append, name="test")
        async with engine:
            world = World(venue, engine, strategy, client, name, statuses)
            await world.until(lambda: strategy.has_quote)
            world.sell("0.001", price="90000.00")
            yield world


every_venue = pytest.mark.parametrize("name", VENUES)


@every_venue
async def test_a_resting_order_is_filled_by_its_trades(name: str) -> None:
    async with world_of(name) as world:
        order_id = world.buy()
        await world.accepted(order_id)
        world.sell("0.4")
        await world.until(lambda: OrderPartiallyFilled in world.types(order_id))
        world.sell("5")
        await world.over(order_id)
        assert world.types(order_id) == [OrderAccepted, OrderPartiallyFilled, OrderFilled]
        fills = [event for event in world.said(order_id) if isinstance(event, OrderFill)]
        assert [fill.execution_id for fill in fills] == [str(row["id"]) for row in await world.trades()]
        assert [(fill.quantity, fill.price, fill.liquidity) for fill in fills] == [
            (Decimal("0.4"), Decimal(PRICE), "maker"),
            (Decimal("0.6"), Decimal(PRICE), "maker"),
        ]
        # The venue takes a thousandth; of the coin on the spot market.
        assert [fill.fee for fill in fills] == [4, 6]
        assert world.strategy.position(world.instrument).quantity == 1


@every_venue
async def test_a_fill_before_a_cancel_comes_first(name: str) -> None:
    async with world_of(name, poll_s=30) as slow:
        order_id = slow.buy()
        await slow.accepted(order_id)
        slow.sell("0.4")
        slow.strategy.cancel(order_id)
        await slow.over(order_id)
        assert slow.types(order_id) == [OrderAccepted, OrderPartiallyFilled, OrderCanceled]
        assert slow.said(order_id)[-1].left == Decimal("0.6")  # type: ignore[attr-defined]


@every_venue
async def test_an_order_that_another_client_cancels_is_canceled(name: str) -> None:
    async with world_of(name) as world:
        order_id = world.buy()
        await world.accepted(order_id)
        await world.client.signed("DELETE", "order", symbol="BTCUSDT", origClientOrderId=order_id)
        await world.over(order_id)
        assert world.types(order_id) == [OrderAccepted, OrderCanceled]
        assert world.order(order_id).reason == "CANCELED"


@every_venue
async def test_orders_expire_when_trading_ends(name: str) -> None:
    async with world_of(name) as world:
        order_id = world.buy()
        await world.accepted(order_id)
        world.venue.set_status(world.instrument, "BREAK")
        await world.over(order_id)
        assert world.types(order_id) == [OrderAccepted, OrderExpired]


@every_venue
async def test_a_cancel_without_an_answer_is_sent_again(name: str) -> None:
    async with world_of(name) as world:
        order_id = world.buy()
        await world.accepted(order_id)
        world.fault("unavailable", 60)
        world.strategy.cancel(order_id)
        await world.until(lambda: world.order(order_id).state is OrderState.PENDING_CANCEL)
        world.fault("unavailable", 0)
        await world.over(order_id)
        assert world.types(order_id) == [OrderAccepted, OrderCanceled]


@every_venue
async def test_a_cancel_of_an_order_that_is_not_seen_yet_holds(name: str) -> None:
    async with world_of(name) as world:
        world.fault("unseen_orders", 0.5)
        order_id = world.buy()
        await world.accepted(order_id)
        world.strategy.cancel(order_id)
        await world.over(order_id)
        assert world.types(order_id) == [OrderAccepted, OrderCanceled]


async def sent_at_a_cut(world: World, size: int) -> None:
    """One order whose answers are cut until the venue has filled a part of it."""
    world.fault("cut_answer", 60, size=size)
    order_id = world.buy()
    await world.until(lambda: any(own.subject == order_id for own in world.statuses))
    world.sell("0.25")
    world.fault("cut_answer", 0)
    await world.until(lambda: OrderPartiallyFilled in world.types(order_id))
    world.strategy.cancel(order_id)
    await world.over(order_id)
    assert world.types(order_id) == [OrderAccepted, OrderPartiallyFilled, OrderCanceled], size
    assert world.order(order_id).filled == Decimal("0.25")


@every_venue
@pytest.mark.parametrize("size", [0, 30, 75, 200, 300])
async def test_an_order_whose_answer_is_cut_is_found(name: str, size: int) -> None:
    async with world_of(name) as world:
        await sent_at_a_cut(world, size)


@every_venue
@pytest.mark.deep
@pytest.mark.timeout(900)
async def test_an_order_whose_answer_is_cut_at_any_byte_is_found(name: str) -> None:
    async with world_of(name) as world:
        for size in range(300):
            await sent_at_a_cut(world, size)


@every_venue
async def test_an_order_that_never_arrived_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world_of(name) as world:
        monkeypatch.setattr("headrace.trading.brokers.binance.orders.ORDER_MISSING_S", 0.2)
        world.fault("unavailable", 60)
        order_id = world.buy()
        await world.until(lambda: any(own.subject == order_id for own in world.statuses))
        assert world.order(order_id).is_open
        world.fault("unavailable", 0)
        await world.over(order_id)
        assert world.types(order_id) == [OrderRejected]
        assert "never arrived" in world.order(order_id).reason


@every_venue
async def test_an_order_of_an_earlier_run_is_named(name: str) -> None:
    async with world_of(name) as world:
        order_id = world.buy()
        await world.accepted(order_id)
        addresses = world.venue.addresses[name]
        again = BinanceBroker(rest_url=addresses["rest"], api_key="test-key", secret="test-secret", venue=name)
        statuses: list[Status] = []
        feed = BinanceFeed(name, ["BTCUSDT"], ["bookTicker"], url=addresses["ws"], rest_url=addresses["rest"])
        engine = Engine(feeds=[feed], strategies=[Resting()], broker=again, limits=LIMITS)
        engine.bus.subscribe(Status, statuses.append, name="test")
        async with engine:
            await until(lambda: any(own.state == "foreign" for own in statuses), within_s=WITHIN_S)
        [foreign] = [own for own in statuses if own.state == "foreign"]
        assert foreign.subject == order_id
        assert "BUY 1" in foreign.reason
        assert not [own for own in world.statuses if own.state == "foreign"]


@every_venue
async def test_looking_leaves_half_of_a_minutes_weight(name: str) -> None:
    async with world_of(name, poll_s=0.001, weight_max=600) as world:
        await world.accepted(world.buy())

        async def weight() -> int:
            _, _, headers = await world.client.get("ping")
            return int(headers["X-MBX-USED-WEIGHT-1M"])

        async with asyncio.timeout(WITHIN_S):
            while (before := await weight()) <= 300:
                pass
        for _ in range(49):
            await weight()
        # What was on its way, and a look in the next minute of our clock.
        assert await weight() <= before + 50 + 30


# Amends


@every_venue
async def test_an_amended_order_has_its_new_values_at_the_venue(name: str) -> None:
    async with world_of(name) as world:
        order_id = world.buy()
        await world.accepted(order_id)
        world.sell("0.4")
        await world.until(lambda: OrderPartiallyFilled in world.types(order_id))
        world.strategy.amend(order_id, price="11000", quantity="2")
        await world.until(lambda: OrderAmended in world.types(order_id))
        order = world.order(order_id)
        assert (order.quantity, order.price, order.left) == (2, 11_000, Decimal("1.6"))
        [row] = await world.asked("openOrders")
        assert Decimal(row["price"]) == 11_000
        assert Decimal(row["origQty"]) - Decimal(row["executedQty"]) == Decimal("1.6")
        world.sell("5", price="10500.00")
        await world.over(order_id)
        assert world.types(order_id) == [OrderAccepted, OrderPartiallyFilled, OrderAmended, OrderFilled]
        assert await world.traded() == 2


@every_venue
async def test_fills_that_come_before_an_amend_count_in_it(name: str) -> None:
    async with world_of(name, poll_s=30) as slow:
        order_id = slow.buy()
        await slow.accepted(order_id)
        # The engine has not heard of it when it amends.
        slow.sell("0.4")
        slow.strategy.amend(order_id, quantity="0.7")
        await slow.until(lambda: OrderAmended in slow.types(order_id))
        await slow.until(lambda: OrderPartiallyFilled in slow.types(order_id))
        slow.sell("5")
        slow.strategy.cancel(order_id)
        await slow.over(order_id)
        assert slow.order(order_id).state is OrderState.FILLED
        assert await slow.traded() == Decimal("0.7")


@every_venue
async def test_an_amend_of_a_filled_order_is_refused(name: str) -> None:
    async with world_of(name, poll_s=30) as slow:
        order_id = slow.buy()
        await slow.accepted(order_id)
        slow.sell("5")
        slow.strategy.amend(order_id, quantity="2")
        await slow.until(lambda: OrderAmendRejected in slow.types(order_id))
        slow.strategy.cancel(order_id)
        await slow.over(order_id)
        assert slow.order(order_id).state is OrderState.FILLED
        assert await slow.traded() == 1


@every_venue
async def test_an_amend_without_an_answer_is_made_or_refused_once(name: str) -> None:
    async with world_of(name) as world:
        order_id = world.buy()
        await world.accepted(order_id)
        world.fault("cut_answer", 60, size=0)
        world.strategy.amend(order_id, price="11000")
        await world.until(lambda: bool(world.venue.stats().requests))
        world.fault("cut_answer", 0.3, size=10)
        await world.until(lambda: OrderAmended in world.types(order_id))
        world.sell("5", price="10500.00")
        await world.over(order_id)
        assert world.types(order_id) == [OrderAccepted, OrderAmended, OrderFilled]


# All of it


@every_venue
@pytest.mark.parametrize("rounds", [6, pytest.param(60, marks=[pytest.mark.deep, pytest.mark.timeout(1_800)])])
async def test_random_faults_lose_and_double_no_trade(
    name: str, seed: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A request may reach the venue for 5 s.
    monkeypatch.setattr("headrace.trading.brokers.binance.orders.ORDER_MISSING_S", 8.0)
    async with world_of(name) as world:
        rng, ids = Random(seed), []
        for _ in range(rounds):
            kind = rng.choice(("cut_answer", "unavailable", "unseen_orders", "restart"))
            options = {"size": rng.randrange(500)} if kind == "cut_answer" else {}
            world.fault(kind, rng.choice((0.1, 0.3)), **options)
            ids += [world.buy(str(rng.randrange(1, 4))) for _ in range(2)]
            for own in rng.sample(ids, 2):
                rng.choice((world.strategy.cancel, lambda own: world.strategy.amend(own, price="10001")))(own)
            world.sell(str(rng.randrange(1, 3)))
            await until_requests(world, rng.choice((0, 5, 20)))
        for kind in ("cut_answer", "unavailable", "unseen_orders"):
            world.fault(kind, 0)
        for own in ids:
            world.strategy.cancel(own)
        for own in ids:
            await world.over(own)
        fills = [event for event in world.strategy.events if isinstance(event, OrderFill)]
        trades = await world.trades()
        assert sorted(int(fill.execution_id) for fill in fills) == [row["id"] for row in trades], seed
        held = sum((Decimal(row["qty"]) for row in trades), Decimal(0))
        assert world.strategy.position(world.instrument).quantity == held
        assert world.engine.orders.refused_events == 0
        assert await world.asked("openOrders") == []


async def until_requests(world: World, requests: int) -> None:
    """Let the broker go on for some requests of the venue."""
    wanted = world.venue.stats().requests + requests
    await world.until(lambda: world.venue.stats().requests >= wanted or not world.engine.orders.orders(open_only=True))
