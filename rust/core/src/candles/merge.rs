//! The candles of several feeds, and of longer timeframes made from them, as one order of events.
//!
//! ```text
//!   blocks ─▶ stream ─┐                 at one time T
//!   blocks ─▶ stream ─┴▶ groups ─▶      1. closes, in the order of streams
//!                        by (T, what)   2. opens, of the streams that orders fill from
//! ```
//! Guarantees: equal times keep the order of streams; a candle's open comes before its close, and behind the close of
//! the one before it.
//! Does not: wait for a stream that has shown nothing: whoever reads on does that (`take_hungry`).

use std::collections::BTreeMap;

use super::Candle;

/// What happens to a candle. Closes come before opens of the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is whole.
    Close,
    /// It begins.
    Open,
}

/// When the next event of a stream is, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When.
    pub ts_ns: i64,
    /// Which.
    pub what: What,
}

/// An event that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// Of which stream.
    pub stream: u32,
    /// The candle's number in its stream, from 1.
    pub number: u64,
    /// The whole candle, also at its open.
    pub candle: Candle,
}

/// The candles of one instrument and timeframe that were read and not taken.
#[derive(Debug, Default)]
struct Stream {
    has_opens: bool,
    rows: Vec<Candle>,
    /// The first row that was not taken.
    head: usize,
    is_open: bool,
    closed_ns: i64,
    closed: u64,
}

impl Stream {
    #[inline]
    fn next(&self) -> Option<Due> {
        let row = self.rows.get(self.head)?;
        let (ts_ns, what) = if self.has_opens && !self.is_open {
            // A candle that opens before the one before it has closed, as a day of 23 hours does, waits for that.
            (row.ts_open.max(self.closed_ns), What::Open)
        } else {
            (row.ts_close, What::Close)
        };
        Some(Due { ts_ns, what })
    }

    #[inline]
    fn take(&mut self, what: What) -> (u64, Candle) {
        let candle = self.rows[self.head];
        match what {
            What::Open => self.is_open = true,
            What::Close => {
                self.is_open = false;
                self.closed_ns = candle.ts_close;
                self.closed += 1;
                self.head += 1;
                return (self.closed, candle);
            }
        }
        (self.closed + 1, candle)
    }
}

/// The streams, and their next events in order.
#[derive(Debug, Default)]
pub struct CandleMerge {
    streams: Vec<Stream>,
    /// The streams that have a next event. Mostly many of them have it together, and then the one behind it, too.
    groups: BTreeMap<Due, Vec<u32>>,
    hungry: Vec<u32>,
    first_ns: Option<i64>,
}

impl CandleMerge {
    /// Adds a stream behind the others. `has_opens`: its opens are events, too.
    pub fn add(&mut self, has_opens: bool) -> u32 {
        self.streams.push(Stream {
            has_opens,
            ..Stream::default()
        });
        self.streams.len() as u32 - 1
    }

    /// Appends candles to a stream, in the order of time.
    pub fn push(&mut self, stream: u32, candles: impl Iterator<Item = Candle>) {
        let this = &mut self.streams[stream as usize];
        let has_waited = this.next().is_none();
        this.rows.drain(..this.head);
        this.head = 0;
        this.rows.extend(candles);
        if let (true, Some(due)) = (has_waited, this.next()) {
            self.groups.entry(due).or_default().push(stream);
            if self.first_ns.is_none_or(|first_ns| due.ts_ns < first_ns) {
                self.first_ns = Some(due.ts_ns);
            }
        }
    }

    /// When the first event of all was, or is.
    #[must_use]
    pub fn first_ns(&self) -> Option<i64> {
        self.first_ns
    }

    /// The next event; right when no stream is hungry.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<Due> {
        self.groups.first_key_value().map(|(due, _)| *due)
    }

    /// Whether a stream has shown nothing of what comes next.
    #[inline]
    #[must_use]
    pub fn is_hungry(&self) -> bool {
        !self.hungry.is_empty()
    }

    /// The streams that have shown nothing of what comes next, since the last call.
    pub fn take_hungry(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.hungry)
    }

    /// How many streams have an event of the next time and kind.
    #[must_use]
    pub fn next_count(&self) -> usize {
        self.groups.first_key_value().map_or(0, |(_, group)| group.len())
    }

    /// Takes the events of the next time and kind, in the order of streams, into `taken`.
    pub fn take_next(&mut self, taken: &mut Vec<Taken>) {
        let Some((due, mut group)) = self.groups.pop_first() else {
            return;
        };
        if !group.is_sorted() {
            group.sort_unstable();
        }
        // Of the streams before this one, those that have their next event together.
        let (mut following, mut together) = (None, Vec::with_capacity(group.len()));
        for number in group {
            let stream = &mut self.streams[number as usize];
            // An event is never before the one that was taken, so the first of all is known already.
            let next = loop {
                let (candle_number, candle) = stream.take(due.what);
                taken.push(Taken {
                    stream: number,
                    number: candle_number,
                    candle,
                });
                let next = stream.next();
                if next != Some(due) {
                    break next;
                }
            };
            if next.is_none() {
                self.hungry.push(number);
            } else if next == following {
                together.push(number);
            } else {
                self.gather(following, &mut together);
                following = next;
                together.push(number);
            }
        }
        self.gather(following, &mut together);
    }

    /// Adds streams to those that have their next event then.
    fn gather(&mut self, due: Option<Due>, streams: &mut Vec<u32>) {
        if let Some(due) = due {
            self.groups.entry(due).or_default().append(streams);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candle(ts_open: i64, ts_close: i64) -> Candle {
        Candle {
            ts_open,
            ts_close,
            ..Candle::default()
        }
    }

    /// A time, what happens, and the streams with the numbers of their candles.
    type Step = (i64, What, Vec<(u32, u64)>);

    fn order(merge: &mut CandleMerge) -> Vec<Step> {
        let mut order = Vec::new();
        while let Some(due) = merge.peek() {
            let mut taken = Vec::new();
            let count = merge.next_count();
            merge.take_next(&mut taken);
            assert_eq!(taken.len(), count);
            order.push((
                due.ts_ns,
                due.what,
                taken.iter().map(|own| (own.stream, own.number)).collect(),
            ));
        }
        order
    }

    #[test]
    fn closes_come_before_opens_and_streams_in_their_order() {
        let mut merge = CandleMerge::default();
        let (first, second, longer) = (merge.add(true), merge.add(true), merge.add(false));
        merge.push(second, [candle(0, 10), candle(10, 20)].into_iter());
        merge.push(first, [candle(0, 10), candle(10, 20)].into_iter());
        merge.push(longer, [candle(0, 20)].into_iter());
        assert_eq!(
            order(&mut merge),
            [
                (0, What::Open, vec![(0, 1), (1, 1)]),
                (10, What::Close, vec![(0, 1), (1, 1)]),
                (10, What::Open, vec![(0, 2), (1, 2)]),
                (20, What::Close, vec![(0, 2), (1, 2), (2, 1)]),
            ]
        );
        assert_eq!(merge.first_ns(), Some(0));
        assert_eq!(merge.take_hungry(), [0, 1, 2]);
    }

    #[test]
    fn open_before_the_last_close_waits_for_it() {
        let mut merge = CandleMerge::default();
        let day = merge.add(true);
        merge.push(day, [candle(0, 24), candle(23, 47)].into_iter());
        let times: Vec<i64> = order(&mut merge).iter().map(|own| own.0).collect();
        assert_eq!(times, [0, 24, 24, 47]);
    }

    #[test]
    fn candles_of_a_stream_that_close_together_are_taken_together() {
        let mut merge = CandleMerge::default();
        let (first, second) = (merge.add(false), merge.add(false));
        merge.push(second, [candle(0, 10)].into_iter());
        merge.push(first, [candle(0, 10), candle(5, 10), candle(10, 20)].into_iter());
        let mut taken = Vec::new();
        merge.take_next(&mut taken);
        let numbers: Vec<_> = taken.iter().map(|own| (own.stream, own.number)).collect();
        assert_eq!(numbers, [(0, 1), (0, 2), (1, 1)]);
        let at = |ts_ns| {
            Some(Due {
                ts_ns,
                what: What::Close,
            })
        };
        assert_eq!((merge.peek(), merge.take_hungry()), (at(20), vec![second]));
    }

    #[test]
    fn streams_that_part_and_meet_again_stay_in_order() {
        // Candles of 1 to 6, of which some are missing: each stream has its own times, and often those of others.
        let mut merge = CandleMerge::default();
        let mut expected = Vec::new();
        for number in 0..40u32 {
            let length = i64::from(number % 6 + 1);
            let stream = merge.add(false);
            let is_there = |at: &i64| (at * 7 + i64::from(number)) % 5 != 0;
            let closes: Vec<i64> = (1..100).filter(is_there).map(|at| at * length).collect();
            expected.extend(closes.iter().map(|ts_close| (*ts_close, stream)));
            merge.push(
                stream,
                closes.into_iter().map(|ts_close| candle(ts_close - length, ts_close)),
            );
        }
        expected.sort_unstable();
        let steps = order(&mut merge);
        let taken = steps
            .iter()
            .flat_map(|(ts_ns, _, streams)| streams.iter().map(|own| (*ts_ns, own.0)));
        assert_eq!(taken.collect::<Vec<_>>(), expected);
        assert!(steps.windows(2).all(|pair| pair[0].0 < pair[1].0), "each time once");
    }

    #[test]
    fn a_block_that_comes_later_goes_on_where_the_stream_ended() {
        let mut merge = CandleMerge::default();
        let stream = merge.add(false);
        merge.push(stream, [candle(0, 10)].into_iter());
        assert_eq!(order(&mut merge).len(), 1);
        assert!(merge.is_hungry());
        assert_eq!(merge.take_hungry(), [stream]);
        merge.push(stream, [candle(10, 20)].into_iter());
        assert_eq!(order(&mut merge), [(20, What::Close, vec![(0, 2)])]);
    }
}
