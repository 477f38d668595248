"""Marks: beside a list of all prices, for instruments whose prices come in the same steps and in others."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.research.marks import Marks

S = 1_000_000_000
NAMES = ("A", "B", "C")


@pytest.mark.parametrize("alike", [True, False])
def test_marks_are_the_last_prices_of_their_steps(seed: int, alike: bool) -> None:
    """In parts of random lengths; prices of the same times are told from prices of others."""
    rng = np.random.default_rng(seed)
    marks, prices = Marks(), {}
    times = np.cumsum(rng.integers(1, 3 * S, 300)) + 5 * S
    for name in NAMES:
        own = times if alike else times[rng.random(len(times)) < 0.5]
        prices[name] = (own, rng.random(len(own)))
        cuts = np.sort(rng.integers(1, len(own), 3))
        for at in np.split(np.arange(len(own)), np.unique(cuts)):
            marks.add(name, own[at], prices[name][1][at])
    last_ns = int(times[-1]) - S // 2
    shown = {name: own for name, (own, _) in prices.items()}
    expected = sorted({min((int(ts) + S - 1) // S * S, last_ns) for own in shown.values() for ts in own})
    ends = marks.ends(NAMES, last_ns)
    assert sorted(set(ends.tolist())) == expected
    assert (np.diff(ends) >= 0).all()
    for name, (own, values) in prices.items():
        for wanted in (ends, marks.ends([name], int(times[-1]) + S), np.array([0, 7 * S, 9 * S])):
            # A step shows the last price until its end, and a step that the run ends in shows all of it.
            until = (wanted + S - 1) // S * S
            at = np.searchsorted(own, until, "right") - 1
            known = np.where(at >= 0, values[np.maximum(at, 0)], np.nan)
            np.testing.assert_array_equal(marks.at(name, wanted), known)


def test_what_is_read_of_marks_may_be_written() -> None:
    marks = Marks()
    marks.add("A", np.array([S, 2 * S]), np.array([1.0, 2.0]))
    ends = marks.ends(["A"], 9 * S)
    marks.at("A", ends)[:] = 5.0
    assert marks.at("A", ends).tolist() == [1.0, 2.0]
