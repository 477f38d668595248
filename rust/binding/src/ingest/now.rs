//! The time that a dispatch goes by.
//!
//! Guarantees: a replay never reads the wall clock.
//! Does not: move a clock.

use pyo3::prelude::*;

use crate::hot::python_call::call;

/// Where a dispatch gets its time from.
pub(crate) enum Now<'a, 'py> {
    /// A clock's bound method `now_ns`.
    Clock(&'a Bound<'py, PyAny>),
    /// The replay's time T.
    At(i64),
}

impl Now<'_, '_> {
    pub(crate) fn get(&self) -> PyResult<i64> {
        match self {
            Now::Clock(clock) => call(clock, ())?.extract(),
            Now::At(now_ns) => Ok(*now_ns),
        }
    }
}
