//! Ticks, depth events and tables for the sequencer's tests.

use headrace_core::market::instrument::InstrumentTable;
use headrace_core::market::kind::{self, KindTable, Nature, VenueIds};
use headrace_core::market::tick::{Tick, flags};

pub const SINGLE: u16 = flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT;
pub const SPOT: u32 = 0;
pub const USDM: u32 = 1;

pub fn tables() -> (InstrumentTable, KindTable) {
    let mut instruments = InstrumentTable::new(10, true);
    for name in ["BTCUSDT.BINANCE", "BTCUSDT.BINANCE_USDM", "ETHUSDT.BINANCE"] {
        instruments.add(name).unwrap();
    }
    let mut kinds = KindTable::default();
    kinds
        .register("sentiment", &["score"], Nature::State, VenueIds::None)
        .unwrap();
    (instruments, kinds)
}

pub fn tick(instrument: u32, kind: u8, venue_seq: u64) -> Tick {
    Tick {
        venue_seq,
        ts_init: 5,
        ts_event: 4,
        instrument,
        kind,
        flags: SINGLE,
        ..Tick::default()
    }
}

/// A depth event of so many levels: ids `first..=last`, and the event before.
pub fn depth(instrument: u32, levels: usize, first: u64, last: u64, prev: u64) -> Vec<Tick> {
    let level = Tick {
        flags: 0,
        values: [1, 2, first, prev],
        ..tick(instrument, kind::LEVEL, last)
    };
    let mut event = vec![level; levels.max(1)];
    if levels == 0 {
        event[0].kind = kind::LEVEL_EMPTY;
    }
    event[0].flags |= flags::FIRST_IN_EVENT;
    event[levels.max(1) - 1].flags |= flags::LAST_IN_EVENT;
    event
}
