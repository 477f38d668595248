//! What the merge of a run and its taps share: the streams, where they stand, and the last candle of each.
//!
//! Guarantees: everything here says how far the candles were taken; nothing is ahead of that.
//! Does not: call Python.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use headrace_core::candles::{BarLine, Candle, CandleMerge, Taken, What};
use headrace_core::limits::BARS_HISTORY_MAX;
use pyo3::prelude::*;
use pyo3::types::PyString;
use rustc_hash::FxHashMap;

use crate::bus::CandleKey;
use crate::hot::exclusive::Exclusive;
use crate::lock::lock;

/// What does not change of a stream.
pub(super) struct Stream {
    pub(super) instrument: Py<PyString>,
    pub(super) timeframe: Py<PyString>,
    pub(super) price: Py<PyString>,
    pub(super) length_ns: i64,
    /// The length of the shortest candles of its instrument.
    pub(super) shortest_ns: i64,
    /// Orders are filled from it.
    pub(super) fills: bool,
    /// The number of its instrument.
    pub(super) at: usize,
    /// When the data began that it is made from.
    begins_ns: AtomicI64,
    pub(super) line: OnceLock<Arc<BarLine>>,
}

impl Stream {
    /// Whether ticks of a candle's interval are missing.
    pub(super) fn is_partial(&self, candle: &Candle) -> bool {
        // Relaxed: set under the interpreter's lock before its first candle is taken.
        let begins_ns = self.begins_ns.load(Ordering::Relaxed);
        candle.ts_open < begins_ns || candle.ts_close - candle.ts_open != self.length_ns
    }

    pub(super) fn begin(&self, begins_ns: i64) {
        // Relaxed: see `is_partial`.
        self.begins_ns.store(begins_ns, Ordering::Relaxed);
    }
}

/// The newest candles of an instrument that orders are filled from.
#[derive(Default, Clone, Copy)]
pub(super) struct Newest {
    /// The price of the newest open or close, and its time.
    pub(super) mark: Option<(f64, i64)>,
    pub(super) opened: Option<Taken>,
    pub(super) closed: Option<Taken>,
}

/// Where the candles stand.
#[derive(Default)]
pub(super) struct State {
    streams: Arc<Vec<SharedStream>>,
    pub(super) merge: CandleMerge,
    /// By instrument.
    pub(super) newest: Vec<Newest>,
    /// By stream: the candle that closed last.
    pub(super) closed: Vec<Taken>,
    /// The keys of the bars that closed last, together.
    pub(super) closing: Vec<CandleKey>,
    /// By stream: closed candles that were published here and that no history has taken.
    pub(super) unread: Vec<Vec<Candle>>,
    pub(super) count: u64,
    pub(super) last_ns: i64,
}

/// What is shared.
#[derive(Default)]
pub(crate) struct Shared {
    state: Exclusive<State>,
    instruments: Mutex<FxHashMap<String, usize>>,
}

/// A stream, as several lists share it.
pub(super) type SharedStream = Arc<Stream>;

impl Shared {
    /// Works with where the candles stand; `act` runs nothing of Python, so no other call comes in between.
    #[inline]
    pub(super) fn with<T>(&self, py: Python<'_>, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.take(py).expect("one call at a time"))
    }

    pub(super) fn streams(&self, py: Python<'_>) -> Arc<Vec<SharedStream>> {
        self.with(py, |state| Arc::clone(&state.streams))
    }

    /// Looks at a stream, and at the candle of it that closed last.
    #[inline]
    pub(super) fn with_closed<T>(&self, py: Python<'_>, stream: u32, look: impl FnOnce(&Stream, &Taken) -> T) -> T {
        let at = stream as usize;
        self.with(py, |state| look(&state.streams[at], &state.closed[at]))
    }

    pub(super) fn number_of(&self, instrument: &str) -> Option<usize> {
        lock(&self.instruments).get(instrument).copied()
    }

    /// Adds a stream; returns its number.
    pub(super) fn add(
        &self,
        py: Python<'_>,
        (instrument, timeframe, price): (Py<PyString>, Py<PyString>, Py<PyString>),
        (length_ns, shortest_ns): (i64, i64),
        has_opens: bool,
        fills: bool,
    ) -> PyResult<u32> {
        let name = instrument.to_str(py)?.to_owned();
        let at = {
            let mut instruments = lock(&self.instruments);
            let next = instruments.len();
            *instruments.entry(name).or_insert(next)
        };
        let stream = Stream {
            instrument,
            timeframe,
            price,
            length_ns,
            shortest_ns,
            fills,
            at,
            begins_ns: AtomicI64::new(0),
            line: OnceLock::new(),
        };
        Ok(self.with(py, |state| {
            Arc::make_mut(&mut state.streams).push(Arc::new(stream));
            state.newest.resize(state.newest.len().max(at + 1), Newest::default());
            state.closed.push(Taken {
                stream: 0,
                number: 0,
                candle: Candle::default(),
            });
            state.unread.push(Vec::new());
            state.merge.add(has_opens)
        }))
    }
}

impl State {
    /// Takes the next events of one time and kind. `streams`: all of them.
    pub(super) fn take_next(&mut self, what: What, streams: &[Arc<Stream>], taken: &mut Vec<Taken>) {
        taken.clear();
        self.merge.take_next(taken);
        if what == What::Close {
            let key = |own: &Taken| CandleKey::new(own.stream, own.candle.count == 0);
            self.closing.clear();
            self.closing.extend(taken.iter().map(key));
        }
        for own in taken.iter() {
            let (stream, candle) = (&streams[own.stream as usize], &own.candle);
            let newest = &mut self.newest[stream.at];
            match what {
                What::Open => {
                    newest.mark = Some((candle.open, candle.ts_open));
                    newest.opened = Some(*own);
                }
                What::Close => {
                    if stream.fills {
                        newest.mark = Some((candle.close, candle.ts_close));
                        newest.closed = Some(*own);
                    }
                    self.closed[own.stream as usize] = *own;
                    self.count += 1;
                    self.last_ns = candle.ts_close;
                }
            }
        }
    }

    /// Keeps closed candles for the history of bars, as many as a history has.
    pub(super) fn keep_unread(&mut self, taken: &[Taken]) {
        for own in taken {
            let unread = &mut self.unread[own.stream as usize];
            if unread.len() >= 2 * BARS_HISTORY_MAX {
                unread.drain(..unread.len() - BARS_HISTORY_MAX);
            }
            unread.push(own.candle);
        }
    }
}
