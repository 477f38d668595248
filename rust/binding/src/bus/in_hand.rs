//! An event in hand: how far its delivery has come.
//!
//! Guarantees: the delivery can stop at any handler and go on there.
//! Does not: call handlers; that is `delivery`.

use headrace_core::lane::Outcome;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::candle_tap::CandleKey;
use super::handler::BusHandler;
use super::route::Route;

/// An event that is being delivered.
pub(super) struct InHand {
    pub(super) event: Py<PyAny>,
    pub(super) route: Py<Route>,
    pub(super) only: Option<Py<BusHandler>>,
    /// It is the bar of a candle that `CandleMerge` took.
    pub(super) candle: Option<CandleKey>,
    pub(super) lane: usize,
    /// 0: a gap, which is none of the lane's own.
    pub(super) number: u64,
    /// The next handler.
    pub(super) next: usize,
    /// How often that handler has failed on it.
    pub(super) failed: u32,
    /// Whether that handler's predicate returned true.
    pub(super) has_matched: bool,
    pub(super) is_dead: bool,
}

/// How far a delivery came.
pub(super) enum Step {
    Done,
    /// The next handler must be awaited, or what it returned.
    Held(Option<Py<PyAny>>),
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
            candle: None,
            lane,
            number,
            next: 0,
            failed: 0,
            has_matched: false,
            is_dead: false,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match (self.number, self.is_dead) {
            (0, _) => Outcome::Gap,
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
        self.has_matched = false;
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event)?;
        visit.call(&self.route)?;
        visit.call(&self.only)
    }
}
