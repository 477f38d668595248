//! The hot side of the boundary: the only files of this crate with unsafe code.
//!
//! ```text
//!   tick ─▶ slots (one object per declared field, shared by all handlers of the tick) ─▶ vectorcall
//!   run  ─▶ columns (one array per declared field, shared by all handlers of the run)
//! ```
//! Guarantees: no pointer into the ring reaches Python; what a handler keeps never changes under it.
//! Does not: decide who is called; that is `dispatch`.

pub(crate) mod columns;
#[cfg(unix)]
pub(crate) mod descriptor;
pub(crate) mod interpreter;
pub(crate) mod tick_object;
pub(crate) mod vectorcall;
