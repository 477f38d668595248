//! A route: the lane of a type of events, and its handlers.
//!
//! ```text
//!   route of a type ─┬▶ no handler chooses by key: all of them
//!                    └▶ key(event) ─▶ known keys ─▶ a narrowed route: the handlers of this key, in their order
//! ```
//! Guarantees: a handler's choice is called once for each key, not for each event; a route's handlers never change, a
//! subscription replaces the route.
//! Does not: deliver events.

use std::sync::Mutex;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::candle_tap::CandleKey;
use super::handler::BusHandler;
use crate::hot::python_call::call;
use crate::lock::lock;

/// Keys that one route remembers; then it begins anew. Keys are names that users choose, so their number has no bound.
const KEYS_KNOWN_MAX: usize = 65_536;

/// The lane of a type of events, its handlers, and how they are chosen.
#[pyclass(frozen, module = "headrace._native")]
pub(super) struct Route {
    pub(super) lane: usize,
    /// Keeps the type's address its own.
    pub(super) event_type: Py<PyAny>,
    pub(super) handlers: Vec<Py<BusHandler>>,
    /// Only its owner publishes this type.
    pub(super) is_owned: bool,
    /// `None`: every handler takes every event.
    pub(super) keys: Option<Keys>,
}

/// How the handlers of a route are chosen.
pub(super) struct Keys {
    /// Returns an event's key.
    of: Py<PyAny>,
    /// Key -> narrowed route.
    known: Py<PyDict>,
    /// Narrowed routes of the bars of candles.
    of_candles: Mutex<Vec<Option<Py<Route>>>>,
}

impl Keys {
    pub(super) fn new(py: Python<'_>, of: Py<PyAny>) -> Self {
        let known = PyDict::new(py).unbind();
        Self {
            of,
            known,
            of_candles: Mutex::default(),
        }
    }
}

impl Route {
    /// The narrowed route of the bar of a candle, where it is known.
    #[inline]
    pub(super) fn known_for(&self, py: Python<'_>, candle: CandleKey) -> Option<Py<Route>> {
        let known = lock(&self.keys.as_ref()?.of_candles);
        Some(known.get(candle.index())?.as_ref()?.clone_ref(py))
    }

    /// The route of an event's key; `None`: this one. Raises KeyboardInterrupt.
    #[inline]
    pub(super) fn narrowed(
        &self,
        py: Python<'_>,
        event: &Py<PyAny>,
        candle: Option<CandleKey>,
    ) -> PyResult<Option<Py<Route>>> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        if let Some(candle) = candle {
            let route = self.narrowed(py, event, None)?;
            let mut of_candles = lock(&keys.of_candles);
            let needed = of_candles.len().max(candle.index() + 1);
            of_candles.resize_with(needed, || None);
            of_candles[candle.index()] = route.as_ref().map(|route| route.clone_ref(py));
            return Ok(route);
        }
        let found = call(keys.of.bind(py), (event,)).and_then(|key| {
            let known = keys.known.bind(py);
            if let Some(route) = known.get_item(&key)? {
                return Ok(route.cast_into::<Route>()?.unbind());
            }
            let route = self.with(py, Some(&key))?;
            if known.len() >= KEYS_KNOWN_MAX {
                known.clear();
            }
            known.set_item(&key, &route)?;
            Ok(route)
        });
        match found {
            Err(error) if !error.is_instance_of::<PyKeyboardInterrupt>(py) => {
                // The event has no key or an unhashable one: it goes to the handlers of every key.
                error.write_unraisable(py, Some(event.bind(py)));
                self.with(py, None).map(Some)
            }
            found => found.map(Some),
        }
    }

    /// This route with the handlers that take a key; without one, with those that take every key.
    #[cold]
    fn with(&self, py: Python<'_>, key: Option<&Bound<'_, PyAny>>) -> PyResult<Py<Route>> {
        let mut handlers = Vec::new();
        for handler in &self.handlers {
            if handler.get().takes(py, key)? {
                handlers.push(handler.clone_ref(py));
            }
        }
        let narrowed = Route {
            lane: self.lane,
            event_type: self.event_type.clone_ref(py),
            handlers,
            is_owned: self.is_owned,
            keys: None,
        };
        Py::new(py, narrowed)
    }
}

#[pymethods]
impl Route {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_type)?;
        if let Some(keys) = &self.keys {
            visit.call(&keys.of)?;
            visit.call(&keys.known)?;
            // Locked: a call uses it, so it is alive.
            if let Ok(of_candles) = keys.of_candles.try_lock() {
                of_candles.iter().flatten().try_for_each(|route| visit.call(route))?;
            }
        }
        self.handlers.iter().try_for_each(|handler| visit.call(handler))
    }
}
