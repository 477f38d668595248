//! Which readers the writer waits for: a list of entries that grows by the most readers gated at once, never shrinks,
//! and is read by the writer only when its cached limit is used up.
//!
//! ```text
//!   newest ─▶ entry ─▶ entry ─▶ ∅        state = 0          vacant: the next reader to join takes it
//!            {state, position}           state = 2·id       taken, not gating: joining, or demoted from outside
//!                                        state = 2·id + 1   gating: the writer may not pass position + capacity
//! ```
//! Guarantees: from the return of `join` to the leave (or demotion), no record from the joined position on is
//! overwritten before it was released. Leaving happens in Drop, so that an unwinding reader frees the writer.
//! Does not: time how long a reader holds the writer; a caller that does may demote it.

use std::num::NonZeroU64;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicPtr, AtomicU64, Ordering, fence};

/// Names a reader of a ring, once: ids are never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderId(NonZeroU64);

impl ReaderId {
    /// The id as a number, from 1 on.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    fn taken(self) -> u64 {
        self.0.get() * 2
    }

    fn gating(self) -> u64 {
        self.0.get() * 2 + 1
    }

    fn of_gating(state: u64) -> Option<Self> {
        (state & 1 == 1).then(|| NonZeroU64::new(state / 2).map(Self)).flatten()
    }
}

const VACANT: u64 = 0;

struct Entry {
    state: AtomicU64,
    position: AtomicU64,
    next: *mut CachePadded<Entry>,
}

/// The gated readers of a ring.
pub(crate) struct Gating {
    newest: AtomicPtr<CachePadded<Entry>>,
    next_id: AtomicU64,
}

// SAFETY: the list owns its entries; entries are atomics, and a `next` that never changes once the entry is listed.
unsafe impl Send for Gating {}
// SAFETY: as above; the list only grows while it is shared.
unsafe impl Sync for Gating {}

impl Gating {
    pub(crate) fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
            next_id: AtomicU64::new(1),
        }
    }

    pub(crate) fn new_id(&self) -> ReaderId {
        // Relaxed: only that no number comes twice matters, which the modification order gives.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        ReaderId(NonZeroU64::new(id).expect("fewer than 2^64 readers"))
    }

    fn entries(&self) -> impl Iterator<Item = &CachePadded<Entry>> {
        // Acquire: the listed entry's fields are visible. Pairs with the Release exchange in `take_entry`.
        // Model: loom_gating::a_reader_that_joins_gets_every_record_from_there_on
        let mut at = self.newest.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: `at` is null or an entry that `take_entry` listed; entries are freed in Drop only, and
            // `&self` outlives the iterator. Nobody has a `&mut Entry` once it is listed.
            let entry = unsafe { at.as_ref() }?;
            at = entry.next;
            Some(entry)
        })
    }

    /// The smallest position that gates the writer. Cold: one sequential fence, one line per entry.
    pub(crate) fn min_position(&self) -> Option<u64> {
        // SeqCst fence: the writer's cursor store stands before it, its loads of the entries after it; a joining
        // reader has its registration before the same fence, its load of the cursor after it. So either we see the
        // reader, or the reader sees our cursor: never neither. No weaker ordering forbids "neither", because each
        // side stores one word and then loads another. Pairs with the fence in `Registration::join`.
        // Model: loom_gating::a_reader_that_joins_gets_every_record_from_there_on
        fence(Ordering::SeqCst);
        self.slowest().map(|(_, position)| position)
    }

    /// The gating reader with the smallest position.
    pub(crate) fn slowest(&self) -> Option<(ReaderId, u64)> {
        self.entries()
            .filter_map(|entry| entry.gating())
            .min_by_key(|&(_, position)| position)
    }

    /// Makes a gating reader stop gating, from outside. False when it was not gating.
    pub(crate) fn demote(&self, id: ReaderId) -> bool {
        self.entries().any(|entry| {
            // Release: what the demoter did before is visible to the writer that goes on because of it. Relaxed on
            // failure: nothing is concluded from another state. Pairs with the Acquire load in `Entry::gating`.
            // Model: loom_gating::a_demoted_reader_discards_what_it_copied
            entry
                .state
                .compare_exchange(id.gating(), id.taken(), Ordering::Release, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// An entry that is this reader's alone, not gating yet.
    fn take_entry(&self, id: ReaderId) -> NonNull<CachePadded<Entry>> {
        for entry in self.entries() {
            // Acquire: what the last owner did comes before what we do. Pairs with the Release store in
            // `Registration::drop`. Relaxed on failure: the entry has an owner.
            // Model: loom_gating::an_entry_changes_hands
            let taken = entry
                .state
                .compare_exchange(VACANT, id.taken(), Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                return NonNull::from(entry);
            }
        }
        // Relaxed: only guessed at; the exchange below checks it.
        let mut newest = self.newest.load(Ordering::Relaxed);
        let mut entry = NonNull::from(Box::leak(Box::new(CachePadded::new(Entry {
            state: AtomicU64::new(id.taken()),
            position: AtomicU64::new(0),
            next: newest,
        }))));
        // Release: lists the entry with its fields; an exchange continues the release sequence of the entries before.
        // Pairs with the Acquire load in `entries`. Relaxed on failure: only tried again.
        // Model: loom_gating::a_reader_that_joins_gets_every_record_from_there_on
        while let Err(seen) = self
            .newest
            .compare_exchange(newest, entry.as_ptr(), Ordering::Release, Ordering::Relaxed)
        {
            newest = seen;
            // SAFETY: the entry comes from the Box above and is not listed yet: it is ours alone.
            unsafe { entry.as_mut() }.next = newest;
        }
        entry
    }
}

impl Drop for Gating {
    fn drop(&mut self) {
        // Relaxed: `&mut self` orders it after everything.
        let mut at = self.newest.load(Ordering::Relaxed);
        while !at.is_null() {
            // SAFETY: every listed entry was leaked from a Box by `take_entry`, is listed once, and no
            // reference to it is left: a `Registration` holds the gating alive.
            at = unsafe { Box::from_raw(at) }.next;
        }
    }
}

impl Entry {
    /// Who gates here, and from which position.
    fn gating(&self) -> Option<(ReaderId, u64)> {
        // Acquire: the position set before this state is visible; of a demoted reader, what its demoter did. Pairs with
        // the Release store in `Registration::join` and the Release exchange in `demote`.
        // Model: loom_gating::a_reader_that_joins_gets_every_record_from_there_on
        let id = ReaderId::of_gating(self.state.load(Ordering::Acquire))?;
        // Acquire: the reader's copies below this position come before our writes to their slots. Pairs with the
        // Release store in `Registration::release`. Model: loom_ring::a_gated_reader_gets_every_record_whole
        Some((id, self.position.load(Ordering::Acquire)))
    }
}

/// A reader's place in the gating. Dropping it leaves.
pub(crate) struct Registration {
    /// Keeps the entry alive.
    _gating: Arc<Gating>,
    entry: NonNull<CachePadded<Entry>>,
    id: ReaderId,
}

// SAFETY: the entry is shared memory made of atomics; the registration is only a right to it, not bound to a thread.
unsafe impl Send for Registration {}

impl Registration {
    /// Joins at the cursor; returns the position that gates the writer from now on.
    pub(crate) fn join(gating: &Arc<Gating>, id: ReaderId, cursor: impl Fn() -> u64) -> (Self, u64) {
        let registration = Self {
            _gating: Arc::clone(gating),
            entry: gating.take_entry(id),
            id,
        };
        let entry = registration.entry();
        // Release: a writer that still sees the last owner's state may see this position, and go on because of it; the
        // last owner's copies then come before its writes, through our Acquire exchange. Pairs with the Acquire load of
        // the position in `Entry::gating`. Model: loom_gating::an_entry_changes_hands
        entry.position.store(cursor(), Ordering::Release);
        // Release: a thread that sees this reader gating sees a position of this reader. Pairs with the Acquire load in
        // `Entry::gating`.
        entry.state.store(id.gating(), Ordering::Release);
        // SeqCst fence: a writer whose rescan did not see the registration stored its cursor before that rescan, and
        // we see it below: its limit is at most that cursor + capacity, so what we join at is safe from it. Pairs
        // with the fence in `Gating::min_position`, where the reason stands.
        // Model: loom_gating::a_reader_that_joins_gets_every_record_from_there_on
        fence(Ordering::SeqCst);
        let joined = cursor();
        registration.release(joined);
        (registration, joined)
    }

    fn entry(&self) -> &Entry {
        // SAFETY: the entry was listed by `take_entry` and is freed only with the gating, which `self._gating` keeps.
        unsafe { self.entry.as_ref() }
    }

    /// Gives the slots below `position` back to the writer.
    #[inline]
    pub(crate) fn release(&self, position: u64) {
        // Release: our copies come before the writer's next writes to these slots. Pairs with the Acquire load of the
        // position in `Entry::gating`. Model: loom_ring::a_gated_reader_gets_every_record_whole
        self.entry().position.store(position, Ordering::Release);
    }

    /// False once this reader was demoted. Call it behind an Acquire fence to judge what was copied before the fence.
    #[inline]
    pub(crate) fn is_gating(&self) -> bool {
        // Relaxed: the fence before it makes the demotion visible together with any word written because of it.
        self.entry().state.load(Ordering::Relaxed) == self.id.gating()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Release: the writer that no longer sees us writes after our copies; the next owner of the entry comes after
        // us. Pairs with the Acquire load in `Entry::gating` and the Acquire exchange in `Gating::take_entry`.
        // Model: loom_gating::a_reader_that_leaves_is_not_written_over, loom_gating::an_entry_changes_hands
        self.entry().state.store(VACANT, Ordering::Release);
    }
}
