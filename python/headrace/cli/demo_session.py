"""The session that ``headrace demo`` shows, and the claims about it.

::

    three generated markets ─▶ Engine ─┬▶ SpreadWatch    per tick
                                       ├▶ TradeFlow      columns
              operator ─▶ commands ────┼▶ MeanReversion  limit orders; paused, resumed, restarted
                                       ├▶ Momentum       bars, market orders, timers
                                       ├▶ SlowJournal    in a thread, loses ticks
                                       └▶ Faulty         ends in quarantine

Guarantees: a claim is a text and whether it holds.
Does not: print; write outside the folder that it is given.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from headrace import Engine, Instrument, RiskLimits, StrategySpec
from headrace.commands import CancelOrder, PauseStrategy, RestartStrategy, ResumeStrategy
from headrace.examples.faulty import Faulty
from headrace.examples.mean_reversion import MeanReversion
from headrace.examples.momentum import Momentum
from headrace.examples.slow_journal import SlowJournal
from headrace.examples.spread_watch import SpreadWatch
from headrace.examples.trade_flow import TradeFlow
from headrace.feeds import synthetic_session
from headrace.market.events import OrderFill, StrategyStateChanged
from headrace.trading.brokers import SimulatedBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace import Report
    from headrace.commands import Ack, AckStatus, Command
    from headrace.engine.tables import ProgressDisplay

__all__ = ["FRAMES_PER_S", "RING_TICKS", "Session", "Step", "claims_of", "demo_engine", "law_text", "run_session"]

# How long the session takes, s; the markets pass so much faster.
DEMO_S = 2.0
# The generator makes about so many frames in a second of its markets.
FRAMES_PER_S = 1_200
# Small, so that a slow reader is overtaken within a second.
RING_TICKS = 4_096
# How often the operator looks at the clock.
LOOK_S = 0.001
LAW = ("delivered", "filtered", "missed", "conflated", "skipped", "pending")
STEERED = "MeanReversion"


class Step(NamedTuple):
    """One command of the operator.

    market_s : when it was sent, in seconds of the markets. delivered : ticks that its strategy had got before it.
    """

    market_s: float
    what: str
    ack: Ack
    delivered: int


class Session(NamedTuple):
    """The result of the demo.

    states : of each strategy, one after the other. canceled : whether an order ended by a command's cancel.
    saved : whether a restart loaded the saved state.
    """

    report: Report
    journal: SlowJournal
    steps: Sequence[Step]
    states: Sequence[tuple[str, str]]
    fills: Sequence[OrderFill]
    canceled: bool
    saved: bool


def run_session(frames: int, folder: str, display: ProgressDisplay) -> Session:
    """Run the engine together with an operator."""
    journal = SlowJournal()
    engine = demo_engine(frames, journal, folder, speed=frames / FRAMES_PER_S / DEMO_S)
    return asyncio.run(_run(engine, journal, frames / FRAMES_PER_S, display))


def demo_engine(frames: int, journal: SlowJournal, folder: str, *, speed: float) -> Engine:
    """Make the engine: all parts of a live session, on paper. speed : seconds of its markets in one second."""
    reversion = {"quantity": Decimal(1)}
    momentum = {"quantity": Decimal(10)}
    return Engine(
        name="demo",
        run_id="demo",
        feeds=synthetic_session(frames=frames),
        strategies=[
            SpreadWatch,
            TradeFlow,
            StrategySpec(strategy=MeanReversion, parameters=reversion, subscription={"instruments": "ETHUSDT.*"}),
            StrategySpec(strategy=Momentum, parameters=momentum, subscription={"instruments": "SOLUSDT.*"}),
            journal,
            Faulty,
        ],
        broker=SimulatedBroker(taker_fee="0.0001"),
        instruments=[
            Instrument("ETHUSDT.BINANCE", price_tick=Decimal("0.01"), lot_size=Decimal("0.0001")),
            Instrument("SOLUSDT.BINANCE", price_tick=Decimal("0.01"), lot_size=Decimal("0.001")),
        ],
        limits=RiskLimits(
            quantity_max=Decimal(10),
            notional_max=Decimal(5_000),
            price_collar=Decimal("0.01"),
            open_orders_max=5,
            message_rate_max=100.0,
            stale_after_s=5.0,
        ),
        speed=speed,
        ring_capacity=RING_TICKS,
        state_folder=folder,
    )


async def _run(engine: Engine, journal: SlowJournal, market_s: float, display: ProgressDisplay) -> Session:
    states: list[tuple[str, str]] = []
    fills: list[OrderFill] = []
    engine.bus.subscribe(StrategyStateChanged, lambda event: states.append((event.strategy, event.after)), name="demo")
    engine.bus.subscribe(OrderFill, fills.append, name="demo fills")
    running = asyncio.create_task(engine.run_async())
    operator = Operator(engine, running, market_s, display)
    await operator.work()
    report = await running
    order = engine.orders.order(operator.canceled)
    canceled = order is not None and (order.state, order.reason) == ("canceled", "by command")
    return Session(report, journal, operator.steps, states, fills, canceled, operator.saved)


class Operator:
    """Steers one strategy at set times of the markets."""

    def __init__(
        self, engine: Engine, running: asyncio.Task[Report], market_s: float, display: ProgressDisplay
    ) -> None:
        self.steps: list[Step] = []
        self.canceled = ""
        self.saved = False
        self._engine = engine
        self._running = running
        self._market_s = market_s
        self._display = display
        self._began_ns = 0

    async def work(self) -> None:
        """Send each command at its time, then wait until the engine has ended."""
        await self._until(lambda: self._engine.dispatcher.ring.cursor > 0)
        self._began_ns = self._engine.clock.now_ns()
        await self._at(0.2)
        await self._give(PauseStrategy(STEERED))
        await self._at(0.25)
        await self._give(PauseStrategy(STEERED))
        await self._at(0.4)
        await self._give(ResumeStrategy(STEERED))
        await self._at(0.5)
        while not self.canceled and not self._running.done():
            await self._until(lambda: bool(self._open_orders()))
            # The order may be filled before the command arrives: then the next order is canceled.
            for order_id in self._open_orders()[-1:]:
                if await self._give(CancelOrder(order_id)) == "accepted":
                    self.canceled = order_id
        await self._at(0.65)
        before = self._engine.strategies[STEERED].strategy
        await self._give(RestartStrategy(STEERED))
        after = self._engine.strategies[STEERED].strategy
        self.saved = after is not before and getattr(after, "average", None) == getattr(before, "average", ())
        await self._until(self._running.done)

    def _open_orders(self) -> Sequence[str]:
        return [order.order_id for order in self._engine.orders.orders(strategy=STEERED, open_only=True)]

    @property
    def _now_s(self) -> float:
        return (self._engine.clock.now_ns() - self._began_ns) / 1e9

    async def _at(self, share: float) -> None:
        await self._until(lambda: self._now_s >= share * self._market_s)

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done() and not self._running.done():
            if self._began_ns:
                now_s = self._now_s
                self._display.update(int(now_s), int(self._market_s), f"{now_s:.0f} s of the markets")
            await asyncio.sleep(LOOK_S)

    async def _give(self, command: Command) -> AckStatus | None:
        if self._running.done():
            return None
        now_s = self._now_s
        delivered = self._engine.dispatcher.subscriptions[STEERED].stats().delivered
        ack = await self._engine.commands.submit(command, actor="demo")
        self.steps.append(Step(now_s, f"{command.verb} {command.target.partition(':')[2]}", ack, delivered))
        return ack.status


def law_text(session: Session) -> str:
    """Return the loss law of SlowJournal, a line per term."""
    stats, journal = session.report.strategies["SlowJournal"], session.journal
    terms = [(term, int(getattr(stats, term))) for term in LAW]
    total = sum(count for _, count in terms)
    verdict = "every tick is accounted for" if total == stats.published else "DOES NOT ADD UP"
    lines = [
        "loss law of SlowJournal, which is too slow and chose drop_oldest",
        f"  published  {stats.published:>12,}",
        *(f"  {'=' if index == 0 else '+'} {term:<9}{count:>12,}" for index, (term, count) in enumerate(terms)),
        f"  sum        {total:>12,}  {verdict}",
        f"  on_gap reported {journal.missing:,} missed ticks, in {journal.gaps:,} calls, each at its place",
    ]
    return "\n".join(lines)


def claims_of(session: Session) -> list[tuple[str, bool]]:
    """Return the claims of the session, and whether each holds."""
    report = session.report
    laws = list(report.strategies.values())
    slow = report.strategies["SlowJournal"]
    answers = [(step.what.partition(" ")[0], step.ack.status) for step in session.steps]
    wanted = [("pause", "accepted"), ("pause", "noop"), ("resume", "accepted"), ("restart", "accepted")]
    lives = [after for strategy, after in session.states if strategy == STEERED]
    paused = [step.delivered for step in session.steps[1:3]]
    counts = [strategy.orders for strategy in report.strategies.values()]
    return [
        ("the loss law holds for every strategy", all(law.published == law.accounted for law in laws)),
        (
            "SlowJournal lost ticks, on_gap reported each, and no other strategy lost any",
            0 < slow.missed == session.journal.missing
            and not slow.pending
            and not any(law.missed for law in laws if law is not slow),
        ),
        (
            "Faulty was quarantined after 3 faults",
            report.strategies["Faulty"].is_quarantined and report.dead_letters.total == 3,
        ),
        (f"{STEERED} got no tick while it was paused", len(paused) == 2 and paused[0] == paused[1]),
        (
            f"{STEERED} was paused, resumed and restarted, each once, and pausing it twice was a noop",
            [own for own in answers if own[0] != "cancel"] == wanted
            and (lives.count("paused"), lives.count("starting")) == (1, 2),
        ),
        (f"{STEERED} was restarted with the averages that the object before it had saved", session.saved),
        ("an order was canceled by command", session.canceled),
        (
            "every order is in one state, and none is left open",
            all(own.submitted == own.filled + own.canceled + own.rejected + own.expired for own in counts),
        ),
        ("profit and loss are the cash of the fills plus the positions at the mid price", _is_cash(session)),
        (
            "every event was processed",
            all(lane.published == lane.processed for lane in report.lanes.values()) and not any(report.left.values()),
        ),
    ]


def _is_cash(session: Session) -> bool:
    """Return whether every strategy's cash from fills, plus its positions, equals its profit."""
    for strategy in session.report.strategies.values():
        fills = [fill for fill in session.fills if fill.strategy == strategy.name]
        cash = sum((-fill.side * fill.quantity * fill.price for fill in fills), Decimal(0))
        told = Decimal(0)
        for position in strategy.positions:
            told += position.realized_pnl + (position.unrealized_pnl or 0)
            cash += position.quantity * position.average_price + (position.unrealized_pnl or 0)
        if abs(cash - told) > Decimal("1e-9") or len(fills) != strategy.orders.fills:
            return False
    return any(strategy.orders.fills for strategy in session.report.strategies.values())
