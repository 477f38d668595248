//! Book calls: what follows when a tick was passed to its book.
//!
//! ```text
//!   Change ─┬─ applied, LIVE ─▶ a tick of kind book to its set
//!           ├─ another state ─▶ a status tick to the members that use it
//!           └─ needs a snapshot ─▶ Python's hook
//! ```
//! Guarantees: a book follows the tick that changed it, before any other tick; neither it nor its status is a position
//! of the ring, and so neither is counted.
//! Does not: keep books (`books`).

use headrace_core::fan_out::plan::Plan;
use headrace_core::market::kind;
use headrace_core::market::status::Status;
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;

use super::about::About;
use super::books::{Change, KeptBook};
use super::call_set::CallSet;
use super::compile::compile_set;
use super::delivery::Delivery;

impl Delivery {
    /// Keeps the books that members still use; one that was not fed meanwhile would not be true later.
    pub(super) fn keep_books(&mut self) {
        let (members, names) = (&self.members, &self.names);
        let is_used = |instrument: usize| {
            let text = &names.of(u32::try_from(instrument).expect("an instrument's id")).text;
            let mut users = members.iter().filter(|member| member.options.uses_books());
            users.any(|member| member.options.filter.matches_instrument(text))
        };
        for (instrument, kept) in self.books.kept.iter_mut().enumerate() {
            if kept.is_some() && !is_used(instrument) {
                *kept = None;
            }
        }
    }

    /// Passes a tick that was dispatched to its book, and says what became of that.
    pub(super) fn pass_to_book(
        &mut self,
        py: Python<'_>,
        plan: &Plan,
        sets: &mut [CallSet],
        tick: &Tick,
        (base, index): (u64, usize),
    ) {
        let chain = self.names.of(tick.instrument).chain;
        if let Some(change) = self.books.take(tick, chain) {
            self.follow(py, plan, sets, &change, tick, (base, index));
        }
    }

    /// Passes the level ticks of a whole event to their book at once. No handler takes them: they are only counted.
    pub(super) fn pass_event_to_book(
        &mut self,
        py: Python<'_>,
        plan: &Plan,
        sets: &mut [CallSet],
        event: &[Tick],
        (base, index): (u64, usize),
    ) {
        let [.., last] = event else { return };
        let (count, last_index) = (event.len() as u64, index + event.len() - 1);
        let (first_position, last_position) = (base + index as u64, base + last_index as u64);
        if let Some(set) = plan.set_of(last) {
            let set = &sets[set as usize];
            set.count_seen(count);
            for site in &set.sites {
                if site.shared.takes(last.instrument) {
                    site.shared.delivered.add(count);
                } else {
                    self.members[site.member as usize].withhold(first_position, last_position, count);
                }
            }
        }
        self.running.take_up(last, last_position);
        let chain = self.names.of(last.instrument).chain;
        if let Some(change) = self.books.take_event(event, chain) {
            self.follow(py, plan, sets, &change, last, (base, last_index));
        }
    }

    /// What follows when a tick changed its book.
    fn follow(
        &mut self,
        py: Python<'_>,
        plan: &Plan,
        sets: &mut [CallSet],
        change: &Change,
        tick: &Tick,
        (base, index): (u64, usize),
    ) {
        let position = base + index as u64;
        if let Some(status) = change.status {
            self.tell_status(py, status, tick.instrument, tick.ts_init, position);
        }
        if change.needs_snapshot {
            let instrument = self.names.of(tick.instrument).instrument.clone_ref(py);
            self.call_hook(py, "on_snapshot_needed", (instrument,));
        }
        if let Some(book) = &change.book
            && let Some(set) = plan.set_of(book)
        {
            let set = &mut sets[set as usize];
            if !set.is_compiled {
                *set = compile_set(py, self, kind::BOOK, set);
            }
            self.call_with_book(py, set, book, tick, (base, index));
        }
    }

    /// The handlers of a book, with `level` as the tick that they were called for.
    fn call_with_book(
        &mut self,
        py: Python<'_>,
        set: &mut CallSet,
        book: &Tick,
        level: &Tick,
        (base, index): (u64, usize),
    ) {
        let position = base + index as u64;
        let CallSet { slots, sites, .. } = set;
        for site in sites.iter().filter(|site| site.call.is_none()) {
            let member = site.member as usize;
            if site.shared.takes(book.instrument) {
                self.keep(py, member, book, position, false);
            }
        }
        let made = if slots.has_book() {
            let kept = self.books.kept[book.instrument as usize].as_ref();
            let made = kept.expect("it was just fed").shared.object(py);
            made.map(|object| slots.set_book(py, object))
        } else {
            Ok(())
        };
        // All fields at once: the calls find them made, and are about the level tick.
        let filled = made.and_then(|()| {
            let filled = slots.fill(py, &self.types, &self.names, book, position, self.now_ns);
            filled.map(|_| ())
        });
        match filled {
            Ok(()) => self.call_sites(py, sites, slots, level, position, index),
            Err(error) => {
                for site in sites.iter().filter(|site| site.call.is_some()) {
                    let (member, error) = (site.member as usize, error.clone_ref(py));
                    self.fault(py, member, 0, error, About::one(level, position));
                }
            }
        }
    }

    /// The books' states that changed because ticks were lost.
    pub(super) fn report_lost_books(&mut self, py: Python<'_>, position: u64) {
        if !std::mem::take(&mut self.books.has_lost) {
            return;
        }
        for instrument in 0..self.books.kept.len() {
            let status = self.books.kept[instrument].as_mut().and_then(KeptBook::changed_state);
            if let Some(status) = status {
                let instrument = u32::try_from(instrument).expect("an instrument's id");
                self.tell_status(py, status, instrument, self.now_ns, position);
            }
        }
    }

    /// Tells the members that use a book its new state.
    #[cold]
    fn tell_status(&mut self, py: Python<'_>, status: Status, instrument: u32, ts_init: i64, position: u64) {
        let tick = status.tick(instrument, ts_init);
        let names = self.names.of(instrument);
        let (text, object) = (names.text.clone(), names.instrument.clone_ref(py));
        let kept = self.books.kept[instrument as usize].as_ref();
        let book = kept.expect("its state has changed").handle();
        self.call_hook(py, "on_state", (object, status.state.name(), book));
        for member in 0..self.members.len() {
            let options = &self.members[member].options;
            if options.uses_books() && options.filter.matches_instrument(&text) {
                self.call_apart(py, member, &tick, position);
            }
        }
    }

    /// Calls what Python does with it; what that raises is none of a strategy's.
    fn call_hook<'py>(&self, py: Python<'py>, name: &str, arguments: impl pyo3::call::PyCallArgs<'py>) {
        let called = self
            .book_hooks
            .as_ref()
            .map(|hooks| hooks.call_method1(py, name, arguments));
        if let Some(Err(error)) = called {
            error.write_unraisable(py, None);
        }
    }
}
