//! Ingest: frames and arrays from Python in, numbered ticks on the ring.
//!
//! ```text
//!   blocks ─▶ sources ─▶ decoder ─▶ sequencer ─▶ bars, ring ─▶ groups
//!               └──── pump: live, in a replay, or up to a position
//! ```
//! Guarantees: one publish at a time; nothing that was numbered is lost.
//! Does not: read files or sockets, or call handlers.

pub(crate) mod bars;
pub(crate) mod decoder;
mod ingest;
pub(crate) mod publishing;
pub(crate) mod pump;
pub(crate) mod pump_status;
pub(crate) mod replay;
pub(crate) mod ring;
pub(crate) mod sequencer;
pub(crate) mod sources;
pub(crate) mod tally;

pub(crate) use ingest::{Advance, Arrival, Ingest, IngestCore, this_thread};
