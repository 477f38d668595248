//! The lanes against a plain model: queues of numbers, and which must have the turn.
//!
//! Guarantees: pushes, turns, ends and resumptions come in any order; the law of the lanes is checked after each.
//! Does not: call handlers; the binding does.

use std::collections::VecDeque;

use headrace_core::lane::{Dropped, LaneOptions, Lanes, LanesOptions, Origin, Outcome, Pushed, Turn};
use proptest::prelude::*;

const S: i64 = 1_000_000_000;

const ONE: LaneOptions = LaneOptions {
    capacity: 4,
    drops: false,
    growth_max: 1,
};

fn options(one_at_a_time: bool) -> LanesOptions {
    LanesOptions {
        consequences_max: 8,
        turns_last: 16,
        one_at_a_time,
        grow_at: 0.8,
        grow_ns: S,
        shrink_at: 0.2,
        shrink_ns: 60 * S,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize, bool),
    Turn,
    Finish(usize, bool),
    Resume(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lane = 0..3usize;
    let step = prop_oneof![
        4 => (lane.clone(), any::<bool>()).prop_map(|(lane, consequence)| Step::Push(lane, consequence)),
        4 => Just(Step::Turn),
        3 => (lane.clone(), any::<bool>()).prop_map(|(lane, dead)| Step::Finish(lane, dead)),
        1 => lane.prop_map(Step::Resume),
    ];
    prop::collection::vec(step, 0..300)
}

/// One lane as the rules say it: what waits, what was lost, and what is in hand.
#[derive(Default)]
struct Model {
    waiting: VecDeque<u64>,
    published: u64,
    lost: Option<Dropped>,
    in_hand: Option<InHand>,
    ended: u64,
    dropped: u64,
}

struct InHand {
    is_own: bool,
    resumed: bool,
}

impl Model {
    fn push(&mut self, consequence: bool, capacity: usize, drops: bool) -> bool {
        let room = if consequence { capacity * 8 } else { capacity };
        if self.waiting.len() >= room {
            if !drops {
                return false;
            }
            let number = self.waiting.pop_front().expect("it is full");
            let first = self.lost.map_or(number, |lost| lost.first);
            self.dropped += 1;
            self.lost = Some(Dropped {
                first,
                last: number,
                missed: self.lost.map_or(0, |lost| lost.missed) + 1,
            });
        }
        self.published += 1;
        self.waiting.push_back(self.published);
        true
    }

    fn can_go_on(&self) -> bool {
        match &self.in_hand {
            None => !self.waiting.is_empty(),
            Some(in_hand) => in_hand.resumed,
        }
    }
}

proptest! {
    #[test]
    fn lanes_keep_order_priority_and_the_law(steps in steps(), one_at_a_time: bool) {
        let made = [ONE, LaneOptions { capacity: 2, ..ONE }, LaneOptions { capacity: 3, drops: true, growth_max: 1 }];
        let mut lanes: Lanes<u64> = Lanes::new(options(one_at_a_time), &made);
        let mut models: Vec<Model> = made.iter().map(|_| Model::default()).collect();
        let mut turns_without_last = 0;
        for step in steps {
            match step {
                Step::Push(lane, consequence) => {
                    let model = &mut models[lane];
                    let number = model.published + 1;
                    let taken = model.push(consequence, made[lane].capacity, made[lane].drops);
                    let origin = if consequence { Origin::Consequence } else { Origin::Cause };
                    let pushed = lanes.push(lane, number, origin, 0, true);
                    prop_assert_eq!(taken, !matches!(pushed, Pushed::Full(_)));
                }
                Step::Turn => {
                    let busy = models.iter().any(|model| model.in_hand.is_some());
                    let resumed = models.iter().any(|model| model.in_hand.as_ref().is_some_and(|own| own.resumed));
                    let may = |model: &Model| {
                        model.can_go_on() && (!one_at_a_time || !busy || (resumed && model.in_hand.is_some()))
                    };
                    let first = models.iter().position(may);
                    prop_assert_eq!(first.is_some(), lanes.is_ready());
                    let last = models.len() - 1;
                    let expected = match first {
                        Some(first) if one_at_a_time && busy => first,
                        Some(first) if first != last && models[last].can_go_on() => {
                            turns_without_last = (turns_without_last + 1) % 16;
                            if turns_without_last == 0 { last } else { first }
                        }
                        Some(first) => {
                            turns_without_last = 0;
                            first
                        }
                        None => {
                            prop_assert!(lanes.turn().is_none());
                            continue;
                        }
                    };
                    let turn = lanes.turn();
                    prop_assert!(turn.is_some());
                    let turn = turn.expect("asserted above");
                    let lane = match turn {
                        Turn::Resumed(lane) => {
                            prop_assert!(models[lane].can_go_on());
                            models[lane].in_hand.as_mut().expect("in hand").resumed = false;
                            lane
                        }
                        Turn::Gap(lane, dropped) => {
                            prop_assert_eq!(models[lane].lost.take(), Some(dropped));
                            models[lane].in_hand = Some(InHand { is_own: false, resumed: false });
                            lane
                        }
                        Turn::Item(lane, number, item) => {
                            prop_assert_eq!(models[lane].lost, None);
                            prop_assert_eq!(models[lane].waiting.pop_front(), Some(number));
                            prop_assert_eq!(number, item);
                            models[lane].in_hand = Some(InHand { is_own: true, resumed: false });
                            lane
                        }
                    };
                    prop_assert_eq!(lane, expected);
                }
                Step::Finish(lane, dead) => {
                    let Some(in_hand) = models[lane].in_hand.take_if(|own| !own.resumed) else { continue };
                    models[lane].ended += u64::from(in_hand.is_own);
                    let outcome = if dead { Outcome::Dead } else { Outcome::Processed };
                    lanes.finish(lane, if in_hand.is_own { outcome } else { Outcome::Gap });
                }
                Step::Resume(lane) => {
                    if let Some(in_hand) = models[lane].in_hand.as_mut().filter(|own| !own.resumed) {
                        in_hand.resumed = true;
                        lanes.resume(lane);
                    }
                }
            }
            for (lane, model) in models.iter().enumerate() {
                let counts = lanes.counts(lane);
                let left = lanes.left(lane) as u64;
                prop_assert_eq!(counts.published, counts.processed + counts.dead + counts.dropped + left);
                prop_assert_eq!(counts.published, model.published);
                prop_assert_eq!(counts.dropped, model.dropped);
                prop_assert_eq!(counts.processed + counts.dead, model.ended);
                prop_assert_eq!(lanes.depth(lane), model.waiting.len());
                prop_assert!(lanes.depth(lane) <= made[lane].capacity * 8);
            }
            let idle = models.iter().all(|model| model.waiting.is_empty() && model.in_hand.is_none());
            prop_assert_eq!(lanes.is_idle(), idle);
        }
    }
}
