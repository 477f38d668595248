//! The memory of a ring's slots; that of the last ring is kept for the next one.
//!
//! A fresh block of 5 MiB costs 1,281 page faults, which take most of the time in which a ring is made. Backtests and
//! sweeps make one ring after the other, all of one size.
//!
//! Guarantees: at most one block is kept, of at most [`KEPT_BYTES_MAX`]; it is used again for the same layout only.
//! Does not: initialise a block: what was in it is still there.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
// Not loom's, which must not outlive a model: no model looks at the memory itself.
use std::sync::Mutex;

/// A ring of the default size has 5 MiB; of one much larger, the process gives the memory back.
const KEPT_BYTES_MAX: usize = 16 << 20;

static KEPT: Mutex<Option<Block>> = Mutex::new(None);

/// Memory of a layout that is not empty.
pub(crate) struct Block {
    first: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns its memory as a `Box<[MaybeUninit<u8>]>` would.
unsafe impl Send for Block {}

impl Block {
    /// The kept block if it has this layout, else a new one; `None`: there is no memory. The layout must not be empty.
    pub(crate) fn new(layout: Layout) -> Option<Self> {
        assert!(layout.size() > 0, "a ring has slots");
        // Not `lock`: a forked process may have a copy of a lock that was held, which nothing unlocks.
        let kept = KEPT.try_lock().ok();
        if let Some(block) = kept.and_then(|mut kept| kept.take_if(|kept| kept.layout == layout)) {
            return Some(block);
        }
        // SAFETY: the layout is not empty, as asserted above.
        let first = NonNull::new(unsafe { alloc(layout) })?;
        Some(Self { first, layout })
    }

    /// Where it begins.
    pub(crate) fn first(&self) -> NonNull<u8> {
        self.first
    }

    /// Keeps it for the next ring, in place of what was kept; one that is too large goes back to the system.
    pub(crate) fn keep(self) {
        if self.layout.size() <= KEPT_BYTES_MAX
            && let Ok(mut kept) = KEPT.try_lock()
        {
            *kept = Some(self);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this very layout.
        unsafe { dealloc(self.first.as_ptr(), self.layout) };
    }
}
