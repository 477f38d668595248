//! The field table: every name that a handler may declare, and how its value is made from a tick.
//!
//! ```text
//!   name ─▶ row: singular type, plural dtype, unit, formula, kinds it is valid for ─▶ binding · docs · `headrace fields`
//! ```
//! Guarantees: one table serves the binding, the documentation and the command line; kinds that users register add rows.
//! Does not: touch Python; the binding turns a [`Field`] into an object or a column.

use crate::market::kind::{self, KindTable, ValueType};
use crate::market::tick::{Tick, flags};

/// A set of kinds, one bit each.
pub type KindSet = u64;

/// The set that holds one kind.
#[must_use]
pub const fn kind_set(kind: u8) -> KindSet {
    1 << kind
}

/// Every kind, registered ones included.
pub const ALL_KINDS: KindSet = u64::MAX;

/// How a declared name gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is a row of the table below, which says it")]
pub enum Field {
    Tick,
    Ticks,
    Symbol,
    Venue,
    Instrument,
    InstrumentId,
    Kind,
    Position,
    Seq,
    VenueSeq,
    TsEvent,
    TsInit,
    Flags,
    Side,
    AggressorSide,
    TradeId,
    ValueF64(u8),
    ValueU64(u8),
    Cause,
    LostKind,
    Mid,
    Spread,
    Microprice,
    Imbalance,
    Notional,
    AgeNs,
    LagNs,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct FieldRow {
    /// The name that handlers declare.
    pub name: String,
    /// What it is.
    pub field: Field,
    /// Python type in singular handlers; `None`: only plural handlers may ask.
    pub singular: Option<&'static str>,
    /// Column dtype in plural handlers; `None`: only singular handlers may ask.
    pub plural: Option<&'static str>,
    /// Unit.
    pub unit: &'static str,
    /// Formula or meaning.
    pub formula: String,
    /// Kinds that have it.
    pub kinds: KindSet,
}

/// Names of a kind's values that have a row of their own below, with a richer type.
const OWN_ROW: [&str; 1] = ["cause"];

/// The whole table for these kinds, in reading order.
#[must_use]
pub fn table(kinds: &KindTable) -> Vec<FieldRow> {
    const QUOTES: KindSet = kind_set(kind::QUOTE);
    const TRADES: KindSet = kind_set(kind::TRADE) | kind_set(kind::AGG_TRADE);
    const LEVELS: KindSet = kind_set(kind::LEVEL);
    let row = |name: &str, field, singular, plural, unit, formula: &str, kinds| FieldRow {
        name: name.to_owned(),
        field,
        singular,
        plural,
        unit,
        formula: formula.to_owned(),
        kinds,
    };
    let mut rows = vec![
        row(
            "tick",
            Field::Tick,
            Some("Tick"),
            None,
            "",
            "the whole record, as an object",
            ALL_KINDS,
        ),
        row(
            "ticks",
            Field::Ticks,
            None,
            Some("record"),
            "",
            "the whole records, as a structured array",
            ALL_KINDS,
        ),
        row("symbol", Field::Symbol, Some("str"), None, "", "\"BTCUSDT\"", ALL_KINDS),
        row("venue", Field::Venue, Some("str"), None, "", "\"BINANCE\"", ALL_KINDS),
        row(
            "instrument",
            Field::Instrument,
            Some("str"),
            None,
            "",
            "\"BTCUSDT.BINANCE\"",
            ALL_KINDS,
        ),
        row(
            "instrument_id",
            Field::InstrumentId,
            Some("int"),
            Some("u4"),
            "",
            "dense id by first appearance",
            ALL_KINDS,
        ),
        row(
            "kind",
            Field::Kind,
            Some("str"),
            Some("u1"),
            "",
            "name of the kind; its number in plural handlers",
            ALL_KINDS,
        ),
        row(
            "position",
            Field::Position,
            Some("int"),
            Some("u8"),
            "ticks",
            "place in the ring's total order",
            ALL_KINDS,
        ),
        row(
            "seq",
            Field::Seq,
            Some("int"),
            Some("u8"),
            "ticks",
            "dense per (instrument, kind) from 1",
            ALL_KINDS,
        ),
        row(
            "venue_seq",
            Field::VenueSeq,
            Some("int"),
            Some("u8"),
            "",
            "the venue's own number, 0 when none",
            ALL_KINDS,
        ),
        row(
            "ts_event",
            Field::TsEvent,
            Some("int"),
            Some("i8"),
            "ns UTC",
            "the venue's time, 0 when none",
            ALL_KINDS,
        ),
        row(
            "ts_init",
            Field::TsInit,
            Some("int"),
            Some("i8"),
            "ns UTC",
            "when we received it",
            ALL_KINDS,
        ),
        row(
            "flags",
            Field::Flags,
            Some("int"),
            Some("u2"),
            "bits",
            "see Flags",
            ALL_KINDS,
        ),
        row(
            "side",
            Field::Side,
            Some("int"),
            Some("i1"),
            "",
            "+1 bid, -1 ask",
            LEVELS,
        ),
        row(
            "aggressor_side",
            Field::AggressorSide,
            Some("int"),
            Some("i1"),
            "",
            "+1 the buyer took, -1 the seller took",
            TRADES,
        ),
        row(
            "trade_id",
            Field::TradeId,
            Some("int"),
            Some("u8"),
            "",
            "venue_seq of a trade",
            kind_set(kind::TRADE),
        ),
    ];
    for kind_row in kinds.rows() {
        for (index, (name, value_type)) in kind_row.values.iter().enumerate() {
            if name.is_empty() || OWN_ROW.contains(&name.as_str()) {
                continue;
            }
            if let Some(known) = rows.iter_mut().find(|known| known.name == *name) {
                known.kinds |= kind_set(kind_row.kind);
                continue;
            }
            let index = u8::try_from(index).expect("four values");
            rows.push(match value_type {
                ValueType::U64 => {
                    let (singular, formula) = whole_value(name);
                    let kinds = kind_set(kind_row.kind);
                    row(
                        name,
                        Field::ValueU64(index),
                        Some(singular),
                        Some("u8"),
                        "",
                        formula,
                        kinds,
                    )
                }
                ValueType::F64 | ValueType::Unused => {
                    let unit = if name.ends_with("price") { "quote currency" } else { "" };
                    let unit = if name.ends_with("size") {
                        "base currency or contracts"
                    } else {
                        unit
                    };
                    row(
                        name,
                        Field::ValueF64(index),
                        Some("float"),
                        Some("f8"),
                        unit,
                        "as the venue gave it",
                        kind_set(kind_row.kind),
                    )
                }
            });
        }
    }
    let price = "quote currency";
    let gap = kind_set(kind::GAP);
    rows.extend([
        row(
            "cause",
            Field::Cause,
            Some("GapCause"),
            None,
            "",
            "why ticks are missing",
            gap,
        ),
        row(
            "lost_kind",
            Field::LostKind,
            Some("str | None"),
            None,
            "",
            "the kind that is missing, None when any",
            gap,
        ),
        row(
            "mid",
            Field::Mid,
            Some("float"),
            Some("f8"),
            price,
            "(bid_price + ask_price) / 2",
            QUOTES,
        ),
        row(
            "spread",
            Field::Spread,
            Some("float"),
            Some("f8"),
            price,
            "ask_price - bid_price",
            QUOTES,
        ),
        row(
            "microprice",
            Field::Microprice,
            Some("float"),
            Some("f8"),
            price,
            "(bid_price * ask_size + ask_price * bid_size) / (bid_size + ask_size), NaN when both sizes are 0",
            QUOTES,
        ),
        row(
            "imbalance",
            Field::Imbalance,
            Some("float"),
            Some("f8"),
            "-1..1",
            "(bid_size - ask_size) / (bid_size + ask_size), NaN when both sizes are 0",
            QUOTES,
        ),
        row(
            "notional",
            Field::Notional,
            Some("float"),
            Some("f8"),
            price,
            "price * size",
            TRADES | LEVELS,
        ),
        row(
            "age_ns",
            Field::AgeNs,
            Some("float"),
            Some("f8"),
            "ns",
            "now - ts_event, signed; NaN without venue time",
            ALL_KINDS,
        ),
        row(
            "lag_ns",
            Field::LagNs,
            Some("int"),
            Some("i8"),
            "ns",
            "now - ts_init",
            ALL_KINDS,
        ),
    ]);
    rows
}

/// Python type and meaning of a value that is a whole number.
fn whole_value(name: &str) -> (&'static str, &'static str) {
    match name {
        "first" => (
            "int | None",
            "first missing venue number (from the feed) or position (from the reader), None when unknown",
        ),
        "last" => ("int | None", "the last missing one, None when unknown"),
        "missing" => ("int | None", "how many are missing, None when unknown"),
        "state" => ("int", "of the feed"),
        "epoch" => ("int", "rises with each connection of the feed"),
        _ => ("int", "as the venue gave it"),
    }
}

impl Field {
    /// The field as a number, when its type is float; `now_ns` is the clock of the run.
    #[must_use]
    #[inline]
    pub fn number(self, tick: &Tick, now_ns: i64) -> f64 {
        let [bid_price, ask_price, bid_size, ask_size] = tick.values.map(f64::from_bits);
        match self {
            Field::ValueF64(index) => f64::from_bits(tick.values[usize::from(index) & 3]),
            Field::Mid => (bid_price + ask_price) / 2.0,
            Field::Spread => ask_price - bid_price,
            Field::Microprice => (bid_price * ask_size + ask_price * bid_size) / (bid_size + ask_size),
            Field::Imbalance => (bid_size - ask_size) / (bid_size + ask_size),
            Field::Notional => bid_price * ask_price,
            Field::AgeNs if tick.flags & flags::NO_VENUE_TIME == 0 => now_ns.saturating_sub(tick.ts_event) as f64,
            _ => f64::NAN,
        }
    }

    /// The field as a signed whole number, when its type is a whole number.
    #[must_use]
    #[inline]
    pub fn whole(self, tick: &Tick, position: u64, now_ns: i64) -> Whole {
        match self {
            Field::InstrumentId => Whole::Unsigned(u64::from(tick.instrument)),
            Field::Kind => Whole::Unsigned(u64::from(tick.kind)),
            Field::Position => Whole::Unsigned(position),
            Field::Seq => Whole::Unsigned(tick.seq),
            Field::VenueSeq | Field::TradeId => Whole::Unsigned(tick.venue_seq),
            Field::Flags => Whole::Unsigned(u64::from(tick.flags)),
            Field::ValueU64(index) => Whole::Unsigned(tick.values[usize::from(index) & 3]),
            Field::TsEvent => Whole::Signed(tick.ts_event),
            Field::TsInit => Whole::Signed(tick.ts_init),
            Field::Side | Field::AggressorSide => Whole::Signed(i64::from(tick.side)),
            Field::LagNs => Whole::Signed(now_ns.saturating_sub(tick.ts_init)),
            _ => Whole::Unsigned(0),
        }
    }

    /// Whether [`Field::number`] makes this field.
    #[must_use]
    pub fn is_float(self) -> bool {
        use Field::{AgeNs, Imbalance, Microprice, Mid, Notional, Spread, ValueF64};
        matches!(
            self,
            ValueF64(_) | Mid | Spread | Microprice | Imbalance | Notional | AgeNs
        )
    }
}

/// A whole number, with or without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Never negative.
    Unsigned(u64),
    /// May be negative.
    Signed(i64),
}
