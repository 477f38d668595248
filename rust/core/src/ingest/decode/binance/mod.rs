//! Binance: spot, USD-M and COIN-M frames.
//!
//! ```text
//!   frame ─▶ fast ─▶ scan ─┬─▶ frame ─▶ symbols ─▶ ticks
//!                          └─▶ general ─▶ json, fields ─▶ frame
//! ```
//! Guarantees: both readers agree in every bit.
//! Does not: keep books, or guess the venue of one frame (see [`detect_venue`]).

mod decoder;
mod fast;
mod fields;
mod frame;
mod general;
mod json;
mod number;
mod scan;
mod symbols;
mod venue;

pub use decoder::{Decoder, PassedOver};
pub use venue::detect_venue;
