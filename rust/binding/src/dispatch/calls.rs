//! Calls: one tick to the singular handlers of its set, in registration order.
//!
//! ```text
//!   tick ─▶ admit (paused? lost event? folded? rate? window?) ─▶ singular handlers, now
//!                                                            └─▶ held ─▶ plural handlers, at the end of the span or window
//! ```
//! Guarantees: each admitted tick is counted once, by its first handler.
//! Does not: judge what a handler raises; that is `fault`.

use std::time::Instant;

use headrace_core::market::tick::Tick;
use pyo3::intern;
use pyo3::prelude::*;

use super::about::About;
use super::admit::Admitted;
use super::call_set::{CallSite, Enters};
use super::delivery::Delivery;
use super::running::Seen;
use crate::hot::python_call::call_method;
use crate::hot::returned::{Returned, Unusual, is_awaitable};
use crate::hot::vectorcall::{Call, Objects, Slots};

/// A fast handler's calls are timed one in so many; two clock reads cost as much as the call they measure.
pub(super) const SAMPLE_EVERY: u32 = 64;

/// A handler at least this slow is timed at every call: there the clock is cheap, and the maximum matters.
pub(super) const SAMPLE_ALWAYS_NS: u64 = 65_536;

impl Delivery {
    /// One tick to every call of its set, in registration order.
    #[inline(always)] // With every tick.
    pub(crate) fn call_sites(
        &mut self,
        py: Python<'_>,
        sites: &mut [CallSite],
        slots: &mut Slots,
        tick: &Tick,
        position: u64,
        index: usize,
    ) {
        let mut entered = true;
        self.running.take_up(tick, position);
        for site in sites {
            let member = site.member as usize;
            let running = site.shared.takes(tick.instrument);
            if running && site.enters == Enters::Counted {
                // As nearly all do.
                site.shared.delivered.add(1);
                entered = true;
            } else {
                entered = match site.enters {
                    Enters::Counted => {
                        self.members[member].withhold(position, position, 1);
                        false
                    }
                    Enters::Apart => running,
                    Enters::Again => entered && running,
                    Enters::Admitted => match self.admit(py, member, tick, position, index) {
                        Admitted::AsIs => true,
                        Admitted::Changed(changed) => {
                            self.call_apart(py, member, &changed, position);
                            false
                        }
                        Admitted::No => false,
                    },
                };
            }
            if !entered {
                continue;
            }
            let Some((handler, call)) = &site.call else {
                continue;
            };
            let tables = (&self.types, &self.names);
            let objects = match slots.objects_for(py, call, tables, (tick, position, self.now_ns)) {
                Ok(objects) => objects,
                Err(error) => {
                    self.fault(py, member, *handler, error, About::one(tick, position));
                    continue;
                }
            };
            if site.sample_in == 0 {
                // Timed: a fast call stands for those that follow it.
                if let Some(elapsed) = self.call(py, member, *handler, call, objects, About::one(tick, position)) {
                    let stands_for = if elapsed < SAMPLE_ALWAYS_NS { SAMPLE_EVERY } else { 1 };
                    site.shared.record_latency(elapsed, u64::from(stands_for));
                    site.sample_in = stands_for - 1;
                }
                continue;
            }
            site.sample_in -= 1;
            self.running.mark(member, *handler);
            site.shared.calls.add(1);
            if let Some(result) = call.call_plainly(py, objects) {
                self.take_result(py, member, *handler, result, About::one(tick, position));
            }
        }
    }

    /// A handler returned something else than None, or raised.
    #[cold]
    fn take_result(&mut self, py: Python<'_>, member: usize, handler: u16, result: Unusual, about: About<'_>) {
        match result.look(py) {
            Returned::Nothing => {}
            Returned::Object(object) => self.take_returned(py, member, handler, &object, about),
            Returned::Error => self.fault(py, member, handler, PyErr::fetch(py), about),
        }
    }

    /// The fields of a tick could not be made (out of memory): a fault of every member that the tick was for.
    #[cold]
    pub(crate) fn fail_sites(&mut self, py: Python<'_>, sites: &[CallSite], error: &PyErr, tick: &Tick, position: u64) {
        for site in sites.iter().filter(|site| site.enters != Enters::Again) {
            let member = site.member as usize;
            self.members[member].shared.delivered.add(1);
            self.fault(py, member, 0, error.clone_ref(py), About::one(tick, position));
        }
    }

    /// Calls one handler and judges what it raised. Returns how long that took, ns; `None` when only its awaitable was
    /// made, whose time is not the handler's.
    #[inline(never)]
    pub(super) fn call(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: u16,
        call: &Call,
        objects: Objects<'_>,
        about: About<'_>,
    ) -> Option<u64> {
        self.running.mark(member, handler);
        let this = &self.members[member];
        this.shared.calls.add(1);
        let awaited = this.options.awaited;
        let started = Instant::now();
        let returned = call.call(py, objects);
        let elapsed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match returned {
            Returned::Nothing => {}
            Returned::Object(awaitable) if awaited => {
                let seen = self.running.seen();
                self.awaiting.push((handler, awaitable, seen));
            }
            Returned::Object(object) => self.take_returned(py, member, handler, &object, about),
            Returned::Error => self.fault(py, member, handler, PyErr::fetch(py), about),
        }
        (!awaited).then_some(elapsed)
    }

    /// A plain handler returned an object. An awaitable goes to Python, which awaits it, or makes it a fault.
    #[cold]
    fn take_returned(&mut self, py: Python<'_>, member: usize, handler: u16, object: &Py<PyAny>, about: About<'_>) {
        if !is_awaitable(py, object) {
            return;
        }
        let Seen {
            instrument,
            kind,
            first,
            last,
            ts_init,
        } = self.running.seen();
        let instrument = self.names.of(instrument).instrument.clone_ref(py);
        let cause = (instrument, self.names.kind(kind).clone_ref(py), first, last, ts_init);
        let taken = self.letter_of(py, about).and_then(|letter| {
            let arguments = (
                self.members[member].shared.name.as_str(),
                (handler, object, cause, letter),
            );
            call_method(self.hooks.bind(py), intern!(py, "_on_awaitable"), arguments)
        });
        if let Err(error) = taken {
            self.fault(py, member, handler, error, about);
        }
    }

    /// A call outside of the span's own order (a gap, a snapshot, a batch): always timed.
    pub(super) fn call_timed(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: u16,
        call: &Call,
        objects: Objects<'_>,
        about: About<'_>,
    ) {
        let outer = self.running.enter(about);
        let elapsed = self.call(py, member, handler, call, objects, about);
        self.running.leave(&outer);
        if let Some(elapsed) = elapsed {
            self.members[member].shared.record_latency(elapsed, 1);
        }
    }

    /// Calls a member's singular handlers with a tick that is not the span's current one (or not as it stands there).
    pub(crate) fn call_apart(&mut self, py: Python<'_>, member: usize, tick: &Tick, position: u64) {
        let handlers: Vec<usize> = self.members[member].calls_for(tick.kind).collect();
        for handler in handlers {
            if !self.members[member].is_running() {
                return;
            }
            let described = &self.members[member].handlers[handler];
            let (mut slots, call) = described.compile_alone(py);
            match slots.fill(py, &self.types, &self.names, tick, position, self.now_ns) {
                Ok(objects) => self.call_timed(py, member, handler as u16, &call, objects, About::one(tick, position)),
                Err(error) => self.fault(py, member, handler as u16, error, About::one(tick, position)),
            }
        }
    }
}
