//! An open window: the fields that plural handlers declare, as columns that grow while its ticks pass.
//!
//! ```text
//!   tick ─▶ list of on_quotes: bid_price ▒▒▒▒  ask_price ▒▒▒▒  ─▶ end of the window: one call
//!        └▶ list of on_ticks:  ts_init ▒▒▒▒▒▒
//! ```
//! Guarantees: a tick costs as many items as there are fields; neither ticks nor slots of the ring are kept, but for the
//! first few, for dead letters.
//! Does not: decide when it ends; that is `due`.

use headrace_core::market::kind::{KindSet, kind_set};
use headrace_core::market::tick::{Tick, flags};
use pyo3::prelude::*;
use rustc_hash::FxHashMap;

use super::about::{About, LETTER_TICKS_MAX};
use super::handler::{Handler, Role};
use crate::hot::columns::{ColumnPool, Positions};
use crate::hot::growing::GrowingColumn;
use crate::tables::names::Names;

/// What one plural handler will get.
pub(super) struct List {
    pub(super) handler: usize,
    pub(super) kinds: KindSet,
    columns: Vec<GrowingColumn>,
    len: usize,
    /// The first few of them.
    ticks: Vec<Tick>,
    positions: Vec<u64>,
    last: Tick,
    /// `seq` of the first of each instrument and kind, and by instrument the kinds that are among them.
    firsts: FxHashMap<(u32, u8), u64>,
    seen: Vec<KindSet>,
    /// Place of the last of each kind.
    lasts: Vec<(u8, usize)>,
}

impl List {
    fn new(handler: usize, described: &Handler, every_kinds: KindSet) -> Option<Self> {
        let (kind, kinds) = match described.role {
            Role::Plural(kind) => (kind, kind_set(kind)),
            Role::AllTicks => (0, every_kinds),
            Role::Singular(_) | Role::EveryTick => return None,
        };
        let columns = described.fields.iter().map(|field| GrowingColumn::new(*field, kind));
        Some(Self {
            handler,
            kinds,
            columns: columns.collect(),
            len: 0,
            ticks: Vec::new(),
            positions: Vec::new(),
            last: Tick::default(),
            firsts: FxHashMap::default(),
            seen: Vec::new(),
            lasts: Vec::new(),
        })
    }

    /// Makes room for so many more ticks.
    fn reserve(&mut self, py: Python<'_>, pool: &mut ColumnPool, more: usize) -> PyResult<()> {
        let mut columns = self.columns.iter_mut();
        columns.try_for_each(|column| column.reserve(py, pool, more))
    }

    #[inline]
    fn push(
        &mut self,
        py: Python<'_>,
        pool: &mut ColumnPool,
        names: &Names,
        tick: &Tick,
        position: u64,
    ) -> PyResult<()> {
        let contract = || names.of(tick.instrument).contract;
        let mut columns = self.columns.iter_mut();
        if let Err(error) = columns.try_for_each(|column| column.push(py, pool, tick, position, contract)) {
            // All columns or none.
            self.columns.iter_mut().for_each(|column| column.truncate(self.len));
            return Err(error);
        }
        self.note(std::slice::from_ref(tick), position);
        Ok(())
    }

    /// Appends ticks of one kind that there is room for, the first of them at this position.
    fn extend(&mut self, names: &Names, ticks: &[Tick], first: u64) {
        for column in &mut self.columns {
            column.extend(ticks, first, |tick| names.of(tick.instrument).contract);
        }
        self.note(ticks, first);
    }

    /// Remembers what a call says of its ticks: these of one kind were appended.
    #[inline]
    fn note(&mut self, ticks: &[Tick], first: u64) {
        let Some(last) = ticks.last() else { return };
        let letters = ticks.len().min(LETTER_TICKS_MAX.saturating_sub(self.ticks.len()));
        if letters > 0 {
            self.ticks.extend_from_slice(&ticks[..letters]);
            self.positions.extend((first..).take(letters));
        }
        for tick in ticks {
            // NO_INSTRUMENT wraps to row 0.
            let row = tick.instrument.wrapping_add(1) as usize;
            match self.seen.get(row) {
                Some(kinds) if kinds & kind_set(tick.kind) != 0 => {}
                _ => self.note_first(row, tick),
            }
        }
        self.len += ticks.len();
        match self.lasts.iter_mut().find(|(kind, _)| *kind == last.kind) {
            Some((_, at)) => *at = self.len - 1,
            None => self.lasts.push((last.kind, self.len - 1)),
        }
        self.last = *last;
    }

    #[cold]
    fn note_first(&mut self, row: usize, tick: &Tick) {
        if self.seen.len() <= row {
            self.seen.resize(row + 1, 0);
        }
        self.seen[row] |= kind_set(tick.kind);
        self.firsts.insert((tick.instrument, tick.kind), tick.seq);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its columns, for a call that is made now.
    pub(super) fn take_columns(
        &mut self,
        py: Python<'_>,
        pool: &mut ColumnPool,
        now_ns: i64,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let columns = self.columns.iter_mut();
        columns.map(|column| column.take(py, pool, now_ns)).collect()
    }

    pub(super) fn about(&self) -> About<'_> {
        let stream = (self.last.instrument, self.last.kind);
        About {
            ticks: &self.ticks,
            positions: Positions::Each(&self.positions),
            count: self.len,
            last: Some((&self.last, self.firsts.get(&stream).copied().unwrap_or_default())),
        }
    }

    fn clear(&mut self) {
        self.columns.iter_mut().for_each(GrowingColumn::clear);
        self.ticks.clear();
        self.positions.clear();
        for (instrument, _) in self.firsts.drain().map(|(stream, _)| stream) {
            self.seen[instrument.wrapping_add(1) as usize] = 0;
        }
        self.lasts.clear();
        self.len = 0;
    }
}

/// What a subscription with `every` holds until its window ends.
pub(super) struct Window {
    /// In the order of their calls: one for each kind, then `on_ticks`.
    pub(super) lists: Vec<List>,
    /// Ticks that it holds, of whatever kind, gaps and snapshots included.
    count: usize,
    /// Positions of the ring among them, by kind, and the first and the last of all positions.
    waiting: Vec<u64>,
    ends: (u64, u64),
}

impl Window {
    /// An empty one. plural_kinds : in the order in which their handlers are called.
    pub(super) fn new(handlers: &[Handler], every_kinds: KindSet) -> Self {
        let mut lists: Vec<List> = (0..)
            .zip(handlers)
            .filter_map(|(index, handler)| List::new(index, handler, every_kinds))
            .collect();
        lists.sort_by_key(|list| match handlers[list.handler].role {
            Role::Plural(kind) => kind,
            _ => u8::MAX,
        });
        Self {
            lists,
            count: 0,
            waiting: Vec::new(),
            ends: (0, 0),
        }
    }

    /// Appends a tick; `is_counted`: it is a position of the ring. The error is a handler's number and what went wrong.
    #[inline]
    pub(super) fn push(
        &mut self,
        py: Python<'_>,
        (pool, names): (&mut ColumnPool, &Names),
        (tick, position): (&Tick, u64),
        is_counted: bool,
    ) -> Result<(), (usize, PyErr)> {
        self.count(tick.kind, position, 1, is_counted);
        for list in &mut self.lists {
            if list.kinds & kind_set(tick.kind) != 0 {
                let pushed = list.push(py, pool, names, tick, position);
                pushed.map_err(|error| (list.handler, error))?;
            }
        }
        Ok(())
    }

    /// Makes room for so many more ticks of this kind.
    pub(super) fn reserve(&mut self, py: Python<'_>, pool: &mut ColumnPool, kind: u8, more: usize) -> PyResult<()> {
        let mut lists = self.lists.iter_mut().filter(|list| list.kinds & kind_set(kind) != 0);
        lists.try_for_each(|list| list.reserve(py, pool, more))
    }

    /// Appends ticks of one kind that there is room for, positions of the ring from `first` on.
    pub(super) fn extend(&mut self, names: &Names, ticks: &[Tick], first: u64) {
        let Some(tick) = ticks.first() else { return };
        self.count(tick.kind, first, ticks.len(), true);
        for list in &mut self.lists {
            if list.kinds & kind_set(tick.kind) != 0 {
                list.extend(names, ticks, first);
            }
        }
    }

    #[inline]
    fn count(&mut self, kind: u8, first: u64, count: usize, is_counted: bool) {
        let kind = usize::from(kind);
        if self.waiting.len() <= kind {
            self.waiting.resize(kind + 1, 0);
        }
        self.waiting[kind] += if is_counted { count as u64 } else { 0 };
        if self.count == 0 {
            self.ends.0 = first;
        }
        self.ends.1 = first + count as u64 - 1;
        self.count += count;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many of its ticks are positions of the ring, of these kinds.
    pub(super) fn count_waiting(&self, kinds: KindSet) -> u64 {
        let waiting = (0u8..).zip(&self.waiting);
        let of_kinds = waiting.filter(|(kind, _)| kinds & kind_set(*kind) != 0);
        of_kinds.map(|(_, count)| count).sum()
    }

    /// The first and the last position, of one that is not empty.
    pub(super) fn ends(&self) -> (u64, u64) {
        self.ends
    }

    /// Marks the last one of each kind: the call that follows holds a part of its window.
    pub(super) fn mark_partial(&mut self) {
        for list in &mut self.lists {
            for (_, last) in &list.lasts {
                for column in &mut list.columns {
                    column.mark(*last, flags::PARTIAL_WINDOW);
                }
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.lists.iter_mut().for_each(List::clear);
        self.waiting.clear();
        self.count = 0;
    }
}
