"""A column of a table becomes ticks exactly, or is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace import ticks
from headrace.errors import OptionError
from tests.support.feeding import BTC

DAYS = ["2026-01-05", "2026-01-06"]
DAYS_NS = [1_767_571_200_000_000_000, 1_767_657_600_000_000_000]


def quotes(**columns: Any) -> np.ndarray:
    """Two quotes, with some columns of the test's own."""
    return ticks(instrument=BTC, **{"ts_init": [1, 2], "bid_price": [1.0, 2.0], "ask_price": [2.0, 3.0], **columns})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "6h", "D"])
def test_datetime64_of_every_unit_becomes_nanoseconds(unit: str) -> None:
    assert quotes(ts_init=np.array(DAYS, f"M8[{unit}]"))["ts_init"].tolist() == DAYS_NS


def test_nat_is_refused() -> None:
    with pytest.raises(OptionError, match="NaT at row 1"):
        quotes(ts_init=np.array(["2026-01-05", "NaT"], "M8[s]"))


def test_float32_slice_keeps_its_value() -> None:
    made = quotes(ts_init=[1], bid_price=np.array([0.1, 5, 7], "f4")[::3], ask_price=2)
    assert made["values"][:, :2].tolist() == [[0.10000000149011612, 2.0]]
