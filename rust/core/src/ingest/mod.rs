//! Ingest: from the frames and blocks of several sources to one stream of numbered ticks.
//!
//! ```text
//!   files ─▶ unpack ─▶ blocks ─▶ lines, digits ─▶ merge ─▶ decode ─▶ sequencer ─▶ hash, and the ring
//! ```
//! Guarantees: the order, the numbers and the hash depend on the sources alone.
//! Does not: read files or sockets, or publish.

pub mod decode;
mod digits;
pub mod hash;
pub mod lines;
pub mod merge;
pub mod pack;
pub mod sequencer;
pub mod unpack;
