//! A strategy's handler that panics in Rust: PyO3 turns that into PanicException, which is no Exception.

use pyo3::prelude::*;

/// Panics instead of handling a quote.
#[pyfunction]
fn on_quote(bid_price: f64) {
    panic!("a handler panicked at {bid_price}");
}

#[pymodule]
fn hostile_extension(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(on_quote, module)?)
}
