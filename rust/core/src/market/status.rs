//! Status: whether a stream, or the book that is made of one, can be relied on.
//!
//! Guarantees: both sets are closed, and their numbers stand in ticks.
//! Does not: decide; the feed and the book do.

use super::kind;
use super::tick::{Tick, flags};
use crate::named_set;

named_set! {
    /// The state of a stream (DOWN, SILENT, UP, STALE) or of a book (SYNCING, LIVE, STALE).
    #[repr(u8)]
    pub enum StreamState {
        /// Nothing comes: there is no connection, or no subscription.
        Down = 1 "DOWN",
        /// It is subscribed, and nothing has come yet.
        Silent = 2 "SILENT",
        /// Its frames come.
        Up = 3 "UP",
        /// What is here may be old.
        Stale = 4 "STALE",
        /// The book waits for its first snapshot, and for an event that continues it.
        Syncing = 5 "SYNCING",
        /// The book is what the venue has.
        Live = 6 "LIVE",
    }
}

named_set! {
    /// Why a stream or a book is in its state.
    #[repr(u8)]
    pub enum StatusReason {
        /// The book is what the venue has.
        InSync = 0 "IN_SYNC",
        /// The first connection is there.
        Connected = 1 "CONNECTED",
        /// There is a connection again; frames may be missing.
        Reconnected = 2 "RECONNECTED",
        /// A new connection took over before the old one ended.
        Replaced = 3 "REPLACED",
        /// The venue confirmed a subscription.
        Subscribed = 4 "SUBSCRIBED",
        /// It was unsubscribed.
        Unsubscribed = 5 "UNSUBSCRIBED",
        /// A frame came.
        FrameCame = 6 "FRAME_CAME",
        /// The connection ended.
        Disconnected = 7 "DISCONNECTED",
        /// Nothing came for too long.
        NothingCame = 8 "NOTHING_CAME",
        /// The feed failed or ended, and nothing starts it again.
        FeedEnded = 9 "FEED_ENDED",
        /// No snapshot has come yet.
        NoSnapshot = 10 "NO_SNAPSHOT",
        /// The snapshot is older than the first event after it.
        SnapshotTooOld = 11 "SNAPSHOT_TOO_OLD",
        /// No event has continued the snapshot yet.
        NoEvent = 12 "NO_EVENT",
        /// Events are missing by their ids.
        EventsMissing = 13 "EVENTS_MISSING",
        /// The reader lost ticks.
        TicksLost = 14 "TICKS_LOST",
        /// The venue's ids began anew.
        Restarted = 15 "RESTARTED",
        /// The best bid is not below the best ask.
        Crossed = 16 "CROSSED",
        /// A price is no multiple of 10^-8, or too large.
        PriceInexact = 17 "PRICE_INEXACT",
        /// More events came before a snapshot than are kept.
        SnapshotTooLate = 18 "SNAPSHOT_TOO_LATE",
    }
}

/// The facts of a status tick. In the record: values are state, epoch, `stream | is_lost << 8`, reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The stream's kind; a depth stream is [`kind::LEVEL`]; 0: of no kind that has ticks.
    pub stream: u8,
    /// Its state.
    pub state: StreamState,
    /// Why.
    pub reason: StatusReason,
    /// The number of the feed's connection, from 1; 0 without one.
    pub epoch: u64,
    /// Whether frames may be missing before the next one.
    pub is_lost: bool,
}

impl Status {
    /// The status as a tick of an instrument, without a number.
    #[must_use]
    pub fn tick(self, instrument: u32, ts_init: i64) -> Tick {
        Tick {
            ts_init,
            instrument,
            kind: kind::STATUS,
            flags: flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT | flags::NO_VENUE_TIME,
            values: [
                self.state as u64,
                self.epoch,
                u64::from(self.stream) | u64::from(self.is_lost) << 8,
                self.reason as u64,
            ],
            ..Tick::default()
        }
    }

    /// The status that a tick says; `None`: its state or reason is none of the sets.
    #[must_use]
    pub fn of_tick(tick: &Tick) -> Option<Self> {
        let [state, epoch, stream, reason] = tick.values;
        Some(Self {
            stream: stream_of(stream),
            state: StreamState::ALL.into_iter().find(|known| *known as u64 == state)?,
            reason: StatusReason::ALL.into_iter().find(|known| *known as u64 == reason)?,
            epoch,
            is_lost: stream >> 8 & 1 != 0,
        })
    }
}

/// The stream's kind out of a status tick's third value.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the kind is its lowest byte")]
pub fn stream_of(value: u64) -> u8 {
    value as u8
}
