//! Dispatch: from the ring to the handlers of each subscription.
//!
//! ```text
//!   dispatch_group (in Python) ─▶ group ─▶ driving ─▶ reading ─▶ span ─▶ calls, plural ─▶ hot
//!   membership (in Python) ─▶ request ─▶ answers ─┘  └▶ entry ─▶ log
//! ```
//! Guarantees: dispatching holds no lock and is not reentrant; every tick of every subscription is accounted for.
//! Does not: publish.

mod about;
mod admit;
mod alarm_handle;
mod answers;
mod attending;
mod attention;
mod backlog;
mod book_calls;
mod book_object;
mod books;
mod bounds;
mod call_log;
mod call_set;
mod calls;
mod compile;
mod delivery;
mod dispatch_group;
mod driving;
mod due;
mod entry;
mod fault;
mod group;
mod group_state;
mod handler;
mod live_turn;
mod log;
mod member;
mod membership;
mod narrowing;
mod onward;
mod options;
mod owed;
mod plural;
mod quiet;
mod reading;
mod repeating;
mod request;
mod running;
mod seat;
mod span;
mod stops;
mod subscription;
mod taken;
mod view;
mod window;

pub(crate) use alarm_handle::AlarmHandle;
pub(crate) use backlog::Backlog;
pub(crate) use book_object::{Book, BookHandle};
pub(crate) use bounds::Bounds;
pub(crate) use call_log::CallLog;
pub(crate) use dispatch_group::DispatchGroup;
pub(crate) use group::Group;
pub(crate) use live_turn::LiveTurn;
pub(crate) use log::DispatchLog;
pub(crate) use membership::Membership;
pub(crate) use onward::{Ahead, Onward};
pub(crate) use quiet::Quiet;
pub(crate) use subscription::Count;
