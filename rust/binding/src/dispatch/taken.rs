//! `Taken`: the state of a group, moved out for one dispatching call.
//!
//! Guarantees: one call at a time has it; it comes back when it is dropped, also by a panic.
//! Does not: hold a lock meanwhile.

use std::ops::{Deref, DerefMut};

use pyo3::prelude::*;

use super::group::Group;
use super::group_state::GroupState;
use crate::lock::lock;

/// What a dispatching call has taken from its group.
pub(super) struct Taken<'a> {
    py: Python<'a>,
    /// Where it goes back to; `None`: nowhere, it ends here, and with it its reader.
    pub(super) group: Option<&'a Group>,
    state: Option<Box<GroupState>>,
}

impl Deref for Taken<'_> {
    type Target = GroupState;

    fn deref(&self) -> &GroupState {
        self.state.as_ref().expect("taken only in drop")
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut GroupState {
        self.state.as_mut().expect("taken only in drop")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            group.running.end();
            if let Some(state) = &mut self.state {
                // After a panic: the log holds no open line for a call that is over.
                group.close_entry(state, false);
            }
            *lock(&group.state) = self.state.take();
            // Not from a panic: one that comes meanwhile would end the process.
            if !std::thread::panicking() {
                group.end_if_closed(self.py);
            }
        }
    }
}

impl Group {
    /// Takes what a dispatching call works with; it comes back when it is dropped, also by a panic. `None`: another
    /// call has it.
    pub(super) fn take<'a>(&'a self, py: Python<'a>) -> Option<Taken<'a>> {
        let state = lock(&self.state).take()?;
        Some(Taken {
            py,
            group: Some(self),
            state: Some(state),
        })
    }
}
