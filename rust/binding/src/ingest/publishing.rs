//! `Publishing`: how far one publish has come, and what it does when a reader holds the ring.
//!
//! Guarantees: an error says how many ticks are on the ring, were taken, and wait.
//! Does not: publish; that is `publisher`.

use std::time::{Duration, Instant};

use headrace_lockfree::ReaderId;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::intern;
use pyo3::prelude::*;

use super::now::Now;
use crate::errors::raise_with;
use crate::hot::python_call::call_method;

/// What a publish does when the ring is held by a reader that it cannot dispatch.
pub(crate) enum Patience<'a> {
    /// Waits for another thread; for a consumer of this thread that would be for ever, so it is an error.
    Wait,
    /// Gives up for now, and comes again: over all tries no longer than a reader may hold the ring.
    Return(&'a mut Holding),
    /// Publishes up to this position, as it was published before: a reader that holds it then had lost the gate there.
    UpTo(u64),
}

/// The reader that holds the ring, and since when; `None` once something was published.
#[derive(Default)]
pub(crate) struct Holding(Option<(ReaderId, Instant)>);

impl Holding {
    pub(super) fn elapsed(&mut self, holder: ReaderId) -> Duration {
        let (_, since) = *self
            .0
            .filter(|(held_by, _)| *held_by == holder)
            .get_or_insert_with(|| (holder, Instant::now()));
        self.0 = Some((holder, since));
        since.elapsed()
    }
}

/// One publish under way.
pub(crate) struct Publishing<'a, 'b, 'py> {
    /// Ticks on the ring so far, gaps included; `asked`: how many were to be published.
    pub(crate) published: usize,
    pub(super) asked: usize,
    /// Ticks of the piece under way that are on the ring.
    pub(super) sent: usize,
    /// Ticks of this publish that were numbered: they are on the ring, or wait.
    pub(super) taken: usize,
    pub(super) now: &'a Now<'b, 'py>,
    pub(super) patience: Patience<'a>,
    /// It gave up for now: what is not on the ring waits.
    pub(crate) gave_up: bool,
    /// Whether handlers or other threads ran meanwhile.
    pub(crate) ran_others: bool,
    /// What a strategy raised that was dispatched to make room: the publish goes on, so that it costs no tick.
    raised: Option<PyErr>,
    /// For `Patience::Wait`: the reader that holds the ring.
    pub(super) holding: Holding,
}

impl<'a, 'b, 'py> Publishing<'a, 'b, 'py> {
    pub(crate) fn new(asked: usize, now: &'a Now<'b, 'py>) -> Self {
        Self {
            published: 0,
            asked,
            sent: 0,
            taken: asked,
            now,
            patience: Patience::Wait,
            gave_up: false,
            ran_others: false,
            raised: None,
            holding: Holding::default(),
        }
    }

    pub(crate) fn with(mut self, patience: Patience<'a>) -> Self {
        self.patience = patience;
        self
    }

    /// Whether it may go on from this position.
    pub(crate) fn goes_on(&self, position: u64) -> bool {
        !self.gave_up && !matches!(self.patience, Patience::UpTo(last) if position >= last)
    }

    /// Keeps a strategy's error for the end; in a replay, and for the user's interrupt, the end is now.
    pub(super) fn keep(&mut self, py: Python<'_>, error: PyErr, replay: bool) -> PyResult<()> {
        if replay || error.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(error);
        }
        self.raised.get_or_insert(error);
        Ok(())
    }

    /// Adds to a publish error what became of the ticks that are not on the ring.
    pub(crate) fn say_waiting(&self, py: Python<'_>, error: PyErr, waiting: usize) -> PyErr {
        let value = error.value(py);
        if value.hasattr("published").unwrap_or(false) {
            let said = || -> PyResult<()> {
                value.setattr("taken", self.taken)?;
                value.setattr("waiting", waiting)?;
                let what = if self.taken == 0 {
                    "nothing of this publish was taken"
                } else {
                    "nothing was lost"
                };
                let note =
                    format!("{what}: {waiting} numbered ticks wait, and go onto the ring first with the next publish");
                call_method(value.as_any(), intern!(py, "add_note"), (note,)).map(drop)
            };
            if let Err(unexpected) = said() {
                unexpected.write_unraisable(py, None);
            }
        }
        error
    }

    pub(crate) fn end(self) -> PyResult<usize> {
        self.raised.map_or(Ok(self.published), Err)
    }
}

/// The error for a publish from inside a handler that could have to wait for that handler.
pub(crate) fn reentrant(py: Python<'_>, asked: u64) -> PyErr {
    let message = "the ring has no room for this publish, and it comes from inside a handler that the ring would have to \
                   wait for: publish less, publish after the handler returns, or make the ring larger";
    raise_with(
        py,
        "ReentrantPublishError",
        message,
        &[("published", 0), ("asked", asked)],
    )
}
