//! The bars of candles on the bus: published together.
//!
//! Guarantees: they are events like any other, in the lane of their type, counted and handled as such.
//! Does not: make bars.

use pyo3::prelude::*;

use super::bus::{BusCore, Entry};
use super::candle_tap::CandleKey;
use crate::errors::internal;
use crate::lock::lock;

impl BusCore {
    /// Whether so many bars can be published together. `kind`: the address of their type.
    pub(crate) fn takes_candles(&self, kind: usize, count: usize) -> bool {
        let state = lock(&self.state);
        let Some(route) = state.types.get(&kind) else {
            return false;
        };
        let known = state.routes[*route as usize].get();
        !state.closed && !known.is_owned && state.lanes.has_easy_room_for(known.lane, count)
    }

    /// Publishes bars that `takes_candles` allowed.
    pub(crate) fn publish_candles(&self, kind: usize, bars: Vec<(Py<PyAny>, CandleKey)>) -> PyResult<()> {
        let mut state = lock(&self.state);
        let route = state.types.get(&kind).copied();
        let route = route.ok_or_else(|| internal("bars of an undeclared type"))?;
        let lane = state.routes[route as usize].get().lane;
        for (event, key) in bars {
            let entry = Entry {
                event,
                route,
                only: None,
                candle: Some(key),
            };
            state.lanes.push_easily(lane, entry);
        }
        // A replay's bus has nobody to wake: its driver drains.
        self.note_pushed(&mut state, lane);
        Ok(())
    }

    /// Whether something waits, or is in hand.
    pub(crate) fn has_work(&self) -> bool {
        !lock(&self.state).lanes.is_idle()
    }
}
