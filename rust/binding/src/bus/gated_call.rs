//! `GatedCall`: a strategy's callback as a handler of the bus: called while its gate is open, skipped otherwise.
//!
//! Guarantees: each event is counted once, as a call or as skipped; what the callback raises is shown to `failed` once,
//! and goes on.
//! Does not: open or close its gate: the strategy's life does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::hot::python_call::call;
use crate::hot::returned::Returned;
use crate::hot::vectorcall::Call;

/// One callback. function, receiver : what is called. ended : gets what it returned, if that is not None, and returns
/// what the bus gets. failed : gets what it raised.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct GatedCall {
    call: Call,
    ended: Py<PyAny>,
    failed: Py<PyAny>,
    open: AtomicBool,
    calls: AtomicU64,
    skipped: AtomicU64,
}

/// Counts one more.
fn count(counter: &AtomicU64) {
    // Relaxed, and no locked add: written under the interpreter's lock.
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl GatedCall {
    /// What `__call__` does, for native code.
    pub(super) fn call_with(&self, py: Python<'_>, event: &Py<PyAny>) -> Returned {
        // Relaxed: see `set_open`.
        if !self.open.load(Ordering::Relaxed) {
            count(&self.skipped);
            return Returned::Nothing;
        }
        count(&self.calls);
        let ended = match self.call.call_with(py, event) {
            Returned::Nothing => return Returned::Nothing,
            Returned::Object(object) => call(self.ended.bind(py), (object,)),
            Returned::Error => {
                let error = PyErr::fetch(py);
                call(self.failed.bind(py), (error.value(py),)).and(Err(error))
            }
        };
        match ended {
            Ok(ended) if ended.is_none() => Returned::Nothing,
            Ok(ended) => Returned::Object(ended.unbind()),
            Err(error) => {
                error.restore(py);
                Returned::Error
            }
        }
    }
}

#[pymethods]
impl GatedCall {
    #[new]
    #[pyo3(signature = (function, receiver, *, ended, failed))]
    fn new(function: Py<PyAny>, receiver: Option<Py<PyAny>>, ended: Py<PyAny>, failed: Py<PyAny>) -> Self {
        Self {
            call: Call::new(function, receiver, vec![0], None, 0),
            ended,
            failed,
            open: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    /// Opens or closes the gate.
    #[pyo3(signature = (is_open, /))]
    fn set_open(&self, is_open: bool) {
        // Relaxed: written and read under the interpreter's lock.
        self.open.store(is_open, Ordering::Relaxed);
    }

    /// How often it was called.
    #[getter]
    fn calls(&self) -> u64 {
        // Relaxed: see `count`.
        self.calls.load(Ordering::Relaxed)
    }

    /// How many events came while the gate was closed.
    #[getter]
    fn skipped(&self) -> u64 {
        // Relaxed: see `count`.
        self.skipped.load(Ordering::Relaxed)
    }

    #[pyo3(signature = (event, /))]
    fn __call__(&self, event: Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = event.py();
        match self.call_with(py, &event.unbind()) {
            Returned::Nothing => Ok(None),
            Returned::Object(object) => Ok(Some(object)),
            Returned::Error => Err(PyErr::fetch(py)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.ended)?;
        visit.call(&self.failed)?;
        self.call.traverse(&visit)
    }
}
