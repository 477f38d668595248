"""An event that no handler takes by levels passes to its book at once, and nothing shows a difference.

Each session is generated from a seed, and runs twice: once as it is, and once with a strategy beside the others that
takes each level by itself, so that every tick is dispatched alone. Calls, books, positions, errors, gaps, dead letters
and all counts of the loss law are the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

import headrace
from headrace import Book, Decoder, Dispatcher, Flags, Strategy
from tests.support.feeding import BTC, ETH, HandClock, holds_the_law, quotes
from tests.support.frames import SPOT, START, Levels, depth, encoded, snapshot

Overflow = Literal["block", "drop_oldest"]
STEPS = 400
SYMBOLS = {BTC: "BTCUSDT", ETH: "ETHUSDT"}


class OfBooks(Strategy):
    """Notes its book at each call, what was said of it, and what was lost; now and then it raises."""

    def __init__(self, raises_every: int = 10_000) -> None:
        self.said: list[Any] = []
        self._raises_every = raises_every

    def on_book(self, book: Book, update_id: int, position: int, seq: int, ts_init: int, bid_price: float) -> None:
        self._note(update_id, position, seq, ts_init, bid_price, book.checksum(), book.quality)

    def on_status(self, instrument: str, state: str, reason: str, position: int) -> None:
        self._note(instrument, state, reason, position)

    def on_gap(self, missing: int, position: int) -> None:
        self._note(missing, position)

    def _note(self, *facts: Any) -> None:
        self.said.append(facts)
        if len(self.said) % self._raises_every == 0:
            msg = f"after {len(self.said)}"
            raise ValueError(msg)


class OfNewestQuotes(Strategy):
    subscription: ClassVar = {"overflow": "conflate"}

    def __init__(self) -> None:
        self.said: list[Any] = []

    def on_quote(self, position: int, bid_price: float) -> None:
        self.said.append((position, bid_price))


class OfLevels(Strategy):
    """Takes each level by itself, and does nothing."""

    def on_level(self) -> None:
        return


class OfTrades(Strategy):
    """Takes no level, and holds the writer as the others do."""

    def on_trade(self) -> None:
        return


class Venue:
    """Depth events of two instruments, whole, cut, mixed up with others, or missing, and snapshots."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.last = dict.fromkeys(SYMBOLS, 100)
        self.quoted = 0
        self.now_ns = START

    def levels(self, side: int) -> Levels:
        """Return some levels of a side in any order of prices, as markets differ in it."""
        draw = self.random
        prices = draw.sample(range(1, 60), draw.choice((0, 1, 2, 5, 30)))
        prices.sort(reverse=draw.random() < 0.5)
        if draw.random() < 0.02:
            side = -side  # The book is crossed.
        return [(1_000.0 + side * price / 8, draw.choice((0.0, 1.0, 2.0))) for price in prices]

    def event(self, name: str) -> dict[str, object]:
        """Return the next frame of an instrument's depth."""
        draw = self.random
        first = self.last[name] + 1 + (draw.random() < 0.02)
        self.last[name] = first + draw.randrange(3)
        return depth(first, self.last[name], self.levels(-1), self.levels(1), symbol=SYMBOLS[name])

    def snapshot(self, name: str) -> dict[str, object]:
        """Return a snapshot as of some events ago."""
        draw = self.random
        prices = range(1, draw.choice((8, 8, 40)))
        bids, asks = ([(1_000.0 + side * price / 8, 1.0) for price in prices] for side in (-1, 1))
        return snapshot(self.last[name] - draw.choice((0, 0, 0, 2)), bids, asks, symbol=SYMBOLS[name])

    def ticks(self, dispatcher: Dispatcher, decoder: Decoder) -> list[np.ndarray]:
        """Return what comes next, each array as one publish."""
        draw = self.random
        self.now_ns += draw.choice((0, 0, 1_000))
        name = draw.choice((BTC, BTC, ETH))
        if draw.random() < 0.2:
            self.quoted += 1
            bid = 999.0 + draw.random()
            return [quotes(dispatcher, [bid], instrument=name, ts_init=self.now_ns, venue_seq=[self.quoted])]
        frame = self.snapshot(name) if draw.random() < 0.1 else self.event(name)
        _, _, event = decoder.decode(encoded(frame), self.now_ns)
        if len(event) < 2 or draw.random() < 0.6:
            return [event]
        cut, flags = draw.randrange(1, len(event)), event["flags"]
        match draw.randrange(8):
            case 0:
                return [event[:cut].copy(), event[cut:].copy()]
            case 1:
                return [event[cut:].copy()]
            case 2:
                return [event[:cut].copy()]
            case 3:
                flags[cut] |= np.uint16(Flags.FIRST_IN_EVENT)
            case 4:
                flags[-1] &= ~np.uint16(Flags.LAST_IN_EVENT)
            case 5:
                event["ts_init"][cut:] += 1
                self.now_ns += 1
            case 6:
                other = {BTC: ETH, ETH: BTC}[name]
                _, _, between = decoder.decode(encoded(self.event(other)), self.now_ns)
                return [np.concatenate([event[:cut], between, event[cut:]])]
            case _:
                first = event[:1].copy()
                first["flags"] |= np.uint16(Flags.LAST_IN_EVENT)
                return [np.concatenate([first, event[1:]])]
        return [event]


def _session(seed: int, capacity: int, overflow: Overflow, *, by_levels: bool) -> list[Any]:
    """Return all that a session shows."""
    venue, draw, clock, shown = Venue(seed), random.Random(-seed - 1), HandClock(START), list[Any]()
    strategies: list[OfBooks | OfNewestQuotes] = [OfBooks(), OfBooks(raises_every=7), OfNewestQuotes()]
    with Dispatcher(ring_capacity=capacity, clock=clock, instruments=[BTC, ETH]) as dispatcher:
        decoder = Decoder(SPOT, dispatcher.instruments)
        dispatcher.books.fetch = shown.append
        more: list[dict[str, Any]] = [
            {"overflow": overflow, "instruments": draw.choice(("*", BTC)), "lag_max_ticks": 8},
            {"overflow": overflow, "on_fault": "raise"},
            {},
        ]
        held = [dispatcher.subscribe(each, **own) for each, own in zip(strategies, more, strict=True)]
        dispatcher.subscribe(OfLevels() if by_levels else OfTrades(), overflow=overflow)
        for _ in range(STEPS):
            arrays = venue.ticks(dispatcher, decoder)
            clock.at_ns = venue.now_ns
            for ticks in arrays:
                shown.append(_result(dispatcher, partial(dispatcher.publish, ticks)))
                _act(draw, held[draw.randrange(2)])
                if draw.random() < 0.7:
                    shown.append(_result(dispatcher, dispatcher.dispatch))
        while not dispatcher.is_caught_up:
            shown.append(_result(dispatcher, dispatcher.dispatch))
        for subscription in held:
            stats = subscription.stats()
            assert holds_the_law(stats)
            counts = ("published", "delivered", "filtered", "missed", "conflated", "skipped", "pending", "calls")
            shown.append([getattr(stats, name) for name in counts])
        letters = list(dispatcher.dead_letters)
        shown.append([(each.source, each.reason, each.positions, each.ticks_total, each.ts_ns) for each in letters])
    return shown + [strategy.said for strategy in strategies]


def _result(dispatcher: Dispatcher, call: Callable[[], int]) -> tuple[int | str, int]:
    """Return what a call returned or raised, and where the dispatcher stands behind it."""
    try:
        result: int | str = call()
    except ValueError as error:
        result = str(error)
    return result, dispatcher.position


def _act(draw: random.Random, subscription: headrace.Subscription) -> None:
    """Pause, resume, doze or wake a subscription now and then."""
    act = draw.random()
    if act < 0.02:
        subscription.pause()
    elif act < 0.03 and subscription.state == "running":
        subscription.doze()
        subscription.wake(draw.choice((BTC, ETH)))
    elif act < 0.08:
        subscription.resume()
        subscription.wake()


@pytest.mark.parametrize("overflow", ["block", "drop_oldest"])
@pytest.mark.parametrize("capacity", [64, 256, 65_536])
def test_events_to_books_show_nothing_of_being_whole(capacity: int, overflow: Overflow) -> None:
    for seed in range(4):
        at_once = _session(seed, capacity, overflow, by_levels=False)
        assert at_once == _session(seed, capacity, overflow, by_levels=True), f"seed {seed}"
        assert len(at_once[-3]) > 20, f"seed {seed}: hardly a call"


def test_a_recordings_events_to_books_show_nothing_of_being_whole(recordings: Path) -> None:
    def seen(*others: Strategy) -> tuple[Any, ...]:
        strategy = OfBooks()
        report = headrace.replay(recordings / "spot_btcusdt_20240808.gz", [strategy, *others], hashing=True)
        assert holds_the_law(report.strategies["OfBooks"])
        return report.input_hash, report.strategies["OfBooks"].delivered, strategy.said

    at_once = seen()
    assert len(at_once[-1]) > 3_000
    assert at_once == seen(OfLevels())
