//! Any JSON text to a [`Frame`]: typed, borrowed, without a DOM. The reference that the predicted scanner falls back to.
//!
//! Guarantees: key order, unknown keys, white space and escapes don't matter; a key that frames use may stand only once
//! in its object; fields are judged after the type is known, so that other documented types pass whatever they hold.
//! A root with `data` is an envelope and needs `stream`. An array is ignored under its first event's name when every
//! event in it is a documented one that is no tick of ours.
//! Does not: recurse deeper than [`FRAME_DEPTH_MAX`], or validate what it ignores beyond JSON.

use super::frame::{Frame, Level, Symbol, other_book};
use super::number::{self, Number};
use crate::decode::{IgnoredType, RejectReason};
use crate::instrument::Venue;
use crate::limits::FRAME_DEPTH_MAX;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Every key that a frame type uses, in the order of [`Fields::slots`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
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

fn key_of(text: &str) -> Key {
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
enum Slot<'a> {
    Absent,
    Text(Cow<'a, str>),
    Whole(u64),
    Bool(bool),
    Levels(Range<usize>),
    BadLevels(RejectReason),
    Other,
}

/// The known fields of one object.
struct Fields<'a> {
    slots: [Slot<'a>; KEYS],
    duplicate: bool,
}

/// What kind of JSON value stood where a frame was expected.
enum Shape {
    Object,
    Array(Option<IgnoredType>),
    Scalar,
}

/// A frame whose type is not known yet.
pub(super) struct Reading<'a> {
    outer: Fields<'a>,
    inner: Fields<'a>,
    root: Shape,
    data: Shape,
}

impl<'a> Fields<'a> {
    fn new() -> Self {
        Self {
            slots: [const { Slot::Absent }; KEYS],
            duplicate: false,
        }
    }

    fn slot(&self, key: Key) -> &Slot<'a> {
        &self.slots[key as usize]
    }

    fn has(&self, key: Key) -> bool {
        !matches!(self.slot(key), Slot::Absent)
    }

    fn text(&self, key: Key) -> Result<&Cow<'a, str>, RejectReason> {
        match self.slot(key) {
            Slot::Text(text) => Ok(text),
            Slot::Absent => Err(RejectReason::MissingField),
            _ => Err(RejectReason::WrongType),
        }
    }

    fn whole(&self, key: Key) -> Result<u64, RejectReason> {
        match self.slot(key) {
            Slot::Whole(whole) => Ok(*whole),
            Slot::Absent => Err(RejectReason::MissingField),
            _ => Err(RejectReason::WrongType),
        }
    }

    fn bool(&self, key: Key) -> Result<bool, RejectReason> {
        match self.slot(key) {
            Slot::Bool(bool) => Ok(*bool),
            Slot::Absent => Err(RejectReason::MissingField),
            _ => Err(RejectReason::WrongType),
        }
    }

    fn number(&self, key: Key) -> Result<Number, RejectReason> {
        number::parse(self.text(key)?.as_bytes())
    }

    fn levels(&self, key: Key) -> Result<Range<usize>, RejectReason> {
        match self.slot(key) {
            Slot::Levels(range) => Ok(range.clone()),
            Slot::BadLevels(reason) => Err(*reason),
            Slot::Absent => Err(RejectReason::MissingField),
            _ => Err(RejectReason::WrongType),
        }
    }

    fn symbol(&self, key: Key) -> Result<Symbol<'a>, RejectReason> {
        Ok(match self.text(key)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.clone().into_bytes()),
        })
    }

    /// `T`, else `E`; both are checked when they are there.
    fn ts_event(&self) -> Result<Option<i64>, RejectReason> {
        let time = |key| match self.slot(key) {
            Slot::Absent => Ok(None),
            _ => number::time_ns(self.whole(key)?).map(Some),
        };
        let (trade_time, event_time) = (time(Key::TradeTime)?, time(Key::EventTime)?);
        Ok(trade_time.or(event_time))
    }

    fn interpret(&self, venue: Venue, stream: Option<&str>) -> Result<Frame<'a>, RejectReason> {
        let other_book = || stream.and_then(|stream| other_book(stream.as_bytes()));
        if self.has(Key::Event) {
            let event = self.text(Key::Event)?;
            return match &**event {
                "bookTicker" => self.quote(),
                "trade" => self.trade(venue),
                "aggTrade" => self.agg_trade(),
                "depthUpdate" => other_book().map_or_else(|| self.depth(venue), |other| Ok(Frame::Ignored(other))),
                event => IgnoredType::from_event(event)
                    .map(Frame::Ignored)
                    .ok_or(RejectReason::UnknownType),
            };
        }
        let answers = self.has(Key::RequestId) && (self.has(Key::Result) || self.has(Key::ErrorBody));
        if self.has(Key::SnapshotId) {
            other_book().map_or_else(|| self.snapshot(), |other| Ok(Frame::Ignored(other)))
        } else if answers || self.has(Key::Code) && self.has(Key::Message) {
            Ok(Frame::Ignored(IgnoredType::REPLY))
        } else if self.has(Key::LastId) && self.has(Key::Symbol) {
            self.quote()
        } else {
            Err(RejectReason::UnknownType)
        }
    }

    fn quote(&self) -> Result<Frame<'a>, RejectReason> {
        Ok(Frame::Quote {
            symbol: self.symbol(Key::Symbol)?,
            id: self.whole(Key::LastId)?,
            ts_event: self.ts_event()?,
            bid_price: self.number(Key::BidOrBids)?,
            ask_price: self.number(Key::AskOrAsks)?,
            bid_size: self.number(Key::BidSize)?,
            ask_size: self.number(Key::AskSize)?,
        })
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
        Ok(Frame::Trade {
            symbol,
            id,
            constituents,
            ts_event,
            price,
            size,
            buyer_is_maker,
        })
    }

    fn depth(&self, venue: Venue) -> Result<Frame<'a>, RejectReason> {
        Ok(Frame::Depth {
            symbol: self.symbol(Key::Symbol)?,
            first: self.whole(Key::FirstId)?,
            last: self.whole(Key::LastId)?,
            prev: match venue {
                Venue::Binance => 0,
                Venue::BinanceUsdm | Venue::BinanceCoinm => self.whole(Key::PrevId)?,
            },
            ts_event: self.ts_event()?.ok_or(RejectReason::MissingField)?,
            bids: self.levels(Key::BidOrBids)?,
            asks: self.levels(Key::AskOrAsks)?,
        })
    }

    fn snapshot(&self) -> Result<Frame<'a>, RejectReason> {
        let symbol = [Key::SymbolLong, Key::Symbol].into_iter().find(|&key| self.has(key));
        Ok(Frame::Snapshot {
            symbol: symbol.map(|key| self.symbol(key)).transpose()?,
            last: self.whole(Key::SnapshotId)?,
            ts_event: self.ts_event()?,
            bids: self.levels(Key::Bids)?,
            asks: self.levels(Key::Asks)?,
        })
    }
}

/// What a frame says about its venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VenueSigns {
    /// Some(true): only futures send this; Some(false): only spot does.
    pub(super) futures: Option<bool>,
    /// It names a pair.
    pub(super) pair: bool,
    /// Its symbol has an underscore; None without a symbol.
    pub(super) underscore: Option<bool>,
}

impl<'a> Reading<'a> {
    /// Reads the JSON of a frame; levels go to `levels`.
    pub(super) fn new(frame: &'a [u8], levels: &mut Vec<Level>) -> Result<Self, RejectReason> {
        let text = std::str::from_utf8(frame).map_err(|_| RejectReason::BadUtf8)?;
        if nests_too_deep(frame) {
            return Err(RejectReason::TooDeep);
        }
        let mut reading = Self {
            outer: Fields::new(),
            inner: Fields::new(),
            root: Shape::Scalar,
            data: Shape::Scalar,
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let object = ObjectSeed {
            fields: &mut reading.outer,
            levels,
            data: Some((&mut reading.inner, &mut reading.data)),
        };
        reading.root = object.deserialize(&mut json).map_err(|_| RejectReason::BadJson)?;
        json.end().map_err(|_| RejectReason::BadJson)?;
        if reading.outer.duplicate || reading.inner.duplicate {
            return Err(RejectReason::DuplicateKey);
        }
        Ok(reading)
    }

    /// What the frame is.
    pub(super) fn interpret(&self, venue: Venue) -> Result<Frame<'a>, RejectReason> {
        let array = |event: Option<IgnoredType>| event.map(Frame::Ignored).ok_or(RejectReason::UnknownType);
        match self.root {
            Shape::Scalar => return Err(RejectReason::WrongType),
            Shape::Array(event) => return array(event),
            Shape::Object => {}
        }
        if !self.outer.has(Key::Data) {
            return self.outer.interpret(venue, None);
        }
        let stream = self.outer.text(Key::Stream)?;
        match self.data {
            Shape::Scalar => Err(RejectReason::WrongType),
            Shape::Array(event) => array(event),
            Shape::Object => self.inner.interpret(venue, Some(stream)),
        }
    }

    /// What the frame says about its venue.
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
            pair: fields.has(Key::Pair),
            underscore: fields.text(Key::Symbol).ok().map(|symbol| symbol.contains('_')),
        }
    }
}

/// True when brackets outside of strings nest deeper than allowed. Runs before the parser, whose way of passing over
/// unknown values has no bound of its own.
fn nests_too_deep(frame: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &byte in frame {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > FRAME_DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Accepts every scalar with one answer; the rest of a visitor says what objects and arrays mean.
macro_rules! scalars_are {
    ($answer:expr) => {
        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("any JSON value")
        }
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok($answer)
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($answer)
        }
    };
}

fn pass_over_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn pass_over_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;
    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a key")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
        Ok(key_of(text))
    }
}

/// An object that may be a frame. At the root, `data` says where an enveloped one goes.
struct ObjectSeed<'r, 'a> {
    fields: &'r mut Fields<'a>,
    levels: &'r mut Vec<Level>,
    data: Option<(&'r mut Fields<'a>, &'r mut Shape)>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, 'de> {
    type Value = Shape;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, 'de> {
    type Value = Shape;
    scalars_are!(Shape::Scalar);

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Shape, A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if key == Key::Unknown {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let slot = match &mut self.data {
                Some((inner, shape)) if key == Key::Data => {
                    **shape = map.next_value_seed(ObjectSeed {
                        fields: inner,
                        levels: self.levels,
                        data: None,
                    })?;
                    Slot::Other
                }
                _ => map.next_value_seed(SlotSeed {
                    key,
                    levels: self.levels,
                })?,
            };
            self.fields.duplicate |= self.fields.has(key);
            self.fields.slots[key as usize] = slot;
        }
        Ok(Shape::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let (mut first, mut all) = (None, true);
        loop {
            let mut fields = Fields::new();
            let element = ObjectSeed {
                fields: &mut fields,
                levels: self.levels,
                data: None,
            };
            if seq.next_element_seed(element)?.is_none() {
                return Ok(Shape::Array(first.filter(|_| all)));
            }
            self.fields.duplicate |= fields.duplicate;
            let event = fields
                .text(Key::Event)
                .ok()
                .and_then(|event| IgnoredType::from_event(event));
            all &= event.is_some();
            first = first.or(event);
        }
    }
}

/// The value of a known key.
struct SlotSeed<'r> {
    key: Key,
    levels: &'r mut Vec<Level>,
}

impl<'de> DeserializeSeed<'de> for SlotSeed<'_> {
    type Value = Slot<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Slot<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SlotSeed<'_> {
    type Value = Slot<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("any JSON value")
    }
    fn visit_bool<E: Error>(self, bool: bool) -> Result<Slot<'de>, E> {
        Ok(Slot::Bool(bool))
    }
    fn visit_u64<E: Error>(self, whole: u64) -> Result<Slot<'de>, E> {
        Ok(Slot::Whole(whole))
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Slot<'de>, E> {
        Ok(Slot::Other)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Slot<'de>, E> {
        Ok(Slot::Other)
    }
    fn visit_unit<E: Error>(self) -> Result<Slot<'de>, E> {
        Ok(Slot::Other)
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Slot<'de>, E> {
        Ok(Slot::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Slot<'de>, E> {
        Ok(Slot::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Slot<'de>, A::Error> {
        pass_over_map(map).map(|()| Slot::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Slot<'de>, A::Error> {
        if !matches!(self.key, Key::BidOrBids | Key::AskOrAsks | Key::Bids | Key::Asks) {
            return pass_over_seq(seq).map(|()| Slot::Other);
        }
        let start = self.levels.len();
        let mut fault = None;
        while let Some(level) = seq.next_element_seed(LevelSeed)? {
            match level {
                Ok(level) => self.levels.push(level),
                Err(reason) => fault = fault.or(Some(reason)),
            }
        }
        Ok(match fault {
            None => Slot::Levels(start..self.levels.len()),
            Some(reason) => Slot::BadLevels(reason),
        })
    }
}

/// `["price", "size"]`.
struct LevelSeed;

impl<'de> DeserializeSeed<'de> for LevelSeed {
    type Value = Result<Level, RejectReason>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LevelSeed {
    type Value = Result<Level, RejectReason>;
    scalars_are!(Err(RejectReason::WrongType));

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err(RejectReason::WrongType))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        pass_over_map(map).map(|()| Err(RejectReason::WrongType))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let price = seq.next_element_seed(NumberSeed)?;
        let size = seq.next_element_seed(NumberSeed)?;
        let more = seq.next_element::<IgnoredAny>()?.is_some();
        if more {
            pass_over_seq(seq)?;
        }
        Ok(match (price, size, more) {
            (Some(price), Some(size), false) => price.and_then(|price| size.map(|size| Level { price, size })),
            _ => Err(RejectReason::WrongType),
        })
    }
}

/// A decimal in a string.
struct NumberSeed;

impl<'de> DeserializeSeed<'de> for NumberSeed {
    type Value = Result<Number, RejectReason>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NumberSeed {
    type Value = Result<Number, RejectReason>;
    scalars_are!(Err(RejectReason::WrongType));

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(number::parse(text.as_bytes()))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        pass_over_map(map).map(|()| Err(RejectReason::WrongType))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        pass_over_seq(seq).map(|()| Err(RejectReason::WrongType))
    }
}
