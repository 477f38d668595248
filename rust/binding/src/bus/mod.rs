//! The native half of the event bus.
//!
//! ```text
//!   publish ─▶ bus (lanes with their events) ─▶ turns ─▶ delivery ─▶ handler
//! ```
//! Guarantees: no lock is held while Python runs.
//! Does not: await handlers; the Python bus does.

mod bus;
mod delivery;
mod handler;
mod turns;

pub(crate) use bus::BusCore;
pub(crate) use handler::BusHandler;
