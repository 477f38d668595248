"""Count the calls of three roads: a pushed frame to ``on_quote``, ``buy`` to ``on_fill``, a command's line to its Ack.

::

    python tools/count_calls.py          a line for each road
    python tools/count_calls.py --show   and what was called

Guarantees: the engine is live, with a pushed frame, the simulated broker and a socket; the second passage of each road
is counted, so that what is made once is not in it.
Does not: time anything; the benchmarks do.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from types import FrameType

import headrace
from headrace import Engine, Instrument, RiskLimits, SimulatedBroker, Strategy
from headrace.control import ControlServer
from headrace.feeds import Frame, Push
from headrace.market.events import OrderFill

BTC = "BTCUSDT.BINANCE"
PACKAGE = str(Path(headrace.__file__).parent)
PAUSE = b'{"ask": "submit", "command": {"command": "PauseStrategy", "strategy": "Buyer"}}\n'
RESUME = PAUSE.replace(b"Pause", b"Resume")
LIMITS = RiskLimits(
    quantity_max=Decimal(1),
    notional_max=Decimal(100_000),
    price_collar=Decimal("0.5"),
    open_orders_max=10,
    message_rate_max=1_000.0,
    stale_after_s=60.0,
)


class Road:
    """The calls between ``begin`` and ``end``, of everything that runs on this thread. own : those of the package."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[str] = []
        self.own = 0

    def begin(self) -> None:
        """Count from here; anew, when it has counted before."""
        self.calls, self.own = [], 0
        sys.setprofile(self._note)

    def end(self) -> None:
        """Count to here."""
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self.calls.append(frame.f_code.co_qualname)
            self.own += frame.f_code.co_filename.startswith(PACKAGE)
        elif event == "c_call":
            self.calls.append(getattr(argument, "__qualname__", repr(argument)))
            bound = type(getattr(argument, "__self__", None)).__module__
            self.own += bound.startswith("headrace")


FRAME, ORDER, COMMAND = Road("pushed frame to on_quote"), Road("buy to on_fill"), Road("line of a command to its Ack")


class Buyer(Strategy):
    """Buys at a quote where the feed says so."""

    def __init__(self) -> None:
        self.buys = False

    def on_quote(self, bid_price: float) -> None:  # noqa: ARG002 - a handler has to declare a field
        """End the road of the frame; begin that of the order."""
        FRAME.end()
        if self.buys:
            self.buys = False
            ORDER.begin()
            self.buy(BTC, "0.01")

    def on_fill(self, fill: OrderFill) -> None:  # noqa: ARG002 - the callback has it
        """End the road of the order."""
        ORDER.end()


class Pushed:
    """Pushes frames and sends commands, one after the other."""

    name, venue = "pushed", "BINANCE"

    def __init__(self, socket: Path, buyer: Buyer) -> None:
        self._socket = socket
        self._buyer = buyer
        self._number = 0

    async def open(self) -> None:
        """Nothing is opened."""

    async def close(self) -> None:
        """Nothing is closed."""

    async def run(self, push: Push) -> None:
        """Go each road twice."""
        for _ in range(2):
            self._push(push, FRAME)
        for _ in range(2):
            self._buyer.buys = True
            self._push(push, None)
            # The next quote fills it.
            self._push(push, None)
            await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_unix_connection(self._socket)
        for line in (PAUSE, RESUME, PAUSE):
            COMMAND.begin()
            writer.write(line)
            reply = await reader.readline()
            COMMAND.end()
            assert b'"accepted"' in reply, reply
        writer.close()

    def _push(self, push: Push, road: Road | None) -> None:
        self._number += 1
        data = b'{"u":%d,"s":"BTCUSDT","b":"100.0","B":"1","a":"100.5","A":"1"}' % self._number
        frame = Frame(time.time_ns(), data)
        if road is None:
            push(frame)
            return
        road.begin()
        push(frame)
        road.end()


async def count(folder: Path) -> None:
    """Run the engine."""
    buyer = Buyer()
    engine = Engine(
        name="count",
        feeds=Pushed(folder / "run" / "count.sock", buyer),
        strategies=buyer,
        broker=SimulatedBroker(),
        instruments=[Instrument(BTC, price_tick=Decimal("0.01"), lot_size=Decimal("0.00001"))],
        limits=LIMITS,
        state_folder=folder,
    )
    engine.services.add(ControlServer(engine.commands, engine="count", folder=folder))
    await engine.run_async()


def main() -> None:
    """Print each road."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEADRACE_STATE"] = folder
        asyncio.run(count(Path(folder)))
    for road in (FRAME, ORDER, COMMAND):
        print(f"{road.name}: {len(road.calls)} calls, {road.own} of them headrace's own")
        if "--show" in sys.argv:
            print("\n".join(f"    {call}" for call in road.calls))


if __name__ == "__main__":
    main()
