"""An engine as a process of its own, served with its page, and a browser tab that shows it.

Guarantees: command, engine, server and browser are the real ones; a process that does not end is killed.
Does not: hide what the page writes to its console; ``Tab.problems`` has it.
"""

from __future__ import annotations

import csv
import json
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from tests.support.browser import watched
from tests.support.command import COMMAND

READY_S = 90.0
END_S = 20.0
WAIT_S = 30.0
PROBES = Path(__file__).with_name("page")
DESK = {"width": 1_440, "height": 900}
PHONE = {"width": 390, "height": 844}
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
    """``headrace run`` in a folder, at a port that stays the same when it is started again.

    config : of the engine. more : further keys, as ``--set`` has them. viewer : whether a second, read-only token is
    there from the start.
    """

    def __init__(self, folder: Path, config: str = CONFIG, *, more: Sequence[str] = (), viewer: bool = False) -> None:
        self.folder = folder
        self._more = [own for text in more for own in ("--set", text)]
        (folder / "engine.toml").write_text(config)
        if viewer:
            (folder / "state").mkdir(mode=0o700)
            tokens = f"operator {secrets.token_urlsafe(32)}\nviewer {secrets.token_urlsafe(32)} read-only\n"
            (folder / "state" / "http.token").write_text(tokens)
            (folder / "state" / "http.token").chmod(0o600)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def set(self, key: str, value: str) -> None:
        """Set another key, before it is started."""
        self._more += ["--set", f"{key}={value}"]

    def state(self, section: str) -> dict[str, Any]:
        """Return a section of its state document."""
        request = urllib.request.Request(f"{self.url}v1/state", headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())[section]
        return found

    def command(self) -> list[str]:
        """What is run in the folder."""
        listen = f"control.http.listen=127.0.0.1:{self.port}"
        return [*COMMAND, "run", "engine.toml", "--set", listen, *self._more]

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def token(self) -> str:
        """What its page asks for."""
        return self.tokens()[0]

    def tokens(self) -> list[str]:
        """Every token of its file, the read-only one last."""
        lines = (self.folder / "state" / "http.token").read_text().splitlines()
        return [next(word for word in line.split() if len(word) >= 43) for line in lines]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self.folder / "log.txt").open("ab")
        with log:
            self._process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log)
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


class Page(Protocol):
    """What has a page. url : where it is. token : what it asks for."""

    @property
    def url(self) -> str: ...

    @property
    def token(self) -> str: ...


class Tab:
    """A tab of a browser. problems : errors in its console. asked : the address of each of its requests."""

    def __init__(self, context: Any, engine: Page) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.problems, self.asked = watched(self.page)
        self._engine = engine

    def open(self, view: str = "") -> Self:
        """Open a view, without signing in."""
        self.page.goto(self._engine.url + view)
        return self

    def sign_in(self, view: str = "", token: str = "") -> Self:
        """Open a view with the engine's token, or another one, and wait for its first figures."""
        self.open(view)
        self.page.fill("input[name=token]", token or self._engine.token)
        self.page.click("button[type=submit]")
        self.page.wait_for_selector(".tabs")
        return self

    def probe(self, name: str, argument: object = None) -> Any:
        """Return what a function of ``tests/support/page`` finds in the page."""
        return self.page.evaluate((PROBES / f"{name}.js").read_text(), argument)

    def wait(self, script: str) -> None:
        """Wait until an expression is true; asked from outside, since the page's policy lets no text be evaluated."""
        until = time.monotonic() + WAIT_S
        while not self.page.evaluate(script):
            assert time.monotonic() < until, f"never true: {script}\n{self.page.inner_text('body')[:2_000]}"
            self.page.wait_for_timeout(50)

    def wait_for_text(self, selector: str, text: str) -> None:
        """Wait until the first element of a selector holds a text: what the stream brings comes when it comes."""
        until = time.monotonic() + WAIT_S
        while text not in (shown := self.page.locator(selector).first.inner_text()):
            assert time.monotonic() < until, f"{text!r} never came in {selector}:\n{shown[:2_000]}"
            self.page.wait_for_timeout(50)

    def csv(self, name: str) -> list[list[str]]:
        """Take a table as a file, and return its rows, the head first."""
        with self.page.expect_download() as taken:
            self.page.click(f"[aria-label='{name} as CSV']")
        assert taken.value.suggested_filename.endswith(".csv")
        with Path(taken.value.path()).open(newline="") as text:
            return list(csv.reader(text))

    def note(self) -> str:
        """The newest answer to a command."""
        self.page.wait_for_selector(".note")
        return str(self.page.inner_text(".note:last-child"))

    def row(self, table: str, name: str) -> str:
        """A row of a table, by its first cell, as text."""
        row = self.page.locator(f"section[aria-label='{table}'] tbody tr", has=self.page.locator(f"text='{name}'"))
        return str(row.first.inner_text())
