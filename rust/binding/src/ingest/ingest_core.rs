//! `IngestCore`: what an ingest, its pumps and its groups share.
//!
//! Guarantees: a group is found by the reader that holds the ring; inline groups are listed in the order of their
//! registration.
//! Does not: publish; that is `publisher`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headrace_core::ingest::hash::InputHash;
use headrace_core::market::instrument::InstrumentTable;
use headrace_core::market::tick::Tick;
use headrace_lockfree::ReaderId;
use pyo3::prelude::*;

use super::bars::BarsCore;
use super::now::Now;
use super::ring_core::RingCore;
use super::sequencer::{Sequencer, SequencerCore};
use super::tally::Tally;
use crate::dispatch::{Bounds, Group};
use crate::lock::lock;
use crate::thread::this_thread;

/// What advances a group's reader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advance {
    /// `Dispatcher.dispatch`, or a publish of the same thread that finds the ring held.
    Inline,
    /// A thread of its own.
    Thread,
    /// Its consumer: a pull subscription, or a task that awaits handlers.
    Consumer,
}

/// What publishing needs, shared with the replay driver.
pub(crate) struct IngestCore {
    pub(crate) ring: Arc<RingCore>,
    pub(crate) instruments: Arc<Mutex<InstrumentTable>>,
    pub(crate) sequencer: Arc<SequencerCore>,
    pub(super) groups: Mutex<Vec<(Advance, Arc<Group>)>>,
    /// Those of them that are dispatched inline: read with every time of a replay.
    inline: Mutex<Arc<[Arc<Group>]>>,
    /// How many there are of these, and of the consumers' groups: read without the locks.
    inline_count: AtomicUsize,
    consumer_count: AtomicUsize,
    pub(crate) bars: Arc<BarsCore>,
    pub(crate) stop: Arc<AtomicBool>,
    /// Whether what plain handlers returned waits to be awaited.
    pub(super) awaits: AtomicBool,
    pub(crate) hash: Option<Mutex<InputHash>>,
    pub(super) tally: Mutex<Tally>,
    pub(crate) block_max: Option<Duration>,
    /// Replay: a lossy inline group is dispatched before it could be lapped.
    pub(crate) replay: bool,
}

impl IngestCore {
    pub(super) fn new(
        ring: &Arc<RingCore>,
        sequencer: &Sequencer,
        hashing: bool,
        block_max_ns: Option<u64>,
        replay: bool,
    ) -> Self {
        Self {
            ring: Arc::clone(ring),
            instruments: Arc::clone(&sequencer.instruments.get().table),
            sequencer: Arc::clone(&sequencer.core),
            groups: Mutex::new(Vec::new()),
            inline: Mutex::new(Arc::new([])),
            inline_count: AtomicUsize::new(0),
            consumer_count: AtomicUsize::new(0),
            bars: Arc::default(),
            stop: Arc::new(AtomicBool::new(false)),
            awaits: AtomicBool::new(false),
            hash: hashing.then(|| Mutex::new(InputHash::default())),
            tally: Mutex::new(Tally::default()),
            block_max: block_max_ns.map(Duration::from_nanos),
            replay,
        }
    }

    pub(crate) fn add_group(&self, advance: Advance, group: &Arc<Group>) {
        self.change_groups(|groups| groups.push((advance, Arc::clone(group))));
    }

    pub(crate) fn remove_group(&self, group: &Arc<Group>) {
        self.change_groups(|groups| groups.retain(|(_, known)| !Arc::ptr_eq(known, group)));
    }

    fn change_groups(&self, change: impl FnOnce(&mut Vec<(Advance, Arc<Group>)>)) {
        let mut groups = lock(&self.groups);
        change(&mut groups);
        let consumers = groups.iter().filter(|(advance, _)| *advance == Advance::Consumer);
        let inline = groups.iter().filter(|(advance, _)| *advance == Advance::Inline);
        let inline: Arc<[_]> = inline.map(|(_, group)| Arc::clone(group)).collect();
        // Relaxed, both: a replay makes and ends groups in the thread that looks.
        self.consumer_count.store(consumers.count(), Ordering::Relaxed);
        self.inline_count.store(inline.len(), Ordering::Relaxed); // Relaxed: as above.
        *lock(&self.inline) = inline;
    }

    /// Feeds numbered ticks to bars and hash. position : of the first of them.
    pub(super) fn watch(&self, ticks: &[Tick], instruments: &InstrumentTable, position: u64) {
        self.bars.feed(ticks, instruments, position);
        if let Some(hash) = &self.hash {
            let mut hash = lock(hash);
            for tick in ticks {
                let named = instruments.get(tick.instrument);
                hash.update(tick, named.map_or("", |row| row.name.as_str()));
            }
        }
    }

    pub(super) fn count_groups(&self) -> usize {
        lock(&self.groups).len()
    }

    pub(crate) fn inline_groups(&self) -> Arc<[Arc<Group>]> {
        Arc::clone(&lock(&self.inline))
    }

    /// Whether one group gets all ticks that are dispatched inline, and its calls are not logged: it may go on by itself.
    #[inline]
    pub(super) fn has_one_group(&self) -> bool {
        // Relaxed: see `change_groups`.
        self.inline_count.load(Ordering::Relaxed) == 1 && !self.ring.log.is_on()
    }

    /// Ticks that are published together at most, so that a reader that may lose can be dispatched in between.
    #[inline]
    pub(super) fn chunk_max(&self) -> usize {
        (self.ring.ring.capacity() / 4).max(1)
    }

    /// Whether there are consumers, which each time must wait for.
    #[inline]
    pub(super) fn has_consumers(&self) -> bool {
        // Relaxed: see `change_groups`.
        self.consumer_count.load(Ordering::Relaxed) > 0
    }

    /// Whether a consumer of this thread still has ticks to take, or calls to await.
    #[inline(always)] // With every time of a replay.
    pub(crate) fn has_consumers_behind(&self) -> bool {
        // Relaxed: written and read under the interpreter's lock.
        let awaits = self.awaits.load(Ordering::Relaxed);
        let is_behind = |(advance, group): &(Advance, Arc<Group>)| {
            *advance == Advance::Consumer && group.has_members() && !group.is_idle()
        };
        awaits || (self.has_consumers() && lock(&self.groups).iter().any(is_behind))
    }

    pub(crate) fn group_of(&self, reader: ReaderId) -> Option<(Advance, Arc<Group>)> {
        let groups = lock(&self.groups);
        groups
            .iter()
            .find(|(_, group)| group.reads_as(reader))
            .map(|(advance, group)| (*advance, Arc::clone(group)))
    }

    /// Dispatches the inline groups of this thread, as far as they are not being dispatched already.
    pub(crate) fn dispatch_inline(&self, py: Python<'_>, now: &Now<'_, '_>) -> PyResult<u64> {
        let mut done = 0;
        for group in self.inline_groups().iter() {
            group.set_thread(this_thread());
            if let Some(result) = group.dispatch(py, now.get()?, Bounds::NONE) {
                done += result?.0;
            }
        }
        Ok(done)
    }
}
