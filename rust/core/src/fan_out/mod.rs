//! Fan-out: which subscriptions get a tick, and what is folded for those that chose the newest.
//!
//! Guarantees: one look-up per tick, however many subscriptions there are.
//! Does not: call handlers.

pub mod conflate;
pub mod newest;
pub mod plan;
