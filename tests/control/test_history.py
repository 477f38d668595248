"""The history: a day of samples in memory that never grows, in which no spike is lost."""

from __future__ import annotations

import math
import random

import pytest

from headrace.control.stream.history import LEVELS_S, SLOTS, History
from headrace.errors import OptionError
from tests.support.memory import rss_bytes

SECOND = 1_000_000_000
START = 1_767_571_200 * SECOND


def test_memory_stays_as_it_was_over_three_days() -> None:
    history = History()
    history.add(START, {"lag": 0.0})
    before = history.nbytes
    for second in range(0, 3 * 86_400, 7):
        history.add(START + second * SECOND, {"lag": float(second)})
    assert history.nbytes == before
    assert len(history.read(["lag"], "24h")["series"]["lag"]["last"]) == SLOTS


def test_many_series_take_memory_as_time_passes_and_not_before() -> None:
    history = History()
    before = rss_bytes()
    history.add(START, {f"s{number}": 1.0 for number in range(256)})
    # Each slot of a level is 6 KiB; all of them would be 16 MiB, and 10 ms of the engine's thread.
    assert rss_bytes() - before < 4 << 20 < history.nbytes


def test_slots_equal_a_plain_recomputation(seed: int) -> None:
    chance = random.Random(seed)
    history = History()
    samples: list[tuple[int, float | None]] = []
    second = 0
    for _ in range(3_000):
        second += chance.choice([1, 1, 1, 2, 40]) if chance.random() < 0.99 else 1_500
        value = None if chance.random() < 0.1 else chance.uniform(-5, 5)
        samples.append((START + second * SECOND, value))
        history.add(samples[-1][0], {"value": value})
    for span, step_s in zip(("15m", "2h", "24h"), LEVELS_S, strict=True):
        step_ns = step_s * SECOND
        slots: dict[int, list[float]] = {}
        for ts_ns, value in samples:
            if value is not None:
                slots.setdefault(ts_ns // step_ns, []).append(value)
        newest = samples[-1][0] // step_ns
        kept = {slot: own for slot, own in slots.items() if slot > newest - SLOTS}
        answer = history.read(["value"], span)
        first = int(answer["first_ns"]) // step_ns
        # Nothing is kept when the newest sample alone is young enough, and has no value.
        assert first == min(kept, default=0), f"HEADRACE_SEED={seed}"
        found = answer["series"]["value"]
        wanted = [kept.get(slot) for slot in range(first, newest + 1)] if kept else []
        assert found["low"] == [own and min(own) for own in wanted]
        assert found["high"] == [own and max(own) for own in wanted]
        assert found["last"] == [own and own[-1] for own in wanted]


def test_a_span_in_which_no_value_was_sampled_is_empty() -> None:
    history = History()
    history.add(START, {"lag": 1.0})
    history.add(START + (SLOTS + 1) * SECOND, {"lag": None})
    assert history.read(["lag"], "15m")["series"]["lag"] == {"low": [], "high": [], "last": []}
    assert history.read(["lag"], "15m")["first_ns"] == 0
    assert history.read(["lag"], "2h")["series"]["lag"]["last"][0] == 1.0


def test_a_spike_of_a_second_is_in_the_day() -> None:
    history = History()
    for second in range(20_000):
        history.add(START + second * SECOND, {"lag": 9.0 if second == 4_321 else 0.5})
    day = history.read(["lag"], "24h")["series"]["lag"]
    assert max(day["high"]) == 9.0
    assert day["last"].count(9.0) == 0


def test_series_beyond_the_room_are_counted() -> None:
    history = History(series_max=20)
    history.add(START, {f"s{number}": 1.0 for number in range(25)})
    assert len(history.names) == 20
    assert history.refused == 5
    assert history.read(["s1*"], "15m")["series"].keys() == {"s1", *(f"s1{number}" for number in range(10))}


@pytest.mark.parametrize(("names", "span", "said"), [(["lga"], "15m", "lag"), (["lag"], "15 m", "15m")])
def test_an_unknown_series_or_span_names_the_nearest(names: list[str], span: str, said: str) -> None:
    history = History()
    history.add(START, {"lag": math.pi})
    with pytest.raises(OptionError, match=said):
        history.read(names, span)


def test_a_new_series_begins_with_empty_slots() -> None:
    history = History()
    for second in range(40):
        series = {f"s{number}": float(second) for number in range(1 if second < 20 else 40)}
        history.add(START + second * SECOND, series)
    answer = history.read(["s0", "s39"], "15m")["series"]
    assert answer["s0"]["last"] == [float(second) for second in range(40)]
    assert answer["s39"]["last"] == [None] * 20 + [float(second) for second in range(20, 40)]
