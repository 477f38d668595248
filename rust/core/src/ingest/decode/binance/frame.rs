//! One Binance frame, read, but not yet a tick: what both ways of reading produce.
//!
//! Guarantees: every field is checked; levels lie in the scratch, bids and asks each in the venue's order.
//! Does not: know instruments.

use super::number::Number;
use crate::ingest::decode::IgnoredType;
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
    /// `bookTicker`.
    Quote {
        symbol: Symbol<'a>,
        id: u64,
        ts_event: Option<i64>,
        bid_price: Number,
        ask_price: Number,
        bid_size: Number,
        ask_size: Number,
    },
    /// `trade`, and with `constituents` (first and last trade) `aggTrade`.
    Trade {
        symbol: Symbol<'a>,
        id: u64,
        constituents: Option<(u64, u64)>,
        ts_event: i64,
        price: Number,
        size: Number,
        buyer_is_maker: bool,
    },
    /// A trade that did not happen on the market: its id is used up all the same.
    NonMarketTrade { symbol: Symbol<'a>, id: u64 },
    /// `depthUpdate`.
    Depth {
        symbol: Symbol<'a>,
        first: u64,
        last: u64,
        prev: u64,
        ts_event: i64,
        bids: Range<usize>,
        asks: Range<usize>,
    },
    /// A REST snapshot.
    Snapshot {
        symbol: Option<Symbol<'a>>,
        last: u64,
        ts_event: Option<i64>,
        bids: Range<usize>,
        asks: Range<usize>,
    },
    /// No tick of ours.
    Ignored(IgnoredType),
}

/// The book that a stream's name says a depth frame belongs to, when it is not the one we follow.
pub(super) fn other_book(stream: &[u8]) -> Option<IgnoredType> {
    let mut parts = stream.split(|&byte| byte == b'@').skip(1);
    match parts.next()? {
        b"depth5" | b"depth10" | b"depth20" => Some(IgnoredType::PARTIAL_DEPTH),
        b"rpiDepth" => Some(IgnoredType::RPI_DEPTH),
        _ => None,
    }
}
