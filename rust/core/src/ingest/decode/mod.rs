//! Venue frames to ticks: one [`Decoder`] per venue and source, one outcome per frame.
//!
//! ```text
//!   frame ─▶ predicted scanner ─┬─▶ Frame ─▶ instrument ─▶ ticks (seq 0) ─▶ Outcome
//!              at the first other byte: │
//!                          serde_json ──┘
//! ```
//! Guarantees: a rejected or ignored frame leaves ticks, instruments and decoder as they were; every frame has exactly
//! one outcome out of closed sets; the two ways of reading agree in every bit; no allocation per frame once warm.
//! Does not: number ticks or look at the venue's numbers (see [`crate::ingest::sequencer`]), or keep refused frames.

pub mod binance;
mod outcome;

pub use binance::{Decoder, PassedOver, ReadBlock, ReadFrame, Text, detect_venue};
pub use outcome::{FrameType, IgnoredType, Outcome, RejectReason};
