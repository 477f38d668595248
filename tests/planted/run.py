"""Plant each bug of this folder in a copy of the tree, and fail when its test passes.

    make planted                                            all of them
    .venv/bin/python tests/planted/run.py --only ring       those with `ring` in their name
    .venv/bin/python tests/planted/run.py --fast            the three that `make test` runs

Bugs whose test needs a rebuilt extension run in one lane, all others in a second one beside it. Each lane
has its own copy in target/planted, runs each command once without a bug, and then builds only what a bug changes.

Guarantees: a test that fails without the bug proves nothing and is an error; so is a bug that does not fit or does not
compile, a test that does not exist, and a hang. Does not: change the tree itself.
"""

from __future__ import annotations

import argparse
import fcntl
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.planted.bug import BrokenBugError, Bug, Planted  # noqa: E402 - the script finds its own folder first
from tests.planted.lane import KILLED_BY_SIGNAL, Lane, Outcome, tail  # noqa: E402
from tests.planted.sources import Sources  # noqa: E402

BUGS = Path(__file__).parent
WORK = ROOT / "target" / "planted"
FAST_BUGS = 3
# What Cargo prints when the bug does not even compile.
BUILD_ERROR = re.compile(r"^error(\[E\d+\]|: could not compile|: no test target)", re.MULTILINE)
CARGO_RAN = re.compile(r"^test result: ok\. [1-9]", re.MULTILINE)
PYTEST_TESTS_FAILED = 1


def main() -> int:
    """Run the chosen bugs and return the exit code."""
    parser = argparse.ArgumentParser(description="plant bugs in a copy of the tree; each must be caught by its test")
    parser.add_argument("--fast", action="store_true", help=f"only the {FAST_BUGS} that are marked fast")
    parser.add_argument("--only", metavar="NAME", help="only bugs whose name contains NAME")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        bugs = choose([Bug.read(path) for path in sorted(BUGS.glob("*.bug"))], options.fast, options.only)
        sources = Sources(ROOT)
        planted = {bug: bug.plant(sources) for bug in bugs}
        with alone():
            escaped = run_lanes(planted)
    except BrokenBugError as error:
        sys.exit(f"planted: {error}")
    for line in escaped:
        print(f"planted: {line}", file=sys.stderr)
    minutes = (time.monotonic() - started) / 60
    print(f"planted: {len(bugs) - len(escaped)} of {len(bugs)} bugs were caught in {minutes:.1f} minutes")
    return 1 if escaped else 0


def choose(bugs: list[Bug], fast: bool, only: str | None) -> list[Bug]:
    """Return the bugs to run; none at all is an error."""
    chosen = [bug for bug in bugs if (bug.fast or not fast) and (only or "") in bug.name]
    if fast and not only and len(chosen) != FAST_BUGS:
        names = ", ".join(bug.name for bug in chosen) or "none"
        raise BrokenBugError(f"{FAST_BUGS} bugs must be marked `# fast`; marked are: {names}")
    if not chosen:
        raise BrokenBugError(f"no bug matches; there are: {', '.join(bug.name for bug in bugs) or 'none'}")
    return chosen


@contextmanager
def alone() -> Iterator[None]:
    """Hold the copies for this process; a second runner waits."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_lanes(planted: dict[Bug, Planted]) -> list[str]:
    """Run both lanes at once and return one line for each bug that was not caught."""
    # Bugs of one file follow each other, so that a build between two of them is short.
    ordered = sorted(planted.items(), key=lambda item: (item[1].path, item[0].name))
    work: list[tuple[Lane, dict[Bug, Planted]]] = []
    for name, builds_extension in [("extension", True), ("sources", False)]:
        mine = {bug: change for bug, change in ordered if needs_extension(bug, change) is builds_extension}
        if mine:
            work.append((Lane(ROOT, WORK / name, builds_extension=builds_extension), mine))
    with ThreadPoolExecutor(max_workers=len(work)) as pool:
        running = [pool.submit(run_lane, lane, mine) for lane, mine in work]
        try:
            return [line for each in running for line in each.result()]
        except BaseException:
            for lane, _ in work:
                lane.stop()
            raise


def needs_extension(bug: Bug, planted: Planted) -> bool:
    """Whether a test in Python needs the extension built with this bug."""
    return planted.path.suffix == ".rs" and is_pytest(bug.test)


def is_pytest(command: str) -> bool:
    """Whether pytest runs the tests of a command; otherwise Cargo does."""
    return "pytest" in command


def run_lane(lane: Lane, planted: dict[Bug, Planted]) -> list[str]:
    """Judge the bugs of one lane, one after the other, and return a line for each that was not caught."""
    started = time.monotonic()
    lane.prepare()
    escaped = []
    healthy = {test: reason_against(lane, test) for test in dict.fromkeys(bug.test for bug in planted)}
    print(f"{len(healthy)} commands ran without a bug in {time.monotonic() - started:.0f} s", flush=True)
    for bug, change in planted.items():
        started = time.monotonic()
        try:
            if reason := healthy[bug.test]:
                raise BrokenBugError(f"without the bug, too, {reason}")
            lane.plant(change)
            judge(bug, lane.run(bug.test))
            verdict = "caught"
        except BrokenBugError as error:
            escaped.append(f"{bug.name}: {error}")
            verdict = "NOT CAUGHT"
        print(f"{verdict} in {time.monotonic() - started:4.1f} s: {bug.name}: {bug.law}", flush=True)
        lane.copy_tree()
    return escaped


def reason_against(lane: Lane, test: str) -> str | None:
    """Run a command without a bug and return why it cannot judge one; None when it can."""
    try:
        outcome = lane.run(test)
    except BrokenBugError as error:
        return str(error)
    if outcome.code != 0:
        return f"the test fails: {test}\n{tail(outcome.output)}"
    if not is_pytest(test) and not CARGO_RAN.search(outcome.output):
        return f"no test runs: {test}\n{tail(outcome.output)}"
    return None


def judge(bug: Bug, outcome: Outcome) -> None:
    """Raise BrokenBugError unless the test failed because of the bug."""
    if outcome.code == 0:
        raise BrokenBugError(f"the test passes with the bug: {bug.test}")
    if BUILD_ERROR.search(outcome.output):
        raise BrokenBugError(f"the bug does not compile:\n{tail(outcome.output)}")
    if is_pytest(bug.test) and outcome.code != PYTEST_TESTS_FAILED and outcome.code < KILLED_BY_SIGNAL:
        raise BrokenBugError(f"pytest ended with {outcome.code}, so no test judged the bug:\n{tail(outcome.output)}")


if __name__ == "__main__":
    sys.exit(main())
