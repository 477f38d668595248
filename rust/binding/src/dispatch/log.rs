//! The dispatch log's native half: each dispatch call of each group, in the order in which they began.
//!
//! ```text
//!   call begins: the ring stands still, its cursor is the call's ─▶ call ─▶ written down: from, read, to, lost, calls
//! ```
//! A call reads no further than the cursor at its beginning, and a lapse or a request cuts it in two. So whoever publishes
//! up to that cursor, and dispatches the same group to the same position, gives the same calls: of threads, too.
//! Guarantees: lines come out in order, their cursors never go back; a line behind a call that still runs waits for it.
//! Does not: write files, or know names.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::prelude::*;

use crate::errors::{raise, refuse_after_fork};
use crate::ingest::{Ingest, IngestCore};
use crate::lock::lock;

/// How a call came about, and how it ended.
pub(crate) mod flags {
    /// Inside of a publish that found the ring held.
    pub(crate) const NESTED: u8 = 1;
    /// It ends as soon as something is to be awaited.
    pub(crate) const STEP: u8 = 2;
    /// Nothing was left to read.
    pub(crate) const CAUGHT_UP: u8 = 4;
    /// A lapse or a request cut it here: the same call goes on with its group's next line.
    pub(crate) const CONTINUED: u8 = 8;
}

/// One dispatch call, or a part of one: group, cursor, now_ns, from, read, to, flags, lost, calls.
pub(crate) type CallTuple = (u32, u64, i64, u64, u64, u64, u8, u64, u64);

enum Line {
    /// The call still runs.
    Open,
    /// Nothing happened in it.
    Empty,
    Call(CallTuple),
    /// Somebody else's: number, cursor, now_ns.
    Mark(u64, u64, i64),
}

/// Lines not taken yet; while it is locked, nothing is published.
#[derive(Default)]
pub(crate) struct Lines {
    lines: VecDeque<Line>,
    /// Number of the first of them.
    first: u64,
}

impl Lines {
    /// Keeps a place for a call that begins now, and returns its number.
    pub(crate) fn begin(&mut self) -> u64 {
        self.lines.push_back(Line::Open);
        self.first + self.lines.len() as u64 - 1
    }
}

/// The log of a ring.
#[derive(Default)]
pub(crate) struct DispatchLog {
    on: AtomicBool,
    groups: AtomicU32,
    lines: Mutex<Lines>,
}

impl DispatchLog {
    /// A number for a group, in the order in which they are made.
    pub(crate) fn number_group(&self) -> u32 {
        // Relaxed: only uniqueness counts; one thread makes the groups whose order matters.
        self.groups.fetch_add(1, Ordering::Relaxed)
    }

    /// The lines, and with them the ring: while they are held nothing is published. `None`: nothing is logged.
    #[inline]
    pub(crate) fn stand_still(&self) -> Option<MutexGuard<'_, Lines>> {
        // Relaxed: turned on before the first call that is to be logged, by the thread that makes it.
        if self.on.load(Ordering::Relaxed) {
            Some(lock(&self.lines))
        } else {
            None
        }
    }

    /// Writes down what a call did; `None`: nothing.
    pub(crate) fn end(&self, number: u64, call: Option<CallTuple>) {
        let mut lines = lock(&self.lines);
        let place = usize::try_from(number - lines.first).unwrap_or(usize::MAX);
        if let Some(line) = lines.lines.get_mut(place) {
            *line = call.map_or(Line::Empty, Line::Call);
        }
    }
}

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
            return Err(raise(py, "DispatchLogError", message, &[]));
        }
        Ok(Self { core })
    }

    /// Puts a line between the calls: this number, the cursor now, and ``now_ns``.
    fn mark(&self, number: u64, now_ns: i64) {
        let mut lines = lock(&self.log().lines);
        let cursor = self.core.ring.ring.cursor();
        lines.lines.push_back(Line::Mark(number, cursor, now_ns));
    }

    /// The lines since the last call, as far as their calls are over: calls (group, cursor, now_ns, from, read, to, flags,
    /// lost, calls), and marks (number, cursor, now_ns).
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
        // Relaxed: see `stand_still`. A call that runs may still write its line, which nobody takes.
        self.log().on.store(false, Ordering::Relaxed);
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        self.close();
    }
}
