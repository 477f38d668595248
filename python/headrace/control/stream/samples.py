"""Samples: the numbers of a state document that a history keeps.

Guarantees: the most important ones first, since a history has room for so many.
Does not: keep them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace.control.stream.board import Document

__all__ = ["samples_of"]

STRATEGY_FIELDS = ("delivered_per_s", "lag_s", "p99_ns")
INSTRUMENT_FIELDS = ("mid", "spread", "quotes_per_s", "last_price", "trades_per_s")


def samples_of(document: Document) -> dict[str, float | None]:
    """Return numbers by series: ``rates/lag_s``, ``accounts/paper/USDT/equity``, ``strategies/NAME/lag_s``, …."""
    return dict(_samples(document))


def _samples(document: Document) -> Iterator[tuple[str, float | None]]:
    for name, value in document.get("rates", {}).items():
        yield f"rates/{name}", _number(value)
    for key, row in document.get("accounts", {}).items():
        yield f"accounts/{key}/equity", _number(row["equity"])
    strategies: Mapping[str, Any] = document.get("strategies", {})
    for name, row in strategies.items():
        for key, own in row["accounts"].items():
            yield f"strategies/{name}/{key}/equity", _number(own["equity"])
    for key, row in document.get("plots", {}).items():
        yield f"plots/{key}", _number(row["value"])
    for name, row in strategies.items():
        for field in STRATEGY_FIELDS:
            yield f"strategies/{name}/{field}", _number(row.get(field))
    for name, row in document.get("instruments", {}).items():
        for field in (own for own in INSTRUMENT_FIELDS if own in row):
            yield f"instruments/{name}/{field}", _number(row.get(field))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
