//! Makes the Python objects of candles: `Bar`, with its `Cause`, and `CandleOpen`.
//!
//! Guarantees: they are what Python makes of the same values.
//! Does not: keep them.

use headrace_core::candles::Taken;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyString, PyTuple};

use super::shared::{SharedStream, Stream};
use crate::hot::template::Template;
use crate::hot::vectorcall::Call;

/// Fields of a bar that are set, by name.
const BAR_FIELDS: [&str; 14] = [
    "ts",
    "cause",
    "instrument",
    "timeframe",
    "price",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "count",
    "ts_open",
    "ts_close",
    "partial",
];

/// Fields of a cause, by name.
const CAUSE_FIELDS: [&str; 5] = ["instrument", "kind", "first", "last", "ts_init"];

/// Makes objects of a struct type: from a template, or by a call where the type is laid out in an unknown way.
struct Maker<const N: usize> {
    call: Call,
    template: Option<Template<N>>,
}

impl<const N: usize> Maker<N> {
    /// sample : of each field, an object that no other field has.
    fn new(py: Python<'_>, kind: Py<PyAny>, fields: &[&str; N], sample: [Py<PyAny>; N]) -> PyResult<Self> {
        let names = PyTuple::new(py, fields.map(|name| PyString::intern(py, name)))?.unbind();
        let call = Call::new(kind, None, (0..N as u16).collect(), Some(names), N);
        let template = Template::of(call.make(py, &sample)?.bind(py), fields)?;
        Ok(Self { call, template })
    }

    #[inline]
    fn make(&self, py: Python<'_>, given: [Py<PyAny>; N]) -> PyResult<Py<PyAny>> {
        match &self.template {
            Some(template) => template.make(py, given),
            None => self.call.make(py, &given),
        }
    }
}

/// A time as Python has it: one object while it is the same.
#[derive(Default)]
struct Time(Option<(i64, Py<PyAny>)>);

impl Time {
    fn of(&mut self, py: Python<'_>, ts_ns: i64) -> PyResult<Py<PyAny>> {
        match &self.0 {
            Some((known_ns, known)) if *known_ns == ts_ns => Ok(known.clone_ref(py)),
            _ => {
                let made = ts_ns.into_py_any(py)?;
                self.0 = Some((ts_ns, made.clone_ref(py)));
                Ok(made)
            }
        }
    }
}

/// When the last candle opened and closed.
#[derive(Default)]
struct Times {
    open: Time,
    close: Time,
}

/// The types, ready to be made.
pub(super) struct BarMaker {
    bar: Maker<14>,
    cause: Maker<5>,
    opened: Call,
    candle: Py<PyString>,
    kind: usize,
}

impl BarMaker {
    pub(super) fn new(py: Python<'_>, bar: Py<PyAny>, cause: Py<PyAny>, opened: Py<PyAny>) -> PyResult<Self> {
        let kind = bar.as_ptr() as usize;
        // No two of them are one object: Python shares small numbers and short texts.
        let text = |field: &str| PyString::new(py, &format!("{field} of a sample")).into_any().unbind();
        let whole = |own: i64| (1_000_000 + own).into_py_any(py);
        let price = |own: f64| PyFloat::new(py, own).into_any().unbind();
        let of_cause = [text("instrument"), text("kind"), whole(1)?, whole(2)?, whole(3)?];
        let cause = Maker::new(
            py,
            cause,
            &CAUSE_FIELDS,
            of_cause.each_ref().map(|own| own.clone_ref(py)),
        )?;
        let of_bar = [
            whole(4)?,
            cause.make(py, of_cause)?,
            text("instrument"),
            text("timeframe"),
            text("price"),
            price(1.0),
            price(2.0),
            price(3.0),
            price(4.0),
            price(5.0),
            whole(5)?,
            whole(6)?,
            whole(7)?,
            PyBool::new(py, true).to_owned().into_any().unbind(),
        ];
        Ok(Self {
            bar: Maker::new(py, bar, &BAR_FIELDS, of_bar)?,
            cause,
            opened: Call::new(opened, None, (0..4).collect(), None, 0),
            candle: PyString::intern(py, "candle").unbind(),
            kind,
        })
    }

    /// The address of the type of bars.
    pub(super) fn kind(&self) -> usize {
        self.kind
    }

    /// The bars of candles, in their order. streams : all of them.
    pub(super) fn bars(&self, py: Python<'_>, streams: &[SharedStream], taken: &[Taken]) -> PyResult<Vec<Py<PyAny>>> {
        let mut times = Times::default();
        let of = |own: &Taken| self.bar_at(py, &streams[own.stream as usize], own, &mut times);
        taken.iter().map(of).collect()
    }

    pub(super) fn bar(&self, py: Python<'_>, stream: &Stream, taken: &Taken) -> PyResult<Py<PyAny>> {
        self.bar_at(py, stream, taken, &mut Times::default())
    }

    fn bar_at(&self, py: Python<'_>, stream: &Stream, taken: &Taken, times: &mut Times) -> PyResult<Py<PyAny>> {
        let candle = &taken.candle;
        let number = taken.number.into_py_any(py)?;
        let ts_close = times.close.of(py, candle.ts_close)?;
        let instrument = stream.instrument.clone_ref(py).into_any();
        let cause = self.cause.make(
            py,
            [
                instrument.clone_ref(py),
                self.candle.clone_ref(py).into_any(),
                number.clone_ref(py),
                number,
                ts_close.clone_ref(py),
            ],
        )?;
        let price = |value: f64| PyFloat::new(py, value).into_any().unbind();
        self.bar.make(
            py,
            [
                ts_close.clone_ref(py),
                cause,
                instrument,
                stream.timeframe.clone_ref(py).into_any(),
                stream.price.clone_ref(py).into_any(),
                price(candle.open),
                price(candle.high),
                price(candle.low),
                price(candle.close),
                price(candle.volume),
                candle.count.into_py_any(py)?,
                times.open.of(py, candle.ts_open)?,
                ts_close,
                PyBool::new(py, stream.is_partial(candle))
                    .to_owned()
                    .into_any()
                    .unbind(),
            ],
        )
    }

    pub(super) fn opened(&self, py: Python<'_>, stream: &Stream, taken: &Taken) -> PyResult<Py<PyAny>> {
        self.opened.make(
            py,
            &[
                stream.instrument.clone_ref(py).into_any(),
                PyFloat::new(py, taken.candle.open).into_any().unbind(),
                taken.number.into_py_any(py)?,
                taken.candle.ts_open.into_py_any(py)?,
            ],
        )
    }
}
