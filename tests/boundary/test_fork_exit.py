"""Forks, sub-interpreters and exits: a clear error or a clean end, never a hang or a crash.

Each case runs in a process of its own; a hang is an error by its timeout, a crash by its exit code.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.feeding import python

SETUP = """
import asyncio, os, sys, threading, time, warnings
import numpy as np
import headrace
from headrace import Decoder, Dispatcher, Ring, Sequencer, Strategy, ticks
from headrace.market.bars import Bars, BarSpec
from headrace.bus import EventBus
from headrace.market.events import Signal
from headrace.trading.kill_switch import KillSwitch

def made(dispatcher, count):
    return ticks(instrument="BTCUSDT.BINANCE", ts_init=np.zeros(count, "i8"), bid_price=np.arange(count),
                 ask_price=np.arange(count), instruments=dispatcher.instruments)
"""

FORK = (
    SETUP
    + """
from headrace.errors import ForkedError

dispatcher = Dispatcher()
threaded = dispatcher.subscribe(lambda bid_price: None, callback="on_quote", mode="thread")
pull = dispatcher.subscribe()
batch = made(dispatcher, 10)
dispatcher.publish(batch)
decoder = Decoder("BINANCE", dispatcher.instruments)
ring, sequencer = Ring(64), Sequencer(dispatcher.instruments)
reader = ring.reader()
bars = Bars(dispatcher, [BarSpec(timeframe="1s")])
switch = KillSwitch(sys.argv[1], signal=True)
bus, signal = EventBus(), Signal(instrument="BTCUSDT.BINANCE", side=1, ts=1)

uses = {
    "publish": lambda: dispatcher.publish(batch),
    "publish_frame": lambda: dispatcher.publish_frame(decoder, b"{}", 1),
    "publish_lines": lambda: dispatcher.publish_lines(decoder, b"1 {}"),
    "dispatch": lambda: dispatcher.dispatch(),
    "subscribe": lambda: dispatcher.subscribe(lambda bid_price: None, callback="on_quote"),
    "read_into": lambda: pull.read_into(np.zeros(4, headrace.TICK_DTYPE)),
    "iterate": lambda: next(iter(pull)),
    "pause": lambda: threaded.pause(),
    "resume": lambda: threaded.resume(),
    "stats": lambda: threaded.stats(),
    "all_stats": lambda: dispatcher.stats(),
    "ring": lambda: ring.try_publish(batch),
    "reader": lambda: reader.read_into(np.zeros(4, headrace.TICK_DTYPE)),
    "sequencer": lambda: sequencer.sequence(batch),
    "bars": lambda: bars.take(),
    "bars_due": lambda: bars.close_due(1),
    "is_halted": lambda: switch.is_halted,
    "halt": lambda: switch.halt("why", "child"),
    "rearm": lambda: switch.rearm("child"),
    "close_switch": lambda: switch.close(),
    "new_switch": lambda: KillSwitch(sys.argv[1]),
    "bus_publish": lambda: bus.publish_nowait(signal),
    "bus_drain": lambda: bus.drain(),
    "bus_subscribe": lambda: bus.subscribe(Signal, print),
    "bus_stats": lambda: bus.stats(),
    "new_bus": lambda: EventBus(),
    "close": lambda: dispatcher.close(),
    "close_one": lambda: threaded.close(),
    "new": lambda: Dispatcher(),
}
# Either a clear error, or an answer that needs no thread.
may_answer = {"pause", "resume", "stats", "all_stats", "close", "close_one", "close_switch"}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
if child == 0:
    wrong = []
    for name, use in uses.items():
        try:
            use()
            if name not in may_answer:
                wrong.append(name)
        except ForkedError as error:
            if "fork" not in str(error):
                wrong.append((name, str(error)))
        except BaseException as error:
            wrong.append((name, repr(error)))
    sys.stdout.write(f"{wrong}\\n")
    sys.stdout.flush()
    # The normal way out, with atexit and all.
    sys.exit(len(wrong))
_, status = os.waitpid(child, 0)
dispatcher.publish(batch)
assert len(next(iter(pull)))
assert switch.halt("why", "parent")
dispatcher.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
)


def test_every_use_in_a_forked_child_raises_forked_error(tmp_path: Path) -> None:
    done = python(FORK, str(tmp_path / "state"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "[]\n"


FORK_AND_LEAVE = (
    SETUP
    + """
dispatcher = Dispatcher()
dispatcher.subscribe(lambda bid_price: None, callback="on_quote", mode="thread")
dispatcher.subscribe(lambda bid_price: None, callback="on_quote")
dispatcher.publish(made(dispatcher, 10))
dispatcher.dispatch()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
if child == 0:
    sys.exit(7)
_, status = os.waitpid(child, 0)
sys.exit(0 if os.waitstatus_to_exitcode(status) == 7 else 1)
"""
)

SUBINTERPRETER = """
import sys
import headrace  # Here it works.

try:
    import _interpreters as interpreters  # CPython 3.13 and newer.
except ImportError:
    import _xxsubinterpreters as interpreters

isolated = sys.argv[1:] != ["legacy"]
if hasattr(interpreters, "new_config"):
    number = interpreters.create("isolated" if isolated else "legacy")
else:
    number = interpreters.create(isolated=isolated)
code = '''
try:
    import headrace
except ImportError as error:
    assert "headrace cannot be imported in a sub-interpreter" in str(error), error
else:
    raise AssertionError("it was imported")
'''
raised = interpreters.run_string(number, code)  # 3.12 and older raise what the code raised; newer ones return it.
assert raised is None, raised
interpreters.destroy(number)
print("ok")
"""


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_a_sub_interpreter_gets_an_import_error(kind: str) -> None:
    done = python(SUBINTERPRETER, kind)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_a_first_import_in_a_sub_interpreter_is_an_import_error(kind: str) -> None:
    done = python(SUBINTERPRETER.replace("import headrace  # Here it works.", ""), kind)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


EXITS = {
    "threads that wait": """
dispatcher = Dispatcher()
for _ in range(4):
    dispatcher.subscribe(lambda bid_price: None, callback="on_quote", mode="thread")
dispatcher.publish(made(dispatcher, 100))
""",
    "threads that are busy": """
dispatcher = Dispatcher(ring_capacity=64)
def on_quote(bid_price):
    sum(range(2_000))
for _ in range(3):
    dispatcher.subscribe(on_quote, mode="thread")
for _ in range(50):
    dispatcher.publish(made(dispatcher, 1_000))
""",
    "a daemon that publishes": """
dispatcher = Dispatcher(ring_capacity=64)
dispatcher.subscribe(lambda bid_price: None, callback="on_quotes", mode="thread", overflow="block")
batch = made(dispatcher, 500)
def publish():
    try:
        while True:
            dispatcher.publish(batch)
    except headrace.errors.ClosedError:
        pass
threading.Thread(target=publish, daemon=True).start()
time.sleep(0.05)
""",
    "a daemon that pulls": """
dispatcher = Dispatcher()
pull = dispatcher.subscribe(overflow="drop_oldest")
threading.Thread(target=lambda: [len(batch) for batch in pull], daemon=True).start()
for _ in range(20):
    dispatcher.publish(made(dispatcher, 100))
""",
    "a handler that sleeps": """
dispatcher = Dispatcher()
started = threading.Event()
def on_quote(bid_price):
    started.set()
    time.sleep(0.3)
dispatcher.subscribe(on_quote, mode="thread")
dispatcher.publish(made(dispatcher, 1))
started.wait(5)
""",
    "an event loop that was left": """
async def main():
    dispatcher = Dispatcher()
    async def on_quote(bid_price):
        await asyncio.sleep(100)
    dispatcher.subscribe(on_quote)
    dispatcher.publish(made(dispatcher, 10))
    await asyncio.sleep(0.01)
    main.kept = dispatcher
asyncio.run(main())
""",
    "objects in a cycle": """
class Mine(Strategy):
    def on_quotes(self, bid_price):
        self.kept = bid_price
mine = Mine()
mine.dispatcher = Dispatcher()
mine.dispatcher.subscribe(mine)
mine.dispatcher.publish(made(mine.dispatcher, 10))
mine.dispatcher.dispatch()
kept = next(iter(mine.dispatcher.subscribe()))
""",
    "an exception": """
dispatcher = Dispatcher()
dispatcher.subscribe(lambda bid_price: None, callback="on_quote", mode="thread")
dispatcher.publish(made(dispatcher, 10))
sys.exit(0)
""",
}


def leave(how: str) -> subprocess.CompletedProcess[str]:
    return python(SETUP + EXITS[how], timeout_s=20)


@pytest.mark.parametrize("how", EXITS)
def test_a_process_with_live_threads_ends_cleanly(how: str) -> None:
    for _ in range(3):
        done = leave(how)
        assert done.returncode == 0, (how, done.returncode, done.stderr)
        assert not done.stderr, (how, done.stderr)


def test_a_forked_child_exits_without_waiting_for_threads() -> None:
    for _ in range(3):
        done = python(FORK_AND_LEAVE)
        assert done.returncode == 0, (done.returncode, done.stderr)


@pytest.mark.deep
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("how", EXITS)
def test_a_hundred_exits_are_clean(how: str) -> None:
    for _ in range(100):
        done = leave(how)
        assert done.returncode == 0, (how, done.returncode, done.stderr)
        assert not done.stderr, (how, done.stderr)


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("program", [FORK, FORK_AND_LEAVE, SUBINTERPRETER], ids=["fork", "leave", "interpreter"])
def test_a_hundred_forks_and_interpreters_are_clean(program: str) -> None:
    for _ in range(100):
        done = python(program)
        assert done.returncode == 0, (done.returncode, done.stderr)


STUBBORN = (
    SETUP
    + """
import headrace.dispatch.dispatcher, headrace.dispatch.subscription
for module in (headrace.dispatch.dispatcher, headrace.dispatch.subscription):
    if hasattr(module, "CLOSE_DEADLINE_S"):
        module.CLOSE_DEADLINE_S = 0.2
started = threading.Event()
def on_quote(bid_price):
    started.set()
    time.sleep(60)
dispatcher = Dispatcher()
dispatcher.subscribe(on_quote, mode="thread", name="stubborn")
dispatcher.publish(made(dispatcher, 1))
started.wait(5)
"""
)


def test_an_exit_leaves_a_handler_that_does_not_end_and_names_it() -> None:
    done = python(STUBBORN, timeout_s=15)
    assert done.returncode == 0
    assert "stubborn" in done.stderr


INTERRUPT = (
    SETUP
    + """
import signal
dispatcher = Dispatcher(ring_capacity=64, block_max_ns=None)
stand = threading.Event()
if sys.argv[1] == "publish":
    dispatcher.subscribe(lambda bid_price: stand.wait(30), callback="on_quote", mode="thread", overflow="block")
elif sys.argv[1] == "dispatch":
    def on_quote(bid_price):
        stand.wait(0.0005)
    dispatcher.subscribe(on_quote)
else:
    pull = dispatcher.subscribe()
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    if sys.argv[1] == "pull":
        for batch in pull:
            pass
    while True:
        dispatcher.publish(made(dispatcher, 1_000))
        dispatcher.dispatch()
except KeyboardInterrupt:
    stand.set()
    print("interrupted")
"""
)


@pytest.mark.parametrize("what", ["publish", "dispatch", "pull"])
def test_an_interrupt_ends_every_wait(what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, what], capture_output=True, text=True, timeout=25, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


# Daemon threads of the user's that are in a handler, or about to be in one, when the process ends.
FOREIGN = (
    SETUP
    + """
import headrace.dispatch.process_end
headrace.dispatch.process_end.CLOSE_DEADLINE_S = 0.2
started = threading.Event()
dispatcher = Dispatcher(ring_capacity=1_024)
batch = made(dispatcher, 500)
def on_quote(bid_price):
    started.set()
    if sys.argv[1] == "spins":
        while True:
            sum(range(100))
    elif sys.argv[1] == "sleeps":
        time.sleep(0.05)
    elif sys.argv[1] == "raises":
        raise ValueError(sum(range(100)))
    sum(range(100))
def dispatch():
    try:
        while True:
            try:
                dispatcher.publish(batch)
                dispatcher.dispatch()
            except ValueError:
                pass
    except headrace.errors.ClosedError:
        pass
def drain():
    from headrace.bus import EventBus
    from headrace.market.clock import ReplayClock
    from headrace.market.events import Control
    bus = EventBus(clock=ReplayClock(1), mode="live", run_id="x")
    bus.subscribe(Control, lambda event: on_quote(1.0))
    while True:
        bus.publish_nowait(Control(source="x", ts=1, run_id="x", name="X", detail={}))
        bus.drain()
if sys.argv[1] == "bus":
    work = drain
else:
    dispatcher.subscribe(on_quote, on_fault="raise")
    work = dispatch
threading.Thread(target=work, daemon=True).start()
started.wait(5)
"""
)
WAYS = ["computes", "spins", "sleeps", "raises", "bus"]


def leave_foreign(way: str, times: int) -> None:
    for _ in range(times):
        done = python(FOREIGN, way, timeout_s=30)
        assert done.returncode == 0, (way, done.returncode, done.stderr)
        if way == "spins":
            assert "on_quote is still running when the process ends" in done.stderr
        elif way != "raises":  # A fault behind the close is logged.
            assert not done.stderr, (way, done.stderr)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", WAYS)
def test_an_exit_with_handlers_in_foreign_threads_is_clean(way: str) -> None:
    leave_foreign(way, 4)


@pytest.mark.deep
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("way", WAYS)
def test_a_thousand_exits_with_foreign_threads_are_clean(way: str) -> None:
    leave_foreign(way, 200)
