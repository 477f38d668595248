//! `BarsCore`: bars of what a dispatcher publishes, fed where ticks are numbered.
//!
//! ```text
//!   Sequencer ─▶ numbered ticks ─┬▶ Ring
//!                                └▶ Bars ─▶ closed ─▶ take()        close_due(now) ─▶ what no tick closed
//! ```
//! Guarantees: every numbered tick, once, in the order of positions, whatever readers lose; no Python per tick.
//! Does not: read a clock, or publish bars: the engine takes them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use headrace_core::bars::Bars;
use headrace_core::market::instrument::InstrumentTable;
use headrace_core::market::tick::Tick;

use crate::clock::NEVER;
use crate::lock::lock;

/// The bars of an ingest. The atomics are copies to be read without the lock; all are written under it.
#[derive(Default)]
pub(crate) struct BarsCore {
    pub(super) owned: AtomicBool,
    has_specs: AtomicBool,
    has_closed: AtomicBool,
    due_ns: AtomicI64,
    bars: Mutex<Bars>,
}

impl BarsCore {
    /// Takes ticks as they are numbered.
    #[inline]
    pub(crate) fn feed(&self, ticks: &[Tick], instruments: &InstrumentTable) {
        // Relaxed: a spec begins with some tick that follows; which one, its own thread decides.
        if self.has_specs.load(Ordering::Relaxed) {
            self.with(|bars| bars.feed(ticks, instruments));
        }
    }

    /// Whether ticks closed bars that were not taken yet.
    #[inline]
    pub(crate) fn has_closed(&self) -> bool {
        // Relaxed: exact on the thread that published the ticks; a hint on others.
        self.has_closed.load(Ordering::Relaxed)
    }

    /// When the next bar of time is due, ns; the end of time when none is.
    #[inline]
    pub(crate) fn due_ns(&self) -> i64 {
        // Relaxed: as above. Without specs it was never written.
        if self.has_specs.load(Ordering::Relaxed) {
            self.due_ns.load(Ordering::Relaxed) // Relaxed: as above.
        } else {
            NEVER
        }
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Bars) -> T) -> T {
        let mut bars = lock(&self.bars);
        let result = act(&mut bars);
        // Relaxed, all three: see their readers.
        self.due_ns.store(bars.next_due().unwrap_or(NEVER), Ordering::Relaxed);
        self.has_closed.store(bars.has_closed(), Ordering::Relaxed); // Relaxed: as above.
        self.has_specs.store(!bars.is_idle(), Ordering::Relaxed); // Relaxed: as above.
        result
    }
}
