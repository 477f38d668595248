//! The replay driver: merges sources by receive time, and resolves each time T before it begins T + 1.
//!
//! ```text
//!   blocks ─▶ Merge ─▶ items of T ─▶ decode · number · publish ─▶ dispatch until idle ─▶ T + 1
//! ```
//! Guarantees: the order of items, and with it every number and hash, depends on the sources alone.
//! Does not: read files (Python hands over blocks) or sleep (it returns, and is called again).

use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock::lock;
use headrace_core::decode::{Outcome, RejectReason};
use headrace_core::error::MergeError;
use headrace_core::merge::{Block, Merge, Payload, Peek, Step};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::clock::ReplayTime;
use crate::decoder::Decoder;
use crate::errors::{internal, raise, refuse_after_fork};
use crate::hot::columns::ticks_of;
use crate::ingest::{Arrival, Ingest, IngestCore, Now, this_thread};
use crate::sequencer::refuse_unknown;
use crate::tally::{Reject, RejectTuple, Tally};

struct Source {
    name: String,
    decoder: Option<Py<Decoder>>,
    /// Frames accepted from it.
    accepted: u64,
}

#[derive(Default)]
struct Driver {
    sources: Vec<Source>,
    merge: Option<Merge>,
    tally: Tally,
    first_ts: Option<i64>,
    last_ts: Option<i64>,
    items: u64,
    /// Published at T, not yet dispatched.
    open: Option<i64>,
}

/// Drives a replay over blocks that Python hands over; its clock is moved to each T before anything of T happens.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct Replay {
    core: Arc<IngestCore>,
    time: Py<ReplayTime>,
    driver: Mutex<Driver>,
}

impl Replay {
    fn driver(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Driver>> {
        refuse_after_fork(py)?;
        self.driver.try_lock().map_err(|_| {
            raise(
                py,
                "ReentrantDispatchError",
                "this replay is running already: one call at a time drives it",
                &[],
            )
        })
    }
}

#[pymethods]
impl Replay {
    #[new]
    fn new(py: Python<'_>, ingest: &Ingest) -> PyResult<Self> {
        let time = ingest
            .time
            .as_ref()
            .filter(|_| ingest.core.replay)
            .ok_or_else(|| internal("a replay over the ingest of a live dispatcher"))?;
        Ok(Self {
            core: Arc::clone(&ingest.core),
            time: time.clone_ref(py),
            driver: Mutex::new(Driver::default()),
        })
    }

    /// Adds a source and returns its index; without a decoder it hands over arrays of ticks.
    #[pyo3(signature = (name, decoder=None))]
    fn add_source(&self, py: Python<'_>, name: String, decoder: Option<Py<Decoder>>) -> PyResult<usize> {
        let mut driver = self.driver(py)?;
        if driver.merge.is_some() {
            return Err(internal("a source was added after the replay began"));
        }
        driver.sources.push(Source {
            name,
            decoder,
            accepted: 0,
        });
        Ok(driver.sources.len() - 1)
    }

    /// Hands over the block that ``run`` asked for: bytes of whole recorded lines, or an array of TICK_DTYPE.
    fn push(&self, py: Python<'_>, source: usize, block: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = match block.cast::<PyBytes>() {
            Ok(bytes) => Block::Lines(bytes.as_bytes().to_vec()),
            Err(_) => Block::Ticks(ticks_of(py, block)?.to_vec()),
        };
        self.driver(py)?.merge().give(source, block);
        Ok(())
    }

    /// Says that the source that ``run`` asked for has no more blocks.
    fn finish(&self, py: Python<'_>, source: usize) -> PyResult<()> {
        self.driver(py)?.merge().end(source);
        Ok(())
    }

    /// Goes on as far as it can, and not beyond ``until_ns``.
    ///
    /// Returns ``(status, argument)``: ("need", source), ("until", next ts_init), ("async", 0), ("stopped", 0), ("end", 0).
    /// Raises SourceOrderError, and what a strategy under ``on_fault="raise"`` raised.
    fn run(&self, py: Python<'_>, until_ns: i64) -> PyResult<(&'static str, i64)> {
        for group in self.core.inline_groups() {
            group.set_thread(this_thread());
        }
        // Moved out, so that no lock is held while handlers run.
        let mut driver = {
            let mut guard = self.driver(py)?;
            guard.merge();
            std::mem::take(&mut *guard)
        };
        let result = driver.run(py, &self.core, self.time.get(), until_ns);
        *lock(&self.driver) = driver;
        result
    }

    /// Frames so far, and ``{"first_ts", "last_ts", "items", "accepted"}``; accepted frames by source.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let driver = self.driver(py)?;
        let dict = PyDict::new(py);
        driver.tally.write_to(py, &dict)?;
        dict.set_item("first_ts", driver.first_ts)?;
        dict.set_item("last_ts", driver.last_ts)?;
        dict.set_item("items", driver.items)?;
        let accepted: Vec<u64> = driver.sources.iter().map(|source| source.accepted).collect();
        dict.set_item("accepted", accepted)?;
        Ok(dict)
    }

    /// The rejected frames kept since the last call: (source, row, reason, ts_init, frame).
    fn take_rejects(&self, py: Python<'_>) -> PyResult<Vec<RejectTuple>> {
        Ok(self.driver(py)?.tally.take_rejects())
    }
}

impl Driver {
    fn merge(&mut self) -> &mut Merge {
        let sources = self.sources.len();
        self.merge.get_or_insert_with(|| Merge::new(sources))
    }

    fn went_back(&self, py: Python<'_>, error: MergeError) -> PyErr {
        let MergeError::WentBack {
            source_index,
            row,
            ts_init,
            previous,
        } = error;
        let message = format!(
            "{}, row {row}: receive time {ts_init} lies before {previous} of the row above: sort the source by receive time",
            self.sources[source_index].name
        );
        raise(py, "SourceOrderError", message, &[("row", row)])
    }

    /// T is over: everybody gets what was published at it.
    fn resolve(&mut self, py: Python<'_>, core: &IngestCore) -> PyResult<()> {
        if let Some(now_ns) = self.open.take() {
            core.dispatch_inline(py, &Now::At(now_ns))?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        py: Python<'_>,
        core: &IngestCore,
        time: &ReplayTime,
        until_ns: i64,
    ) -> PyResult<(&'static str, i64)> {
        let mut calls = 0u32;
        loop {
            // Relaxed: a stop takes effect soon, and orders nothing.
            if core.stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Ok(("stopped", 0));
            }
            calls = calls.wrapping_add(1);
            if calls.is_multiple_of(256) {
                py.check_signals()?;
            }
            let next = match self.merge().peek_ts() {
                Ok(next) => next,
                Err(error) => {
                    self.resolve(py, core)?;
                    return Err(self.went_back(py, error));
                }
            };
            let ts_init = match next {
                Peek::Need(source) => return Ok(("need", source as i64)),
                Peek::End => {
                    self.resolve(py, core)?;
                    return Ok(if core.has_consumers_behind() {
                        ("async", 0)
                    } else {
                        ("end", 0)
                    });
                }
                Peek::At(ts_init) => ts_init,
            };
            if self.open.is_some_and(|open| open < ts_init) {
                self.resolve(py, core)?;
            }
            if self.open.is_none() && core.has_consumers_behind() {
                return Ok(("async", 0));
            }
            if ts_init > until_ns {
                return Ok(("until", ts_init));
            }
            time.move_to(ts_init);
            self.item(py, core, ts_init)?;
        }
    }

    /// Decodes, numbers and publishes the next item.
    fn item(&mut self, py: Python<'_>, core: &IngestCore, ts_init: i64) -> PyResult<()> {
        let (mut working, mut writer) = core.begin(py)?;
        let Self {
            sources, merge, tally, ..
        } = self;
        let merge = merge.as_mut().ok_or_else(|| internal("a replay without sources"))?;
        let item = match merge.next() {
            Ok(Step::Item(item)) => item,
            Ok(Step::Need(_) | Step::End) | Err(_) => return Err(internal("an item that was announced did not come")),
        };
        let source = &mut sources[item.source];
        let accepted_before = tally.accepted();
        working.incoming.clear();
        match (item.payload, &source.decoder) {
            (Payload::Frame(frame), Some(decoder)) => {
                let arrival = Arrival {
                    decoder: decoder.get(),
                    frame,
                    ts_init: item.ts_init,
                    source: &source.name,
                    row: item.row,
                };
                let outcome = core.decode(&arrival, &mut working);
                arrival.count(outcome, tally);
            }
            (Payload::BadLine(line) | Payload::Frame(line), _) => {
                tally.count(Outcome::Rejected(RejectReason::BadLine), |reason| Reject {
                    source: source.name.clone(),
                    row: item.row,
                    reason,
                    ts_init: item.ts_init,
                    frame: line.to_vec(),
                });
            }
            (Payload::Ticks(ticks), _) => {
                let known = lock(&core.instruments).rows().len();
                refuse_unknown(py, ticks, &working.kinds, known)?;
                working.incoming.extend_from_slice(ticks);
            }
        }
        source.accepted += tally.accepted() - accepted_before;
        let bad_line = matches!(item.payload, Payload::BadLine(_));
        self.items += 1;
        if !bad_line {
            self.first_ts.get_or_insert(ts_init);
            self.last_ts = Some(ts_init);
        }
        self.open = Some(ts_init);
        core.sequence_and_send(py, &mut working, &mut writer, &Now::At(ts_init))?;
        Ok(())
    }
}
