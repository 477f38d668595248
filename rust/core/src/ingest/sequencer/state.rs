//! What a sequencer leaves behind, and why a restore can refuse it.
//!
//! Guarantees: streams are named by text, so the state outlives instrument and kind numbers.
//! Does not: write itself anywhere.

use crate::limits::RESTART_JUMP;
use serde::{Deserialize, Serialize};

/// One (instrument, kind) of a saved sequencer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedStream {
    /// `SYMBOL.VENUE`; empty for ticks of no instrument.
    pub instrument: String,
    /// The kind's name.
    pub kind: String,
    /// The last number given.
    pub seq: u64,
    /// The last venue number in order; 0: none.
    pub venue_last: u64,
}

/// A saved sequencer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequencerState {
    /// The last number not to be given to streams not named here.
    pub jump: u64,
    /// Every stream, in order of its names.
    pub streams: Vec<SavedStream>,
}

/// Why a state was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A stream's number is out of range.
    #[error("the saved state says that {0}:{1} was at {2}, out of range: it is damaged; start without it")]
    Seq(String, String, u64),
    /// The jump is out of range.
    #[error("the saved state says that {0} numbers were passed over, out of range: it is damaged; start without it")]
    Jump(u64),
    /// A stream stands twice.
    #[error("the saved state names {0}:{1} twice: it is damaged; start without it")]
    Twice(String, String),
}

/// The last number not to be given after this one was the last given: the next is this one + [`RESTART_JUMP`]. None
/// when less than half of all numbers would be left.
pub(super) fn jumped(seq: u64) -> Option<u64> {
    seq.checked_add(RESTART_JUMP - 1).filter(|&seq| seq < 1 << 63)
}
