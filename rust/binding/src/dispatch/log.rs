//! The dispatch log's native half: each dispatch call of each group, in the order in which they began.
//!
//! ```text
//!   call begins: the ring stands still, its cursor is the call's ─▶ call ─▶ written down: from, read, to, lost, calls
//! ```
//! A call reads no further than the cursor at its beginning, and a lapse or a request cuts it in two. So to publish
//! up to that cursor, and to dispatch the same group to the same position, makes the same calls: also those of threads.
//! Guarantees: lines come out in order, their cursors never go back; a line behind a call that still runs waits for it.
//! Does not: write files, or hold names.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

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
    /// The call stopped between two ticks of an open span, which ended there.
    pub(crate) const CUT: u8 = 16;
    /// Something was due before the first tick of the next span, up to which it had read; with `CUT`, which was open.
    pub(crate) const READ_ON: u8 = 32;
}

/// One dispatch call, or a part of one: group, cursor, now_ns, from, read, to, flags, lost, calls.
pub(crate) type CallTuple = (u32, u64, i64, u64, u64, u64, u8, u64, u64);

pub(super) enum Line {
    /// The call still runs.
    Open,
    /// Nothing happened in it.
    Empty,
    Call(CallTuple),
    /// A mark of the caller: number, cursor, now_ns.
    Mark(u64, u64, i64),
}

/// Lines not taken yet; while it is locked, nothing is published.
#[derive(Default)]
pub(crate) struct Lines {
    pub(super) lines: VecDeque<Line>,
    /// Number of the first of them.
    pub(super) first: u64,
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
    pub(super) on: AtomicBool,
    groups: AtomicU32,
    pub(super) lines: Mutex<Lines>,
}

impl DispatchLog {
    /// A number for a group, in the order in which they are made.
    pub(crate) fn number_group(&self) -> u32 {
        // Relaxed: only uniqueness counts; one thread makes the groups whose order matters.
        self.groups.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether calls are logged.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        // Relaxed: turned on before the first call that is to be logged, by the thread that makes it.
        self.on.load(Ordering::Relaxed)
    }

    /// The lines, and with them the ring: while they are held nothing is published. `None`: nothing is logged.
    #[inline]
    pub(crate) fn stand_still(&self) -> Option<MutexGuard<'_, Lines>> {
        if self.is_on() { Some(lock(&self.lines)) } else { None }
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
