//! Tables that the rest of the binding looks things up in: kinds, instruments, and their names as Python strings.
//!
//! Guarantees: rows are only added; a number, once given, never changes.
//! Does not: hold a lock while Python runs.

pub(crate) mod instruments;
pub(crate) mod kinds;
pub(crate) mod names;
