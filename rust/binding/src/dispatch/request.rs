//! A request to a group, from another thread or from a handler.
//!
//! Guarantees: a join carries everything that the member begins with.
//! Does not: take effect by itself; the dispatching call answers it at the next edge of a span.

use std::sync::Arc;

use headrace_core::market::tick::Tick;

use super::handler::Handler;
use super::options::{Options, Tuning};
use super::subscription::SubscriptionShared;

/// A change of a group; takes effect at the next edge of a span.
pub(super) enum Request {
    Join(Box<Join>),
    Leave(Arc<SubscriptionShared>),
    Resume(Arc<SubscriptionShared>),
    Change(Arc<SubscriptionShared>, Change),
}

/// A new member, and where it begins.
pub(super) struct Join {
    pub(super) at: u64,
    pub(super) shared: Arc<SubscriptionShared>,
    pub(super) options: Options,
    pub(super) handlers: Vec<Handler>,
    pub(super) newest: Vec<Tick>,
}

/// What may change in a member while it lives.
pub(crate) enum Change {
    /// Another object's handlers, in place of those of one that was stopped.
    Handlers(Vec<Handler>),
    /// How its ticks come.
    Tuning(Tuning),
}
