//! `CallLog`: the dispatch log of one ingest, in Python.
//!
//! Guarantees: one log at a time; lines come out in the order in which their calls began.
//! Does not: write files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;

use super::log::{CallTuple, DispatchLog, Line};
use crate::errors::{raise, refuse_after_fork};
use crate::ingest::{Ingest, IngestCore};
use crate::lock::lock;

/// A line as Python gets it: a call, or a mark's number, cursor and now_ns.
#[derive(IntoPyObject)]
enum Taken {
    Call(CallTuple),
    Mark((u64, u64, i64)),
}

/// Logs the dispatch calls of every group of an ingest, until it is closed; one at a time.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct CallLog {
    core: Arc<IngestCore>,
}

impl CallLog {
    fn log(&self) -> &DispatchLog {
        &self.core.ring.log
    }
}

#[pymethods]
impl CallLog {
    #[new]
    fn new(py: Python<'_>, ingest: &Ingest) -> PyResult<Self> {
        refuse_after_fork(py)?;
        let core = Arc::clone(&ingest.core);
        // Relaxed: see `stand_still`.
        if core.ring.log.on.swap(true, Ordering::Relaxed) {
            let message = "this dispatcher's calls are logged already: one log at a time";
            return Err(raise(py, "DispatchLogError", message));
        }
        Ok(Self { core })
    }

    /// Puts a line between the calls: this number, the cursor now, and ``now_ns``.
    fn mark(&self, number: u64, now_ns: i64) {
        let mut lines = lock(&self.log().lines);
        let cursor = self.core.ring.ring.cursor();
        lines.lines.push_back(Line::Mark(number, cursor, now_ns));
    }

    /// The lines since the last call, as far as their calls are over: calls (group, cursor, now_ns, from, read, to,
    /// flags, lost, calls), and marks (number, cursor, now_ns).
    fn take(&self) -> Vec<Taken> {
        let mut lines = lock(&self.log().lines);
        let mut taken = Vec::new();
        while let Some(line) = lines.lines.front() {
            match line {
                Line::Open => break,
                Line::Empty => {}
                Line::Call(call) => taken.push(Taken::Call(*call)),
                Line::Mark(number, cursor, now_ns) => taken.push(Taken::Mark((*number, *cursor, *now_ns))),
            }
            lines.lines.pop_front();
            lines.first += 1;
        }
        taken
    }

    /// How many lines wait for a call that still runs.
    fn waiting(&self) -> usize {
        lock(&self.log().lines).lines.len()
    }

    /// Logs no more.
    fn close(&self) {
        // Relaxed: see `stand_still`. A call that runs may still write its line, which is never taken.
        self.log().on.store(false, Ordering::Relaxed);
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        self.close();
    }
}
