//! The tick: one market event in one 72-byte record, nine words, native endian.
//!
//! ```text
//!  byte 0    8          16        24       32          36    37    38     40        48        56        64       72
//!       seq  venue_seq  ts_event  ts_init  instrument  kind  side  flags  values[0] values[1] values[2] values[3]
//! ```
//! Guarantees: every byte is a field (no padding), so a tick and its nine words convert for nothing, both ways.
//! Does not: define what its four values mean; that is the kind's row in [`crate::market::kind`].

use super::kind;
use crate::named_set;
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
    #[inline]
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
    #[inline]
    #[must_use]
    pub fn value(&self, index: usize) -> f64 {
        f64::from_bits(self.values[index])
    }

    /// Whether a size is below 0, which no venue sends and which would make a volume smaller. NaN is unknown, and is not.
    #[must_use]
    #[inline]
    pub fn has_negative_size(&self) -> bool {
        match self.kind {
            kind::QUOTE => self.value(2) < 0.0 || self.value(3) < 0.0,
            kind::TRADE | kind::AGG_TRADE | kind::LEVEL | kind::LIQUIDATION => self.value(1) < 0.0,
            kind::OPEN_INTEREST | kind::KLINE_VOLUME => self.value(0) < 0.0,
            _ => false,
        }
    }

    /// The best bid and ask of a quote; NaN for a side that is absent: of size 0, or at price 0.
    #[must_use]
    #[inline]
    pub fn bid_and_ask(&self) -> (f64, f64) {
        let [bid, ask, bid_size, ask_size] = self.values.map(f64::from_bits);
        let shown = |price, size| if price == 0.0 || size == 0.0 { f64::NAN } else { price };
        (shown(bid, bid_size), shown(ask, ask_size))
    }

    /// True when this tick is not the start of its event, so a reader that lost the start must drop it.
    #[must_use]
    pub fn continues_event(&self) -> bool {
        self.kind == kind::LEVEL && self.flags & flags::FIRST_IN_EVENT == 0
    }

    /// Whether it may stand as the newest of its kind, for whatever keeps or uses the newest one.
    #[must_use]
    #[inline]
    pub fn may_be_newest(&self) -> bool {
        self.flags & flags::NEVER_NEWEST == 0
    }

    /// True when no further tick belongs to this tick's event.
    #[must_use]
    pub fn ends_event(&self) -> bool {
        self.kind != kind::LEVEL || self.flags & flags::LAST_IN_EVENT != 0
    }
}

/// The bits of [`Tick::flags`]: one table, read by Python.
pub mod flags {
    /// Declares each flag with its bit and meaning, and the table of all.
    macro_rules! flags {
        ($($flag:ident $bit:literal $meaning:literal,)+) => {
            $(#[doc = $meaning] pub const $flag: u16 = 1 << $bit;)+

            /// Name, bit and meaning of every flag.
            pub const TABLE: [(&str, u16, &str); [$($bit),+].len()] = [$((stringify!($flag), $flag, $meaning)),+];
        };
    }

    // SNAPSHOT is no change, and its numbers are never checked.
    flags! {
        SNAPSHOT 0 "part of a snapshot, or the newest quote given on join and resume",
        FIRST_IN_EVENT 1 "the first tick of its venue event",
        LAST_IN_EVENT 2 "the last tick of its venue event",
        GAP_BEFORE 3 "a gap tick of the same instrument stands before this one",
        NO_VENUE_TIME 4 "the venue gave no time: ts_event is 0, age_ns NaN",
        INEXACT_TEXT 5 "a price or size text had more than 15 significant digits",
        DUPLICATE 6 "the venue sent this number before",
        LATE 7 "it came behind a newer one of the venue's numbers",
        PARTIAL_WINDOW 8 "the last of its kind in a call that holds a part of its window",
        CUT 9 "of a snapshot that has more levels on this side than it shows",
    }

    /// A tick with one of these is never the newest: see [`super::Tick::may_be_newest`].
    pub const NEVER_NEWEST: u16 = DUPLICATE | LATE;
}

named_set! {
    /// Why ticks are missing: the `cause` value of a gap.
    ///
    /// VENUE, RECONNECT and RESTART come from the feed and stand in the ring; the others a reader makes for itself.
    #[repr(u8)]
    pub enum GapCause {
        /// The venue's own numbers jumped.
        Venue = 1 "VENUE",
        /// The feed was reconnected.
        Reconnect = 2 "RECONNECT",
        /// The sequencer was restored from a saved state.
        Restart = 3 "RESTART",
        /// The writer lapped a reader that chose to lose.
        Overrun = 4 "OVERRUN",
        /// The subscription was paused.
        Paused = 5 "PAUSED",
        /// The subscription was too far behind and jumped to the newest.
        Lag = 6 "LAG",
        /// The subscription's rate limit was used up.
        Rate = 7 "RATE",
    }
}

impl GapCause {
    /// The cause that a gap's fourth value holds.
    #[must_use]
    pub fn of_value(value: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u64 == value & 0xff)
    }
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
