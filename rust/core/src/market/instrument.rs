//! Instruments: `SYMBOL.VENUE`, and a dense `u32` by first appearance.
//!
//! Guarantees: an id, once given, never changes; ids are 0, 1, 2, … in order of first appearance.
//! Does not: remove instruments, or hold tick sizes and lots.

use crate::limits::SYMBOL_BYTES_MAX;
use crate::named_set;
use rustc_hash::FxHashMap;

/// How a depth event names its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainRule {
    /// Spot: an event's first id is its predecessor's last id + 1.
    FirstFollowsLast,
    /// Futures: an event repeats its predecessor's last id; ids have holes.
    PrevEqualsLast,
}

named_set! {
    /// The venues that Headrace can decode, by their names in `SYMBOL.VENUE`.
    pub enum Venue {
        /// Binance spot.
        Binance "BINANCE",
        /// Binance USD-margined futures.
        BinanceUsdm "BINANCE_USDM",
        /// Binance coin-margined futures.
        BinanceCoinm "BINANCE_COINM",
    }
}

/// How much money a quantity is at a price, in the currency of the price.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// Inverse: a contract is worth `size` of that currency at every price.
    pub is_inverse: bool,
    /// Of one contract; NaN when it is not known.
    pub size: f64,
}

impl PartialEq for Contract {
    /// Bit for bit: a size that is not known equals itself.
    fn eq(&self, other: &Self) -> bool {
        (self.is_inverse, self.size.to_bits()) == (other.is_inverse, other.size.to_bits())
    }
}

impl Contract {
    /// Of a venue that Headrace does not know; its money is NaN.
    pub const UNKNOWN: Self = Self {
        is_inverse: false,
        size: f64::NAN,
    };

    /// What the venue says of all its contracts. Each symbol of COIN-M has the form `BTCUSD_PERP`.
    fn of_venue(venue: Option<Venue>, symbol: &str) -> Self {
        let listed = symbol
            .split_once("USD_")
            .filter(|(coin, term)| !coin.is_empty() && !term.is_empty());
        let (is_inverse, size) = match (venue, listed) {
            (Some(Venue::Binance | Venue::BinanceUsdm), _) => (false, 1.0),
            (Some(Venue::BinanceCoinm), Some(("BTC", _))) => (true, 100.0),
            (Some(Venue::BinanceCoinm), Some(_)) => (true, 10.0),
            (Some(Venue::BinanceCoinm), None) | (None, _) => return Self::UNKNOWN,
        };
        Self { is_inverse, size }
    }

    /// The worth of a quantity at a price.
    #[must_use]
    #[inline]
    pub fn notional(self, price: f64, quantity: f64) -> f64 {
        let sized = quantity * self.size;
        if self.is_inverse { sized } else { sized * price }
    }
}

/// One instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct Instrument {
    /// `SYMBOL.VENUE`.
    pub name: String,
    dot: usize,
    /// How its depth events are chained.
    pub chain: ChainRule,
    /// The venue's, unless the table was given another.
    pub contract: Contract,
}

impl Instrument {
    /// Reads `SYMBOL.VENUE`; the last dot divides.
    ///
    /// # Errors
    /// [`InstrumentError::Name`] when there is no dot, a part is empty, or a character is not allowed.
    pub fn parse(name: &str) -> Result<Self, InstrumentError> {
        let refuse = || InstrumentError::Name(name.to_owned());
        let dot = name.rfind('.').ok_or_else(refuse)?;
        let (symbol, venue) = (&name[..dot], &name[dot + 1..]);
        let symbol_ok = !symbol.is_empty()
            && symbol.len() <= SYMBOL_BYTES_MAX
            && !symbol
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '*' | '?'));
        let venue_ok = !venue.is_empty()
            && venue.len() <= SYMBOL_BYTES_MAX
            && venue
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if !symbol_ok || !venue_ok {
            return Err(refuse());
        }
        let known = Venue::from_name(venue);
        let chain = match known {
            Some(Venue::BinanceUsdm | Venue::BinanceCoinm) => ChainRule::PrevEqualsLast,
            Some(Venue::Binance) | None => ChainRule::FirstFollowsLast,
        };
        Ok(Self {
            name: name.to_owned(),
            dot,
            chain,
            contract: Contract::of_venue(known, symbol),
        })
    }

    /// The part before the last dot.
    #[must_use]
    pub fn symbol(&self) -> &str {
        &self.name[..self.dot]
    }

    /// The part after the last dot.
    #[must_use]
    pub fn venue(&self) -> &str {
        &self.name[self.dot + 1..]
    }
}

/// Why an instrument was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstrumentError {
    /// Not `SYMBOL.VENUE`.
    #[error("'{0}' is no instrument: write SYMBOL.VENUE, like BTCUSDT.BINANCE")]
    Name(String),
    /// The table is full.
    #[error("{0} instruments are known already, the bound instruments_max: raise it, or subscribe to fewer")]
    Full(usize),
    /// Not configured, and discovery is off.
    #[error("instrument '{0}' is not configured and discovery is off: add it, or turn discovery on")]
    Unknown(String),
}

/// All instruments, by id and by name.
#[derive(Clone, Debug)]
pub struct InstrumentTable {
    rows: Vec<Instrument>,
    by_name: FxHashMap<String, u32>,
    instruments_max: usize,
    discovery: bool,
}

impl InstrumentTable {
    /// An empty table that grows by discovery (or only by [`InstrumentTable::add`]) up to `instruments_max`.
    #[must_use]
    pub fn new(instruments_max: usize, discovery: bool) -> Self {
        Self {
            rows: Vec::new(),
            by_name: FxHashMap::default(),
            instruments_max,
            discovery,
        }
    }

    /// Every instrument, in order of its id.
    #[must_use]
    pub fn rows(&self) -> &[Instrument] {
        &self.rows
    }

    /// The instrument with this id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Instrument> {
        self.rows.get(id as usize)
    }

    /// The id of `SYMBOL.VENUE`.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The bound on the number of instruments.
    #[must_use]
    pub fn instruments_max(&self) -> usize {
        self.instruments_max
    }

    /// Whether frames may add instruments.
    #[must_use]
    pub fn discovery(&self) -> bool {
        self.discovery
    }

    /// The id of `name`, added when it is new.
    ///
    /// # Errors
    /// [`InstrumentError::Name`], [`InstrumentError::Full`].
    pub fn add(&mut self, name: &str) -> Result<u32, InstrumentError> {
        if let Some(id) = self.id(name) {
            return Ok(id);
        }
        let instrument = Instrument::parse(name)?;
        if self.rows.len() >= self.instruments_max {
            return Err(InstrumentError::Full(self.instruments_max));
        }
        let id = u32::try_from(self.rows.len()).map_err(|_| InstrumentError::Full(self.instruments_max))?;
        self.by_name.insert(name.to_owned(), id);
        self.rows.push(instrument);
        Ok(id)
    }

    /// Gives a known instrument another contract than its venue's.
    pub fn set_contract(&mut self, id: u32, contract: Contract) {
        if let Some(row) = self.rows.get_mut(id as usize) {
            row.contract = contract;
        }
    }

    /// The id of `name` as a frame names it: added when discovery is on.
    ///
    /// # Errors
    /// [`InstrumentError::Unknown`] with discovery off, else as [`InstrumentTable::add`].
    pub fn discover(&mut self, name: &str) -> Result<u32, InstrumentError> {
        match self.id(name) {
            Some(id) => Ok(id),
            None if self.discovery => self.add(name),
            None => Err(InstrumentError::Unknown(name.to_owned())),
        }
    }
}
