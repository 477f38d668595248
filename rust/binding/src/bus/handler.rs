//! A handler of the bus: what it calls, for which events, and how often when that raises.
//!
//! Guarantees: a plain handler is called as function + receiver, so that no call makes a bound method.
//! Does not: await anything; an async handler's or a consumer's event is handed to Python.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::candle_tap::SharedTap;
use super::gated_call::GatedCall;
use crate::errors::refuse_after_fork;
use crate::hot::python_call::call;
use crate::hot::returned::Returned;
use crate::hot::vectorcall::Call;

/// What a handler calls.
pub(super) enum Callee {
    Plain(Call),
    Gated(Py<GatedCall>),
}

impl Callee {
    fn new(py: Python<'_>, function: Py<PyAny>, receiver: Option<Py<PyAny>>) -> Self {
        match function.bind(py).cast::<GatedCall>() {
            Ok(gated) if receiver.is_none() => Self::Gated(gated.clone().unbind()),
            _ => Self::Plain(Call::new(function, receiver, vec![0], None, 0)),
        }
    }

    #[inline]
    pub(super) fn call_with(&self, py: Python<'_>, event: &Py<PyAny>) -> Returned {
        match self {
            Self::Plain(call) => call.call_with(py, event),
            Self::Gated(gated) => gated.get().call_with(py, event),
        }
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Plain(call) => call.traverse(visit),
            Self::Gated(gated) => visit.call(gated),
        }
    }
}

/// One subscriber of the bus.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct BusHandler {
    pub(super) name: Py<PyString>,
    /// `None`: the event is held until Python releases it.
    pub(super) callee: Option<Callee>,
    pub(super) predicate: Option<Py<PyAny>>,
    /// Returns whether this handler takes events of a key; `None`: it takes every key.
    takes_key: Option<Py<PyAny>>,
    /// The Python subscription that it belongs to.
    pub(super) owner: Py<PyAny>,
    /// How often an event is given to it, by lane.
    pub(super) attempts: Box<[u32]>,
    /// Takes the bars of candles in its place.
    tap: OnceLock<SharedTap>,
    open: AtomicBool,
    calls: AtomicU64,
    faults: AtomicU64,
}

impl BusHandler {
    /// Has something take the bars of candles in its place, from now on; the first one stays.
    pub(crate) fn set_tap(&self, tap: SharedTap) {
        let _ = self.tap.set(tap);
    }

    #[inline]
    pub(super) fn tap(&self) -> Option<&SharedTap> {
        self.tap.get()
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        // Relaxed: set and read under the interpreter's lock.
        self.open.load(Ordering::Relaxed)
    }

    /// Whether it takes events of a key; without a key, whether it takes events of every key. An exception of the choice
    /// counts as no. Raises KeyboardInterrupt.
    pub(super) fn takes(&self, py: Python<'_>, key: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let (Some(takes_key), Some(key)) = (&self.takes_key, key) else {
            return Ok(self.takes_key.is_none());
        };
        let chosen = call(takes_key.bind(py), (key,)).and_then(|chosen| chosen.is_truthy());
        match chosen {
            Err(error) if !error.is_instance_of::<PyKeyboardInterrupt>(py) => {
                error.write_unraisable(py, Some(takes_key.bind(py)));
                Ok(false)
            }
            chosen => chosen,
        }
    }

    #[inline]
    pub(super) fn count_call(&self) {
        // Relaxed, and no locked add: written under the interpreter's lock.
        self.calls
            .store(self.calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn count_fault(&self) {
        // Relaxed: as above.
        self.faults
            .store(self.faults.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

#[pymethods]
impl BusHandler {
    #[new]
    #[pyo3(signature = (name, owner, *, function, receiver, predicate, takes_key, attempts))]
    fn new(
        name: &Bound<'_, PyString>,
        owner: Py<PyAny>,
        function: Option<Py<PyAny>>,
        receiver: Option<Py<PyAny>>,
        predicate: Option<Py<PyAny>>,
        takes_key: Option<Py<PyAny>>,
        attempts: Vec<u32>,
    ) -> PyResult<Self> {
        refuse_after_fork(name.py())?;
        Ok(Self {
            name: name.clone().unbind(),
            callee: function.map(|function| Callee::new(name.py(), function, receiver)),
            predicate,
            takes_key,
            owner,
            attempts: attempts.into(),
            tap: OnceLock::new(),
            open: AtomicBool::new(true),
            calls: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        })
    }

    /// The Python subscription that it belongs to.
    #[getter]
    fn owner(&self, py: Python<'_>) -> Py<PyAny> {
        self.owner.clone_ref(py)
    }

    /// Takes no more events, from now on.
    fn close(&self) {
        // Relaxed: see `is_open`.
        self.open.store(false, Ordering::Relaxed);
    }

    /// (calls, faults) so far.
    fn counts(&self) -> (u64, u64) {
        // Relaxed: statistics.
        (self.calls.load(Ordering::Relaxed), self.faults.load(Ordering::Relaxed))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.predicate)?;
        visit.call(&self.takes_key)?;
        visit.call(&self.owner)?;
        self.callee.as_ref().map_or(Ok(()), |callee| callee.traverse(&visit))
    }
}
