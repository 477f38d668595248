//! Any JSON text to the fields that frames use: typed, borrowed, without a DOM.
//!
//! Guarantees: key order, unknown keys, white space and escapes don't matter; a known key that stands twice in an
//! object is noticed; a value of an unexpected type is kept as such, because other documented types use the same keys.
//! Does not: recurse deeper than [`FRAME_DEPTH_MAX`], or validate what it passes over beyond JSON.

use super::fields::{Fields, Key, Slot};
use super::frame::{Level, Marks};
use super::number::{self, Number};
use crate::ingest::decode::{IgnoredType, RejectReason};
use crate::limits::FRAME_DEPTH_MAX;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// What kind of JSON value stood where a frame was expected.
pub(super) enum Shape<'a> {
    Object,
    /// The marks of several instruments.
    Marks(Marks<'a>),
    /// Other events; their first name if all of them are documented, or what is wrong.
    Array(Result<IgnoredType, RejectReason>),
    Scalar,
}

/// A frame whose type is still to be found.
pub(super) struct Reading<'a> {
    pub(super) outer: Fields<'a>,
    pub(super) inner: Fields<'a>,
    /// Of the order of a liquidation, or of a candle.
    pub(super) nested: Fields<'a>,
    pub(super) root: Shape<'a>,
    pub(super) data: Shape<'a>,
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
            nested: Fields::new(),
            root: Shape::Scalar,
            data: Shape::Scalar,
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let object = ObjectSeed {
            fields: &mut reading.outer,
            levels,
            data: Some((&mut reading.inner, &mut reading.data)),
            nested: Some(&mut reading.nested),
        };
        reading.root = object.deserialize(&mut json).map_err(|_| RejectReason::BadJson)?;
        json.end().map_err(|_| RejectReason::BadJson)?;
        if reading.outer.duplicate || reading.inner.duplicate {
            return Err(RejectReason::DuplicateKey);
        }
        Ok(reading)
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

/// Accepts every scalar with one answer; the rest of a visitor handles objects and arrays.
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

/// The same for objects, too.
macro_rules! scalars_and_objects_are {
    ($answer:expr) => {
        scalars_are!($answer);
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            pass_over_map(map).map(|()| $answer)
        }
    };
}

/// A seed without a lifetime of its own that reads a value of any type.
macro_rules! any_value_is_read {
    ($seed:ty as $value:ty) => {
        impl<'de> DeserializeSeed<'de> for $seed {
            type Value = $value;
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.deserialize_any(self)
            }
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
    type Value = Option<Key>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<Key>;
    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a key")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Key::from_name(text))
    }
}

/// An object that may be a frame. At the root, `data` is where an enveloped one goes.
struct ObjectSeed<'r, 'a> {
    fields: &'r mut Fields<'a>,
    levels: &'r mut Vec<Level>,
    data: Option<(&'r mut Fields<'a>, &'r mut Shape<'a>)>,
    /// Where an object inside of this one goes, if its key has one that frames use.
    nested: Option<&'r mut Fields<'a>>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, 'de> {
    type Value = Shape<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, 'de> {
    type Value = Shape<'de>;
    scalars_are!(Shape::Scalar);

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape<'de>, E> {
        Ok(Shape::Scalar)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Shape<'de>, A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let Some(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let slot = match &mut self.data {
                Some((inner, shape)) if key == Key::Data => {
                    **shape = map.next_value_seed(ObjectSeed {
                        fields: inner,
                        levels: self.levels,
                        data: None,
                        nested: self.nested.as_deref_mut(),
                    })?;
                    Slot::Other
                }
                _ => map.next_value_seed(SlotSeed {
                    key,
                    levels: self.levels,
                    nested: self.nested.as_deref_mut(),
                })?,
            };
            self.fields.duplicate |= self.fields.has(key);
            self.fields.slots[key as usize] = slot;
        }
        Ok(Shape::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape<'de>, A::Error> {
        let (mut first, mut all) = (None, true);
        let (mut marks, mut fault, mut count) = (Vec::new(), None, 0);
        loop {
            let mut fields = Fields::new();
            let element = ObjectSeed {
                fields: &mut fields,
                levels: self.levels,
                data: None,
                nested: None,
            };
            if seq.next_element_seed(element)?.is_none() {
                break;
            }
            count += 1;
            self.fields.duplicate |= fields.duplicate;
            let event = fields.text(Key::Event).map(|event| &**event);
            if event == Ok("markPriceUpdate") {
                match fields.mark() {
                    Ok(mark) => marks.push(mark),
                    Err(reason) => fault = fault.or(Some(reason)),
                }
            }
            let known = event.ok().and_then(IgnoredType::from_event);
            all &= known.is_some();
            first = first.or(known);
        }
        if count > 0 && marks.len() == count {
            return Ok(Shape::Marks(marks));
        }
        let documented = first.filter(|_| all).ok_or(RejectReason::UnknownType);
        Ok(Shape::Array(fault.map_or(documented, Err)))
    }
}

/// The value of a known key.
struct SlotSeed<'r, 'a> {
    key: Key,
    levels: &'r mut Vec<Level>,
    nested: Option<&'r mut Fields<'a>>,
}

impl<'de> DeserializeSeed<'de> for SlotSeed<'_, 'de> {
    type Value = Slot<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Slot<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SlotSeed<'_, 'de> {
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
        let Some(fields) = self
            .nested
            .filter(|_| matches!(self.key, Key::OrderOrOpen | Key::Candle))
        else {
            return pass_over_map(map).map(|()| Slot::Other);
        };
        *fields = Fields::new();
        let object = ObjectSeed {
            fields,
            levels: self.levels,
            data: None,
            nested: None,
        };
        object.visit_map(map)?;
        Ok(Slot::Object)
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

any_value_is_read!(LevelSeed as Result<Level, RejectReason>);

impl<'de> Visitor<'de> for LevelSeed {
    type Value = Result<Level, RejectReason>;
    scalars_and_objects_are!(Err(RejectReason::WrongType));

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err(RejectReason::WrongType))
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

any_value_is_read!(NumberSeed as Result<Number, RejectReason>);

impl<'de> Visitor<'de> for NumberSeed {
    type Value = Result<Number, RejectReason>;
    scalars_and_objects_are!(Err(RejectReason::WrongType));

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(number::parse(text.as_bytes()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        pass_over_seq(seq).map(|()| Err(RejectReason::WrongType))
    }
}
