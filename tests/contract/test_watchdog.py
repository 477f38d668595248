"""A test that takes too long fails by name, whatever it hangs in, and the tests behind it run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
from tests.support.watchdog import Watchdog


def pytest_configure(config):
    config.pluginmanager.register(Watchdog(grace_s=8.0))
"""
HEAD = """
import asyncio
import ctypes
import itertools
import time

import pytest

pytestmark = pytest.mark.timeout(1.5)
"""
NEXT = """

def test_next():
    pass
"""
# Each hangs in the test called ``test_hangs``.
BUSY_LOOP = """
@pytest.mark.asyncio
async def test_hangs():
    loop = asyncio.get_running_loop()

    def busy():
        time.sleep(0.01)
        loop.call_soon(busy)

    busy()
    await asyncio.Event().wait()
"""
BUSY_TASK = """
@pytest.mark.asyncio
async def test_hangs():
    async def busy():
        while True:
            try:
                time.sleep(0.01)
                await asyncio.sleep(0)
            except Exception:
                pass

    busy_ones = [asyncio.create_task(busy()) for _ in range(3)]
    await asyncio.gather(*busy_ones, return_exceptions=True)
"""
HANDLER = """
from headrace import Strategy, replay
from headrace.feeds import SyntheticFeed


class Slow(Strategy):
    def on_quote(self, bid_price):
        time.sleep(0.01)


def test_hangs():
    replay(SyntheticFeed(frames=20_000), Slow())
"""
IDLE_LOOP = """
@pytest.mark.asyncio
async def test_hangs():
    await asyncio.Event().wait()
"""
TEARDOWN = """
@pytest.fixture
def slow():
    yield
    while True:
        time.sleep(0.01)


def test_hangs(slow):
    raise ValueError
"""
FINALIZER = """
class Slow:
    def __del__(self):
        time.sleep(100)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_hangs():
    Slow()
    time.sleep(100)
"""
# These alone, which take less than a second to import.
PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")
HANGS = {
    "busy loop": BUSY_LOOP,
    "busy tasks": BUSY_TASK,
    "handler": HANDLER,
    "idle loop": IDLE_LOOP,
    "finalizer": FINALIZER,
}


def run(folder: Path, root: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run a module of one test that hangs, and another one behind it."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(HEAD + test + NEXT)
    path = os.pathsep.join([str(root), str(root / "python")])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", *PLUGINS, "--rootdir", folder, folder],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("hang", HANGS)
def test_a_hanging_test_fails_and_the_next_one_runs(tmp_path: Path, root: Path, hang: str) -> None:
    ended = run(tmp_path, root, HANGS[hang])
    assert "FAILED test_it.py::test_hangs - Failed: Timeout (>1.5 s) of test_it.py::test_hangs" in ended.stdout
    assert "PASSED test_it.py::test_next" in ended.stdout
    assert "test_it.py::test_hangs takes too long" in ended.stderr
    assert "the run ended in" not in ended.stderr


@pytest.mark.timeout(60)
def test_what_the_tasks_of_a_loop_wait_for_is_shown(tmp_path: Path, root: Path) -> None:
    ended = run(tmp_path, root, IDLE_LOOP)
    assert "await asyncio.Event().wait()" in ended.stderr


@pytest.mark.timeout(60)
def test_a_teardown_behind_a_failure_has_an_alarm_too(tmp_path: Path, root: Path) -> None:
    ended = run(tmp_path, root, TEARDOWN)
    assert "FAILED test_it.py::test_hangs - ValueError" in ended.stdout
    assert "ERROR test_it.py::test_hangs - Failed: Timeout (>1.5 s)" in ended.stdout
    assert "PASSED test_it.py::test_next" in ended.stdout


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", ["sum(itertools.repeat(0))", "ctypes.string_at(0)"])
def test_a_run_that_ends_in_native_code_names_its_last_test(tmp_path: Path, root: Path, end: str) -> None:
    ended = run(tmp_path, root, f"def test_hangs():\n    {end}\n")
    assert ended.returncode != 0
    assert "test_next" not in ended.stdout
    assert ended.stderr.splitlines()[-1] == "the run ended in test_it.py::test_hangs"
