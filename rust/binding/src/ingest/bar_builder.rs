//! `BarBuilder`: the bars of what a dispatcher publishes, in Python.
//!
//! Guarantees: one builder at a time for each dispatcher.
//! Does not: read the clock, or publish bars: the engine takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headrace_core::bars::{Bar, BarPrice, BarSpec, Bars, Counts, Timeframe};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::bars::BarsCore;
use super::ingest::Ingest;
use super::ingest_core::IngestCore;
use crate::clock::NEVER;
use crate::errors::{internal, is_forked, raise, raise_about, refuse_after_fork};
use crate::lock::lock;

/// spec, instrument, (open, high, low, close, volume), (count, late, partial), (ts_open, ts_close), (first, last, ts_init)
type BarTuple<'py> = (
    u32,
    Bound<'py, PyString>,
    (f64, f64, f64, f64, f64),
    (u64, u64, bool),
    (i64, i64),
    (u64, u64, i64),
);

/// The bars of one dispatcher; there is one builder for each.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct BarBuilder {
    ingest: Arc<IngestCore>,
    closed: AtomicBool,
}

impl BarBuilder {
    /// The bars, as long as they are this builder's.
    fn bars(&self, py: Python<'_>) -> PyResult<&BarsCore> {
        refuse_after_fork(py)?;
        // Acquire: pairs with `end`.
        if self.closed.load(Ordering::Acquire) {
            let message = "these bars are closed: make another Bars of the dispatcher";
            return Err(raise(py, "ClosedError", message));
        }
        Ok(&self.ingest.bars)
    }

    fn end(&self) {
        // AcqRel: only the first one ends them, because by the next they may be another builder's.
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.ingest.bars.with(|bars| *bars = Bars::default());
            // Release: pairs with the swap in `new`.
            self.ingest.bars.owned.store(false, Ordering::Release);
        }
    }

    fn tuples<'py>(&self, py: Python<'py>, bars: &[Bar]) -> Vec<BarTuple<'py>> {
        let names: Vec<String> = {
            let table = lock(&self.ingest.instruments);
            let name = |bar: &Bar| {
                table
                    .get(bar.instrument)
                    .map_or_else(String::new, |row| row.name.clone())
            };
            bars.iter().map(name).collect()
        };
        bars.iter()
            .zip(&names)
            .map(|(bar, name)| {
                (
                    bar.spec,
                    PyString::intern(py, name),
                    (bar.open, bar.high, bar.low, bar.close, bar.volume),
                    (bar.count, bar.late, bar.partial),
                    (bar.ts_open, bar.ts_close),
                    (bar.seq.0, bar.seq.1, bar.ts_init),
                )
            })
            .collect()
    }
}

impl Drop for BarBuilder {
    fn drop(&mut self) {
        // In the child of a fork a lock may be held for ever by a thread that is not there.
        if !is_forked() {
            self.end();
        }
    }
}

#[pymethods]
impl BarBuilder {
    #[new]
    fn new(py: Python<'_>, ingest: &Ingest) -> PyResult<Self> {
        refuse_after_fork(py)?;
        // AcqRel: pairs with the Release store in `end`.
        if ingest.core.bars.owned.swap(true, Ordering::AcqRel) {
            let message = "this dispatcher makes bars already: add your spec to them with bars.add(...), or close them \
                           first";
            return Err(raise_about(py, "OptionError", message, ("option", "dispatcher")));
        }
        Ok(Self {
            ingest: Arc::clone(&ingest.core),
            closed: AtomicBool::new(false),
        })
    }

    /// Adds a spec and returns its number.
    ///
    /// wanted : patterns of instruments, each with whether it has empty bars. timeframe : ("ns" or "ticks", how many).
    fn add(
        &self,
        py: Python<'_>,
        wanted: Vec<(String, bool)>,
        timeframe: (&str, i64),
        price: &str,
        by_event: bool,
    ) -> PyResult<u32> {
        let core = self.bars(py)?;
        let price = BarPrice::from_name(price).ok_or_else(|| internal("a bar of an unknown price"))?;
        let timeframe = match (timeframe, u64::try_from(timeframe.1)) {
            (("ns", length), _) if length > 0 => Timeframe::Time(length),
            (("ticks", _), Ok(ticks)) if ticks > 0 => Timeframe::Ticks(ticks),
            _ => return Err(internal("a bar of no length")),
        };
        let spec = BarSpec {
            wanted,
            timeframe,
            price,
            by_event,
        };
        let table = lock(&self.ingest.instruments);
        Ok(core.with(|bars| bars.add(spec, &table)))
    }

    /// Sets anew which instruments have the bars of a spec; without any, the spec is dropped. False: no spec has this
    /// number.
    fn change(&self, py: Python<'_>, spec: u32, wanted: Vec<(String, bool)>) -> PyResult<bool> {
        let core = self.bars(py)?;
        let table = lock(&self.ingest.instruments);
        Ok(core.with(|bars| bars.change(spec, wanted, &table)))
    }

    /// When the next bar of time is due, ns; None: none runs.
    #[getter]
    fn due_ns(&self) -> Option<i64> {
        Some(self.ingest.bars.due_ns()).filter(|due_ns| *due_ns != NEVER)
    }

    /// Whether ``take`` would return a bar.
    #[getter]
    fn has_closed(&self) -> bool {
        self.ingest.bars.has_closed()
    }

    /// When the first bar was due that ``take(position)`` would return; None: it would return none.
    fn closed_ns(&self, position: u64) -> Option<i64> {
        Some(self.ingest.bars.closed_ns(position)).filter(|closed_ns| *closed_ns != NEVER)
    }

    /// The bars that ticks closed, in the order in which they closed: those that a reader at ``position`` may have
    /// (None: all), and that were due by ``by_ns``.
    #[pyo3(signature = (position=None, by_ns=None))]
    fn take<'py>(&self, py: Python<'py>, position: Option<u64>, by_ns: Option<i64>) -> PyResult<Vec<BarTuple<'py>>> {
        let (position, by_ns) = (position.unwrap_or(u64::MAX), by_ns.unwrap_or(i64::MAX));
        let closed = self.bars(py)?.with(|bars| bars.take(position, by_ns));
        Ok(self.tuples(py, &closed))
    }

    /// Closes what is due by ``now_ns`` and returns it by (due, spec, instrument).
    fn close_due<'py>(&self, py: Python<'py>, now_ns: i64) -> PyResult<Vec<BarTuple<'py>>> {
        let closed = self.bars(py)?.with(|bars| bars.close_due(now_ns));
        Ok(self.tuples(py, &closed))
    }

    /// What became of the ticks, by number of the spec.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        let every = self.bars(py)?.with(|bars| bars.counts());
        for (spec, counts) in every {
            let Counts {
                ticks,
                late,
                duplicates,
                untimed,
                unpriced,
                bars,
                empty,
            } = counts;
            let dict = PyDict::new(py);
            for (name, value) in [
                ("ticks", ticks),
                ("late", late),
                ("duplicates", duplicates),
                ("untimed", untimed),
                ("unpriced", unpriced),
                ("bars", bars),
                ("empty", empty),
            ] {
                dict.set_item(name, value)?;
            }
            all.set_item(spec, dict)?;
        }
        Ok(all)
    }

    /// Drops every spec; another builder may follow. May be called twice.
    fn close(&self) {
        self.end();
    }
}
