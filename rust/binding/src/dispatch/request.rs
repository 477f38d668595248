//! A request to a group, from another thread or from a handler.
//!
//! Guarantees: a join carries the whole member.
//! Does not: take effect by itself; the dispatching call answers it at the next edge of a span.

use std::sync::Arc;

use super::handler::Handler;
use super::member::Member;
use super::options::Tuning;
use super::subscription::SubscriptionShared;

/// A change of a group; takes effect at the next edge of a span.
pub(super) enum Request {
    /// From the position where it `joined` on.
    Join(Box<Member>),
    Leave(Arc<SubscriptionShared>),
    Resume(Arc<SubscriptionShared>),
    Change(Arc<SubscriptionShared>, Change),
}

/// What may change in a member while it lives.
pub(crate) enum Change {
    /// Another object's handlers, in place of those of one that was stopped.
    Handlers(Vec<Handler>),
    /// How its ticks come.
    Tuning(Tuning),
}
