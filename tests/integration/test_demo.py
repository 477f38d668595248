"""``headrace demo``: ends well, quickly, and its figures say what it claims."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable

Run = Callable[..., subprocess.CompletedProcess[str]]
LAW = re.compile(
    r"^  [=+]? ?(published|delivered|filtered|missed|conflated|skipped|pending|sum) +([\d,]+)", re.MULTILINE
)


def test_the_quick_demo_ends_well_within_five_seconds(headrace_run: Run) -> None:
    started = time.monotonic()
    ended = headrace_run("demo", "--quick")
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - started < 5
    assert "\x1b" not in ended.stdout + ended.stderr
    assert all(name in ended.stdout for name in ("SpreadWatch", "TradeFlow", "SlowJournal", "Faulty", "quarantined"))


def test_the_printed_loss_law_adds_up_and_something_was_lost(headrace_run: Run) -> None:
    printed = {name: int(count.replace(",", "")) for name, count in LAW.findall(headrace_run("demo", "--quick").stdout)}
    published, total = printed.pop("published"), printed.pop("sum")
    assert published == total == sum(printed.values())
    assert printed["missed"] > 0
    assert printed["pending"] == 0
