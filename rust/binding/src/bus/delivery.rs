//! Delivery: one event to its handlers, in the order of their registration.
//!
//! ```text
//!   handler 0 ✓ ─▶ handler 1 raises: again, while it has attempts ─▶ dead letter ─▶ handler 2 is async: held …
//! ```
//! Guarantees: a handler's failure is its own; the event is dead when any handler failed for good, once.
//! Does not: choose the event; that is `headrace_core::lane`.

use std::sync::atomic::Ordering;

use headrace_core::lane::Outcome;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use super::route::Route;
use super::{BusCore, BusHandler};
use crate::lock::lock;

/// An event that is being delivered.
pub(super) struct InHand {
    pub(super) event: Py<PyAny>,
    pub(super) route: Py<Route>,
    pub(super) only: Option<Py<BusHandler>>,
    pub(super) lane: usize,
    /// 0: a gap, which is none of the lane's own.
    pub(super) number: u64,
    /// The handler whose turn it is.
    pub(super) next: usize,
    /// How often that handler has failed on it.
    pub(super) failed: u32,
    /// Whether that handler's predicate has said yes.
    is_wanted: bool,
    pub(super) is_dead: bool,
}

/// How far a delivery came.
pub(super) enum Step {
    Done,
    /// The handler whose turn it is must be awaited.
    Held,
    /// An interrupt of the user's; the delivery can go on.
    Interrupted(PyErr),
}

impl InHand {
    pub(super) fn new(
        event: Py<PyAny>,
        route: Py<Route>,
        only: Option<Py<BusHandler>>,
        lane: usize,
        number: u64,
    ) -> Self {
        Self {
            event,
            route,
            only,
            lane,
            number,
            next: 0,
            failed: 0,
            is_wanted: false,
            is_dead: false,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match (self.number, self.is_dead) {
            (0, _) => Outcome::Told,
            (_, true) => Outcome::Dead,
            (_, false) => Outcome::Processed,
        }
    }

    pub(super) fn handler(&self) -> &Py<BusHandler> {
        &self.route.get().handlers[self.next]
    }

    /// Whether every handler is done with it.
    pub(super) fn is_done(&self) -> bool {
        self.next >= self.route.get().handlers.len()
    }

    pub(super) fn skip(&mut self) {
        self.next += 1;
        self.failed = 0;
        self.is_wanted = false;
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event)?;
        visit.call(&self.route)?;
        visit.call(&self.only)
    }
}

impl BusCore {
    /// Gives the event to its handlers, until one must be awaited.
    #[inline]
    pub(super) fn deliver(&self, py: Python<'_>, in_hand: &mut InHand) -> Step {
        if let Err(interrupt) = self.narrow(py, in_hand) {
            return Step::Interrupted(interrupt);
        }
        let route = in_hand.route.clone_ref(py);
        let handlers = &route.get().handlers;
        while let Some(handler) = handlers.get(in_hand.next) {
            let this = handler.get();
            let is_meant = in_hand.only.as_ref().is_none_or(|only| only.is(handler));
            if !is_meant || !this.is_open() {
                in_hand.skip();
                continue;
            }
            // Relaxed: a watcher that reads the same number twice, far apart, names the handler; nothing else hangs on it.
            let calls = self.calls.load(Ordering::Relaxed) + 1;
            self.calls.store(calls, Ordering::Relaxed);
            self.current
                .store(calls << 16 | (in_hand.next as u64 + 1), Ordering::Relaxed);
            if let Some(predicate) = &this.predicate
                && !in_hand.is_wanted
            {
                match predicate
                    .bind(py)
                    .call1((&in_hand.event,))
                    .and_then(|said| said.is_truthy())
                {
                    Ok(true) => in_hand.is_wanted = true,
                    Ok(false) => {
                        in_hand.skip();
                        continue;
                    }
                    Err(error) => match self.fault(py, in_hand, error) {
                        Ok(()) => continue,
                        Err(interrupt) => return Step::Interrupted(interrupt),
                    },
                }
            }
            let Some(call) = &this.call else {
                return Step::Held;
            };
            this.count_call();
            if call.call_with(py, &in_hand.event) {
                in_hand.skip();
            } else if let Err(interrupt) = self.fault(py, in_hand, PyErr::fetch(py)) {
                return Step::Interrupted(interrupt);
            }
        }
        Step::Done
    }

    /// Leaves out the handlers that take events of other keys.
    #[inline]
    fn narrow(&self, py: Python<'_>, in_hand: &mut InHand) -> PyResult<()> {
        let Some(route) = in_hand.route.get().narrowed(py, &in_hand.event)? else {
            return Ok(());
        };
        let running = Some((in_hand.event.clone_ref(py), route.clone_ref(py)));
        in_hand.route = route;
        // The guard goes at the end of the statement, what was there before behind it.
        let _before = std::mem::replace(&mut lock(&self.state).running, running);
        Ok(())
    }

    /// The handler whose turn it is raised: it gets the event again while it has attempts, then there is a dead letter.
    #[cold]
    pub(super) fn fault(&self, py: Python<'_>, in_hand: &mut InHand, error: PyErr) -> PyResult<()> {
        if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            // The user's, not the handler's: it has been called, and is not called again.
            in_hand.skip();
            return Err(error);
        }
        let handler = in_hand.handler().clone_ref(py);
        let this = handler.get();
        this.count_fault();
        in_hand.failed += 1;
        let attempts = in_hand.failed;
        if attempts < this.attempts[in_hand.lane] && this.is_open() {
            // Relaxed, and no locked add: written under the interpreter's lock.
            self.retried
                .store(self.retried.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return Ok(());
        }
        in_hand.skip();
        in_hand.is_dead = true;
        let arguments = (
            &handler,
            in_hand.lane,
            in_hand.number,
            &in_hand.event,
            attempts,
            error.into_value(py),
        );
        match self.hooks.call_method1(py, intern!(py, "_on_dead"), arguments) {
            Err(interrupt) if interrupt.is_instance_of::<PyKeyboardInterrupt>(py) => Err(interrupt),
            Err(unexpected) => {
                // Who keeps the letters failed (out of memory, most likely): the count is right, the reason on stderr.
                unexpected.write_unraisable(py, None);
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}
