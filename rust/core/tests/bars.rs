//! Bars against a plain recomputation, and the rules of their edges.

use headrace_core::bars::{Bar, BarPrice, BarSpec, Bars, Counts, Timeframe};
use headrace_core::limits::BARS_EMPTY_MAX;
use headrace_core::market::instrument::InstrumentTable;
use headrace_core::market::kind;
use headrace_core::market::tick::{Tick, flags};
use proptest::prelude::*;

fn table(names: &[&str]) -> InstrumentTable {
    let mut table = InstrumentTable::new(16, true);
    for name in names {
        table.add(name).expect("a name");
    }
    table
}

fn trade(ts_init: i64, price: f64, size: f64) -> Tick {
    Tick {
        ts_init,
        ts_event: ts_init.saturating_sub(3),
        kind: kind::TRADE,
        values: [price.to_bits(), size.to_bits(), 0, 0],
        ..Tick::default()
    }
}

fn spec(timeframe: Timeframe) -> BarSpec {
    BarSpec {
        wanted: vec![("*".to_owned(), false)],
        timeframe,
        price: BarPrice::Trade,
        by_event: false,
    }
}

/// With bars of intervals without ticks, too.
fn with_empty(spec: BarSpec) -> BarSpec {
    BarSpec {
        wanted: vec![("*".to_owned(), true)],
        ..spec
    }
}

/// Bars of one spec over one instrument, all ticks fed.
fn fed(spec: BarSpec, ticks: &[Tick]) -> Bars {
    let table = table(&["A.X"]);
    let mut bars = Bars::default();
    bars.add(spec, &table);
    bars.feed(ticks, &table, 0);
    bars
}

fn spans(bars: &[Bar]) -> Vec<(i64, i64, u64)> {
    bars.iter().map(|bar| (bar.ts_open, bar.ts_close, bar.count)).collect()
}

#[test]
fn an_interval_holds_its_open_and_not_its_close() {
    let ticks = [trade(10, 1.0, 1.0), trade(19, 2.0, 1.0), trade(20, 3.0, 1.0)];
    let mut bars = fed(spec(Timeframe::Time(10)), &ticks);
    assert_eq!(spans(&bars.take(u64::MAX, i64::MAX)), [(10, 20, 2)]);
    assert_eq!(spans(&bars.close_due(30)), [(20, 30, 1)]);
}

#[test]
fn a_bar_is_due_at_its_close_and_not_before() {
    let mut bars = fed(spec(Timeframe::Time(10)), &[trade(13, 1.0, 1.0)]);
    assert_eq!(bars.next_due(), Some(20));
    assert_eq!(bars.close_due(19), []);
    assert_eq!(spans(&bars.close_due(20)), [(10, 20, 1)]);
    assert_eq!(bars.next_due(), None);
}

#[test]
fn a_tick_behind_a_closed_bar_is_counted_and_changes_nothing() {
    let table = table(&["A.X"]);
    let mut bars = Bars::default();
    let id = bars.add(spec(Timeframe::Time(10)), &table);
    bars.feed(&[trade(13, 1.0, 1.0)], &table, 0);
    bars.close_due(20);
    bars.feed(&[trade(19, 9.0, 9.0), trade(21, 2.0, 1.0)], &table, 0);
    let closed = bars.close_due(30);
    assert_eq!((closed[0].high, closed[0].volume, closed[0].late), (2.0, 1.0, 1));
    let counts = Counts {
        ticks: 2,
        late: 1,
        bars: 2,
        ..Counts::default()
    };
    assert_eq!(bars.counts(), [(id, counts)]);
}

#[test]
fn intervals_before_the_epoch_are_aligned_too() {
    let mut bars = fed(spec(Timeframe::Time(10)), &[trade(-1, 1.0, 1.0), trade(-11, 1.0, 1.0)]);
    assert_eq!(spans(&bars.close_due(0)), [(-10, 0, 1)]);
}

#[test]
fn the_ends_of_time_close_bars_without_a_panic() {
    for time in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
        for empty in [false, true] {
            let spec = spec(Timeframe::Time(7));
            let wanted = if empty { with_empty(spec) } else { spec };
            let mut bars = fed(wanted, &[trade(time, 1.0, 1.0), trade(time, 1.0, 1.0)]);
            bars.close_due(i64::MAX);
        }
    }
}

#[test]
fn empty_bars_repeat_the_close_and_end_after_their_bound() {
    let ticks = [trade(5, 6.0, 2.0), trade(5, 8.0, 2.0), trade(5, 7.0, 2.0)];
    let mut bars = fed(with_empty(spec(Timeframe::Time(10))), &ticks);
    let closed = bars.close_due(30);
    assert_eq!(spans(&closed), [(0, 10, 3), (10, 20, 0), (20, 30, 0)]);
    assert_eq!(
        (closed[2].open, closed[2].low, closed[2].close, closed[2].volume),
        (7.0, 7.0, 7.0, 0.0)
    );
    let rest = bars.close_due(i64::MAX);
    assert_eq!(rest.len() + 2, BARS_EMPTY_MAX as usize);
    assert_eq!(bars.next_due(), None);
}

#[test]
fn bars_of_one_moment_close_by_due_then_spec_then_instrument() {
    let table = table(&["A.X", "B.X"]);
    let mut bars = Bars::default();
    for timeframe in [20, 10] {
        bars.add(spec(Timeframe::Time(timeframe)), &table);
    }
    let second = |tick: Tick| Tick { instrument: 1, ..tick };
    bars.feed(
        &[
            second(trade(12, 1.0, 1.0)),
            trade(13, 1.0, 1.0),
            second(trade(25, 1.0, 1.0)),
        ],
        &table,
        0,
    );
    let order: Vec<_> = bars
        .take(u64::MAX, i64::MAX)
        .iter()
        .map(|bar| (bar.ts_close, bar.spec, bar.instrument))
        .collect();
    assert_eq!(order, [(20, 0, 0), (20, 0, 1), (20, 1, 0), (20, 1, 1)]);
    let order: Vec<_> = bars
        .close_due(40)
        .iter()
        .map(|bar| (bar.ts_close, bar.spec, bar.instrument))
        .collect();
    assert_eq!(order, [(30, 1, 1), (40, 0, 1)]);
}

#[test]
fn a_bar_by_venue_time_waits_for_the_slowest_tick_so_far() {
    let wanted = BarSpec {
        by_event: true,
        ..spec(Timeframe::Time(10))
    };
    let table = table(&["A.X"]);
    let mut bars = Bars::default();
    bars.add(wanted, &table);
    bars.feed(&[trade(15, 1.0, 1.0)], &table, 0);
    assert_eq!(bars.next_due(), Some(23));
    let slow = Tick {
        ts_init: 22,
        ..trade(21, 2.0, 1.0)
    };
    bars.feed(&[slow], &table, 0);
    assert_eq!(bars.close_due(23), []);
    assert_eq!(bars.next_due(), Some(24));
    assert_eq!(spans(&bars.close_due(24)), [(10, 20, 2)]);
}

#[test]
fn an_interval_of_venue_time_excludes_its_close() {
    let wanted = BarSpec {
        by_event: true,
        ..spec(Timeframe::Time(10))
    };
    // Received before the bar is due, which waits for a tick as slow as the first one.
    let quick = Tick {
        ts_init: 21,
        ..trade(23, 2.0, 1.0)
    };
    let mut bars = fed(wanted, &[trade(13, 1.0, 1.0), quick]);
    assert_eq!(spans(&bars.take(u64::MAX, i64::MAX)), [(10, 20, 1)]);
    assert_eq!(spans(&bars.close_due(33)), [(20, 30, 1)]);
}

#[test]
fn what_cannot_be_in_a_bar_is_counted_by_its_reason() {
    let wanted = BarSpec {
        by_event: true,
        ..spec(Timeframe::Ticks(2))
    };
    let flagged = |flag| Tick {
        flags: flag,
        ..trade(10, 1.0, 1.0)
    };
    let ticks = [
        flagged(flags::DUPLICATE),
        flagged(flags::LATE),
        flagged(flags::NO_VENUE_TIME),
        trade(10, f64::NAN, 1.0),
        trade(10, 1.0, f64::INFINITY),
        trade(10, 1.0, 1.0),
        trade(9, 1.0, 1.0),
    ];
    let bars = fed(wanted, &ticks);
    let expected = Counts {
        ticks: 1,
        late: 2,
        duplicates: 1,
        untimed: 1,
        unpriced: 2,
        ..Counts::default()
    };
    assert_eq!(bars.counts()[0].1, expected);
}

#[test]
fn a_bar_is_taken_where_its_ticks_end() {
    let table = table(&["A.X", "B.X"]);
    let mut bars = Bars::default();
    bars.add(spec(Timeframe::Time(10)), &table);
    bars.add(spec(Timeframe::Ticks(2)), &table);
    let other = Tick {
        instrument: 1,
        ..trade(25, 1.0, 1.0)
    };
    bars.feed(&[trade(1, 1.0, 1.0), trade(2, 1.0, 1.0), other], &table, 100);
    // By count behind its second tick, by time before the first tick of any instrument at its close or later.
    assert_eq!(bars.first_closed(), Some((102, 2)));
    assert_eq!(bars.take(101, i64::MAX), []);
    assert_eq!(bars.take(102, i64::MAX).len(), 2);
    assert_eq!(bars.first_closed(), None);
    bars.feed(&[trade(45, 1.0, 1.0)], &table, 103);
    assert_eq!(bars.first_closed(), Some((103, 30)));
    assert_eq!(bars.take(103, 29), []);
    assert_eq!(spans(&bars.take(103, 30)), [(20, 30, 1)]);
}

#[test]
fn a_spec_that_is_removed_leaves_the_others_as_they_were() {
    let table = table(&["A.X"]);
    let mut bars = Bars::default();
    let (first, second) = (
        bars.add(spec(Timeframe::Time(10)), &table),
        bars.add(spec(Timeframe::Time(20)), &table),
    );
    bars.feed(&[trade(1, 1.0, 1.0)], &table, 0);
    assert!(bars.change(first, Vec::new(), &table));
    assert!(!bars.change(first, Vec::new(), &table));
    bars.feed(&[trade(15, 3.0, 1.0)], &table, 0);
    let closed = bars.close_due(100);
    assert_eq!(spans(&closed), [(0, 20, 2)]);
    assert_eq!((closed[0].spec, closed[0].open, closed[0].close), (second, 1.0, 3.0));
    assert_eq!(bars.add(spec(Timeframe::Ticks(1)), &table), second + 1);
}

#[test]
fn an_instrument_that_appears_later_has_bars_too() {
    let mut table = table(&["A.X"]);
    let mut bars = Bars::default();
    bars.add(
        BarSpec {
            wanted: vec![("B*".to_owned(), false)],
            ..spec(Timeframe::Ticks(1))
        },
        &table,
    );
    let id = table.add("BTC.X").expect("a name");
    let later = Tick {
        instrument: id,
        ..trade(1, 1.0, 1.0)
    };
    bars.feed(&[trade(1, 1.0, 1.0), later], &table, 0);
    assert_eq!(
        bars.take(u64::MAX, i64::MAX)
            .iter()
            .map(|bar| bar.instrument)
            .collect::<Vec<_>>(),
        [id]
    );
}

#[test]
fn an_instrument_that_two_patterns_match_has_its_bars_once() {
    let table = table(&["A.X"]);
    let mut bars = Bars::default();
    let id = bars.add(spec(Timeframe::Time(10)), &table);
    bars.feed(&[trade(1, 5.0, 1.0)], &table, 0);
    bars.change(id, vec![("*".to_owned(), false), ("A.X".to_owned(), true)], &table);
    assert_eq!(spans(&bars.close_due(20)), [(0, 10, 1), (10, 20, 0)]);
    bars.change(id, vec![("*".to_owned(), false)], &table);
    assert_eq!(bars.close_due(100), []);
    assert_eq!(bars.next_due(), None);
}

/// One bar as the slow way makes it.
fn slowly(ticks: &[Tick], open: i64, close: i64) -> Bar {
    let prices: Vec<f64> = ticks.iter().map(|tick| tick.value(0)).collect();
    Bar {
        open: prices[0],
        high: prices.iter().copied().fold(f64::MIN, f64::max),
        low: prices.iter().copied().fold(f64::MAX, f64::min),
        close: prices[prices.len() - 1],
        volume: ticks.iter().fold(0.0, |sum, tick| sum + tick.value(1)),
        count: ticks.len() as u64,
        ts_open: open,
        ts_close: close,
        seq: (ticks[0].seq, ticks[ticks.len() - 1].seq),
        ts_init: ticks[ticks.len() - 1].ts_init,
        ..Bar::default()
    }
}

proptest! {
    #[test]
    fn bars_are_what_a_plain_recomputation_makes(
        gaps in prop::collection::vec((0i64..9, 1u32..1_000, 1u32..1_000), 1..200),
        step in 1i64..20,
        pieces in 1usize..20,
    ) {
        let mut at = 0;
        let ticks: Vec<Tick> = (1u64..)
            .zip(&gaps)
            .map(|(seq, (gap, price, size))| {
                at += gap;
                Tick { seq, ..trade(at, f64::from(*price) / 100.0, f64::from(*size) / 1_000.0) }
            })
            .collect();
        let table = table(&["A.X"]);
        let mut bars = Bars::default();
        bars.add(spec(Timeframe::Time(step)), &table);
        let mut made = Vec::new();
        for piece in ticks.chunks(pieces) {
            made.extend(bars.close_due(piece[0].ts_init));
            bars.feed(piece, &table, 0);
            made.extend(bars.take(u64::MAX, i64::MAX));
        }
        made.extend(bars.close_due(at + step));
        let expected: Vec<Bar> = ticks
            .chunk_by(|one, next| one.ts_init.div_euclid(step) == next.ts_init.div_euclid(step))
            .map(|inside| {
                let open = inside[0].ts_init.div_euclid(step) * step;
                Bar {
                    partial: open < ticks[0].ts_init,
                    ..slowly(inside, open, open + step)
                }
            })
            .collect();
        prop_assert_eq!(made, expected);
    }

    #[test]
    fn bars_by_count_close_on_their_nth_tick(sizes in prop::collection::vec(1u32..1_000, 1..200), each in 1u64..30) {
        let ticks: Vec<Tick> = (0i64..)
            .zip(&sizes)
            .map(|(at, size)| trade(at, f64::from(*size), f64::from(*size) / 7.0))
            .collect();
        let mut bars = fed(spec(Timeframe::Ticks(each)), &ticks);
        let expected: Vec<Bar> = ticks
            .chunks_exact(usize::try_from(each).expect("small"))
            .map(|inside| slowly(inside, inside[0].ts_init, inside[inside.len() - 1].ts_init))
            .collect();
        prop_assert_eq!(bars.take(u64::MAX, i64::MAX), expected);
        prop_assert_eq!(bars.counts()[0].1.ticks, ticks.len() as u64);
    }
}

#[test]
fn a_candle_of_the_venue_is_a_bar_of_its_own_length() {
    const MINUTE: i64 = 60_000_000_000;
    let candle = |end: i64, length: i64| {
        let tick = |kind, values: [u64; 4]| Tick {
            seq: 9,
            ts_event: end,
            ts_init: end + 5,
            kind,
            values,
            ..Tick::default()
        };
        let prices = [1.5f64, 1.9, 1.4, 1.7].map(f64::to_bits);
        let length = length.unsigned_abs();
        [
            tick(kind::KLINE_VOLUME, [10.0f64.to_bits(), 0, 3, length]),
            tick(kind::KLINE, prices),
        ]
    };
    let wanted = BarSpec {
        price: BarPrice::Kline,
        by_event: true,
        ..spec(Timeframe::Time(MINUTE))
    };
    let table = table(&["A.X"]);
    let mut bars = Bars::default();
    let id = bars.add(wanted, &table);
    bars.feed(&candle(2 * MINUTE, MINUTE), &table, 0);
    bars.feed(&candle(5 * MINUTE, 5 * MINUTE), &table, 2);
    // Sent again after a reconnect.
    bars.feed(&candle(2 * MINUTE, MINUTE), &table, 4);
    let closed = bars.take(u64::MAX, i64::MAX);
    assert_eq!(spans(&closed), [(MINUTE, 2 * MINUTE, 3)]);
    let bar = closed[0];
    assert_eq!(
        [bar.open, bar.high, bar.low, bar.close, bar.volume],
        [1.5, 1.9, 1.4, 1.7, 10.0]
    );
    assert_eq!((bar.seq, bar.ts_init, bar.partial), ((9, 9), 2 * MINUTE + 5, false));
    let counts = &bars.counts()[0];
    assert_eq!((counts.0, counts.1.bars, counts.1.late), (id, 1, 1));
    assert_eq!(bars.next_due(), None);
}
