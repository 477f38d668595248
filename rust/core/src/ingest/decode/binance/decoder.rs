//! Binance spot, USD-M and COIN-M: bookTicker, trade, aggTrade, depthUpdate, REST snapshots, and the states of streams
//! that the feed writes between them; mark prices, settled funding, open interest, liquidations and closed candles.
//!
//! Decided here, where the venue leaves room: a time is `T`, else `E`, 13 digits ms or 16 digits us. `m: true` means
//! that the buyer was the maker: the aggressor sold. Levels come bids first, then asks; a depth event or snapshot
//! without any is one level_empty tick with the same ids. A futures trade with `X` other than MARKET, or any trade at
//! price 0, is ignored, and [`Decoder::passed_over`] returns its id, so that no gap is seen where nothing was lost. A
//! bare object without `e` that has `u` and `s` is a bookTicker. A snapshot names its symbol (`symbol` or `s`), or
//! belongs to the only symbol that this decoder has accepted so far. Partial and RPI books are known by their stream's
//! name, so only in an envelope. A liquidation is as large as was filled, at its average price. A candle that has not
//! closed, or whose length is no fixed time (a month), is ignored.
//! Guarantees: see [`crate::ingest::decode`]. Instruments are looked up last, after everything else is known to be
//! good.
//! Does not: keep books, join snapshots with diffs, or guess its venue (see [`detect_venue`]).

use super::frame::{Frame, Level};
use super::symbols::Symbols;
use super::{fast, json};
use crate::ingest::decode::{FrameType, IgnoredType, Outcome, RejectReason};
use crate::limits::FRAME_BYTES_MAX;
use crate::market::instrument::{InstrumentTable, Venue};
use crate::market::kind;
use crate::market::tick::Tick;

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

    /// Every instrument that its frames have named so far, in no order.
    pub fn instruments(&self) -> impl Iterator<Item = u32> {
        self.symbols.instruments()
    }

    /// The id that the last frame used up without a tick; hand it to
    /// [`crate::ingest::sequencer::Sequencer::pass_over`].
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
            Frame::Quote(quote) => {
                let instrument = self.symbols.resolve(&quote.symbol, instruments)?;
                out.push(quote.tick(instrument, ts_init));
                Ok(Outcome::Accepted(FrameType::BookTicker))
            }
            Frame::Trade(trade) => {
                let instrument = self.symbols.resolve(&trade.symbol, instruments)?;
                out.push(trade.tick(instrument, ts_init));
                Ok(Outcome::Accepted(trade.frame_type()))
            }
            Frame::Depth(depth) => {
                let instrument = self.symbols.resolve(&depth.symbol, instruments)?;
                depth.push_ticks(&self.levels, instrument, ts_init, out);
                Ok(Outcome::Accepted(FrameType::DepthUpdate))
            }
            Frame::Snapshot(snapshot) => {
                let instrument = match &snapshot.symbol {
                    Some(symbol) => self.symbols.resolve(symbol, instruments)?,
                    None => self.symbols.only().ok_or(RejectReason::SnapshotWithoutSymbol)?,
                };
                snapshot.push_ticks(&self.levels, instrument, ts_init, out);
                Ok(Outcome::Accepted(FrameType::Snapshot))
            }
            Frame::One(one) => {
                let instrument = self.symbols.resolve(&one.symbol, instruments)?;
                out.push(Tick {
                    instrument,
                    ts_init,
                    ..one.tick
                });
                Ok(Outcome::Accepted(one.frame_type))
            }
            Frame::Candle(candle) => {
                let instrument = self.symbols.resolve(&candle.symbol, instruments)?;
                out.extend(candle.ticks(instrument, ts_init));
                Ok(Outcome::Accepted(FrameType::Kline))
            }
            Frame::Status { symbol, status } => {
                let instrument = self.symbols.resolve(&symbol, instruments)?;
                out.push(status.tick(instrument, ts_init));
                Ok(Outcome::Accepted(FrameType::Status))
            }
        }
    }
}
