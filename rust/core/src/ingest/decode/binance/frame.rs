//! One Binance frame, read, but not yet a tick: what both ways of reading produce.
//!
//! Guarantees: every field is checked; levels lie in the scratch, bids and asks each in the venue's order.
//! Does not: look up instruments.

use super::number::Number;
use crate::ingest::decode::{FrameType, IgnoredType};
use crate::market::kind;
use crate::market::status::Status;
use crate::market::tick::Tick;
use std::borrow::Cow;
use std::ops::Range;

/// One price level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// The price.
    pub(super) price: Number,
    /// The size at that price; 0 removes the level.
    pub(super) size: Number,
}

/// A symbol as UTF-8 text; owned only when the frame wrote it with escapes.
pub(super) type Symbol<'a> = Cow<'a, [u8]>;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// Ticks of a symbol, which only a snapshot may leave out.
    Ticks {
        symbol: Option<Symbol<'a>>,
        content: Content,
    },
    /// The mark prices of several instruments.
    Marks(Marks<'a>),
    /// A trade that did not happen on the market: its id is used up all the same.
    NonMarketTrade { symbol: Symbol<'a>, id: u64 },
    /// No tick of ours.
    Ignored(IgnoredType),
}

impl<'a> Frame<'a> {
    /// Ticks of this symbol.
    #[inline(always)]
    pub(super) fn of(symbol: Symbol<'a>, content: Content) -> Self {
        Self::Ticks {
            symbol: Some(symbol),
            content,
        }
    }
}

/// Mark prices, each with its symbol.
pub(super) type Marks<'a> = Vec<(Symbol<'a>, Content)>;

/// What becomes ticks, without an instrument and a time of receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// `bookTicker`.
    Quote(Quote),
    /// `trade` or `aggTrade`.
    Trade(Trade),
    /// `depthUpdate`.
    Depth(Depth),
    /// A REST snapshot.
    Snapshot(Snapshot),
    /// One tick that needs no other fields than a tick has.
    One(FrameType, Tick),
    /// A candle that has closed.
    Candle(Candle),
    /// A stream's state, which the feed writes between the frames.
    Status(Status),
}

/// The best bid and ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) id: u64,
    pub(super) ts_event: Option<i64>,
    pub(super) bid_price: Number,
    pub(super) ask_price: Number,
    pub(super) bid_size: Number,
    pub(super) ask_size: Number,
}

/// One trade; with `constituents` (the first and the last trade) an aggregate of trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trade {
    pub(super) id: u64,
    pub(super) constituents: Option<(u64, u64)>,
    pub(super) ts_event: i64,
    pub(super) price: Number,
    pub(super) size: Number,
    pub(super) buyer_is_maker: bool,
}

/// Levels that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) prev: u64,
    pub(super) ts_event: i64,
    pub(super) bids: Range<usize>,
    pub(super) asks: Range<usize>,
}

/// A whole book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) last: u64,
    pub(super) ts_event: Option<i64>,
    pub(super) bids: Range<usize>,
    pub(super) asks: Range<usize>,
    /// Whether the sides have more levels than these: bids, asks.
    pub(super) is_cut: (bool, bool),
}

/// A candle of the venue's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candle {
    /// When it ended, ns.
    pub(super) end_ns: i64,
    pub(super) interval_ns: u64,
    /// Open, high, low, close, as bits.
    pub(super) prices: [u64; 4],
    /// In the base currency, and in the quote currency, as bits.
    pub(super) volumes: [u64; 2],
    pub(super) trades: u64,
    /// The flags of the texts of both.
    pub(super) flags: u16,
}

/// The book that a depth frame belongs to by its stream's name, when it is not the full diff book.
pub(super) fn other_book(stream: &[u8]) -> Option<IgnoredType> {
    let mut parts = stream.split(|&byte| byte == b'@').skip(1);
    match parts.next()? {
        b"depth5" | b"depth10" | b"depth20" => Some(IgnoredType::PARTIAL_DEPTH),
        b"rpiDepth" => Some(IgnoredType::RPI_DEPTH),
        _ => None,
    }
}

/// The kind of a stream's ticks by the name that the venue gives the stream; 0: there is none.
pub(super) fn stream_kind(stream: &str) -> u8 {
    match stream {
        "bookTicker" => kind::QUOTE,
        "trade" => kind::TRADE,
        "aggTrade" => kind::AGG_TRADE,
        "depth" => kind::LEVEL,
        "markPrice" => kind::MARK,
        "fundingRate" => kind::FUNDING,
        "openInterest" => kind::OPEN_INTEREST,
        "forceOrder" => kind::LIQUIDATION,
        "kline" => kind::KLINE,
        _ => 0,
    }
}
