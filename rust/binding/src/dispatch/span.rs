//! A span: the ticks between two calls of plural handlers, and how they are dispatched.
//!
//! ```text
//!   open (where it ends, what is owed before it) ─▶ each tick to the calls of its set ─▶ end (plural handlers)
//! ```
//! Guarantees: a span never holds a gap but at its beginning.
//! Does not: read the ring.

use std::sync::atomic::Ordering;
use std::time::Duration;

use headrace_core::fan_out::plan::Plan;
use headrace_core::market::book::Event;
use headrace_core::market::kind;
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;

use super::bounds::Bounds;
use super::call_set::CallSet;
use super::compile::compile_set;
use super::delivery::Delivery;
use super::group::Group;
use super::group_state::GroupState;
use super::plural::edge_before;
use super::request::Request;
use super::stops::Stops;

/// Ticks between two looks at the clock, when a dispatch has a time limit.
pub(super) const TICKS_PER_LOOK: usize = 32;

/// A dispatch that ends so much after its limit has slow handlers: the next one looks after each tick.
const SLOW_BY: Duration = Duration::from_millis(1);

impl Group {
    /// The end of the next span, and what must happen before its first tick.
    pub(super) fn open_span(&self, py: Python<'_>, state: &mut GroupState) {
        let start = state.next;
        let mut end = state.usable.min(start + state.span_ticks);
        if end < state.usable {
            let edge = edge_before(&state.backlog[start..state.usable], end - start);
            end = start + edge;
        }
        // A batch never spans a gap: a gap tick begins a span.
        let gap = state.backlog[start + 1..end]
            .iter()
            .position(|tick| tick.kind == kind::GAP);
        if let Some(gap) = gap {
            end = start + 1 + gap;
        }
        if self.requests.has_posts() {
            self.requests.look(|requests| {
                for request in requests {
                    if let Request::Join(member) = request {
                        let index = member.joined().saturating_sub(state.base) as usize;
                        if index > start && index < end {
                            end = index;
                        }
                    }
                }
            });
        }
        (state.span_start, state.span_end) = (start, end);
        // A lapse may have left newest quotes to deliver.
        state.deliver_owed(py);
        let first_ts = state.backlog[start].ts_init;
        let cursor = state.cursor();
        let position = state.base + start as u64;
        state.delivery.run_due(py, first_ts);
        if state.backlog[start].kind == kind::GAP {
            state.delivery.attend_windows();
        }
        let looks_for_lag = state.delivery.attend_lagging(cursor - position, first_ts);
        state.delivery.sort_attention();
        for at in 0..state.delivery.attention.len() {
            let member = state.delivery.attention.member(at);
            state.delivery.cut_window(py, member, &state.backlog[start]);
            if state.delivery.members[member].options.watches_lag() {
                state
                    .delivery
                    .watch_lag(py, member, cursor - position, first_ts, cursor);
            }
            let this = &state.delivery.members[member];
            if this.lost.is_some() && this.is_running() && !this.options.is_private() {
                state.delivery.report_loss(py, member, Some(&state.backlog[start]));
            }
        }
        state.delivery.report_lost_books(py, position);
        if looks_for_lag {
            state.delivery.note_lagging();
        }
    }

    pub(super) fn dispatch_span(&self, py: Python<'_>, state: &mut GroupState, bounds: Bounds) {
        let GroupState {
            backlog,
            base,
            span_start,
            span_end,
            next,
            plan,
            sets,
            delivery,
            is_slow,
            ..
        } = state;
        let (base, span_start, span_end) = (*base, *span_start, *span_end);
        let stops = self.stops_of(bounds);
        let mut index = *next;
        // As far as this call goes; the span may go on.
        let stop_at = span_end.min(usize::try_from(bounds.until_position.saturating_sub(base)).unwrap_or(usize::MAX));
        while index < stop_at {
            let tick = &backlog[index];
            let Some(set_id) = plan.set_of(tick) else {
                index += usize::from(!self.finds(py, plan, sets, delivery, tick));
                continue;
            };
            let set = &mut sets[set_id as usize];
            if set.sites.is_empty() {
                if set.is_compiled {
                    let same = backlog[index..stop_at].iter();
                    let end = index + same.take_while(|tick| plan.set_of(tick) == Some(set_id)).count();
                    set.count_seen((end - index) as u64);
                    set.batch(&mut delivery.classes, tick.kind, index - span_start, end - span_start);
                    index = end;
                } else {
                    *set = compile_set(py, delivery, plan.sets()[set_id as usize].0, set);
                }
                continue;
            }
            if stops.is_some_and(|stops| stops.is_due(tick.ts_init, base + index as u64)) {
                break;
            }
            let before = index;
            let ticks = &backlog[index..stop_at];
            if let Some(event) = event_for_book(set, delivery, ticks, base + index as u64, stops, bounds) {
                delivery.pass_event_to_book(py, plan, sets, event, (base, index));
                index += event.len();
            } else {
                dispatch_tick(py, plan, sets, delivery, (tick, set_id), (base, index), span_start);
                index += 1;
            }
            if (*is_slow || index / TICKS_PER_LOOK != before / TICKS_PER_LOOK)
                && let Some(late) = bounds.overrun()
            {
                *is_slow = late > SLOW_BY;
                break;
            }
            if self.is_stopped(stops) || delivery.is_interrupted(bounds) {
                break;
            }
        }
        *next = index;
    }

    /// Compiles the instrument of a tick, if it is in the table; whether it is.
    #[cold]
    fn finds(
        &self,
        py: Python<'_>,
        plan: &mut Plan,
        sets: &mut Vec<CallSet>,
        delivery: &mut Delivery,
        tick: &Tick,
    ) -> bool {
        self.extend(py, plan, sets, delivery);
        let is_known = plan.set_of(tick).is_some();
        if !is_known {
            // Published raw, to a ring without a dispatcher.
            sets[0].count_seen(1);
        }
        is_known
    }

    #[inline]
    fn is_stopped(&self, stops: Option<&Stops>) -> bool {
        // Relaxed: a stop takes effect soon, and orders nothing.
        self.stop.load(Ordering::Relaxed) || stops.is_some_and(Stops::is_urgent)
    }
}

impl Delivery {
    /// Whether an error, or a call to be awaited, ends a dispatch here.
    #[inline]
    fn is_interrupted(&self, bounds: Bounds) -> bool {
        self.raised.is_some() || (bounds.one_step && !self.awaiting.is_empty())
    }
}

/// The event that these ticks, at `position`, begin with, when it may go to its book at once: no handler takes its ticks,
/// and nothing is due before its end.
#[inline]
fn event_for_book<'a>(
    set: &CallSet,
    delivery: &Delivery,
    ticks: &'a [Tick],
    position: u64,
    stops: Option<&Stops>,
    bounds: Bounds,
) -> Option<&'a [Tick]> {
    if !set.is_for_books() || delivery.is_interrupted(bounds) {
        return None;
    }
    let event = Event::leading(ticks)?;
    let last = position + event.len() as u64 - 1;
    let is_due = stops.is_some_and(|stops| stops.is_due(event[0].ts_init, last));
    (!is_due).then_some(event)
}

/// One tick, at `base + index`, to the calls, batches and books of its set.
#[inline(always)]
fn dispatch_tick(
    py: Python<'_>,
    plan: &Plan,
    sets: &mut [CallSet],
    delivery: &mut Delivery,
    (tick, set_id): (&Tick, u32),
    (base, index): (u64, usize),
    span_start: usize,
) {
    let set = &mut sets[set_id as usize];
    call_sites(py, set, delivery, tick, (base, index));
    let at = index - span_start;
    set.batch(&mut delivery.classes, tick.kind, at, at + 1);
    if set.feeds_books {
        delivery.pass_to_book(py, plan, sets, tick, (base, index));
    }
}

/// One tick, at `base + index`, to the calls of its set.
#[inline(always)]
pub(super) fn call_sites(
    py: Python<'_>,
    set: &mut CallSet,
    delivery: &mut Delivery,
    tick: &Tick,
    (base, index): (u64, usize),
) {
    let position = base + index as u64;
    set.count_seen(1);
    let CallSet { slots, sites, .. } = set;
    match slots.fill_values(py, tick) {
        Ok(()) => delivery.call_sites(py, sites, slots, tick, position, index),
        Err(error) => delivery.fail_sites(py, sites, &error, tick, position),
    }
}
