//! A reading end of a ring: gated (the writer waits for it) or lossy (it may be lapped); it may change over.
//!
//! ```text
//!   gated   copy a chunk ─▶ still gated? ─▶ release it to the writer          else Demoted, and nothing was taken
//!   lossy   copy a record ─▶ stamp unchanged? ─▶ next                         else Lapped { missed }, and jumped ahead
//! ```
//! When a lossy reader is lapped, it jumps to 7/8 of a ring behind the cursor and returns exactly how many positions it
//! passed over. When a gated reader is demoted, what it was copying is discarded and read again as a lossy one.
//! Guarantees: records come whole, in position order, each at most once; none is passed over without being counted.
//! Does not: hand out references into the ring. Records are copied before they are used.

use std::sync::Arc;

use crate::gating::{ReaderId, Registration};
use crate::ring::Ring;
use crate::slots::published;
use crate::sync::{Ordering, fence};
use crate::wait::WaitStrategy;

/// Records that a gated reader copies before it releases them: the writer never waits for more than this to be copied.
pub const RELEASE_CHUNK_MAX: usize = 256;

/// What [`Reader::try_read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Read {
    /// So many records were copied; 0 when caught up.
    Records(usize),
    /// The writer lapped this lossy reader. It already jumped ahead: read again.
    Lapped {
        /// Positions passed over.
        missed: u64,
    },
    /// Somebody took this reader out of the gate. It is lossy now, at the position it had: read again.
    Demoted,
}

/// One reader of a ring. Dropping it leaves the gate.
pub struct Reader<const W: usize> {
    ring: Arc<Ring<W>>,
    registration: Option<Registration>,
    position: u64,
    id: ReaderId,
}

impl<const W: usize> Reader<W> {
    pub(crate) fn new(ring: Arc<Ring<W>>) -> Self {
        Self {
            position: ring.cursor(),
            id: ring.gating.new_id(),
            registration: None,
            ring,
        }
    }

    /// This reader's name in its ring.
    #[must_use]
    pub fn id(&self) -> ReaderId {
        self.id
    }

    /// The next position to be read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The ring that this reads.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring<W>> {
        &self.ring
    }

    /// True while the writer waits for this reader.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.registration.as_ref().is_some_and(Registration::is_gating)
    }

    /// Records published and not read yet, by the cursor.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.ring.cursor().saturating_sub(self.position)
    }

    /// True when [`Reader::try_read`] would return a record, or that the reader was lapped or demoted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ring.slots.at(self.position).stamp() >= published(self.position)
            || self.registration.as_ref().is_some_and(|gate| !gate.is_gating())
    }

    /// Waits by `wait` until [`Reader::is_ready`], or until `stop` returns true: false then.
    ///
    /// `stop` is called after each wait, so at least every [`crate::WAIT_MAX`].
    pub fn wait(&self, wait: &mut impl WaitStrategy, mut stop: impl FnMut() -> bool) -> bool {
        loop {
            if wait.wait(|| self.is_ready()) {
                return true;
            }
            if stop() {
                return false;
            }
        }
    }

    /// Copies the next records to `out`, at most as many as it holds. Never waits, never allocates.
    #[inline]
    pub fn try_read(&mut self, out: &mut [[u64; W]]) -> Read {
        let Some(gate) = &self.registration else {
            return self.read_lossy(out);
        };
        let mut total = 0;
        for chunk in out.chunks_mut(RELEASE_CHUNK_MAX) {
            let mut copied = 0;
            for (record, position) in chunk.iter_mut().zip(self.position..) {
                let slot = self.ring.slots.at(position);
                if slot.stamp() != published(position) {
                    break;
                }
                slot.copy_to(record);
                copied += 1;
            }
            // Acquire fence: if a word above was written over because we no longer gate, the look below sees that we
            // don't. Pairs with the Release fence in `Slot::write`; the writer saw our state before it wrote.
            // Model: loom_gating::a_demoted_reader_discards_what_it_copied
            fence(Ordering::Acquire);
            if !gate.is_gating() {
                if total > 0 {
                    break;
                }
                self.registration = None;
                return Read::Demoted;
            }
            if copied > 0 {
                self.position += copied as u64;
                total += copied;
                gate.release(self.position);
                self.ring.room().notify();
            }
            if copied < chunk.len() {
                break;
            }
        }
        Read::Records(total)
    }

    #[inline]
    fn read_lossy(&mut self, out: &mut [[u64; W]]) -> Read {
        let mut copied = 0;
        for record in out.iter_mut() {
            let slot = self.ring.slots.at(self.position);
            let wanted = published(self.position);
            let mut stamp = slot.stamp();
            if stamp == wanted {
                slot.copy_to(record);
                stamp = slot.recheck();
            }
            if stamp != wanted {
                if stamp > wanted && copied == 0 {
                    return self.jump_ahead(stamp);
                }
                break;
            }
            self.position += 1;
            copied += 1;
        }
        Read::Records(copied)
    }

    /// The slot we need carries a later lap's stamp: jump, and count.
    #[cold]
    fn jump_ahead(&mut self, stamp: u64) -> Read {
        // The stamp proves that the writer is at its position, the cursor may still stand before that batch. The later
        // of the two is where the cursor will be seen once the batch is published; so the jump never goes back, and
        // never stays.
        let proven = stamp.div_ceil(2);
        let cursor = self.ring.cursor().max(proven);
        let target = cursor - self.ring.slots.capacity() * 7 / 8;
        let missed = target - self.position;
        self.position = target;
        Read::Lapped { missed }
    }

    /// Leaves the gate: the writer no longer waits for this reader, which keeps its position and may be lapped now.
    pub fn leave_gate(&mut self) {
        if self.registration.take().is_some() {
            self.ring.room().notify();
        }
    }

    /// Joins the gate at the cursor, and returns how many positions were passed over for that; 0 when it is gated.
    pub fn join_gate(&mut self) -> u64 {
        if self.is_gated() {
            return 0;
        }
        self.registration = None;
        // A reader that polls stamps may be ahead of the cursor, which is stored once per batch. It never goes back.
        let (registration, joined) =
            Registration::join(&self.ring.gating, self.id, || self.ring.cursor().max(self.position));
        self.registration = Some(registration);
        let passed = joined - self.position;
        self.position = joined;
        passed
    }

    /// Goes ahead to `to`, at most to the cursor, never back. A gated reader frees the slots that it passes over.
    pub fn jump(&mut self, to: u64) {
        self.position = to.min(self.ring.cursor()).max(self.position);
        if let Some(gate) = &self.registration {
            gate.release(self.position);
            self.ring.room().notify();
        }
    }
}

impl<const W: usize> Drop for Reader<W> {
    fn drop(&mut self) {
        self.leave_gate();
    }
}
