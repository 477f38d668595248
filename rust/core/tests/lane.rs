//! The lanes one rule at a time: capacity, drops and gaps, turns, growing and shrinking.
//!
//! Does not: try every order of steps; `lane_model` does.

use headrace_core::lane::{Dropped, LaneOptions, Lanes, LanesOptions, Origin, Outcome, Pushed, Turn};

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

fn lanes(of: &[LaneOptions]) -> Lanes<u64> {
    Lanes::new(options(false), of)
}

/// Takes the next turn of a lane that is expected to have it, and ends it.
fn next(lanes: &mut Lanes<u64>) -> Option<(usize, u64)> {
    match lanes.turn()? {
        Turn::Item(lane, number, _) => {
            lanes.finish(lane, Outcome::Processed);
            Some((lane, number))
        }
        other => panic!("an item was expected, not {other:?}"),
    }
}

fn push(lanes: &mut Lanes<u64>, lane: usize, origin: Origin) -> bool {
    lanes.push(lane, 0, origin, 0, true) == Pushed::Accepted
}

#[test]
fn a_lane_takes_as_many_causes_as_its_capacity() {
    let mut lanes = lanes(&[ONE]);
    let taken: Vec<bool> = (0..6).map(|_| push(&mut lanes, 0, Origin::Cause)).collect();
    assert_eq!(taken, [true, true, true, true, false, false]);
    assert_eq!(lanes.counts(0).refused, 2);
    assert_eq!(lanes.counts(0).published, 4);
}

#[test]
fn a_lane_takes_eight_times_as_many_consequences() {
    let mut lanes = lanes(&[ONE]);
    let taken = (0..40).filter(|_| push(&mut lanes, 0, Origin::Consequence)).count();
    assert_eq!(taken, 32);
    assert!(
        !push(&mut lanes, 0, Origin::Cause),
        "what consequences fill has no room for causes"
    );
}

#[test]
fn a_lane_that_drops_takes_its_oldest_out_and_tells_them_together_before_the_next() {
    let mut lanes = lanes(&[LaneOptions { drops: true, ..ONE }]);
    for item in 1..=4 {
        assert_eq!(lanes.push(0, item, Origin::Cause, 0, true), Pushed::Accepted);
    }
    assert_eq!(lanes.push(0, 5, Origin::Cause, 0, true), Pushed::Dropped(1));
    assert_eq!(lanes.push(0, 6, Origin::Cause, 0, true), Pushed::Dropped(2));
    let told = Dropped {
        first: 1,
        last: 2,
        missed: 2,
    };
    assert_eq!(lanes.turn(), Some(Turn::Gap(0, told)));
    lanes.finish(0, Outcome::Gap);
    assert_eq!(lanes.turn(), Some(Turn::Item(0, 3, 3)));
    let counts = lanes.counts(0);
    assert_eq!((counts.published, counts.dropped, counts.gaps), (6, 2, 1));
}

#[test]
fn a_gap_in_hand_is_none_of_the_lanes_own_items() {
    let mut lanes = lanes(&[LaneOptions { drops: true, ..ONE }]);
    for item in 0..5 {
        lanes.push(0, item, Origin::Cause, 0, true);
    }
    assert!(matches!(lanes.turn(), Some(Turn::Gap(..))));
    assert_eq!((lanes.left(0), lanes.depth(0)), (4, 4));
    assert!(!lanes.is_idle());
}

#[test]
fn a_lane_that_may_not_drop_refuses() {
    let mut lanes = lanes(&[LaneOptions { drops: true, ..ONE }]);
    let refused = (0..5).map(|item| lanes.push(0, item, Origin::Cause, 0, false)).last();
    assert_eq!(refused, Some(Pushed::Full(4)));
}

#[test]
fn the_first_lane_goes_first_and_the_last_has_one_turn_in_sixteen() {
    let mut lanes = lanes(&[ONE, ONE, LaneOptions { capacity: 100, ..ONE }]);
    (0..100).for_each(|_| assert!(push(&mut lanes, 2, Origin::Cause)));
    let mut turns = Vec::new();
    for _ in 0..64 {
        while push(&mut lanes, 0, Origin::Cause) {}
        turns.push(next(&mut lanes).expect("there is something").0);
    }
    let lasts: Vec<usize> = (0..64).filter(|turn| turns[*turn] == 2).collect();
    assert_eq!(lasts, [15, 31, 47, 63]);
    assert!(turns.iter().all(|lane| *lane != 1));
}

#[test]
fn the_last_lane_does_not_save_up_turns_while_it_has_nothing() {
    let mut lanes = lanes(&[LaneOptions { capacity: 100, ..ONE }, ONE]);
    (0..40).for_each(|_| assert!(push(&mut lanes, 0, Origin::Cause)));
    (0..20).for_each(|_| assert_eq!(next(&mut lanes).map(|turn| turn.0), Some(0)));
    push(&mut lanes, 1, Origin::Cause);
    let turns: Vec<usize> = (0..16).filter_map(|_| next(&mut lanes)).map(|turn| turn.0).collect();
    assert_eq!(turns.iter().position(|lane| *lane == 1), Some(15));
}

#[test]
fn a_busy_lane_holds_up_nobody_else() {
    let mut lanes = lanes(&[ONE, ONE]);
    (0..2).for_each(|lane| (0..2).for_each(|_| assert!(push(&mut lanes, lane, Origin::Cause))));
    assert!(matches!(lanes.turn(), Some(Turn::Item(0, 1, _))));
    assert_eq!(next(&mut lanes), Some((1, 1)));
    assert_eq!(next(&mut lanes), Some((1, 2)));
    assert_eq!(lanes.turn(), None);
    lanes.resume(0);
    assert_eq!(lanes.turn(), Some(Turn::Resumed(0)));
    lanes.finish(0, Outcome::Dead);
    assert_eq!(next(&mut lanes), Some((0, 2)));
}

#[test]
fn one_at_a_time_a_busy_lane_holds_up_everybody_until_it_goes_on() {
    let mut lanes = Lanes::new(options(true), &[ONE, ONE]);
    push(&mut lanes, 1, Origin::Cause);
    assert!(matches!(lanes.turn(), Some(Turn::Item(1, 1, _))));
    push(&mut lanes, 0, Origin::Cause);
    assert!(!lanes.is_ready());
    assert_eq!(lanes.turn(), None);
    lanes.resume(1);
    assert!(lanes.is_ready());
    assert_eq!(lanes.turn(), Some(Turn::Resumed(1)), "what was begun first ends first");
    lanes.finish(1, Outcome::Processed);
    assert_eq!(next(&mut lanes), Some((0, 1)));
}

fn growing() -> Lanes<u64> {
    lanes(&[LaneOptions {
        capacity: 10,
        growth_max: 8,
        ..ONE
    }])
}

/// Pushes causes at `now_ns` until one is refused.
fn fill(lanes: &mut Lanes<u64>, now_ns: i64) -> usize {
    (0..1_000)
        .take_while(|_| lanes.push(0, 0, Origin::Cause, now_ns, true) == Pushed::Accepted)
        .count()
}

#[test]
fn a_lane_that_is_four_fifths_full_for_a_second_doubles_up_to_its_bound() {
    let mut lanes = growing();
    assert_eq!(fill(&mut lanes, 0), 10);
    assert_eq!(fill(&mut lanes, S - 1), 0);
    assert_eq!(fill(&mut lanes, S), 10, "it was full for a second");
    for (seconds, capacity) in [(2, 40), (3, 80), (4, 80), (9, 80)] {
        fill(&mut lanes, seconds * S);
        assert_eq!(lanes.capacity(0), capacity, "after {seconds} s");
    }
    let capacities: Vec<(usize, usize)> = lanes.take_resized().iter().map(|one| (one.before, one.after)).collect();
    assert_eq!(capacities, [(10, 20), (20, 40), (40, 80)]);
    assert!(lanes.take_resized().is_empty(), "told once");
}

#[test]
fn a_lane_that_was_emptier_in_between_has_not_been_full_for_a_second() {
    let mut lanes = growing();
    fill(&mut lanes, 0);
    for _ in 0..3 {
        next(&mut lanes);
    }
    fill(&mut lanes, S - 1);
    assert_eq!(fill(&mut lanes, S), 0);
    assert_eq!(fill(&mut lanes, 2 * S), 10);
}

#[test]
fn a_lane_that_is_a_fifth_full_at_most_for_a_minute_halves_down_to_what_it_was() {
    let mut lanes = growing();
    for seconds in 0..5 {
        fill(&mut lanes, seconds * S);
    }
    assert!(lanes.has_grown());
    while next(&mut lanes).is_some() {}
    let mut capacities = Vec::new();
    for seconds in 10..400 {
        lanes.observe(0, seconds * S);
        capacities.push(lanes.capacity(0));
    }
    capacities.dedup();
    assert_eq!(capacities, [80, 40, 20, 10]);
    assert!(!lanes.has_grown());
    let shrunk: Vec<usize> = lanes.take_resized().iter().map(|one| one.after).collect();
    assert_eq!(shrunk, [20, 40, 80, 40, 20, 10]);
}

#[test]
fn a_burst_within_the_minute_keeps_a_lane_large() {
    let mut lanes = growing();
    for seconds in 0..5 {
        fill(&mut lanes, seconds * S);
    }
    while next(&mut lanes).is_some() {}
    lanes.observe(0, 10 * S);
    for item in 0..30 {
        lanes.push(0, item, Origin::Cause, 50 * S, true);
    }
    while next(&mut lanes).is_some() {}
    lanes.observe(0, 71 * S);
    assert_eq!(lanes.capacity(0), 80);
    lanes.observe(0, 131 * S);
    assert_eq!(lanes.capacity(0), 40);
}

#[test]
fn easy_room_is_room_that_nobody_must_look_at_the_time_for() {
    let mut growing = growing();
    let easy = (0..10)
        .take_while(|_| growing.has_easy_room(0) && push(&mut growing, 0, Origin::Cause))
        .count();
    assert_eq!(easy, 7, "the eighth of ten makes it four fifths full");
    let mut plain = lanes(&[ONE]);
    let easy = (0..10)
        .take_while(|_| plain.has_easy_room(0) && push(&mut plain, 0, Origin::Cause))
        .count();
    assert_eq!(easy, 4);
}
