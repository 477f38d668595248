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
//! closed, or whose length is no fixed time (a month), is ignored. An array of mark prices (`!markPrice@arr`) is one
//! frame of many instruments.
//! Guarantees: see [`crate::ingest::decode`]. Instruments are looked up last, after everything else is known to be
//! good.
//! Does not: keep books, join snapshots with diffs, or guess its venue (see [`detect_venue`]).

use super::frame::{Frame, Level, Marks};
use super::read_block::ReadFrame;
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
        let mut levels = std::mem::take(&mut self.levels);
        levels.clear();
        let outcome = self
            .read(frame, &mut levels)
            .and_then(|frame| self.emit(&frame, &levels, ts_init, instruments, out));
        self.levels = levels;
        outcome.unwrap_or_else(Outcome::Rejected)
    }

    /// Appends the ticks of a frame that was read ahead, as [`Decoder::decode`] does.
    #[inline]
    pub fn take(&mut self, frame: ReadFrame<'_>, instruments: &mut InstrumentTable, out: &mut Vec<Tick>) -> Outcome {
        self.passed_over = None;
        match self.instrument_of(frame.symbol, instruments) {
            Ok(instrument) => {
                out.extend(frame.ticks.iter().map(|tick| Tick { instrument, ..*tick }));
                Outcome::Accepted(frame.frame_type)
            }
            Err(reason) => Outcome::Rejected(reason),
        }
    }

    #[inline]
    fn read<'a>(&self, frame: &'a [u8], levels: &mut Vec<Level>) -> Result<Frame<'a>, RejectReason> {
        if !self.general_only
            && let Some(frame) = fast::read(frame, self.venue, levels)
        {
            return Ok(frame);
        }
        levels.clear();
        json::Reading::new(frame, levels).and_then(|reading| reading.interpret(self.venue))
    }

    #[inline]
    fn emit(
        &mut self,
        frame: &Frame<'_>,
        levels: &[Level],
        ts_init: i64,
        instruments: &mut InstrumentTable,
        out: &mut Vec<Tick>,
    ) -> Result<Outcome, RejectReason> {
        match frame {
            Frame::Ticks { symbol, content } => {
                let instrument = self.instrument_of(symbol.as_deref(), instruments)?;
                Ok(Outcome::Accepted(content.push_ticks(levels, instrument, ts_init, out)))
            }
            Frame::Marks(marks) => self.push_marks(marks, ts_init, instruments, out),
            Frame::NonMarketTrade { symbol, id } => {
                self.passed_over = self.symbols.known(symbol, instruments).map(|instrument| PassedOver {
                    instrument,
                    kind: kind::TRADE,
                    venue_seq: *id,
                });
                Ok(Outcome::Ignored(IgnoredType::TRADE_NON_MARKET))
            }
            Frame::Ignored(ignored) => Ok(Outcome::Ignored(*ignored)),
        }
    }

    #[inline]
    fn instrument_of(&mut self, symbol: Option<&[u8]>, instruments: &mut InstrumentTable) -> Result<u32, RejectReason> {
        match symbol {
            Some(symbol) => self.symbols.resolve(symbol, instruments),
            None => self.symbols.only().ok_or(RejectReason::SnapshotWithoutSymbol),
        }
    }

    /// Instruments that are not configured, where discovery is off, are passed over: the venue sends every one that it has.
    fn push_marks(
        &mut self,
        marks: &Marks<'_>,
        ts_init: i64,
        instruments: &mut InstrumentTable,
        out: &mut Vec<Tick>,
    ) -> Result<Outcome, RejectReason> {
        let before = out.len();
        for (symbol, mark) in marks {
            match self.symbols.resolve(symbol, instruments) {
                Ok(instrument) => _ = mark.push_ticks(&[], instrument, ts_init, out),
                Err(RejectReason::UnknownInstrument) => {}
                Err(reason) => {
                    out.truncate(before);
                    return Err(reason);
                }
            }
        }
        if out.len() == before {
            return Err(RejectReason::UnknownInstrument);
        }
        Ok(Outcome::Accepted(FrameType::MarkPrice))
    }
}
