//! Repeating: a dispatch call of a live run, made again as the log has it.
//!
//! Guarantees: it reads below the logged bound, and goes as far as the logged call did.
//! Does not: compare what came of it; the caller does.

use pyo3::prelude::*;

use super::bounds::Bounds;
use super::delivery::Awaiting;
use super::group::Group;
use super::onward::Nothing;

/// A dispatch call as the log has it.
pub(crate) struct Logged {
    pub(crate) now_ns: i64,
    pub(crate) read: u64,
    pub(crate) to: u64,
    pub(crate) one_step: bool,
    pub(crate) caught_up: bool,
    pub(crate) is_cut: bool,
    pub(crate) reads_on: bool,
}

/// What came of it when it was repeated.
pub(crate) struct Repeated {
    pub(crate) position: u64,
    pub(crate) lost: u64,
    pub(crate) calls: u64,
    pub(super) awaiting: Awaiting,
}

impl Group {
    /// Repeats a logged call, and returns what came of it.
    pub(crate) fn repeat(&self, py: Python<'_>, call: &Logged) -> Option<PyResult<Repeated>> {
        let mut state = self.take(py)?;
        let bounds = Bounds {
            one_step: call.one_step,
            until_position: if call.caught_up { u64::MAX } else { call.to },
            is_cut: call.is_cut,
            reads_on: call.reads_on,
            ..Bounds::NONE
        };
        let calls = state.count_calls();
        state.delivery.now_ns = call.now_ns;
        state.read_below(call.read);
        let result = self.run(py, &mut state, bounds, &mut Nothing);
        let repeated = Repeated {
            position: state.position(),
            lost: state.view.lost,
            calls: state.count_calls().wrapping_sub(calls),
            awaiting: std::mem::take(&mut state.delivery.awaiting),
        };
        state.read_below(u64::MAX);
        Some(self.end(&mut state, result, repeated))
    }
}
