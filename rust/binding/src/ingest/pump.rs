//! `Pump`: from the blocks of several sources to the ring; what a feed's reader, an engine and a replay drive.
//!
//! ```text
//!                    ┌ run(until)        replay: each time T resolved before T + 1          (`replay`)
//!   push, finish ─▶ ─┼ ingest(until, n)  live: publishes what is due, and never waits
//!                    └ ingest_to(cursor) repeating a live run: publishes up to a position, in the middle of a frame, too
//! ```
//! What happens live when a reader of another thread, or an awaiting task of this one, holds the ring
//!     HELD comes back: what was numbered waits and goes first with the next call. A reader that holds the ring for
//!     longer than ``block_max_ns`` over all these calls loses the gate.
//!
//! Guarantees: one stream in order of (ts_init, source, row); nothing numbered is ever lost.
//! Does not: read files or sockets (Python hands over blocks), or sleep: it returns, and is called again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headrace_core::ingest::merge::Peek;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::counted::Counted;
use super::decoder::Decoder;
use super::ingest::Ingest;
use super::ingest_core::IngestCore;
use super::now::Now;
use super::publisher::Publisher;
use super::publishing::{Holding, Patience, Publishing};
use super::pump_status::PumpStatus;
use super::replay::{Resolving, Surroundings};
use super::sources::Sources;
use super::tally::RejectTuple;
use crate::bus::BusCore;
use crate::clock::ReplayTime;
use crate::errors::{internal, raise, refuse_after_fork};
use crate::hot::exclusive::Exclusive;
use crate::lock::lock;
use crate::thread::this_thread;

#[derive(Default)]
struct Driver {
    sources: Sources,
    resolving: Resolving,
    holding: Holding,
}

/// Merges sources by receive time, and publishes what they hold: for a replay, live, or to repeat a live run.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct Pump {
    core: Arc<IngestCore>,
    now: Py<PyAny>,
    time: Option<Py<ReplayTime>>,
    bus: Mutex<Option<Py<BusCore>>>,
    counted: Arc<Counted>,
    driver: Exclusive<Driver>,
}

impl Pump {
    fn driving<T>(&self, py: Python<'_>, act: impl FnOnce(&mut Driver) -> PyResult<T>) -> PyResult<T> {
        refuse_after_fork(py)?;
        let mut driver = self.driver.take(py).ok_or_else(|| {
            let message = "this pump is running already: one call at a time drives it";
            raise(py, "ReentrantDispatchError", message)
        })?;
        act(&mut driver)
    }

    /// The same for a call that publishes: its thread is the one that inline groups belong to.
    fn publishing<T>(&self, py: Python<'_>, act: impl FnOnce(&mut Driver) -> PyResult<T>) -> PyResult<T> {
        for group in self.core.inline_groups().iter() {
            group.set_thread(this_thread());
        }
        self.driving(py, |driver| {
            driver.sources.begin();
            act(driver)
        })
    }
}

#[pymethods]
impl Pump {
    #[new]
    fn new(py: Python<'_>, ingest: &Ingest) -> Self {
        let counted = Arc::<Counted>::default();
        let driver = Driver {
            sources: Sources::new(&counted),
            ..Driver::default()
        };
        Self {
            core: Arc::clone(&ingest.core),
            now: ingest.now.clone_ref(py),
            time: ingest.time.as_ref().map(|time| time.clone_ref(py)),
            bus: Mutex::new(None),
            counted,
            driver: Exclusive::new(driver),
        }
    }

    /// Adds a source and returns its index; without a decoder it hands over arrays of ticks.
    ///
    /// numbered : its ticks have the numbers of the run that published them, and keep them.
    #[pyo3(signature = (name, decoder=None, *, numbered=false))]
    fn add_source(
        &self,
        py: Python<'_>,
        name: String,
        decoder: Option<Py<Decoder>>,
        numbered: bool,
    ) -> PyResult<usize> {
        self.driving(py, |driver| driver.sources.add(name, decoder, numbered))
    }

    /// Takes the next block of a source: bytes of whole recorded lines, or an array of TICK_DTYPE.
    fn push(&self, py: Python<'_>, source: usize, block: &Bound<'_, PyAny>) -> PyResult<()> {
        self.driving(py, |driver| driver.sources.push(source, block, &self.core))
    }

    /// Ends a source: it has no more blocks.
    fn finish(&self, py: Python<'_>, source: usize) -> PyResult<()> {
        self.driving(py, |driver| {
            driver.sources.finish(source);
            Ok(())
        })
    }

    /// A replay looks at this bus, too, before it goes on from one time to the next; `None`: at none any more.
    fn watch_bus(&self, bus: Option<Py<BusCore>>) {
        // Dropped without the lock: it may be the last reference to a bus, whose end runs Python.
        let before = std::mem::replace(&mut *lock(&self.bus), bus);
        drop(before);
    }

    /// Replay: goes on as far as it can, and not beyond ``until_ns``; the clock is moved to each T before its ticks.
    ///
    /// max_ns : how long it goes on by the clock of the machine, about; None: without end.
    /// Returns ``(status, argument)``: (NEED, source), (UNTIL, next ts_init), (STOPPED, 0), (END, 0); and, with
    /// the ticks of a time resolved, (DRAIN, T): the bus has work, or bars closed; (ASYNC, 0): tasks are behind;
    /// (ALARM, T): something other than a tick is due at T or before it, and comes before T's ticks; (PAUSED, 0):
    /// ``max_ns`` are over.
    /// Raises SourceOrderError, and what a strategy under ``on_fault="raise"`` raised.
    #[pyo3(signature = (until_ns, *, max_ns=None))]
    fn run(&self, py: Python<'_>, until_ns: i64, max_ns: Option<u64>) -> PyResult<(PumpStatus, i64)> {
        let time = self.time.as_ref().filter(|_| self.core.replay);
        let time = time.ok_or_else(|| internal("a replay over the ingest of a live dispatcher"))?;
        let bus = lock(&self.bus).as_ref().map(|bus| bus.clone_ref(py));
        let around = Surroundings {
            core: &self.core,
            time: time.get(),
            bus: bus.as_ref().map(Py::get),
        };
        self.publishing(py, |driver| {
            let Driver { sources, resolving, .. } = driver;
            let ends = max_ns.map(|max_ns| Instant::now() + Duration::from_nanos(max_ns));
            resolving.run(py, sources, &around, (until_ns, ends))
        })
    }

    /// Returns what comes next, without taking it: (NEED, source), (UNTIL, its ts_init) or (END, 0).
    fn peek(&self, py: Python<'_>) -> PyResult<(PumpStatus, i64)> {
        self.driving(py, |driver| {
            driver.sources.begin();
            Ok(match driver.sources.peek(py)? {
                Peek::Need(source) => (PumpStatus::Need, source as i64),
                Peek::At(ts_init) => (PumpStatus::Until, ts_init),
                Peek::End => (PumpStatus::End, 0),
            })
        })
    }

    /// Live: publishes what was received until ``until_ns``, in order, about ``max_ticks`` at most; never waits.
    ///
    /// Returns ``(status, argument)``: (NEED, source), (UNTIL, next ts_init), (FULL, ticks published by this
    /// call), (HELD, ticks that wait), (STOPPED, 0), (END, 0).
    /// Raises SourceOrderError, and what a strategy under ``on_fault="raise"`` raised that was dispatched to make room.
    fn ingest(&self, py: Python<'_>, until_ns: i64, max_ticks: usize) -> PyResult<(PumpStatus, i64)> {
        let now = Now::Clock(self.now.bind(py));
        self.publishing(py, |driver| {
            let Driver { sources, holding, .. } = driver;
            let mut publishing = Publishing::new(max_ticks, &now).with(Patience::Return(holding));
            let status = self.publish_due(py, sources, &mut publishing, until_ns, max_ticks)?;
            publishing.end()?;
            Ok(status)
        })
    }

    /// Live: publishes one frame as it came, behind what waits; never waits. For sources that have no block in hand.
    ///
    /// Returns NEED: it is on the ring; REJECTED: it is among ``take_rejects``; HELD: it was taken, and some of it
    /// waits; FULL: there was no room even to take it, so it comes again; STOPPED.
    /// Raises as ``ingest``, and DecoderError for a source without a decoder.
    pub(crate) fn take_frame(&self, py: Python<'_>, source: usize, ts_init: i64, frame: &[u8]) -> PyResult<PumpStatus> {
        let now = Now::Clock(self.now.bind(py));
        self.publishing(py, |driver| {
            let Driver { sources, holding, .. } = driver;
            // Relaxed: a stop takes effect soon, and orders nothing.
            if self.core.stop.load(Ordering::Relaxed) {
                return Ok(PumpStatus::Stopped);
            }
            let mut publishing = Publishing::new(1, &now).with(Patience::Return(holding));
            let mut publisher = Publisher::begin(py, &self.core)?;
            publisher.send_waiting(&mut publishing)?;
            if publishing.gave_up || !publisher.has_room(&mut publishing)? {
                publishing.end()?;
                return Ok(PumpStatus::Full);
            }
            let arrived = (source, ts_init, frame);
            let is_rejected = !sources.take_frame(py, &self.core, &mut publisher.working, arrived)?;
            publisher.sequence_and_send(&mut publishing)?;
            let is_held = publishing.gave_up;
            publishing.end()?;
            Ok(match (is_rejected, is_held) {
                (true, _) => PumpStatus::Rejected,
                (_, true) => PumpStatus::Held,
                _ => PumpStatus::Need,
            })
        })
    }

    /// Publishes up to this position and not beyond it, in the middle of a frame, too.
    ///
    /// Returns ``(status, argument)``: (REACHED, position), (NEED, source), (HELD, ticks that wait) when an inline
    /// reader is in the way, (STOPPED, 0), (END, position).
    fn ingest_to(&self, py: Python<'_>, cursor: u64) -> PyResult<(PumpStatus, i64)> {
        let now = Now::Clock(self.now.bind(py));
        self.publishing(py, |driver| {
            let mut publishing = Publishing::new(0, &now).with(Patience::UpTo(cursor));
            let sources = &mut driver.sources;
            let status = self.publish_due(py, sources, &mut publishing, i64::MAX, usize::MAX)?;
            publishing.end()?;
            let position = self.core.ring.ring.cursor();
            Ok(match status {
                (PumpStatus::Held | PumpStatus::End, _) if position == cursor => (PumpStatus::Reached, position as i64),
                (PumpStatus::End, _) => (PumpStatus::End, position as i64),
                other => other,
            })
        })
    }

    /// When the last item was received that was taken, ns; None before the first.
    #[getter]
    fn last_ts(&self) -> Option<i64> {
        self.counted.last_ts()
    }

    /// Also while it runs: frames so far, and ``{"first_ts", "last_ts", "items", "accepted"}``; accepted frames by
    /// source.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        self.counted.write_to(py, &dict)?;
        Ok(dict)
    }

    /// The rejected frames kept since the last call: (source, row, reason, ts_init, frame).
    fn take_rejects(&self) -> Vec<RejectTuple> {
        self.counted.take_rejects()
    }
}

impl Pump {
    fn publish_due(
        &self,
        py: Python<'_>,
        sources: &mut Sources,
        publishing: &mut Publishing<'_, '_, '_>,
        until_ns: i64,
        max_ticks: usize,
    ) -> PyResult<(PumpStatus, i64)> {
        let core = &*self.core;
        let mut publisher = Publisher::begin(py, core)?;
        publisher.send_waiting(publishing)?;
        let mut items = 0u32;
        loop {
            // Relaxed: a stop takes effect soon, and orders nothing.
            if core.stop.load(Ordering::Relaxed) {
                return Ok((PumpStatus::Stopped, 0));
            }
            if !publishing.goes_on(publisher.writer.position()) {
                return Ok((PumpStatus::Held, publisher.working.waiting.len() as i64));
            }
            if publishing.published >= max_ticks {
                return Ok((PumpStatus::Full, publishing.published as i64));
            }
            items = items.wrapping_add(1);
            if items.is_multiple_of(256) {
                py.check_signals()?;
            }
            match sources.peek(py)? {
                Peek::Need(source) => return Ok((PumpStatus::Need, source as i64)),
                Peek::End => return Ok((PumpStatus::End, 0)),
                Peek::At(ts_init) if ts_init > until_ns => return Ok((PumpStatus::Until, ts_init)),
                Peek::At(_) => {}
            }
            // An item is numbered when some of it can be published: so bars close at the same position when the run is
            // repeated.
            if !publisher.has_room(publishing)? {
                continue;
            }
            sources.number_next(&mut publisher)?;
            publisher.send_numbered(publishing)?;
        }
    }
}
