"""Memory stays flat: a process at full rate does not grow, with every feature on that keeps objects.

Guarantees: each policy, a thread, windows, a strategy in quarantine, refused frames and duplicates run all the while;
bounded stores (dead letters, pools) are full before the first measurement.
Does not: bound how much memory there is; the benches show that.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import DeadLetters, Decoder, Dispatcher, Strategy
from tests.support.feeding import BTC, ETH, holds_the_law, quotes, read_all, trades, wait_until

MIB = 1 << 20
WARM_UP_S = 2.0
LOOKS = 20


class Columns(Strategy):
    def on_quotes(self, bid_price, mid, instrument_id):
        self.last = bid_price[-1]

    def on_gap(self, cause, missing):
        self.missing = missing


class Singular(Strategy):
    def on_quote(self, symbol, bid_price, microprice, position):
        self.last = (symbol, bid_price)

    def on_trade(self, tick):
        self.tick = tick


class Broken(Strategy):
    def on_trade(self, price):
        raise ValueError(price)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth_per_minute(seconds: float) -> float:
    """Return the growth of the process in MiB per minute after the warm-up, by least squares over several samples."""
    letters = DeadLetters(letters_max=500)
    with Dispatcher(instruments=[BTC, ETH], ring_capacity=4_096, dead_letters=letters) as dispatcher:
        columns: dict[str, dict[str, Any]] = {
            "block": {},
            "lossy": {"overflow": "drop_oldest", "mode": "thread"},
            "newest": {"overflow": "conflate", "kinds": ["quote", "gap"]},
            "windows": {"every": "2ms"},
            "limited": {"overflow": "drop_oldest", "rate_limit": 1_000.0},
        }
        for name, options in columns.items():
            dispatcher.subscribe(Columns(), name=name, **options)
        dispatcher.subscribe(Singular())
        broken = dispatcher.subscribe(Broken())
        pull = dispatcher.subscribe(overflow="drop_oldest")
        decoder = Decoder("BINANCE", dispatcher.instruments)
        made = np.concatenate(
            [
                quotes(dispatcher, range(3_000)),
                quotes(dispatcher, range(1_000), instrument=ETH),
                trades(dispatcher, range(1_000), instrument=ETH),
            ]
        )
        lines = b'5 {"u":7,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}\n5 {"broken\n' * 20
        started_s = time.monotonic()
        looks: list[tuple[float, int]] = []
        while (at_s := time.monotonic() - started_s) < WARM_UP_S + seconds:
            dispatcher.publish(made)
            dispatcher.publish_lines(decoder, lines)
            dispatcher.dispatch()
            read_all(pull)
            broken.resume()
            if at_s > WARM_UP_S + len(looks) * seconds / LOOKS:
                looks.append((at_s, resident()))
        wait_until(lambda: dispatcher.subscriptions["lossy"].stats().pending == 0)
        everybody = {name: one.stats() for name, one in dispatcher.subscriptions.items()}
        assert all(holds_the_law(stats) for stats in everybody.values()), everybody
        assert dispatcher.stats().rejected
        assert dispatcher.stats().duplicates
        assert len(letters) == 500
    at_s, bytes_ = np.array(looks, "f8").T
    return float(np.polyfit(at_s / 60, bytes_ / MIB, 1)[0])


@pytest.fixture(autouse=True)
def unwritten_log() -> Iterator[None]:
    """Turn pytest's log capture off: it keeps every record, so it would grow."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(60)
def test_ten_seconds_at_full_rate_grow_by_less_than_a_mebibyte() -> None:
    """A leak of one byte a tick is a hundred times this."""
    assert growth_per_minute(10) / 6 < 1


@pytest.mark.deep
@pytest.mark.timeout(2_400)
def test_half_an_hour_grows_by_less_than_a_mebibyte_a_minute() -> None:
    assert growth_per_minute(1_800) < 1
