//! The replay's rule: each time T is resolved before T + 1 begins.
//!
//! ```text
//!   due ≤ T? ─▶ ALARM     items of T ─▶ publish ─▶ dispatch until idle ─▶ bus or bars? DRAIN ─▶ awaited? ASYNC
//! ```
//! Guarantees: nothing of T + 1 is published while something of T is left to do, natively or in Python.
//! Does not: fire timers or drain the bus: it returns, and is called again.

use std::sync::atomic::Ordering;

use headrace_core::ingest::merge::Peek;
use pyo3::prelude::*;

use super::ingest_core::IngestCore;
use super::now::Now;
use super::publisher::Publisher;
use super::publishing::Publishing;
use super::pump_status::PumpStatus;
use super::sources::Sources;
use crate::bus::BusCore;
use crate::clock::{NEVER, ReplayTime};

/// What a replay has open.
#[derive(Default)]
pub(crate) struct Resolving {
    /// Published at T, not yet dispatched.
    open: Option<i64>,
}

/// What a replay checks between two times.
pub(crate) struct Surroundings<'a> {
    pub(crate) core: &'a IngestCore,
    pub(crate) time: &'a ReplayTime,
    pub(crate) bus: Option<&'a BusCore>,
}

impl Resolving {
    /// T is over: dispatches what was published at it.
    fn resolve(&mut self, py: Python<'_>, core: &IngestCore) -> PyResult<()> {
        if let Some(now_ns) = self.open.take() {
            core.dispatch_inline(py, &Now::At(now_ns))?;
        }
        Ok(())
    }

    /// Goes on as far as it can, and not beyond `until_ns`.
    pub(crate) fn run(
        &mut self,
        py: Python<'_>,
        sources: &mut Sources,
        around: &Surroundings<'_>,
        until_ns: i64,
    ) -> PyResult<(PumpStatus, i64)> {
        let core = around.core;
        let mut calls = 0u32;
        loop {
            // Relaxed: a stop takes effect soon, and orders nothing.
            if core.stop.load(Ordering::Relaxed) {
                return Ok((PumpStatus::Stopped, 0));
            }
            calls = calls.wrapping_add(1);
            if calls.is_multiple_of(256) {
                py.check_signals()?;
            }
            let next = match sources.peek(py) {
                Ok(next) => next,
                Err(error) => {
                    self.resolve(py, core)?;
                    return Err(error);
                }
            };
            let ts_init = match next {
                Peek::Need(source) => return Ok((PumpStatus::Need, source as i64)),
                Peek::End => i64::MAX,
                Peek::At(ts_init) => ts_init,
            };
            if self.open.is_some_and(|open| open < ts_init || next == Peek::End) {
                self.resolve(py, core)?;
            }
            if self.open.is_none()
                && let Some(left) = around.left_to_do((next != Peek::End).then_some(ts_init.min(until_ns)))
            {
                return Ok(left);
            }
            if next == Peek::End {
                return Ok((PumpStatus::End, 0));
            }
            if ts_init > until_ns {
                return Ok((PumpStatus::Until, ts_init));
            }
            around.time.move_to(ts_init);
            let mut publisher = Publisher::begin(py, core)?;
            sources.take_next(py, core, &mut publisher.working)?;
            self.open = Some(ts_init);
            let now = Now::At(ts_init);
            let mut publishing = Publishing::new(publisher.working.incoming.len(), &now);
            publisher.sequence_and_send(&mut publishing)?;
            publishing.end()?;
        }
    }
}

impl Surroundings<'_> {
    /// What is left to do before the ticks of `next_ns`. `next_ns` is `None` when no more ticks come: then only what is
    /// due already is left.
    fn left_to_do(&self, next_ns: Option<i64>) -> Option<(PumpStatus, i64)> {
        let now_ns = self.time.now();
        let bars = &self.core.bars;
        if self.bus.is_some_and(BusCore::has_ready_now) || bars.has_closed() {
            return Some((PumpStatus::Drain, now_ns));
        }
        if self.core.has_consumers_behind() {
            return Some((PumpStatus::Async, 0));
        }
        let due_ns = self.time.alarm_ns().min(bars.due_ns());
        let by_ns = if due_ns <= now_ns { Some(now_ns) } else { next_ns };
        by_ns
            .filter(|by_ns| due_ns <= *by_ns && due_ns != NEVER)
            .map(|by_ns| (PumpStatus::Alarm, by_ns))
    }
}
