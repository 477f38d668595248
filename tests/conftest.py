"""What every test shares: one seed for all random ones, the real command, generated and real recordings.

Guarantees: the seed is printed and ``HEADRACE_SEED`` repeats it; a missing recording is a skip with its reason, or a
failure where ``HEADRACE_REQUIRE_RECORDINGS=1`` says that it must be there.
Does not: offer fakes; tests use the real part.
"""

from __future__ import annotations

import faulthandler
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import settings

from headrace.feeds import SyntheticFeed
from tests.support.command import COMMAND, Run

SEED = pytest.StashKey[int]()
# How much later than pytest-timeout the watchdog bites.
WATCHDOG_GRACE_S = 10

# pytest-timeout ends a hang; a deadline per example would only measure how busy the machine is. On a build machine
# Hypothesis would repeat the same examples every day; ours are new each time, and the seed repeats them.
settings.register_profile("headrace", deadline=None, print_blob=True, derandomize=False)
settings.load_profile("headrace")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed before Hypothesis looks for it."""
    given = os.environ.get("HEADRACE_SEED")
    seed = int(given) if given else random.SystemRandom().randrange(2**32)
    config.stash[SEED] = seed
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the run, with every thread's stack, when a test hangs inside native code.

    pytest-timeout needs the interpreter to act; a native call that never gives it back would hang for ever.
    """
    marker = item.get_closest_marker("timeout")
    limit_s = (
        marker.args[0] if marker and marker.args else item.config.getoption("timeout") or item.config.getini("timeout")
    )
    stderr = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(float(limit_s) + WATCHDOG_GRACE_S, exit=True, file=stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_report_header(config: pytest.Config) -> str:
    """Name the seed before the first test, so that a run that hangs has named it too."""
    return f"HEADRACE_SEED={config.stash[SEED]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the seed again under the failures, where it is looked for."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"repeat the random tests with HEADRACE_SEED={config.stash[SEED]}")


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed, for tests that make their own random numbers."""
    return request.config.stash[SEED]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds the Makefile."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder with the real recordings, from ``HEADRACE_RECORDINGS``."""
    required = os.environ.get("HEADRACE_REQUIRE_RECORDINGS") == "1"
    named = os.environ.get("HEADRACE_RECORDINGS")
    if named and Path(named).is_dir():
        return Path(named).resolve()
    reason = f"HEADRACE_RECORDINGS={named} is no folder" if named else "HEADRACE_RECORDINGS names no folder"
    if required:
        pytest.fail(f"{reason}, and HEADRACE_REQUIRE_RECORDINGS=1 demands one", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def headrace_run(tmp_path: Path) -> Run:
    """Run the command in a folder of its own; keyword arguments become environment variables, None unsets one."""

    def run(*arguments: str | Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
        # Chosen, so that the command need not start itself again; one test leaves it open.
        variables = {**os.environ, "PYTHONHASHSEED": "0", **environment}
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def spot_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated spot recording of 20,000 frames."""
    return SyntheticFeed(frames=20_000).write(tmp_path_factory.mktemp("recordings") / "spot.gz")


@pytest.fixture(scope="session")
def usdm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated USD-M recording of 20,000 frames, of the same symbol and time."""
    return SyntheticFeed(venue="BINANCE_USDM", frames=20_000).write(tmp_path_factory.mktemp("recordings") / "usdm.gz")
