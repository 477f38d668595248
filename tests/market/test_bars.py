"""Bars through their public API: the values of a spec, the ticks of a bar, and when it closes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from headrace import TICK_DTYPE, Dispatcher, ticks
from headrace.errors import ClosedError, OptionError, RingHeldError
from headrace.market.bars import Bars, BarSpec
from headrace.market.events import Bar, Cause
from tests.support.feeding import BTC, ETH, quotes, trades

SECOND = 10**9


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    with Dispatcher() as made:
        yield made


def spans(bars: list[Bar]) -> list[tuple[int, int, int]]:
    """Return the start, the end and the ticks of each bar."""
    return [(bar.ts_open, bar.ts_close, bar.count) for bar in bars]


@pytest.mark.parametrize(
    ("written", "kept"),
    [("60s", "1m"), ("90s", "90s"), ("24h", "1d"), ("1000ms", "1s"), ("01s", "1s"), ("100t", "100t"), ("60m", "1h")],
)
def test_a_timeframe_is_written_in_its_largest_unit(written: str, kept: str) -> None:
    assert BarSpec(timeframe=written).timeframe == kept
    assert BarSpec(timeframe=written) == BarSpec(timeframe=kept)


@pytest.mark.parametrize("timeframe", ["0s", "", "1", "s", "-1s", "1.5s", "1w", "0t", "1S", "999999999999d", "1 s"])
def test_a_timeframe_that_is_none_is_refused(timeframe: str) -> None:
    with pytest.raises(OptionError, match="timeframe=") as raised:
        BarSpec(timeframe=timeframe)
    assert raised.value.option == "timeframe"


@pytest.mark.parametrize("option", ["instrument", "price", "time"])
def test_an_unknown_word_is_refused_by_name(option: str) -> None:
    with pytest.raises(OptionError, match=f"{option}='nothing'") as raised:
        BarSpec(**{option: "nothing"})  # type: ignore[arg-type]
    assert raised.value.option == option


def test_a_bar_of_ticks_is_never_empty() -> None:
    with pytest.raises(OptionError, match="never empty"):
        BarSpec(timeframe="100t", empty=True)


def test_a_bar_is_stamped_at_its_close_and_carries_its_ticks(dispatcher: Dispatcher) -> None:
    with Bars(dispatcher, [BarSpec(timeframe="1s")]) as bars:
        at = [SECOND, SECOND + 1, 2 * SECOND - 1]
        dispatcher.publish(trades(dispatcher, [5.0, 9.0, 7.0], ts_init=at, size=np.array([1.0, 2.0, 4.0])))
        assert bars.due_ns == 2 * SECOND
        assert bars.close_due(2 * SECOND - 1) == []
        (bar,) = bars.close_due(2 * SECOND)
    assert bar == Bar(
        ts=2 * SECOND,
        cause=Cause(BTC, "trade", 1, 3, 2 * SECOND - 1),
        instrument=BTC,
        timeframe="1s",
        price="trade",
        time="ts_init",
        open=5.0,
        high=9.0,
        low=5.0,
        close=7.0,
        volume=7.0,
        count=3,
        ts_open=SECOND,
        ts_close=2 * SECOND,
        late=0,
    )


def test_a_tick_at_the_close_belongs_to_the_next_bar(dispatcher: Dispatcher) -> None:
    with Bars(dispatcher, [BarSpec(timeframe="1s")]) as bars:
        dispatcher.publish(trades(dispatcher, [1.0, 2.0], ts_init=[SECOND - 1, SECOND]))
        assert spans(bars.take()) == [(0, SECOND, 1)]
        assert bars.due_ns == 2 * SECOND


def test_a_late_tick_is_counted_and_in_no_bar(dispatcher: Dispatcher) -> None:
    with Bars(dispatcher, [BarSpec(timeframe="1s")]) as bars:
        for price, at in ((1.0, 0), (2.0, SECOND), (100.0, SECOND - 1), (3.0, SECOND + 1)):
            dispatcher.publish(trades(dispatcher, [price], ts_init=at))
        bars.take()
        (bar,) = bars.close_due(2 * SECOND)
        assert (bar.high, bar.count, bar.late) == (3.0, 2, 1)
        assert bars.stats()["1s trade"].late == 1


def test_a_trade_and_its_aggregate_are_never_in_one_bar(dispatcher: Dispatcher) -> None:
    specs = [BarSpec(timeframe="1s"), BarSpec(timeframe="1s", price="agg_trade")]
    with Bars(dispatcher, specs) as bars:
        dispatcher.publish(trades(dispatcher, [1.0, 2.0]))
        dispatcher.publish(
            ticks(
                instrument=BTC,
                ts_init=np.zeros(1, "i8"),
                instruments=dispatcher.instruments,
                kind="agg_trade",
                price=2.0,
                size=2.0,
            )
        )
        assert {bar.price: (bar.count, bar.volume) for bar in bars.close_due(SECOND)} == {
            "trade": (2, 2.0),
            "agg_trade": (1, 2.0),
        }


def test_quotes_make_bars_of_bid_ask_and_mid(dispatcher: Dispatcher) -> None:
    with Bars(dispatcher, [BarSpec(timeframe="1s", price=price) for price in ("bid", "mid", "ask")]) as bars:
        dispatcher.publish(quotes(dispatcher, [10.0, 12.0]))
        made = {bar.price: (bar.open, bar.close, bar.volume) for bar in bars.close_due(SECOND)}
    assert made == {"bid": (10.0, 12.0, 0.0), "mid": (10.5, 12.5, 0.0), "ask": (11.0, 13.0, 0.0)}


def test_a_bar_by_venue_time_skips_ticks_without_one(dispatcher: Dispatcher) -> None:
    spec = BarSpec(timeframe="1s", time="ts_event")
    with Bars(dispatcher, [spec]) as bars:
        dispatcher.publish(trades(dispatcher, [1.0, 2.0], ts_init=[10, 11]))
        dispatcher.publish(
            trades(dispatcher, [3.0, 4.0], ts_init=[12, 13], ts_event=np.array([5 * SECOND, 6 * SECOND]))
        )
        (bar,) = bars.take()
        assert (bar.open, bar.ts_open, bar.ts, bar.time) == (3.0, 5 * SECOND, 0, "ts_event")
        assert spec.takes(bar)
        assert not BarSpec(timeframe="1s").takes(bar)
        stats = bars.stats()["1s trade ts_event"]
        assert (stats.ticks, stats.untimed) == (2, 2)


def test_an_instrument_that_two_specs_match_has_its_bar_once(dispatcher: Dispatcher) -> None:
    every, one = BarSpec(timeframe="1s"), BarSpec(BTC, "1000ms", empty=True)
    with Bars(dispatcher, [every, one, every]) as bars:
        assert bars.specs == (every, one)
        dispatcher.publish(trades(dispatcher, [1.0]))
        dispatcher.publish(trades(dispatcher, [2.0], instrument=ETH))
        made = bars.close_due(2 * SECOND)
        assert [(bar.instrument, bar.count) for bar in made] == [(BTC, 1), (ETH, 1), (BTC, 0)]
        assert [(every.takes(bar), one.takes(bar)) for bar in made] == [(True, True), (True, False), (False, True)]
        bars.remove(every)
        dispatcher.publish(trades(dispatcher, [2.0], instrument=ETH, ts_init=2 * SECOND))
        assert [bar.instrument for bar in bars.close_due(3 * SECOND)] == [BTC, ETH]
        bars.remove(every)
        dispatcher.publish(trades(dispatcher, [2.0], instrument=ETH, ts_init=3 * SECOND))
        assert [bar.instrument for bar in bars.close_due(4 * SECOND)] == [BTC]


def test_bars_closed_before_a_removal_can_still_be_taken(dispatcher: Dispatcher) -> None:
    spec = BarSpec(timeframe="1t")
    with Bars(dispatcher, [spec]) as bars:
        dispatcher.publish(trades(dispatcher, [1.0]))
        bars.remove(spec)
        dispatcher.publish(trades(dispatcher, [2.0]))
        assert [bar.open for bar in bars.take()] == [1.0]
        with pytest.raises(OptionError, match="not among these bars"):
            bars.remove(spec)


def test_a_dispatcher_has_one_set_of_bars_at_a_time(dispatcher: Dispatcher) -> None:
    with Bars(dispatcher) as bars:
        with pytest.raises(OptionError, match="bars already"):
            Bars(dispatcher)
        bars.add(BarSpec(timeframe="1t"))
    with Bars(dispatcher) as after:
        bars.close()
        with pytest.raises(ClosedError, match="bars are closed"):
            bars.take()
        after.add(BarSpec(timeframe="1t"))
        dispatcher.publish(trades(dispatcher, [1.0]))
        assert len(after.take()) == 1


def test_without_specs_nothing_is_due_and_nothing_closes(dispatcher: Dispatcher) -> None:
    with Bars(dispatcher) as bars:
        dispatcher.publish(trades(dispatcher, [1.0, 2.0], ts_init=[0, SECOND]))
        assert (bars.due_ns, bars.has_closed, bars.take(), bars.close_due(1 << 62), bars.stats()) == (
            None,
            False,
            [],
            [],
            {},
        )


def test_ticks_that_waited_for_room_are_in_a_bar_once() -> None:
    with Dispatcher(ring_capacity=4) as dispatcher, Bars(dispatcher, [BarSpec(timeframe="1s")]) as bars:
        pull = dispatcher.subscribe(overflow="block")
        with pytest.raises(RingHeldError):
            dispatcher.publish(trades(dispatcher, range(1, 11)))
        out = np.zeros(64, TICK_DTYPE)
        assert pull.read_into(out) == 4
        with pytest.raises(RingHeldError):
            dispatcher.publish(trades(dispatcher, [99.0]))
        while pull.read_into(out):
            dispatcher.publish(trades(dispatcher, []))
        (bar,) = bars.close_due(SECOND)
        assert (bar.count, bar.high, bar.volume) == (10, 10.0, 10.0)


def test_ticks_that_the_sequencer_drops_are_in_no_bar() -> None:
    with Dispatcher(duplicates="drop") as dispatcher, Bars(dispatcher, [BarSpec(timeframe="1s")]) as bars:
        dispatcher.publish(trades(dispatcher, [1.0, 2.0, 2.0, 3.0], venue_seq=np.array([7, 8, 8, 9], "u8")))
        (bar,) = bars.close_due(SECOND)
        assert (bar.count, bar.volume, bar.cause) == (3, 3.0, Cause(BTC, "trade", 1, 3, 0))


def test_bars_are_the_same_whatever_the_ring_loses() -> None:
    made = []
    for capacity, piece in ((2, 1_000), (64, 7), (65_536, 1_000)):
        with Dispatcher(ring_capacity=capacity) as dispatcher:
            bars = Bars(dispatcher, [BarSpec(timeframe="1s"), BarSpec(timeframe="7t")])
            dispatcher.subscribe(overflow="drop_oldest")
            whole = trades(dispatcher, np.arange(1_000) % 13, ts_init=np.arange(1_000) * 10**7)
            for first in range(0, 1_000, piece):
                dispatcher.publish(whole[first : first + piece])
            made.append([*bars.take(), *bars.close_due(10**12)])
    assert len(made[0]) == 10 + 142
    assert made[0] == made[1] == made[2]
