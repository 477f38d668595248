//! Dispatch: from the ring to the handlers of each subscription.
//!
//! ```text
//!   dispatch_group (Python's face) ─▶ group ─▶ driving ─▶ run (backlog, plan) ─▶ delivery ─▶ hot
//!                     membership ──▶ requests ──┘          └▶ entry ─▶ log
//! ```
//! Guarantees: dispatching holds no lock and is not reentrant; every tick of every subscription is accounted for.
//! Does not: publish.

mod admit;
mod backlog;
mod compile;
mod delivery;
pub(crate) mod dispatch_group;
pub(crate) mod driving;
mod entry;
pub(crate) mod group;
pub(crate) mod live_turn;
pub(crate) mod log;
mod member;
mod membership;
mod options;
mod plural;
mod requests;
mod run;
mod running;
mod subscription;

pub(crate) use dispatch_group::{AlarmHandle, DispatchGroup};
pub(crate) use membership::Membership;
