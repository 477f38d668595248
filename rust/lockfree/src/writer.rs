//! The writing end of a ring: the only one, so that claiming is arithmetic and publishing is stores.
//!
//! Guarantees: never overwrites what a gated reader has not released; a batch is written last slot to first, so that a
//! reader that waits for its first record does not chase the writer through the lines of the others.
//! Does not: wait by itself. [`Writer::try_publish`] returns how much fitted; [`Writer::publish`] waits by its
//! strategy.

use std::sync::Arc;

use crate::ring::Ring;
use crate::wait::WaitStrategy;

/// The only writer of a ring. Moves between threads, but is never shared.
pub struct Writer<const W: usize> {
    ring: Arc<Ring<W>>,
    next: u64,
    /// Claimable below this, by the last look at the gating.
    limit: u64,
    /// Records between two stores of the cursor. An eighth of the ring, so that a batch as large as the ring laps a
    /// lossy reader by the cursor, and where that reader jumps to is not being overwritten by the same batch.
    chunk: usize,
}

impl<const W: usize> Writer<W> {
    pub(crate) fn new(ring: Arc<Ring<W>>) -> Self {
        let capacity = ring.slots.capacity();
        Self {
            limit: capacity,
            next: 0,
            chunk: (capacity as usize / 8).max(1),
            ring,
        }
    }

    /// The next position to be published.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The ring that this writes to.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring<W>> {
        &self.ring
    }

    /// Slots that can be claimed now. Looks at the gated readers only when what it last saw is used up.
    pub fn free(&mut self) -> usize {
        if self.next == self.limit {
            self.look_at_gating();
        }
        (self.limit - self.next) as usize
    }

    #[cold]
    fn look_at_gating(&mut self) {
        // Never more than one lap ahead, also without a gated reader: a reader may join right after this look, and
        // joins at a cursor that is at least `next`.
        let gate = self.ring.gating.min_position().unwrap_or(self.next);
        // A reader that is just joining may show the cursor it saw before it registered, more than a lap ago. It takes
        // the cursor again before it reads: no room until then, but no less than none.
        self.limit = (gate + self.ring.slots.capacity()).max(self.next);
    }

    /// Publishes the longest prefix of `records` that fits, and returns its length. Never waits.
    // Always inlined: a record that was just built goes from registers to its slot. Stored to memory and read back by a
    // call, it waits behind every store before it: 37 ns a record instead of 19, across cores, one by one.
    #[inline(always)]
    pub fn try_publish(&mut self, records: &[[u64; W]]) -> usize {
        if records.len() as u64 > self.limit - self.next {
            self.look_at_gating();
        }
        if let [record] = records
            && self.next < self.limit
        {
            // As below, without what a batch needs.
            self.ring.slots.at(self.next).write(self.next, record);
            self.next += 1;
            self.ring.set_cursor(self.next);
            self.ring.wakeup().notify();
            return 1;
        }
        let fits = records.len().min((self.limit - self.next) as usize);
        if fits > 0 {
            let mut rest = &records[..fits];
            while !rest.is_empty() {
                // Not `chunks`, which divides: half the cost of a single record.
                let chunk;
                (chunk, rest) = rest.split_at(rest.len().min(self.chunk));
                let end = self.next + chunk.len() as u64;
                let mut position = end;
                for record in chunk.iter().rev() {
                    position -= 1;
                    self.ring.slots.at(position).write(position, record);
                }
                self.next = end;
                self.ring.set_cursor(end);
            }
            self.ring.wakeup().notify();
        }
        fits
    }

    /// Publishes all `records`, waiting for room by `wait`, and returns how many: fewer than all only after `stop`
    /// returned true.
    ///
    /// `stop` is called after each wait, so at least every [`crate::WAIT_MAX`]. Never call it on a thread that has to
    /// read for the gate to open: that reader's records would wait for their own publisher.
    #[inline(always)]
    pub fn publish(
        &mut self,
        records: &[[u64; W]],
        wait: &mut impl WaitStrategy,
        mut stop: impl FnMut() -> bool,
    ) -> usize {
        let mut done = self.try_publish(records);
        while done < records.len() {
            if !wait.wait(|| self.free() > 0) && stop() {
                break;
            }
            done += self.try_publish(&records[done..]);
        }
        done
    }
}
