//! One subscription as other threads see it: its state, and what became of its ticks.
//!
//! ```text
//!   published == delivered + filtered + missed + conflated + skipped + pending        (the loss law, in positions)
//! ```
//! Guarantees: every counter has one writer, the thread that dispatches the subscription; any thread may read them.
//! Does not: dispatch.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use headrace_core::histogram::Histogram;
use headrace_core::ingest::hash::InputHash;
use headrace_core::market::kind::{KindSet, kind_set};
use headrace_core::market::tick::{Gap, GapCause, Tick};

use super::narrowing::Narrowing;
use super::options::{Options, Overflow};
use crate::lock::lock;

/// A counter with one writer.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds, by the one writer.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        // Relaxed: one writer, so no update is lost; a reader needs a number, not an order. Not fetch_add: that is a
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
    /// Resumed from outside; runs again at the next edge of a span, after its gap was reported.
    pub(crate) const RESUMING: u8 = 4;
    /// Delivery is suspended: ticks count as filtered, and raise no gap.
    pub(crate) const DOZING: u8 = 5;
    /// Running for the ticks of some instruments; those of others count as filtered.
    pub(crate) const NARROWED: u8 = 6;
    pub(crate) const NAMES: [&str; 7] = [
        "running",
        "paused",
        "quarantined",
        "closed",
        "resuming",
        "dozing",
        "running",
    ];
}

/// What other threads may read of a subscription; it begins as a running one.
#[derive(Default)]
pub(crate) struct SubscriptionShared {
    pub(crate) name: String,
    /// Names of its handlers, by number.
    pub(crate) handlers: Mutex<Vec<String>>,
    pub(crate) state: AtomicU8,
    /// The instruments whose ticks it takes while it is narrowed.
    pub(super) narrowing: Narrowing,
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
    /// It has `overflow="block"`.
    blocks: AtomicBool,
    /// It holds ticks until a time: of a window, or of an interval.
    pub(crate) is_timed: bool,
    pub(crate) latency: Mutex<Histogram>,
    pub(crate) hash: Option<Mutex<InputHash>>,
}

impl SubscriptionShared {
    pub(crate) fn new(name: String, joined: u64, options: &Options) -> Self {
        let shared = Self {
            name,
            is_timed: options.is_timed(),
            hash: options.hashing.then(Mutex::default),
            ..Self::default()
        };
        shared.joined.set(joined);
        shared.set_overflow(options.tuning.overflow);
        shared
    }

    pub(super) fn set_overflow(&self, overflow: Overflow) {
        // Relaxed: as in `state`.
        self.blocks.store(overflow == Overflow::Block, Ordering::Relaxed);
    }

    /// Whether it has `overflow="block"`.
    pub(super) fn blocks(&self) -> bool {
        // Relaxed: as in `state`.
        self.blocks.load(Ordering::Relaxed)
    }

    /// Whether the writer waits for it now: one that was paused, quarantined or closed has left the gate.
    pub(super) fn holds_gate(&self) -> bool {
        self.blocks() && (self.is_running() || matches!(self.state(), state::RESUMING | state::DOZING))
    }

    #[inline]
    pub(crate) fn state(&self) -> u8 {
        // Relaxed: a pause takes effect at the next tick that the dispatching thread sees it at; nothing else is
        // published by it.
        self.state.load(Ordering::Relaxed)
    }

    /// Whether it takes ticks, be it of some instruments only.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state(), state::RUNNING | state::NARROWED)
    }

    /// Whether it takes ticks of this instrument.
    #[inline(always)] // With every tick.
    pub(crate) fn takes(&self, instrument: u32) -> bool {
        match self.state() {
            state::RUNNING => true,
            state::NARROWED => self.narrowing.has(instrument),
            _ => false,
        }
    }

    /// Suspends delivery; whether it was running.
    pub(super) fn doze(&self) -> bool {
        let dozes = self.change_state(&[state::RUNNING, state::NARROWED], state::DOZING);
        self.narrowing.clear();
        dozes
    }

    /// Suspends delivery of an instrument that it was woken for; whether it was.
    pub(super) fn doze_for(&self, instrument: u32) -> bool {
        if self.state() != state::NARROWED {
            return false;
        }
        let removed = self.narrowing.remove(instrument);
        if removed == Some(true) {
            self.change_state(&[state::NARROWED], state::DOZING);
        }
        removed.is_some()
    }

    /// Resumes delivery; whether it was suspended.
    pub(super) fn wake(&self) -> bool {
        let wakes = self.change_state(&[state::DOZING, state::NARROWED], state::RUNNING);
        self.narrowing.clear();
        wakes
    }

    /// Resumes delivery of one instrument, of `instruments_max` at most; whether it was suspended.
    pub(super) fn wake_for(&self, instrument: u32, instruments_max: usize) -> bool {
        if !matches!(self.state(), state::DOZING | state::NARROWED) || self.narrowing.has(instrument) {
            return false;
        }
        self.narrowing.add(instrument, instruments_max);
        self.change_state(&[state::NARROWED, state::DOZING], state::NARROWED)
    }

    /// Changes from one of `from` to `to`; returns whether it did.
    pub(crate) fn change_state(&self, from: &[u8], to: u8) -> bool {
        from.iter().any(|from| {
            // Relaxed: as above; compare_exchange, because two threads may change it at once.
            self.state
                .compare_exchange(*from, to, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// Closes it for good; returns whether it was open.
    pub(super) fn close(&self) -> bool {
        // Relaxed: as above.
        self.state.swap(state::CLOSED, Ordering::Relaxed) != state::CLOSED
    }

    pub(crate) fn record_latency(&self, nanoseconds: u64, calls: u64) {
        lock(&self.latency).record(nanoseconds, calls);
    }
}

/// Adds to the loss that a subscription is to be told of; a loss of another cause widens the first one and keeps its
/// cause.
pub(crate) fn widen(lost: &mut Option<Gap>, cause: GapCause, first: u64, last: u64, count: u64) {
    let lost = lost.get_or_insert(Gap {
        cause,
        lost_kind: 0,
        first,
        last,
        missing: 0,
    });
    lost.last = last;
    lost.missing += count;
}

/// Ticks that a private subscription has admitted and not yet handed on.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) ticks: Vec<Tick>,
    pub(crate) positions: Vec<u64>,
    /// False for gaps and snapshots, which are no positions of the ring.
    pub(super) counted: Vec<bool>,
    /// How many are, by kind: looked at after each call, however many are held.
    waiting: Vec<u64>,
}

impl Held {
    pub(crate) fn push(&mut self, tick: Tick, position: u64, counted: bool) {
        let kind = usize::from(tick.kind);
        if self.waiting.len() <= kind {
            self.waiting.resize(kind + 1, 0);
        }
        self.waiting[kind] += u64::from(counted);
        self.ticks.push(tick);
        self.positions.push(position);
        self.counted.push(counted);
    }

    pub(crate) fn remove_first(&mut self, count: usize) {
        self.positions.drain(..count);
        for (tick, counted) in self.ticks.drain(..count).zip(self.counted.drain(..count)) {
            self.waiting[usize::from(tick.kind)] -= u64::from(counted);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many of the first `count` ticks are positions of the ring.
    pub(crate) fn count_first(&self, count: usize) -> u64 {
        self.counted[..count].iter().filter(|counted| **counted).count() as u64
    }

    /// How many ticks of these kinds are positions of the ring.
    pub(crate) fn count_waiting(&self, kinds: KindSet) -> u64 {
        let waiting = (0u8..).zip(&self.waiting);
        waiting
            .filter(|(kind, _)| kinds & kind_set(*kind) != 0)
            .map(|(_, count)| count)
            .sum()
    }
}
