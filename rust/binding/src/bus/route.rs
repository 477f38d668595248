//! A route: the lane of a type of events, and its handlers.
//!
//! Guarantees: a route never changes; a subscription replaces it by another.
//! Does not: deliver events.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::handler::BusHandler;

/// The lane and the handlers of a type of events.
#[pyclass(frozen, module = "headrace._native")]
pub(super) struct Route {
    pub(super) lane: usize,
    /// Keeps the type's address its own.
    pub(super) event_type: Py<PyAny>,
    pub(super) handlers: Vec<Py<BusHandler>>,
}

#[pymethods]
impl Route {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_type)?;
        self.handlers.iter().try_for_each(|handler| visit.call(handler))
    }
}
