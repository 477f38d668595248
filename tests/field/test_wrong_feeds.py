"""A feed that cannot be one is refused when the engine is made, with an error that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from headrace import Engine, replay
from headrace.errors import InstrumentError, OptionError
from headrace.feeds import ArrayFeed, RecordingFeed, SyntheticFeed
from tests.field.test_wrong_items import Bids, Yields
from tests.support.engines import INSTRUMENTS, START, market

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: ArrayFeed(5), "source=5"),  # type: ignore[arg-type]
    (lambda: ArrayFeed(market([1.0]), instruments=5), "instruments=5"),  # type: ignore[arg-type]
    (lambda: ArrayFeed(market([1.0]), instruments=[5]), "instruments=5"),  # type: ignore[list-item]
    (lambda: ArrayFeed(np.zeros(2)), "has dtype"),
    (lambda: RecordingFeed(5), "path=5"),  # type: ignore[arg-type]
    (lambda: RecordingFeed("x", block_bytes=0), "block_bytes=0"),
    (lambda: RecordingFeed("x", block_bytes=1.5), "block_bytes=1.5"),  # type: ignore[arg-type]
    (lambda: RecordingFeed("x", blocks_ahead=True), "blocks_ahead=True"),
    (lambda: RecordingFeed("x", venue="NASDAQ"), "NASDAQ"),
    (lambda: SyntheticFeed(frames="x"), "frames='x'"),  # type: ignore[arg-type]
    (lambda: SyntheticFeed(frames=0), "frames=0"),
    (lambda: SyntheticFeed(venue="NASDAQ"), "NASDAQ"),
    (lambda: SyntheticFeed(start_ns=START // 10**6), "start_ns=1767571200000, which looks like milliseconds"),
    (lambda: replay({"a.txt": 1}), "dict has no order"),
    (lambda: replay({"a.txt", "b.txt"}), "set has no order"),
    (lambda: replay(b"a.txt"), "source b'a.txt' cannot be replayed"),  # type: ignore[arg-type]
    (lambda: replay(Yields), "source <class .*Yields'> cannot be replayed"),  # type: ignore[arg-type]
    (lambda: replay(Yields([], 5)), "the venue of Yields is 5"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("made", "said"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_feed_of_wrong_options_is_refused(made: Callable[[], object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        made()


def test_symbol_that_breaks_a_line_is_refused() -> None:
    with pytest.raises(InstrumentError):
        SyntheticFeed("BTC\nUSDT")


@pytest.mark.parametrize("wrong", [5, [5, None]])
def test_announced_instruments_that_are_none_name_the_feed(wrong: Any) -> None:
    class Announces(Yields):
        instruments = wrong

    engine = Engine(feeds=Announces([], None), strategies=Bids(), instruments=INSTRUMENTS, mode="replay")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its type is what iterating raised
        engine.positions.position("Bids", "XRPUSDT.BINANCE")
    assert "in Announces.instruments of feed odd" in "".join(getattr(caught.value, "__notes__", ()))


@pytest.mark.parametrize("feeds", [[], market([1.0]), [Yields([market([1.0])], None)]], ids=["none", "array", "past"])
def test_recording_of_no_live_feed_is_refused(feeds: Any, tmp_path: Any) -> None:
    with pytest.raises(OptionError, match=r"record='.*' records live feeds, and no feed of this engine is one"):
        Engine(feeds=feeds, instruments=INSTRUMENTS, record=tmp_path / "records", state_folder=tmp_path / "state")
    assert not (tmp_path / "records").exists()


def test_folder_that_no_log_can_name_is_refused(tmp_path: Any) -> None:
    class Live(Yields):
        is_live = True

    engine = Engine(
        feeds=Live([market([1.0])], None),
        instruments=INSTRUMENTS,
        record=f"{tmp_path}/m\udce4rz",
        dispatch_log=tmp_path / "run.log",
        state_folder=tmp_path / "state",
    )
    with pytest.raises(OptionError, match=r"m\\\\xe4rz' cannot stand in a dispatch log"):
        engine.run()
