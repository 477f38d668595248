//! `BarsCore`: bars of what a dispatcher publishes, fed where ticks are numbered.
//!
//! ```text
//!   Sequencer ─▶ numbered ticks ─┬▶ Ring
//!                                └▶ Bars ─▶ closed ─▶ take()        close_due(now) ─▶ what no tick closed
//! ```
//! Guarantees: every numbered tick, once, in the order of positions, whatever readers lose; no Python per tick.
//! Does not: read a clock, or publish bars: the engine takes them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use headrace_core::bars::Bars;
use headrace_core::market::instrument::InstrumentTable;
use headrace_core::market::tick::Tick;

use crate::clock::NEVER;
use crate::lock::lock;

/// The position of a bar that is not there.
const NOWHERE: u64 = u64::MAX;

/// The bars of an ingest. The atomics are copies to be read without the lock; all are written under it.
pub(crate) struct BarsCore {
    pub(super) owned: AtomicBool,
    has_specs: AtomicBool,
    due_ns: AtomicI64,
    /// Of the first bar that a tick closed: where a reader must stand to have it, and its due time.
    closed_position: AtomicU64,
    closed_ns: AtomicI64,
    bars: Mutex<Bars>,
}

impl Default for BarsCore {
    fn default() -> Self {
        Self {
            owned: AtomicBool::default(),
            has_specs: AtomicBool::default(),
            due_ns: AtomicI64::new(NEVER),
            closed_position: AtomicU64::new(NOWHERE),
            closed_ns: AtomicI64::new(NEVER),
            bars: Mutex::default(),
        }
    }
}

impl BarsCore {
    /// Takes ticks as they are numbered. position : of the first of them.
    #[inline]
    pub(crate) fn feed(&self, ticks: &[Tick], instruments: &InstrumentTable, position: u64) {
        if self.has_specs() {
            self.with(|bars| bars.feed(ticks, instruments, position));
        }
    }

    /// Whether bars are made.
    #[inline]
    pub(crate) fn has_specs(&self) -> bool {
        // Relaxed: a spec begins with some tick that follows; which one, its own thread decides.
        self.has_specs.load(Ordering::Relaxed)
    }

    /// Whether ticks closed bars that were not taken yet.
    #[inline]
    pub(crate) fn has_closed(&self) -> bool {
        self.has_closed_by(NOWHERE - 1)
    }

    /// Whether a reader at this position has all ticks before such a bar.
    #[inline]
    pub(crate) fn has_closed_by(&self, position: u64) -> bool {
        // Relaxed: exact on the thread that published the ticks; a hint on others.
        self.closed_position.load(Ordering::Relaxed) <= position
    }

    /// When the first of these was due, ns; the end of time when a reader at this position lacks ticks before it.
    #[inline]
    pub(crate) fn closed_ns(&self, position: u64) -> i64 {
        // Relaxed: as above.
        let closed_ns = self.closed_ns.load(Ordering::Relaxed);
        if self.has_closed_by(position) { closed_ns } else { NEVER }
    }

    /// When the next bar of time is due, ns; the end of time when none is.
    #[inline]
    pub(crate) fn due_ns(&self) -> i64 {
        // Relaxed: as above.
        self.due_ns.load(Ordering::Relaxed)
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Bars) -> T) -> T {
        let mut bars = lock(&self.bars);
        let result = act(&mut bars);
        let (position, closed_ns) = bars.first_closed().unwrap_or((NOWHERE, NEVER));
        // Relaxed, all of them: see their readers.
        self.due_ns.store(bars.next_due().unwrap_or(NEVER), Ordering::Relaxed);
        self.closed_position.store(position, Ordering::Relaxed); // Relaxed: as above.
        self.closed_ns.store(closed_ns, Ordering::Relaxed); // Relaxed: as above.
        self.has_specs.store(!bars.is_idle(), Ordering::Relaxed); // Relaxed: as above.
        result
    }
}
