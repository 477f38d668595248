"""Candles and moments with local times: no candle closes before it is over, and a distance from UTC counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from headrace.errors import DataError, OptionError
from headrace.feeds import CandleFeed
from headrace.market.times import moment_ns

NAME = "AAPL.NASDAQ"
HOUR = 3_600_000_000_000


def frame(times: object) -> pd.DataFrame:
    made = pd.DataFrame({"time": times})
    return made.assign(open=100.0, high=101.0, low=99.0, close=100.0)


@pytest.mark.parametrize(
    ("times", "lengths"),
    [
        (pd.date_range("2025-03-07", periods=5, freq="1D", tz="America/New_York"), "23h and 1d"),
        (pd.date_range("2025-10-31", periods=5, freq="1D", tz="America/New_York"), "1d and 25h"),
        (pd.date_range("2025-01-01", periods=5, freq="MS"), "28d and 31d"),
    ],
)
def test_steps_that_show_no_one_timeframe_are_refused(times: pd.DatetimeIndex, lengths: str) -> None:
    """Days of 23 hours made every day close an hour before it was over."""
    with pytest.raises(DataError, match=f"rows that lie {lengths} apart, .* give CandleFeed\\(…, timeframe='1d'\\)"):
        CandleFeed(frame(times), instrument=NAME).read()


def test_days_of_a_zone_last_a_day_where_that_is_said() -> None:
    times = pd.date_range("2025-03-07", periods=5, freq="1D", tz="America/New_York")
    read = CandleFeed(frame(times), instrument=NAME, timeframe="1d").read()
    assert read["ts_open"].tolist() == times.as_unit("ns").astype("i8").tolist()
    assert (read["ts_close"] - read["ts_open"] == 24 * HOUR).all()


def test_gaps_are_multiples_of_a_timeframe() -> None:
    """A weekend, and the hour that local times without a zone leave out."""
    for times in (pd.bdate_range("2025-03-06", periods=8), pd.to_datetime(["2025-03-09T01", "2025-03-09T03"])):
        assert len(CandleFeed(frame(times), instrument=NAME).read()) == len(times)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2025-03-30T02:30:00+02:00", "2025-03-30T00:30"),
        ("2025-03-30 00:30:00.25+0100", "2025-03-29T23:30:00.25"),
        ("2025-03-30T22:00-05", "2025-03-31T03:00"),
        ("2025-03-30T12:00+05:30", "2025-03-30T06:30"),
        ("2025-03-30T12:00+00:00", "2025-03-30T12:00"),
        ("2025-03-30T12:00Z", "2025-03-30T12:00"),
        ("2025-03-30", "2025-03-30"),
    ],
)
def test_a_text_ends_with_its_distance_from_utc(text: str, utc: str) -> None:
    """NumPy warned each time, which ended a run where warnings are errors."""
    expected = np.datetime64(utc, "ns").astype("i8")
    assert moment_ns("start", text) == expected
    later = f"{np.datetime64(utc, 's') + 3_600}"
    assert CandleFeed(frame([text, later]), instrument=NAME, timeframe="1m").read()["ts_open"][0] == expected


@pytest.mark.parametrize("zone", ["+2", "+02:75", "+99:00", "-5:00", "+02:00+02:00"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(OptionError, match="start="):
        moment_ns("start", f"2025-03-30T12:00{zone}")
    with pytest.raises(DataError, match=r"row 2: time is .*, which is no time in UTC"):
        CandleFeed(frame(["2025-03-30T11:00Z", f"2025-03-30T12:00{zone}"]), instrument=NAME).read()
