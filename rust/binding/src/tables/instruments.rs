//! `Instruments`: the instrument table that a decoder, a sequencer and a dispatcher share.
//!
//! Guarantees: an id, once given, never changes.
//! Does not: remove instruments.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock::lock;
use headrace_core::fan_out::plan::matches_pattern;
use headrace_core::limits::{INSTRUMENTS_MAX, INSTRUMENTS_MAX_MAX};
use headrace_core::market::instrument::{Contract, InstrumentError, InstrumentTable};
use headrace_core::market::tick::Tick;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList};

use crate::errors::{raise, raise_with};
use crate::hot::columns::ticks_of;

/// The instruments known so far: ``SYMBOL.VENUE`` and a dense id by first appearance.
///
/// names : known from the start, with ids in this order.
/// discovery : whether frames may add instruments.
/// instruments_max : bound on their number.
/// Raises InstrumentError.
#[pyclass(frozen, module = "headrace")]
pub(crate) struct Instruments {
    pub(crate) table: Arc<Mutex<InstrumentTable>>,
}

pub(crate) fn refused(py: Python<'_>, error: &InstrumentError) -> PyErr {
    raise(py, "InstrumentError", error.to_string())
}

/// Refuses a bound whose tables would not fit in memory, where the allocator would end the process.
pub(crate) fn refuse_too_many(py: Python<'_>, instruments_max: usize) -> PyResult<()> {
    if instruments_max <= INSTRUMENTS_MAX_MAX {
        return Ok(());
    }
    let message = format!("instruments_max={instruments_max} is too high: give {INSTRUMENTS_MAX_MAX} at most");
    Err(raise(py, "InstrumentError", message))
}

impl Instruments {
    pub(crate) fn lock(&self) -> MutexGuard<'_, InstrumentTable> {
        lock(&self.table)
    }
}

#[pymethods]
impl Instruments {
    /// contracts : of the names, in their order: (whether it is inverse, size), or None for the venue's.
    #[new]
    #[pyo3(signature = (names=Vec::new(), *, contracts=Vec::new(), discovery=true, instruments_max=INSTRUMENTS_MAX))]
    fn new(
        py: Python<'_>,
        names: Vec<String>,
        contracts: Vec<Option<(bool, f64)>>,
        discovery: bool,
        instruments_max: usize,
    ) -> PyResult<Self> {
        refuse_too_many(py, instruments_max)?;
        let mut table = InstrumentTable::new(instruments_max, discovery);
        let contracts = contracts.into_iter().chain(std::iter::repeat(None));
        for (name, contract) in names.iter().zip(contracts) {
            let id = table.add(name).map_err(|error| refused(py, &error))?;
            if let Some((is_inverse, size)) = contract {
                table.set_contract(id, Contract { is_inverse, size });
            }
        }
        Ok(Self {
            table: Arc::new(Mutex::new(table)),
        })
    }

    /// The id of ``name``, added when it is new. Raises InstrumentError.
    fn add(&self, py: Python<'_>, name: &str) -> PyResult<u32> {
        let added = self.lock().add(name);
        added.map_err(|error| refused(py, &error))
    }

    /// The id of ``name``, or None.
    fn id(&self, name: &str) -> Option<u32> {
        self.lock().id(name)
    }

    /// The ``SYMBOL.VENUE`` with this id, or None.
    fn name(&self, instrument_id: u32) -> Option<String> {
        self.lock().get(instrument_id).map(|row| row.name.clone())
    }

    /// Every name, in order of its id.
    fn names(&self) -> Vec<String> {
        self.lock().rows().iter().map(|row| row.name.clone()).collect()
    }

    /// Bound on their number.
    #[getter]
    fn instruments_max(&self) -> usize {
        self.lock().instruments_max()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.names())?.try_iter()
    }

    fn __len__(&self) -> usize {
        self.lock().rows().len()
    }
}

/// Whether ``name`` is ``pattern``, in which ``*`` stands for any text and ``?`` for one character.
#[pyfunction]
#[pyo3(name = "matches_pattern")]
pub(crate) fn matches_pattern_py(pattern: &str, name: &str) -> bool {
    matches_pattern(pattern, name)
}

/// How many names the ids of an array have (``TickArray.instruments``); `None`: its ids are those of the table.
pub(crate) fn names_of(ticks: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let names = ticks.getattr_opt(intern!(ticks.py(), "instruments"))?;
    let count = names.map_or(Ok(0), |names| names.len())?;
    Ok((count > 0).then_some(count))
}

/// Refuses an array with a tick whose instrument id is beyond the array's names; without names it passes.
///
/// ticks : shape (n,), dtype TICK_DTYPE, C-contiguous. Raises ValueError, InstrumentError. O(n), and allocates nothing.
#[pyfunction]
pub(crate) fn refuse_unnamed(py: Python<'_>, ticks: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(names) = names_of(ticks)? else {
        return Ok(());
    };
    // NO_INSTRUMENT wraps to 0, so that one comparison serves it, too.
    let is_unnamed = |tick: &Tick| tick.instrument.wrapping_add(1) as usize > names;
    let all = ticks_of(py, ticks)?;
    let Some(row) = all.iter().position(is_unnamed) else {
        return Ok(());
    };
    let id = all[row].instrument;
    let named: Vec<String> = ticks.getattr(intern!(py, "instruments"))?.extract()?;
    let message = format!(
        "row {row}: instrument id {id} has no name, the array names {names}: {}",
        named.join(", ")
    );
    Err(raise_with(py, "InstrumentError", message, &[("row", row as u64)]))
}
