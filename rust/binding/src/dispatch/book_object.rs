//! `Book`: an instrument's book as a handler sees it, until the next change.
//!
//! Guarantees: what a strategy keeps does not change silently: once the book has gone on, every call raises. Arrays are
//! owned and read-only. A `BookHandle` keeps no book alive.
//! Does not: keep old books; take arrays, or numbers.

use std::sync::{Arc, Mutex, Weak};

use headrace_core::market::book::{Book as CoreBook, BookState, Side};
use headrace_core::market::status::StatusReason;
use numpy::PyArray1;
use numpy::prelude::*;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::raise;
use crate::lock::lock;

/// A book that its group changes and its objects read.
pub(super) struct SharedBook(Arc<Mutex<Versioned>>);

/// The book, and how often it was changed.
struct Versioned {
    book: CoreBook,
    version: u64,
}

impl SharedBook {
    pub(super) fn new(book: CoreBook) -> Self {
        Self(Arc::new(Mutex::new(Versioned { book, version: 0 })))
    }

    /// Changes it: objects made before are of a past book from here on.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut CoreBook) -> T) -> T {
        let mut versioned = lock(&self.0);
        versioned.version += 1;
        change(&mut versioned.book)
    }

    pub(super) fn state(&self) -> (BookState, StatusReason) {
        let versioned = lock(&self.0);
        (versioned.book.state(), versioned.book.reason())
    }

    /// A book of its own with the same levels, which does not go on.
    fn copied(&self) -> Self {
        Self::new(lock(&self.0).book.clone())
    }

    /// The object of the book as it is now.
    pub(super) fn object(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (version, update_id) = {
            let versioned = lock(&self.0);
            (versioned.version, versioned.book.update_id())
        };
        let shared = Arc::clone(&self.0);
        let object = Py::new(
            py,
            Book {
                shared,
                version,
                update_id,
            },
        )?;
        Ok(object.into_any())
    }
}

/// A kept book, from outside of its group.
#[pyclass(frozen, eq, module = "headrace._native")]
pub(crate) struct BookHandle(Weak<SharedBook>);

impl BookHandle {
    pub(super) fn new(shared: &Arc<SharedBook>) -> Self {
        Self(Arc::downgrade(shared))
    }
}

impl PartialEq for BookHandle {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

#[pymethods]
impl BookHandle {
    /// Whether its group still keeps it.
    #[getter]
    fn is_kept(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// The book as it is now, as a copy that stays valid; None: its group keeps it no more. In any thread. O(levels).
    fn copy(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.upgrade().map(|shared| shared.copied().object(py)).transpose()
    }
}

/// The levels of one instrument, as of one event.
///
/// It is valid until the book changes: while the handler runs that was given it and, for an async handler, until its
/// awaits are over. After that every method raises BookError: keep the arrays that they return, not the book.
#[pyclass(frozen, module = "headrace")]
pub(crate) struct Book {
    shared: Arc<Mutex<Versioned>>,
    version: u64,
    update_id: u64,
}

impl Book {
    /// Reads the book, if it is still the one that this object was made of.
    fn read<T>(&self, py: Python<'_>, read: impl FnOnce(&CoreBook) -> T) -> PyResult<T> {
        let versioned = lock(&self.shared);
        if versioned.version == self.version {
            return Ok(read(&versioned.book));
        }
        drop(versioned);
        let message = format!(
            "this book was as of update {}, and has gone on since: keep what bids(n) and asks(n) return, not the book",
            self.update_id
        );
        Err(raise(py, "BookError", message))
    }

    fn levels<'py>(
        &self,
        py: Python<'py>,
        count: Option<usize>,
        side: impl FnOnce(&CoreBook) -> &Side,
    ) -> PyResult<Levels<'py>> {
        let (prices, sizes): (Vec<f64>, Vec<f64>) =
            self.read(py, |book| side(book).iter().take(count.unwrap_or(usize::MAX)).unzip())?;
        let array = |values: Vec<f64>| {
            let array = PyArray1::from_vec(py, values);
            array.readwrite().make_nonwriteable();
            array
        };
        Ok((array(prices), array(sizes)))
    }
}

/// Prices and sizes.
type Levels<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

#[pymethods]
impl Book {
    /// The n best bids: prices and sizes, float64, the best first; fewer where the known depth ends. O(n).
    ///
    /// n : None for all that are known.
    #[pyo3(signature = (n=None))]
    fn bids<'py>(&self, py: Python<'py>, n: Option<usize>) -> PyResult<Levels<'py>> {
        self.levels(py, n, |book| &book.bids)
    }

    /// The n best asks: prices and sizes, float64, the best first; fewer where the known depth ends. O(n).
    ///
    /// n : None for all that are known.
    #[pyo3(signature = (n=None))]
    fn asks<'py>(&self, py: Python<'py>, n: Option<usize>) -> PyResult<Levels<'py>> {
        self.levels(py, n, |book| &book.asks)
    }

    /// The size at a price, of whichever side it is on: 0 where there is none, NaN beyond the known depth.
    fn depth_at(&self, py: Python<'_>, price: f64) -> PyResult<f64> {
        self.read(py, |book| book.depth_at(price))
    }

    /// The average price of taking ``size``; NaN where the known depth is not enough.
    ///
    /// side : +1 takes asks, -1 hits bids. Raises ValueError.
    fn vwap(&self, py: Python<'_>, side: i64, size: f64) -> PyResult<f64> {
        if side.abs() != 1 || !(size > 0.0 && size.is_finite()) {
            let message = format!("vwap({side}, {size}): side is +1 to take asks or -1 to hit bids, size is above 0");
            return Err(PyValueError::new_err(message));
        }
        let side = if side > 0 { 1 } else { -1 };
        self.read(py, |book| book.vwap(side, size))
    }

    /// The book as the venue would send it: the JSON of a snapshot, bytes.
    ///
    /// A recording that begins with it replays alone. ``bidsCut`` and ``asksCut`` say whether the venue has levels
    /// beyond those that are known. Raises BookError where the best price lies beyond them.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let members = self.read(py, |book| {
            (book.bids.knows_best() && book.asks.knows_best()).then(|| book.snapshot_members())
        })?;
        let Some(members) = members else {
            let message = "the best price of this book lies beyond its snapshot, so it begins no recording: wait until it \
                           was refreshed";
            return Err(raise(py, "BookError", message));
        };
        Ok(PyBytes::new(py, format!("{{{members}}}").as_bytes()))
    }

    /// CRC-32 over (step i64, size f64), little endian, of all levels: bids, then asks, the best first. A step is 10^-8.
    fn checksum(&self, py: Python<'_>) -> PyResult<u32> {
        self.read(py, CoreBook::checksum)
    }

    /// LIVE; DEGRADED where the best price comes near the end of the known depth, or is beyond it; STALE.
    #[getter]
    fn quality(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.read(py, |book| book.quality().name())
    }

    /// SYNCING, LIVE or STALE.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.read(py, |book| book.state().name())
    }

    /// Why it is in its state: one of STATUS_REASONS.
    #[getter]
    fn reason(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.read(py, |book| book.reason().name())
    }

    /// The venue's id of the last event in it.
    #[getter]
    fn update_id(&self) -> u64 {
        self.update_id
    }

    /// How often it was in sync again.
    #[getter]
    fn resyncs(&self, py: Python<'_>) -> PyResult<u64> {
        self.read(py, CoreBook::resyncs)
    }

    fn __repr__(&self) -> String {
        format!("<Book update_id={}>", self.update_id)
    }
}
