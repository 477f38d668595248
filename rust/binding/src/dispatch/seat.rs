//! The seat: the reader by which a group holds the writer, and a place that is kept for it while that reader is in use.
//!
//! ```text
//!   resume (any thread, while the group is being dispatched) ─▶ keep_place ─▶ the dispatching thread goes on with it
//! ```
//! Guarantees: from `keep_place` on the writer overwrites nothing that is published behind it.
//! Does not: read, or decide whether the writer has to wait.

use std::sync::{Arc, Mutex, MutexGuard};

use headrace_core::market::tick::TICK_WORDS;
use headrace_lockfree::{Reader, ReaderId, Ring};

use crate::lock::lock;

/// A group's readers as other threads see them.
pub(super) struct Seat(Mutex<Readers>);

/// While it is locked, the group neither joins the gate nor leaves it.
pub(super) struct Readers {
    own: ReaderId,
    /// In the gate since its group was in use; the group goes on with it at the next edge of a span.
    place: Option<Reader<TICK_WORDS>>,
}

impl Seat {
    pub(super) fn new(own: ReaderId) -> Self {
        Self(Mutex::new(Readers { own, place: None }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Readers> {
        lock(&self.0)
    }

    /// The place that was kept: the group's own reader from now on.
    pub(super) fn take_place(&self) -> Option<Reader<TICK_WORDS>> {
        let mut readers = self.lock();
        let place = readers.place.take()?;
        readers.own = place.id();
        Some(place)
    }
}

impl Readers {
    /// Has the writer wait from the cursor on.
    pub(super) fn keep_place(&mut self, ring: &Arc<Ring<TICK_WORDS>>) {
        self.place.get_or_insert_with(|| ring.gated_reader());
    }

    pub(super) fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// The writer need not wait for this group any more.
    pub(super) fn leave_gate(&mut self, ring: &Ring<TICK_WORDS>) {
        self.place = None;
        ring.demote(self.own);
    }

    pub(super) fn is_one(&self, reader: ReaderId) -> bool {
        reader == self.own || self.place.as_ref().is_some_and(|place| place.id() == reader)
    }
}
