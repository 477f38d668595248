//! Books under faulty sessions against an oracle: whole numbers in a map, one copy for each update of the venue.
//!
//! `HEADRACE_SESSIONS` sets how many sessions run (500); the seed is printed by a failure.

mod common;

use common::decoding::ticks;
use common::frames::Random;
use headrace_core::market::book::{Applied, Book, BookQuality, BookState};
use headrace_core::market::instrument::{ChainRule, Venue as VenueName};
use headrace_core::market::kind;
use headrace_core::market::status::StatusReason;
use headrace_core::market::tick::{GapCause, Tick, flags};
use std::collections::BTreeMap;

type Levels = BTreeMap<i64, u32>;

const EVENTS: usize = 240;
/// No fault from here on: every session must be LIVE at its end.
const CALM: usize = 180;
/// Prices in hundredths, at the beginning.
const MIDDLE: i64 = 10_000;

/// The venue: what its book was after each update, and the events that it sent.
struct Venue {
    chain: ChainRule,
    bids: Levels,
    asks: Levels,
    /// Between both sides, and how far it moves with each event: through a snapshot's levels in a few of them.
    middle: i64,
    drift: i64,
    /// The id of the last event.
    last: u64,
    /// Levels of a side that a snapshot holds at most.
    reach: usize,
    /// After each event: its id, and both sides.
    history: Vec<(u64, Levels, Levels)>,
}

impl Venue {
    fn new(chain: ChainRule, random: &mut Random) -> Self {
        let mut side = |sign: i64| {
            (1..30)
                .map(|depth| (MIDDLE + sign * depth, 1 + random.below(50) as u32))
                .collect()
        };
        Self {
            chain,
            bids: side(-1),
            asks: side(1),
            middle: MIDDLE,
            drift: *random.pick(&[&0, &0, &-3, &-1, &1, &3]),
            last: 1_000,
            reach: *random.pick(&[&10, &20, &1_000]),
            history: Vec::new(),
        }
    }

    /// Changes some levels, and returns the event.
    fn event(&mut self, random: &mut Random) -> Vec<Tick> {
        let prev = self.last;
        let step = 1 + random.below(5) as u64;
        let (first, last) = match self.chain {
            ChainRule::FirstFollowsLast => (prev + 1, prev + step),
            ChainRule::PrevEqualsLast => (prev + 1 + random.below(3) as u64, prev + 3 + step),
        };
        self.last = last;
        let mut event = self.moved([first, last, prev]);
        for _ in 0..random.below(6) {
            let (side, depth, size) = (random.below(2), 1 + random.below(40) as i64, random.below(4) as u32);
            let (levels, price, sign) = if side == 0 {
                (&mut self.bids, self.middle - depth, 1)
            } else {
                (&mut self.asks, self.middle + depth, -1)
            };
            if size == 0 {
                levels.remove(&price)
            } else {
                levels.insert(price, size)
            };
            event.push(level(price, size, sign, [first, last, prev]));
        }
        if event.is_empty() {
            event.push(Tick {
                kind: kind::LEVEL_EMPTY,
                ..level(0, 0, 0, [first, last, prev])
            });
        }
        mark(&mut event);
        self.history.push((last, self.bids.clone(), self.asks.clone()));
        event
    }

    /// Moves the middle, and returns the levels that are gone by that.
    fn moved(&mut self, ids: [u64; 3]) -> Vec<Tick> {
        self.middle += self.drift;
        let bids = self.bids.split_off(&self.middle);
        let asks_left = self.asks.split_off(&(self.middle + 1));
        let asks = std::mem::replace(&mut self.asks, asks_left);
        let bids = bids.into_keys().map(|price| level(price, 0, 1, ids));
        let asks = asks.into_keys().map(|price| level(price, 0, -1, ids));
        bids.chain(asks).collect()
    }

    /// A snapshot of the book as it was so many events ago.
    fn snapshot(&self, ago: usize) -> Vec<Tick> {
        let (id, bids, asks) = &self.history[self.history.len().saturating_sub(1 + ago)];
        let bids = bids.iter().rev().take(self.reach).map(|row| (row, 1));
        let asks = asks.iter().take(self.reach).map(|row| (row, -1));
        let mut event: Vec<Tick> = bids
            .chain(asks)
            .map(|((price, size), sign)| level(*price, *size, sign, [0, *id, 0]))
            .collect();
        for tick in &mut event {
            tick.flags |= flags::SNAPSHOT;
        }
        mark(&mut event);
        event
    }
}

fn level(price: i64, size: u32, side: i8, [first, last, prev]: [u64; 3]) -> Tick {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let values = [(price as f64 / 100.0).to_bits(), f64::from(size).to_bits(), first, prev];
    Tick {
        kind: kind::LEVEL,
        venue_seq: last,
        side,
        values,
        ..Tick::default()
    }
}

fn mark(event: &mut [Tick]) {
    event[0].flags |= flags::FIRST_IN_EVENT;
    let last = event.len() - 1;
    event[last].flags |= flags::LAST_IN_EVENT;
}

fn assert_equal(book: &Book, venue: &Venue, context: &str) {
    let (_, bids, asks) = venue
        .history
        .iter()
        .rev()
        .find(|(id, ..)| *id == book.update_id())
        .unwrap_or_else(|| {
            panic!(
                "{context}: LIVE at an id that the venue never had: {}",
                book.update_id()
            )
        });
    for (side, name, levels) in [(&book.bids, "bids", bids), (&book.asks, "asks", asks)] {
        #[expect(clippy::cast_possible_truncation, reason = "small numbers")]
        let known: Vec<(i64, u32)> = side
            .known_steps()
            .map(|(step, size)| (step / 1_000_000, size as u32))
            .collect();
        let mut best: Vec<(i64, u32)> = levels.iter().map(|(price, size)| (*price, *size)).collect();
        if name == "bids" {
            best.reverse();
        }
        assert_eq!(
            side.knows_best(),
            !known.is_empty() || !side.is_cut(),
            "{context}: {name}"
        );
        if side.is_cut() {
            best.truncate(known.len());
        }
        assert_eq!(known, best, "{context}: {name}");
        if !side.knows_best() {
            assert_eq!(book.quality(), BookQuality::Degraded, "{context}: {name}");
        }
    }
}

/// The book that a recording which begins with this one's snapshot has.
fn copied(book: &Book, chain: ChainRule) -> Book {
    let venue = match chain {
        ChainRule::FirstFollowsLast => VenueName::Binance,
        ChainRule::PrevEqualsLast => VenueName::BinanceUsdm,
    };
    let snapshot = ticks(venue, format!(r#"{{"symbol":"X",{}}}"#, book.snapshot_members()));
    let mut copy = Book::new(chain);
    copy.event(&snapshot);
    copy
}

/// One session with random faults; returns how often the book was in sync again, and whether a copy was compared.
fn session(seed: u64, number: u64, chain: ChainRule) -> (u64, bool) {
    let mut random = Random::of_session(seed, number);
    let seed = format!("HEADRACE_SEED={seed} session {number} {chain:?}");
    let mut venue = Venue::new(chain, &mut random);
    let mut book = Book::new(chain);
    let mut held: Option<Vec<Tick>> = None;
    // Snapshots under way: at which event they arrive, and what they hold.
    let mut coming: Vec<(usize, Vec<Tick>)> = Vec::new();
    let mut live_after = 0;
    let mut copy: Option<Book> = None;
    for number in 0..EVENTS {
        let faulty = number < CALM;
        let mut events = vec![venue.event(&mut random)];
        if faulty {
            match random.below(40) {
                0 => events.clear(),
                1 => events.push(events[0].clone()),
                2 => held = events.pop(),
                3 => book.gap(GapCause::Overrun),
                4 => {
                    book.gap(GapCause::Overrun);
                    events.clear();
                }
                5 => book.disconnected(StatusReason::Disconnected),
                6 => book.gap(GapCause::Restart),
                7 => book.refresh(),
                8 => coming.push((number, venue.snapshot(random.below(40)))),
                _ => {}
            }
            if random.one_in(20) {
                events.extend(held.take());
            }
        }
        if faulty || book.state() != BookState::Live {
            copy = None;
        } else if copy.is_none() && book.bids.knows_best() && book.asks.knows_best() {
            copy = Some(copied(&book, chain));
        }
        for event in &events {
            if let Some(copy) = &mut copy {
                copy.event(event);
            }
            let applied = book.event(event);
            // A copy lacks what its book lacked, too, and has no snapshot of its own.
            copy = copy.filter(|_| book.state() == BookState::Live);
            if applied == Applied::Yes {
                assert_eq!(book.state(), BookState::Live, "{seed}");
            }
            if book.state() == BookState::Live {
                assert_equal(&book, &venue, &format!("{seed}, event {number}"));
            }
        }
        if book.wants_refresh() {
            book.refresh();
        }
        if book.takes_request() {
            let ago = if faulty { random.below(3) * random.below(10) } else { 0 };
            coming.push((number + random.below(8), venue.snapshot(ago)));
        }
        coming.retain(|(at, snapshot)| {
            if *at > number {
                return true;
            }
            book.event(snapshot);
            if book.state() == BookState::Live {
                assert_equal(&book, &venue, &format!("{seed}, snapshot at {number}"));
            }
            false
        });
        if number >= CALM && book.state() == BookState::Live {
            live_after += 1;
        }
    }
    assert_eq!(book.state(), BookState::Live, "{seed}: {:?} at the end", book.reason());
    assert_eq!(book.update_id(), venue.last, "{seed}: behind at the end");
    if let Some(copy) = &copy {
        assert_eq!(copy.state(), BookState::Live, "{seed}: the copy: {:?}", copy.reason());
        assert_equal(copy, &venue, &format!("{seed}, the copy"));
    }
    assert!(
        live_after > (EVENTS - CALM) / 2,
        "{seed}: LIVE for {live_after} events only"
    );
    (book.resyncs(), copy.is_some())
}

#[test]
fn beyond_its_snapshot_a_book_is_degraded_and_answers_unknown() {
    let levels = |rows: &[(i64, u32, i8)], ids: [u64; 3]| {
        let mut event: Vec<Tick> = rows.iter().map(|row| level(row.0, row.1, row.2, ids)).collect();
        mark(&mut event);
        event
    };
    let five = [900, 800, 700, 600, 500];
    let mut rows: Vec<(i64, u32, i8)> = five.iter().map(|price| (*price, 1, 1)).collect();
    rows.extend([(1_000, 1, -1), (1_100, 3, -1)]);
    let mut snapshot = levels(&rows, [0, 4, 0]);
    snapshot.iter_mut().for_each(|tick| tick.flags |= flags::SNAPSHOT);
    let mut book = Book::new(ChainRule::FirstFollowsLast);
    book.event(&snapshot);
    // One more bid, below what the snapshot reached.
    assert_eq!(book.event(&levels(&[(350, 7, 1)], [5, 5, 0])), Applied::Yes);
    assert_eq!((book.quality(), book.bids.knows_best()), (BookQuality::Live, true));
    for (gone, price) in five.iter().enumerate() {
        let id = 6 + gone as u64;
        assert_eq!(book.is_half_used(), gone >= 2, "{gone} are gone");
        assert_eq!(book.event(&levels(&[(*price, 0, 1)], [id, id, 0])), Applied::Yes);
    }
    // 3.50 is the best bid that was seen; 4.00 may have been there all the time.
    assert_eq!(book.bids.best(), Some((3.5, 7.0)));
    assert_eq!((book.quality(), book.bids.knows_best()), (BookQuality::Degraded, false));
    assert_eq!(book.bids.iter().count(), 0);
    assert!([9.0, 4.0, 3.5].iter().all(|price| book.depth_at(*price).is_nan()));
    assert!(book.vwap(-1, 1.0).is_nan());
    assert_eq!((book.asks.knows_best(), book.depth_at(10.0)), (true, 1.0));
}

#[test]
fn no_faulty_session_makes_a_live_book_that_differs_from_the_venues() {
    let sessions: u32 = std::env::var("HEADRACE_SESSIONS").map_or(500, |text| text.parse().expect("a number"));
    let seed = std::env::var("HEADRACE_SEED").map_or(1, |text| text.parse().expect("a number"));
    let (mut resyncs, mut copies) = (0, 0);
    for number in 0..u64::from(sessions.div_ceil(2)) {
        for chain in [ChainRule::FirstFollowsLast, ChainRule::PrevEqualsLast] {
            let (again, has_copy) = session(seed, number, chain);
            resyncs += again;
            copies += u32::from(has_copy);
        }
    }
    assert!(
        resyncs > u64::from(sessions),
        "the faults broke too few books: {resyncs}"
    );
    assert!(copies > sessions / 2, "too few copies were compared: {copies}");
}
