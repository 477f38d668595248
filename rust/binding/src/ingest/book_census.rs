//! `BookCensus`: the books of a recording, compared with its quotes in one native pass.
//!
//! Guarantees: the core's books, as strategies get them.
//! Does not: read files; a strategy hands its batches on.

use std::sync::{Arc, Mutex};

use headrace_core::market::book;
use headrace_core::market::instrument::{ChainRule, InstrumentTable};
use pyo3::prelude::*;

use crate::hot::columns::ticks_of;
use crate::lock::lock;
use crate::tables::instruments::Instruments;

/// Compares the books of the ticks that it is given with quotes of equal ids.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct BookCensus {
    census: Mutex<book::BookCensus>,
    instruments: Arc<Mutex<InstrumentTable>>,
}

/// Instrument, equal and unequal comparisons, resyncs, and from when to when it was not LIVE.
type CountTuple = (String, u64, u64, u64, Vec<(i64, i64)>);

#[pymethods]
impl BookCensus {
    #[new]
    fn new(instruments: &Instruments) -> Self {
        Self {
            census: Mutex::default(),
            instruments: Arc::clone(&instruments.table),
        }
    }

    /// Passes ticks to their books, in their order.
    ///
    /// ticks : shape (n,), dtype TICK_DTYPE.
    fn take(&self, py: Python<'_>, ticks: &Bound<'_, PyAny>) -> PyResult<()> {
        let ticks = ticks_of(py, ticks)?;
        let (mut census, table) = (lock(&self.census), lock(&self.instruments));
        for tick in ticks {
            let chain = table
                .get(tick.instrument)
                .map_or(ChainRule::FirstFollowsLast, |row| row.chain);
            census.take(tick, chain);
        }
        Ok(())
    }

    /// What was counted: (instrument, equal, unequal, resyncs, intervals in which it was not LIVE).
    ///
    /// last_ns : the end of an interval that is open.
    fn counts(&self, last_ns: i64) -> Vec<CountTuple> {
        let (census, table) = (lock(&self.census), lock(&self.instruments));
        let counts = census.counts().map(|count| {
            let name = table
                .get(count.instrument)
                .map_or(String::new(), |row| row.name.clone());
            let (equal, unequal) = (count.check.equal, count.check.unequal);
            (name, equal, unequal, count.book.resyncs(), count.not_live(last_ns))
        });
        counts.collect()
    }
}
