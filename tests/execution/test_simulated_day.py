"""A day that is simulated again gives the same ledger, byte for byte, on SQLite and on PostgreSQL."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.execution import Bar, ExecutionSettings, NewRecommendation, Runner, Store
from headrace.execution.loadable import BARS, FEATURES
from headrace.execution.pipeline.features import BARS_NEEDED, features_of
from headrace.execution.reports import ledger_lines
from headrace.execution.values import canonical
from tests.support.databases import postgres_schema

OPEN_MS = 1_768_314_600_000
MINUTE = 60_000
MINUTES = 120
TICKERS = ("AAPL", "MSFT")


def day(url: str, seed: int) -> list[str]:
    """Simulate two hours, minute by minute, and return the ledger."""
    rng = random.Random(seed)
    clock = [OPEN_MS]
    settings = ExecutionSettings(max_trades_per_ticker_per_day=20)
    with Store(url, migrate=True) as store, Runner(store.database, lambda: settings, now_ms=lambda: clock[0]) as runner:
        bars: dict[str, list[Bar]] = {ticker: [] for ticker in TICKERS}
        for minute in range(MINUTES):
            clock[0] = OPEN_MS + minute * MINUTE
            for ticker, own in bars.items():
                last = own[-1].close if own else Decimal(200)
                close = (last * Decimal(str(1 + rng.gauss(0, 0.002)))).quantize(Decimal("0.01"))
                own.append(
                    Bar(clock[0], last, max(last, close), min(last, close), close, Decimal(rng.randrange(1, 9_999)))
                )
                values = {name: canonical(value) for name, value in own[-1]._asdict().items() if name != "end_ms"}
                store.write_rows(BARS, [{"ticker": ticker, "ts": clock[0], **values}])
                found = features_of(own[-BARS_NEEDED:])
                assert found is not None
                amounts = {name: getattr(found, name) for name in ("sma_20", "sma_50", "volume_ratio", "recent_vol")}
                texts = {name: None if value is None else canonical(value) for name, value in amounts.items()}
                store.write_rows(FEATURES, [{"ticker": ticker, "ts": clock[0], "trend": found.trend, **texts}])
                if rng.random() < 0.5:
                    new = NewRecommendation.checked(
                        ticker=ticker,
                        action=rng.choice(["BUY_CALL", "BUY_PUT", "BUY_STOCK"]),
                        confidence=round(rng.uniform(0.5, 1), 3),
                        reason={"minute": minute},
                        idempotency_key=f"{ticker}-{minute}",
                    )
                    store.recommend_all([new])
            runner.run()
        connection = store.database.connect()
        lines = ledger_lines(connection)
        connection.close()
        return lines


@pytest.mark.timeout(120)
def test_a_simulated_day_has_the_same_ledger_everywhere(folder: Path, postgres: str, seed: int) -> None:
    with postgres_schema(postgres) as first, postgres_schema(postgres) as second:
        urls = [f"sqlite:///{folder}/day-1.sqlite", f"sqlite:///{folder}/day-2.sqlite", first, second]
        ledgers = [day(url, seed) for url in urls]
    assert len(ledgers[0]) > 10
    assert all(own == ledgers[0] for own in ledgers)
