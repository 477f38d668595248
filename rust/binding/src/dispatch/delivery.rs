//! Delivery: from an admitted tick to the handlers of one subscription, and what their failures mean.
//!
//! ```text
//!   tick ─▶ admit (paused? lost event? folded? rate? window?) ─▶ singular handlers, now
//!                                                            └─▶ held ─▶ plural handlers, at the end of the span or window
//! ```
//! Guarantees: each admitted tick is counted once, by its first handler; a failing call is counted, dead-lettered and
//! judged by its own subscription's rule, and no other subscription notices.
//! Does not: read the ring, or decide where a span ends; that is `group`.

use std::sync::Arc;

use headrace_core::fan_out::conflate::{Fold, StateKeys};
use headrace_core::market::field::Field;
use pyo3::prelude::*;

use super::attention::Attention;
use super::books::Books;
use super::call_set::Classes;
use super::member::Member;
use super::running::{Running, Seen};
use super::subscription::SubscriptionShared;
use crate::hot::columns::ColumnPool;
use crate::hot::tick_types::TickTypes;
use crate::tables::names::Names;

/// Everything that calling needs, apart from the compiled sets.
pub(crate) struct Delivery {
    pub(crate) members: Vec<Member>,
    pub(super) attention: Attention,
    pub(super) classes: Classes,
    pub(crate) names: Names,
    pub(crate) types: TickTypes,
    pub(crate) keys: StateKeys,
    pub(crate) fold: Fold,
    pub(crate) plural_kinds: Vec<u8>,
    pub(crate) now_ns: i64,
    /// Whether a member has windows or an interval: only then something can be due.
    pub(super) is_timed: bool,
    /// The first error that must end the dispatch, once every strategy has had the tick.
    pub(crate) raised: Option<PyErr>,
    /// One was quarantined: the writer may have to wait for this group no more.
    pub(super) has_quarantined: bool,
    /// Calls of a subscription whose handlers are awaited.
    pub(super) awaiting: Awaiting,
    /// The running call: for the watching thread, and for causes.
    pub(super) running: Arc<Running>,
    pub(crate) hooks: Py<PyAny>,
    pub(super) columns: ColumnPool,
    pub(super) cache: Vec<(ColumnKey, Py<PyAny>)>,
    pub(super) books: Books,
    /// What is called when a book changes its state, or needs a snapshot.
    pub(super) book_hooks: Option<Py<PyAny>>,
}

impl Delivery {
    pub(super) fn new(
        names: Names,
        types: TickTypes,
        keys: StateKeys,
        plural_kinds: Vec<u8>,
        running: Arc<Running>,
        hooks: Py<PyAny>,
    ) -> Self {
        Self {
            members: Vec::new(),
            attention: Attention::default(),
            classes: Classes::default(),
            names,
            types,
            keys,
            fold: Fold::new(keys),
            plural_kinds,
            now_ns: 0,
            is_timed: false,
            raised: None,
            has_quarantined: false,
            awaiting: Vec::new(),
            running,
            hooks,
            columns: ColumnPool::default(),
            cache: Vec::new(),
            books: Books::default(),
            book_hooks: None,
        }
    }

    /// Where a member stands; None: it has not come yet, or has left.
    pub(super) fn index_of(&self, shared: &Arc<SubscriptionShared>) -> Option<usize> {
        self.members
            .iter()
            .position(|member| Arc::ptr_eq(&member.shared, shared))
    }
}

/// (handler, awaitable, what it was given), in order.
pub(super) type Awaiting = Vec<(u16, Py<PyAny>, Seen)>;

/// One column of a batch that was gathered already: kind list, first and end ordinal, field.
pub(super) type ColumnKey = (u32, u8, usize, usize, Field);
