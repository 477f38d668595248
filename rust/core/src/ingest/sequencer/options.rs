//! How a sequencer treats what is not new by the venue's numbers.

/// What becomes of an event that is not new by the venue's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// Counted, and not passed on.
    Drop,
    /// Counted, flagged, numbered and passed on.
    Deliver,
}

/// How a sequencer treats duplicates and late events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequencerOptions {
    /// The same venue number again.
    pub duplicates: Unwanted,
    /// A venue number below one already seen.
    pub late: Unwanted,
}

impl Default for SequencerOptions {
    fn default() -> Self {
        Self {
            duplicates: Unwanted::Drop,
            late: Unwanted::Deliver,
        }
    }
}
