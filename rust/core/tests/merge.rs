//! The merge against a stable sort, however the sources are cut.

mod common;

use common::frames::Random;
use headrace_core::error::MergeError;
use headrace_core::ingest::decode::ReadBlock;
use headrace_core::ingest::merge::{Block, Merge, Payload, Peek, Step};
use headrace_core::market::instrument::Venue;
use headrace_core::market::tick::Tick;
use std::collections::{BTreeSet, VecDeque};

/// What came out: time, source, row, text.
type Row = (i64, usize, u64, String);

/// One source: its rows, and its blocks, cut at random.
fn source(random: &mut Random, index: usize) -> (Vec<Row>, VecDeque<Block>) {
    let (mut rows, mut blocks) = (Vec::new(), VecDeque::new());
    let of_ticks = random.one_in(2);
    let (mut time, mut number) = (0i64, 0u64);
    let (mut bytes, mut ticks) = (Vec::new(), Vec::new());
    for _ in 0..random.below(40) {
        time += random.below(3) as i64;
        number += 1;
        if of_ticks {
            ticks.push(Tick {
                ts_init: time,
                seq: number,
                ..Tick::default()
            });
            rows.push((time, index, number, format!("tick {number}")));
        } else if random.one_in(8) {
            bytes.extend_from_slice(b"\n");
        } else if random.one_in(8) {
            bytes.extend_from_slice(format!("bad {number}\n").as_bytes());
            let at = rows.last().map_or(0, |row: &Row| row.0);
            rows.push((at, index, number, format!("!bad {number}")));
        } else {
            bytes.extend_from_slice(format!("{time} frame {number}\n").as_bytes());
            rows.push((time, index, number, format!("frame {number}")));
        }
        if random.one_in(5) {
            let lines = std::mem::take(&mut bytes);
            blocks.push_back(if random.one_in(2) {
                Block::Read(ReadBlock::new(lines, Venue::Binance))
            } else {
                Block::Lines(lines)
            });
            if of_ticks {
                blocks.pop_back();
                blocks.push_back(Block::Ticks(std::mem::take(&mut ticks)));
            }
        }
    }
    blocks.push_back(if of_ticks {
        Block::Ticks(ticks)
    } else {
        Block::Lines(bytes)
    });
    (rows, blocks)
}

#[test]
fn sources_come_out_as_a_stable_sort_by_time_and_source_would_have_them() {
    let mut random = Random::new("merge");
    for _ in 0..2_000 {
        let count = random.below(6);
        let (mut expected, mut sources) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (rows, blocks) = source(&mut random, index);
            expected.extend(rows);
            sources.push(blocks);
        }
        expected.sort_by_key(|row| (row.0, row.1));
        let (mut merge, mut found) = (Merge::new(count), Vec::new());
        let mut whole = i64::MIN;
        loop {
            while random.one_in(2)
                && let Some((source, tick)) = merge.alone()
            {
                assert!(tick.ts_init > whole, "more of a time that was taken as a whole");
                whole = tick.ts_init;
                found.push((whole, source, tick.seq, format!("tick {}", tick.seq)));
                merge.pass_alone();
            }
            let peeked = merge.peek_ts().unwrap();
            if random.one_in(2)
                && let Some(ts_init) = merge.whole_time()
            {
                assert_eq!(peeked, Peek::At(ts_init));
                let end_ns = ts_init + 1 + i64::try_from(random.below(4)).unwrap();
                let ahead = merge.ahead(end_ns, 1 + random.below(6), |tick| tick.seq % 5 > 0);
                if let Some((source, ticks)) = ahead {
                    let ahead = ticks.to_vec();
                    let rows = ahead
                        .iter()
                        .map(|tick| (tick.ts_init, source, tick.seq, format!("tick {}", tick.seq)));
                    found.extend(rows);
                    let times: BTreeSet<i64> = ahead.iter().map(|tick| tick.ts_init).collect();
                    assert!(ahead.iter().all(|tick| tick.ts_init < end_ns && tick.seq % 5 > 0));
                    assert_eq!(merge.pass(ahead.len()), times.len() as u64);
                    whole = ahead[ahead.len() - 1].ts_init;
                    continue;
                }
                let (source, ticks) = merge.whole().unwrap();
                let ticks = ticks.to_vec();
                merge.pass_time();
                assert!(ticks.iter().all(|tick| tick.ts_init == ts_init));
                found.extend(
                    ticks
                        .iter()
                        .map(|tick| (ts_init, source, tick.seq, format!("tick {}", tick.seq))),
                );
                whole = ts_init;
                continue;
            }
            match merge.next().unwrap() {
                Step::End => {
                    assert_eq!(peeked, Peek::End);
                    break;
                }
                Step::Need(index) => {
                    assert_eq!(peeked, Peek::Need(index));
                    match sources[index].pop_front() {
                        Some(block) => merge.push(index, block),
                        None => merge.end(index),
                    }
                }
                Step::Item(item) => {
                    assert_eq!(peeked, Peek::At(item.ts_init));
                    assert!(item.ts_init > whole, "more of a time that was taken as a whole");
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    match item.payload {
                        Payload::Frame(bytes, _) => found.push((item.ts_init, item.source, item.row, text(bytes))),
                        Payload::BadLine(bytes) => {
                            found.push((item.ts_init, item.source, item.row, format!("!{}", text(bytes))));
                        }
                        Payload::Ticks(ticks) => {
                            for (row, tick) in (item.row..).zip(ticks) {
                                assert_eq!(tick.ts_init, item.ts_init);
                                found.push((item.ts_init, item.source, row, format!("tick {}", tick.seq)));
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn a_source_whose_time_goes_back_is_an_error_naming_source_and_row_whichever_way_it_is_cut() {
    let error = MergeError {
        source_index: 1,
        row: 3,
        ts_init: 6,
        previous: 7,
    };
    for blocks in [vec!["5 a\n7 b\n6 c\n"], vec!["5 a\n7 b\n", "6 c\n"]] {
        let mut merge = Merge::new(2);
        let mut blocks = blocks.into_iter();
        let mut rows = 0;
        let found = loop {
            match merge.next() {
                Ok(Step::Need(0)) => merge.end(0),
                Ok(Step::Need(index)) => merge.push(index, Block::Lines(blocks.next().unwrap().into())),
                Ok(Step::Item(_)) => rows += 1,
                Ok(Step::End) => panic!("the end came before the error"),
                Err(error) => break error,
            }
        };
        assert_eq!((rows, found), (2, error), "what stands before it comes out");
        assert_eq!(merge.next(), Err(error), "and it stays");
        assert_eq!(merge.peek_ts(), Err(error));
    }
    assert_eq!(
        error.to_string(),
        "row 3: receive time 6 lies before 7 of the row above: sort the source by receive time"
    );
}

#[test]
#[should_panic(expected = "push blocks only to the source that Need names")]
fn a_block_that_was_not_asked_for_is_refused_loudly() {
    let mut merge = Merge::new(2);
    merge.push(1, Block::Lines(Vec::new()));
}
