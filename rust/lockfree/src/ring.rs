//! A ring of the last `capacity` records: one writer, many readers, no locks, no allocation after construction.
//!
//! ```text
//!   oldest ············ published   claimed
//!     │  readable slots    │  being   │       position grows →   slot = position & mask
//!     ▲                    ▲ cursor   ▲ at most the gating limit
//!     └ slowest gated reader + capacity bounds the claim
//! ```
//! Guarantees: a reader sees records in position order, whole, each at most once; a gated reader sees every one from
//! its join to its leave; a lapped reader learns exactly how many it missed; readers join and leave while it runs.
//! A slow gated reader holds the writer; a slow lossy reader is lapped and jumps ahead.
//! Does not: wait for readers that chose to lose, persist, or interpret a record. Positions are `u64` and their
//! stamps twice that: a ring is good for 2^63 records.

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use thiserror::Error;

use crate::gating::{Gating, ReaderId};
use crate::reader::Reader;
use crate::slots::Slots;
use crate::sync::{AtomicU64, Ordering};
use crate::wait::Wakeup;
use crate::writer::Writer;

/// Why there is no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RingError {
    /// Not a power of two, less than 2, or more than can be addressed.
    #[error("ring capacity {capacity} is not a power of two from 2 on that fits in memory; the next one is {}", .capacity.checked_next_power_of_two().unwrap_or(1 << 30).max(2))]
    Capacity {
        /// The capacity that was requested, records.
        capacity: usize,
    },
    /// The allocator failed.
    #[error("no memory for a ring of {capacity} records ({bytes} bytes); ask for a smaller capacity")]
    Memory {
        /// The capacity that was requested, records.
        capacity: usize,
        /// The same in bytes.
        bytes: usize,
    },
}

/// What a writer and its readers share. Records are `W` words.
pub struct Ring<const W: usize> {
    pub(crate) slots: Slots<W>,
    pub(crate) gating: Arc<Gating>,
    cursor: CachePadded<AtomicU64>,
    published: Wakeup,
    room: Wakeup,
}

impl<const W: usize> Ring<W> {
    /// A ring and its only writer. `capacity` is a power of two, at least 2; every page is touched here, once.
    ///
    /// # Errors
    /// [`RingError`] when the capacity is none, or when there is no memory for it.
    pub fn new(capacity: usize) -> Result<(Arc<Self>, Writer<W>), RingError> {
        let ring = Arc::new(Self {
            slots: Slots::new(capacity)?,
            gating: Arc::new(Gating::new()),
            cursor: CachePadded::new(AtomicU64::new(0)),
            published: Wakeup::new(),
            room: Wakeup::new(),
        });
        let writer = Writer::new(Arc::clone(&ring));
        Ok((ring, writer))
    }

    /// Records that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.capacity() as usize
    }

    /// The next position to be published; every position below it is.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        // Acquire: the records below the cursor are visible to a reader that joins or jumps there. Pairs with the
        // Release store in `set_cursor`. Model: loom_gating::a_reader_that_joins_gets_every_record_from_there_on
        self.cursor.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn set_cursor(&self, position: u64) {
        // Release: as above, the other half.
        self.cursor.store(position, Ordering::Release);
    }

    /// A reader that the writer waits for, from the cursor on.
    #[must_use]
    pub fn gated_reader(self: &Arc<Self>) -> Reader<W> {
        let mut reader = self.lossy_reader();
        reader.join_gate();
        reader
    }

    /// A reader that the writer doesn't wait for, from the cursor on.
    #[must_use]
    pub fn lossy_reader(self: &Arc<Self>) -> Reader<W> {
        Reader::new(Arc::clone(self))
    }

    /// Notified by the writer after each publish: a reader that waits for records parks here.
    #[must_use]
    pub fn wakeup(&self) -> &Wakeup {
        &self.published
    }

    /// Notified by gated readers when they release or leave: a writer that waits for room parks here.
    #[must_use]
    pub fn room(&self) -> &Wakeup {
        &self.room
    }

    /// The gated reader that holds the writer most, and the position it holds. None when no reader is gated.
    #[must_use]
    pub fn holder(&self) -> Option<(ReaderId, u64)> {
        self.gating.slowest()
    }

    /// Takes a gated reader out of the gate from outside, so that the writer goes on. False when it was not gated.
    ///
    /// The reader learns by itself: its next [`Reader::try_read`] answers `Demoted`, and it is lossy from there on,
    /// at the position it had.
    pub fn demote(&self, id: ReaderId) -> bool {
        let demoted = self.gating.demote(id);
        if demoted {
            self.room.notify();
        }
        demoted
    }
}
