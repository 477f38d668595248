//! What became of the frames: counts by type and reason, and the rejected ones with their bytes.
//!
//! Guarantees: every frame is counted once; the newest rejected ones are kept within bounds until they are taken.
//! Does not: decide what is rejected.

use std::collections::VecDeque;

use headrace_core::ingest::decode::{FrameType, IgnoredType, Outcome, RejectReason};
use headrace_core::limits::{REJECTS_BYTES_MAX, REJECTS_MAX};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A rejected frame.
pub(crate) struct Reject {
    pub(crate) source: String,
    pub(crate) row: u64,
    pub(crate) reason: RejectReason,
    pub(crate) ts_init: i64,
    pub(crate) frame: Vec<u8>,
}

/// A rejected frame as Python gets it: (source, row, reason, ts_init, frame).
pub(crate) type RejectTuple = (String, u64, &'static str, i64, Vec<u8>);

/// Counts of frames, and rejected ones.
pub(crate) struct Tally {
    frames: [u64; FrameType::ALL.len()],
    ignored: [u64; IgnoredType::NAMES.len()],
    rejected: [u64; RejectReason::TABLE.len()],
    rejects: VecDeque<Reject>,
    bytes: usize,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            frames: [0; FrameType::ALL.len()],
            ignored: [0; IgnoredType::NAMES.len()],
            rejected: [0; RejectReason::TABLE.len()],
            rejects: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl Tally {
    pub(crate) fn count(&mut self, outcome: Outcome, about: impl FnOnce(RejectReason) -> Reject) {
        match outcome {
            Outcome::Accepted(frame_type) => self.count_accepted(frame_type),
            Outcome::Ignored(ignored) => self.ignored[ignored.index()] += 1,
            Outcome::Rejected(reason) => {
                self.rejected[reason as usize] += 1;
                let reject = about(reason);
                self.bytes += reject.frame.len();
                self.rejects.push_back(reject);
                while self.rejects.len() > REJECTS_MAX || self.bytes > REJECTS_BYTES_MAX {
                    let Some(oldest) = self.rejects.pop_front() else { break };
                    self.bytes -= oldest.frame.len();
                }
            }
        }
    }

    /// Counts a frame that became ticks.
    #[inline]
    pub(crate) fn count_accepted(&mut self, frame_type: FrameType) {
        self.frames[frame_type as usize] += 1;
    }

    /// Counts a line that holds no frame.
    pub(crate) fn count_bad_line(&mut self, source: &str, row: u64, ts_init: i64, line: &[u8]) {
        self.count(Outcome::Rejected(RejectReason::BadLine), |reason| Reject {
            source: source.to_owned(),
            row,
            reason,
            ts_init,
            frame: line.to_vec(),
        });
    }

    pub(crate) fn write_to<'py>(&self, py: Python<'py>, dict: &Bound<'py, PyDict>) -> PyResult<()> {
        let frames = PyDict::new(py);
        for frame_type in FrameType::ALL {
            frames.set_item(frame_type.name(), self.frames[frame_type as usize])?;
        }
        let ignored = PyDict::new(py);
        for (name, count) in IgnoredType::NAMES
            .iter()
            .zip(self.ignored)
            .filter(|(_, count)| *count > 0)
        {
            ignored.set_item(name, count)?;
        }
        let rejected = PyDict::new(py);
        for ((_, name, ..), count) in RejectReason::TABLE
            .iter()
            .zip(self.rejected)
            .filter(|(_, count)| *count > 0)
        {
            rejected.set_item(name, count)?;
        }
        dict.set_item("frames", frames)?;
        dict.set_item("ignored", ignored)?;
        dict.set_item("rejected", rejected)
    }

    /// The rejected frames kept since the last call.
    pub(crate) fn take_rejects(&mut self) -> Vec<RejectTuple> {
        self.bytes = 0;
        let taken = std::mem::take(&mut self.rejects);
        taken
            .into_iter()
            .map(|reject| {
                (
                    reject.source,
                    reject.row,
                    reject.reason.name(),
                    reject.ts_init,
                    reject.frame,
                )
            })
            .collect()
    }
}
