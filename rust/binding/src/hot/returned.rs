//! What a handler returned: None, an object that may be an awaitable, or an error.
//!
//! Guarantees: a generator, whose body never runs, is closed and becomes an error.
//! Does not: await, or judge an error.
#![allow(unsafe_code, reason = "results come from CPython as pointers")]

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::python_call::call_method;

/// What a handler returned.
pub(crate) enum Returned {
    /// None, as most do.
    Nothing,
    /// Another object, which may be an awaitable.
    Object(Py<PyAny>),
    /// It raised, or returned a generator, whose body never runs: the Python error is set.
    Error,
}

/// What a call returned that is not None: a new reference; null with the Python error set.
#[must_use]
pub(crate) struct Unusual(*mut ffi::PyObject);

impl Unusual {
    /// result : of a call, which owns it no more.
    #[inline(always)]
    pub(super) fn new(result: *mut ffi::PyObject) -> Self {
        Self(result)
    }

    /// What it is.
    #[cold]
    pub(crate) fn look(self, py: Python<'_>) -> Returned {
        if self.0.is_null() {
            return Returned::Error;
        }
        // SAFETY: attached; a new reference, owned by what is returned.
        let object = unsafe { Bound::from_owned_ptr(py, self.0) };
        if is_generator(&object) {
            generator_error(&object).restore(py);
            return Returned::Error;
        }
        Returned::Object(object.unbind())
    }
}

/// Whether an object can be awaited.
#[cold]
pub(crate) fn is_awaitable(py: Python<'_>, object: &Py<PyAny>) -> bool {
    let class = object.bind(py).get_type();
    class.hasattr(intern!(py, "__await__")).unwrap_or(false)
}

/// Whether a call returned a generator instead of running its body.
#[inline]
fn is_generator(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: attached; a live object.
    unsafe { ffi::PyGen_CheckExact(object.as_ptr()) != 0 || ffi::PyAsyncGen_CheckExact(object.as_ptr()) != 0 }
}

/// Closes a generator that a handler returned, and returns the error that this is.
#[cold]
fn generator_error(object: &Bound<'_, PyAny>) -> PyErr {
    let py = object.py();
    let refused = py
        .import("headrace.market.user_functions")
        .and_then(|module| call_method(module.as_any(), intern!(py, "refuse_generator"), (object,)));
    refused
        .err()
        .unwrap_or_else(|| PyTypeError::new_err("it returned a generator"))
}
