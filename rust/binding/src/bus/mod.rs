//! The native half of the event bus.
//!
//! ```text
//!   publish ─▶ bus (lanes with their events) ─▶ turns ─▶ delivery ─▶ handler
//! ```
//! Guarantees: no lock is held while Python runs.
//! Does not: await handlers; the Python bus does.

mod bus;
mod candle_tap;
mod candles;
mod delivery;
mod face;
mod gated_call;
mod handler;
mod in_hand;
mod route;
mod turns;

pub(crate) use bus::BusCore;
pub(crate) use candle_tap::{CandleKey, CandleTap};
pub(crate) use gated_call::GatedCall;
pub(crate) use handler::BusHandler;
