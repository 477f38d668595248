//! The one door from native errors to Python's exception tree in `headrace.errors`.
//!
//! Guarantees: every native error becomes one class of that tree, with its facts as attributes.
//! Does not: format tracebacks, or import the tree before the first error.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::hot::python_call::call_with;

/// A fact that an exception carries.
pub(crate) type Fact<'a> = (&'a str, u64);

/// Makes an exception of the class named `class`.
pub(crate) fn raise(py: Python<'_>, class: &str, message: impl Into<String>) -> PyErr {
    raise_with(py, class, message, &[])
}

/// Makes an exception of the class named `class`, with `facts` as attributes.
pub(crate) fn raise_with(py: Python<'_>, class: &str, message: impl Into<String>, facts: &[Fact<'_>]) -> PyErr {
    let made = || -> PyResult<PyErr> {
        let attributes = PyDict::new(py);
        for (name, value) in facts {
            attributes.set_item(name, value)?;
        }
        let class = py.import("headrace.errors")?.getattr(class)?;
        Ok(PyErr::from_value(call_with(
            &class,
            (message.into(),),
            Some(&attributes),
        )?))
    };
    made().unwrap_or_else(|error| error)
}

/// Makes an exception whose one fact is a text.
pub(crate) fn raise_about(py: Python<'_>, class: &str, message: impl Into<String>, fact: (&str, &str)) -> PyErr {
    let error = raise(py, class, message);
    match error.value(py).setattr(fact.0, fact.1) {
        Ok(()) => error,
        Err(unexpected) => unexpected,
    }
}

// Set in the child by os.register_at_fork: threads, and with them every promise, did not come along.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Marks this process as the child of a fork.
#[pyfunction]
pub(crate) fn mark_forked() {
    // Relaxed: the child has one thread.
    FORKED.store(true, Ordering::Relaxed);
}

/// Whether this process is the child of a fork.
#[inline]
pub(crate) fn is_forked() -> bool {
    // Relaxed: see `mark_forked`.
    FORKED.load(Ordering::Relaxed)
}

/// An error when this process is the child of a fork.
#[inline]
pub(crate) fn refuse_after_fork(py: Python<'_>) -> PyResult<()> {
    if is_forked() {
        return Err(raise(
            py,
            "ForkedError",
            "this process was forked after headrace was imported, and the threads that serve it stayed in the parent: \
             start the process with multiprocessing's 'spawn', or import headrace in the child only",
        ));
    }
    Ok(())
}

/// An error for a state that only a bug of ours can reach.
pub(crate) fn internal(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "internal error of headrace: {what}; please report it with this text"
    ))
}
