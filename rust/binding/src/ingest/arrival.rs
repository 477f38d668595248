//! One frame as it came in: its decoding, and how it is counted.
//!
//! Guarantees: a frame is counted once, whatever it was.
//! Does not: number ticks, or publish.

use headrace_core::ingest::decode::{Outcome, ReadFrame};

use super::decoder::Decoder;
use super::ingest_core::IngestCore;
use super::sequencer::Working;
use super::tally::{Reject, Tally};
use crate::lock::lock;

/// One frame as it came in.
pub(crate) struct Arrival<'a> {
    pub(crate) decoder: &'a Decoder,
    pub(crate) frame: &'a [u8],
    /// What was read of it ahead.
    pub(crate) read: Option<ReadFrame<'a>>,
    pub(crate) ts_init: i64,
    /// Where from, for its letter when it is rejected.
    pub(crate) source: &'a str,
    pub(crate) row: u64,
}

impl Arrival<'_> {
    /// Decodes the frame into `working.incoming`.
    pub(crate) fn decode(&self, core: &IngestCore, working: &mut Working) -> Outcome {
        working.incoming.clear();
        let mut decoder = self.decoder.lock();
        let (instruments, out) = (&mut *lock(&core.instruments), &mut working.incoming);
        let outcome = match self.read {
            Some(read) => decoder.take(read, instruments, out),
            None => decoder.decode(self.frame, self.ts_init, instruments, out),
        };
        if let Some(passed) = decoder.passed_over() {
            working.sequencer.pass_over(passed);
        }
        outcome
    }

    /// Counts what the frame was.
    pub(crate) fn count(&self, outcome: Outcome, tally: &mut Tally) {
        tally.count(outcome, |reason| Reject {
            source: self.source.to_owned(),
            row: self.row,
            reason,
            ts_init: self.ts_init,
            frame: self.frame.to_vec(),
        });
    }
}
