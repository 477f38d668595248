"""Loading a CSV file: the line, the column and the value of what is wrong, and then nothing is stored."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from headrace.errors import OptionError, RecommendationError
from headrace.execution import Store
from headrace.execution.loading import TABLES, load_csv
from tests.support.command import Run
from tests.support.executing import recommend, row, statuses

BARS = "ticker,ts,open,high,low,close,volume\n"
FEATURES = "ticker,ts,sma_20,sma_50,volume_ratio,trend,recent_vol\n"
WATCHLIST = "ticker,rank,score,reasons_json,updated_at\n"
RECOMMENDATIONS = "ticker,action,confidence,idempotency_key,reason,priority\n"
TS = "2026-01-13T15:30:00Z"
GOOD = {
    "lane_telemetry": (BARS, f"A,{TS},1,2,1,1.5,10\n"),
    "lane_features": (FEATURES, f"A,{TS},1,,0.5,-1,0.01\n"),
    "watchlist_state": (WATCHLIST, f'A,1,-2.5,"{{""why"":""x""}}",{TS}\n'),
    "dispatch_recommendations": (RECOMMENDATIONS, 'A,BUY_CALL,0.9,k,"{""rule"":""x""}",3\n'),
}


def load(store: Store, table: str, file: Path) -> int:
    return load_csv(store, table, file, lambda *_: None)


def count(store: Store, table: str) -> int:
    [[found]] = store.query(f"SELECT COUNT(*) FROM {table}")
    return int(found)


def test_every_table_is_tried() -> None:
    assert GOOD.keys() == TABLES.keys()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", ["as it is", "byte order mark", "CRLF", "no line end", "empty lines"])
def test_a_good_file_loads_however_it_was_saved(store: Store, tmp_path: Path, table: str, change: str) -> None:
    header, line = GOOD[table]
    data = {
        "as it is": (header + line).encode(),
        "byte order mark": b"\xef\xbb\xbf" + (header + line).encode(),
        "CRLF": (header + line).replace("\n", "\r\n").encode(),
        "no line end": (header + line).rstrip("\n").encode(),
        "empty lines": f"{header}\n{line}\n\n".encode(),
    }[change]
    file = tmp_path / "own.csv"
    file.write_bytes(data)
    assert load(store, table, file) == 1
    assert store.query(f"SELECT ticker FROM {table}") == [("A",)]


def test_csv_loads_and_loads_again(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(BARS + "".join(f"A,2026-01-13T15:{n // 60:02}:{n % 60:02}Z,1,2,1,1.5,10\n" for n in range(1_200)))
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        assert load_csv(store, "lane_telemetry", file, lambda done, total, _: seen.append((done, total))) == 1_200
    # Three transactions, of which each was checked before.
    assert len(seen) == 2 * 6
    assert seen[:6] == seen[6:] == sorted(seen[:6])
    assert seen[-1] == (2 * file.stat().st_size, 2 * file.stat().st_size)
    assert count(store, "lane_telemetry") == 1_200


def test_csv_of_recommendations_keeps_what_is_there(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("".join(GOOD["dispatch_recommendations"]))
    for _ in range(2):
        assert load(store, "dispatch_recommendations", file) == 1
    assert row(store, 1, "ticker", "priority", "status") == ("A", 3, "PENDING")


def test_a_pipe_is_loaded(store: Store, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("".join(GOOD["lane_telemetry"]),))
    writer.start()
    assert load(store, "lane_telemetry", pipe) == 1
    writer.join()


BAR = "lane_telemetry"
WRONG = [
    (BAR, f"{BARS}A,{TS},1,2,1,x,1\n", "line 2: close: 'x' is no number"),
    (BAR, f"{BARS}A,{TS},1,2,1,NaN,1\n", "line 2: close: 'NaN' is no number"),
    (BAR, f"{BARS}A,{TS},1,inf,1,1,1\n", "line 2: high: 'inf' is no number"),
    (BAR, f"{BARS}A,{TS},1,2,1,1,-5\n", "line 2: volume='-5' is not allowed: use a number from 0"),
    (BAR, f"{BARS}A,{TS},0,2,1,1,5\n", "line 2: open='0' is not allowed: use a number above 0"),
    (BAR, f"{BARS}A,{TS},1,2,,1,5\n", "line 2: lane_telemetry needs low"),
    (BAR, f"{BARS},{TS},1,2,1,1,5\n", "line 2: lane_telemetry needs ticker"),
    (BAR, f"{BARS}A,{TS},7,5,8,7,1\n", "line 2: high=5 is below low=8"),
    (BAR, f"{BARS}A,{TS},7,8,6,8.01,1\n", "line 2: close=8.01 is not between low=6 and high=8"),
    (BAR, f"{BARS}A,{TS},10,10.5,9,9,1\nA,{TS},9,100,10,11,1\n", "line 3: open=9 is not between low=10 and high=100"),
    (BAR, f"{BARS}A,2026-01-13T15:30:00,1,2,1,1,1\n", "line 2: ts"),
    (BAR, f"{BARS}A,1768316400,1,2,1,1,1\n", "line 2: ts is 1768316400"),
    (BAR, f"{BARS}A,0001-01-01T00:00:00Z,1,2,1,1,1\n", "line 2: ts=.*between 2000 and 2200"),
    (BAR, f"{BARS}A,9999-12-31T23:59:59-14:00,1,2,1,1,1\n", "line 2: ts=.*2200"),
    (
        BAR,
        f"ticker,ts,open,high,low,clsoe,volume\nA,{TS},1,2,1,1,1\n",
        "line 1: .*no column 'clsoe'.*did you mean close",
    ),
    (BAR, "Date,Open,High,Low,Close,Volume\n2026-01-13,1,2,1,1,1\n", "line 1: lane_telemetry has no column 'Close'"),
    (BAR, f"ticker;ts;open\nA;{TS};1\n", "line 1: lane_telemetry has no column 'ticker;ts;open'"),
    # Which one is the close?
    (BAR, f"ticker,ts,open,high,low,close,close,volume\nA,{TS},1,2,1,1,9,1\n", "line 1: .*two columns 'close'"),
    (BAR, f"ticker,ts\nA,{TS}\n", "line 1: lane_telemetry needs a column open"),
    (BAR, f"{BARS}A,{TS},1,2\n", "line 2: it has 4 cells, and the first line names 7 columns"),
    (BAR, f"{BARS}A,{TS},1,2,1,1,1,1,1\n", "line 2: it has 9 cells, and the first line names 7 columns"),
    (BAR, f'{BARS}"A', "line 2 is no CSV"),
    (
        "lane_features",
        f"{FEATURES}A,{TS},1,1,1,2,1\n",
        "line 2: trend='2' is not allowed: use a whole number from -1 to 1",
    ),
    ("lane_features", f"{FEATURES}A,{TS},1,1,1,1.0,1\n", "line 2: trend='1.0' is not allowed"),
    ("lane_features", f"{FEATURES}A,{TS},1,1,1,1,-0.1\n", "line 2: recent_vol='-0.1' is not allowed"),
    ("lane_features", f"{FEATURES}A,{TS},nan,1,1,1,1\n", "line 2: sma_20: 'nan' is no number"),
    ("watchlist_state", f"{WATCHLIST}A,0,1,{{}},{TS}\n", "line 2: rank='0' is not allowed"),
    ("watchlist_state", f"{WATCHLIST}A,1_0,1,{{}},{TS}\n", "line 2: rank='1_0' is not allowed"),
    ("watchlist_state", f"{WATCHLIST}A,1,1,[],{TS}\n", r"line 2: reasons_json=\[\] is not allowed"),
    ("dispatch_recommendations", f"{RECOMMENDATIONS}A,BUY,nan,k,,\n", "line 2: confidence: 'nan' is no number"),
    ("dispatch_recommendations", f"{RECOMMENDATIONS}A,BUY,1.1,k,,\n", "line 2: confidence=1.1 is not allowed"),
    ("dispatch_recommendations", f"{RECOMMENDATIONS}A,BUY,1,k,,high\n", "line 2: priority='high' is not allowed"),
    (
        "dispatch_recommendations",
        f"{RECOMMENDATIONS}A,BUY,1,,,\n",
        "line 2: dispatch_recommendations needs idempotency_key",
    ),
    ("dispatch_recommendations", f"{RECOMMENDATIONS}A,BUY,1,k,no,\n", "line 2: reason is no JSON"),
    (
        "dispatch_recommendations",
        f"{RECOMMENDATIONS}A,BUY,1,k,,\nB,BUY,1,k,,\n",
        "line 3: idempotency_key 'k' is in an earlier",
    ),
]


@pytest.mark.parametrize(("table", "text", "said"), WRONG)
def test_a_wrong_file_names_its_line_and_stores_nothing(
    store: Store, tmp_path: Path, table: str, text: str, said: str
) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    with pytest.raises(RecommendationError, match=said) as raised:
        load(store, table, file)
    assert str(file) in str(raised.value)
    assert count(store, table) == 0


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty: its first line names columns"),
        (b"\xef\xbb\xbf", "is empty: its first line names columns"),
        (b"\n\r\n", "is empty: its first line names columns"),
        (b"HEADER", "has no row below its first line"),
        (b"HEADER\n\n", "has no row below its first line"),
        ("ticker,ts\n".encode("utf-16"), "line 1 is no CSV in UTF-8"),
        (b"HEADER\xe9\xff,1\n", "is no CSV in UTF-8"),
    ],
)
def test_a_file_without_rows_is_an_error(store: Store, tmp_path: Path, table: str, data: bytes, said: str) -> None:
    file = tmp_path / "wrong.csv"
    file.write_bytes(data.replace(b"HEADER", GOOD[table][0].encode()))
    with pytest.raises(RecommendationError, match=said) as raised:
        load(store, table, file)
    assert str(file) in str(raised.value)


def test_a_wrong_last_line_of_many_stores_nothing(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    lines = [f"A,2026-01-13T15:{n // 60:02}:{n % 60:02}Z,1,2,1,1.5,10\n" for n in range(1_200)]
    file.write_text(BARS + "".join(lines) + f"A,{TS},1,1,2,1,1\n")
    with pytest.raises(RecommendationError, match="line 1202: high=1 is below low=2"):
        load(store, BAR, file)
    assert count(store, BAR) == 0


def test_a_key_that_is_taken_stores_nothing_of_the_file(store: Store, tmp_path: Path) -> None:
    recommend(store, prefix="taken")
    file = tmp_path / "own.csv"
    own = "".join(f"A,BUY_CALL,0.9,key-{number},,\n" for number in range(600))
    file.write_text(f"{RECOMMENDATIONS}{own}A,BUY_PUT,0.9,taken-0,,\n")
    with pytest.raises(RecommendationError, match="line 602: idempotency_key 'taken-0' belongs to"):
        load(store, "dispatch_recommendations", file)
    assert statuses(store) == {"PENDING": 1}


def test_the_command_says_what_is_wrong_and_fails(url: str, tmp_path: Path, headrace_run: Run) -> None:
    file = tmp_path / "bars.csv"
    for text, said in (("", "is empty"), (f"{BARS}A,{TS},1,1,2,1,1\n", "line 2: high=1 is below low=2")):
        file.write_text(text)
        ended = headrace_run("db", "load", BAR, file, "--db", url)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert f"{file} {said}" in ended.stderr


def test_an_unknown_table_is_an_error_with_the_nearest(store: Store) -> None:
    with pytest.raises(OptionError, match="did you mean lane_features"):
        load(store, "lane_feature", Path(os.devnull))
