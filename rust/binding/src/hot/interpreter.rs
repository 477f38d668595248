//! Which interpreter of the process we are in.
//!
//! Guarantees: in a sub-interpreter the import raises, before anything of this module exists there.
//! Does not: count interpreters; PyO3's own check does not run for modules that are initialised in phases.
#![allow(unsafe_code, reason = "only C functions know the current interpreter")]

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Types, interned texts and locks of this module belong to the process, so one interpreter may use it: the main one.
pub(crate) fn refuse_sub_interpreter(_attached: Python<'_>) -> PyResult<()> {
    // SAFETY: attached, so there is a current interpreter; neither call keeps or returns a reference.
    if unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() } {
        return Ok(());
    }
    // CPython's own words, which it uses for isolated sub-interpreters; `headrace/__init__.py` says what to do.
    Err(PyImportError::new_err(
        "module headrace._native does not support loading in subinterpreters",
    ))
}
