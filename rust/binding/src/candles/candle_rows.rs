//! `CandleRows`: the closed candles of each instrument that a result is made of, until it looks at them.
//!
//! Guarantees: the candle that completes a block is left to the handler in Python, which looks at the block there.
//! Does not: keep candles that orders are not filled from.

use std::sync::{Arc, Mutex};

use headrace_core::candles::Taken;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustc_hash::FxHashMap;

use super::candle_merge::CandleMerge;
use super::shared::Shared;
use crate::bus::{BusHandler, CandleTap};
use crate::lock::lock;

/// A candle: its times, low, high and close.
type Row = (i64, i64, f64, f64, f64);

const ROW_BYTES: usize = 40;

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
    blocks: Mutex<Blocks>,
}

impl CandleTap for Rows {
    fn take(&self, stream: u32) -> bool {
        self.shared.with_closed(stream, |own, Taken { candle, .. }| {
            if candle.ts_close - candle.ts_open != own.shortest_ns {
                return true;
            }
            let mut blocks = lock(&self.blocks);
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
            blocks: Mutex::default(),
        }))
    }

    /// Adds a candle of an instrument; returns whether its block is full.
    fn add(&self, instrument: &str, ts_open: i64, ts_close: i64, low: f64, high: f64, close: f64) -> bool {
        let mut blocks = lock(&self.0.blocks);
        let place = blocks.place_of(instrument);
        if let Some(at) = self.0.shared.number_of(instrument) {
            let needed = blocks.places.len().max(at + 1);
            blocks.places.resize(needed, None);
            blocks.places[at] = Some(place);
        }
        blocks.add(place, (ts_open, ts_close, low, high, close)) >= self.0.full
    }

    /// The candles of an instrument that were not taken yet, 40 bytes each: ts_open, ts_close, low, high, close.
    fn take<'py>(&self, py: Python<'py>, instrument: &str) -> Bound<'py, PyBytes> {
        let rows = {
            let mut blocks = lock(&self.0.blocks);
            let place = blocks.place_of(instrument);
            std::mem::take(&mut blocks.blocks[place].1.rows)
        };
        let mut bytes = Vec::with_capacity(rows.len() * ROW_BYTES);
        for (ts_open, ts_close, low, high, close) in rows {
            bytes.extend_from_slice(&ts_open.to_le_bytes());
            bytes.extend_from_slice(&ts_close.to_le_bytes());
            for price in [low, high, close] {
                bytes.extend_from_slice(&price.to_le_bytes());
            }
        }
        PyBytes::new(py, &bytes)
    }

    /// The instruments that have candles which were not taken yet, in the order of the first of these.
    fn waiting(&self) -> Vec<String> {
        let blocks = lock(&self.0.blocks);
        let mut waiting: Vec<_> = blocks
            .blocks
            .iter()
            .filter(|(_, block)| !block.rows.is_empty())
            .collect();
        waiting.sort_by_key(|(_, block)| block.began);
        waiting.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// When the last candle of an instrument closed, ns; None: none has.
    fn closed_ns(&self, instrument: &str) -> Option<i64> {
        let blocks = lock(&self.0.blocks);
        let place = blocks.by_name.get(instrument)?;
        blocks.blocks[*place].1.closed_ns
    }

    /// Takes candles in place of a handler, where it can.
    fn tap(&self, handler: &BusHandler) {
        handler.set_tap(self.0.clone());
    }
}
