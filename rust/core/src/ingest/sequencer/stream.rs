//! One (instrument, kind): its last number, and its next event judged by the venue's numbers.
//!
//! Guarantees: an event that is late or came twice moves nothing.
//! Does not: make ticks.

use crate::market::kind::Nature;
use crate::market::tick::{Gap, GapCause, Tick, UNKNOWN, flags};
use std::cmp::Ordering;

/// What the venue's numbers of a stream promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Unchecked,
    Monotone,
    Contiguous,
    FirstFollowsLast,
    PrevEqualsLast,
}

/// One (instrument, kind).
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// The last number given.
    pub(super) seq: u64,
    /// The largest step in venue numbers that needs no second look; 0 while every event needs one.
    pub(super) step_max: u64,
    /// The number that it began after.
    pub(super) seq_start: u64,
    /// The stream that holds the venue numbers: itself, or for level_empty its level stream.
    pub(super) ids: usize,
    pub(super) rule: Rule,
    /// The last venue number in order; 0: none yet.
    pub(super) venue_last: u64,
    /// What is missing before a number that was passed over, still to be reported: first, last, how many.
    pub(super) owed: (u64, u64, u64),
    /// A gap to report before the next event, whatever its numbers are.
    pub(super) gap_cause: Option<GapCause>,
    /// The cause of what is missing by the numbers.
    pub(super) blame: GapCause,
    pub(super) instrument: u32,
    pub(super) kind: u8,
    pub(super) nature: Nature,
}

/// An event judged by the venue's numbers.
pub(super) enum Verdict {
    InOrder,
    Missing(Gap),
    Duplicate,
    Late,
}

impl Stream {
    /// True when an event's numbers are in order and there is nothing to report before it.
    #[inline]
    pub(super) fn expects(&self, first: &Tick) -> bool {
        let (id, last) = (first.venue_seq, self.venue_last);
        id > last && id - last <= self.step_max && first.flags & flags::SNAPSHOT == 0
    }

    /// Finds `step_max` anew, after anything but an expected event.
    pub(super) fn settle(&mut self) {
        let calm = self.venue_last != 0 && self.owed.2 == 0 && self.blame == GapCause::Venue;
        self.step_max = match self.rule {
            Rule::Monotone if calm => u64::MAX,
            Rule::Contiguous if calm => 1,
            _ => 0,
        };
    }

    /// Compares an event's numbers with the last ones, and remembers them when they are in order.
    #[inline]
    pub(super) fn judge(&mut self, first: &Tick) -> Verdict {
        let (id, last) = (first.venue_seq, self.venue_last);
        if self.rule == Rule::Unchecked {
            return Verdict::InOrder;
        }
        if last == 0 {
            self.advance(id);
            return Verdict::InOrder;
        }
        match id.cmp(&last) {
            Ordering::Equal => return Verdict::Duplicate,
            Ordering::Less => return Verdict::Late,
            Ordering::Greater => {}
        }
        let missing = match self.rule {
            Rule::Unchecked | Rule::Monotone => None,
            Rule::Contiguous => Some(self.missing_up_to(id)).filter(|missing| missing.2 > 0),
            Rule::FirstFollowsLast => match first.values[2].cmp(&(last + 1)) {
                Ordering::Equal => None,
                Ordering::Greater => Some((last + 1, first.values[2] - 1, first.values[2] - last - 1)),
                Ordering::Less => Some((UNKNOWN, UNKNOWN, UNKNOWN)),
            },
            Rule::PrevEqualsLast => match first.values[3].cmp(&last) {
                Ordering::Equal => None,
                Ordering::Greater => Some((last + 1, first.values[3], UNKNOWN)),
                Ordering::Less => Some((UNKNOWN, UNKNOWN, UNKNOWN)),
            },
        };
        self.advance(id);
        match missing {
            None => Verdict::InOrder,
            Some((first, last, missing)) => Verdict::Missing(Gap {
                cause: self.blame,
                lost_kind: self.kind,
                first,
                last,
                missing,
            }),
        }
    }

    /// What is missing between the last number and this one, and before: first, last, how many.
    pub(super) fn missing_up_to(&self, id: u64) -> (u64, u64, u64) {
        let (last, holes) = (self.venue_last, id - self.venue_last - 1);
        match self.owed {
            (_, _, 0) => (last + 1, id - 1, holes),
            (first, owed_last, owed) if holes == 0 => (first, owed_last, owed),
            (first, _, owed) => (first, id - 1, owed + holes),
        }
    }

    pub(super) fn advance(&mut self, id: u64) {
        self.venue_last = id;
        self.owed = (0, 0, 0);
    }

    /// The gap to report before an event: what is missing by its numbers, else a gap of unknown size.
    pub(super) fn gap_to_report(&mut self, missing: Option<Gap>, keep_blame: bool) -> Gap {
        let gap = missing.unwrap_or(Gap {
            cause: self.blame,
            lost_kind: self.kind,
            first: UNKNOWN,
            last: UNKNOWN,
            missing: UNKNOWN,
        });
        self.gap_cause = None;
        if !keep_blame {
            self.blame = GapCause::Venue;
        }
        gap
    }
}
