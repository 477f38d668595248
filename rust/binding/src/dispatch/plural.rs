//! Plural handlers: the ticks of a span, or of a window, as columns.
//!
//! Guarantees: once per kind, then `on_ticks`; a batch ends on an event's edge unless the event alone is too long;
//! members with one filter share columns.
//! Does not: decide where a span ends.

use headrace_core::market::kind::kind_set;
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;

use super::call_set::Class;
use super::delivery::{About, Delivery};
use super::handler::Role;
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

    /// Calls plural handlers with the ticks from `first` on, `batch_max` at most; returns how many that were.
    fn flush_batch(&mut self, py: Python<'_>, member: usize, held: &Held, first: usize) -> usize {
        let this = &self.members[member];
        let rest = &held.ticks[first..];
        let length = edge_before(rest, rest.len().min(this.batch_max()));
        let end = first + length;
        this.shared.delivered.add(held.counted(first..end, this.plural_only));
        let mut class = Class::new(self.types.len() + 1, !0, this.options.every_kinds);
        for (index, tick) in rest[..length].iter().enumerate() {
            class.push(tick.kind, index, index + 1);
        }
        self.cache.clear();
        let positions = Positions::Each(&held.positions[first..end]);
        self.call_plural(py, member, u32::MAX, &class.ranges, &rest[..length], positions);
        self.cache.clear();
        length
    }

    /// The plural handlers of every member, at the end of a span; `ranges` of the shared classes are consumed.
    pub(crate) fn end_span(&mut self, py: Python<'_>, ticks: &[Tick], base: u64) {
        self.attend_touched();
        self.sort_attention();
        let mut classes = std::mem::take(&mut self.classes);
        for at in 0..self.attention.len() {
            let member = self.attention.member(at);
            let Some(class) = self.members[member].class else {
                if self.members[member].options.every_ns == 0 {
                    self.flush_held(py, member);
                }
                continue;
            };
            let ranges = &classes.list[class as usize].ranges;
            let this = &mut self.members[member];
            let counted: u64 = ranges
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(kind, _)| this.plural_only & kind_set(*kind as u8) != 0)
                .map(|(_, ranges)| ranges.iter().map(|(start, end)| (end - start) as u64).sum::<u64>())
                .sum();
            if !this.is_running() {
                if counted > 0 {
                    this.withhold(base, base + ticks.len() as u64 - 1, counted);
                }
                continue;
            }
            this.shared.delivered.add(counted);
            self.call_plural(py, member, class, ranges, ticks, Positions::From(base));
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
    pub(super) fn call_plural(
        &mut self,
        py: Python<'_>,
        member: usize,
        class: u32,
        ranges: &[Vec<(usize, usize)>],
        ticks: &[Tick],
        positions: Positions<'_>,
    ) {
        let kinds = std::mem::take(&mut self.plural_kinds);
        for (role, kind) in kinds
            .iter()
            .map(|kind| (Role::Plural(*kind), *kind))
            .chain([(Role::AllTicks, 0)])
        {
            let Some(handler) = self.members[member]
                .handlers
                .iter()
                .position(|handler| handler.role == role)
            else {
                continue;
            };
            let list = &ranges[usize::from(kind)];
            let total: usize = list.iter().map(|(start, end)| end - start).sum();
            let batch_max = self.members[member].batch_max();
            let mut cut = Cut { ranges: list, used: 0 };
            let mut first = 0;
            while first < total && self.members[member].is_running() {
                let mut count = batch_max.min(total - first);
                if first + count < total {
                    let part = cut.clone().take(count);
                    let whole = part.iter().rev().flat_map(|(start, end)| (*start..*end).rev());
                    let open = whole.take_while(|index| !ticks[*index].ends_event()).count();
                    if open < count {
                        count -= open;
                    }
                }
                let part = cut.take(count);
                let batch = Batch {
                    ticks,
                    ranges: &part,
                    positions,
                    now_ns: self.now_ns,
                };
                self.call_batch(py, member, handler, (class, kind, first, first + count), &batch);
                first += count;
            }
        }
        self.plural_kinds = kinds;
    }

    pub(super) fn call_batch(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: usize,
        key: (u32, u8, usize, usize),
        batch: &Batch<'_>,
    ) {
        let described = &self.members[member].handlers[handler];
        let fields = described.fields.clone();
        let call = described.to_call_alone(py);
        let (start, _) = batch.ranges[0];
        let (_, end) = batch.ranges[batch.ranges.len() - 1];
        let about = About {
            ticks: &batch.ticks[start..end],
            positions: match batch.positions {
                Positions::From(base) => Positions::From(base + start as u64),
                Positions::Each(positions) => Positions::Each(&positions[start..end]),
            },
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
        match columns {
            Ok(columns) => {
                let columns = Columns::new(columns);
                self.call_timed(py, member, handler as u16, &call, columns.objects(), about);
            }
            Err(error) => self.fault(py, member, handler as u16, error, about),
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
