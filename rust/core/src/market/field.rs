//! A field: how a name that a handler declares gets its value from a tick.
//!
//! Guarantees: one function makes the value, whether it becomes an object or an item of a column.
//! Does not: touch Python; the binding turns a [`Field`] into an object or a column. The names are in `field_table`.

use super::instrument::Contract;
use super::status::stream_of;
use super::tick::{Tick, flags};

/// How a declared name gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is a row of the field table, which says it")]
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
    State,
    Stream,
    Reason,
    Book,
    BookState,
    Mid,
    Spread,
    Microprice,
    Imbalance,
    Notional,
    AgeNs,
    LagNs,
}

impl Field {
    /// The field as a number, when its type is float; `now_ns` is the clock of the run, `contract` the instrument's.
    #[must_use]
    #[inline]
    pub fn number(self, tick: &Tick, now_ns: i64, contract: Contract) -> f64 {
        match self {
            Field::ValueF64(index) => f64::from_bits(tick.values[usize::from(index) & 3]),
            Field::Mid | Field::Spread | Field::Microprice | Field::Imbalance => self.of_quote(tick),
            Field::Notional => contract.notional(tick.value(0), tick.value(1)),
            Field::AgeNs if tick.flags & flags::NO_VENUE_TIME == 0 => now_ns.saturating_sub(tick.ts_event) as f64,
            _ => f64::NAN,
        }
    }

    /// What both sides of a quote make; NaN when one is absent.
    #[inline]
    fn of_quote(self, quote: &Tick) -> f64 {
        let ((bid, ask), bid_size, ask_size) = (quote.bid_and_ask(), quote.value(2), quote.value(3));
        match self {
            _ if bid.is_nan() || ask.is_nan() => f64::NAN,
            Field::Mid => (bid + ask) / 2.0,
            Field::Spread => ask - bid,
            Field::Microprice => (bid * ask_size + ask * bid_size) / (bid_size + ask_size),
            _ => (bid_size - ask_size) / (bid_size + ask_size),
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
            Field::State => Whole::Unsigned(tick.values[0]),
            Field::Stream => Whole::Unsigned(u64::from(stream_of(tick.values[2]))),
            Field::Reason => Whole::Unsigned(tick.values[3]),
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
