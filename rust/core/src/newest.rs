//! The newest tick of each (instrument, state kind), for who joins, resumes, or was lapped while conflating.
//!
//! ```text
//!   writer ─▶ cells[key] (one snapshot cell each) ─▶ any reader
//! ```
//! Guarantees: what a reader gets is a tick that was published, whole; cells are allocated when first needed.
//! Does not: keep anything but the newest, or order it against the ring.

use std::sync::OnceLock;

use headrace_lockfree::SnapshotCell;

use crate::conflate::StateKeys;
use crate::tick::{TICK_WORDS, Tick};

/// Cells allocated together: 20 KiB.
const CELLS_PER_CHUNK: usize = 256;

type Cells = Box<[SnapshotCell<TICK_WORDS>]>;

/// What the writer remembers of one `store`: which keys it has had.
#[derive(Debug, Default)]
pub struct Marks {
    seen: Vec<u64>,
    generation: u64,
}

/// The table; one writer stores, everybody reads.
pub struct NewestTable {
    keys: StateKeys,
    chunks: Box<[OnceLock<Cells>]>,
}

impl NewestTable {
    /// An empty table for at most `instruments_max` instruments.
    #[must_use]
    pub fn new(keys: StateKeys, instruments_max: usize) -> Self {
        let cells = instruments_max * keys.per_instrument();
        Self {
            keys,
            chunks: (0..cells.div_ceil(CELLS_PER_CHUNK)).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The keys that it is made for.
    #[must_use]
    pub fn keys(&self) -> StateKeys {
        self.keys
    }

    /// Keeps what `ticks` has of state kinds: of each key the last one, so a burst costs one store. Only the ring's
    /// writer may call this; `marks` is its scratch memory.
    #[inline]
    pub fn store(&self, ticks: &[Tick], marks: &mut Marks) {
        if let [tick] = ticks {
            if let Some(key) = self.keys.key(tick) {
                self.store_one(key, tick);
            }
            return;
        }
        marks.generation += 1;
        for tick in ticks.iter().rev() {
            let Some(key) = self.keys.key(tick) else { continue };
            match marks.seen.get_mut(key) {
                Some(seen) if *seen == marks.generation => continue,
                Some(seen) => *seen = marks.generation,
                None if key < self.chunks.len() * CELLS_PER_CHUNK => {
                    marks.seen.resize(key + 1, 0);
                    marks.seen[key] = marks.generation;
                }
                None => continue,
            }
            self.store_one(key, tick);
        }
    }

    fn store_one(&self, key: usize, tick: &Tick) {
        let Some(chunk) = self.chunks.get(key / CELLS_PER_CHUNK) else {
            return;
        };
        let cells = chunk.get_or_init(|| (0..CELLS_PER_CHUNK).map(|_| SnapshotCell::new()).collect());
        cells[key % CELLS_PER_CHUNK].store(&tick.to_words());
    }

    /// Everything it holds, by key: by instrument, then by kind.
    #[must_use]
    pub fn load(&self) -> Vec<Tick> {
        let cells = self
            .chunks
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|cells| cells.iter());
        cells.filter_map(SnapshotCell::load).map(Tick::from_words).collect()
    }
}
