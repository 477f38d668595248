//! A growing column: one field of the ticks of a window, appended as they pass, as memory that a handler will own.
//!
//! ```text
//!   tick ─▶ push: one item ─▶ … ─▶ take: a read-only array over the items, and the column begins anew
//! ```
//! Guarantees: a tick costs one item, however long the window is; memory that was handed out is written again only when
//! no handler holds it (see `columns`).
//! Does not: keep the ticks.
#![allow(unsafe_code, reason = "arrays are written before Python sees them")]

use headrace_core::market::field::{Field, Whole};
use headrace_core::market::instrument::Contract;
use headrace_core::market::tick::{Tick, flags};
use pyo3::prelude::*;

use super::columns::{ColumnPool, ItemType, data_of, view};

/// Stands for the age of a tick without a venue time.
const NO_AGE: i64 = i64::MIN;

/// How an item is made of a tick.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It is a word of the record.
    Word(usize),
    /// It is the record.
    Record,
    Number,
    Whole,
    /// It depends on when the handler is called: until then a time of the tick stands for it.
    Age,
    Lag,
}

impl Origin {
    fn of(field: Field) -> Self {
        match field {
            Field::Seq => Self::Word(0),
            Field::VenueSeq | Field::TradeId => Self::Word(1),
            Field::TsEvent => Self::Word(2),
            Field::TsInit => Self::Word(3),
            Field::ValueF64(index) | Field::ValueU64(index) => Self::Word(5 + usize::from(index & 3)),
            Field::Ticks => Self::Record,
            Field::AgeNs => Self::Age,
            Field::LagNs => Self::Lag,
            field if field.is_float() => Self::Number,
            _ => Self::Whole,
        }
    }
}

/// One field of a window so far.
pub(crate) struct GrowingColumn {
    field: Field,
    origin: Origin,
    item_type: ItemType,
    owner: Option<Py<PyAny>>,
    data: *mut u8,
    len: usize,
    capacity: usize,
}

// SAFETY: the pointer is into the memory of `owner`, which only this column writes to.
unsafe impl Send for GrowingColumn {}

impl GrowingColumn {
    /// kind : names the record's dtype when the field is `ticks`; 0 is any kind.
    pub(crate) fn new(field: Field, kind: u8) -> Self {
        Self {
            field,
            origin: Origin::of(field),
            item_type: ItemType::of(field, kind),
            owner: None,
            data: std::ptr::null_mut(),
            len: 0,
            capacity: 0,
        }
    }

    /// Appends the field of one tick. contract : of its instrument.
    #[inline]
    pub(crate) fn push(
        &mut self,
        py: Python<'_>,
        pool: &mut ColumnPool,
        tick: &Tick,
        position: u64,
        contract: impl FnOnce() -> Contract,
    ) -> PyResult<()> {
        if self.len == self.capacity {
            self.grow(py, pool, 1)?;
        }
        self.write(tick, position, contract);
        Ok(())
    }

    /// Makes room for so many more ticks.
    pub(crate) fn reserve(&mut self, py: Python<'_>, pool: &mut ColumnPool, more: usize) -> PyResult<()> {
        if self.capacity - self.len < more {
            self.grow(py, pool, more)?;
        }
        Ok(())
    }

    /// Appends the field of ticks that there is room for, the first of them at this position of the ring.
    pub(crate) fn extend(&mut self, ticks: &[Tick], first: u64, contract: impl Fn(&Tick) -> Contract) {
        assert!(self.capacity - self.len >= ticks.len(), "room was made before");
        if let Origin::Word(word) = self.origin {
            // SAFETY: as in `write`, and there is room for all of them.
            let mut item = unsafe { self.data.cast::<u64>().add(self.len) };
            for words in Tick::slice_as_words(ticks) {
                // SAFETY: as above; one step for each tick.
                unsafe {
                    item.write(words[word]);
                    item = item.add(1);
                }
            }
            self.len += ticks.len();
            return;
        }
        for (position, tick) in (first..).zip(ticks) {
            self.write(tick, position, || contract(tick));
        }
    }

    /// Appends the field of a tick that there is room for.
    #[inline]
    fn write(&mut self, tick: &Tick, position: u64, contract: impl FnOnce() -> Contract) {
        let at = self.len;
        assert!(at < self.capacity);
        // SAFETY: `at < capacity`, so there is room for an item of `item_type`, and each branch writes one of that type:
        // words and positions are the eight bytes of an f64, i64 or u64. No other code reads or writes it yet.
        unsafe {
            match self.origin {
                Origin::Word(word) => {
                    let words = Tick::slice_as_words(std::slice::from_ref(tick));
                    self.data.cast::<u64>().add(at).write(words[0][word]);
                }
                Origin::Record => self.data.cast::<Tick>().add(at).write(*tick),
                Origin::Number => {
                    let number = self.field.number(tick, 0, contract());
                    self.data.cast::<f64>().add(at).write(number);
                }
                Origin::Age => {
                    let is_timed = tick.flags & flags::NO_VENUE_TIME == 0;
                    self.data
                        .cast::<i64>()
                        .add(at)
                        .write(if is_timed { tick.ts_event } else { NO_AGE });
                }
                Origin::Lag => self.data.cast::<i64>().add(at).write(tick.ts_init),
                Origin::Whole => {
                    let word = match self.field.whole(tick, position, 0) {
                        Whole::Unsigned(value) => value,
                        Whole::Signed(value) => value.cast_unsigned(),
                    };
                    match self.item_type.size() {
                        1 => self.data.add(at).write(word as u8),
                        2 => self.data.cast::<u16>().add(at).write(word as u16),
                        4 => self.data.cast::<u32>().add(at).write(word as u32),
                        _ => self.data.cast::<u64>().add(at).write(word),
                    }
                }
            }
        }
        self.len += 1;
    }

    /// Twice the room, or enough for so many more. The old memory goes back to the pool.
    #[cold]
    fn grow(&mut self, py: Python<'_>, pool: &mut ColumnPool, more: usize) -> PyResult<()> {
        let wanted = (self.len + more).max(self.capacity + 1);
        let (owner, capacity) = pool.owner(py, self.item_type, wanted)?;
        let data = data_of(&owner);
        if self.len > 0 {
            // SAFETY: both have room for `len` items of `item_type`; the new one is not the old one, which has none left.
            unsafe { std::ptr::copy_nonoverlapping(self.data, data, self.len * self.item_type.size()) };
        }
        (self.owner, self.data, self.capacity) = (Some(owner), data, capacity);
        Ok(())
    }

    /// Adds flags to the tick at this place, as far as the column shows them.
    pub(crate) fn mark(&mut self, at: usize, flag: u16) {
        assert!(at < self.len);
        // SAFETY: an item that was written, of the type that the field has.
        unsafe {
            match self.field {
                Field::Flags => *self.data.cast::<u16>().add(at) |= flag,
                Field::Ticks => (*self.data.cast::<Tick>().add(at)).flags |= flag,
                _ => {}
            }
        }
    }

    /// The items as an array, for a call that is made now; the column begins anew.
    pub(crate) fn take(&mut self, py: Python<'_>, pool: &mut ColumnPool, now_ns: i64) -> PyResult<Py<PyAny>> {
        if self.owner.is_none() {
            self.grow(py, pool, 1)?;
        }
        self.settle(now_ns);
        let (len, owner) = (self.len, self.owner.take());
        self.clear();
        view(py, owner.as_ref().expect("grown above"), self.item_type, len)
    }

    /// Replaces the times that stand for what depends on when the handler is called.
    fn settle(&mut self, now_ns: i64) {
        if !matches!(self.origin, Origin::Age | Origin::Lag) {
            return;
        }
        for at in 0..self.len {
            // SAFETY: `at < len`: a time was written there, of eight bytes, as the item that replaces it.
            unsafe {
                let item = self.data.cast::<i64>().add(at);
                let passed_ns = now_ns.saturating_sub(*item);
                if self.origin == Origin::Lag {
                    *item = passed_ns;
                } else {
                    let age_ns = if *item == NO_AGE { f64::NAN } else { passed_ns as f64 };
                    item.cast::<f64>().write(age_ns);
                }
            }
        }
    }

    /// Forgets the items from this place on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets the items.
    pub(crate) fn clear(&mut self) {
        (self.owner, self.data, self.len, self.capacity) = (None, std::ptr::null_mut(), 0, 0);
    }
}
