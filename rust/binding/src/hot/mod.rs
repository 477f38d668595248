//! The hot side of the boundary: the only files of this crate with unsafe code.
//!
//! ```text
//!   tick ─▶ slots (one object per declared field, shared by all handlers of the tick) ─▶ vectorcall
//!   span ─▶ columns (one array per declared field, shared by all handlers of the span)
//! ```
//! Guarantees: no pointer into the ring reaches Python; what a handler keeps never changes under it.
//! Does not: decide which handlers are called; that is `dispatch`.

pub(crate) mod columns;
#[cfg(unix)]
pub(crate) mod descriptor;
pub(crate) mod exclusive;
mod float;
pub(crate) mod growing;
pub(crate) mod interpreter;
pub(crate) mod python_call;
pub(crate) mod returned;
pub(crate) mod template;
mod tick_object;
mod tick_slot;
pub(crate) mod tick_types;
pub(crate) mod vectorcall;

pub(crate) use float::IN_PLACE;
