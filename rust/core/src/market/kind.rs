//! The kind table: one row per kind of tick. A kind is a row, not a class; users can add rows of their own.
//!
//! Guarantees: built-in rows have fixed numbers; registered rows get the next free number and keep it.
//! Does not: forget a row, or let two rows share a name.

use crate::named_set;

/// Best bid and ask changed.
pub const QUOTE: u8 = 1;
/// One trade.
pub const TRADE: u8 = 2;
/// One aggregate of trades.
pub const AGG_TRADE: u8 = 3;
/// One price level of a depth event or snapshot.
pub const LEVEL: u8 = 4;
/// A depth event that changed no level, kept for its ids.
pub const LEVEL_EMPTY: u8 = 5;
/// Ticks are missing here.
pub const GAP: u8 = 6;
/// A stream, or the book made of it, is in another state.
pub const STATUS: u8 = 7;
/// A depth event was applied to a book that is in sync. Each reader makes it for itself; it is on no ring.
pub const BOOK: u8 = 8;
/// The mark price of a contract, its index price, and the funding to come.
pub const MARK: u8 = 9;
/// Funding that was settled.
pub const FUNDING: u8 = 10;
/// How many contracts are open.
pub const OPEN_INTEREST: u8 = 11;
/// One position that the venue closed.
pub const LIQUIDATION: u8 = 12;
/// Prices of one candle that the venue closed; behind the KLINE_VOLUME of the same candle.
pub const KLINE: u8 = 13;
/// Volume, number of trades and length of that candle.
pub const KLINE_VOLUME: u8 = 14;
/// The first number for rows that users register.
pub const FIRST_USER_KIND: u8 = 15;

/// The kinds that a book is made of, and kept by.
pub const BOOK_SOURCES: KindSet = kind_set(LEVEL) | kind_set(LEVEL_EMPTY) | kind_set(GAP) | kind_set(STATUS);

/// A set of kinds, one bit each.
pub type KindSet = u64;

/// The set that holds one kind.
#[must_use]
pub const fn kind_set(kind: u8) -> KindSet {
    1 << kind
}

/// Every kind, registered ones included.
pub const ALL_KINDS: KindSet = u64::MAX;

named_set! {
    /// Whether a newer tick replaces an older one (state, may be conflated) or each counts (flow, never folded).
    pub enum Nature {
        /// Only the newest matters.
        State "state",
        /// Each one matters.
        Flow "flow",
        /// Neither: about the stream, not of it.
        Meta "meta",
        /// Made from ticks of other kinds where it is read, and never published.
        Derived "derived",
    }
}

named_set! {
    /// What the venue's own numbers promise.
    pub enum VenueIds {
        /// They only rise; a jump means nothing.
        Monotone "monotone",
        /// The next is the last + 1.
        Contiguous "contiguous",
        /// Each event names its predecessor (see [`crate::market::instrument::ChainRule`]).
        Chained "chained",
        /// There are none.
        None "none",
    }
}

named_set! {
    /// The type of one of a kind's four values, by its dtype.
    pub enum ValueType {
        /// An `f64`, as bits.
        F64 "f8",
        /// A `u64`.
        U64 "u8",
        /// Not used: always 0.
        Unused "",
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct KindRow {
    /// Its number in the record.
    pub kind: u8,
    /// Singular name, as in `on_<name>`.
    pub name: String,
    /// Plural name, as in `on_<plural>`; empty when there is no plural handler.
    pub plural: String,
    /// State, flow, or about the stream.
    pub nature: Nature,
    /// What `venue_seq` promises.
    pub venue_ids: VenueIds,
    /// Names and types of the four values; an unused one has an empty name.
    pub values: [(String, ValueType); 4],
}

/// All rows, in order of their numbers.
#[derive(Clone, Debug)]
pub struct KindTable {
    pub(super) rows: Vec<KindRow>,
}

/// Why a row was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// The name is taken by another row.
    #[error("kind '{0}' exists already: choose another name")]
    Taken(String),
    /// The name is not a lower-case identifier.
    #[error("'{0}' is no lower-case identifier: use a-z, 0-9 and _ , beginning with a letter")]
    Name(String),
    /// The table is full.
    #[error("the kind table holds {0} rows already, its bound: no more can be registered")]
    Full(usize),
    /// A value's name means something else already.
    #[error("'{0}' already names another field: give this value a name of its own")]
    Value(String),
    /// More than four values.
    #[error("a tick holds 4 values, {0} were named: split the kind in two")]
    Values(usize),
}

/// Names and types of four values, as the table writes them.
type Values = [(&'static str, ValueType); 4];

const NONE: (&str, ValueType) = ("", ValueType::Unused);

fn row(kind: u8, name: &str, plural: &str, nature: Nature, venue_ids: VenueIds, values: Values) -> KindRow {
    KindRow {
        kind,
        name: name.into(),
        plural: plural.into(),
        nature,
        venue_ids,
        values: values.map(|(name, value_type)| (name.into(), value_type)),
    }
}

/// Quotes, trades and levels, what is said about their streams, and the book.
fn market_rows() -> [KindRow; 8] {
    use Nature::{Derived, Flow, Meta, State};
    use ValueType::{F64, U64};
    use VenueIds::{Chained, Contiguous, Monotone};
    let quote = [
        ("bid_price", F64),
        ("ask_price", F64),
        ("bid_size", F64),
        ("ask_size", F64),
    ];
    let trade = [("price", F64), ("size", F64), NONE, NONE];
    let agg = [("price", F64), ("size", F64), ("trade_first", U64), ("trade_last", U64)];
    let level = [("price", F64), ("size", F64), ("venue_first", U64), ("venue_prev", U64)];
    let empty = [NONE, NONE, ("venue_first", U64), ("venue_prev", U64)];
    let gap = [("first", U64), ("last", U64), ("missing", U64), ("cause", U64)];
    let status = [("state", U64), ("epoch", U64), ("stream", U64), ("reason", U64)];
    [
        row(QUOTE, "quote", "quotes", State, Monotone, quote),
        row(TRADE, "trade", "trades", Flow, Contiguous, trade),
        row(AGG_TRADE, "agg_trade", "agg_trades", Flow, Contiguous, agg),
        row(LEVEL, "level", "levels", Flow, Chained, level),
        row(LEVEL_EMPTY, "level_empty", "", Flow, Chained, empty),
        row(GAP, "gap", "", Meta, VenueIds::None, gap),
        row(STATUS, "status", "", Meta, VenueIds::None, status),
        row(BOOK, "book", "books", Derived, VenueIds::None, quote),
    ]
}

/// What futures have beside them, and the venue's own candles.
fn more_rows() -> [KindRow; 6] {
    use Nature::{Flow, State};
    use ValueType::{F64, U64};
    use VenueIds::Monotone;
    let mark = [
        ("mark_price", F64),
        ("index_price", F64),
        ("funding_rate", F64),
        ("next_funding_ns", U64),
    ];
    // A name has one place in the record, whatever the kind.
    let funding = [("mark_price", F64), NONE, ("funding_rate", F64), NONE];
    let interest = [("open_interest", F64), NONE, NONE, NONE];
    let trade = [("price", F64), ("size", F64), NONE, NONE];
    let kline = [("open", F64), ("high", F64), ("low", F64), ("close", F64)];
    let volume = [
        ("volume", F64),
        ("turnover", F64),
        ("trades", U64),
        ("interval_ns", U64),
    ];
    [
        row(MARK, "mark", "marks", State, VenueIds::None, mark),
        row(FUNDING, "funding", "fundings", Flow, Monotone, funding),
        row(
            OPEN_INTEREST,
            "open_interest",
            "open_interests",
            State,
            Monotone,
            interest,
        ),
        row(LIQUIDATION, "liquidation", "liquidations", Flow, VenueIds::None, trade),
        row(KLINE, "kline", "klines", Flow, VenueIds::None, kline),
        row(
            KLINE_VOLUME,
            "kline_volume",
            "kline_volumes",
            Flow,
            VenueIds::None,
            volume,
        ),
    ]
}

impl Default for KindTable {
    fn default() -> Self {
        let rows = market_rows().into_iter().chain(more_rows());
        Self { rows: rows.collect() }
    }
}

impl KindTable {
    /// Every row, built-in ones first.
    #[must_use]
    pub fn rows(&self) -> &[KindRow] {
        &self.rows
    }

    /// The row with this number.
    #[must_use]
    pub fn get(&self, kind: u8) -> Option<&KindRow> {
        self.rows.get(usize::from(kind).wrapping_sub(1))
    }

    /// The row with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&KindRow> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The kinds of which only the newest matters.
    #[must_use]
    pub fn state_kinds(&self) -> KindSet {
        self.rows
            .iter()
            .filter(|row| row.nature == Nature::State)
            .fold(0, |set, row| set | kind_set(row.kind))
    }
}
