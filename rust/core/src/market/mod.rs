//! The market: what a tick is, its kind, its fields and its instrument.
//!
//! Guarantees: one record of 72 bytes, one table of kinds, one of fields, one of instruments.
//! Does not: number ticks, or decide which subscription gets them.

pub mod book;
pub mod field;
pub mod field_table;
pub mod instrument;
pub mod kind;
mod registration;
pub mod status;
pub mod tick;
