"""The lines that a strategy draws: bounded, the newest value of each, and the same whether anybody looks or not."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from headrace import Engine, Strategy
from headrace.control.stream.engine_state import EngineState
from headrace.control.stream.samples import samples_of
from headrace.errors import HeadraceError, OptionError
from headrace.limits import PLOTS_MAX
from tests.support.engines import engine_over, market
from tests.support.feeding import BTC


class Drawing(Strategy):
    """Draws what it is given, at each quote."""

    def __init__(self, *lines: tuple[str, Any, str | None]) -> None:
        self.lines = lines
        self.quotes = 0

    def on_quote(self, mid: float) -> None:
        self.quotes += 1
        for name, value, instrument in self.lines:
            self.plot(name, mid if value is ... else value, instrument=instrument)


def ran(*lines: tuple[str, Any, str | None]) -> Engine:
    """An engine whose strategy has drawn these lines at three quotes."""
    engine = engine_over(market([100.0, 101.0, 102.0]), [Drawing(*lines)])
    engine.run()
    return engine


def test_the_newest_value_of_each_line_is_in_the_state_and_sampled() -> None:
    state = EngineState(ran(("fast", ..., BTC), ("score", Decimal("0.25"), None))).read()
    fast, score = f"Drawing/{BTC}/fast", "Drawing/score"
    row = {"strategy": "Drawing", "instrument": BTC, "name": "fast"}
    assert state["plots"][fast] == {**row, "value": pytest.approx(102.0, abs=1)}
    assert state["plots"][score]["value"] == 0.25
    samples = samples_of(state)
    assert samples[f"plots/{fast}"] == state["plots"][fast]["value"]
    assert samples[f"plots/{score}"] == 0.25


@pytest.mark.parametrize("value", [None, math.nan, math.inf, np.float64("nan"), Decimal("NaN")])
def test_a_line_breaks_where_its_value_is_unknown(value: Any) -> None:
    assert EngineState(ran(("fast", value, None))).read()["plots"]["Drawing/fast"]["value"] is None


def test_a_strategy_has_so_many_lines_at_most() -> None:
    lines = [(f"line {number}", 1.0, None) for number in range(PLOTS_MAX)]
    assert len(ran(*lines).plots.newest) == PLOTS_MAX
    with pytest.raises(OptionError, match=f"line {PLOTS_MAX + 1} of Drawing"):
        ran(*lines, ("one more", 1.0, None))


def test_lines_of_one_name_are_named_with_their_instruments() -> None:
    lines = [("fast", 1.0, None), ("fast", 1.0, BTC), *[(f"line {number}", 1.0, BTC) for number in range(PLOTS_MAX)]]
    with pytest.raises(OptionError, match=f"plot one of fast, fast of {BTC}, line 0 of {BTC}, "):
        ran(*lines)


@pytest.mark.parametrize(
    ("name", "value", "instrument"),
    [
        ("fast", "1.0", None),
        ("fast", True, None),
        ("fast", 1.0, "NONE.SUCH"),
        ("fast", 1.0, 3),
        ("", 1.0, None),
        ("a/b", 1.0, None),
        ("x" * 65, 1.0, None),
        (3, 1.0, None),
    ],
)
def test_what_is_no_line_is_refused_whether_anybody_looks_or_not(name: Any, value: Any, instrument: Any) -> None:
    with pytest.raises(HeadraceError):
        ran((name, value, instrument))


def test_a_long_run_keeps_no_more_than_its_lines() -> None:
    engine = engine_over(market([100.0 + number % 7 for number in range(5_000)]), [Drawing(("fast", ..., BTC))])
    engine.run()
    assert len(engine.plots.newest) == 1
