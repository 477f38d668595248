//! The states of a book; the reasons for them are a [`crate::market::status::StatusReason`].
//!
//! Guarantees: the set is closed.
//! Does not: decide; the book does.

use crate::named_set;

named_set! {
    /// Whether a book can be relied on.
    #[repr(u8)]
    pub enum BookState {
        /// It waits for its first snapshot, and for an event that continues it.
        Syncing = 0 "SYNCING",
        /// It is what the venue has.
        Live = 1 "LIVE",
        /// It was, and is not now.
        Stale = 2 "STALE",
    }
}
