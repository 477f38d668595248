//! Bars: the ticks of an interval as open, high, low, close and volume, for many specs at once.
//!
//! ```text
//!   tick ─▶ cells[instrument, kind] ─▶ series, one per spec ─▶ closed bars, in the order in which they closed
//! ```
//! What happens when
//! - any tick is received when bars are due: they close first, by (due, spec, instrument);
//! - a tick comes at or after a close by venue time: the bar closes first, then the tick opens the next one;
//! - nothing comes: [`Bars::close_due`] closes what is due, by (due, spec, instrument);
//! - a tick is older than what is open or closed, or flagged LATE or DUPLICATE: it is counted, and changes no bar;
//! - a tick has no price, or no venue time where bars go by it: the same;
//! - a candle of the venue's comes: for specs of its length it is the bar, at once.
//!
//! Guarantees: intervals are [open, close), multiples of the timeframe since the epoch; volume is added in the order of
//! ticks; every tick of a spec is in exactly one number of [`Counts`].
//! Does not: read a clock (`now_ns` is an argument), or make a bar of an interval that has not ended.

use rustc_hash::FxHashMap;

use crate::market::instrument::InstrumentTable;
use crate::market::kind::{AGG_TRADE, KLINE, KLINE_VOLUME, QUOTE, TRADE};
use crate::market::tick::Tick;

use super::bar::{Bar, BarSpec, Counts};
use super::series::{Closed, NO_DATA, Outlet, Series};

/// Kinds that bars are made of, numbered from 0.
const BAR_KINDS: usize = 4;

#[inline]
fn place_of(kind: u8) -> usize {
    match kind {
        QUOTE => 0,
        TRADE => 1,
        AGG_TRADE => 2,
        KLINE => 3,
        _ => BAR_KINDS,
    }
}

/// A spec, its number, and when its data began.
#[derive(Debug)]
struct Wanted {
    id: u32,
    spec: BarSpec,
    /// [`NO_DATA`]: no tick came since it was added or changed.
    since_ns: i64,
}

/// Makes bars of ticks, for many specs at once.
#[derive(Debug, Default)]
pub struct Bars {
    /// In order of their numbers, which are never given twice.
    specs: Vec<Wanted>,
    /// A spec or a series has had no data yet.
    awaits_data: bool,
    next_spec: u32,
    /// First series and number of series of each (instrument, kind).
    cells: Vec<(u32, u32)>,
    series: Vec<Series>,
    outlet: Outlet,
    /// The newest tick of kind KLINE_VOLUME: it stands in front of its candle's prices.
    volume: Tick,
}

impl Bars {
    /// Adds a spec, which begins with the next tick, and returns its number.
    pub fn add(&mut self, spec: BarSpec, instruments: &InstrumentTable) -> u32 {
        let id = self.next_spec;
        self.next_spec += 1;
        self.specs.push(Wanted {
            id,
            spec,
            since_ns: NO_DATA,
        });
        self.compile(instruments);
        id
    }

    /// Sets anew which instruments have the bars of a spec; `false`: there is none of that number.
    ///
    /// Open bars of those that remain go on; those of the others make no bar. Without any, the spec is dropped.
    pub fn change(&mut self, id: u32, wanted: Vec<(String, bool)>, instruments: &InstrumentTable) -> bool {
        let Ok(index) = self.specs.binary_search_by_key(&id, |wanted| wanted.id) else {
            return false;
        };
        if wanted.is_empty() {
            self.specs.remove(index);
        } else {
            self.specs[index].spec.wanted = wanted;
            self.specs[index].since_ns = NO_DATA;
        }
        self.compile(instruments);
        true
    }

    /// Whether there is no spec.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.specs.is_empty()
    }

    fn compile(&mut self, instruments: &InstrumentTable) {
        let before: FxHashMap<(u32, u32), Series> = self
            .series
            .drain(..)
            .map(|series| ((series.bar.spec, series.bar.instrument), series))
            .collect();
        self.cells.clear();
        self.awaits_data = true;
        self.extend(instruments, before);
        let running = self.series.iter().filter(|series| series.is_timed());
        self.outlet.due = running.map(Series::entry).collect();
    }

    /// Adds the series of instruments that appeared since; `kept` are taken over.
    fn extend(&mut self, instruments: &InstrumentTable, mut kept: FxHashMap<(u32, u32), Series>) {
        let known = self.cells.len() / BAR_KINDS;
        for (instrument, row) in (0u32..).zip(instruments.rows()).skip(known) {
            for place in 0..BAR_KINDS {
                let first = self.series.len();
                for Wanted { id, spec, since_ns } in &self.specs {
                    if place_of(spec.price.kind()) == place
                        && let Some(empty) = spec.matches(&row.name)
                    {
                        let kept = kept.remove(&(*id, instrument));
                        let mut series = kept.unwrap_or_else(|| Series::new(*id, spec, instrument, *since_ns));
                        series.empty = empty;
                        self.series.push(series);
                    }
                }
                let count = self.series.len() - first;
                let index = |size: usize| u32::try_from(size).expect("fewer series than ids");
                self.cells.push((index(first), index(count)));
            }
        }
    }

    /// Takes the next ticks, in their order. position : of the first of them.
    #[inline]
    pub fn feed(&mut self, ticks: &[Tick], instruments: &InstrumentTable, position: u64) {
        if self.cells.len() < instruments.rows().len() * BAR_KINDS {
            self.extend(instruments, FxHashMap::default());
        }
        if self.awaits_data
            && let Some(first) = ticks.first()
        {
            self.begin(first.ts_init);
        }
        for (position, tick) in (position..).zip(ticks) {
            if self.next_due().is_some_and(|due_ns| due_ns <= tick.ts_init) {
                self.close_before(tick, position);
            }
            let Self {
                cells,
                series,
                outlet,
                volume,
                ..
            } = self;
            let place = place_of(tick.kind);
            if place >= BAR_KINDS {
                if tick.kind == KLINE_VOLUME {
                    *volume = *tick;
                }
                continue;
            }
            let Some(&(first, count)) = cells.get(tick.instrument as usize * BAR_KINDS + place) else {
                continue;
            };
            for series in &mut series[first as usize..(first + count) as usize] {
                if tick.kind == KLINE {
                    series.take_candle(tick, volume, position, outlet);
                } else {
                    series.fold(tick, position, outlet);
                }
            }
        }
    }

    /// The first tick came since the specs changed.
    #[cold]
    fn begin(&mut self, ts_init: i64) {
        self.awaits_data = false;
        let specs = self.specs.iter_mut().map(|wanted| &mut wanted.since_ns);
        let series = self.series.iter_mut().map(|series| &mut series.since_ns);
        for since_ns in specs.chain(series).filter(|since_ns| **since_ns == NO_DATA) {
            *since_ns = ts_init;
        }
    }

    /// When the next bar of time is due, ns; `None`: no such bar runs.
    #[must_use]
    pub fn next_due(&self) -> Option<i64> {
        self.outlet.due.first().map(|(due_ns, ..)| *due_ns)
    }

    /// Closes every bar that is due by `now_ns`, and returns them by (due, spec, instrument).
    pub fn close_due(&mut self, now_ns: i64) -> Vec<Bar> {
        let mut closed = Vec::new();
        self.close_by(now_ns, |_, bar| closed.push(bar));
        closed
    }

    #[cold]
    fn close_before(&mut self, tick: &Tick, position: u64) {
        let mut closed = std::mem::take(&mut self.outlet.closed);
        self.close_by(tick.ts_init, |due_ns, bar| {
            closed.push_back(Closed { position, due_ns, bar });
        });
        self.outlet.closed = closed;
    }

    fn close_by(&mut self, now_ns: i64, mut take: impl FnMut(i64, Bar)) {
        while let Some(&(due_ns, spec, instrument)) = self.outlet.due.first() {
            if due_ns > now_ns {
                break;
            }
            self.outlet.due.pop_first();
            let Some(series) = self.series_of(spec, instrument) else {
                continue;
            };
            let closed = series.close_listed(due_ns);
            if series.is_timed() {
                let entry = series.entry();
                self.outlet.due.insert(entry);
            }
            if let Some(bar) = closed {
                take(due_ns, bar);
            }
        }
    }

    fn series_of(&mut self, spec: u32, instrument: u32) -> Option<&mut Series> {
        let index = self.specs.binary_search_by_key(&spec, |wanted| wanted.id).ok()?;
        let place = place_of(self.specs[index].spec.price.kind());
        let (first, count) = *self.cells.get(instrument as usize * BAR_KINDS + place)?;
        let series = &mut self.series[first as usize..(first + count) as usize];
        series.iter_mut().find(|series| series.bar.spec == spec)
    }

    /// The position and the due time of the first bar that a tick closed and that was not taken yet.
    #[must_use]
    pub fn first_closed(&self) -> Option<(u64, i64)> {
        self.outlet.closed.front().map(|first| (first.position, first.due_ns))
    }

    /// Takes the bars that ticks closed up to a position, and that were due by `by_ns`, in the order in which they
    /// closed.
    pub fn take(&mut self, position: u64, by_ns: i64) -> Vec<Bar> {
        let closed = self.outlet.closed.iter();
        let count = closed.take_while(|closed| closed.position <= position && closed.due_ns <= by_ns);
        let count = count.count();
        self.outlet.closed.drain(..count).map(|closed| closed.bar).collect()
    }

    /// The counts of every spec, by its number.
    #[must_use]
    pub fn counts(&self) -> Vec<(u32, Counts)> {
        let mut all: Vec<(u32, Counts)> = self.specs.iter().map(|wanted| (wanted.id, Counts::default())).collect();
        for series in &self.series {
            if let Ok(index) = all.binary_search_by_key(&series.bar.spec, |(id, _)| *id) {
                all[index].1.add(&series.counts());
            }
        }
        all
    }
}
