//! The tick: one market event in one 72-byte record, nine words, native endian.
//!
//! ```text
//!  byte 0    8          16        24       32          36    37    38     40        48        56        64       72
//!       seq  venue_seq  ts_event  ts_init  instrument  kind  side  flags  values[0] values[1] values[2] values[3]
//! ```
//! Guarantees: every byte is a field (no padding), so a tick and its nine words convert for nothing, both ways.
//! Does not: define what its four values mean; that is the kind's row in [`crate::market::kind`].

use super::kind;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words in a tick.
pub const TICK_WORDS: usize = 9;
/// Bytes in a tick.
pub const TICK_BYTES: usize = 72;
/// The instrument of a tick that belongs to no instrument (a reader's gap, a feed's status).
pub const NO_INSTRUMENT: u32 = u32::MAX;
/// A gap's `first`, `last` or `missing` that cannot be known.
pub const UNKNOWN: u64 = u64::MAX;

/// One market event. Prices and sizes are `f64` bits in `values`; ids there are `u64`; see the kind's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tick {
    /// Ours: dense per (instrument, kind) from 1. 0 before the sequencer, and in gaps that a reader made.
    pub seq: u64,
    /// The venue's own number (update, trade or aggregate id). 0: the venue gave none, and nothing is checked.
    pub venue_seq: u64,
    /// The venue's time, ns since 1970-01-01 UTC. 0 with [`flags::NO_VENUE_TIME`].
    pub ts_event: i64,
    /// When we received it, ns since 1970-01-01 UTC.
    pub ts_init: i64,
    /// Dense instrument id by first appearance, or [`NO_INSTRUMENT`].
    pub instrument: u32,
    /// A row of the kind table.
    pub kind: u8,
    /// +1 buy or bid, −1 sell or ask, 0 none.
    pub side: i8,
    /// Bits of [`flags`].
    pub flags: u16,
    /// The kind's four values, as bits.
    pub values: [u64; 4],
}

const _: () = assert!(size_of::<Tick>() == TICK_BYTES && size_of::<[u64; TICK_WORDS]>() == TICK_BYTES);
const _: () = assert!(align_of::<Tick>() == align_of::<[u64; TICK_WORDS]>());

impl Tick {
    /// The tick as the words that a ring slot holds.
    #[must_use]
    pub fn to_words(self) -> [u64; TICK_WORDS] {
        zerocopy::transmute!(self)
    }

    /// The tick that these words are.
    #[must_use]
    pub fn from_words(words: [u64; TICK_WORDS]) -> Self {
        zerocopy::transmute!(words)
    }

    /// Ticks as the words that ring slots hold; borrows, copies nothing.
    #[must_use]
    pub fn slice_as_words(ticks: &[Self]) -> &[[u64; TICK_WORDS]] {
        zerocopy::transmute_ref!(ticks)
    }

    /// Room for ticks, as the words that ring slots hold; borrows, copies nothing.
    #[must_use]
    pub fn slice_as_words_mut(ticks: &mut [Self]) -> &mut [[u64; TICK_WORDS]] {
        zerocopy::transmute_mut!(ticks)
    }

    /// `values[index]` as a number.
    #[must_use]
    pub fn value(&self, index: usize) -> f64 {
        f64::from_bits(self.values[index])
    }

    /// True when this tick is not the start of its event, so a reader that lost the start must drop it.
    #[must_use]
    pub fn continues_event(&self) -> bool {
        self.kind == kind::LEVEL && self.flags & flags::FIRST_IN_EVENT == 0
    }

    /// True when no further tick belongs to this tick's event.
    #[must_use]
    pub fn ends_event(&self) -> bool {
        self.kind != kind::LEVEL || self.flags & flags::LAST_IN_EVENT != 0
    }
}

/// The bits of [`Tick::flags`]: one table, read by Python.
pub mod flags {
    /// Part of a snapshot (or the newest quote handed to a reader that joins or resumes): not a change, never checked.
    pub const SNAPSHOT: u16 = 1 << 0;
    /// The first tick of its venue event.
    pub const FIRST_IN_EVENT: u16 = 1 << 1;
    /// The last tick of its venue event.
    pub const LAST_IN_EVENT: u16 = 1 << 2;
    /// A gap tick of the same instrument stands before this one.
    pub const GAP_BEFORE: u16 = 1 << 3;
    /// The venue gave no time: `ts_event` is 0 and `age_ns` NaN.
    pub const NO_VENUE_TIME: u16 = 1 << 4;
    /// A price or size had more than 15 significant digits: the double may name another decimal.
    pub const INEXACT_TEXT: u16 = 1 << 5;
    /// The venue sent this number before (delivered only with `duplicates="deliver"`).
    pub const DUPLICATE: u16 = 1 << 6;
    /// The venue's number is lower than one already seen.
    pub const LATE: u16 = 1 << 7;

    /// Name, bit and meaning of every flag.
    pub const TABLE: [(&str, u16, &str); 8] = [
        (
            "SNAPSHOT",
            SNAPSHOT,
            "part of a snapshot, or the newest quote given on join and resume",
        ),
        ("FIRST_IN_EVENT", FIRST_IN_EVENT, "the first tick of its venue event"),
        ("LAST_IN_EVENT", LAST_IN_EVENT, "the last tick of its venue event"),
        (
            "GAP_BEFORE",
            GAP_BEFORE,
            "a gap tick of the same instrument stands before this one",
        ),
        (
            "NO_VENUE_TIME",
            NO_VENUE_TIME,
            "the venue gave no time: ts_event is 0, age_ns NaN",
        ),
        (
            "INEXACT_TEXT",
            INEXACT_TEXT,
            "a price or size text had more than 15 significant digits",
        ),
        ("DUPLICATE", DUPLICATE, "the venue sent this number before"),
        ("LATE", LATE, "the venue's number is lower than one already seen"),
    ];
}

/// Why ticks are missing: the `cause` value of a gap.
///
/// VENUE, RECONNECT and RESTART come from the feed and stand in the ring; the others a reader makes for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GapCause {
    /// The venue's own numbers jumped.
    Venue = 1,
    /// The feed was reconnected.
    Reconnect = 2,
    /// The sequencer was restored from a saved state.
    Restart = 3,
    /// The writer lapped a reader that chose to lose.
    Overrun = 4,
    /// The subscription was paused.
    Paused = 5,
    /// The subscription was too far behind and jumped to the newest.
    Lag = 6,
    /// The subscription's rate limit was used up.
    Rate = 7,
}

impl GapCause {
    /// Every cause, with its name, in order of its number from 1.
    pub const TABLE: [(GapCause, &'static str); 7] = [
        (GapCause::Venue, "VENUE"),
        (GapCause::Reconnect, "RECONNECT"),
        (GapCause::Restart, "RESTART"),
        (GapCause::Overrun, "OVERRUN"),
        (GapCause::Paused, "PAUSED"),
        (GapCause::Lag, "LAG"),
        (GapCause::Rate, "RATE"),
    ];
}

/// The facts of a gap tick. In the record: values are first, last, missing, and `cause | lost_kind << 8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub cause: GapCause,
    /// The kind whose ticks are missing, 0 when any.
    pub lost_kind: u8,
    /// First missing venue number (feed) or position (reader), or [`UNKNOWN`].
    pub first: u64,
    /// Last missing one, or [`UNKNOWN`].
    pub last: u64,
    /// How many are missing, or [`UNKNOWN`].
    pub missing: u64,
}

impl Gap {
    /// The gap as the four values of a tick of kind gap.
    #[must_use]
    pub fn to_values(self) -> [u64; 4] {
        [
            self.first,
            self.last,
            self.missing,
            self.cause as u64 | u64::from(self.lost_kind) << 8,
        ]
    }

    /// The gap tick that stands before `next`, at its times and instrument; the sequencer sets its `seq`.
    #[must_use]
    pub fn before(self, next: &Tick) -> Tick {
        Tick {
            seq: 0,
            venue_seq: 0,
            ts_event: next.ts_event,
            ts_init: next.ts_init,
            instrument: next.instrument,
            kind: kind::GAP,
            side: 0,
            flags: (next.flags & flags::NO_VENUE_TIME) | flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT,
            values: self.to_values(),
        }
    }
}
