//! One (instrument, kind): its last number, and its next event judged by the venue's numbers.
//!
//! ```text
//!   id > last ─▶ in order, or ids are missing          id in a known gap ─▶ late, the gap shrinks
//!   id <= last, by contiguous ids ─┬ seen before ─▶ duplicate        (monotone ids: equal ─▶ duplicate)
//!                                  └ below the first, or of a later time ─▶ late ─▶ many in a row: the venue began anew
//! ```
//! Guarantees: an event that is late or came twice moves nothing but the gap that it lies in.
//! Does not: make ticks.

use super::known_gaps::KnownGaps;
use crate::limits::{LATE_RUN_MAX, LATE_RUN_NS};
use crate::market::kind::Nature;
use crate::market::tick::{Gap, GapCause, Tick, UNKNOWN, flags};
use std::cmp::Ordering;

/// The venue time of an event in order that no stream has had: nothing is later.
pub(super) const NO_TIME: i64 = i64::MAX;

/// What the venue's numbers of a stream promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Unchecked,
    Monotone,
    Contiguous,
    FirstFollowsLast,
    PrevEqualsLast,
}

/// One (instrument, kind). What an expected event needs comes first, in one line of memory: with thousands of
/// instruments each tick is another stream.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Stream {
    /// The last number given.
    pub(super) seq: u64,
    /// The last venue number in order; 0: none yet.
    pub(super) venue_last: u64,
    /// The largest step in venue numbers that needs no second look; 0 while every event needs one.
    pub(super) step_max: u64,
    /// The newest venue time in order; [`NO_TIME`]: none yet.
    pub(super) newest_ts: i64,
    /// The stream that holds the venue numbers: itself, or for level_empty its level stream.
    pub(super) ids: usize,
    /// A gap to report before the next event, whatever its numbers are.
    pub(super) gap_cause: Option<GapCause>,
    /// The cause of what is missing by the numbers.
    pub(super) blame: GapCause,
    pub(super) rule: Rule,
    pub(super) kind: u8,
    pub(super) nature: Nature,
    pub(super) instrument: u32,
    /// The number that it began after.
    pub(super) seq_start: u64,
    /// The first venue number that was seen since the numbers began.
    pub(super) venue_first: u64,
    pub(super) gaps: KnownGaps,
    pub(super) late_run: LateRun,
    /// What is missing before a number that was passed over, still to be reported: first, last, how many.
    pub(super) owed: (u64, u64, u64),
}

/// Late events in a row that fill no gap.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LateRun {
    count: u32,
    /// When its first one was received.
    since: i64,
}

impl LateRun {
    /// One more; returns whether they are enough to mean that the venue's numbers began anew.
    fn grow(&mut self, ts_init: i64) -> bool {
        if self.count == 0 {
            self.since = ts_init;
        }
        self.count += 1;
        self.count >= LATE_RUN_MAX || ts_init.saturating_sub(self.since) >= LATE_RUN_NS
    }
}

/// An event judged by the venue's numbers.
pub(super) enum Verdict {
    InOrder,
    Missing(Gap),
    Duplicate,
    Late,
    /// In order, by numbers that began anew.
    Restarted,
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
        let calm =
            self.venue_last != 0 && self.owed.2 == 0 && self.late_run.count == 0 && self.blame == GapCause::Venue;
        self.step_max = match self.rule {
            Rule::Monotone if calm => u64::MAX,
            Rule::Contiguous if calm => 1,
            _ => 0,
        };
    }

    /// Its next event comes behind a gap, cause RECONNECT.
    pub(super) fn reconnect(&mut self) {
        if self.gap_cause.is_none() {
            self.gap_cause = Some(GapCause::Reconnect);
            self.blame = GapCause::Reconnect;
            self.settle();
        }
    }

    /// Compares an event's numbers with the last ones, and remembers them when they are in order.
    #[inline]
    pub(super) fn judge(&mut self, first: &Tick) -> Verdict {
        let (id, last) = (first.venue_seq, self.venue_last);
        if self.rule == Rule::Unchecked {
            return Verdict::InOrder;
        }
        if last == 0 {
            self.venue_first = self.begin_of(first);
            self.advance(first);
            return Verdict::InOrder;
        }
        if id <= last {
            return self.judge_old(first);
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
        let known_to = match self.rule {
            Rule::Unchecked | Rule::Monotone => last,
            Rule::Contiguous => id - 1,
            Rule::FirstFollowsLast => first.values[2].saturating_sub(1),
            Rule::PrevEqualsLast => first.values[3],
        };
        self.gaps.add(last + 1, known_to.min(id - 1));
        self.advance(first);
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

    /// The first of an event's numbers.
    fn begin_of(&self, first: &Tick) -> u64 {
        match self.rule {
            Rule::FirstFollowsLast | Rule::PrevEqualsLast => first.values[2].min(first.venue_seq),
            Rule::Unchecked | Rule::Monotone | Rule::Contiguous => first.venue_seq,
        }
    }

    /// An event in order.
    fn advance(&mut self, first: &Tick) {
        self.pass(first.venue_seq);
        self.newest_ts = match self.newest_ts {
            NO_TIME => first.ts_event,
            newest => newest.max(first.ts_event),
        };
    }

    /// A number in order.
    fn pass(&mut self, id: u64) {
        self.venue_last = id;
        self.owed = (0, 0, 0);
        self.late_run = LateRun::default();
    }

    /// A number that is used up by what is no tick of ours.
    pub(super) fn pass_over(&mut self, id: u64) {
        let last = self.venue_last;
        if last == 0 {
            return;
        }
        if id <= last {
            self.gaps.fill(id, id);
            return;
        }
        let owed = if id - last > 1 {
            self.missing_up_to(id)
        } else {
            self.owed
        };
        self.gaps.add(last + 1, id - 1);
        self.pass(id);
        self.owed = owed;
        self.settle();
    }

    /// An event whose number is not above the last one in order.
    #[cold]
    fn judge_old(&mut self, first: &Tick) -> Verdict {
        let id = first.venue_seq;
        let fills = self.gaps.fill(self.begin_of(first), id);
        let is_duplicate = match self.rule {
            Rule::Monotone => id == self.venue_last,
            _ => id >= self.venue_first && first.ts_event <= self.newest_ts,
        };
        if fills || is_duplicate {
            self.late_run = LateRun::default();
            return if fills { Verdict::Late } else { Verdict::Duplicate };
        }
        // The next event must end the run.
        self.step_max = 0;
        if !self.late_run.grow(first.ts_init) {
            return Verdict::Late;
        }
        self.gaps.clear();
        self.newest_ts = NO_TIME;
        self.venue_first = self.begin_of(first);
        self.advance(first);
        self.blame = GapCause::Restart;
        self.gap_cause = Some(GapCause::Restart);
        Verdict::Restarted
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

/// How many ticks the event has that `ticks` begins with.
#[inline]
pub(super) fn event_len(first: &Tick, ticks: &[Tick]) -> usize {
    if first.ends_event() {
        return 1;
    }
    let mut len = 1;
    for tick in &ticks[1..] {
        // An event whose end is not marked ends where another begins.
        if !tick.continues_event() || tick.instrument != first.instrument {
            return len;
        }
        len += 1;
        if tick.ends_event() {
            return len;
        }
    }
    len
}
