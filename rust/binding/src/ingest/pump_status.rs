//! `PumpStatus`: why a pump returned, as a member of the Python enum `headrace._native.PumpStatus`.
//!
//! Guarantees: the enum is made once, with the module; returning a member costs one reference.
//! Does not: carry the argument that some statuses come with; the pump's methods say what it is.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::errors::internal;

/// Why a pump returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PumpStatus {
    /// A source has no block left: its next one, or its end, comes first.
    Need,
    /// The next item was received after the time that was given.
    Until,
    /// A reader holds the ring: the rest waits.
    Held,
    /// As many ticks as allowed were published; or there was no room even to take a frame.
    Full,
    /// The frame was rejected.
    Rejected,
    /// The position that was given is reached.
    Reached,
    /// Replay: a time is resolved, and the bus has work or bars closed.
    Drain,
    /// Replay: something other than a tick is due.
    Alarm,
    /// Replay: tasks that await handlers are behind.
    Async,
    /// The dispatcher was stopped.
    Stopped,
    /// Every source has ended.
    End,
}

static MEMBERS: PyOnceLock<[Py<PyAny>; PumpStatus::TABLE.len()]> = PyOnceLock::new();

impl PumpStatus {
    /// Every status in order, with its name in Python; its value there is its place, from 1 on.
    const TABLE: [(Self, &'static str); 11] = [
        (Self::Need, "NEED"),
        (Self::Until, "UNTIL"),
        (Self::Held, "HELD"),
        (Self::Full, "FULL"),
        (Self::Rejected, "REJECTED"),
        (Self::Reached, "REACHED"),
        (Self::Drain, "DRAIN"),
        (Self::Alarm, "ALARM"),
        (Self::Async, "ASYNC"),
        (Self::Stopped, "STOPPED"),
        (Self::End, "END"),
    ];

    /// Makes the enum and adds it to the module.
    pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let named_in = PyDict::new(py);
        named_in.set_item("module", module.name()?)?;
        let class = py
            .import("enum")?
            .getattr("IntEnum")?
            .call(("PumpStatus", Self::TABLE.map(|(_, name)| name)), Some(&named_in))?;
        class.setattr("__doc__", "Why a pump returned.")?;
        let mut members = Vec::with_capacity(Self::TABLE.len());
        for (_, name) in Self::TABLE {
            members.push(class.getattr(name)?.unbind());
        }
        let members = members.try_into().expect("one member for each row");
        MEMBERS
            .set(py, members)
            .map_err(|_| internal("the module was made twice"))?;
        module.add("PumpStatus", class)
    }
}

// A member is found by its number.
const _: () = {
    let mut row = 0;
    while row < PumpStatus::TABLE.len() {
        assert!(PumpStatus::TABLE[row].0 as usize == row);
        row += 1;
    }
};

impl<'py> IntoPyObject<'py> for PumpStatus {
    type Target = PyAny;
    type Output = Bound<'py, Self::Target>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let members = MEMBERS.get(py).expect("made with the module");
        Ok(members[self as usize].bind(py).clone())
    }
}
