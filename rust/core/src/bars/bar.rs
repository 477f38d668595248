//! A bar, what it is made of, and what became of the ticks.
//!
//! Guarantees: every tick of a spec is in exactly one number of [`Counts`].
//! Does not: fold ticks; a series does.

use crate::fan_out::plan::matches_pattern;
use crate::market::kind::{AGG_TRADE, KLINE, QUOTE, TRADE};
use crate::market::tick::Tick;
use crate::named_set;

/// When a bar closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeframe {
    /// Every so many ns of the clock.
    Time(i64),
    /// On its nth tick.
    Ticks(u64),
}

named_set! {
    /// What a bar is made of: a kind, and which of its values.
    pub enum BarPrice {
        /// The price of each trade.
        Trade "trade",
        /// The price of each aggregate of trades.
        AggTrade "agg_trade",
        /// The middle of each quote.
        Mid "mid",
        /// The bid of each quote.
        Bid "bid",
        /// The ask of each quote.
        Ask "ask",
        /// The venue's own candle of this length.
        Kline "kline",
    }
}

impl BarPrice {
    /// The kind of the ticks that it counts.
    #[must_use]
    pub fn kind(self) -> u8 {
        match self {
            BarPrice::Trade => TRADE,
            BarPrice::AggTrade => AGG_TRADE,
            BarPrice::Mid | BarPrice::Bid | BarPrice::Ask => QUOTE,
            BarPrice::Kline => KLINE,
        }
    }

    #[inline]
    pub(super) fn of(self, tick: &Tick) -> (f64, f64) {
        match self {
            BarPrice::Trade | BarPrice::AggTrade => (tick.value(0), tick.value(1)),
            BarPrice::Mid => {
                let (bid, ask) = tick.bid_and_ask();
                ((bid + ask) / 2.0, 0.0)
            }
            BarPrice::Bid => (tick.bid_and_ask().0, 0.0),
            BarPrice::Ask => (tick.bid_and_ask().1, 0.0),
            BarPrice::Kline => (tick.value(3), 0.0),
        }
    }
}

/// One kind of bar, and the instruments that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarSpec {
    /// Names or patterns of instruments, each with whether an interval without ticks repeats the close before it. An
    /// instrument that several match has its bars once, with empty ones if any of the patterns has them.
    pub wanted: Vec<(String, bool)>,
    /// When a bar closes.
    pub timeframe: Timeframe,
    /// What it is made of.
    pub price: BarPrice,
    /// Whether a tick's bar is found by the venue's time; else by the time of receipt.
    pub by_event: bool,
}

impl BarSpec {
    /// Whether an instrument has these bars, and then whether empty ones, too.
    pub(super) fn matches(&self, instrument: &str) -> Option<bool> {
        let mut matching = self
            .wanted
            .iter()
            .filter(|(pattern, _)| matches_pattern(pattern, instrument));
        let (_, first) = matching.next()?;
        Some(*first || matching.any(|(_, empty)| *empty))
    }
}

/// One bar that closed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bar {
    /// The spec's number.
    pub spec: u32,
    /// The instrument's id.
    pub instrument: u32,
    /// Price of the first tick; in an empty bar all four are the close before it.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Price of the last tick.
    pub close: f64,
    /// Sum of the sizes in the order of the ticks; 0 for quotes.
    pub volume: f64,
    /// Ticks.
    pub count: u64,
    /// Late ticks of this spec and instrument by now.
    pub late: u64,
    /// Start of the interval, or time of the first tick.
    pub ts_open: i64,
    /// End of the interval, or time of the last tick.
    pub ts_close: i64,
    /// `seq` of the first and the last tick; in an empty bar, of the last one before it.
    pub seq: (u64, u64),
    /// When the last tick was received.
    pub ts_init: i64,
    /// Its interval began before the data did.
    pub partial: bool,
}

/// What became of the ticks of one spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In a bar, closed or open.
    pub ticks: u64,
    /// Older than the open bar or the last closed one, or behind a newer one of the venue's numbers.
    pub late: u64,
    /// Repeated by the venue.
    pub duplicates: u64,
    /// Without a venue time, where bars go by it.
    pub untimed: u64,
    /// With a price or size that is no finite number, or without the side of the book that the bar needs.
    pub unpriced: u64,
    /// Bars that closed, empty ones included.
    pub bars: u64,
    /// Bars without ticks.
    pub empty: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        self.ticks += other.ticks;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.untimed += other.untimed;
        self.unpriced += other.unpriced;
        self.bars += other.bars;
        self.empty += other.empty;
    }
}
