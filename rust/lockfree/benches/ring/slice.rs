//! One slice of a bench: records from a writer to its readers, timed, and whether the system left it alone.
//!
//! Guarantees: every reader adds up every word, and the sum is asserted before the time counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_utils::CachePadded;

/// Records in every contender's ring: 288 KiB of ticks, more than the first-level cache, less than the second.
pub(crate) const CAPACITY: usize = 4_096;
pub(crate) fn record<const W: usize>(index: u64) -> [u64; W] {
    std::array::from_fn(|word| index + word as u64)
}

fn add<const W: usize>(sum: u64, record: &[u64; W]) -> u64 {
    record.iter().fold(sum, |sum, word| sum.wrapping_add(*word))
}

fn expected<const W: usize>(records: u64) -> u64 {
    let words = W as u64;
    words * (records * (records - 1) / 2) + records * (words * (words - 1) / 2)
}

/// How often the system took the core from this thread, 0 where it has no such number.
fn involuntary_switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("nonvoluntary_ctxt_switches"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// What the two sides of a slice send each other.
#[derive(Default)]
pub(crate) struct Progress {
    ready: AtomicUsize,
    warm: CachePadded<AtomicUsize>,
    done: CachePadded<AtomicUsize>,
    sum: AtomicU64,
    switches: AtomicU64,
}

/// One slice: its time, and whether the system left it alone.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) ns_per_item: f64,
    pub(crate) clean: bool,
}

/// The reading side's account of what it got.
pub(crate) struct Tally<const W: usize> {
    progress: Arc<Progress>,
    records: u64,
    seen: u64,
    sum: u64,
    switches: u64,
}

impl<const W: usize> Tally<W> {
    pub(crate) fn new(progress: &Arc<Progress>, records: u64) -> Self {
        progress.ready.fetch_add(1, Ordering::AcqRel);
        Self {
            progress: Arc::clone(progress),
            records: records + CAPACITY as u64,
            seen: 0,
            sum: 0,
            switches: involuntary_switches(),
        }
    }

    /// Adds a batch up; false when it was the last.
    #[inline]
    pub(crate) fn take<'r>(&mut self, batch: impl Iterator<Item = &'r [u64; W]>, count: usize) -> bool {
        let before = self.seen;
        self.sum = batch.fold(self.sum, add);
        self.seen += count as u64;
        if before < CAPACITY as u64 && self.seen >= CAPACITY as u64 {
            self.progress.warm.fetch_add(1, Ordering::AcqRel);
        }
        if self.seen < self.records {
            return true;
        }
        self.progress.sum.fetch_add(self.sum, Ordering::Relaxed);
        let switches = involuntary_switches() - self.switches;
        self.progress.switches.fetch_add(switches, Ordering::Relaxed);
        self.progress.done.fetch_add(1, Ordering::AcqRel);
        false
    }
}

/// The writing side: warms the ring up, then times `records` more until the last reader has them.
pub(crate) fn write<const W: usize>(
    progress: &Progress,
    readers: usize,
    records: u64,
    mut send: impl FnMut(u64, u64),
) -> Slice {
    let until = |counter: &AtomicUsize| {
        while counter.load(Ordering::Acquire) < readers {
            thread::yield_now();
        }
    };
    until(&progress.ready);
    send(0, CAPACITY as u64);
    until(&progress.warm);
    let switches = involuntary_switches();
    let start = Instant::now();
    send(CAPACITY as u64, CAPACITY as u64 + records);
    until(&progress.done);
    let elapsed = start.elapsed();
    let switches = involuntary_switches() - switches + progress.switches.load(Ordering::Relaxed);
    let wanted = expected::<W>(CAPACITY as u64 + records).wrapping_mul(readers as u64);
    assert_eq!(
        progress.sum.load(Ordering::Relaxed),
        wanted,
        "every word of every record arrived"
    );
    Slice {
        ns_per_item: elapsed.as_nanos() as f64 / records as f64,
        clean: switches == 0,
    }
}
