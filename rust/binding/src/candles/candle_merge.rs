//! `CandleMerge`: the candles of a run, taken stage by stage by Python, or in one call while nothing else is due.
//!
//! ```text
//!   take_opens, take_closes ─▶ Python's stages: broker, margin, bars          one stage at a time
//!   run ─▶ opens · closes ─▶ bars on the bus ─▶ drained ─▶ the next time …    until something else is to be done
//!              └▶ the broker, with the candles of instruments of which it has orders
//! ```
//! What `run` leaves to Python
//!   A time at which a timer or a bar of ticks is due; a stream that must be read on; more bars than the bus takes at
//!   once. Behind a stage: fills, and whatever handlers left to do (`Waits`).
//!
//! Guarantees: `run` makes the calls that the stages would make, in their order, on the same bus.
//! Does not: read feeds, or fill orders.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headrace_core::candles::{BarLine, CANDLE_BYTES, Candle, Due, Part, Taken, What};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::bar_maker::BarMaker;
use super::shared::{Shared, SharedStream};
use super::waits::{Concerned, Waits};
use crate::bus::BusCore;
use crate::clock::NEVER;
use crate::errors::{internal, refuse_after_fork};
use crate::hot::python_call::call;
use crate::ingest::Ingest;
use crate::lock::lock;

/// Candles between two looks at signals and the clock of the machine, about: few, as each may go to a slow handler.
const CANDLES_PER_LOOK: usize = 16;
/// How long a run goes on without a look at what else the engine does: progress, its audit, a stop.
const RUN_MAX: Duration = Duration::from_millis(20);

/// The newest open, and the newest whole candle.
type NewestCandles = (Option<Py<PyAny>>, Option<Py<PyAny>>);

/// A literal of a line, and the name of what comes behind it.
type LinePart = (Vec<u8>, String);

/// The candles of one run. bar, cause, opened : the types that are made of them.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct CandleMerge {
    pub(super) shared: Arc<Shared>,
    maker: BarMaker,
    /// When the next timer is due.
    timer_ns: AtomicI64,
    /// The bars of closes at which orders were filled: not published yet.
    closing: Mutex<Vec<Py<PyAny>>>,
}

#[pymethods]
impl CandleMerge {
    #[new]
    fn new(py: Python<'_>, bar: Py<PyAny>, cause: Py<PyAny>, opened: Py<PyAny>) -> PyResult<Self> {
        refuse_after_fork(py)?;
        Ok(Self {
            shared: Arc::default(),
            maker: BarMaker::new(py, bar, cause, opened)?,
            timer_ns: AtomicI64::new(NEVER),
            closing: Mutex::default(),
        })
    }

    /// Adds a stream behind the others, and returns its number. key : instrument, timeframe, price. lengths_ns : of its
    /// candles, and of the shortest ones of its instrument. has_opens : its opens are events, too. fills : orders are filled from it.
    #[pyo3(signature = (key, *, lengths_ns, has_opens, fills))]
    fn add(
        &self,
        py: Python<'_>,
        key: (Py<PyString>, Py<PyString>, Py<PyString>),
        lengths_ns: (i64, i64),
        has_opens: bool,
        fills: bool,
    ) -> PyResult<u32> {
        self.shared.add(py, key, lengths_ns, has_opens, fills)
    }

    /// Sets when the data began that a stream is made from, before its first candle.
    fn begin(&self, py: Python<'_>, stream: usize, begins_ns: i64) {
        self.shared.streams(py)[stream].begin(begins_ns);
    }

    /// Sets how an audit writes the bars of a stream: literals, each with the name of what comes behind it, and the end.
    fn set_line(&self, py: Python<'_>, stream: usize, parts: Vec<LinePart>, end: Vec<u8>) -> PyResult<()> {
        let known = |(literal, name): LinePart| {
            let part = Part::named(&name).ok_or_else(|| internal("a part of no candle"))?;
            Ok((literal.into_boxed_slice(), part))
        };
        let parts = parts.into_iter().map(known).collect::<PyResult<Vec<_>>>()?;
        // The first one stays.
        let _ = self.shared.streams(py)[stream]
            .line
            .set(Arc::new(BarLine::new(parts, end.into_boxed_slice())));
        Ok(())
    }

    /// Appends candles to a stream: an array of dtype CANDLE_DTYPE, seen as bytes. Raises ValueError.
    fn push(&self, py: Python<'_>, stream: u32, data: PyReadonlyArray1<'_, u8>) -> PyResult<()> {
        let (candles, rest) = data.as_slice()?.as_chunks::<CANDLE_BYTES>();
        if !rest.is_empty() {
            return Err(PyValueError::new_err("these are no whole candles"));
        }
        self.shared
            .with(py, |state| state.merge.push(stream, candles.iter().map(Candle::read)));
        Ok(())
    }

    /// The streams that must be read on before the next event is known, since the last call.
    fn take_hungry(&self, py: Python<'_>) -> Vec<u32> {
        self.shared.with(py, |state| state.merge.take_hungry())
    }

    /// When the next event is, ns; None: there is none. Right when no stream is hungry.
    #[getter]
    fn due_ns(&self, py: Python<'_>) -> Option<i64> {
        self.shared.with(py, |state| state.merge.peek()).map(|due| due.ts_ns)
    }

    /// Whether the next events are opens.
    #[getter]
    fn is_open_next(&self, py: Python<'_>) -> bool {
        self.shared
            .with(py, |state| state.merge.peek())
            .is_some_and(|due| due.what == What::Open)
    }

    /// When the first event was, ns; None: there was none.
    #[getter]
    fn first_ns(&self, py: Python<'_>) -> Option<i64> {
        self.shared.with(py, |state| state.merge.first_ns())
    }

    /// When the last candle closed, ns; 0: none has.
    #[getter]
    fn last_ns(&self, py: Python<'_>) -> i64 {
        self.shared.with(py, |state| state.last_ns)
    }

    /// How many candles have closed.
    #[getter]
    fn count(&self, py: Python<'_>) -> u64 {
        self.shared.with(py, |state| state.count)
    }

    /// The price that a candle of an instrument opened or closed at last, and its time, ns; None: there was none.
    fn mark(&self, py: Python<'_>, instrument: &str) -> Option<(f64, i64)> {
        let at = self.shared.number_of(instrument)?;
        self.shared.with(py, |state| state.newest[at].mark)
    }

    /// The newest open and the newest closed candle of an instrument; None for what was not there.
    fn newest(&self, py: Python<'_>, instrument: &str) -> PyResult<NewestCandles> {
        let Some(at) = self.shared.number_of(instrument) else {
            return Ok((None, None));
        };
        let (newest, streams) = (self.shared.with(py, |state| state.newest[at]), self.shared.streams(py));
        let of = |taken: &Taken| Arc::clone(&streams[taken.stream as usize]);
        let opened = newest.opened.map(|own| self.maker.opened(py, &of(&own), &own));
        let closed = newest.closed.map(|own| self.maker.bar(py, &of(&own), &own));
        Ok((opened.transpose()?, closed.transpose()?))
    }

    /// The closed candles of a stream that `run` has published since the last call, as the bytes of an array; of very
    /// many the last ones.
    fn take_unread<'py>(&self, py: Python<'py>, stream: usize) -> Bound<'py, PyBytes> {
        let unread = self.shared.with(py, |state| std::mem::take(&mut state.unread[stream]));
        let mut bytes = Vec::with_capacity(unread.len() * CANDLE_BYTES);
        unread.iter().for_each(|candle| candle.write(&mut bytes));
        PyBytes::new(py, &bytes)
    }

    /// The opens that are next.
    fn take_opens(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let (streams, taken) = self.take(py, What::Open);
        let opened = |own: &Taken| self.maker.opened(py, &streams[own.stream as usize], own);
        taken.iter().map(opened).collect()
    }

    /// The candles whose closes are next, as bars.
    fn take_closes(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let (streams, taken) = self.take(py, What::Close);
        self.maker.bars(py, &streams, &taken)
    }

    /// Publishes the bars of the last ``take_closes`` together, so that taps take them; false: the bus takes them one by
    /// one.
    fn publish(&self, py: Python<'_>, bus: &BusCore, bars: Vec<Py<PyAny>>) -> PyResult<bool> {
        let kind = self.maker.kind();
        let (keys, last_ns) = self.shared.with(py, |state| (state.closing.clone(), state.last_ns));
        // An event that is stamped 0 is stamped anew.
        if keys.len() != bars.len() || last_ns == 0 || !bus.takes_candles(kind, bars.len()) {
            return Ok(false);
        }
        bus.publish_candles(kind, bars.into_iter().zip(keys).collect())?;
        Ok(true)
    }

    /// The bars of a close behind which ``run`` left fills to Python; empty: there was none.
    fn take_closing(&self) -> Vec<Py<PyAny>> {
        std::mem::take(&mut *lock(&self.closing))
    }

    /// Sets when the next timer is due; None: there is none.
    fn set_timer(&self, due_ns: Option<i64>) {
        // Relaxed: set by handlers of the thread that reads it.
        self.timer_ns.store(due_ns.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// Goes on from time to time while nothing else is to be done, and returns how many stages it passed: the bars of
    /// each time are published on ``bus``, at most ``bars_max``, and drained, ``events_max`` events at once. waits :
    /// (queues, commands, faults, broker), in which handlers leave what Python is to do; the broker is called where it
    /// has orders, and where a fill comes of that, Python goes on: with the bars of ``take_closing``, if it was at a close.
    /// Raises what a drain and the broker raise.
    #[pyo3(signature = (bus, ingest, waits, *, bars_max, events_max))]
    fn run(
        &self,
        py: Python<'_>,
        bus: &BusCore,
        ingest: &Ingest,
        waits: Waits<'_>,
        bars_max: usize,
        events_max: u64,
    ) -> PyResult<u64> {
        let streams = self.shared.streams(py);
        let core = &ingest.core;
        let time = ingest
            .time
            .as_ref()
            .ok_or_else(|| internal("candles without a time that is moved"))?;
        let ends = Instant::now() + RUN_MAX;
        let mut taken = Vec::new();
        let mut unlooked = 0;
        for times in 0u64.. {
            unlooked += taken.len();
            if unlooked >= CANDLES_PER_LOOK {
                unlooked = 0;
                py.check_signals()?;
                if Instant::now() >= ends {
                    return Ok(times);
                }
            }
            // Relaxed: a stop takes effect soon, and orders nothing.
            let is_stopped = core.stop.load(Ordering::Relaxed);
            if is_stopped || core.bars.has_closed() || core.has_consumers_behind() || !waits.is_nothing_queued()? {
                return Ok(times);
            }
            let Some(next) = self.take_quiet(py, bus, (core.bars.due_ns(), bars_max), &mut taken) else {
                return Ok(times);
            };
            time.get().move_to(next.ts_ns);
            let is_over = match (next.what, waits.concerned()?) {
                // Nothing of Python ran.
                (What::Open, None) => continue,
                (What::Open, Some(orders)) => self.open(py, bus, &waits, orders, &streams, &taken)?,
                (What::Close, orders) => self.close(py, bus, &waits, orders, &streams, &taken)?,
            };
            if !is_over {
                return Ok(times + 1);
            }
            bus.drain_now(py, None, events_max)?;
            if bus.has_work() || !waits.is_nothing_left(py)? {
                return Ok(times + 1);
            }
        }
        Ok(0)
    }
}

impl CandleMerge {
    /// Takes the next events, which are such; returns all streams with them.
    fn take(&self, py: Python<'_>, what: What) -> (Arc<Vec<SharedStream>>, Vec<Taken>) {
        let (streams, mut taken) = (self.shared.streams(py), Vec::new());
        self.shared
            .with(py, |state| state.take_next(what, &streams, &mut taken));
        (streams, taken)
    }

    /// Takes the next events, if they may pass; returns what they are.
    fn take_quiet(
        &self,
        py: Python<'_>,
        bus: &BusCore,
        (bars_ns, bars_max): (i64, usize),
        taken: &mut Vec<Taken>,
    ) -> Option<Due> {
        let streams = self.shared.streams(py);
        self.shared.with(py, |state| {
            let next = state.merge.peek().filter(|_| !state.merge.is_hungry())?;
            // An event that is stamped 0 is stamped anew.
            if next.ts_ns >= bars_ns || next.ts_ns == 0 {
                return None;
            }
            // Relaxed: see `set_timer`. At one time closes come before timers, and timers before opens.
            let timer_ns = self.timer_ns.load(Ordering::Relaxed);
            if next.ts_ns > timer_ns || (next.ts_ns == timer_ns && next.what == What::Open) {
                return None;
            }
            if next.what == What::Close {
                let count = state.merge.next_count();
                if count > bars_max || !bus.takes_candles(self.maker.kind(), count) {
                    return None;
                }
            }
            state.take_next(next.what, &streams, taken);
            Some(next)
        })
    }

    /// Passes opens to a broker that has orders; returns whether nothing came of it.
    fn open(
        &self,
        py: Python<'_>,
        bus: &BusCore,
        waits: &Waits<'_>,
        (broker, instruments): Concerned<'_, '_>,
        streams: &[SharedStream],
        taken: &[Taken],
    ) -> PyResult<bool> {
        let mut opens = Vec::new();
        for own in taken {
            let stream = &streams[own.stream as usize];
            if instruments.contains(&stream.instrument)? {
                opens.push(self.maker.opened(py, stream, own)?);
            }
        }
        // With none of them, too: orders end by the clock there.
        call(&broker.call, (intern!(py, "on_candles_open"), opens))?;
        Ok(!bus.has_ready_now() && waits.is_nothing_queued()?)
    }

    /// Passes closes, and publishes the bars; false: fills come first.
    fn close(
        &self,
        py: Python<'_>,
        bus: &BusCore,
        waits: &Waits<'_>,
        orders: Option<Concerned<'_, '_>>,
        streams: &[SharedStream],
        taken: &[Taken],
    ) -> PyResult<bool> {
        let of = |own: &Taken| &streams[own.stream as usize];
        let bars = self.maker.bars(py, streams, taken)?;
        if let Some((broker, instruments)) = orders {
            let mut filling = Vec::new();
            for (own, bar) in taken.iter().zip(&bars) {
                if of(own).fills && instruments.contains(&of(own).instrument)? {
                    filling.push(bar.clone_ref(py));
                }
            }
            call(&broker.call, (intern!(py, "on_candles_close"), filling))?;
            if bus.has_ready_now() || !waits.is_nothing_queued()? {
                *lock(&self.closing) = bars;
                return Ok(false);
            }
        }
        self.shared.with(py, |state| state.keep_unread(taken));
        self.publish(py, bus, bars)
    }
}
