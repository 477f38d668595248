//! What a run of candles looks at between two times: what handlers left to do, and the broker's orders.
//!
//! Guarantees: a look changes nothing.
//! Does not: do what is left; Python does.

use pyo3::intern;
use pyo3::prelude::*;

use crate::hot::python_call::call;

/// What `run` looks at between two times: the engine's parts in which handlers leave something to do.
#[derive(FromPyObject)]
pub(super) struct Waits<'py> {
    /// Each is empty while nothing waits.
    #[pyo3(item(0))]
    queues: Vec<Bound<'py, PyAny>>,
    #[pyo3(item(1))]
    commands: Bound<'py, PyAny>,
    #[pyo3(item(2))]
    faults: Bound<'py, PyAny>,
    #[pyo3(item(3))]
    broker: Option<CandleOrders<'py>>,
}

/// A broker that does nothing at a candle of an instrument of which it has no order.
#[derive(FromPyObject)]
pub(super) struct CandleOrders<'py> {
    /// Its orders: empty while it has none.
    #[pyo3(item(0))]
    orders: Bound<'py, PyAny>,
    /// Returns the instruments of these.
    #[pyo3(item(1))]
    instruments: Bound<'py, PyAny>,
    /// Calls a method of it with candles.
    #[pyo3(item(2))]
    pub(super) call: Bound<'py, PyAny>,
}

/// A broker, and the instruments of its orders.
pub(super) type Concerned<'a, 'py> = (&'a CandleOrders<'py>, Bound<'py, PyAny>);

impl<'py> Waits<'py> {
    pub(super) fn is_nothing_queued(&self) -> PyResult<bool> {
        for queue in &self.queues {
            if queue.len()? > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn is_nothing_left(&self, py: Python<'_>) -> PyResult<bool> {
        let is_answered = !self.commands.getattr(intern!(py, "in_flight"))?.is_truthy()?;
        Ok(is_answered && self.faults.getattr(intern!(py, "raised"))?.is_none())
    }

    /// The broker with the instruments of its orders; `None`: there are none.
    pub(super) fn concerned(&self) -> PyResult<Option<Concerned<'_, 'py>>> {
        let Some(broker) = &self.broker else { return Ok(None) };
        if broker.orders.len()? == 0 {
            return Ok(None);
        }
        Ok(Some((broker, call(&broker.instruments, ())?)))
    }
}
