//! Ingest: frames and arrays from Python in, numbered ticks on the ring.
//!
//! ```text
//!   blocks ─▶ sources ─▶ arrival, decoder ─▶ publisher: sequencer ─▶ bars, ring ─▶ groups
//!               └──── pump: live, in a replay, or up to a position
//! ```
//! Guarantees: one publish at a time; nothing that was numbered is lost.
//! Does not: read sockets, or call handlers.

mod arrival;
mod bar_builder;
mod bars;
mod book_census;
mod counted;
mod decoder;
mod ingest;
mod ingest_core;
mod looks;
mod now;
mod numbering;
mod packed_file;
mod publisher;
mod publishing;
mod pump;
mod pump_status;
mod replay;
mod ring;
mod ring_core;
mod sequencer;
mod sources;
mod tally;
mod zstd_packer;

pub(crate) use bar_builder::BarBuilder;
pub(crate) use bars::BarsCore;
pub(crate) use book_census::BookCensus;
pub(crate) use decoder::{Decoder, ReadBlock, detect_venue, reject_table};
pub(crate) use ingest::Ingest;
pub(crate) use ingest_core::{Advance, IngestCore};
pub(crate) use packed_file::PackedFile;
pub(crate) use pump::Pump;
pub(crate) use pump_status::PumpStatus;
pub(crate) use ring::{Ring, RingReader};
pub(crate) use ring_core::{Alarm, RingCore};
pub(crate) use sequencer::Sequencer;
pub(crate) use zstd_packer::ZstdPacker;
