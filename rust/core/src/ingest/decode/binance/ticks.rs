//! Ticks: a frame as records.
//!
//! Guarantees: times, ids, flags and values are set, `seq` is 0; a book's levels are one event.
//! Does not: find the instrument; the decoder does, last.

use std::ops::Range;

use super::frame::{Candle, Content, Depth, Level, Quote, Snapshot, Trade};
use super::number::Number;
use crate::ingest::decode::FrameType;
use crate::market::kind;
use crate::market::tick::{Tick, flags};

/// An event of one tick.
pub(super) const SINGLE: u16 = flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT;

impl Content {
    /// Appends its ticks. levels : those that its ranges are of.
    #[inline]
    pub(super) fn push_ticks(&self, levels: &[Level], instrument: u32, ts_init: i64, out: &mut Vec<Tick>) -> FrameType {
        match self {
            Self::Quote(quote) => {
                out.push(quote.tick(instrument, ts_init));
                FrameType::BookTicker
            }
            Self::Trade(trade) => {
                out.push(trade.tick(instrument, ts_init));
                trade.frame_type()
            }
            Self::Depth(depth) => {
                depth.push_ticks(levels, instrument, ts_init, out);
                FrameType::DepthUpdate
            }
            Self::Snapshot(snapshot) => {
                snapshot.push_ticks(levels, instrument, ts_init, out);
                FrameType::Snapshot
            }
            Self::One(frame_type, tick) => {
                out.push(Tick {
                    instrument,
                    ts_init,
                    ..*tick
                });
                *frame_type
            }
            Self::Candle(candle) => {
                out.extend(candle.ticks(instrument, ts_init));
                FrameType::Kline
            }
            Self::Status(status) => {
                out.push(status.tick(instrument, ts_init));
                FrameType::Status
            }
        }
    }
}

impl Quote {
    #[inline]
    fn tick(&self, instrument: u32, ts_init: i64) -> Tick {
        let numbers = [self.bid_price, self.ask_price, self.bid_size, self.ask_size];
        Tick {
            seq: 0,
            venue_seq: self.id,
            ts_event: self.ts_event.unwrap_or(0),
            ts_init,
            instrument,
            kind: kind::QUOTE,
            side: 0,
            flags: SINGLE | time_flag(self.ts_event) | inexact_flag(&numbers),
            values: numbers.map(|number| number.bits),
        }
    }
}

impl Trade {
    #[inline]
    fn frame_type(&self) -> FrameType {
        match self.constituents {
            None => FrameType::Trade,
            Some(_) => FrameType::AggTrade,
        }
    }

    #[inline]
    fn tick(&self, instrument: u32, ts_init: i64) -> Tick {
        let (kind, (first, last)) = match self.constituents {
            None => (kind::TRADE, (0, 0)),
            Some(constituents) => (kind::AGG_TRADE, constituents),
        };
        Tick {
            seq: 0,
            venue_seq: self.id,
            ts_event: self.ts_event,
            ts_init,
            instrument,
            kind,
            side: if self.buyer_is_maker { -1 } else { 1 },
            flags: SINGLE | inexact_flag(&[self.price, self.size]),
            values: [self.price.bits, self.size.bits, first, last],
        }
    }
}

impl Depth {
    fn push_ticks(&self, levels: &[Level], instrument: u32, ts_init: i64, out: &mut Vec<Tick>) {
        let template = Tick {
            venue_seq: self.last,
            ts_event: self.ts_event,
            ts_init,
            instrument,
            values: [0, 0, self.first, self.prev],
            ..Tick::default()
        };
        push_levels(levels, &self.bids, &self.asks, template, out);
    }
}

impl Snapshot {
    fn push_ticks(&self, levels: &[Level], instrument: u32, ts_init: i64, out: &mut Vec<Tick>) {
        let template = Tick {
            venue_seq: self.last,
            ts_event: self.ts_event.unwrap_or(0),
            ts_init,
            instrument,
            flags: flags::SNAPSHOT | time_flag(self.ts_event),
            ..Tick::default()
        };
        let start = out.len();
        push_levels(levels, &self.bids, &self.asks, template, out);
        for tick in &mut out[start..] {
            let is_cut = if tick.side > 0 { self.is_cut.0 } else { self.is_cut.1 };
            tick.flags |= u16::from(is_cut) * flags::CUT;
        }
    }
}

impl Candle {
    /// The volume first, so that the prices, behind which a bar closes, find it.
    fn ticks(&self, instrument: u32, ts_init: i64) -> [Tick; 2] {
        let tick = |kind, values| Tick {
            ts_event: self.end_ns,
            ts_init,
            instrument,
            kind,
            flags: SINGLE | self.flags,
            values,
            ..Tick::default()
        };
        let [volume, turnover] = self.volumes;
        [
            tick(kind::KLINE_VOLUME, [volume, turnover, self.trades, self.interval_ns]),
            tick(kind::KLINE, self.prices),
        ]
    }
}

/// One event: bids, then asks, or one level_empty tick.
fn push_levels(levels: &[Level], bids: &Range<usize>, asks: &Range<usize>, template: Tick, out: &mut Vec<Tick>) {
    let start = out.len();
    for (range, side) in [(bids, 1), (asks, -1)] {
        out.extend(levels[range.clone()].iter().map(|level| Tick {
            kind: kind::LEVEL,
            side,
            flags: template.flags | inexact_flag(&[level.price, level.size]),
            values: [
                level.price.bits,
                level.size.bits,
                template.values[2],
                template.values[3],
            ],
            ..template
        }));
    }
    if out.len() == start {
        out.push(Tick {
            kind: kind::LEVEL_EMPTY,
            ..template
        });
    }
    let event = &mut out[start..];
    event[0].flags |= flags::FIRST_IN_EVENT;
    let last = event.len() - 1;
    event[last].flags |= flags::LAST_IN_EVENT;
}

fn time_flag(ts_event: Option<i64>) -> u16 {
    if ts_event.is_none() { flags::NO_VENUE_TIME } else { 0 }
}

pub(super) fn inexact_flag(numbers: &[Number]) -> u16 {
    let inexact = numbers.iter().fold(false, |any, number| any | number.inexact);
    u16::from(inexact) * flags::INEXACT_TEXT
}
