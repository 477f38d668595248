//! Faults: a handler raised.
//!
//! Guarantees: a failing call is counted, dead-lettered and judged by its own subscription's rule, and no other
//! subscription notices.
//! Does not: name the rules; Python's hook does.

use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::intern;
use pyo3::prelude::*;

use super::about::{About, LETTER_TICKS_MAX};
use super::delivery::Delivery;
use super::subscription::state;
use crate::hot::columns::tick_array;
use crate::hot::python_call::call_method;

/// The ticks of a call: instrument, kind, the first ticks, their positions, and how many there are.
pub(super) type Letter = (Option<Py<PyAny>>, Option<Py<PyAny>>, Py<PyAny>, Vec<u64>, usize);

impl Delivery {
    /// The ticks of a call, by name, as a dead letter keeps them.
    pub(super) fn letter_of(&self, py: Python<'_>, about: About<'_>) -> PyResult<Letter> {
        let count = about.ticks.len().min(LETTER_TICKS_MAX);
        let ticks = tick_array(py, &about.ticks[..count])?;
        let positions = (0..count).map(|index| about.positions.of(index)).collect();
        let first = about.ticks.first();
        let kind = first.map(|tick| self.names.kind(tick.kind).clone_ref(py));
        let instrument = first.map(|tick| self.names.of(tick.instrument).instrument.clone_ref(py));
        let instrument = instrument.map(Py::into_any);
        Ok((instrument, kind.map(Py::into_any), ticks, positions, about.count))
    }

    /// A handler raised: counts it, keeps it as a dead letter, and applies its subscription's rule.
    #[cold]
    pub(crate) fn fault(&mut self, py: Python<'_>, member: usize, handler: u16, error: PyErr, about: About<'_>) {
        let letter = self.letter_of(py, about);
        self.judge(py, member, handler, error, letter);
    }

    /// As `fault`, with the ticks of the call as they were kept.
    pub(super) fn judge(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: u16,
        error: PyErr,
        letter: PyResult<Letter>,
    ) {
        if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            // The user's, not the handler's: without a SIGINT handler of ours it arrives inside whatever runs.
            self.raised.get_or_insert(error);
            return;
        }
        let this = &self.members[member];
        this.shared.faults.add(1);
        let judged = || -> PyResult<Bound<'_, PyAny>> {
            let name = this
                .handlers
                .get(usize::from(handler))
                .map_or("", |handler| handler.name.as_str());
            let arguments = (
                this.shared.name.as_str(),
                name,
                error.clone_ref(py).into_value(py),
                letter?,
            );
            call_method(self.hooks.bind(py), intern!(py, "_on_fault"), arguments)
        };
        match judged() {
            Ok(verdict) if verdict.is_none() => {}
            Ok(verdict) => match verdict.cast::<PyException>() {
                Ok(raise) => {
                    let raise = PyErr::from_value(raise.clone().into_any());
                    self.raised.get_or_insert(raise);
                }
                Err(_) => self.quarantine(member),
            },
            Err(interrupt) if interrupt.is_instance_of::<PyKeyboardInterrupt>(py) => {
                self.raised.get_or_insert(interrupt);
            }
            Err(unexpected) => {
                // The judge itself failed (out of memory, most likely): the safe verdict, and the reason on stderr.
                unexpected.write_unraisable(py, None);
                self.quarantine(member);
            }
        }
    }

    pub(crate) fn quarantine(&mut self, member: usize) {
        let this = &mut self.members[member];
        this.shared.change_state(
            &[
                state::RUNNING,
                state::NARROWED,
                state::PAUSED,
                state::RESUMING,
                state::DOZING,
            ],
            state::QUARANTINED,
        );
        this.skip_held();
        self.has_quarantined = true;
    }
}
