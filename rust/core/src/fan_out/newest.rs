//! The newest tick in order of each (instrument, state kind), for members that join, resume, or were lapped while conflating.
//!
//! ```text
//!   writer ─▶ cells[key] (one snapshot cell each) ─▶ any reader
//! ```
//! Guarantees: what a reader gets is a tick that was published, whole, with its position; cells are allocated when
//! first needed. Beside the newest quote it keeps the prices of the last one that had both sides, for marks; of trades
//! and aggregate trades it keeps the newest one's time, for gates, and its price, size and number, for operators.
//! Does not: keep anything else that is not the newest, or order it against the ring.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use headrace_lockfree::SnapshotCell;
use rustc_hash::FxHashMap;

use crate::fan_out::conflate::StateKeys;
use crate::market::kind::{AGG_TRADE, QUOTE, TRADE};
use crate::market::tick::{TICK_WORDS, Tick};

/// Cells allocated together: 24 KiB.
const CELLS_PER_CHUNK: usize = 256;

/// A tick's words, and its position.
const WORDS: usize = TICK_WORDS + 1;

/// The newest tick of one key.
struct Cell {
    newest: SnapshotCell<WORDS>,
    /// The number of the `store` that wrote it last; beside the words, so that a look at it costs no other line.
    stored_by: AtomicU64,
}

impl Cell {
    #[inline(always)]
    fn keep(&self, tick: &Tick, position: u64) {
        let mut words = [position; WORDS];
        words[..TICK_WORDS].copy_from_slice(&Tick::slice_as_words(std::slice::from_ref(tick))[0]);
        self.newest.store(&words);
    }
}

type Cells = Box<[Cell]>;
type Trades = Box<[NewestTrade]>;

/// What is kept of the newest trade of one key; each word by itself, since it is looked at and not decided on together.
struct NewestTrade {
    received: AtomicI64,
    price: AtomicU64,
    size: AtomicU64,
    seq: AtomicU64,
}

/// No trade was received.
const NONE: i64 = i64::MIN;

/// The table; one writer stores, any thread reads.
pub struct NewestTable {
    keys: StateKeys,
    chunks: Box<[OnceLock<Cells>]>,
    /// Numbers the calls of `store`.
    stores: AtomicU64,
    /// Two of each instrument: its newest trade and aggregate trade in order; received at [`NONE`]: there was none.
    trades: Box<[OnceLock<Trades>]>,
    /// By instrument, whose newest quote lacks a side: bid and ask of the last quote that had both.
    sides: Mutex<FxHashMap<u32, (f64, f64)>>,
}

impl NewestTable {
    /// An empty table for at most `instruments_max` instruments.
    #[must_use]
    pub fn new(keys: StateKeys, instruments_max: usize) -> Self {
        let cells = instruments_max * keys.per_instrument();
        Self {
            keys,
            chunks: (0..cells.div_ceil(CELLS_PER_CHUNK)).map(|_| OnceLock::new()).collect(),
            trades: (0..(2 * instruments_max).div_ceil(CELLS_PER_CHUNK))
                .map(|_| OnceLock::new())
                .collect(),
            stores: AtomicU64::new(0),
            sides: Mutex::default(),
        }
    }

    /// The keys that it is made for.
    #[must_use]
    pub fn keys(&self) -> StateKeys {
        self.keys
    }

    /// Keeps what `ticks` has of state kinds: of each key the last one, so a burst costs one store. Only the ring's
    /// writer may call this; `first` is the position of the first tick.
    #[inline]
    pub fn store(&self, ticks: &[Tick], first: u64) {
        // Relaxed, as with the cells' numbers: the one writer reads back what it wrote.
        let number = self.stores.load(Ordering::Relaxed) + 1;
        self.stores.store(number, Ordering::Relaxed);
        for (index, tick) in ticks.iter().enumerate().rev() {
            if tick.kind == TRADE || tick.kind == AGG_TRADE {
                self.keep_trade(tick);
                continue;
            }
            let Some(cell) = self.newest_key(tick).and_then(|key| self.cell(key)) else {
                continue;
            };
            if cell.stored_by.load(Ordering::Relaxed) == number {
                continue;
            }
            cell.stored_by.store(number, Ordering::Relaxed);
            self.keep_sides(tick, &ticks[..index]);
            cell.keep(tick, first + index as u64);
        }
    }

    /// Keeps a trade, if it is the newest in order.
    #[inline]
    fn keep_trade(&self, tick: &Tick) {
        let key = trade_key(tick.instrument, tick.kind);
        let Some(chunk) = self.trades.get(key / CELLS_PER_CHUNK) else {
            return;
        };
        let none = || NewestTrade {
            received: AtomicI64::new(NONE),
            price: AtomicU64::new(0),
            size: AtomicU64::new(0),
            seq: AtomicU64::new(0),
        };
        let trades = chunk.get_or_init(|| (0..CELLS_PER_CHUNK).map(|_| none()).collect());
        let trade = &trades[key % CELLS_PER_CHUNK];
        // Relaxed: the one writer reads back what it wrote, and a reader needs nothing else that was written before.
        let kept = (
            trade.received.load(Ordering::Relaxed),
            trade.seq.load(Ordering::Relaxed),
        );
        if tick.may_be_newest() && (tick.ts_init, tick.seq) > kept {
            trade.price.store(tick.values[0], Ordering::Relaxed);
            trade.size.store(tick.values[1], Ordering::Relaxed);
            trade.seq.store(tick.seq, Ordering::Relaxed);
            trade.received.store(tick.ts_init, Ordering::Relaxed);
        }
    }

    /// `store` of one tick.
    #[inline(always)] // With every time of a replay.
    pub fn store_one(&self, tick: &Tick, position: u64) {
        if tick.kind == TRADE || tick.kind == AGG_TRADE {
            self.keep_trade(tick);
            return;
        }
        let Some(cell) = self.newest_key(tick).and_then(|key| self.cell(key)) else {
            return;
        };
        self.keep_sides(tick, &[]);
        cell.keep(tick, position);
    }

    /// Keeps the prices of the last quote of both sides before one that lacks a side. `before`: of the same `store`.
    #[inline]
    fn keep_sides(&self, newest: &Tick, before: &[Tick]) {
        if newest.kind == QUOTE && sides(newest).is_none() {
            self.keep_sides_before(newest.instrument, before);
        }
    }

    #[cold]
    fn keep_sides_before(&self, instrument: u32, before: &[Tick]) {
        let is_earlier = |tick: &&Tick| tick.kind == QUOTE && tick.instrument == instrument && tick.may_be_newest();
        let stored = || self.of(instrument, QUOTE).and_then(|(tick, _)| sides(&tick));
        if let Some(kept) = before.iter().rev().filter(is_earlier).find_map(sides).or_else(stored) {
            let mut all = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(instrument, kept);
        }
    }

    #[inline]
    fn newest_key(&self, tick: &Tick) -> Option<usize> {
        self.keys.key(tick).filter(|_| tick.may_be_newest())
    }

    /// The cell of a key; `None` beyond the table.
    #[inline]
    fn cell(&self, key: usize) -> Option<&Cell> {
        let cells = self.chunks.get(key / CELLS_PER_CHUNK)?.get_or_init(|| {
            let empty = || Cell {
                newest: SnapshotCell::new(),
                stored_by: AtomicU64::new(0),
            };
            (0..CELLS_PER_CHUNK).map(|_| empty()).collect()
        });
        Some(&cells[key % CELLS_PER_CHUNK])
    }

    /// Everything it holds, by key: by instrument, then by kind.
    #[must_use]
    pub fn load(&self) -> Vec<Tick> {
        let cells = self
            .chunks
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|cells| cells.iter());
        cells
            .filter_map(|cell| cell.newest.load())
            .map(|words| parted(&words).0)
            .collect()
    }

    /// The newest tick of one kind of an instrument, and its position; `None` when there was none, or the kind is no
    /// state.
    #[must_use]
    pub fn of(&self, instrument: u32, kind: u8) -> Option<(Tick, u64)> {
        let key = self.keys.key(&Tick {
            instrument,
            kind,
            ..Tick::default()
        })?;
        let cells = self.chunks.get(key / CELLS_PER_CHUNK)?.get()?;
        cells[key % CELLS_PER_CHUNK].newest.load().map(|words| parted(&words))
    }

    /// When the newest tick in order of a state kind, a trade or an aggregate trade was received, ns; `None` when none
    /// was, or of another kind.
    #[must_use]
    pub fn newest_ns(&self, instrument: u32, kind: u8) -> Option<i64> {
        if kind != TRADE && kind != AGG_TRADE {
            return self.of(instrument, kind).map(|(tick, _)| tick.ts_init);
        }
        self.newest_trade(instrument, kind).map(|(_, _, received, _)| received)
    }

    /// Price, size, time of receipt in ns, and number of the newest trade or aggregate trade in order; `None` when there
    /// was none, or of another kind. While a trade is published, a reader on another thread may get parts of two.
    #[must_use]
    pub fn newest_trade(&self, instrument: u32, kind: u8) -> Option<(f64, f64, i64, u64)> {
        if kind != TRADE && kind != AGG_TRADE {
            return None;
        }
        let key = trade_key(instrument, kind);
        let trades = self.trades.get(key / CELLS_PER_CHUNK)?.get()?;
        let trade = &trades[key % CELLS_PER_CHUNK];
        // Relaxed: as in `keep_trade`.
        let received = trade.received.load(Ordering::Relaxed);
        let [price, size, seq] = [&trade.price, &trade.size, &trade.seq].map(|word| word.load(Ordering::Relaxed));
        (received != NONE).then_some((f64::from_bits(price), f64::from_bits(size), received, seq))
    }

    /// Bid and ask of the newest quote of an instrument that had both sides; `None` when there was none.
    #[must_use]
    pub fn last_sides(&self, instrument: u32) -> Option<(f64, f64)> {
        let (newest, _) = self.of(instrument, QUOTE)?;
        sides(&newest).or_else(|| {
            let all = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&instrument).copied()
        })
    }
}

/// The place of an instrument's trades, or aggregate trades.
#[inline]
fn trade_key(instrument: u32, kind: u8) -> usize {
    instrument as usize * 2 + usize::from(kind == AGG_TRADE)
}

/// Bid and ask of a quote; `None` where a side has no price, or a size of 0. A size of NaN is unknown.
#[inline]
fn sides(quote: &Tick) -> Option<(f64, f64)> {
    let [bid, ask, bid_size, ask_size] = [quote.value(0), quote.value(1), quote.value(2), quote.value(3)];
    let has_side = |price: f64, size: f64| price > 0.0 && price.is_finite() && size != 0.0;
    (has_side(bid, bid_size) && has_side(ask, ask_size)).then_some((bid, ask))
}

/// The tick and the position that a cell's words are.
fn parted(words: &[u64; WORDS]) -> (Tick, u64) {
    let mut tick = [0; TICK_WORDS];
    tick.copy_from_slice(&words[..TICK_WORDS]);
    (Tick::from_words(tick), words[TICK_WORDS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::kind::kind_set;

    #[test]
    fn of_each_key_it_holds_the_last_one_and_where_it_stands() {
        let table = NewestTable::new(StateKeys::new(kind_set(QUOTE)), 4);
        let tick = |kind, instrument, seq| Tick {
            kind,
            instrument,
            seq,
            ..Tick::default()
        };
        let burst = [
            tick(QUOTE, 1, 1),
            tick(QUOTE, 1, 2),
            tick(TRADE, 1, 9),
            tick(QUOTE, 2, 1),
        ];
        table.store(&burst, 100);
        table.store(&[tick(QUOTE, 2, 2)], 104);
        assert_eq!(table.of(1, QUOTE), Some((burst[1], 101)));
        assert_eq!(
            table.of(2, QUOTE).map(|(tick, position)| (tick.seq, position)),
            Some((2, 104))
        );
        assert_eq!(table.of(3, QUOTE), None);
        assert_eq!(table.of(1, TRADE), None);
        let held: Vec<u64> = table.load().iter().map(|tick| tick.seq).collect();
        assert_eq!(held, [2, 2]);
    }

    #[test]
    fn of_trades_it_keeps_the_newest_in_order() {
        let table = NewestTable::new(StateKeys::new(kind_set(QUOTE)), 4);
        let trade = |kind, instrument, ts_init: i64, flags| Tick {
            kind,
            instrument,
            ts_init,
            flags,
            seq: ts_init as u64 / 5,
            values: [100.0 + ts_init as f64, 0.5, 0.0, 0.0].map(f64::to_bits),
            ..Tick::default()
        };
        assert_eq!(table.newest_ns(1, TRADE), None);
        let late = trade(TRADE, 1, 30, crate::market::tick::flags::LATE);
        let burst = [
            trade(TRADE, 1, 10, 0),
            trade(TRADE, 1, 20, 0),
            late,
            trade(AGG_TRADE, 1, 15, 0),
            trade(QUOTE, 1, 40, 0),
        ];
        table.store(&burst, 0);
        assert_eq!(table.newest_ns(1, TRADE), Some(20));
        assert_eq!(table.newest_ns(1, AGG_TRADE), Some(15));
        assert_eq!(table.newest_ns(1, QUOTE), Some(40));
        assert_eq!(table.newest_ns(2, TRADE), None);
        assert_eq!(table.newest_ns(9_999, TRADE), None);
        assert_eq!(table.newest_trade(1, TRADE), Some((120.0, 0.5, 20, 4)));
        assert_eq!(table.newest_trade(1, AGG_TRADE), Some((115.0, 0.5, 15, 3)));
        assert_eq!(table.newest_trade(1, QUOTE), None);
        // Of two at one time it is the later one, whether they are published together or one by one.
        let at_once = |seq| Tick {
            seq,
            ..trade(TRADE, 3, 50, 0)
        };
        table.store(&[at_once(1), at_once(2)], 5);
        assert_eq!(table.newest_trade(3, TRADE).map(|own| own.3), Some(2));
        table.store_one(&at_once(3), 7);
        assert_eq!(table.newest_trade(3, TRADE).map(|own| own.3), Some(3));
    }

    #[test]
    fn of_quotes_it_keeps_the_prices_of_the_last_that_had_both_sides() {
        let table = NewestTable::new(StateKeys::new(kind_set(QUOTE)), 4);
        let quote = |instrument, bid: f64, bid_size: f64, flags| Tick {
            kind: QUOTE,
            instrument,
            flags,
            values: [bid, bid + 1.0, bid_size, 1.0].map(f64::to_bits),
            ..Tick::default()
        };
        assert_eq!(table.last_sides(1), None);
        table.store(&[quote(1, 9.0, 0.0, 0)], 0);
        assert_eq!(table.last_sides(1), None);
        table.store(&[quote(1, 10.0, 1.0, 0)], 1);
        table.store(&[quote(1, 11.0, 0.0, 0)], 2);
        table.store(&[quote(1, 12.0, 0.0, 0)], 3);
        assert_eq!(table.last_sides(1), Some((10.0, 11.0)));
        // Inside of one burst, too; but not one that came late, or of another instrument.
        let late = quote(1, 14.0, 1.0, crate::market::tick::flags::LATE);
        let burst = [
            quote(1, 13.0, 1.0, 0),
            late,
            quote(2, 15.0, 1.0, 0),
            quote(1, 16.0, 0.0, 0),
        ];
        table.store(&burst, 4);
        assert_eq!(table.last_sides(1), Some((13.0, 14.0)));
        table.store(&[quote(1, 17.0, 1.0, 0)], 8);
        assert_eq!(table.last_sides(1), Some((17.0, 18.0)));
        assert_eq!(table.last_sides(2), Some((15.0, 16.0)));
    }
}
