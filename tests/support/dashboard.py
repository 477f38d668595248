"""An engine as a process of its own, served with its page, and a browser tab that shows it.

Guarantees: command, engine, server and browser are the real ones; a process that does not end is killed.
Does not: hide what the page writes to its console; ``Tab.problems`` has it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.browser import watched
from tests.support.command import COMMAND

READY_S = 90.0
END_S = 20.0
WAIT_S = 30.0
CONFIG = """
[engine]
name = "paper"
state_folder = "state"
speed = 2.0
ring_capacity = 4096

[[feeds]]
kind = "synthetic"
options = { symbols = ["ETHUSDT"], frames = 10_000_000 }

[[strategies]]
use = "headrace.examples.mean_reversion:MeanReversion"
parameters = { quantity = "1" }

[[strategies]]
use = "headrace.examples.spread_watch:SpreadWatch"

[[strategies]]
use = "headrace.examples.faulty:Faulty"

[broker]
use = "simulated"

[risk]
quantity_max = 10
notional_max = 5000
price_collar = 0.01
open_orders_max = 5
message_rate_max = 100
stale_after_s = 5

[instruments."ETHUSDT.BINANCE"]
price_tick = 0.01
lot_size = 0.0001
"""


class ServedEngine:
    """``headrace run`` in a folder, at a port that stays the same when it is started again."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.folder = folder
        (folder / "engine.toml").write_text(config)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def token(self) -> str:
        """What its page asks for."""
        return (self.folder / "state" / "http.token").read_text().split()[-1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [*COMMAND, "run", "engine.toml", "--set", f"control.http.listen=127.0.0.1:{self.port}"]
        log = (self.folder / "log.txt").open("ab")
        with log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env={**os.environ})
        until = time.monotonic() + READY_S
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}health/live", timeout=2):
                return
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                pytest.fail(f"the engine does not answer:\n{(self.folder / 'log.txt').read_text()[-4_000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """End it in order."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


class Tab:
    """A tab of a browser. problems : errors in its console. asked : the address of each of its requests."""

    def __init__(self, context: Any, engine: ServedEngine) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.problems, self.asked = watched(self.page)
        self._engine = engine

    def open(self, view: str = "") -> Self:
        """Open a view, without signing in."""
        self.page.goto(self._engine.url + view)
        return self

    def sign_in(self, view: str = "") -> Self:
        """Open a view with the engine's token, and wait for its first figures."""
        self.open(view)
        self.page.fill("input[name=token]", self._engine.token)
        self.page.click("button[type=submit]")
        self.page.wait_for_selector(".tabs")
        return self

    def wait(self, script: str) -> None:
        """Wait until an expression is true; asked from outside, since the page's policy lets no text be evaluated."""
        until = time.monotonic() + WAIT_S
        while not self.page.evaluate(script):
            assert time.monotonic() < until, f"never true: {script}\n{self.page.inner_text('body')[:2_000]}"
            self.page.wait_for_timeout(50)

    def note(self) -> str:
        """The newest answer to a command."""
        self.page.wait_for_selector(".note")
        return str(self.page.inner_text(".note:last-child"))

    def row(self, table: str, name: str) -> str:
        """A row of a table, by its first cell, as text."""
        row = self.page.locator(f"section[aria-label='{table}'] tbody tr", has=self.page.locator(f"text='{name}'"))
        return str(row.first.inner_text())
