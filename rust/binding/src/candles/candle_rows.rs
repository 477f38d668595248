//! `CandleRows`: the closed candles of each instrument that a result is made of, until it looks at them.
//!
//! Guarantees: the candle that completes a block is left to the handler in Python, which looks at the block there.
//! Does not: keep candles that orders are not filled from.

use std::sync::Arc;

use headrace_core::candles::Taken;
use numpy::PyArray1;
use pyo3::prelude::*;
use rustc_hash::FxHashMap;

use super::audit_hash::AuditHash;
use super::candle_merge::CandleMerge;
use super::shared::Shared;
use crate::bus::{BusHandler, CandleTap};
use crate::hot::exclusive::{self, Exclusive};

/// A candle: its times, low, high and close.
type Row = (i64, i64, f64, f64, f64);

/// What is looked at of candles: when they closed, and at what; when prices were there, and these.
type Looked<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f64>>,
);

#[derive(Default)]
struct Block {
    rows: Vec<Row>,
    /// Blocks are looked at in the order in which they began.
    began: u64,
    closed_ns: Option<i64>,
}

#[derive(Default)]
struct Blocks {
    by_name: FxHashMap<String, usize>,
    blocks: Vec<(String, Block)>,
    /// By number of an instrument in the merge: its place.
    places: Vec<Option<usize>>,
    begun: u64,
}

impl Blocks {
    fn place_of(&mut self, instrument: &str) -> usize {
        if let Some(place) = self.by_name.get(instrument) {
            return *place;
        }
        self.by_name.insert(instrument.to_owned(), self.blocks.len());
        self.blocks.push((instrument.to_owned(), Block::default()));
        self.blocks.len() - 1
    }

    fn add(&mut self, place: usize, row: Row) -> usize {
        let block = &mut self.blocks[place].1;
        if block.rows.is_empty() {
            self.begun += 1;
            block.began = self.begun;
        }
        block.closed_ns = Some(row.1);
        block.rows.push(row);
        block.rows.len()
    }
}

struct Rows {
    shared: Arc<Shared>,
    full: usize,
    blocks: Exclusive<Blocks>,
}

impl Rows {
    /// The blocks; whoever has them runs nothing of Python, so no other call comes in between.
    #[inline]
    fn blocks<'a, 'py>(&'a self, py: Python<'py>) -> exclusive::Taken<'a, 'py, Blocks> {
        self.blocks.take(py).expect("one call at a time")
    }
}

impl CandleTap for Rows {
    fn take(&self, py: Python<'_>, stream: u32) -> bool {
        self.shared.with_closed(py, stream, |own, Taken { candle, .. }| {
            if candle.ts_close - candle.ts_open != own.shortest_ns {
                return true;
            }
            let mut blocks = self.blocks(py);
            let Some(place) = blocks.places.get(own.at).copied().flatten() else {
                return false;
            };
            if blocks.blocks[place].1.rows.len() + 1 >= self.full {
                return false;
            }
            let row = (candle.ts_open, candle.ts_close, candle.low, candle.high, candle.close);
            blocks.add(place, row);
            true
        })
    }
}

/// Closed candles by instrument, in blocks of ``full``.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct CandleRows(Arc<Rows>);

#[pymethods]
impl CandleRows {
    #[new]
    fn new(candles: &CandleMerge, full: usize) -> Self {
        Self(Arc::new(Rows {
            shared: Arc::clone(&candles.shared),
            full,
            blocks: Exclusive::default(),
        }))
    }

    /// Adds a candle of an instrument; returns whether its block is full. times : open, close. prices : low, high, close.
    fn add(&self, py: Python<'_>, instrument: &str, times: (i64, i64), prices: (f64, f64, f64)) -> bool {
        let ((ts_open, ts_close), (low, high, close)) = (times, prices);
        let mut blocks = self.0.blocks(py);
        let place = blocks.place_of(instrument);
        if let Some(at) = self.0.shared.number_of(instrument) {
            let needed = blocks.places.len().max(at + 1);
            blocks.places.resize(needed, None);
            blocks.places[at] = Some(place);
        }
        blocks.add(place, (ts_open, ts_close, low, high, close)) >= self.0.full
    }

    /// The candles of an instrument that were not taken yet: when each closed, and its close; then, of each, three times
    /// with a price: its low and its high from behind its open on, and its close. into : takes them for their hash.
    #[pyo3(signature = (instrument, *, into))]
    fn take<'py>(&self, py: Python<'py>, instrument: &str, into: Option<Py<AuditHash>>) -> Looked<'py> {
        let rows = {
            let mut blocks = self.0.blocks(py);
            let place = blocks.place_of(instrument);
            std::mem::take(&mut blocks.blocks[place].1.rows)
        };
        if let Some(hash) = into {
            // As numbers of one kind, times too.
            let values = rows
                .iter()
                .flat_map(|row| [row.0 as f64, row.1 as f64, row.2, row.3, row.4]);
            let bytes = values.flat_map(f64::to_le_bytes).collect();
            hash.get().take_input(py, instrument, bytes);
        }
        let seen = rows.iter().flat_map(|row| [row.0 + 1, row.0 + 1, row.1]);
        let prices = rows.iter().flat_map(|row| [row.2, row.3, row.4]);
        (
            PyArray1::from_iter(py, rows.iter().map(|row| row.1)),
            PyArray1::from_iter(py, rows.iter().map(|row| row.4)),
            PyArray1::from_vec(py, seen.collect()),
            PyArray1::from_vec(py, prices.collect()),
        )
    }

    /// The instruments that have candles which were not taken yet, in the order of the first of these.
    fn waiting(&self, py: Python<'_>) -> Vec<String> {
        let blocks = self.0.blocks(py);
        let mut waiting: Vec<_> = blocks
            .blocks
            .iter()
            .filter(|(_, block)| !block.rows.is_empty())
            .collect();
        waiting.sort_by_key(|(_, block)| block.began);
        waiting.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// When the last candle of an instrument closed, ns; None: none has.
    fn closed_ns(&self, py: Python<'_>, instrument: &str) -> Option<i64> {
        let blocks = self.0.blocks(py);
        let place = blocks.by_name.get(instrument)?;
        blocks.blocks[*place].1.closed_ns
    }

    /// Takes candles in place of a handler, where it can.
    fn tap(&self, handler: &BusHandler) {
        handler.set_tap(self.0.clone());
    }
}
