//! A series: the bars of one spec and one instrument, the one that runs and what became of its ticks.
//!
//! ```text
//!   not running ──tick──▶ running [open, close) ──tick at or after the close, or due──▶ closed ─▶ not running, or empty
//! ```
//! Guarantees: a tick is folded or counted, never both, never neither; what closes does so once.
//! Does not: depend on other series, or on when it is looked at.

use std::collections::{BTreeSet, VecDeque};

use super::bar::{Bar, BarPrice, BarSpec, Counts, Timeframe};
use crate::limits::BARS_EMPTY_MAX;
use crate::market::tick::{Tick, flags};

/// No interval runs: the next tick begins one.
const NOT_RUNNING: i64 = i64::MIN;

/// When the data of a series began, as long as no tick has come.
pub(super) const NO_DATA: i64 = i64::MAX;

/// The bars of one spec and one instrument.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// The bar that runs; `ts_open` is also the time below which a tick is late.
    pub(super) bar: Bar,
    /// When it closes, by the spec's time; [`NOT_RUNNING`]; or never, for bars that close by count.
    close_ns: i64,
    price: BarPrice,
    by_event: bool,
    pub(super) empty: bool,
    /// When the first tick of any kind was received since it was wanted, or [`NO_DATA`]: a bar that began before lacks
    /// ticks.
    pub(super) since_ns: i64,
    /// Ticks with one of them belong in no bar.
    unfit_flags: u16,
    /// Ticks that close it; never, for bars of time.
    ticks_max: u64,
    /// Its length; 0 for bars that close by count.
    step_ns: i64,
    /// The longest that a tick was on its way, where bars go by venue time; 0 when the venue's clock is ahead of ours.
    travel_ns: i64,
    /// Empty bars in a row.
    silent: u32,
    counts: Counts,
}

/// A bar that closed at a tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    /// A reader that stands here has all ticks that came before it closed.
    pub(super) position: u64,
    /// When it was due, or when the tick that closed it was received.
    pub(super) due_ns: i64,
    pub(super) bar: Bar,
}

/// Where closed bars go, and when open ones are due.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    pub(super) closed: VecDeque<Closed>,
    /// (due, spec, instrument): one entry for each bar of time that runs.
    pub(super) due: BTreeSet<(i64, u32, u32)>,
}

impl Outlet {
    /// A bar closed on this tick: behind it.
    fn close_behind(&mut self, tick: &Tick, position: u64, bar: Bar) {
        self.closed.push_back(Closed {
            position: position + 1,
            due_ns: tick.ts_init,
            bar,
        });
    }
}

impl Series {
    pub(super) fn new(id: u32, spec: &BarSpec, instrument: u32, since_ns: i64) -> Self {
        let (step_ns, ticks_max) = match spec.timeframe {
            Timeframe::Time(step_ns) => (step_ns.max(1), u64::MAX),
            Timeframe::Ticks(ticks) => (0, ticks.max(1)),
        };
        Self {
            bar: Bar {
                spec: id,
                instrument,
                ts_open: i64::MIN,
                ..Bar::default()
            },
            close_ns: NOT_RUNNING,
            price: spec.price,
            by_event: spec.by_event,
            empty: false,
            since_ns,
            unfit_flags: flags::NEVER_NEWEST | if spec.by_event { flags::NO_VENUE_TIME } else { 0 },
            ticks_max,
            step_ns,
            travel_ns: 0,
            silent: 0,
            counts: Counts::default(),
        }
    }

    #[inline]
    pub(super) fn fold(&mut self, tick: &Tick, position: u64, outlet: &mut Outlet) {
        let ts = if self.by_event { tick.ts_event } else { tick.ts_init };
        let (price, size) = self.price.of(tick);
        let is_priced = price.is_finite() && size.is_finite();
        if ts < self.bar.ts_open || tick.flags & self.unfit_flags != 0 || !is_priced {
            self.refuse(tick, ts);
            return;
        }
        if self.by_event {
            self.travel_ns = self.travel_ns.max(tick.ts_init.saturating_sub(ts));
        }
        if ts >= self.close_ns {
            self.turn_over(tick, position, ts, outlet);
        }
        let bar = &mut self.bar;
        if bar.count == 0 {
            (bar.open, bar.high, bar.low) = (price, price, price);
            bar.seq.0 = tick.seq;
            self.silent = 0;
        } else if price > bar.high {
            bar.high = price;
        } else if price < bar.low {
            bar.low = price;
        }
        bar.close = price;
        bar.volume += size;
        bar.count += 1;
        bar.seq.1 = tick.seq;
        bar.ts_init = tick.ts_init;
        if bar.count >= self.ticks_max {
            bar.ts_close = ts;
            let bar = self.emit();
            outlet.close_behind(tick, position, bar);
            self.bar.ts_open = ts;
            self.close_ns = NOT_RUNNING;
        }
    }

    /// Takes a candle of the venue's, which is a whole bar, if it has this length. volume : what stood in front of it.
    #[cold]
    pub(super) fn take_candle(&mut self, candle: &Tick, volume: &Tick, position: u64, outlet: &mut Outlet) {
        let is_its_volume = (volume.instrument, volume.ts_event, volume.ts_init)
            == (candle.instrument, candle.ts_event, candle.ts_init);
        if !is_its_volume || i64::try_from(volume.values[3]) != Ok(self.step_ns) {
            return;
        }
        let ts_open = candle.ts_event.saturating_sub(self.step_ns);
        let [open, high, low, close] = [0, 1, 2, 3].map(|index| candle.value(index));
        let is_priced = [open, high, low, close].into_iter().all(f64::is_finite);
        if ts_open < self.bar.ts_open || candle.flags & self.unfit_flags != 0 || !is_priced {
            self.refuse(candle, ts_open);
            return;
        }
        self.counts.ticks += 1;
        self.counts.bars += 1;
        self.bar.ts_open = candle.ts_event;
        let bar = Bar {
            open,
            high,
            low,
            close,
            volume: volume.value(0),
            count: volume.values[2],
            late: self.counts.late,
            ts_open,
            ts_close: candle.ts_event,
            seq: (candle.seq, candle.seq),
            ts_init: candle.ts_init,
            ..self.bar
        };
        outlet.close_behind(candle, position, bar);
    }

    /// Counts a tick that belongs in no bar.
    #[cold]
    fn refuse(&mut self, tick: &Tick, ts: i64) {
        let unfit = tick.flags & self.unfit_flags;
        let number = if unfit & flags::DUPLICATE != 0 {
            &mut self.counts.duplicates
        } else if unfit & flags::LATE != 0 {
            &mut self.counts.late
        } else if unfit != 0 {
            &mut self.counts.untimed
        } else if ts < self.bar.ts_open {
            &mut self.counts.late
        } else {
            &mut self.counts.unpriced
        };
        *number += 1;
    }

    /// A tick at `ts` is beyond what runs: closes that, and begins the interval of `ts`.
    #[cold]
    fn turn_over(&mut self, tick: &Tick, position: u64, ts: i64, outlet: &mut Outlet) {
        if self.step_ns == 0 {
            if self.close_ns == NOT_RUNNING {
                self.bar.ts_open = ts;
                self.close_ns = i64::MAX;
            }
            return;
        }
        if self.close_ns != NOT_RUNNING {
            outlet.due.remove(&self.entry());
        }
        while self.close_ns != NOT_RUNNING && ts >= self.close_ns {
            if let Some(bar) = self.close() {
                outlet.close_behind(tick, position, bar);
            }
        }
        if self.close_ns == NOT_RUNNING {
            let open_ns = ts.saturating_sub(ts.rem_euclid(self.step_ns));
            self.begin(open_ns);
        }
        outlet.due.insert(self.entry());
    }

    /// Whether an interval runs that ends by itself.
    pub(super) fn is_timed(&self) -> bool {
        self.step_ns > 0 && self.close_ns != NOT_RUNNING
    }

    /// Closes what was listed as due at `due_ns`, unless a slower tick came since: by venue time it is due later, then.
    pub(super) fn close_listed(&mut self, due_ns: i64) -> Option<Bar> {
        if self.due_ns() > due_ns {
            self.bar.ts_close = self.due_ns();
            return None;
        }
        self.close()
    }

    fn begin(&mut self, open_ns: i64) {
        self.bar.ts_open = open_ns;
        self.close_ns = open_ns.saturating_add(self.step_ns);
        self.bar.ts_close = self.due_ns();
    }

    /// When [`Bars::close_due`] closes it: by venue time, when the slowest tick so far would have come.
    fn due_ns(&self) -> i64 {
        if self.by_event {
            self.close_ns.saturating_add(self.travel_ns)
        } else {
            self.close_ns
        }
    }

    /// The key under which it is listed; `ts_close` of a bar that runs keeps the due time that it was listed with.
    pub(super) fn entry(&self) -> (i64, u32, u32) {
        (self.bar.ts_close, self.bar.spec, self.bar.instrument)
    }

    /// Closes the interval that runs; where the spec has empty bars, the next begins.
    fn close(&mut self) -> Option<Bar> {
        let end_ns = self.close_ns;
        let mut closed = None;
        // Without ticks, and empty bars are off by now: no bar.
        if self.bar.count > 0 || self.empty {
            if self.bar.count == 0 {
                self.counts.empty += 1;
                self.silent += 1;
            }
            self.bar.ts_close = end_ns;
            closed = Some(self.emit());
        }
        if self.empty && self.silent < BARS_EMPTY_MAX {
            self.begin(end_ns);
        } else {
            self.bar.ts_open = end_ns;
            self.close_ns = NOT_RUNNING;
        }
        closed
    }

    /// Returns the bar, and leaves the values that an empty one would have.
    fn emit(&mut self) -> Bar {
        self.counts.ticks += self.bar.count;
        self.counts.bars += 1;
        self.bar.late = self.counts.late;
        self.bar.partial = self.step_ns > 0 && self.bar.ts_open < self.since_ns;
        let closed = self.bar;
        let close = closed.close;
        self.bar = Bar {
            open: close,
            high: close,
            low: close,
            volume: 0.0,
            count: 0,
            seq: (closed.seq.1, closed.seq.1),
            ..closed
        };
        closed
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.counts;
        counts.ticks += self.bar.count;
        counts
    }
}
