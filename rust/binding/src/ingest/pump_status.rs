//! `PumpStatus`: why a pump returned, as a member of the Python enum `headrace._native.PumpStatus`.
//!
//! Guarantees: the enum is made once, with the module; returning a member costs one reference.
//! Does not: carry the argument that some statuses come with; the pump's methods say what it is.

use headrace_core::named_set;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::errors::internal;
use crate::hot::python_call::call_with;

named_set! {
    /// Why a pump returned.
    pub(crate) enum PumpStatus {
        /// A source has no block left: its next one, or its end, comes first.
        Need "NEED",
        /// The next item was received after the time that was given.
        Until "UNTIL",
        /// A reader holds the ring: the rest waits.
        Held "HELD",
        /// As many ticks as allowed were published; or there was no room even to take a frame.
        Full "FULL",
        /// The frame was rejected.
        Rejected "REJECTED",
        /// The position that was given is reached.
        Reached "REACHED",
        /// Replay: a time is resolved, and the bus has work or bars closed.
        Drain "DRAIN",
        /// Replay: something other than a tick is due.
        Alarm "ALARM",
        /// Replay: tasks that await handlers are behind.
        Async "ASYNC",
        /// Replay: it has run for as long as it may at once.
        Paused "PAUSED",
        /// The dispatcher was stopped.
        Stopped "STOPPED",
        /// Every source has ended.
        End "END",
    }
}

static MEMBERS: PyOnceLock<[Py<PyAny>; PumpStatus::ALL.len()]> = PyOnceLock::new();

impl PumpStatus {
    /// Makes the enum and adds it to the module.
    pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let named_in = PyDict::new(py);
        named_in.set_item("module", module.name()?)?;
        let class = py
            .import("enum")?
            .getattr("IntEnum")
            .and_then(|class| call_with(&class, ("PumpStatus", Self::ALL.map(Self::name)), Some(&named_in)))?;
        class.setattr("__doc__", "Why a pump returned.")?;
        let mut members = Vec::with_capacity(Self::ALL.len());
        for status in Self::ALL {
            members.push(class.getattr(status.name())?.unbind());
        }
        let members = members.try_into().expect("one member for each status");
        MEMBERS
            .set(py, members)
            .map_err(|_| internal("the module was made twice"))?;
        module.add("PumpStatus", class)
    }
}

impl<'py> IntoPyObject<'py> for PumpStatus {
    type Target = PyAny;
    type Output = Bound<'py, Self::Target>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let members = MEMBERS.get(py).expect("made with the module");
        Ok(members[self as usize].bind(py).clone())
    }
}
