//! The field table: every name that a handler may declare, with its types, unit, formula and kinds.
//!
//! ```text
//!   name ─▶ row: singular type, plural dtype, unit, formula, kinds it is valid for ─▶ binding · docs · `headrace fields`
//! ```
//! Guarantees: one table serves the binding, the documentation and the command line; kinds that users register add
//! rows.
//! Does not: make values; that is [`Field`].

use super::field::Field;
use super::kind::{self, ALL_KINDS, KindRow, KindSet, KindTable, ValueType, kind_set};

/// One row of the table.
#[derive(Clone, Debug)]
pub struct FieldRow {
    /// The name that handlers declare.
    pub name: String,
    /// What it is.
    pub field: Field,
    /// Python type in singular handlers; `None`: only plural handlers may declare it.
    pub singular: Option<&'static str>,
    /// Column dtype in plural handlers; `None`: only singular handlers may declare it.
    pub plural: Option<&'static str>,
    /// Unit.
    pub unit: &'static str,
    /// Formula or meaning.
    pub formula: String,
    /// Kinds that have it.
    pub kinds: KindSet,
}

/// A row of a name that every table has: name, field, singular type, plural dtype, unit, formula, kinds.
type BuiltIn = (
    &'static str,
    Field,
    Option<&'static str>,
    Option<&'static str>,
    &'static str,
    &'static str,
    KindSet,
);

const BOOKS: KindSet = kind_set(kind::BOOK);
const BESTS: KindSet = kind_set(kind::QUOTE) | BOOKS;
const TRADES: KindSet = kind_set(kind::TRADE) | kind_set(kind::AGG_TRADE);
const LIQUIDATIONS: KindSet = kind_set(kind::LIQUIDATION);
const LEVELS: KindSet = kind_set(kind::LEVEL);
const GAPS: KindSet = kind_set(kind::GAP);
const STATES: KindSet = kind_set(kind::STATUS);

/// Unit of prices, and of what is computed from them.
const PRICE: &str = "quote currency";

/// Rows as a table: name, field, singular type, plural dtype (`-`: none), unit, formula, kinds.
macro_rules! rows {
    ($($name:ident $field:ident $singular:tt $plural:tt $unit:tt $formula:literal $kinds:expr,)+) => {
        [$((stringify!($name), Field::$field, rows!(@ $singular), rows!(@ $plural), $unit, $formula, $kinds)),+]
    };
    (@ -) => { None };
    (@ $type:literal) => { Some($type) };
}

/// What the record holds beside its four values.
const RECORD: [BuiltIn; 16] = rows! {
    tick Tick "Tick" - "" "the whole record, as an object" ALL_KINDS,
    ticks Ticks - "record" "" "the whole records, as a structured array" ALL_KINDS,
    symbol Symbol "str" - "" "\"BTCUSDT\"" ALL_KINDS,
    venue Venue "str" - "" "\"BINANCE\"" ALL_KINDS,
    instrument Instrument "str" - "" "\"BTCUSDT.BINANCE\"" ALL_KINDS,
    instrument_id InstrumentId "int" "u4" "" "dense id by first appearance" ALL_KINDS,
    kind Kind "str" "u1" "" "name of the kind; its number in plural handlers" ALL_KINDS,
    position Position "int" "u8" "ticks" "place in the ring's total order" ALL_KINDS,
    seq Seq "int" "u8" "ticks" "dense per (instrument, kind) from 1" ALL_KINDS,
    venue_seq VenueSeq "int" "u8" "" "the venue's own number, 0 when none" ALL_KINDS,
    ts_event TsEvent "int" "i8" "ns UTC" "the venue's time, 0 when none" ALL_KINDS,
    ts_init TsInit "int" "i8" "ns UTC" "when we received it" ALL_KINDS,
    flags Flags "int" "u2" "bits" "see Flags" ALL_KINDS,
    side Side "int" "i1" "" "+1 bid, -1 ask" LEVELS,
    aggressor_side AggressorSide "int" "i1" "" "+1 the buyer took, -1 the seller took" TRADES | LIQUIDATIONS,
    trade_id TradeId "int" "u8" "" "venue_seq of a trade" kind_set(kind::TRADE),
};

/// What is computed from the record.
const COMPUTED: [BuiltIn; 15] = rows! {
    cause Cause "GapCause" - "" "why ticks are missing" GAPS,
    lost_kind LostKind "str | None" - "" "the kind that is missing, None when any" GAPS,
    state State "str" "u8" "" "of the stream: DOWN, SILENT, UP, STALE; of a book: SYNCING, LIVE, STALE; see STREAM_STATES" STATES,
    stream Stream "str | None" "u8" "" "kind of the stream; depth: levels, or the book; None: of no kind" STATES,
    reason Reason "str" "u8" "" "why it is so; see STATUS_REASONS" STATES,
    mid Mid "float" "f8" PRICE "(bid_price + ask_price) / 2, NaN without both sides" BESTS,
    spread Spread "float" "f8" PRICE "ask_price - bid_price, NaN without both sides" BESTS,
    microprice Microprice "float" "f8" PRICE "(bid_price * ask_size + ask_price * bid_size) / (bid_size + ask_size), NaN without both sides" BESTS,
    imbalance Imbalance "float" "f8" "-1..1" "(bid_size - ask_size) / (bid_size + ask_size), NaN without both sides" BESTS,
    notional Notional "float" "f8" PRICE "price * size * contract size; inverse: size * contract size; NaN where the contract is not known" TRADES | LEVELS | LIQUIDATIONS,
    update_id VenueSeq "int" "u8" "" "id of the last event that the book holds" BOOKS,
    book Book "Book" - "" "the book itself: bids(n), asks(n), depth_at(price), vwap(side, size), quality, checksum()" BOOKS,
    book_state BookState "str" - "" "LIVE: on_book is called in no other state" BOOKS,
    age_ns AgeNs "float" "f8" "ns" "now - ts_event, signed; NaN without venue time" ALL_KINDS,
    lag_ns LagNs "int" "i8" "ns" "now - ts_init" ALL_KINDS,
};

/// Names of a kind's values that have a row of their own below, with a richer type.
const OWN_ROW: [&str; 4] = ["cause", "state", "stream", "reason"];

/// The whole table for these kinds, in reading order.
#[must_use]
pub fn table(kinds: &KindTable) -> Vec<FieldRow> {
    let mut rows: Vec<FieldRow> = RECORD.map(FieldRow::built_in).into();
    for kind_row in kinds.rows() {
        for (index, (name, value_type)) in (0u8..).zip(&kind_row.values) {
            if name.is_empty() || OWN_ROW.contains(&name.as_str()) {
                continue;
            }
            match rows.iter_mut().find(|known| known.name == *name) {
                Some(known) => known.kinds |= kind_set(kind_row.kind),
                None => rows.push(FieldRow::of_value(kind_row, index, name, *value_type)),
            }
        }
    }
    rows.extend(COMPUTED.map(FieldRow::built_in));
    rows
}

impl FieldRow {
    fn built_in((name, field, singular, plural, unit, formula, kinds): BuiltIn) -> Self {
        Self {
            name: name.to_owned(),
            field,
            singular,
            plural,
            unit,
            formula: formula.to_owned(),
            kinds,
        }
    }

    /// The row of a kind's value.
    fn of_value(kind_row: &KindRow, index: u8, name: &str, value_type: ValueType) -> Self {
        let (field, singular, plural, unit, formula) = match value_type {
            ValueType::U64 => {
                let (singular, unit, formula) = whole_value(name);
                (Field::ValueU64(index), singular, "u8", unit, formula)
            }
            ValueType::F64 | ValueType::Unused => {
                let unit = match name {
                    size if size.ends_with("size") => "base currency or contracts",
                    price if price.ends_with("price") => PRICE,
                    _ => "",
                };
                (Field::ValueF64(index), "float", "f8", unit, "as the venue gave it")
            }
        };
        Self {
            name: name.to_owned(),
            field,
            singular: Some(singular),
            plural: Some(plural),
            unit,
            formula: formula.to_owned(),
            kinds: kind_set(kind_row.kind),
        }
    }
}

/// Python type, unit and meaning of a value that is a whole number.
fn whole_value(name: &str) -> (&'static str, &'static str, &'static str) {
    match name {
        "first" => (
            "int | None",
            "",
            "first missing venue number (from the feed) or position (from the reader), None when unknown",
        ),
        "last" => ("int | None", "", "the last missing one, None when unknown"),
        "missing" => ("int | None", "", "how many are missing, None when unknown"),
        "epoch" => ("int", "", "number of the feed's connection, from 1; 0 without one"),
        "next_funding_ns" => ("int", "ns UTC", "when funding is settled next, 0 when never"),
        "interval_ns" => ("int", "ns", "the length of the candle"),
        _ => ("int", "", "as the venue gave it"),
    }
}
