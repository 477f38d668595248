//! Candles: merged, made into bars, published and delivered natively while nothing else is due.
//!
//! ```text
//!   blocks ─▶ CandleMerge ─▶ bars ─▶ the bus's data lane ─▶ drain ─┬▶ taps: rows for a result, lines for its hash
//!                                                                  └▶ handlers
//! ```
//! Guarantees: no lock is held while Python runs.
//! Does not: read feeds.

mod audit_hash;
mod bar_maker;
mod candle_merge;
mod candle_rows;
mod line_hasher;
mod shared;
mod waits;

pub(crate) use audit_hash::AuditHash;
pub(crate) use candle_merge::CandleMerge;
pub(crate) use candle_rows::CandleRows;
