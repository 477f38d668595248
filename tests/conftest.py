"""What every test shares: one seed for all random ones, the real command, generated and real recordings.

Guarantees: the seed is printed and ``HEADRACE_SEED`` repeats it; a missing recording skips the test with a
reason, or fails it under ``HEADRACE_REQUIRE_RECORDINGS=1``.
Does not: offer fakes; tests use the real part.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from headrace.feeds import SyntheticFeed
from tests.support.command import COMMAND, Run
from tests.support.trading import close_desks
from tests.support.watchdog import Watchdog

SEED = pytest.StashKey[int]()
# How long after a test's timeout the watchdog ends the run.
WATCHDOG_GRACE_S = 30
# How often a test of a bound in wall time may be tried again: a machine that stands still for a second fails it, too.
ALONE_RERUNS = 2
# Tests in these folders, and those that run the command, need real servers, processes and clocks beside another test.
# They may be tried again once.
REAL_TIME_FOLDERS = frozenset({"cli", "control", "docs", "execution", "gateway", "venues"})
REAL_TIME_RERUNS = 1

# pytest-timeout ends a hang; a deadline per example, and a bound on the time in which examples are drawn, would only
# measure the load of the machine. On a build machine Hypothesis would run the same examples every day. Here each run
# draws new ones, and the seed repeats them.
settings.register_profile(
    "headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True, derandomize=False
)
settings.load_profile("headrace")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed before Hypothesis looks for it, and have hanging tests ended."""
    config.pluginmanager.register(Watchdog(grace_s=WATCHDOG_GRACE_S), "headrace-watchdog")
    # `nohup` and shells that start a job in the background ignore these signals, and so would each process of a test.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    given = os.environ.get("HEADRACE_SEED")
    seed = int(given) if given else random.SystemRandom().randrange(2**32)
    config.stash[SEED] = seed
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(seed)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests of bounds in wall time, and of real servers and processes, be tried again."""
    for item in items:
        if item.get_closest_marker("alone") is not None:
            item.add_marker(pytest.mark.flaky(reruns=ALONE_RERUNS))
        elif item.path.parent.name in REAL_TIME_FOLDERS or "headrace_run" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=REAL_TIME_RERUNS))


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


@pytest.fixture(scope="session", autouse=True)
def home_of_states(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the engines of this run apart from those of the user, and of another run of the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module", autouse=True)
def left_behind() -> Iterator[None]:
    """Free what a module's tests left: rings are native memory, which the garbage collector does not see grow.

    A command that ran in this process has set up the log, for a stream that is closed now.
    """
    log = logging.getLogger("headrace")
    before = (log.level, log.propagate, list(log.handlers))
    yield
    level, log.propagate, log.handlers = before
    log.setLevel(level)
    close_desks()
    gc.collect()


@pytest.fixture
def headrace_run(tmp_path: Path) -> Run:
    """Run the command in a new folder. Keyword arguments become environment variables; None unsets one."""

    def run(*arguments: str | Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
        # Set here, so that the command need not execute itself again; one test unsets it.
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
