"""The pipeline: each step from bars and news to recommendations, repeatable, and silent about nothing."""

from __future__ import annotations

import http.server
import json
import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.errors import VenueRequestError
from headrace.execution import Store
from headrace.execution.pipeline import Pipeline, PipelineSettings, SignalRule
from headrace.execution.pipeline.bar_sources import AlpacaBars
from headrace.execution.pipeline.features import features_of
from headrace.execution.pipeline.fetching import fetched
from headrace.execution.pipeline.news import Lexicon, entries_of, tickers_in
from headrace.limits import FETCH_BYTES_MAX
from tests.support.executing import run, statuses
from tests.support.pipeline_files import MINUTE, RSS, bar_file, bars


def test_features_agree_with_an_independent_computation() -> None:
    rng = random.Random(1)
    own = [bar._replace(close=Decimal(str(round(100 + rng.gauss(0, 1), 2)))) for bar in bars(60)]
    found = features_of(own)
    assert found is not None
    closes = [float(bar.close) for bar in own]
    returns = [after / before - 1 for before, after in zip(closes[-21:-1], closes[-20:], strict=True)]
    assert float(found.sma_20 or 0) == pytest.approx(statistics.fmean(closes[-20:]))
    assert float(found.sma_50 or 0) == pytest.approx(statistics.fmean(closes[-50:]))
    assert float(found.recent_vol or 0) == pytest.approx(statistics.stdev(returns))
    assert float(found.volume_ratio or 0) == pytest.approx(2_000 / statistics.fmean([1_000] * 19 + [2_000]))


@pytest.mark.parametrize(("step", "trend"), [("0.1", 1), ("-0.1", -1), ("0", 0)])
def test_trend_is_the_order_of_close_and_averages(step: str, trend: int) -> None:
    found = features_of(bars(60, step=step))
    assert found is not None
    assert found.trend == trend


def test_too_few_bars_give_none_and_nothing_is_invented() -> None:
    assert features_of([]) is None
    found = features_of(bars(30))
    assert found is not None
    assert (found.sma_50, found.trend) == (None, None)
    assert found.sma_20 is not None


def test_from_files_to_an_execution_and_again_without_a_change(store: Store, tmp_path: Path) -> None:
    news = tmp_path / "news.xml"
    news.write_text(RSS)
    settings = PipelineSettings(
        tickers=("AAPL", "MSFT", "NONE"),
        bars=str(bar_file(tmp_path / "bars.csv", "AAPL", "MSFT")),
        news=(str(news), str(tmp_path / "missing.xml")),
        rules=(SignalRule(name="good", action="BUY_CALL", confidence=0.8, trend=1, sentiment="positive"),),
    )
    results = {own.step: own for own in Pipeline(store, settings).run()}
    assert [own.error for own in results.values()] == [None] * 5
    assert {name: own.rows for name, own in results.items()} == {
        "bars": 120,
        "features": 2,
        "news": 2,
        "watchlist": 2,
        "signals": 1,
    }
    assert "no bars of NONE" in results["features"].skipped
    assert any("missing.xml" in why for why in results["news"].skipped)
    again = {own.step: own.rows for own in Pipeline(store, settings).run()}
    assert again["news"] == 0
    assert statuses(store) == {"PENDING": 1}
    [[ticker, reason]] = store.query("SELECT ticker, reason FROM dispatch_recommendations")
    document = json.loads(reason) if isinstance(reason, str) else reason
    assert (ticker, document["rule"]) == ("AAPL", "good")
    assert store.query("SELECT COUNT(*) FROM pipeline_runs") == [(10,)]
    assert run(store).counts.simulated == 1


def test_a_wrong_bar_of_a_file_is_named_by_its_line(store: Store, tmp_path: Path) -> None:
    file = bar_file(tmp_path / "bars.csv", "AAPL")
    file.write_text(file.read_text() + "AAPL,2026-01-13T15:30:00Z,1,1,2,1,1\n")
    [result] = Pipeline(store, PipelineSettings(tickers=("AAPL",), bars=str(file)), steps=["bars"]).run()
    assert f"{file} line 62: high=1 is below low=2" in str(result.error)


def test_a_step_that_fails_is_recorded_and_the_others_go_on(store: Store, tmp_path: Path) -> None:
    settings = PipelineSettings(tickers=("AAPL",), bars=str(tmp_path / "none.csv"))
    results = {own.step: own.error for own in Pipeline(store, settings).run()}
    assert "FileNotFoundError" in str(results.pop("bars"))
    assert set(results.values()) == {None}
    [[error]] = store.query("SELECT error FROM pipeline_runs WHERE step = 'bars'")
    assert "none.csv" in error


def test_each_step_has_its_own_interval(store: Store) -> None:
    pipeline = Pipeline(store, PipelineSettings(interval_s=0.001, watchlist_interval_s=300))
    assert len(pipeline.run()) == 5
    time.sleep(0.01)
    assert [own.step for own in pipeline.run()] == ["bars", "features", "news", "signals"]


def test_watchlist_keeps_the_best(store: Store, tmp_path: Path) -> None:
    settings = PipelineSettings(
        tickers=("A", "B", "C"), bars=str(bar_file(tmp_path / "bars.csv", "A", "B", "C")), watchlist_size=2
    )
    Pipeline(store, settings).run()
    assert store.query("SELECT ticker, rank FROM watchlist_state ORDER BY rank") == [("A", 1), ("B", 2)]


def test_entries_without_id_or_date_are_known_by_their_content() -> None:
    first, again = entries_of("s", RSS.encode()), entries_of("s", RSS.encode())
    assert first == again
    assert len({own.event_id for own in first}) == 2
    assert [own.published_ms for own in first] == [1_768_318_200_000, None]
    assert entries_of("s", b"no feed at all") == []


@pytest.mark.parametrize(
    ("text", "label"), [("profit surges", "positive"), ("shares fall on lawsuit", "negative"), ("a day", "neutral")]
)
def test_lexicon_names_the_side_with_more_words(text: str, label: str) -> None:
    found = Lexicon().classify(text)
    assert found.label == label
    assert 0 <= found.score <= 1


def test_tickers_are_words_of_their_own() -> None:
    assert tickers_in("AAPL and MSFT, not CATS", ("AAPL", "CAT", "MSFT")) == ["AAPL", "MSFT"]


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as Alpaca does, and as it should not."""

    def do_GET(self) -> None:
        end = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() - 300))
        row = {"t": end, "o": 1, "h": 2, "l": 1, "c": 1.5, "v": 10}
        body = {
            "/huge": b"x" * (FETCH_BYTES_MAX + 10),
            "/none": b"",
        }.get(self.path, b"")
        if self.path == "/slow":
            self._drip()
            return
        if self.path.startswith("/v2/stocks/bars"):
            page = "page_token" not in self.path
            assert self.headers["APCA-API-KEY-ID"] == "key"
            ticker = "AAPL" if page else "MSFT"
            # One that cannot be, and the end of what there is, as it may also be spelled.
            bars = {ticker: [{**row, "h": 0.5}, row]} if page or "page_token=2" in self.path else None
            following = {"page_token=2": "3", "page_token=3": None}.get(self.path.rpartition("&")[2], "2")
            body = json.dumps({"bars": bars, "next_page_token": following}).encode()
            if "symbols=ODD" in self.path:
                body = json.dumps({"bars": {"ODD": [{"t": end, "o": 1}]}}).encode()
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        """Send a byte now and then, until the client leaves."""
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_alpaca_gives_every_page_with_the_end_of_each_bar(address: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = [*AlpacaBars(address, "key", "secret").bars(["AAPL", "MSFT"])]
    assert [row["ticker"] for row in rows] == ["AAPL", "MSFT"]
    # What cannot be is left out, and does not hold up the others.
    assert caplog.text.count("is left out: high=0.5 is below low=1") == 2
    with pytest.raises(VenueRequestError, match=r"gave no bars: .*`h`"):
        list(AlpacaBars(address, "key", "secret").bars(["ODD"]))
    assert int(str(rows[0]["ts"])) % MINUTE == 0
    assert int(str(rows[0]["ts"])) <= time.time() * 1000 - 200_000


@pytest.mark.parametrize(("path", "said"), [("/huge", "more than"), ("/none", "404")])
def test_what_is_too_long_or_missing_is_an_error_with_its_address(address: str, path: str, said: str) -> None:
    with pytest.raises(VenueRequestError, match=said):
        fetched(address + path)
    with pytest.raises(VenueRequestError, match="cannot be read"):
        fetched("http://127.0.0.1:1/")


def test_an_answer_that_never_ends_is_given_up_at_the_deadline(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.execution.pipeline.fetching.FETCH_S", 0.5)
    started = time.monotonic()
    with pytest.raises(VenueRequestError, match=r"takes longer than 0\.5 s"):
        fetched(f"{address}/slow")
    assert time.monotonic() - started < 10
