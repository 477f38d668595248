//! Running: the handler call that a group makes now, and the tick, or the span, that it was given.
//!
//! ```text
//!   dispatching thread ─▶ take_up(tick) · mark(call) ─▶ the watching thread · the handler itself: its cause
//! ```
//! Guarantees: the thread that dispatches sees its own call, exactly; a call inside a call (a gap, a snapshot) hides
//! the outer one only while it runs.
//! Does not: show another thread a consistent picture; the watching thread looks twice, far apart.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use headrace_core::market::tick::Tick;

use super::about::About;

/// The tick, or the span, that a handler was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) instrument: u32,
    pub(crate) kind: u8,
    /// `seq` of the first and the last one of this instrument and kind.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// When the last one was received.
    pub(crate) ts_init: i64,
}

/// What runs now. One line of memory, written by the dispatching thread alone.
#[derive(Default)]
pub(crate) struct Running {
    /// `member << 8 | handler + 1`; 0: nothing.
    call: AtomicU64,
    position: AtomicU64,
    /// The tick's word of instrument and kind.
    stream: AtomicU64,
    /// Of a span; 0: the same as `last`.
    first: AtomicU64,
    last: AtomicU64,
    ts_init: AtomicI64,
}

/// What ran before a call inside a call.
pub(super) struct Outer([u64; 5], i64);

/// Word of a tick that holds instrument, kind, side and flags.
const STREAM_WORD: usize = 4;

/// `seq` of the first tick of the same instrument and kind.
fn first_like(last: &Tick, ticks: &[Tick]) -> u64 {
    let same = |tick: &&Tick| (tick.instrument, tick.kind) == (last.instrument, last.kind);
    // Eight at a time by their instrument alone: a batch may hold as many instruments as ticks.
    let (eights, _) = ticks.as_chunks::<8>();
    let others = eights
        .iter()
        .take_while(|eight| !eight.iter().any(|tick| tick.instrument == last.instrument))
        .count();
    ticks[others * 8..].iter().find(same).map_or(0, |tick| tick.seq)
}

fn stream_of(tick: &Tick) -> u64 {
    Tick::slice_as_words(std::slice::from_ref(tick))[0][STREAM_WORD]
}

// Relaxed, all of them: the thread that dispatches reads back its own stores; for another one they are a hint.
const ORDER: Ordering = Ordering::Relaxed;

impl Running {
    /// The next calls are given this tick of the span.
    #[inline]
    pub(super) fn take_up(&self, tick: &Tick, position: u64) {
        self.position.store(position, ORDER);
        self.stream.store(stream_of(tick), ORDER);
        self.last.store(tick.seq, ORDER);
        self.ts_init.store(tick.ts_init, ORDER);
    }

    /// The call that is made now.
    #[inline]
    pub(super) fn mark(&self, member: usize, handler: u16) {
        self.call
            .store((member as u64 & 0xffff) << 8 | (u64::from(handler & 0xff) + 1), ORDER);
    }

    /// The next call is inside the one that runs, and is given these ticks.
    pub(super) fn enter(&self, about: About<'_>) -> Outer {
        let words = [&self.call, &self.position, &self.stream, &self.first, &self.last].map(|word| word.load(ORDER));
        let outer = Outer(words, self.ts_init.load(ORDER));
        let found = || about.ticks.last().map(|last| (last, first_like(last, about.ticks)));
        if let Some((last, first)) = about.last.or_else(found) {
            self.take_up(last, about.positions.of(0));
            self.first.store(first, ORDER);
        }
        outer
    }

    /// The inner call is over.
    pub(super) fn leave(&self, outer: &Outer) {
        let words = [&self.call, &self.position, &self.stream, &self.first, &self.last];
        for (word, value) in words.into_iter().zip(outer.0) {
            word.store(value, ORDER);
        }
        self.ts_init.store(outer.1, ORDER);
    }

    /// Nothing runs any more.
    pub(super) fn end(&self) {
        self.call.store(0, ORDER);
    }

    /// (a number that changes with every call, member, handler), for the watching thread.
    pub(super) fn call(&self) -> Option<(u64, usize, usize)> {
        let call = self.call.load(ORDER);
        let mark = self.position.load(ORDER) << 24 | call;
        (call != 0).then(|| (mark, (call >> 8) as usize, (call & 0xff) as usize - 1))
    }

    /// The ticks of the running call; exact on the thread that dispatches.
    pub(super) fn seen(&self) -> Seen {
        let mut words = [0; headrace_core::market::tick::TICK_WORDS];
        words[STREAM_WORD] = self.stream.load(ORDER);
        let Tick { instrument, kind, .. } = Tick::from_words(words);
        let (first, last) = (self.first.load(ORDER), self.last.load(ORDER));
        Seen {
            instrument,
            kind,
            first: if first == 0 { last } else { first },
            last,
            ts_init: self.ts_init.load(ORDER),
        }
    }
}
