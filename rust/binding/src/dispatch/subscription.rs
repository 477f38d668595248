//! One subscription: what it wants, how its handlers are called, and what became of its ticks.
//!
//! ```text
//!   published == delivered + filtered + missed + conflated + skipped + pending        (the loss law, in positions)
//! ```
//! Guarantees: every counter has one writer, the thread that dispatches the subscription; anybody may read them.
//! Does not: dispatch.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::lock::lock;
use headrace_core::histogram::Histogram;
use headrace_core::ingest::hash::InputHash;
use headrace_core::market::field::{Field, KindSet, kind_set};
use headrace_core::market::tick::{GapCause, Tick};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::hot::vectorcall::Call;

/// A counter with one writer.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds, by the one writer.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        // Relaxed: one writer, so no update is lost; a reader wants a number, not an order. Not fetch_add: that is a
        // locked instruction, on the path of every tick.
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Sets, by the one writer.
    pub(crate) fn set(&self, value: u64) {
        // Relaxed: as above.
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        // Relaxed: as above.
        self.0.load(Ordering::Relaxed)
    }
}

/// The states of a subscription, as numbers that threads share.
pub(crate) mod state {
    pub(crate) const RUNNING: u8 = 0;
    pub(crate) const PAUSED: u8 = 1;
    pub(crate) const QUARANTINED: u8 = 2;
    pub(crate) const CLOSED: u8 = 3;
    /// Resumed from outside; runs again at the next edge of a run, after its gap was told.
    pub(crate) const RESUMING: u8 = 4;
    /// Asks for nothing right now: what comes is filtered, and nobody tells it of that.
    pub(crate) const DOZING: u8 = 5;
    pub(crate) const NAMES: [&str; 6] = ["running", "paused", "quarantined", "closed", "resuming", "dozing"];
}

/// What other threads may read of a subscription.
pub(crate) struct SubscriptionShared {
    pub(crate) name: String,
    pub(crate) state: AtomicU8,
    pub(crate) delivered: Count,
    pub(crate) filtered: Count,
    pub(crate) missed: Count,
    pub(crate) conflated: Count,
    pub(crate) skipped: Count,
    /// Read from the ring, admitted, and waiting for a plural call, a window or an interval.
    pub(crate) buffered: Count,
    pub(crate) snapshots: Count,
    pub(crate) faults: Count,
    pub(crate) calls: Count,
    /// Position of the first tick that it may get.
    pub(crate) joined: Count,
    /// Position at which it left, once closed.
    pub(crate) left: Count,
    pub(crate) demoted: AtomicBool,
    pub(crate) latency: Mutex<Histogram>,
    pub(crate) hash: Option<Mutex<InputHash>>,
}

impl SubscriptionShared {
    pub(crate) fn new(name: String, joined: u64, hashing: bool) -> Self {
        let shared = Self {
            name,
            state: AtomicU8::new(state::RUNNING),
            delivered: Count::default(),
            filtered: Count::default(),
            missed: Count::default(),
            conflated: Count::default(),
            skipped: Count::default(),
            buffered: Count::default(),
            snapshots: Count::default(),
            faults: Count::default(),
            calls: Count::default(),
            joined: Count::default(),
            left: Count::default(),
            demoted: AtomicBool::new(false),
            latency: Mutex::new(Histogram::default()),
            hash: hashing.then(|| Mutex::new(InputHash::default())),
        };
        shared.joined.set(joined);
        shared
    }

    #[inline]
    pub(crate) fn state(&self) -> u8 {
        // Relaxed: a pause takes effect at the next tick that the dispatching thread sees it at; nothing else is
        // published by it.
        self.state.load(Ordering::Relaxed)
    }

    /// Moves from one of `from` to `to`; says whether it did.
    pub(crate) fn change_state(&self, from: &[u8], to: u8) -> bool {
        from.iter().any(|from| {
            // Relaxed: as above; compare_exchange, because two threads may ask at once.
            self.state
                .compare_exchange(*from, to, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        })
    }

    pub(crate) fn record_latency(&self, nanoseconds: u64, calls: u64) {
        lock(&self.latency).record(nanoseconds, calls);
    }
}

/// Which ticks a handler is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `on_quote`: each tick of one kind.
    Singular(u8),
    /// `on_tick`: each tick.
    EveryTick,
    /// `on_quotes`: the ticks of one kind of a run.
    Plural(u8),
    /// `on_ticks`: all ticks of a run.
    AllTicks,
}

/// One handler, as Python described it.
pub(crate) struct Handler {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) function: Py<PyAny>,
    pub(crate) receiver: Option<Py<PyAny>>,
    /// In the order of the call: positional ones first.
    pub(crate) fields: Vec<Field>,
    pub(crate) keywords: Option<Py<PyTuple>>,
    pub(crate) by_keyword: usize,
}

impl Handler {
    /// The handler as it is called, with the slot of each field.
    pub(crate) fn to_call(&self, py: Python<'_>, slots: Vec<u16>) -> Call {
        Call::new(
            self.function.clone_ref(py),
            self.receiver.as_ref().map(|receiver| receiver.clone_ref(py)),
            slots,
            self.keywords.as_ref().map(|keywords| keywords.clone_ref(py)),
            self.by_keyword,
        )
    }

    /// The same, with slots of its own: one per field, in their order.
    pub(crate) fn to_call_alone(&self, py: Python<'_>) -> Call {
        self.to_call(py, (0u16..).take(self.fields.len()).collect())
    }
}

/// What a subscription must be told of: ticks that it did not get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    pub(crate) cause: GapCause,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
}

impl Missing {
    /// Adds to what must be told; a loss of another cause widens the first one, whose cause stays.
    pub(crate) fn widen(told: &mut Option<Missing>, cause: GapCause, first: u64, last: u64, count: u64) {
        match told {
            Some(missing) => {
                missing.last = last;
                missing.count += count;
            }
            None => {
                *told = Some(Missing {
                    cause,
                    first,
                    last,
                    count,
                })
            }
        }
    }
}

/// Ticks that a private subscription has admitted and not yet handed on.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) ticks: Vec<Tick>,
    pub(crate) positions: Vec<u64>,
    /// False for gaps and snapshots, which are no positions of the ring.
    pub(crate) counted: Vec<bool>,
}

impl Held {
    pub(crate) fn push(&mut self, tick: Tick, position: u64, counted: bool) {
        self.ticks.push(tick);
        self.positions.push(position);
        self.counted.push(counted);
    }

    pub(crate) fn remove_first(&mut self, count: usize) {
        self.ticks.drain(..count);
        self.positions.drain(..count);
        self.counted.drain(..count);
    }

    pub(crate) fn clear(&mut self) {
        self.remove_first(self.ticks.len());
    }

    /// How many of the first `count` ticks are positions of the ring, of these kinds.
    pub(crate) fn counted(&self, count: usize, kinds: KindSet) -> u64 {
        let ticks = self.ticks[..count].iter().zip(&self.counted);
        ticks
            .filter(|(tick, counted)| **counted && kinds & kind_set(tick.kind) != 0)
            .count() as u64
    }
}
