//! The slots of a ring: a stamp and the record's words each, packed, in one aligned and prefaulted block.
//!
//! ```text
//!   stamp = 0                  never written
//!   stamp = 2·(position+1) − 1 being written     ┐ of the position whose
//!   stamp = 2·(position+1)     published         ┘ position & mask is this slot
//! ```
//! Guarantees: a slot of seven words is one 64-byte line; no page is touched for the first time by a publish.
//! Does not: decide when a write is allowed (see `gating`), or read a torn record as whole.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::block::Block;
use crate::ring::RingError;
use crate::sync::{AtomicU64, Ordering, fence};

/// Two lines: the pair that the prefetcher of current x86 and aarch64 cores moves together.
const ALIGN_BYTES: usize = 128;

/// One record and the stamp that holds its position.
#[repr(C)]
pub(crate) struct Slot<const W: usize> {
    stamp: AtomicU64,
    words: [AtomicU64; W],
}

/// The stamp of a slot that holds `position`, published.
#[inline]
pub(crate) fn published(position: u64) -> u64 {
    2 * (position + 1)
}

impl<const W: usize> Slot<W> {
    fn empty() -> Self {
        Self {
            stamp: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Writes the record of `position`. Only the writer calls this, on a slot that the gating let it claim.
    #[inline]
    pub(crate) fn write(&self, position: u64, record: &[u64; W]) {
        let even = published(position);
        // Relaxed: the fence below orders it before the words.
        self.stamp.store(even - 1, Ordering::Relaxed);
        // Release fence: a thread that sees one of the words below also sees the odd stamp above, and the gating state
        // that let us claim the slot. Pairs with the Acquire fences in `recheck` and in `Reader::try_read`. Models:
        // loom_ring::a_lossy_reader_accepts_no_torn_record, loom_gating::a_demoted_reader_discards_what_it_copied
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(record) {
            // Relaxed: the even stamp below publishes them.
            word.store(*value, Ordering::Relaxed);
        }
        // Release: makes the words visible. Pairs with the Acquire load in `stamp`.
        // Model: loom_ring::seen_means_written
        self.stamp.store(even, Ordering::Release);
    }

    /// The stamp, before the words are copied.
    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        // Acquire: the words of the stamp we see are visible. Pairs with the even store in `write`.
        // Model: loom_ring::seen_means_written
        self.stamp.load(Ordering::Acquire)
    }

    /// Copies the words out. Whole only if the stamp was `published` before and no write was possible, or happened,
    /// since.
    #[inline]
    pub(crate) fn copy_to(&self, record: &mut [u64; W]) {
        for (value, word) in record.iter_mut().zip(&self.words) {
            // Relaxed: ordered after the stamp by its Acquire, before the re-check by its fence.
            *value = word.load(Ordering::Relaxed);
        }
    }

    /// The stamp again, after the words were copied: unchanged means that the copy is whole.
    #[inline]
    pub(crate) fn recheck(&self) -> u64 {
        // Acquire fence: if a word above came from a later lap, the load below sees that lap's odd stamp or a newer
        // one. Pairs with the Release fence in `write`. Model: loom_ring::a_lossy_reader_accepts_no_torn_record
        fence(Ordering::Acquire);
        // Relaxed: the fence above orders it.
        self.stamp.load(Ordering::Relaxed)
    }
}

/// A power of two of slots, by position.
pub(crate) struct Slots<const W: usize> {
    first: NonNull<Slot<W>>,
    mask: u64,
    /// What the slots lie in; `None` once they are dropped.
    block: Option<Block>,
}

// SAFETY: `Slots` owns its slots as a `Box<[Slot<W>]>` would; a slot is atomics only, which are Send and Sync.
unsafe impl<const W: usize> Send for Slots<W> {}
// SAFETY: as above; `&Slots` gives out `&Slot` only.
unsafe impl<const W: usize> Sync for Slots<W> {}

impl<const W: usize> Slots<W> {
    pub(crate) fn new(capacity: usize) -> Result<Self, RingError> {
        if capacity < 2 || !capacity.is_power_of_two() {
            return Err(RingError::Capacity { capacity });
        }
        let layout = Self::layout(capacity)?;
        let Some(block) = Block::new(layout) else {
            return Err(RingError::Memory {
                capacity,
                bytes: layout.size(),
            });
        };
        let first = block.first().cast::<Slot<W>>();
        for index in 0..capacity {
            // SAFETY: `index < capacity`, so the slot lies in the block, which is aligned for it and ours alone.
            unsafe { first.add(index).write(Slot::empty()) };
        }
        let slots = Self {
            first,
            mask: capacity as u64 - 1,
            block: Some(block),
        };
        for position in 0..capacity as u64 {
            // An atomic store touches its page for certain: a block that is only filled with zeros may be handed out
            // by the allocator without a touch, and each first touch by a publish costs a page fault.
            slots.at(position).stamp.store(0, Ordering::Relaxed);
        }
        Ok(slots)
    }

    fn layout(capacity: usize) -> Result<Layout, RingError> {
        Layout::array::<Slot<W>>(capacity)
            .and_then(|layout| layout.align_to(ALIGN_BYTES))
            .map_err(|_| RingError::Capacity { capacity })
    }

    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.mask + 1
    }

    #[inline]
    pub(crate) fn at(&self, position: u64) -> &Slot<W> {
        // SAFETY: `position & mask < capacity`, and `new` initialised every slot of the block, which lives as long as
        // `self`; there is no `&mut Slot`. It pays: no bounds check per record.
        unsafe { self.first.add((position & self.mask) as usize).as_ref() }
    }
}

impl<const W: usize> Drop for Slots<W> {
    fn drop(&mut self) {
        let all = NonNull::slice_from_raw_parts(self.first, self.mask as usize + 1);
        // SAFETY: the slots are initialised, and `&mut self` means that there is no other reference to them.
        unsafe { all.drop_in_place() };
        if let Some(block) = self.block.take() {
            block.keep();
        }
    }
}
