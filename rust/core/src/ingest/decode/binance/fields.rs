//! The known fields of one JSON object, each as it was written, until the frame's type shows what it must be.
//!
//! Guarantees: asking for a field of another type than it has is [`RejectReason::WrongType`], for one that is not there
//! [`RejectReason::MissingField`].
//! Does not: decide which fields a frame type needs (see [`super::general`]).

use super::frame::Symbol;
use super::number::{self, Number};
use crate::ingest::decode::RejectReason;
use crate::named_set;
use std::borrow::Cow;
use std::ops::Range;

named_set! {
    /// Every key that a frame type uses, in the order of [`Fields::slots`].
    pub(super) enum Key {
        Event "e",
        EventTime "E",
        TradeTime "T",
        Symbol "s",
        SymbolLong "symbol",
        Pair "ps",
        LastId "u",
        FirstId "U",
        PrevId "pu",
        BidOrBids "b",
        AskOrAsks "a",
        BidSize "B",
        AskSize "A",
        TradeId "t",
        Price "p",
        Size "q",
        FirstTrade "f",
        LastTrade "l",
        BuyerIsMaker "m",
        Execution "X",
        SnapshotId "lastUpdateId",
        Bids "bids",
        Asks "asks",
        Stream "stream",
        Data "data",
        Result "result",
        RequestId "id",
        ErrorBody "error",
        Code "code",
        Message "msg",
        State "state",
        Reason "reason",
        Epoch "epoch",
        Lost "lost",
        IndexOrInterval "i",
        FundingRate "r",
        OrderOrOpen "o",
        OrderSide "S",
        AveragePrice "ap",
        Filled "z",
        Candle "k",
        Close "c",
        High "h",
        Volume "v",
        Trades "n",
        IsClosed "x",
        OpenInterest "openInterest",
        Time "time",
        FundingRateLong "fundingRate",
        FundingTime "fundingTime",
        MarkPrice "markPrice",
        BidsCut "bidsCut",
        AsksCut "asksCut",
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
    /// An object inside of this one, whose fields the reading has.
    Object,
    Other,
}

impl Slot<'_> {
    /// Why it is not what a frame's type needs.
    fn refusal(&self) -> RejectReason {
        match self {
            Slot::Absent => RejectReason::MissingField,
            _ => RejectReason::WrongType,
        }
    }
}

/// The known fields of one object.
pub(super) struct Fields<'a> {
    pub(super) slots: [Slot<'a>; Key::ALL.len()],
    pub(super) duplicate: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new() -> Self {
        Self {
            slots: [const { Slot::Absent }; Key::ALL.len()],
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
            other => Err(other.refusal()),
        }
    }

    pub(super) fn whole(&self, key: Key) -> Result<u64, RejectReason> {
        match self.slot(key) {
            Slot::Whole(whole) => Ok(*whole),
            other => Err(other.refusal()),
        }
    }

    pub(super) fn bool(&self, key: Key) -> Result<bool, RejectReason> {
        match self.slot(key) {
            Slot::Bool(bool) => Ok(*bool),
            other => Err(other.refusal()),
        }
    }

    pub(super) fn number(&self, key: Key) -> Result<Number, RejectReason> {
        number::parse(self.text(key)?.as_bytes())
    }

    /// A number that may be below zero.
    pub(super) fn signed(&self, key: Key) -> Result<Number, RejectReason> {
        number::parse_signed(self.text(key)?.as_bytes())
    }

    /// A number as `read` finds it; NaN where the key is missing, or its text is empty.
    pub(super) fn optional(
        &self,
        key: Key,
        read: impl FnOnce(&Self, Key) -> Result<Number, RejectReason>,
    ) -> Result<Number, RejectReason> {
        match self.slot(key) {
            Slot::Absent => Ok(Number::NAN),
            Slot::Text(text) if text.is_empty() => Ok(Number::NAN),
            _ => read(self, key),
        }
    }

    /// A time in ns.
    pub(super) fn time(&self, key: Key) -> Result<i64, RejectReason> {
        number::time_ns(self.whole(key)?)
    }

    /// The fields of the object inside of this one: `nested`, if the key has an object.
    pub(super) fn object<'r>(&self, key: Key, nested: &'r Fields<'a>) -> Result<&'r Fields<'a>, RejectReason> {
        match self.slot(key) {
            Slot::Object if nested.duplicate => Err(RejectReason::DuplicateKey),
            Slot::Object => Ok(nested),
            other => Err(other.refusal()),
        }
    }

    pub(super) fn levels(&self, key: Key) -> Result<Range<usize>, RejectReason> {
        match self.slot(key) {
            Slot::Levels(range) => Ok(range.clone()),
            Slot::BadLevels(reason) => Err(*reason),
            other => Err(other.refusal()),
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
