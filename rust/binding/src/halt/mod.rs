//! Halting: the flag that stops new orders, and the file that keeps it over a restart.
//!
//! Guarantees: a halt takes effect whatever the interpreter does.
//! Does not: cancel orders.

pub(crate) mod kill_switch;
mod latch;
