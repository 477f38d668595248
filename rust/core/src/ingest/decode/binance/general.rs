//! The general way: the fields of any JSON text to a [`Frame`]. The reference that the predicted scanner falls back to.
//!
//! Guarantees: fields are judged after the type is known, so that other documented types pass whatever they hold. A
//! root with `data` is an envelope and needs `stream`. An array of mark prices is a frame of several instruments; any
//! other is ignored under its first event's name when every event in it is a documented one.
//! Does not: look at JSON (see [`super::json`]).

use super::fields::{Fields, Key};
use super::frame::{Candle, Content, Depth, Frame, Quote, Snapshot, Symbol, Trade, other_book, stream_kind};
use super::json::{Reading, Shape};
use super::number::Number;
use super::ticks::{SINGLE, inexact_flag};
use crate::ingest::decode::{FrameType, IgnoredType, RejectReason};
use crate::market::instrument::Venue;
use crate::market::kind;
use crate::market::status::{Status, StatusReason, StreamState};
use crate::market::tick::Tick;

impl<'a> Fields<'a> {
    fn interpret(&self, venue: Venue, stream: Option<&str>, nested: &Fields<'a>) -> Result<Frame<'a>, RejectReason> {
        let other_book = || stream.and_then(|stream| other_book(stream.as_bytes()));
        if self.has(Key::Event) {
            let event = self.text(Key::Event)?;
            return match &**event {
                "bookTicker" => self.quote(),
                "trade" => self.trade(venue),
                "aggTrade" => self.agg_trade(),
                "depthUpdate" => other_book().map_or_else(|| self.depth(venue), |other| Ok(Frame::Ignored(other))),
                "markPriceUpdate" => self.mark().map(|(symbol, mark)| Frame::of(symbol, mark)),
                "forceOrder" => self.liquidation(nested),
                "kline" => self.candle(nested),
                "headraceStatus" => self.status(),
                event => IgnoredType::from_event(event)
                    .map(Frame::Ignored)
                    .ok_or(RejectReason::UnknownType),
            };
        }
        let answers = self.has(Key::RequestId) && (self.has(Key::Result) || self.has(Key::ErrorBody));
        if self.has(Key::SnapshotId) {
            other_book().map_or_else(|| self.snapshot(), |other| Ok(Frame::Ignored(other)))
        } else if self.has(Key::OpenInterest) {
            self.open_interest()
        } else if self.has(Key::FundingTime) {
            self.funding()
        } else if answers || self.has(Key::Code) && self.has(Key::Message) {
            Ok(Frame::Ignored(IgnoredType::REPLY))
        } else if self.has(Key::LastId) && self.has(Key::Symbol) {
            self.quote()
        } else {
            Err(RejectReason::UnknownType)
        }
    }

    fn quote(&self) -> Result<Frame<'a>, RejectReason> {
        let symbol = self.symbol(Key::Symbol)?;
        Ok(Frame::of(
            symbol,
            Content::Quote(Quote {
                id: self.whole(Key::LastId)?,
                ts_event: self.ts_event()?,
                bid_price: self.number(Key::BidOrBids)?,
                ask_price: self.number(Key::AskOrAsks)?,
                bid_size: self.number(Key::BidSize)?,
                ask_size: self.number(Key::AskSize)?,
            }),
        ))
    }

    fn trade(&self, venue: Venue) -> Result<Frame<'a>, RejectReason> {
        let id = self.whole(Key::TradeId)?;
        let off_market = venue != Venue::Binance && self.has(Key::Execution) && self.text(Key::Execution)? != "MARKET";
        self.trade_like(id, None, off_market)
    }

    fn agg_trade(&self) -> Result<Frame<'a>, RejectReason> {
        let constituents = (self.whole(Key::FirstTrade)?, self.whole(Key::LastTrade)?);
        self.trade_like(self.whole(Key::AskOrAsks)?, Some(constituents), false)
    }

    fn trade_like(
        &self,
        id: u64,
        constituents: Option<(u64, u64)>,
        off_market: bool,
    ) -> Result<Frame<'a>, RejectReason> {
        let symbol = self.symbol(Key::Symbol)?;
        let price = self.number(Key::Price)?;
        let size = self.number(Key::Size)?;
        let ts_event = self.ts_event()?.ok_or(RejectReason::MissingField)?;
        let buyer_is_maker = self.bool(Key::BuyerIsMaker)?;
        if off_market || constituents.is_none() && price.bits == 0 {
            return Ok(Frame::NonMarketTrade { symbol, id });
        }
        Ok(Frame::of(
            symbol,
            Content::Trade(Trade {
                id,
                constituents,
                ts_event,
                price,
                size,
                buyer_is_maker,
            }),
        ))
    }

    fn depth(&self, venue: Venue) -> Result<Frame<'a>, RejectReason> {
        let symbol = self.symbol(Key::Symbol)?;
        Ok(Frame::of(
            symbol,
            Content::Depth(Depth {
                first: self.whole(Key::FirstId)?,
                last: self.whole(Key::LastId)?,
                prev: match venue {
                    Venue::Binance => 0,
                    Venue::BinanceUsdm | Venue::BinanceCoinm => self.whole(Key::PrevId)?,
                },
                ts_event: self.ts_event()?.ok_or(RejectReason::MissingField)?,
                bids: self.levels(Key::BidOrBids)?,
                asks: self.levels(Key::AskOrAsks)?,
            }),
        ))
    }

    fn snapshot(&self) -> Result<Frame<'a>, RejectReason> {
        let symbol = [Key::SymbolLong, Key::Symbol].into_iter().find(|&key| self.has(key));
        Ok(Frame::Ticks {
            symbol: symbol.map(|key| self.symbol(key)).transpose()?,
            content: Content::Snapshot(Snapshot {
                last: self.whole(Key::SnapshotId)?,
                ts_event: self.ts_event()?,
                bids: self.levels(Key::Bids)?,
                asks: self.levels(Key::Asks)?,
                is_cut: (self.is_cut(Key::BidsCut)?, self.is_cut(Key::AsksCut)?),
            }),
        })
    }

    /// Only snapshots of our own books say so.
    fn is_cut(&self, key: Key) -> Result<bool, RejectReason> {
        if self.has(key) { self.bool(key) } else { Ok(false) }
    }

    pub(super) fn mark(&self) -> Result<(Symbol<'a>, Content), RejectReason> {
        let next_funding_ns = match self.has(Key::TradeTime) && self.whole(Key::TradeTime)? > 0 {
            true => self.time(Key::TradeTime)?.cast_unsigned(),
            false => 0,
        };
        let price = self.number(Key::Price)?;
        // A delivery contract has no funding, and old frames no index.
        let index = self.optional(Key::IndexOrInterval, Self::number)?;
        let rate = self.optional(Key::FundingRate, Self::signed)?;
        let tick = Tick {
            ts_event: self.time(Key::EventTime)?,
            kind: kind::MARK,
            values: [price.bits, index.bits, rate.bits, next_funding_ns],
            ..Tick::default()
        };
        let symbol = self.symbol(Key::Symbol)?;
        Ok((symbol, one(FrameType::MarkPrice, &[price, index, rate], tick)))
    }

    fn funding(&self) -> Result<Frame<'a>, RejectReason> {
        let rate = self.signed(Key::FundingRateLong)?;
        let price = self.optional(Key::MarkPrice, Self::number)?;
        let tick = Tick {
            venue_seq: self.whole(Key::FundingTime)?,
            ts_event: self.time(Key::FundingTime)?,
            kind: kind::FUNDING,
            values: [price.bits, 0, rate.bits, 0],
            ..Tick::default()
        };
        let symbol = self.symbol(Key::SymbolLong)?;
        Ok(Frame::of(symbol, one(FrameType::Funding, &[price, rate], tick)))
    }

    fn open_interest(&self) -> Result<Frame<'a>, RejectReason> {
        let contracts = self.number(Key::OpenInterest)?;
        let tick = Tick {
            venue_seq: self.whole(Key::Time)?,
            ts_event: self.time(Key::Time)?,
            kind: kind::OPEN_INTEREST,
            values: [contracts.bits, 0, 0, 0],
            ..Tick::default()
        };
        let symbol = self.symbol(Key::SymbolLong)?;
        Ok(Frame::of(symbol, one(FrameType::OpenInterest, &[contracts], tick)))
    }

    fn liquidation(&self, nested: &Fields<'a>) -> Result<Frame<'a>, RejectReason> {
        let order = self.object(Key::OrderOrOpen, nested)?;
        let (average, limit) = (order.number(Key::AveragePrice)?, order.number(Key::Price)?);
        let (filled, ordered) = (order.number(Key::Filled)?, order.number(Key::Size)?);
        // Nothing was filled yet: what was ordered.
        let (price, size) = if filled.bits == 0 {
            (limit, ordered)
        } else {
            (average, filled)
        };
        let side = match &**order.text(Key::OrderSide)? {
            "BUY" => 1,
            "SELL" => -1,
            _ => return Err(RejectReason::WrongType),
        };
        let tick = Tick {
            ts_event: order.time(Key::TradeTime)?,
            kind: kind::LIQUIDATION,
            side,
            values: [price.bits, size.bits, 0, 0],
            ..Tick::default()
        };
        let symbol = order.symbol(Key::Symbol)?;
        Ok(Frame::of(symbol, one(FrameType::Liquidation, &[price, size], tick)))
    }

    fn candle(&self, nested: &Fields<'a>) -> Result<Frame<'a>, RejectReason> {
        let candle = self.object(Key::Candle, nested)?;
        let interval_ns = interval_ns(candle.text(Key::IndexOrInterval)?);
        let Some(interval_ns) = interval_ns.filter(|_| candle.bool(Key::IsClosed) == Ok(true)) else {
            candle.bool(Key::IsClosed)?;
            return IgnoredType::from_event("kline")
                .map(Frame::Ignored)
                .ok_or(RejectReason::UnknownType);
        };
        let prices = [
            candle.number(Key::OrderOrOpen)?,
            candle.number(Key::High)?,
            candle.number(Key::LastTrade)?,
            candle.number(Key::Close)?,
        ];
        let volumes = [candle.number(Key::Volume)?, candle.number(Key::Size)?];
        let symbol = self.symbol(Key::Symbol)?;
        Ok(Frame::of(
            symbol,
            Content::Candle(Candle {
                end_ns: candle.time(Key::TradeId)?.saturating_add_unsigned(interval_ns),
                interval_ns,
                prices: prices.map(|price| price.bits),
                volumes: volumes.map(|volume| volume.bits),
                trades: candle.whole(Key::Trades)?,
                flags: inexact_flag(&prices) | inexact_flag(&volumes),
            }),
        ))
    }

    /// Unknown words are refused: both sets are ours.
    fn status(&self) -> Result<Frame<'a>, RejectReason> {
        let unknown = RejectReason::UnknownType;
        let symbol = self.symbol(Key::Symbol)?;
        Ok(Frame::of(
            symbol,
            Content::Status(Status {
                stream: stream_kind(self.text(Key::Stream)?),
                state: StreamState::from_name(self.text(Key::State)?).ok_or(unknown)?,
                reason: StatusReason::from_name(self.text(Key::Reason)?).ok_or(unknown)?,
                epoch: self.whole(Key::Epoch)?,
                is_lost: self.bool(Key::Lost)?,
            }),
        ))
    }
}

/// An event of one tick.
fn one(frame_type: FrameType, numbers: &[Number], tick: Tick) -> Content {
    let flags = SINGLE | inexact_flag(numbers);
    Content::One(frame_type, Tick { flags, ..tick })
}

/// The length of a candle by its name, `"5m"`; `None`: it is no fixed time.
fn interval_ns(name: &str) -> Option<u64> {
    const SECOND_NS: u64 = 1_000_000_000;
    let (count, unit) = name.split_at_checked(name.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let count: u64 = count.parse().ok()?;
    count.checked_mul(seconds * SECOND_NS)
}

/// The signs of its venue that a frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VenueSigns {
    /// Some(true): only futures send this; Some(false): only spot does.
    pub(super) futures: Option<bool>,
    /// It names a pair that is not its symbol.
    pub(super) pair: bool,
    /// Its symbol has an underscore; None without a symbol.
    pub(super) underscore: Option<bool>,
}

impl<'a> Shape<'a> {
    /// What a frame is that is no object.
    fn without_fields(self) -> Result<Frame<'a>, RejectReason> {
        match self {
            Self::Marks(marks) => Ok(Frame::Marks(marks)),
            Self::Array(ignored) => ignored.map(Frame::Ignored),
            Self::Object | Self::Scalar => Err(RejectReason::WrongType),
        }
    }
}

impl<'a> Reading<'a> {
    /// What the frame is.
    pub(super) fn interpret(self, venue: Venue) -> Result<Frame<'a>, RejectReason> {
        match self.root {
            Shape::Object => {}
            other => return other.without_fields(),
        }
        if !self.outer.has(Key::Data) {
            return self.outer.interpret(venue, None, &self.nested);
        }
        let stream = self.outer.text(Key::Stream)?;
        match self.data {
            Shape::Object => self.inner.interpret(venue, Some(stream), &self.nested),
            other => other.without_fields(),
        }
    }

    /// The signs of its venue that the frame has.
    pub(super) fn venue_signs(&self) -> VenueSigns {
        let fields = if self.outer.has(Key::Data) {
            &self.inner
        } else {
            &self.outer
        };
        let event = fields.text(Key::Event).map(|event| &**event);
        let futures = match event {
            Ok("depthUpdate") => Some(fields.has(Key::PrevId)),
            Ok("bookTicker") => Some(true),
            Err(RejectReason::MissingField) if fields.quote().is_ok() => Some(false),
            _ => None,
        };
        VenueSigns {
            futures,
            // USD-M names a pair, too, since 2026: the symbol itself.
            pair: fields
                .text(Key::Pair)
                .is_ok_and(|pair| fields.text(Key::Symbol) != Ok(pair)),
            underscore: fields.text(Key::Symbol).ok().map(|symbol| symbol.contains('_')),
        }
    }
}
