//! The known fields of one JSON object, each as it was written, until the frame's type shows what it must be.
//!
//! Guarantees: asking for a field of another type than it has is [`RejectReason::WrongType`], for one that is not there
//! [`RejectReason::MissingField`].
//! Does not: decide which fields a frame type needs (see [`super::general`]).

use super::frame::Symbol;
use super::number::{self, Number};
use crate::ingest::decode::RejectReason;
use std::borrow::Cow;
use std::ops::Range;

/// Every key that a frame type uses, in the order of [`Fields::slots`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Event,
    EventTime,
    TradeTime,
    Symbol,
    SymbolLong,
    Pair,
    LastId,
    FirstId,
    PrevId,
    BidOrBids,
    AskOrAsks,
    BidSize,
    AskSize,
    TradeId,
    Price,
    Size,
    FirstTrade,
    LastTrade,
    BuyerIsMaker,
    Execution,
    SnapshotId,
    Bids,
    Asks,
    Stream,
    Data,
    Result,
    RequestId,
    ErrorBody,
    Code,
    Message,
    Unknown,
}

const KEYS: usize = Key::Unknown as usize;

pub(super) fn key_of(text: &str) -> Key {
    match text {
        "e" => Key::Event,
        "E" => Key::EventTime,
        "T" => Key::TradeTime,
        "s" => Key::Symbol,
        "symbol" => Key::SymbolLong,
        "ps" => Key::Pair,
        "u" => Key::LastId,
        "U" => Key::FirstId,
        "pu" => Key::PrevId,
        "b" => Key::BidOrBids,
        "a" => Key::AskOrAsks,
        "B" => Key::BidSize,
        "A" => Key::AskSize,
        "t" => Key::TradeId,
        "p" => Key::Price,
        "q" => Key::Size,
        "f" => Key::FirstTrade,
        "l" => Key::LastTrade,
        "m" => Key::BuyerIsMaker,
        "X" => Key::Execution,
        "lastUpdateId" => Key::SnapshotId,
        "bids" => Key::Bids,
        "asks" => Key::Asks,
        "stream" => Key::Stream,
        "data" => Key::Data,
        "result" => Key::Result,
        "id" => Key::RequestId,
        "error" => Key::ErrorBody,
        "code" => Key::Code,
        "msg" => Key::Message,
        _ => Key::Unknown,
    }
}

/// The value of one key, judged only when the frame's type is known.
pub(super) enum Slot<'a> {
    Absent,
    Text(Cow<'a, str>),
    Whole(u64),
    Bool(bool),
    Levels(Range<usize>),
    BadLevels(RejectReason),
    Other,
}

/// The known fields of one object.
pub(super) struct Fields<'a> {
    pub(super) slots: [Slot<'a>; KEYS],
    pub(super) duplicate: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new() -> Self {
        Self {
            slots: [const { Slot::Absent }; KEYS],
            duplicate: false,
        }
    }

    pub(super) fn slot(&self, key: Key) -> &Slot<'a> {
        &self.slots[key as usize]
    }

    pub(super) fn has(&self, key: Key) -> bool {
        !matches!(self.slot(key), Slot::Absent)
    }

    pub(super) fn text(&self, key: Key) -> Result<&Cow<'a, str>, RejectReason> {
        match self.slot(key) {
            Slot::Text(text) => Ok(text),
            Slot::Absent => Err(RejectReason::MissingField),
            _ => Err(RejectReason::WrongType),
        }
    }

    pub(super) fn whole(&self, key: Key) -> Result<u64, RejectReason> {
        match self.slot(key) {
            Slot::Whole(whole) => Ok(*whole),
            Slot::Absent => Err(RejectReason::MissingField),
            _ => Err(RejectReason::WrongType),
        }
    }

    pub(super) fn bool(&self, key: Key) -> Result<bool, RejectReason> {
        match self.slot(key) {
            Slot::Bool(bool) => Ok(*bool),
            Slot::Absent => Err(RejectReason::MissingField),
            _ => Err(RejectReason::WrongType),
        }
    }

    pub(super) fn number(&self, key: Key) -> Result<Number, RejectReason> {
        number::parse(self.text(key)?.as_bytes())
    }

    pub(super) fn levels(&self, key: Key) -> Result<Range<usize>, RejectReason> {
        match self.slot(key) {
            Slot::Levels(range) => Ok(range.clone()),
            Slot::BadLevels(reason) => Err(*reason),
            Slot::Absent => Err(RejectReason::MissingField),
            _ => Err(RejectReason::WrongType),
        }
    }

    pub(super) fn symbol(&self, key: Key) -> Result<Symbol<'a>, RejectReason> {
        Ok(match self.text(key)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.clone().into_bytes()),
        })
    }

    /// `T`, else `E`; both are checked when they are there.
    pub(super) fn ts_event(&self) -> Result<Option<i64>, RejectReason> {
        let time = |key| match self.slot(key) {
            Slot::Absent => Ok(None),
            _ => number::time_ns(self.whole(key)?).map(Some),
        };
        let (trade_time, event_time) = (time(Key::TradeTime)?, time(Key::EventTime)?);
        Ok(trade_time.or(event_time))
    }
}
