//! The strings that handlers get: made once per instrument and kind, shared by every call.
//!
//! Guarantees: an instrument's strings are the same objects for as long as the group lives.
//! Does not: own the instrument table.

use headrace_core::market::instrument::{ChainRule, Contract, Instrument};
use headrace_core::market::kind::KindTable;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The three texts of an instrument, its name for native use, its contract, and how its depth events are chained.
pub(crate) struct InstrumentNames {
    pub(crate) text: String,
    pub(crate) symbol: Py<PyAny>,
    pub(crate) venue: Py<PyAny>,
    pub(crate) instrument: Py<PyAny>,
    pub(crate) contract: Contract,
    pub(crate) chain: ChainRule,
}

/// All of them, by instrument id and kind number.
pub(crate) struct Names {
    instruments: Vec<InstrumentNames>,
    kinds: Vec<Py<PyAny>>,
    none: InstrumentNames,
}

impl Names {
    pub(crate) fn new(py: Python<'_>, kinds: &KindTable) -> Self {
        let text = |text: &str| PyString::intern(py, text).into_any().unbind();
        let mut names = vec![py.None()];
        names.extend(kinds.rows().iter().map(|row| text(&row.name)));
        let none = InstrumentNames {
            text: String::new(),
            symbol: py.None(),
            venue: py.None(),
            instrument: py.None(),
            contract: Contract::UNKNOWN,
            chain: ChainRule::FirstFollowsLast,
        };
        Self {
            instruments: Vec::new(),
            kinds: names,
            none,
        }
    }

    /// The names of the kinds, by number.
    pub(crate) fn kinds(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.kinds.iter().map(|name| name.clone_ref(py)).collect()
    }

    /// How many instruments have their strings.
    pub(crate) fn len(&self) -> usize {
        self.instruments.len()
    }

    /// Makes the strings of instruments that appeared since.
    pub(crate) fn extend(&mut self, py: Python<'_>, fresh: &[Instrument]) {
        let text = |text: &str| PyString::intern(py, text).into_any().unbind();
        self.instruments.extend(fresh.iter().map(|row| InstrumentNames {
            text: row.name.clone(),
            symbol: text(row.symbol()),
            venue: text(row.venue()),
            instrument: text(&row.name),
            contract: row.contract,
            chain: row.chain,
        }));
    }

    /// The texts of an instrument; `None` objects for the ticks of no instrument.
    #[inline]
    pub(crate) fn of(&self, instrument: u32) -> &InstrumentNames {
        self.instruments.get(instrument as usize).unwrap_or(&self.none)
    }

    /// The name of a kind.
    #[inline]
    pub(crate) fn kind(&self, kind: u8) -> &Py<PyAny> {
        self.kinds.get(usize::from(kind)).unwrap_or(&self.kinds[0])
    }
}
