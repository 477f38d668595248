//! A book and its state: what it takes to be LIVE, and how it stops being so.
//!
//! ```text
//!   SYNCING ──snapshot + an event that continues it──▶ LIVE ──hole, crossed, connection lost──▶ STALE
//!      ▲ events are kept meanwhile                      ▲ └── a refresh: the events between are applied again
//!                                                       └────── snapshot, or the next event continues ── STALE
//! ```
//! What happens with a hole
//!     Spot: an event must begin at most one above the last id. Futures: it must name the last id. Otherwise the book is
//!     STALE, keeps what comes from there on, and needs a snapshot.
//!
//! Guarantees: LIVE means that every event since the snapshot was applied, in order; sizes are absolute.
//! Does not: fetch; see [`Book::takes_request`].
//!
//! Source: the venue's procedure for a local book, web-socket-streams page of 2025-11-12, and its futures counterpart.

use super::kept::Kept;
use super::levels::Side;
use super::state::BookState;
use crate::market::instrument::ChainRule;
use crate::market::kind;
use crate::market::status::StatusReason;
use crate::market::tick::{GapCause, Tick, flags};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The book holds it, and is LIVE.
    Yes,
    /// It is older than the book, or kept until a snapshot comes.
    No,
}

/// One instrument's book.
#[derive(Clone, Debug)]
pub struct Book {
    /// Bids.
    pub bids: Side,
    /// Asks.
    pub asks: Side,
    chain: ChainRule,
    state: BookState,
    reason: StatusReason,
    /// The id of the last event applied, or of the snapshot.
    update_id: u64,
    /// Whether an event was applied since the snapshot: the first one has a rule of its own.
    has_continued: bool,
    kept: Kept,
    /// A snapshot that is newer than the last event.
    ahead: Vec<Tick>,
    /// Whether the next event's ids decide if something is missing.
    may_resume: bool,
    needs_snapshot: bool,
    was_asked: bool,
    /// Resyncs since it was first LIVE.
    resyncs: u64,
}

impl Book {
    /// A book without levels. `chain`: how its events name each other.
    #[must_use]
    pub fn new(chain: ChainRule) -> Self {
        Self {
            bids: Side::bids(),
            asks: Side::asks(),
            chain,
            state: BookState::Syncing,
            reason: StatusReason::NoSnapshot,
            update_id: 0,
            has_continued: false,
            kept: Kept::default(),
            ahead: Vec::new(),
            may_resume: false,
            needs_snapshot: false,
            was_asked: false,
            resyncs: 0,
        }
    }

    /// Its state.
    #[must_use]
    #[inline]
    pub fn state(&self) -> BookState {
        self.state
    }

    /// Why it is not LIVE.
    #[must_use]
    pub fn reason(&self) -> StatusReason {
        self.reason
    }

    /// The id of the last event that it holds.
    #[must_use]
    #[inline]
    pub fn update_id(&self) -> u64 {
        self.update_id
    }

    /// Whether it is LIVE and no refresh is under way.
    pub(super) fn is_settled(&self) -> bool {
        self.state == BookState::Live && !self.kept.is_keeping()
    }

    /// How often it was in sync again.
    #[must_use]
    pub fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Whether a snapshot is needed that was not asked for yet; it is, from now on.
    pub fn takes_request(&mut self) -> bool {
        let takes = self.needs_snapshot && !self.was_asked;
        self.was_asked |= takes;
        takes
    }

    /// One venue event: level ticks from FIRST_IN_EVENT to LAST_IN_EVENT, or one level_empty.
    ///
    /// O(levels · log) plus what is moved; allocates when the book grows, or to keep an event until a snapshot comes.
    #[inline]
    pub fn event(&mut self, event: &[Tick]) -> Applied {
        let Some(first) = event.first() else { return Applied::No };
        if first.flags & flags::SNAPSHOT != 0 {
            self.snapshot(event);
            return Applied::No;
        }
        match self.state {
            BookState::Live if !self.kept.is_keeping() => self.next(event),
            BookState::Live => self.next_while_refreshing(event),
            _ if self.may_resume => self.resume(event),
            _ => self.keep(event),
        }
    }

    /// A gap in front of what comes next.
    pub fn gap(&mut self, cause: GapCause) {
        match cause {
            // The ids of the next event decide.
            GapCause::Venue | GapCause::Reconnect => {}
            GapCause::Restart => self.begin_anew(StatusReason::Restarted),
            GapCause::Overrun | GapCause::Paused | GapCause::Lag | GapCause::Rate => {
                self.doubt(StatusReason::TicksLost)
            }
        }
    }

    /// Nothing comes, and why: what is here may be old. The next event's ids decide whether something is missing.
    pub fn disconnected(&mut self, reason: StatusReason) {
        self.doubt(reason);
    }

    /// A refresh is wanted: events are kept from now on, so that none between the snapshot and its arrival is lost.
    pub fn refresh(&mut self) {
        if self.state == BookState::Live {
            self.kept.begin();
            self.needs_snapshot = true;
        }
    }

    /// An event on a LIVE book.
    #[inline]
    fn next(&mut self, event: &[Tick]) -> Applied {
        let first = &event[0];
        if first.venue_seq <= self.update_id {
            return Applied::No;
        }
        if !self.continues(first) {
            self.lose(event, StatusReason::EventsMissing);
            return Applied::No;
        }
        if self.set_levels(event).is_err() {
            self.lose(event, StatusReason::PriceInexact);
            return Applied::No;
        }
        self.update_id = first.venue_seq;
        self.has_continued = true;
        if self.bids.crosses(&self.asks) {
            self.lose(event, StatusReason::Crossed);
            return Applied::No;
        }
        Applied::Yes
    }

    #[cold]
    fn next_while_refreshing(&mut self, event: &[Tick]) -> Applied {
        let applied = self.next(event);
        if self.state == BookState::Live {
            if self.kept.push(event) {
                self.try_ahead();
            } else {
                // The snapshot takes too long: the refresh begins anew.
                self.ahead.clear();
                self.kept.end();
                self.was_asked = false;
            }
        }
        applied
    }

    /// The first event after a doubt.
    #[cold]
    fn resume(&mut self, event: &[Tick]) -> Applied {
        if event[0].venue_seq <= self.update_id {
            return Applied::No;
        }
        if !self.continues(&event[0]) {
            self.lose(event, StatusReason::EventsMissing);
            return Applied::No;
        }
        self.be_live();
        self.next(event)
    }

    /// An event while a snapshot is waited for.
    #[cold]
    fn keep(&mut self, event: &[Tick]) -> Applied {
        if !self.kept.push(event) {
            self.begin_anew(StatusReason::SnapshotTooLate);
            self.kept.push(event);
        }
        self.needs_snapshot |= self.ahead.is_empty();
        self.try_ahead();
        if self.state == BookState::Live {
            Applied::Yes
        } else {
            Applied::No
        }
    }

    /// Whether an event is the next one.
    #[inline]
    fn continues(&self, first: &Tick) -> bool {
        let (begin, prev, last) = (first.values[2], first.values[3], first.venue_seq);
        match self.chain {
            ChainRule::FirstFollowsLast => begin <= self.update_id + 1,
            ChainRule::PrevEqualsLast if self.has_continued => prev == self.update_id,
            // A snapshot may lie inside of an event; one of our own books ends with one.
            ChainRule::PrevEqualsLast => begin <= self.update_id && self.update_id <= last || prev == self.update_id,
        }
    }

    /// A snapshot: the book of an id, which events must continue.
    #[cold]
    fn snapshot(&mut self, snapshot: &[Tick]) {
        self.was_asked = false;
        if self.state == BookState::Live && !self.kept.is_keeping() && snapshot[0].venue_seq < self.update_id {
            // It was not requested, and the book is newer.
            return;
        }
        self.ahead.clear();
        self.ahead.extend_from_slice(snapshot);
        self.try_ahead();
    }

    /// Builds the book from the snapshot and the events that were kept, if they continue it.
    fn try_ahead(&mut self) {
        let Some(id) = self.ahead.first().map(|first| first.venue_seq) else {
            return;
        };
        let is_live = self.state == BookState::Live;
        if is_live && id > self.update_id {
            // The events up to it have not come yet.
            self.kept.begin();
            return;
        }
        let snapshot = std::mem::take(&mut self.ahead);
        let mut next = Self::new(self.chain);
        match next.build(&snapshot, &self.kept) {
            // A refresh that reaches less far than this book is worth nothing.
            Ok(()) if is_live && next.update_id != self.update_id => self.refresh(),
            Ok(()) => {
                next.resyncs = self.resyncs + u64::from(self.state == BookState::Stale);
                *self = next;
            }
            Err((StatusReason::NoEvent, _)) if is_live && id == self.update_id => {
                next.resyncs = self.resyncs;
                next.has_continued = true;
                next.be_live();
                *self = next;
            }
            Err((StatusReason::NoEvent, _)) if !is_live => {
                self.ahead = snapshot;
                self.reason = StatusReason::NoEvent;
                self.needs_snapshot = false;
            }
            Err(_) if is_live => self.needs_snapshot = true,
            Err((reason, from)) => {
                self.reason = reason;
                self.needs_snapshot = true;
                self.kept.drop_before(from);
            }
        }
    }

    /// Becomes the book of a snapshot and of the events after it. The error says why that is impossible, or not yet,
    /// and the first event that may still be of use.
    fn build(&mut self, snapshot: &[Tick], kept: &Kept) -> Result<(), (StatusReason, usize)> {
        self.update_id = snapshot[0].venue_seq;
        self.set_levels(snapshot).map_err(|reason| (reason, 0))?;
        self.bids.end_snapshot(snapshot);
        self.asks.end_snapshot(snapshot);
        for (index, event) in kept.events().enumerate() {
            let first = &event[0];
            let is_old = if self.chain == ChainRule::PrevEqualsLast && !self.has_continued {
                first.venue_seq < self.update_id
            } else {
                first.venue_seq <= self.update_id
            };
            if is_old {
                continue;
            }
            if !self.continues(first) {
                // Before the first event the snapshot is to blame, and the next one may be new enough.
                let hole = (StatusReason::EventsMissing, index);
                return Err(if self.has_continued || index > 0 {
                    hole
                } else {
                    (StatusReason::SnapshotTooOld, 0)
                });
            }
            self.set_levels(event).map_err(|reason| (reason, index + 1))?;
            self.update_id = first.venue_seq;
            self.has_continued = true;
            if self.bids.crosses(&self.asks) {
                return Err((StatusReason::Crossed, index + 1));
            }
        }
        if !self.has_continued {
            return Err((StatusReason::NoEvent, 0));
        }
        self.be_live();
        Ok(())
    }

    #[inline]
    fn set_levels(&mut self, event: &[Tick]) -> Result<(), StatusReason> {
        for tick in event.iter().filter(|tick| tick.kind == kind::LEVEL) {
            let side = if tick.side > 0 { &mut self.bids } else { &mut self.asks };
            if !side.set(tick.value(0), tick.value(1)) {
                return Err(StatusReason::PriceInexact);
            }
        }
        Ok(())
    }

    fn be_live(&mut self) {
        self.state = BookState::Live;
        self.reason = StatusReason::InSync;
        self.may_resume = false;
        self.needs_snapshot = false;
        self.was_asked = false;
        self.ahead.clear();
        self.kept.end();
    }

    /// Something may be missing.
    fn doubt(&mut self, reason: StatusReason) {
        if self.state == BookState::Live {
            self.go_stale(reason);
            self.kept.end();
            self.ahead.clear();
            self.may_resume = true;
        }
    }

    /// Events are missing, or what is here is wrong: a snapshot is needed, and this event is the first after it.
    #[cold]
    fn lose(&mut self, event: &[Tick], reason: StatusReason) {
        self.begin_anew(reason);
        self.kept.push(event);
    }

    /// Nothing that is here can be used.
    fn begin_anew(&mut self, reason: StatusReason) {
        self.go_stale(reason);
        self.update_id = 0;
        self.has_continued = false;
        self.may_resume = false;
        self.ahead.clear();
        self.kept.end();
        self.needs_snapshot = true;
        self.was_asked = false;
    }

    fn go_stale(&mut self, reason: StatusReason) {
        if self.state == BookState::Live {
            self.state = BookState::Stale;
        }
        self.reason = reason;
    }
}
