//! The errors of the native core that are not about one frame, one instrument or one kind.
//!
//! ```text
//!   DetectError   the venue of a recording cannot be found
//!   MergeError    a source cannot be merged by time
//! ```
//! Guarantees: each holds the facts, and its text is made of them: fact, value, what to do next.
//! Does not: include what is refused frame by frame (see [`crate::ingest::decode::RejectReason`]).

/// Why a venue could not be found by its frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// Nothing that only one market sends.
    #[error(
        "the first 1,000 frames hold no depthUpdate and no bookTicker, so they don't tell their venue: say it with \
         FILE@VENUE or --venue (BINANCE, BINANCE_USDM, BINANCE_COINM)"
    )]
    Undecided,
    /// Frames of two markets.
    #[error(
        "the first 1,000 frames come from two markets ({futures} from futures, {spot} from spot): record one market a \
         file, or say which one to decode with FILE@VENUE or --venue"
    )]
    Mixed {
        /// Frames that only futures send.
        futures: u32,
        /// Frames that only spot sends.
        spot: u32,
    },
}

/// Why sources could not be merged: a source's receive time is below the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: receive time {ts_init} lies before {previous} of the row above: sort the source by receive time")]
pub struct MergeError {
    /// Which source, from 0.
    pub source_index: usize,
    /// Its row (line or tick), from 1.
    pub row: u64,
    /// The receive time there.
    pub ts_init: i64,
    /// The receive time before.
    pub previous: i64,
}
