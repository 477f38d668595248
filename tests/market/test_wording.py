"""A value in an error has a short text, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import OptionError
from headrace.market.checks import duration_ns, nearest, one_of, refuse
from headrace.market.money import decimal_of
from headrace.market.wording import value_text


class NoText:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


HUGE: list[Any] = ["x" * 1_000_000, 10**5_000, [1] * 1_000_000, NoText()]


def test_short_value_is_its_repr() -> None:
    assert [value_text(value) for value in (None, 1.5, "text", "x" * 198)] == [
        *("None", "1.5", "'text'", repr("x" * 198))
    ]
    assert value_text("x" * 300) == f"'{'x' * 199}… (302 characters)"
    assert value_text(10**5_000) == "<int>"
    assert value_text(NoText()) == "<NoText>"


@pytest.mark.parametrize("value", HUGE, ids=["text", "int", "list", "no text"])
def test_error_of_a_huge_value_is_short(value: Any) -> None:
    for check in (
        lambda: refuse("option", value, "another"),
        lambda: one_of("option", value, ["a", "b"]),
        lambda: duration_ns("option", value if not isinstance(value, int) else "9" * 1_000),
    ):
        with pytest.raises(OptionError) as raised:
            check()
        assert len(str(raised.value)) < 500
    if isinstance(value, str):
        with pytest.raises(ValueError, match="is no number") as text:
            decimal_of(value)
        assert len(str(text.value)) < 500


def test_nearest_name_of_a_huge_text_is_none() -> None:
    assert nearest("BTCUSDT.BINANC", ["BTCUSDT.BINANCE"]) == " (did you mean BTCUSDT.BINANCE?)"
    assert nearest("x" * 1_000_000, ["BTCUSDT.BINANCE"] * 100) == ""
