//! Compilation: members and their handlers become one set of calls per (instrument, kind), shared fields made once.
//!
//! Guarantees: sites stand in registration order; members with one filter and nothing of their own share batches.
//! Does not: call anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headrace_core::fan_out::plan::{Filter, Plan};
use headrace_core::market::field::Field;
use headrace_core::market::kind::KindSet;
use pyo3::prelude::*;

use super::call_set::{CallSet, CallSite, Class, Enters};
use super::delivery::Delivery;
use super::group::Group;
use super::group_state::{GroupState, SPAN_TICKS};
use super::handler::Role;
use super::options::Overflow;
use crate::hot::vectorcall::Slots;
use crate::lock::lock;

impl Group {
    /// Compiles instruments that appeared since.
    #[cold]
    pub(super) fn extend(&self, py: Python<'_>, plan: &mut Plan, sets: &mut Vec<CallSet>, delivery: &mut Delivery) {
        let fresh = {
            let table = lock(&self.instruments);
            plan.extend(&table);
            table.rows()[delivery.names.len().min(table.rows().len())..].to_vec()
        };
        delivery.names.extend(py, &fresh);
        for (kind, members) in &plan.sets()[sets.len()..] {
            let set = compile_set(py, delivery, *kind, members);
            lock(&self.counts).sets.push((Arc::clone(&set.seen), members.clone()));
            sets.push(set);
        }
    }

    /// Adds what each set has seen to the members that are not in it, before the sets change.
    pub(super) fn fold_counts(&self, state: &mut GroupState) {
        let counts = lock(&self.counts);
        for (seen, members) in &counts.sets {
            // Relaxed: this thread writes it.
            let seen = seen.swap(0, Ordering::Relaxed);
            if seen == 0 {
                continue;
            }
            for (index, member) in state.delivery.members.iter().enumerate() {
                if !members.contains(&(index as u32)) {
                    member.shared.filtered.add(seen);
                }
            }
        }
    }

    pub(super) fn compile(&self, py: Python<'_>, state: &mut GroupState) {
        let delivery = &mut state.delivery;
        let filters = delivery
            .members
            .iter()
            .map(|member| member.options.filter.clone())
            .collect();
        let (plan, fresh) = {
            let table = lock(&self.instruments);
            let plan = Plan::compile(filters, delivery.types.len(), &table);
            (
                plan,
                table.rows()[delivery.names.len().min(table.rows().len())..].to_vec(),
            )
        };
        delivery.names.extend(py, &fresh);
        compile_classes(delivery);
        let sets: Vec<CallSet> = plan
            .sets()
            .iter()
            .map(|(kind, members)| compile_set(py, delivery, *kind, members))
            .collect();
        let plural = delivery
            .members
            .iter()
            .filter(|member| member.has_plural || member.options.pull);
        state.span_ticks = plural
            .map(|member| member.options.tuning.batch_max)
            .max()
            .unwrap_or(SPAN_TICKS);
        state.conflates = delivery
            .members
            .iter()
            .any(|member| member.options.tuning.overflow == Overflow::Conflate);
        delivery.is_timed = delivery
            .members
            .iter()
            .any(|member| member.options.every_ns > 0 || member.options.min_interval_ns > 0);
        let mut counts = lock(&self.counts);
        counts.members = delivery
            .members
            .iter()
            .map(|member| Arc::clone(&member.shared))
            .collect();
        counts.sets = sets
            .iter()
            .map(|set| (Arc::clone(&set.seen), set.members.clone()))
            .collect();
        (state.plan, state.sets) = (plan, sets);
    }
}

/// Members with one filter and nothing of their own share batches and columns.
pub(super) fn compile_classes(delivery: &mut Delivery) {
    let kinds = delivery.types.len() + 1;
    let mut known: Vec<(&Filter, KindSet)> = Vec::new();
    let mut classes: Vec<Class> = Vec::new();
    let mut member_class = Vec::new();
    for member in &delivery.members {
        if member.options.is_private() || !member.has_plural {
            member_class.push(None);
            continue;
        }
        let takes_all = member.handlers.iter().any(|handler| handler.role == Role::AllTicks);
        let all_kinds = if takes_all { member.options.every_kinds } else { 0 };
        let key = (&member.options.filter, all_kinds);
        let index = known.iter().position(|class| *class == key).unwrap_or_else(|| {
            known.push(key);
            // Every kind is kept, because ticks are counted by kind.
            classes.push(Class {
                ranges: vec![Vec::new(); kinds],
                kinds: member.options.filter.kinds,
                all_kinds,
            });
            classes.len() - 1
        });
        member_class.push(Some(index as u32));
    }
    (delivery.classes, delivery.member_class) = (classes, member_class);
}

pub(super) fn compile_set(py: Python<'_>, delivery: &Delivery, kind: u8, members: &[u32]) -> CallSet {
    let mut fields: Vec<Field> = Vec::new();
    let mut sites: Vec<CallSite> = Vec::new();
    let mut classes: Vec<u32> = Vec::new();
    for index in members {
        let member = &delivery.members[*index as usize];
        let private = member.options.is_private();
        let mut handlers = member.calls_for(kind).peekable();
        if private && handlers.peek().is_none() {
            sites.push(CallSite {
                member: *index,
                enters: Enters::Admitted,
                shared: Arc::clone(&member.shared),
                sample_in: 0,
                call: None,
            });
        }
        let mut enters = if private { Enters::Admitted } else { Enters::Counted };
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
            sites.push(CallSite {
                member: *index,
                enters,
                shared: Arc::clone(&member.shared),
                sample_in: 0,
                call: Some((handler as u16, call)),
            });
            enters = Enters::Again;
        }
        if let Some(class) = delivery.member_class[*index as usize]
            && !classes.contains(&class)
        {
            classes.push(class);
        }
    }
    let in_place = sites
        .iter()
        .flat_map(|site| &site.call)
        .all(|(_, call)| call.is_python_function(py));
    CallSet {
        seen: Arc::new(AtomicU64::new(0)),
        members: members.to_vec(),
        slots: Slots::new(&fields, in_place),
        sites,
        classes,
    }
}
