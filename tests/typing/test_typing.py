"""A user's type checker: no error in right strategies of each form, and one error for each wrong line."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import headrace
from headrace import Dispatcher, ticks
from tests.typing import right

HERE = Path(__file__).parent
MESSAGE = re.compile(r"^(?P<file>[\w.]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")
EXPECTED = re.compile(r"# refused: ([a-z-]+)$")
PACKAGE = Path(headrace.__file__).parent
# The first run on a machine reads NumPy's stubs, too.
COLD_S = 120

pytestmark = pytest.mark.timeout(COLD_S)


def checked(root: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Let mypy --strict read one file as a user would: without our configuration."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--no-pretty"),
            *("--cache-dir", str(root / ".mypy_cache" / "user"), name),
        ],
        cwd=HERE,
        env={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "_native.pyi").is_file()


def test_strict_mypy_accepts_a_strategy_of_each_form(root: Path) -> None:
    done = checked(root, "right.py")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_strict_mypy_refuses_each_wrong_line_and_no_other(root: Path) -> None:
    done = checked(root, "wrong.py")
    said = {
        (int(found["line"]), found["code"])
        for line in done.stdout.splitlines()
        if (found := MESSAGE.match(line)) and found["file"] == "wrong.py"
    }
    expected = {
        (number, found[1])
        for number, line in enumerate((HERE / "wrong.py").read_text().splitlines(), 1)
        if (found := EXPECTED.search(line))
    }
    assert said == expected, done.stdout
    assert done.returncode == 1, done.stderr


def test_the_typed_examples_run() -> None:
    """Above, a wrong annotation would pass if mypy believes it; here the handlers get real values."""

    async def run() -> None:
        with Dispatcher() as dispatcher:
            subscriptions = right.subscribe_all(dispatcher)
            instruments = dispatcher.instruments
            two = partial(ticks, instrument="BTCUSDT.BINANCE", instruments=instruments, ts_init=[1, 2])
            dispatcher.publish(two(bid_price=[1.0, 2.0], ask_price=[2.0, 4.0]))
            # Trade 11 is missing: a gap.
            dispatcher.publish(two(price=[1.0, 2.0], size=[1.0, 1.0], trade_id=[10, 12]))
            dispatcher.dispatch()
            await dispatcher.drain_async()
            faults = {subscription.name: subscription.stats().faults for subscription in subscriptions}
            assert faults == dict.fromkeys(faults, 0)
            calls = {subscription.name: subscription.stats().calls for subscription in subscriptions}
            assert all(calls.values()), calls

    asyncio.run(run())
