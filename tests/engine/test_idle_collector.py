"""The collector of ``gc="idle"``: when it collects, and what it leaves alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from headrace.engine import idle_gc as turns
from headrace.engine.idle_gc import IdleCollector


class Ring:
    """Refers to itself, so only a collection frees it."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdleCollector]:
    """A collector with small bounds, so that the tests need few objects."""
    monkeypatch.setattr(turns, "YOUNG_MAX", 1_000)
    monkeypatch.setattr(turns, "COLLECT_ALL_AT", 10_000)
    made = IdleCollector()
    yield made
    made.close()


def rubbish(count: int) -> weakref.ref[Ring]:
    """Make some objects that refer to themselves, and return a weak reference to the last."""
    last = Ring()
    for _ in range(count - 1):
        last = Ring()
    return weakref.ref(last)


def test_garbage_is_collected_only_when_the_engine_is_idle(collector: IdleCollector) -> None:
    left = rubbish(1_500)
    collector.look(idle=False)
    assert left() is not None
    collector.look(idle=True)
    assert left() is None


def test_little_garbage_starts_no_collection(collector: IdleCollector) -> None:
    left = rubbish(100)
    collector.look(idle=True)
    assert left() is not None


def test_without_idle_time_the_bound_starts_a_collection(collector: IdleCollector) -> None:
    left = rubbish(41_000)
    collector.look(idle=False)
    assert left() is None


def test_objects_that_survived_young_collections_are_checked(collector: IdleCollector) -> None:
    kept = [Ring() for _ in range(2_000)]
    collector.look(idle=True)
    left = weakref.ref(kept[-1])
    kept.clear()
    for _ in range(9):
        rubbish(1_100)
        collector.look(idle=True)
    assert left() is None


def test_objects_alive_at_the_start_are_never_scanned() -> None:
    old = [Ring() for _ in range(100)]
    left = weakref.ref(old[-1])
    made = IdleCollector()
    try:
        old.clear()
        gc.collect()
        assert left() is not None
    finally:
        made.close()
    gc.collect()
    assert left() is None


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        IdleCollector().close()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_the_application_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        IdleCollector().close()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
