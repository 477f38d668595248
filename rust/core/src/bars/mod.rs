//! Bars: the ticks of an interval as open, high, low, close and volume.
//!
//! Guarantees: every tick of a spec is in exactly one number of [`Counts`].
//! Does not: read the clock.

mod bars;
mod series;

pub use bars::{Bar, BarPrice, BarSpec, Bars, Counts, Timeframe};
