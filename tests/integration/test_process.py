"""Fork, sub-interpreters and the interpreter's exit: a clear error or a clean exit, never a hang or a crash.

Guarantees: every case is a process of its own, because the ends of processes are what is tested; a hang is a failure.
Does not: repeat itself much in the fast suite; the deep one does each a hundred times.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.feeding import python

CHILD_USES = {
    "a new dispatcher": "Dispatcher()",
    "publish": "dispatcher.publish(made)",
    "dispatch": "dispatcher.dispatch()",
    "subscribe": "dispatcher.subscribe(lambda bid_price: None, callback='on_quote')",
    "a pull subscription": "pull.read_into(out)",
    "a ring": "ring.publish(made)",
    "a sequencer": "sequencer.sequence(made)",
    "a replay": "headrace.replay(made, [])",
}

FORK = """
import os, sys
import numpy as np
import headrace
from headrace import Dispatcher, TICK_DTYPE, ticks

dispatcher = Dispatcher()
dispatcher.subscribe(lambda bid_price: None, callback="on_quote", mode="thread")
pull = dispatcher.subscribe(overflow="drop_oldest")
made = ticks(instrument="BTCUSDT.BINANCE", ts_init=[1, 2], instruments=dispatcher.instruments,
             bid_price=[1.0, 2.0], ask_price=[2.0, 3.0], bid_size=1.0, ask_size=1.0)
out = np.zeros(4, TICK_DTYPE)
ring, sequencer = headrace.Ring(64), headrace.Sequencer(dispatcher.instruments)
dispatcher.publish(made)
child = os.fork()
if child == 0:
    try:
        {use}
    except headrace.errors.ForkedError as error:
        print(error, file=sys.stderr)
        os._exit(42)
    os._exit(1)
_, status = os.waitpid(child, 0)
dispatcher.publish(made)
dispatcher.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""

SUB_INTERPRETER = """
import sys
import headrace  # The main interpreter has it already: the second one is what must be refused.
import _xxsubinterpreters as interpreters

which = interpreters.create()
interpreters.run_string(which, '''
try:
    import headrace
except ImportError as error:
    print("refused:", error)
else:
    print("imported")
''')
interpreters.destroy(which)
"""

LIVE_THREADS = """
import sys, threading, time
import headrace
from headrace import Dispatcher, ticks

dispatcher = Dispatcher(ring_capacity=256)
busy = threading.Event()

def on_quote(bid_price):
    busy.set()
    {work}

dispatcher.subscribe(on_quote, mode="thread", name="one")
dispatcher.subscribe(lambda bid_price: None, callback="on_quotes", mode="thread", every="1ms", name="two")
pull = dispatcher.subscribe(overflow="drop_oldest", name="three")
threading.Thread(target=lambda pull: [None for _ in pull], args=(pull,), daemon=True).start()
made = ticks(instrument="BTCUSDT.BINANCE", ts_init=range(100), instruments=dispatcher.instruments,
             bid_price=1.0, ask_price=2.0, bid_size=1.0, ask_size=1.0)

def publish(dispatcher):
    while True:
        try:
            dispatcher.publish(made)
        except headrace.HeadraceError:
            return

threading.Thread(target=publish, args=(dispatcher,), daemon=True).start()
busy.wait()
{end}
"""

EXITS = {
    "the end of the program": "",
    "sys.exit": "sys.exit(0)",
    "after a close": "dispatcher.close()",
    "a dispatcher that nobody holds": "del dispatcher, pull",
}


def ended_well(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, (done.returncode, done.stderr[-2_000:])
    assert "Traceback" not in done.stderr, done.stderr[-2_000:]
    assert "panicked" not in done.stderr, done.stderr[-2_000:]


def forked(use: str) -> None:
    done = python(FORK.format(use=use))
    assert done.returncode == 42, (done.returncode, done.stderr[-2_000:])
    assert "forked" in done.stderr


@pytest.mark.parametrize("use", CHILD_USES.values(), ids=list(CHILD_USES))
def test_the_child_of_a_fork_gets_a_clear_error_and_the_parent_goes_on(use: str) -> None:
    forked(use)


def sub_interpreter() -> None:
    done = python(SUB_INTERPRETER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused:"), done.stdout


def test_a_sub_interpreter_cannot_import_it() -> None:
    sub_interpreter()


def exits(end: str, work: str = "pass") -> None:
    ended_well(python(LIVE_THREADS.format(work=work, end=end)))


@pytest.mark.parametrize("end", EXITS.values(), ids=list(EXITS))
def test_the_interpreter_exits_cleanly_while_threads_run(end: str) -> None:
    exits(end)


@pytest.mark.timeout(60)
def test_a_handler_that_never_returns_does_not_keep_the_process() -> None:
    done = python(LIVE_THREADS.format(work="time.sleep(3600)", end=""), timeout_s=50)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "one" in done.stderr, "the thread that was left is named"


@pytest.mark.deep
@pytest.mark.timeout(1_200)
def test_a_hundred_forks_sub_interpreters_and_exits_end_well() -> None:
    ends, uses = list(EXITS.values()), list(CHILD_USES.values())
    for number in range(100):
        forked(uses[number % len(uses)])
        sub_interpreter()
        exits(ends[number % len(ends)])


def test_the_hooks_of_a_fork_leave_programs_alone_that_do_not_use_it_in_the_child() -> None:
    done = python("import os, headrace; pid = os.fork()\nif pid == 0: os._exit(7)\nprint(os.waitpid(pid, 0)[1])")
    assert os.waitstatus_to_exitcode(int(done.stdout)) == 7
