//! Sequencing: dense numbers per (instrument, kind), and gaps where the venue's own numbers jump.
//!
//! Guarantees: same input, same output; a restored sequencer gives no number twice.
//! Does not: reorder, wait, or look at times.

mod known_gaps;
mod options;
mod sequencer;
mod state;
mod stream;

pub use options::{SequencerOptions, Unwanted};
pub use sequencer::{Sequencer, SequencerCounts};
pub use state::{RestoreError, SavedStream, SequencerState};
