//! Candles: the candles of several feeds as one order of events, and a closed one as a line of an audit.

mod bar_line;
mod candle;
mod merge;

pub use bar_line::{BarLine, Part};
pub use candle::{CANDLE_BYTES, Candle};
pub use merge::{CandleMerge, Due, Taken, What};
