//! The cases, and how one is measured: rounds in rotated order, medians of times and of ratios.

use std::hint::black_box;

use crate::contenders::{disruptor_one, disruptor_two, parking, rtrb_one, spinning};
use crate::slice::Slice;

/// Times that a disturbed slice is tried before its round is thrown away, and rounds thrown away per round needed.
const ATTEMPTS: usize = 4;

type Run = fn(usize, u64) -> Slice;

/// A case: ours first, then the peers, each with the least ratio required of it (rows 6a, 6b, 7 of the table).
pub(crate) struct Case {
    pub(crate) row: &'static str,
    name: &'static str,
    bytes: usize,
    batch: usize,
    records: u64,
    ours: Run,
    peers: Vec<(&'static str, Run, Option<f64>)>,
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for batch in [1, 16, 256] {
        // About a millisecond: short enough to fit between two looks of the scheduler.
        let records = if batch == 1 { 1 << 15 } else { 1 << 16 };
        let target = |one: f64, many: f64| match batch {
            1 => Some(one),
            256 => Some(many),
            _ => None,
        };
        cases.push(Case {
            row: "6a",
            name: "one_to_one",
            bytes: 56,
            batch,
            records,
            ours: spinning::<7>,
            peers: vec![
                ("disruptor", disruptor_one::<7>, target(1.3, 0.95)),
                ("rtrb", rtrb_one::<7>, target(1.0, 1.0)),
            ],
        });
        cases.push(Case {
            row: "6b",
            name: "one_to_one",
            bytes: 72,
            batch,
            records,
            ours: spinning::<9>,
            peers: vec![
                ("disruptor", disruptor_one::<9>, target(0.95, 0.95)),
                ("rtrb", rtrb_one::<9>, None),
            ],
        });
    }
    cases.push(Case {
        row: "7",
        name: "one_to_two_on_two",
        bytes: 72,
        batch: 1,
        records: 1 << 17,
        ours: parking::<9>,
        peers: vec![("disruptor", disruptor_two::<9>, Some(10.0))],
    });
    cases
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

pub(crate) fn measure(case: &Case, rounds: usize) {
    let mut runs = vec![("headrace", case.ours)];
    runs.extend(case.peers.iter().map(|&(name, run, _)| (name, run)));
    // Three threads on two cores are switched by intent: there every slice counts.
    let by_intent = case.row == "7";
    let mut times = vec![Vec::new(); runs.len()];
    let mut thrown_away = 0;
    while times[0].len() < rounds && thrown_away < rounds * ATTEMPTS {
        let mut round = vec![None; runs.len()];
        for offset in 0..runs.len() {
            let index = (times[0].len() + thrown_away + offset) % runs.len();
            let slice = (0..ATTEMPTS)
                .map(|_| runs[index].1(case.batch, black_box(case.records)))
                .find(|slice| slice.clean || by_intent);
            round[index] = slice.map(|slice| slice.ns_per_item);
        }
        match round.into_iter().collect::<Option<Vec<_>>>() {
            Some(round) => times.iter_mut().zip(round).for_each(|(times, time)| times.push(time)),
            None => thrown_away += 1,
        }
    }
    if times[0].is_empty() {
        eprintln!(
            "row {}: no undisturbed round; run it again on a quieter machine",
            case.row
        );
        return;
    }
    let peers = case.peers.iter().enumerate().map(|(index, (name, _, target))| {
        let ratios = times[index + 1].iter().zip(&times[0]).map(|(peer, ours)| peer / ours);
        let target = target.map_or(String::from("null"), |target| target.to_string());
        format!(
            r#""{name}": {{"ns_per_item": {:.2}, "ratio": {:.2}, "target": {target}}}"#,
            median(times[index + 1].clone()),
            median(ratios.collect()),
        )
    });
    println!(
        r#"{{"row": "{}", "name": "{}", "batch": {}, "bytes": {}, "ns_per_item": {:.2}, "rounds": {}, "thrown_away": {thrown_away}, "peers": {{{}}}}}"#,
        case.row,
        case.name,
        case.batch,
        case.bytes,
        median(times[0].clone()),
        times[0].len(),
        peers.collect::<Vec<_>>().join(", "),
    );
}
