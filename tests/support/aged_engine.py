"""An engine that has a day of history from its first second on, served with its page: ``python … FOLDER PORT``.

A sample of each second of the last 24 hours is added as the stream's service adds it, with one spike of a second.
"""

from __future__ import annotations

import math
import sys
import time

import msgspec

from headrace import Engine
from headrace.control.http import EngineApi, HttpServer
from headrace.control.settings import HttpSettings
from headrace.examples.spread_watch import SpreadWatch
from headrace.feeds import synthetic_session
from headrace.trading.brokers import SimulatedBroker

DAY_S = 86_400
# One second, half a day ago.
SPIKE = 40_000_000.0


def main(folder: str, port: str) -> None:
    """Serve until it is stopped."""
    engine = Engine(
        name="aged",
        feeds=synthetic_session(symbols=["ETHUSDT"], frames=10_000_000),
        strategies=[SpreadWatch],
        broker=SimulatedBroker(),
        speed=1.0,
        state_folder=folder,
    )
    api = EngineApi(engine)
    engine.services.add(HttpServer(api, msgspec.convert({"listen": f"127.0.0.1:{port}"}, HttpSettings), folder=folder))
    now_s = int(time.time())
    for ago_s in range(DAY_S, 0, -1):
        wave = math.sin(ago_s / 3_600)
        sample = {
            "rates/ticks_per_s": SPIKE if ago_s == DAY_S // 2 else 1_000.0 + 400 * wave,
            "rates/delivered_per_s": 900.0 + 300 * wave,
            "rates/lag_s": 0.001,
            "instruments/ETHUSDT.BINANCE/mid": 2_700.0 + 90 * wave,
            "instruments/ETHUSDT.BINANCE/spread": 0.02,
        }
        api.stream.history.add((now_s - ago_s) * 1_000_000_000, sample)
    engine.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
