//! `headrace._native`: the native core's face to Python. Convert, detach, map errors.
//!
//! ```text
//!   ingest (decoder, sequencer, ring) ─▶ dispatch (group ─▶ delivery) ─▶ hot (slots, columns, vectorcall) ─▶ Python handlers
//! ```
//! Guarantees: no Rust lock is held while Python runs; no Rust thread ever attaches; `unsafe` is confined to `hot`.
//! Does not: hold rules of the domain (`headrace-core`) or memory shared between threads (`headrace-lockfree`).
#![deny(unsafe_code)]

mod bus;
mod candles;
mod clock;
mod dispatch;
mod errors;
mod halt;
mod hot;
mod ingest;
mod lock;
mod tables;
mod thread;

use headrace_core::limits;
use headrace_core::market::instrument::Venue;
use headrace_core::market::tick::flags;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Bounds of the native core by name.
#[pyfunction]
fn limit_table(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let table = PyDict::new(py);
    for (name, value) in [
        ("KINDS_MAX", limits::KINDS_MAX as u64),
        ("INSTRUMENTS_MAX", limits::INSTRUMENTS_MAX as u64),
        ("SYMBOL_BYTES_MAX", limits::SYMBOL_BYTES_MAX as u64),
        ("RING_CAPACITY", limits::RING_CAPACITY as u64),
        ("FRAME_BYTES_MAX", limits::FRAME_BYTES_MAX as u64),
        ("FRAME_DEPTH_MAX", limits::FRAME_DEPTH_MAX as u64),
        ("RESTART_JUMP", limits::RESTART_JUMP),
        ("GAPS_KNOWN_MAX", limits::GAPS_KNOWN_MAX as u64),
        ("LATE_RUN_MAX", u64::from(limits::LATE_RUN_MAX)),
        ("LATE_RUN_NS", limits::LATE_RUN_NS.cast_unsigned()),
        ("WINDOW_TICKS_MAX", limits::WINDOW_TICKS_MAX as u64),
        ("BARS_EMPTY_MAX", u64::from(limits::BARS_EMPTY_MAX)),
        ("BARS_HISTORY_MAX", limits::BARS_HISTORY_MAX as u64),
        ("REJECTS_MAX", limits::REJECTS_MAX as u64),
        ("REJECTS_BYTES_MAX", limits::REJECTS_BYTES_MAX as u64),
    ] {
        table.set_item(name, value)?;
    }
    Ok(table)
}

/// The Python types of tick objects: the base, then one per kind in order of its number.
#[pyfunction]
fn tick_types(py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
    Ok(hot::tick_types::tick_types(py)?
        .all()
        .iter()
        .map(|tick_type| tick_type.clone_ref(py).into_any())
        .collect())
}

/// How this module was built.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    info.set_item("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))?;
    info.set_item("floats_in_place", hot::IN_PLACE)?;
    Ok(info)
}

#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    hot::interpreter::refuse_sub_interpreter(module.py())?;
    module.add("VENUES", Venue::ALL.map(Venue::name).to_vec())?;
    module.add("NEVER_NEWEST", flags::NEVER_NEWEST)?;
    module.add_class::<bus::BusCore>()?;
    module.add_class::<bus::BusHandler>()?;
    module.add_class::<bus::GatedCall>()?;
    module.add_class::<candles::AuditHash>()?;
    module.add_class::<candles::CandleMerge>()?;
    module.add_class::<candles::CandleRows>()?;
    module.add_class::<ingest::BarBuilder>()?;
    module.add_class::<ingest::BookCensus>()?;
    module.add_class::<clock::ReplayTime>()?;
    module.add_class::<ingest::Decoder>()?;
    module.add_class::<ingest::ReadBlock>()?;
    module.add_class::<dispatch::CallLog>()?;
    module.add_class::<dispatch::AlarmHandle>()?;
    module.add_class::<dispatch::Book>()?;
    module.add_class::<dispatch::BookHandle>()?;
    module.add_class::<dispatch::DispatchGroup>()?;
    module.add_class::<dispatch::Membership>()?;
    module.add_class::<ingest::Ingest>()?;
    module.add_class::<tables::instruments::Instruments>()?;
    module.add_class::<halt::KillSwitch>()?;
    module.add_class::<dispatch::LiveTurn>()?;
    module.add_class::<ingest::PackedFile>()?;
    module.add_class::<ingest::Pump>()?;
    module.add_class::<ingest::Ring>()?;
    module.add_class::<ingest::RingReader>()?;
    module.add_class::<ingest::Sequencer>()?;
    module.add_class::<ingest::ZstdPacker>()?;
    ingest::PumpStatus::add_to(module)?;
    module.add_function(wrap_pyfunction!(build_info, module)?)?;
    module.add_function(wrap_pyfunction!(ingest::detect_venue, module)?)?;
    module.add_function(wrap_pyfunction!(ingest::reject_table, module)?)?;
    module.add_function(wrap_pyfunction!(tables::instruments::refuse_unnamed, module)?)?;
    module.add_function(wrap_pyfunction!(tables::instruments::matches_pattern_py, module)?)?;
    module.add_function(wrap_pyfunction!(errors::mark_forked, module)?)?;
    module.add_function(wrap_pyfunction!(tables::kinds::cause_table, module)?)?;
    module.add_function(wrap_pyfunction!(tables::kinds::status_tables, module)?)?;
    module.add_function(wrap_pyfunction!(tables::kinds::field_table, module)?)?;
    module.add_function(wrap_pyfunction!(tables::kinds::flag_table, module)?)?;
    module.add_function(wrap_pyfunction!(tables::kinds::kind_table, module)?)?;
    module.add_function(wrap_pyfunction!(tables::kinds::register_kind, module)?)?;
    module.add_function(wrap_pyfunction!(limit_table, module)?)?;
    module.add_function(wrap_pyfunction!(tick_types, module)?)?;
    Ok(())
}
