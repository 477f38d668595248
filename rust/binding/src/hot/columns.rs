//! Columns: the declared fields of a span, gathered into arrays that own their memory.
//!
//! ```text
//!   owner (read-only ndarray, ours) ◀─base─ column[:n] (what the handler gets) ◀─base─ any slice of it
//! ```
//! Guarantees: columns are read-only, made once per span and shared by its handlers; memory is written again only when
//! the owner's reference count is back to ours (NumPy collapses bases: a slice keeps the owner alive, not the column).
//! Does not: hand out memory of the ring.
#![allow(unsafe_code, reason = "arrays are written before Python sees them")]

use std::ffi::c_int;

use headrace_core::market::field::{Field, Whole};
use headrace_core::market::tick::Tick;
use numpy::npyffi::{self, NPY_ARRAY_CARRAY_RO, NPY_ARRAY_WRITEABLE, NpyTypes, PY_ARRAY_API, PyArrayObject, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, dtype};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::hot::python_call::call;
use crate::tables::names::Names;

/// Owners kept for reuse; beyond that memory goes back to Python's allocator.
const OWNERS_MAX: usize = 64;

/// Some ticks of a span, in order: index ranges into `ticks`.
pub(crate) struct Batch<'a> {
    pub(crate) ticks: &'a [Tick],
    pub(crate) ranges: &'a [(usize, usize)],
    pub(crate) positions: Positions<'a>,
    pub(crate) now_ns: i64,
}

/// Where each tick stands in the ring's order.
#[derive(Clone, Copy)]
pub(crate) enum Positions<'a> {
    /// Tick `i` stands at `base + i`.
    From(u64),
    /// One by one.
    Each(&'a [u64]),
}

impl Positions<'_> {
    #[inline]
    pub(crate) fn of(self, index: usize) -> u64 {
        match self {
            Positions::From(base) => base + index as u64,
            Positions::Each(positions) => positions[index],
        }
    }
}

impl Batch<'_> {
    pub(crate) fn len(&self) -> usize {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }
}

struct Owner {
    array: Py<PyAny>,
    item_type: ItemType,
    capacity: usize,
}

/// What one item of a column is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemType {
    F64,
    I64,
    U64,
    U32,
    U16,
    U8,
    I8,
    /// The whole record; the kind says which names its dtype has.
    Record(u8),
}

impl ItemType {
    pub(super) fn of(field: Field, kind: u8) -> Self {
        match field {
            field if field.is_float() => ItemType::F64,
            Field::TsEvent | Field::TsInit | Field::LagNs => ItemType::I64,
            Field::InstrumentId => ItemType::U32,
            Field::Flags => ItemType::U16,
            Field::Kind => ItemType::U8,
            Field::Side | Field::AggressorSide => ItemType::I8,
            Field::Ticks => ItemType::Record(kind),
            _ => ItemType::U64,
        }
    }

    /// Bytes of one item.
    #[inline]
    pub(super) fn size(self) -> usize {
        match self {
            ItemType::F64 | ItemType::I64 | ItemType::U64 => 8,
            ItemType::U32 => 4,
            ItemType::U16 => 2,
            ItemType::U8 | ItemType::I8 => 1,
            ItemType::Record(_) => size_of::<Tick>(),
        }
    }

    fn descr(self, py: Python<'_>) -> PyResult<Bound<'_, PyArrayDescr>> {
        Ok(match self {
            ItemType::F64 => dtype::<f64>(py),
            ItemType::I64 => dtype::<i64>(py),
            ItemType::U64 => dtype::<u64>(py),
            ItemType::U32 => dtype::<u32>(py),
            ItemType::U16 => dtype::<u16>(py),
            ItemType::U8 => dtype::<u8>(py),
            ItemType::I8 => dtype::<i8>(py),
            ItemType::Record(kind) => py
                .import("headrace.market.tick")?
                .getattr("dtype_of")
                .and_then(|dtype_of| call(&dtype_of, (kind,)))?
                .cast_into::<PyArrayDescr>()?,
        })
    }
}

/// Memory for columns, reused from span to span.
#[derive(Default)]
pub(crate) struct ColumnPool {
    owners: Vec<Owner>,
}

impl ColumnPool {
    /// The column of `field` over a batch of `names`' instruments. `kind` names the record's dtype when the field is
    /// `ticks`; 0 is any kind.
    pub(crate) fn gather(
        &mut self,
        py: Python<'_>,
        field: Field,
        kind: u8,
        batch: &Batch<'_>,
        names: &Names,
    ) -> PyResult<Py<PyAny>> {
        let item_type = ItemType::of(field, kind);
        let length = batch.len();
        let (owner, _) = self.owner(py, item_type, length)?;
        let data = data_of(&owner);
        // SAFETY: `data` has room for `length` items of `item_type`, which the closure's type is; no other code holds
        // it.
        unsafe {
            match item_type {
                ItemType::Record(_) => {
                    let mut out = data.cast::<Tick>();
                    for (start, end) in batch.ranges {
                        let source = &batch.ticks[*start..*end];
                        std::ptr::copy_nonoverlapping(source.as_ptr(), out, source.len());
                        out = out.add(source.len());
                    }
                }
                ItemType::F64 => match field {
                    Field::ValueF64(index) => {
                        let index = usize::from(index) & 3;
                        write(batch, data, |tick, _| f64::from_bits(tick.values[index]));
                    }
                    _ => write(batch, data, |tick, _| {
                        field.number(tick, batch.now_ns, names.of(tick.instrument).contract)
                    }),
                },
                ItemType::I64 => write(batch, data, |tick, at| signed(field.whole(tick, at, batch.now_ns))),
                ItemType::U64 => write(batch, data, |tick, at| unsigned(field.whole(tick, at, batch.now_ns))),
                ItemType::U32 => write(batch, data, |tick, _| tick.instrument),
                ItemType::U16 => write(batch, data, |tick, _| tick.flags),
                ItemType::U8 => write(batch, data, |tick, _| tick.kind),
                ItemType::I8 => write(batch, data, |tick, _| tick.side),
            }
        }
        view(py, &owner, item_type, length)
    }

    /// An owner that only the pool holds, and how many items it has room for: at least `length`.
    pub(super) fn owner(&mut self, py: Python<'_>, item_type: ItemType, length: usize) -> PyResult<(Py<PyAny>, usize)> {
        let free = self.owners.iter().find(|owner| {
            owner.item_type == item_type
                && owner.capacity >= length
                // The owner's own count: a slice that a handler kept holds the owner, though its column is gone.
                // SAFETY: attached; a live object.
                && unsafe { ffi::Py_REFCNT(owner.array.as_ptr()) } == 1
        });
        if let Some(owner) = free {
            return Ok((owner.array.clone_ref(py), owner.capacity));
        }
        let capacity = length.next_power_of_two().max(64);
        let array = allocate(py, item_type, capacity)?;
        // What handlers keep is theirs: drop from the pool whatever is still held, oldest first.
        if self.owners.len() >= OWNERS_MAX {
            self.owners.remove(0);
        }
        self.owners.push(Owner {
            array: array.clone_ref(py),
            item_type,
            capacity,
        });
        Ok((array, capacity))
    }
}

fn signed(whole: Whole) -> i64 {
    match whole {
        Whole::Signed(value) => value,
        Whole::Unsigned(value) => value as i64,
    }
}

fn unsigned(whole: Whole) -> u64 {
    match whole {
        Whole::Unsigned(value) => value,
        Whole::Signed(value) => value as u64,
    }
}

/// # Safety
/// `data` is aligned for `T` and has room for the batch; no other code reads or writes it.
#[inline]
unsafe fn write<T>(batch: &Batch<'_>, data: *mut u8, item: impl Fn(&Tick, u64) -> T) {
    let mut out = data.cast::<T>();
    for (start, end) in batch.ranges {
        for (index, tick) in batch.ticks[*start..*end].iter().enumerate() {
            // SAFETY: by the caller: one step per tick of the batch.
            unsafe {
                out.write(item(tick, batch.positions.of(start + index)));
                out = out.add(1);
            }
        }
    }
}

pub(super) fn data_of(array: &Py<PyAny>) -> *mut u8 {
    // SAFETY: `array` came from `allocate`: it is an ndarray.
    unsafe { (*array.as_ptr().cast::<PyArrayObject>()).fields.data.cast() }
}

/// A read-only array that owns uninitialised memory; every item is written before a view of it is handed out.
fn allocate(py: Python<'_>, item_type: ItemType, capacity: usize) -> PyResult<Py<PyAny>> {
    new_array(py, item_type, capacity, std::ptr::null_mut(), 0).map(|array| {
        // SAFETY: an ndarray that only we hold. Read-only, so that no view of it can be made writeable.
        unsafe { (*array.as_ptr().cast::<PyArrayObject>()).fields.flags &= !NPY_ARRAY_WRITEABLE };
        array.unbind()
    })
}

pub(super) fn view(py: Python<'_>, owner: &Py<PyAny>, item_type: ItemType, length: usize) -> PyResult<Py<PyAny>> {
    let column = new_array(py, item_type, length, data_of(owner), NPY_ARRAY_CARRAY_RO)?;
    let base = owner.clone_ref(py).into_ptr();
    // SAFETY: attached; `column` is a fresh ndarray without a base, and the call takes over the reference to the owner.
    let failed = unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, column.as_ptr().cast(), base) };
    if failed == 0 {
        Ok(column.unbind())
    } else {
        Err(PyErr::fetch(py))
    }
}

fn new_array<'py>(
    py: Python<'py>,
    item_type: ItemType,
    length: usize,
    data: *mut u8,
    flags: c_int,
) -> PyResult<Bound<'py, PyAny>> {
    let descr = item_type.descr(py)?;
    let mut dimensions = [npy_intp::try_from(length).expect("a span's length")];
    // SAFETY: attached; the descr's reference is handed over; `data` is null (then NumPy allocates) or has `length`
    // items.
    unsafe {
        let array: *mut ffi::PyObject = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            npyffi::get_type_object(py, NpyTypes::PyArray_Type),
            descr.into_dtype_ptr(),
            1,
            dimensions.as_mut_ptr(),
            std::ptr::null_mut(),
            data.cast(),
            flags,
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(py, array)
    }
}

/// The ticks of an array of TICK_DTYPE, where they lie. Use them before anything of Python runs: its other threads
/// could write to the array.
pub(crate) fn ticks_of<'a>(py: Python<'a>, array: &'a Bound<'_, PyAny>) -> PyResult<&'a [Tick]> {
    let length = checked_length(py, array, false)?;
    // SAFETY: `checked_length` found that this is a contiguous, aligned ndarray of 72-byte records, and any bytes are a
    // `Tick`; the array is alive as long as the slice, and no code writes to it while this thread holds the
    // interpreter's lock.
    Ok(unsafe {
        let data = (*array.as_ptr().cast::<PyArrayObject>()).fields.data;
        if length == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(data.cast::<Tick>(), length)
        }
    })
}

/// Copies ticks into a user's writable array of TICK_DTYPE, from item `at` on.
pub(crate) fn copy_into(array: &Bound<'_, PyAny>, at: usize, ticks: &[Tick]) -> PyResult<()> {
    let length = checked_length(array.py(), array, true)?;
    assert!(at + ticks.len() <= length);
    // SAFETY: as above, and writeable; the bounds were checked in the line above.
    unsafe {
        let target = (*array.as_ptr().cast::<PyArrayObject>()).fields.data.cast::<u8>();
        let bytes = size_of_val(ticks);
        std::ptr::copy_nonoverlapping(ticks.as_ptr().cast::<u8>(), target.add(at * size_of::<Tick>()), bytes);
    }
    Ok(())
}

/// The length of a contiguous array of TICK_DTYPE (or of one of its kinds' views).
pub(crate) fn checked_length(py: Python<'_>, array: &Bound<'_, PyAny>, writeable: bool) -> PyResult<usize> {
    let refuse = |what: String| pyo3::exceptions::PyValueError::new_err(what);
    // SAFETY: attached.
    if unsafe { npyffi::PyArray_Check(py, array.as_ptr()) } == 0 {
        let got = array.get_type().name()?;
        return Err(refuse(format!(
            "ticks must be a NumPy array of headrace.TICK_DTYPE, got {got}: build one with headrace.ticks(...)"
        )));
    }
    // SAFETY: an ndarray, as checked above.
    let fields = unsafe { &(*array.as_ptr().cast::<PyArrayObject>()).fields };
    // SAFETY: a live ndarray has a descr.
    let descr = unsafe { Bound::from_borrowed_ptr(py, fields.descr.cast()) }.cast_into::<PyArrayDescr>()?;
    if !is_tick_dtype(py, &descr)? || fields.nd != 1 {
        return Err(refuse(format!(
            "ticks must have shape (n,) and dtype headrace.TICK_DTYPE, got {} dimension(s) of {}: \
             build them with headrace.ticks(...)",
            fields.nd,
            descr.str()?
        )));
    }
    if fields.flags & npyffi::NPY_ARRAY_C_CONTIGUOUS == 0 || fields.flags & npyffi::NPY_ARRAY_ALIGNED == 0 {
        return Err(refuse(
            "ticks must be C-contiguous and aligned: pass ticks.copy()".to_owned(),
        ));
    }
    if writeable && fields.flags & NPY_ARRAY_WRITEABLE == 0 {
        return Err(refuse(
            "the array to read into is read-only: pass one that you own".to_owned(),
        ));
    }
    // SAFETY: nd is 1, so there is one dimension.
    Ok(usize::try_from(unsafe { *fields.dimensions }).expect("a length is not negative"))
}

static TICK_DTYPE: PyOnceLock<Py<PyArrayDescr>> = PyOnceLock::new();

fn is_tick_dtype(py: Python<'_>, descr: &Bound<'_, PyArrayDescr>) -> PyResult<bool> {
    let module = || py.import("headrace.market.tick");
    let known = TICK_DTYPE.get_or_try_init(py, || -> PyResult<Py<PyArrayDescr>> {
        Ok(module()?.getattr("TICK_DTYPE")?.cast_into::<PyArrayDescr>()?.unbind())
    })?;
    // The same object nearly always; a view's or an unpickled array's dtype is compared by value.
    Ok(known.is(descr) || call(&module()?.getattr("is_tick_dtype")?, (descr,))?.extract::<bool>()?)
}

/// A new array of TICK_DTYPE that owns a copy of these ticks, writeable: it is the caller's.
pub(crate) fn tick_array(py: Python<'_>, ticks: &[Tick]) -> PyResult<Py<PyAny>> {
    let array = new_array(py, ItemType::Record(0), ticks.len(), std::ptr::null_mut(), 0)?;
    copy_into(&array, 0, ticks)?;
    Ok(array.unbind())
}
