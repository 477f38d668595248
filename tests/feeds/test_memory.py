"""Memory while files are read or converted: it does not grow with a file, or with a row group of Parquet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MIB = 1 << 20
# Writes quotes as one row group, a part at a time where there are many.
WRITE = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
path, count = sys.argv[1], int(sys.argv[2])
times = 1_767_571_200_000_000_000 + 1_000 * np.arange(count)
prices = 100.0 + (np.arange(count) % 1_000) / 100
table = pa.table({"ts_init": times, "bid_price": prices, "ask_price": prices + 1.0})
pq.write_table(table, path, row_group_size=count, compression="lz4", use_dictionary=False)
"""
# Replays it, and prints ticks and how far memory rose above what it was before the file was opened, in bytes.
READ = """
import resource, sys
import pyarrow.parquet
from headrace import Strategy, replay
from headrace.feeds import TickFeed

class Sum(Strategy):
    total = 0.0
    def on_quote(self, bid_price):
        self.total += bid_price

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

replay(TickFeed(sys.argv[2], instrument="A.B"), Sum())  # What is loaded and made once is no matter of size.
base = rss()
peak = [base]
feed = TickFeed(sys.argv[1], instrument="A.B")
report = replay(feed, Sum(), progress=lambda _: peak.append(rss()))
print(report.ticks["quote"], max(peak) - base)
"""
# Converts a small file and a large one of candles, and prints candles and how far the second raised the peak, in bytes.
CONVERT = """
import sys
from pathlib import Path
from headrace.app.convert import convert
from headrace.feeds import CandleFeed

def peak():
    return next(int(own.split()[1]) << 10 for own in open("/proc/self/status") if own.startswith("VmHWM"))

columns = {"ts_open": "ts_init", "open": "bid_price", "high": "ask_price", "low": "bid_price", "close": "bid_price"}
def converted(path):
    return convert(CandleFeed(path, instrument="A.B", timeframe="1s", columns=columns), Path(path + ".made.parquet"))

converted(sys.argv[2])
base = peak()
print(converted(sys.argv[1]).candles, peak() - base)
"""


def peak_above_base(folder: Path, count: int, run: str = READ) -> int:
    for name, rows in (("large", count), ("small", 1_000)):
        path = str(folder / f"{name}.parquet")
        subprocess.run([sys.executable, "-c", WRITE, path, str(rows)], check=True, capture_output=True)
    files = [str(folder / f"{name}.parquet") for name in ("large", "small")]
    done = subprocess.run([sys.executable, "-c", run, *files], check=True, capture_output=True, text=True)
    rows, above = map(int, done.stdout.split())
    assert rows == count
    return above


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    """Read whole, the row group is 72 MB."""
    assert peak_above_base(tmp_path, 3_000_000) < 64 * MIB


def test_candles_that_are_converted_are_not_kept_in_memory(tmp_path: Path) -> None:
    """Held at once, the candles are 128 MB."""
    assert peak_above_base(tmp_path, 2_000_000, CONVERT) < 64 * MIB


@pytest.mark.deep
@pytest.mark.timeout(1_800)
def test_a_hundred_million_ticks_of_one_row_group_fit_in_300_mib(tmp_path: Path) -> None:
    assert peak_above_base(tmp_path, 100_000_000) < 300 * MIB
