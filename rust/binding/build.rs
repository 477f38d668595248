//! Makes PyO3's `cfg(Py_3_12)` and friends known to this crate.
fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
