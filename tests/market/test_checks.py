"""Checks of options: each wrong table is an OptionError with the option and what to write."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import OptionError
from headrace.venues.simulated.faults import FaultScript


@pytest.mark.parametrize(
    ("table", "option", "text"),
    [
        ({"kind": "drop", "rat": 0.1}, "rat", r"rat is no option of a fault \(did you mean rate\?\)"),
        ({"rate": 0.1}, "kind", 'a fault has no kind: give it "corrupt" or'),
        ({"kind": "drop", "rate": "often"}, "rate", r"rate='often' is not allowed: use a number"),
        ({"kind": "drop"}, "at_frame", "set one of at_frame, at_s, rate"),
    ],
)
def test_a_wrong_table_of_options_names_the_option(table: dict[str, Any], option: str, text: str) -> None:
    with pytest.raises(OptionError, match=text) as refused:
        FaultScript.of([table])
    assert refused.value.option == option
