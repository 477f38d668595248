//! One record that is replaced as a whole: one writer, many readers, the newest wins.
//!
//! ```text
//!   version = 0 never stored · odd: being stored · even: stored (version / 2) times
//! ```
//! Guarantees: a loaded record is one that was stored, whole; a reader never sees an older one after a newer one.
//! Storing never waits and never fences sequentially.
//! Does not: keep what was replaced, or allow two writers: they could mix their records.

use crate::sync::{AtomicU64, Ordering, fence, spin_loop, yield_now};

/// Attempts before a reader that finds a store under way yields its time slice to the writer.
const SPINS_MAX: u32 = 64;

/// A store was under way in every attempt: try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// The newest record of `W` words.
pub struct SnapshotCell<const W: usize> {
    version: AtomicU64,
    words: [AtomicU64; W],
}

impl<const W: usize> Default for SnapshotCell<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const W: usize> SnapshotCell<W> {
    /// An empty cell.
    #[must_use]
    pub fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Replaces the record. Only one thread may store at a time.
    #[inline]
    pub fn store(&self, record: &[u64; W]) {
        // Relaxed: only the writer changes it.
        let before = self.version.load(Ordering::Relaxed);
        debug_assert!(
            before & 1 == 0,
            "two threads store to one snapshot cell; give it one writer"
        );
        // Relaxed: the fence below orders it before the words.
        self.version.store(before + 1, Ordering::Relaxed);
        // Release fence: a thread that sees one of the words below sees the odd version above. Pairs with the Acquire
        // fence in `try_load`. Model: loom_snapshot_cell::a_loaded_record_was_stored_whole
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(record) {
            // Relaxed: the even version below publishes them.
            word.store(*value, Ordering::Relaxed);
        }
        // Release: makes the words visible. Pairs with the Acquire load in `try_load`.
        // Model: loom_snapshot_cell::a_loaded_record_was_stored_whole
        self.version.store(before + 2, Ordering::Release);
    }

    /// The newest record, None when nothing was stored yet.
    ///
    /// # Errors
    /// [`Busy`] when a store was under way.
    #[inline]
    pub fn try_load(&self) -> Result<Option<[u64; W]>, Busy> {
        // Acquire: the words of this version are visible. Pairs with the Release store in `store`.
        // Model: loom_snapshot_cell::a_loaded_record_was_stored_whole
        let before = self.version.load(Ordering::Acquire);
        if before & 1 == 1 {
            return Err(Busy);
        }
        // Relaxed: between the Acquire above and the fence below.
        let record = std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed));
        // Acquire fence: if a word above came from a later store, the load below sees that store's odd version or a
        // newer one. Pairs with the Release fence in `store`.
        // Model: loom_snapshot_cell::a_loaded_record_was_stored_whole
        fence(Ordering::Acquire);
        // Relaxed: the fence above orders it.
        if self.version.load(Ordering::Relaxed) != before {
            return Err(Busy);
        }
        Ok((before > 0).then_some(record))
    }

    /// The newest record, None when nothing was stored yet. Tries until no store gets in the way.
    #[must_use]
    pub fn load(&self) -> Option<[u64; W]> {
        let mut tries = 0;
        loop {
            match self.try_load() {
                Ok(record) => return record,
                Err(Busy) if tries < SPINS_MAX => {
                    tries += 1;
                    spin_loop();
                }
                Err(Busy) => yield_now(),
            }
        }
    }
}
