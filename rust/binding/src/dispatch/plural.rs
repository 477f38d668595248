//! Plural handlers: the ticks of a span, or of a window, as columns.
//!
//! Guarantees: once per kind, then `on_ticks`; a batch ends on an event's edge unless the event alone is too long;
//! members with one filter share columns.
//! Does not: decide where a span ends.

use headrace_core::market::kind::{ALL_KINDS, KindSet, kind_set};
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;

use super::about::About;
use super::call_set::Class;
use super::delivery::Delivery;
use super::handler::Role;
use super::member::Member;
use super::subscription::Held;
use crate::hot::columns::{Batch, Positions};
use crate::hot::vectorcall::Columns;

impl Delivery {
    /// Calls plural handlers with what a private member holds.
    pub(crate) fn flush_held(&mut self, py: Python<'_>, member: usize) {
        let this = &mut self.members[member];
        if this.options.pull || this.held.ticks.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut this.held);
        let mut done = 0;
        while done < held.ticks.len() && self.raised.is_none() && self.members[member].is_running() {
            done += self.flush_batch(py, member, &held, done);
        }
        held.remove_first(done);
        let this = &mut self.members[member];
        // A handler of ours cannot have held more meanwhile: dispatching is not reentrant.
        this.held = held;
        if !this.is_running() {
            this.skip_held();
        }
    }

    /// Calls plural handlers with what the window holds, as columns that have grown with it.
    pub(crate) fn flush_window(&mut self, py: Python<'_>, member: usize) {
        let this = &mut self.members[member];
        if !this.has_window() || self.raised.is_some() {
            return;
        }
        if !this.is_running() {
            this.skip_held();
            return;
        }
        let Some(mut window) = this.window.take() else { return };
        let mut left = window.count_waiting(this.plural_only);
        for at in 0..window.lists.len() {
            let (handler, kinds) = (window.lists[at].handler, window.lists[at].kinds);
            let this = &self.members[member];
            if window.lists[at].is_empty() || !this.is_running() {
                continue;
            }
            let counted = window.count_waiting(kinds & this.counts_for(this.handlers[handler].role));
            this.shared.delivered.add(counted);
            left -= counted;
            let list = &mut window.lists[at];
            let columns = list.take_columns(py, &mut self.columns, self.now_ns);
            self.call_with_columns(py, member, handler, columns, list.about());
        }
        let this = &mut self.members[member];
        if left > 0 {
            let (first, last) = window.ends();
            this.withhold(first, last, left);
        }
        window.clear();
        // A handler of ours cannot have held more meanwhile: dispatching is not reentrant.
        this.window = Some(window);
        this.unsettled = 0;
        this.shared.buffered.set(this.count_buffered());
    }

    /// Calls plural handlers with the ticks from `first` on, `batch_max` at most; returns how many that were.
    fn flush_batch(&mut self, py: Python<'_>, member: usize, held: &Held, first: usize) -> usize {
        let this = &self.members[member];
        let rest = &held.ticks[first..];
        let length = edge_before(rest, rest.len().min(this.options.tuning.batch_max));
        let end = first + length;
        let mut class = Class::new(self.types.len() + 1, !0, this.options.every_kinds);
        for (index, tick) in rest[..length].iter().enumerate() {
            class.push(tick.kind, index, index + 1);
        }
        self.cache.clear();
        let given = Given {
            ticks: &rest[..length],
            positions: Positions::Each(&held.positions[first..end]),
            counted: Some(&held.counted[first..end]),
        };
        self.call_plural(py, member, u32::MAX, &class.ranges, &given);
        self.cache.clear();
        length
    }

    /// The plural handlers of every member, at the end of a span; `ranges` of the shared classes are consumed.
    pub(crate) fn end_span(&mut self, py: Python<'_>, ticks: &[Tick], base: u64) {
        self.attend_touched();
        self.sort_attention();
        let mut classes = std::mem::take(&mut self.classes);
        let given = Given {
            ticks,
            positions: Positions::From(base),
            counted: None,
        };
        for at in 0..self.attention.len() {
            let member = self.attention.member(at);
            let Some(class) = self.members[member].class else {
                if self.members[member].options.every_ns == 0 {
                    self.flush_held(py, member);
                }
                continue;
            };
            self.call_plural(py, member, class, &classes.list[class as usize].ranges, &given);
        }
        self.cache.clear();
        classes.clear();
        self.classes = classes;
    }

    /// Ticks of the span so far that only plural handlers will count, for a member of a shared class.
    pub(crate) fn count_waiting(&self, member: usize) -> u64 {
        let this = &self.members[member];
        let Some(class) = this.class else {
            return this.count_buffered();
        };
        let ranges = self.classes.list[class as usize].ranges.iter().enumerate().skip(1);
        ranges
            .filter(|(kind, _)| this.plural_only & kind_set(*kind as u8) != 0)
            .flat_map(|(_, ranges)| ranges)
            .map(|(start, end)| (end - start) as u64)
            .sum()
    }

    /// Plural handlers once per kind, then `on_ticks`; batches end on an event's edge unless it alone is too long.
    ///
    /// What no handler was given, because the member stopped running, is withheld.
    fn call_plural(
        &mut self,
        py: Python<'_>,
        member: usize,
        class: u32,
        ranges: &[Vec<(usize, usize)>],
        given: &Given<'_>,
    ) {
        let kinds = std::mem::take(&mut self.plural_kinds);
        let mut left = self.members[member].count_due(ranges, given);
        for (role, kind) in kinds
            .iter()
            .map(|kind| (Role::Plural(*kind), *kind))
            .chain([(Role::AllTicks, 0)])
        {
            let this = &self.members[member];
            let Some(handler) = this.handlers.iter().position(|handler| handler.role == role) else {
                continue;
            };
            let counts = this.counts_for(role);
            let list = &ranges[usize::from(kind)];
            let total: usize = list.iter().map(|(start, end)| end - start).sum();
            let batch_max = this.options.tuning.batch_max;
            let mut cut = Cut { ranges: list, used: 0 };
            let mut first = 0;
            while first < total && self.members[member].is_running() {
                let mut count = batch_max.min(total - first);
                if first + count < total {
                    let part = cut.clone().take(count);
                    let whole = part.iter().rev().flat_map(|(start, end)| (*start..*end).rev());
                    let open = whole.take_while(|index| !given.ticks[*index].ends_event()).count();
                    if open < count {
                        count -= open;
                    }
                }
                let part = cut.take(count);
                let counted = given.count(&part, counts);
                self.members[member].shared.delivered.add(counted);
                left -= counted;
                let batch = Batch {
                    ticks: given.ticks,
                    ranges: &part,
                    positions: given.positions,
                    now_ns: self.now_ns,
                };
                self.call_batch(py, member, handler, (class, kind, first, first + count), &batch);
                first += count;
            }
        }
        self.plural_kinds = kinds;
        if left > 0 {
            let last = given.positions.of(given.ticks.len() - 1);
            self.members[member].withhold(given.positions.of(0), last, left);
        }
    }

    pub(super) fn call_batch(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: usize,
        key: (u32, u8, usize, usize),
        batch: &Batch<'_>,
    ) {
        let fields = self.members[member].handlers[handler].fields.clone();
        let (start, _) = batch.ranges[0];
        let (_, end) = batch.ranges[batch.ranges.len() - 1];
        let positions = match batch.positions {
            Positions::From(base) => Positions::From(base + start as u64),
            Positions::Each(positions) => Positions::Each(&positions[start..end]),
        };
        let columns: PyResult<Vec<Py<PyAny>>> = fields
            .iter()
            .map(|field| {
                let (class, kind, first, last) = key;
                let key = (class, kind, first, last, *field);
                if let Some((_, column)) = self.cache.iter().find(|(known, _)| *known == key) {
                    return Ok(column.clone_ref(py));
                }
                let column = self.columns.gather(py, *field, kind, batch, &self.names)?;
                self.cache.push((key, column.clone_ref(py)));
                Ok(column)
            })
            .collect();
        self.call_with_columns(
            py,
            member,
            handler,
            columns,
            About::all(&batch.ticks[start..end], positions),
        );
    }

    fn call_with_columns(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: usize,
        columns: PyResult<Vec<Py<PyAny>>>,
        about: About<'_>,
    ) {
        match columns {
            Ok(columns) => {
                let call = self.members[member].handlers[handler].to_call_alone(py);
                let columns = Columns::new(columns);
                self.call_timed(py, member, handler as u16, &call, columns.objects(), about);
            }
            Err(error) => self.fault(py, member, handler as u16, error, about),
        }
    }
}

/// The ticks that plural handlers are called with.
struct Given<'a> {
    ticks: &'a [Tick],
    positions: Positions<'a>,
    /// Whether each is a position of the ring; `None`: all are.
    counted: Option<&'a [bool]>,
}

impl Given<'_> {
    /// How many ticks of these ranges are positions of the ring, of these kinds.
    fn count(&self, ranges: &[(usize, usize)], kinds: KindSet) -> u64 {
        if kinds == 0 {
            return 0;
        }
        let counts = |index: &usize| {
            let is_counted = self.counted.is_none_or(|counted| counted[*index]);
            is_counted && kinds & kind_set(self.ticks[*index].kind) != 0
        };
        let count = |(start, end): &(usize, usize)| {
            if kinds == ALL_KINDS && self.counted.is_none() {
                end - start
            } else {
                (*start..*end).filter(counts).count()
            }
        };
        ranges.iter().map(|range| count(range) as u64).sum()
    }
}

impl Member {
    /// How many ticks of a span its plural handlers will count.
    fn count_due(&self, ranges: &[Vec<(usize, usize)>], given: &Given<'_>) -> u64 {
        let of_kinds = ranges.iter().enumerate().skip(1);
        let counted = of_kinds.filter(|(kind, _)| self.plural_only & kind_set(*kind as u8) != 0);
        counted.map(|(_, ranges)| given.count(ranges, ALL_KINDS)).sum()
    }

    /// The kinds whose ticks a plural handler counts: `on_ticks` those that no handler of their own counted.
    fn counts_for(&self, role: Role) -> KindSet {
        match role {
            Role::Plural(kind) if self.plural_only & kind_set(kind) != 0 => ALL_KINDS,
            Role::AllTicks => {
                let own = self.handlers.iter().fold(0, |own, handler| match handler.role {
                    Role::Plural(kind) => own | kind_set(kind),
                    _ => own,
                });
                let counts = self.plural_only & !own;
                if self.options.every_kinds & !counts == 0 {
                    ALL_KINDS
                } else {
                    counts
                }
            }
            _ => 0,
        }
    }
}

/// Takes index ranges apart, from their beginning on.
#[derive(Clone)]
struct Cut<'a> {
    ranges: &'a [(usize, usize)],
    /// Of the first range.
    used: usize,
}

impl Cut<'_> {
    /// The ranges of the next `count` indexes.
    fn take(&mut self, mut count: usize) -> Vec<(usize, usize)> {
        let mut part = Vec::new();
        while count > 0
            && let Some((start, end)) = self.ranges.first()
        {
            let from = start + self.used;
            let to = (*end).min(from + count);
            part.push((from, to));
            count -= to - from;
            self.used += to - from;
            if to == *end {
                (self.ranges, self.used) = (&self.ranges[1..], 0);
            }
        }
        part
    }
}

/// The longest prefix of at most `length` ticks that ends on an event's edge; `length` when none does.
pub(crate) fn edge_before(ticks: &[Tick], length: usize) -> usize {
    if length == ticks.len() {
        return length;
    }
    (1..=length)
        .rev()
        .find(|end| ticks[end - 1].ends_event())
        .unwrap_or(length)
}
