//! A handler: one method of a strategy, the ticks that it takes, and the fields that it declares.
//!
//! Guarantees: every field is in the field table.
//! Does not: call anything; it compiles to a `Call`.

use headrace_core::market::field::Field;
use headrace_core::market::field_table::FieldRow;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::internal;
use crate::hot::vectorcall::{Call, Slots};
use crate::tables::kinds::fields;

/// Which ticks a handler is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `on_quote`: each tick of one kind.
    Singular(u8),
    /// `on_tick`: each tick.
    EveryTick,
    /// `on_quotes`: the ticks of one kind of a span.
    Plural(u8),
    /// `on_ticks`: all ticks of a span.
    AllTicks,
}

/// One handler, as Python described it.
pub(crate) struct Handler {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) function: Py<PyAny>,
    pub(crate) receiver: Option<Py<PyAny>>,
    /// In the order of the call: positional ones first.
    pub(crate) fields: Vec<Field>,
    pub(crate) keywords: Option<Py<PyTuple>>,
    pub(crate) by_keyword: usize,
}

impl Handler {
    /// Whether it takes the same fields of the same ticks.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.role == other.role && self.fields == other.fields
    }

    /// The handler as it is called, with the slot of each field.
    pub(crate) fn to_call(&self, py: Python<'_>, slots: Vec<u16>) -> Call {
        Call::new(
            self.function.clone_ref(py),
            self.receiver.as_ref().map(|receiver| receiver.clone_ref(py)),
            slots,
            self.keywords.as_ref().map(|keywords| keywords.clone_ref(py)),
            self.by_keyword,
        )
    }

    /// The same, with slots of its own: one per field, in their order.
    pub(crate) fn to_call_alone(&self, py: Python<'_>) -> Call {
        self.to_call(py, (0u16..).take(self.fields.len()).collect())
    }

    /// Slots of its own, and the call that takes its arguments from them.
    pub(super) fn compile_alone(&self, py: Python<'_>) -> (Slots, Call) {
        (Slots::new(&self.fields, false), self.to_call_alone(py))
    }
}

/// One handler: (name, role, kind, function, receiver or None, positional fields, keyword fields).
pub(super) type HandlerTuple = (
    String,
    String,
    u8,
    Py<PyAny>,
    Option<Py<PyAny>>,
    Vec<String>,
    Vec<String>,
);

fn handler(py: Python<'_>, described: HandlerTuple, rows: &[FieldRow]) -> PyResult<Handler> {
    let (name, role, kind, function, receiver, positional, by_keyword) = described;
    let role = match role.as_str() {
        "singular" => Role::Singular(kind),
        "tick" => Role::EveryTick,
        "plural" => Role::Plural(kind),
        "ticks" => Role::AllTicks,
        _ => return Err(internal("a handler of an unknown role")),
    };
    let fields: Option<Vec<Field>> = positional
        .iter()
        .chain(&by_keyword)
        .map(|name| rows.iter().find(|row| row.name == *name).map(|row| row.field))
        .collect();
    let fields = fields.ok_or_else(|| internal("a handler with an unknown field"))?;
    let keywords = if by_keyword.is_empty() {
        None
    } else {
        Some(PyTuple::new(py, &by_keyword)?.unbind())
    };
    Ok(Handler {
        name,
        role,
        function,
        receiver,
        fields,
        keywords,
        by_keyword: by_keyword.len(),
    })
}

pub(super) fn handlers_of(py: Python<'_>, described: Vec<HandlerTuple>) -> PyResult<Vec<Handler>> {
    let rows = fields();
    described
        .into_iter()
        .map(|described| handler(py, described, &rows))
        .collect()
}
