//! The states of a book, and the reasons for them.
//!
//! Guarantees: both sets are closed, and their numbers stand in ticks.
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

named_set! {
    /// Why a book is not LIVE.
    #[repr(u8)]
    pub enum StaleReason {
        /// It is LIVE.
        None = 0 "",
        /// No snapshot has come yet.
        NoSnapshot = 1 "no snapshot",
        /// The snapshot is older than the first event after it.
        SnapshotTooOld = 2 "snapshot too old",
        /// No event has continued the snapshot yet.
        NoEvent = 3 "no event yet",
        /// Events are missing by their ids.
        Hole = 4 "events are missing",
        /// Its reader lost ticks.
        Lost = 5 "ticks were lost",
        /// The connection ended.
        Disconnected = 6 "disconnected",
        /// The venue's ids began anew.
        Restarted = 7 "the venue's ids began anew",
        /// Its best bid is not below its best ask.
        Crossed = 8 "crossed",
        /// A price that is no multiple of 10^-8, or too large.
        Price = 9 "a price cannot be kept exactly",
        /// More events came before a snapshot than are kept.
        TooMany = 10 "no snapshot in time",
    }
}
