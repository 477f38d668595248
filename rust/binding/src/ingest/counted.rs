//! Counted: what came of a pump's items so far.
//!
//! Guarantees: also while the pump runs, a call of a handler included, every item that was taken is counted, once.
//! Does not: take items.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use headrace_core::ingest::decode::Outcome;
use headrace_core::ingest::merge::Origin;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::arrival::Arrival;
use super::ingest_core::IngestCore;
use super::sequencer::Working;
use super::tally::{RejectTuple, Tally};
use crate::dispatch::Count;
use crate::lock::lock;

/// What came of the items so far; read also while the pump runs.
#[derive(Default)]
pub(crate) struct Counted {
    items: Count,
    /// Items whose receive time is known, and that of the first and the last of them.
    timed: Count,
    first_ts: AtomicI64,
    last_ts: AtomicI64,
    frames: Mutex<Frames>,
}

/// What became of the frames.
#[derive(Default)]
struct Frames {
    tally: Tally,
    /// Accepted, by source.
    accepted: Vec<u64>,
}

impl Counted {
    /// Decodes a frame of a source into `working.incoming`, and counts what it was.
    pub(super) fn take_frame(
        &self,
        source: usize,
        arrival: &Arrival<'_>,
        core: &IngestCore,
        working: &mut Working,
    ) -> Outcome {
        let outcome = arrival.decode(core, working);
        let mut frames = lock(&self.frames);
        arrival.count(outcome, &mut frames.tally);
        frames.accepted[source] += u64::from(matches!(outcome, Outcome::Accepted(_)));
        self.count_items(1, arrival.ts_init, arrival.ts_init);
        outcome
    }

    /// Counts what was taken as ticks of one time: an array's, or a frame.
    #[inline]
    pub(super) fn count_time(&self, origin: Origin, ts_init: i64) {
        if let Some(frame_type) = origin.frame_type {
            let mut frames = lock(&self.frames);
            frames.tally.count_accepted(frame_type);
            frames.accepted[origin.source] += 1;
        }
        self.count_items(1, ts_init, ts_init);
    }

    /// Counts a line that holds no frame.
    pub(super) fn count_bad_line(&self, source: &str, row: u64, ts_init: i64, line: &[u8]) {
        lock(&self.frames).tally.count_bad_line(source, row, ts_init, line);
    }

    /// One whose receive time is not known.
    pub(super) fn count_untimed(&self) {
        self.items.add(1);
    }

    /// One source more.
    pub(super) fn add_source(&self) {
        lock(&self.frames).accepted.push(0);
    }

    /// Items so far.
    pub(super) fn items(&self) -> u64 {
        self.items.get()
    }

    /// So many whose receive times are known, and when the first and the last of them was received.
    #[inline]
    pub(super) fn count_items(&self, count: u64, first_ns: i64, last_ns: i64) {
        if self.timed.get() == 0 {
            // Relaxed, here and below: written by the thread that drives the pump; numbers for others.
            self.first_ts.store(first_ns, Ordering::Relaxed);
        }
        self.last_ts.store(last_ns, Ordering::Relaxed); // Relaxed: as above.
        self.items.add(count);
        self.timed.add(count);
    }

    /// When the last item was received that was taken.
    pub(crate) fn last_ts(&self) -> Option<i64> {
        (self.timed.get() > 0).then(|| self.last_ts.load(Ordering::Relaxed)) // Relaxed: see `count_items`.
    }

    pub(crate) fn write_to(&self, py: Python<'_>, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        let frames = lock(&self.frames);
        frames.tally.write_to(py, dict)?;
        let first_ts = self.last_ts().map(|_| self.first_ts.load(Ordering::Relaxed)); // Relaxed: as above.
        dict.set_item("first_ts", first_ts)?;
        dict.set_item("last_ts", self.last_ts())?;
        dict.set_item("items", self.items.get())?;
        dict.set_item("accepted", frames.accepted.clone())
    }

    pub(crate) fn take_rejects(&self) -> Vec<RejectTuple> {
        lock(&self.frames).tally.take_rejects()
    }
}
