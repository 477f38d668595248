//! Compilation: members and their handlers become one set of calls per (instrument, kind), shared fields made once.
//!
//! Guarantees: sites stand in registration order; members with one filter and nothing of their own share batches.
//! Does not: call anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use headrace_core::fan_out::plan::{Filter, Plan};
use headrace_core::market::field::Field;
use headrace_core::market::instrument::InstrumentTable;
use headrace_core::market::kind::{self, KindSet, kind_set};
use pyo3::prelude::*;

use super::call_set::{CallSet, CallSite, Class, Classes, Enters};
use super::delivery::Delivery;
use super::group::Group;
use super::group_state::{GroupState, SPAN_TICKS};
use super::handler::Role;
use super::member::Member;
use crate::hot::vectorcall::Slots;
use crate::lock::lock;

impl Group {
    /// Compiles instruments that appeared since.
    #[cold]
    pub(super) fn extend(&self, py: Python<'_>, plan: &mut Plan, sets: &mut Vec<CallSet>, delivery: &mut Delivery) {
        self.with_names(py, delivery, |table| plan.extend(table));
        for (_, members) in &plan.sets()[sets.len()..] {
            let set = CallSet::of(members);
            lock(&self.counts).sets.push((Arc::clone(&set.seen), members.clone()));
            sets.push(set);
        }
    }

    /// Looks at the instruments, and makes the names of those that appeared since.
    fn with_names<T>(&self, py: Python<'_>, delivery: &mut Delivery, look: impl FnOnce(&InstrumentTable) -> T) -> T {
        let (seen, fresh) = {
            let table = lock(&self.instruments);
            let known = delivery.names.len().min(table.rows().len());
            (look(&table), table.rows()[known..].to_vec())
        };
        delivery.names.extend(py, &fresh);
        seen
    }

    /// Members, or how they are called, change: what each set has seen is added to the members that are not in it, and
    /// the sets end. The next dispatch compiles new ones, once for all changes until then.
    pub(super) fn end_sets(&self, state: &mut GroupState) {
        if std::mem::replace(&mut state.is_stale, true) {
            return;
        }
        let members = &state.delivery.members;
        let (mut total, mut own) = (0, vec![0; members.len()]);
        for (seen, of) in lock(&self.counts).sets.drain(..) {
            // Relaxed: this thread writes it.
            let seen = seen.load(Ordering::Relaxed);
            total += seen;
            of.iter().for_each(|member| own[*member as usize] += seen);
        }
        for (member, own) in members.iter().zip(own) {
            member.shared.filtered.add(total - own);
        }
    }

    /// Compiles members and handlers as they are now.
    #[cold]
    pub(super) fn compile(&self, py: Python<'_>, state: &mut GroupState) {
        let delivery = &mut state.delivery;
        let members = delivery.members.iter();
        let filters = members.map(|member| member.options.filter.clone()).collect();
        let kinds = delivery.types.len();
        let plan = self.with_names(py, delivery, |table| Plan::compile(filters, kinds, table));
        compile_classes(delivery);
        delivery.compile_watch();
        delivery.compile_windows();
        let sets: Vec<CallSet> = plan.sets().iter().map(|(_, members)| CallSet::of(members)).collect();
        let members = &delivery.members;
        let plural = members
            .iter()
            .filter(|member| member.takes_batches() && member.options.every_ns == 0);
        state.span_ticks = plural
            .map(|member| member.options.tuning.batch_max)
            .max()
            .unwrap_or(SPAN_TICKS);
        state.conflates = members.iter().any(Member::conflates);
        delivery.is_timed = members.iter().any(|member| member.options.is_timed());
        delivery.keep_books();
        lock(&self.counts).sets = sets
            .iter()
            .map(|set| (Arc::clone(&set.seen), set.members.clone()))
            .collect();
        (state.plan, state.sets, state.is_stale) = (plan, sets, false);
        state.fold_backlog();
    }
}

/// Members with one filter and nothing of their own share batches and columns.
pub(super) fn compile_classes(delivery: &mut Delivery) {
    let kinds = delivery.types.len() + 1;
    let mut known: HashMap<(&Filter, KindSet), u32> = HashMap::new();
    let mut list: Vec<Class> = Vec::new();
    let mut classes = Vec::new();
    for (member_index, member) in (0u32..).zip(&delivery.members) {
        if member.options.is_private() || !member.has_plural {
            classes.push(None);
            continue;
        }
        let takes_all = member.handlers.iter().any(|handler| handler.role == Role::AllTicks);
        let all_kinds = if takes_all { member.options.every_kinds } else { 0 };
        let filter = &member.options.filter;
        let class = *known.entry((filter, all_kinds)).or_insert_with(|| {
            // Every kind is kept, because ticks are counted by kind.
            list.push(Class::new(kinds, filter.kinds, all_kinds));
            list.len() as u32 - 1
        });
        list[class as usize].members.push(member_index);
        classes.push(Some(class));
    }
    for (member, class) in delivery.members.iter_mut().zip(classes) {
        member.class = class;
    }
    delivery.classes = Classes {
        list,
        ..Classes::default()
    };
}

/// The calls of one set, compiled when its first tick comes.
#[cold]
pub(super) fn compile_set(py: Python<'_>, delivery: &mut Delivery, kind: u8, set: &CallSet) -> CallSet {
    let CallSet { members, seen, .. } = set;
    let mut fields: Vec<Field> = Vec::new();
    let mut sites: Vec<CallSite> = Vec::new();
    let mut classes: Vec<u32> = Vec::new();
    let mut feeds_books = false;
    for index in members {
        delivery.activate(*index as usize);
        let member = &delivery.members[*index as usize];
        let private = member.options.is_private();
        let site = |enters, call| CallSite {
            member: *index,
            enters,
            shared: Arc::clone(&member.shared),
            sample_in: 0,
            call,
        };
        let takes_for_book = member.options.uses_books() && kind::BOOK_SOURCES & kind_set(kind) != 0;
        feeds_books |= takes_for_book;
        let mut enters = Enters::first(kind, private);
        let mut handlers = member.calls_for(kind).peekable();
        if (private || takes_for_book) && handlers.peek().is_none() {
            sites.push(site(enters, None));
        }
        for handler in handlers {
            let described = &member.handlers[handler];
            let slots = described.fields.iter().map(|field| {
                let slot = fields.iter().position(|known| known == field).unwrap_or_else(|| {
                    fields.push(*field);
                    fields.len() - 1
                });
                slot as u16
            });
            let call = described.to_call(py, slots.collect());
            sites.push(site(enters, Some((handler as u16, call))));
            enters = Enters::Again;
        }
        if let Some(class) = member.class
            && !classes.contains(&class)
        {
            classes.push(class);
        }
    }
    let in_place = sites
        .iter()
        .flat_map(|site| &site.call)
        .all(|(_, call)| call.is_python_function(py));
    let slots = Slots::new(&fields, in_place);
    for (_, call) in sites.iter_mut().filter_map(|site| site.call.as_mut()) {
        call.look_at(&slots);
    }
    CallSet {
        is_compiled: true,
        feeds_books,
        is_plain: !feeds_books && classes.is_empty() && sites.iter().any(|site| site.call.is_some()),
        seen: Arc::clone(seen),
        members: members.clone(),
        slots,
        sites,
        classes,
    }
}
