//! Registration: a kind of the user's own, as one more row of the kind table.
//!
//! Guarantees: a refused row changes nothing; a registered one never takes the name of a handler or field that has
//! another meaning.
//! Does not: remove rows.

use super::field::Field;
use super::field_table::table;
use super::kind::{KindError, KindRow, KindTable, Nature, ValueType, VenueIds};
use crate::limits::KINDS_MAX;

impl KindTable {
    /// Adds a row of the user's own and returns its number. Values are `f64`.
    ///
    /// # Errors
    /// See [`KindError`].
    pub fn register(
        &mut self,
        name: &str,
        values: &[&str],
        nature: Nature,
        venue_ids: VenueIds,
    ) -> Result<u8, KindError> {
        for word in std::iter::once(&name).chain(values) {
            let legal = word.starts_with(|c: char| c.is_ascii_lowercase())
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if !legal {
                return Err(KindError::Name((*word).to_owned()));
            }
        }
        if values.len() > 4 {
            return Err(KindError::Values(values.len()));
        }
        let plural = format!("{name}s");
        if self
            .rows
            .iter()
            .any(|row| row.name == name || row.plural == name || row.name == plural)
            || matches!(name, "tick" | "ticks")
        {
            return Err(KindError::Taken(name.to_owned()));
        }
        let fields = table(self);
        for (index, value) in values.iter().enumerate() {
            let same = Field::ValueF64(u8::try_from(index).expect("four values"));
            if fields.iter().any(|row| row.name == *value && row.field != same) || values[..index].contains(value) {
                return Err(KindError::Value((*value).to_owned()));
            }
        }
        if self.rows.len() + 1 >= KINDS_MAX {
            return Err(KindError::Full(self.rows.len()));
        }
        let kind = u8::try_from(self.rows.len() + 1).expect("KINDS_MAX fits a u8");
        let mut named: [(String, ValueType); 4] = std::array::from_fn(|_| (String::new(), ValueType::Unused));
        for (slot, value) in named.iter_mut().zip(values) {
            *slot = ((*value).to_owned(), ValueType::F64);
        }
        self.rows.push(KindRow {
            kind,
            name: name.to_owned(),
            plural,
            nature,
            venue_ids,
            values: named,
        });
        Ok(kind)
    }
}
