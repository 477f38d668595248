//! `ZstdPacker`: what is written as zstd, packed.

use headrace_core::ingest::pack;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::internal;
use crate::hot::exclusive::Exclusive;

/// Packs bytes into frames of zstd, one after the other, each with a checksum.
#[pyclass(frozen, module = "headrace")]
pub(crate) struct ZstdPacker(Exclusive<pack::ZstdPacker>);

#[pymethods]
impl ZstdPacker {
    #[new]
    fn new() -> Self {
        Self(Exclusive::new(pack::ZstdPacker::default()))
    }

    /// Pack more of a frame, and return what of it is ready.
    ///
    /// is_last : the frame ends here, and the next call begins another. Never waits; other threads run meanwhile.
    #[pyo3(signature = (plain, *, is_last))]
    fn pack<'py>(&self, py: Python<'py>, plain: PyBackedBytes, is_last: bool) -> PyResult<Bound<'py, PyBytes>> {
        let mut taken = self.0.take(py).ok_or_else(|| internal("two threads pack one frame"))?;
        let packer = &mut *taken;
        Ok(PyBytes::new(py, &py.detach(|| packer.pack(&plain, is_last))))
    }
}
