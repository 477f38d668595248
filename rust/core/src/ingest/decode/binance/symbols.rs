//! The symbols of one source, and the instruments that they name.
//!
//! Guarantees: what was found once is found again without allocating; a remembered id is compared with the table's own
//! name before it is used.
//! Does not: add an instrument for a frame that is refused later (the look-up comes last).

use crate::ingest::decode::RejectReason;
use crate::market::instrument::{InstrumentError, InstrumentTable, Venue};
use rustc_hash::FxHashMap;

/// Which symbols this source has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    None,
    One(u32),
    Several,
}

/// Finds the instrument of a symbol.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    venue: Venue,
    by_symbol: FxHashMap<Box<[u8]>, u32>,
    newest: u32,
    shown: Shown,
    name: String,
}

impl Symbols {
    pub(super) fn new(venue: Venue) -> Self {
        Self {
            venue,
            by_symbol: FxHashMap::default(),
            newest: 0,
            shown: Shown::None,
            name: String::new(),
        }
    }

    /// The only symbol so far, as an instrument.
    pub(super) fn only(&self) -> Option<u32> {
        match self.shown {
            Shown::One(id) => Some(id),
            Shown::None | Shown::Several => None,
        }
    }

    /// The instrument of a symbol of an accepted frame, added when the table allows it.
    #[inline]
    pub(super) fn resolve(&mut self, symbol: &[u8], instruments: &mut InstrumentTable) -> Result<u32, RejectReason> {
        // Frames come in runs of one symbol.
        if self.shown != Shown::None && self.is_name_of(self.newest, symbol, instruments) {
            return Ok(self.newest);
        }
        let id = match self.remembered(symbol, instruments) {
            Some(id) => id,
            None => self.discover(symbol, instruments)?,
        };
        if self.shown == Shown::None {
            // The table may have held it before, and `discover` was not called.
            self.by_symbol.insert(symbol.into(), id);
        }
        self.newest = id;
        self.shown = match self.shown {
            Shown::None => Shown::One(id),
            Shown::One(only) if only == id => Shown::One(id),
            Shown::One(_) | Shown::Several => Shown::Several,
        };
        Ok(id)
    }

    /// Every instrument that this source has shown, in no order.
    pub(super) fn instruments(&self) -> impl Iterator<Item = u32> {
        self.by_symbol.values().copied()
    }

    /// The instrument of a symbol that this source has shown before.
    pub(super) fn known(&self, symbol: &[u8], instruments: &InstrumentTable) -> Option<u32> {
        self.remembered(symbol, instruments)
    }

    fn remembered(&self, symbol: &[u8], instruments: &InstrumentTable) -> Option<u32> {
        if self.is_name_of(self.newest, symbol, instruments) {
            return Some(self.newest);
        }
        let id = *self.by_symbol.get(symbol)?;
        self.is_name_of(id, symbol, instruments).then_some(id)
    }

    #[inline]
    fn is_name_of(&self, id: u32, symbol: &[u8], instruments: &InstrumentTable) -> bool {
        let Some(instrument) = instruments.get(id) else {
            return false;
        };
        instrument.symbol().as_bytes() == symbol && instrument.venue() == self.venue.name()
    }

    #[cold]
    fn discover(&mut self, symbol: &[u8], instruments: &mut InstrumentTable) -> Result<u32, RejectReason> {
        let text = std::str::from_utf8(symbol).map_err(|_| RejectReason::BadUtf8)?;
        self.name.clear();
        self.name.push_str(text);
        self.name.push('.');
        self.name.push_str(self.venue.name());
        let id = instruments.discover(&self.name).map_err(|error| match error {
            InstrumentError::Name(_) => RejectReason::BadSymbol,
            InstrumentError::Full(_) => RejectReason::TooManyInstruments,
            InstrumentError::Unknown(_) => RejectReason::UnknownInstrument,
        })?;
        self.by_symbol.insert(symbol.into(), id);
        Ok(id)
    }
}
