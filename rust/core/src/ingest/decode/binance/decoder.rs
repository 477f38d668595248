//! Binance spot, USD-M and COIN-M: bookTicker, trade, aggTrade, depthUpdate and REST snapshots.
//!
//! Decided here, where the venue leaves room: a time is `T`, else `E`, 13 digits ms or 16 digits us. `m: true` means that
//! the buyer was the maker: the aggressor sold. Levels come bids first, then asks; a depth event or snapshot without any
//! is one level_empty tick with the same ids. A futures trade with `X` other than MARKET, or any trade at price 0, is
//! ignored, and [`Decoder::passed_over`] tells its id, so that no gap is seen where nothing was lost. A bare object
//! without `e` that has `u` and `s` is a bookTicker. A snapshot names its symbol (`symbol` or `s`), or belongs to the
//! only symbol that this decoder has accepted so far. Partial and RPI books are known by their stream's name, so only
//! in an envelope.
//! Guarantees: see [`crate::ingest::decode`]. Instruments are looked up last, after everything else is known to be good.
//! Does not: keep books, join snapshots with diffs, or guess its venue (see [`detect_venue`]).

use super::frame::{Frame, Level};
use super::number::Number;
use super::symbols::Symbols;
use super::{fast, json};
use crate::ingest::decode::{FrameType, IgnoredType, Outcome, RejectReason};
use crate::limits::FRAME_BYTES_MAX;
use crate::market::instrument::{InstrumentTable, Venue};
use crate::market::kind;
use crate::market::tick::{Tick, flags};
use std::ops::Range;

/// A venue id that was used up by a frame that is no tick of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The instrument that it belongs to.
    pub instrument: u32,
    /// The kind whose ids it is one of.
    pub kind: u8,
    /// The id.
    pub venue_seq: u64,
}

/// Decodes the frames of one source at one venue.
#[derive(Clone, Debug)]
pub struct Decoder {
    venue: Venue,
    symbols: Symbols,
    levels: Vec<Level>,
    passed_over: Option<PassedOver>,
    general_only: bool,
}

impl Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub fn new(venue: Venue) -> Self {
        Self {
            venue,
            symbols: Symbols::new(venue),
            levels: Vec::new(),
            passed_over: None,
            general_only: false,
        }
    }

    /// A decoder that reads every frame the general way: what the predicted scanner is checked against.
    #[must_use]
    pub fn general_only(venue: Venue) -> Self {
        Self {
            general_only: true,
            ..Self::new(venue)
        }
    }

    /// Its venue.
    #[must_use]
    pub fn venue(&self) -> Venue {
        self.venue
    }

    /// The id that the last frame used up without a tick; hand it to [`crate::ingest::sequencer::Sequencer::pass_over`].
    #[must_use]
    pub fn passed_over(&self) -> Option<PassedOver> {
        self.passed_over
    }

    /// Decodes one frame and appends its ticks to `out`: times, ids, flags and values are set, `seq` is 0.
    pub fn decode(
        &mut self,
        frame: &[u8],
        ts_init: i64,
        instruments: &mut InstrumentTable,
        out: &mut Vec<Tick>,
    ) -> Outcome {
        self.passed_over = None;
        if frame.len() > FRAME_BYTES_MAX {
            return Outcome::Rejected(RejectReason::FrameTooLong);
        }
        self.levels.clear();
        if !self.general_only
            && let Some(frame) = fast::read(frame, self.venue, &mut self.levels)
        {
            return self
                .emit(frame, ts_init, instruments, out)
                .unwrap_or_else(Outcome::Rejected);
        }
        self.levels.clear();
        let outcome = json::Reading::new(frame, &mut self.levels)
            .and_then(|reading| reading.interpret(self.venue))
            .and_then(|frame| self.emit(frame, ts_init, instruments, out));
        outcome.unwrap_or_else(Outcome::Rejected)
    }

    fn emit(
        &mut self,
        frame: Frame,
        ts_init: i64,
        instruments: &mut InstrumentTable,
        out: &mut Vec<Tick>,
    ) -> Result<Outcome, RejectReason> {
        let single = flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT;
        match frame {
            Frame::Ignored(ignored) => Ok(Outcome::Ignored(ignored)),
            Frame::NonMarketTrade { symbol, id } => {
                self.passed_over = self.symbols.known(&symbol, instruments).map(|instrument| PassedOver {
                    instrument,
                    kind: kind::TRADE,
                    venue_seq: id,
                });
                Ok(Outcome::Ignored(IgnoredType::TRADE_NON_MARKET))
            }
            Frame::Quote {
                symbol,
                id,
                ts_event,
                bid_price,
                ask_price,
                bid_size,
                ask_size,
            } => {
                let numbers = [bid_price, ask_price, bid_size, ask_size];
                out.push(Tick {
                    seq: 0,
                    venue_seq: id,
                    ts_event: ts_event.unwrap_or(0),
                    ts_init,
                    instrument: self.symbols.resolve(&symbol, instruments)?,
                    kind: kind::QUOTE,
                    side: 0,
                    flags: single | time_flag(ts_event) | inexact_flag(&numbers),
                    values: numbers.map(|number| number.bits),
                });
                Ok(Outcome::Accepted(FrameType::BookTicker))
            }
            Frame::Trade {
                symbol,
                id,
                constituents,
                ts_event,
                price,
                size,
                buyer_is_maker,
            } => {
                let (first, last) = constituents.unwrap_or((0, 0));
                let (kind, frame_type) = match constituents {
                    None => (kind::TRADE, FrameType::Trade),
                    Some(_) => (kind::AGG_TRADE, FrameType::AggTrade),
                };
                out.push(Tick {
                    seq: 0,
                    venue_seq: id,
                    ts_event,
                    ts_init,
                    instrument: self.symbols.resolve(&symbol, instruments)?,
                    kind,
                    side: if buyer_is_maker { -1 } else { 1 },
                    flags: single | inexact_flag(&[price, size]),
                    values: [price.bits, size.bits, first, last],
                });
                Ok(Outcome::Accepted(frame_type))
            }
            Frame::Depth {
                symbol,
                first,
                last,
                prev,
                ts_event,
                bids,
                asks,
            } => {
                let template = Tick {
                    venue_seq: last,
                    ts_event,
                    ts_init,
                    instrument: self.symbols.resolve(&symbol, instruments)?,
                    values: [0, 0, first, prev],
                    ..Tick::default()
                };
                push_levels(&self.levels, bids, asks, template, out);
                Ok(Outcome::Accepted(FrameType::DepthUpdate))
            }
            Frame::Snapshot {
                symbol,
                last,
                ts_event,
                bids,
                asks,
            } => {
                let instrument = match symbol {
                    Some(symbol) => self.symbols.resolve(&symbol, instruments)?,
                    None => self.symbols.only().ok_or(RejectReason::SnapshotWithoutSymbol)?,
                };
                let template = Tick {
                    venue_seq: last,
                    ts_event: ts_event.unwrap_or(0),
                    ts_init,
                    instrument,
                    flags: flags::SNAPSHOT | time_flag(ts_event),
                    ..Tick::default()
                };
                push_levels(&self.levels, bids, asks, template, out);
                Ok(Outcome::Accepted(FrameType::Snapshot))
            }
        }
    }
}

/// One event: bids, then asks, or one level_empty tick.
fn push_levels(levels: &[Level], bids: Range<usize>, asks: Range<usize>, template: Tick, out: &mut Vec<Tick>) {
    let start = out.len();
    for (range, side) in [(bids, 1), (asks, -1)] {
        out.extend(levels[range].iter().map(|level| Tick {
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

fn inexact_flag(numbers: &[Number]) -> u16 {
    let inexact = numbers.iter().fold(false, |any, number| any | number.inexact);
    u16::from(inexact) * flags::INEXACT_TEXT
}
