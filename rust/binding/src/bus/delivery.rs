//! Delivery: one event to its handlers, in the order of their registration.
//!
//! ```text
//!   handler 0 ✓ ─▶ handler 1 raises: again, while it has attempts ─▶ dead letter ─▶ handler 2 is async: held …
//! ```
//! Guarantees: a handler's failure is its own; the event is dead when any handler failed for good, once.
//! Does not: choose the event; that is `headrace_core::lane`.

use std::sync::atomic::Ordering;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::intern;
use pyo3::prelude::*;

use super::bus::BusCore;
use super::in_hand::{InHand, Step};
use crate::hot::python_call::{call, call_method};
use crate::hot::returned::{Returned, is_awaitable};
use crate::lock::lock;

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
            // Relaxed: a watcher that reads the same number twice, far apart, names the handler; nothing else hangs on
            // it.
            let calls = self.calls.load(Ordering::Relaxed) + 1;
            self.calls.store(calls, Ordering::Relaxed);
            self.current
                .store(calls << 16 | (in_hand.next as u64 + 1), Ordering::Relaxed);
            if let Some(predicate) = &this.predicate
                && !in_hand.has_matched
            {
                match call(predicate.bind(py), (&in_hand.event,)).and_then(|said| said.is_truthy()) {
                    Ok(true) => in_hand.has_matched = true,
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
            if let (Some(key), Some(tap)) = (in_hand.candle, this.tap())
                && tap.take(py, key.stream())
            {
                this.count_call();
                in_hand.skip();
                continue;
            }
            let Some(callee) = &this.callee else {
                return Step::Held(None);
            };
            this.count_call();
            match callee.call_with(py, &in_hand.event) {
                Returned::Object(object) if is_awaitable(py, &object) => return Step::Held(Some(object)),
                Returned::Nothing | Returned::Object(_) => in_hand.skip(),
                Returned::Error => {
                    if let Err(interrupt) = self.fault(py, in_hand, PyErr::fetch(py)) {
                        return Step::Interrupted(interrupt);
                    }
                }
            }
        }
        Step::Done
    }

    /// Leaves out the handlers that take events of other keys.
    #[inline]
    fn narrow(&self, py: Python<'_>, in_hand: &mut InHand) -> PyResult<()> {
        let Some(route) = in_hand.route.get().narrowed(py, &in_hand.event, in_hand.candle)? else {
            return Ok(());
        };
        let running = Some((in_hand.event.clone_ref(py), route.clone_ref(py)));
        in_hand.route = route;
        // The guard ends with the statement; the previous value is dropped after it.
        let _before = std::mem::replace(&mut lock(&self.state).running, running);
        Ok(())
    }

    /// The next handler raised: it is called again while it has attempts; then the event becomes a dead letter.
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
        match call_method(self.hooks.bind(py), intern!(py, "_on_dead"), arguments) {
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
