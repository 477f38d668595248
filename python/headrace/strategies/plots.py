"""Plots: the lines that strategies draw over time, each as its newest value.

::

    self.plot("fast", value, instrument=…) ─▶ Plots ─ once a second, while a page is served ─▶ its charts

Guarantees: a strategy has PLOTS_MAX lines at most, and of each one value is kept, so that a value costs a look and a
store, whoever looks; a line behaves the same live, in a replay, and with nobody there.
Does not: keep a past, or decide anything: no strategy can read what another one draws.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import OptionError
from headrace.limits import PLOTS_MAX
from headrace.market.checks import number, of_type, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.trading.known_names import KnownNames

__all__ = ["Line", "Plots"]

NAME_CHARACTERS_MAX = 64


class Line(NamedTuple):
    """A line of a strategy. instrument : on whose price chart it is drawn; empty: on the strategy's own chart."""

    strategy: str
    instrument: str
    name: str


class Plots:
    """The lines of one engine's strategies. Used on the engine's thread."""

    def __init__(self, names: KnownNames) -> None:
        self._names = names
        self._newest: dict[Line, float | None] = {}

    @property
    def newest(self) -> Mapping[Line, float | None]:
        """The newest value of each line; None: it has none now."""
        return self._newest

    def put(self, strategy: str, instrument: str | None, name: str, value: float | Decimal | None) -> None:
        """Set the newest value of a line. Raises InstrumentError, OptionError."""
        line = Line(strategy, instrument or "", name)
        if line not in self._newest:
            self._check(line, instrument)
        self._newest[line] = value if value is None else _number(value)

    def _check(self, line: Line, instrument: str | None) -> None:
        """Refuse a line that cannot be, when it is new."""
        of_type("name", line.name, str)
        of_type("instrument", instrument, str, None)
        if not 0 < len(line.name) <= NAME_CHARACTERS_MAX or "/" in line.name:
            refuse("name", line.name, f"a text of 1 to {NAME_CHARACTERS_MAX} characters, without a /")
        if instrument is not None:
            self._names.check_instrument(instrument)
        own = [
            f"{known.name} of {known.instrument}" if known.instrument else known.name
            for known in self._newest
            if known.strategy == line.strategy
        ]
        if len(own) >= PLOTS_MAX:
            what = f"{line.name!r} would be line {PLOTS_MAX + 1} of {line.strategy}"
            msg = f"{what}, and a chart has room for {PLOTS_MAX}: plot one of {', '.join(own)}"
            raise OptionError(msg, option="name")


def _number(value: object) -> float | None:
    """Return a value as a float; None for NaN and infinities, where the line breaks. Raises OptionError."""
    found = float(value) if isinstance(value, float | Decimal) else number("value", value)
    return found if math.isfinite(found) else None
