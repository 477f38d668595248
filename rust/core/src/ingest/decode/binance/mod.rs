//! Binance: spot, USD-M and COIN-M frames.
//!
//! ```text
//!   frame ─▶ fast ─▶ scan ─┬─▶ frame ─▶ symbols ─▶ ticks          fast of a whole block ahead: read_block
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
mod read_block;
mod scan;
mod symbols;
mod ticks;
mod venue;

pub use decoder::{Decoder, PassedOver};
pub use read_block::{ReadBlock, ReadFrame, Text};
pub use venue::detect_venue;
