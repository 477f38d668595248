//! The domain of Headrace: what a tick is, how it is numbered, and how venue frames become ticks.
//!
//! ```text
//!   frame bytes ─▶ decode ─▶ sequencer ─▶ (ring, in lockfree) ─▶ plan, conflate ─▶ handlers (in binding)
//! ```
//! Guarantees: same input, same output; nothing here reads a clock, starts a thread, or does I/O.
//! Does not: use Python, or touch memory that another thread writes.
#![forbid(unsafe_code)]

pub mod bars;
pub mod candles;
pub mod error;
pub mod fan_out;
pub mod histogram;
pub mod ingest;
pub mod lane;
pub mod limits;
pub mod market;
mod named;
