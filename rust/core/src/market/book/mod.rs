//! Books: the levels of an instrument, kept in sync with the venue or said not to be.
//!
//! Guarantees: one code for live data and for replays; a book that is not provably in sync is not LIVE.
//! Does not: ask for snapshots; it says that it needs one.

mod book;
mod census;
mod event;
mod kept;
mod levels;
mod quality;
mod state;
mod text;

pub use book::{Applied, Book};
pub use census::{BookCensus, BookCount};
pub use event::Event;
pub use levels::Side;
pub use quality::{BookCheck, BookQuality};
pub use state::BookState;
