//! The merge against a stable sort, however the sources are cut.

mod common;

use common::frames::Random;
use headrace_core::error::MergeError;
use headrace_core::ingest::decode::{FrameType, ReadBlock};
use headrace_core::ingest::merge::{Block, Merge, Origin, Payload, Peek, Step};
use headrace_core::market::instrument::Venue;
use headrace_core::market::tick::Tick;
use std::collections::{BTreeSet, VecDeque};

/// What came out: time, source, row, text.
type Row = (i64, usize, u64, String);

/// The symbols of frames; their places are their instruments.
const SYMBOLS: [&str; 2] = ["AUSDT", "BUSDT"];

/// A frame that is read ahead: one tick.
fn quote(symbol: &str, number: u64) -> String {
    format!(r#"{{"u":{number},"s":"{symbol}","b":"1","B":"2","a":"3","A":"4"}}"#)
}

/// Another: two ticks.
fn depth(symbol: &str, number: u64) -> String {
    let levels = r#"[["1","2"],["3","4"]]"#;
    format!(r#"{{"e":"depthUpdate","E":1723161255343,"s":"{symbol}","U":1,"u":{number},"b":{levels},"a":[]}}"#)
}

/// What a tick of a block of ticks is, or the frame whose first tick it is.
fn text_of(origin: Origin, tick: &Tick) -> String {
    let symbol = || SYMBOLS[tick.instrument as usize];
    match origin.frame_type {
        None => format!("tick {}", tick.seq),
        Some(FrameType::BookTicker) => quote(symbol(), tick.venue_seq),
        Some(_) => depth(symbol(), tick.venue_seq),
    }
}

/// The place of the symbol that a frame names.
fn symbol_in(frame: &[u8]) -> Option<u32> {
    let names = |symbol: &&str| frame.windows(symbol.len()).any(|part| part == symbol.as_bytes());
    SYMBOLS.iter().position(names).map(|place| place as u32)
}

/// Lines as a block, read ahead or not.
fn block_of(random: &mut Random, lines: Vec<u8>) -> Block {
    if random.one_in(3) {
        Block::Lines(lines)
    } else {
        Block::Read(ReadBlock::new(lines, Venue::Binance))
    }
}

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
            let symbol = SYMBOLS[random.below(2)];
            let frame = match random.below(6) {
                0 => format!("frame {number}"),
                1 => depth(symbol, number),
                _ => quote(symbol, number),
            };
            bytes.extend_from_slice(format!("{time} {frame}\n").as_bytes());
            rows.push((time, index, number, frame));
        }
        if random.one_in(12) {
            blocks.push_back(if of_ticks {
                Block::Ticks(std::mem::take(&mut ticks))
            } else {
                block_of(random, std::mem::take(&mut bytes))
            });
        }
    }
    blocks.push_back(if of_ticks {
        Block::Ticks(ticks)
    } else {
        block_of(random, bytes)
    });
    (rows, blocks)
}

#[test]
fn sources_come_out_as_a_stable_sort_by_time_and_source_would_have_them() {
    let mut random = Random::new("merge");
    let (mut frames_alone, mut frames_whole) = (0, 0);
    for _ in 0..2_000 {
        let count = random.below(4);
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
                && let Some((origin, tick)) = merge.alone()
            {
                assert!(tick.ts_init > whole, "more of a time that was taken as a whole");
                whole = tick.ts_init;
                frames_alone += usize::from(origin.frame_type.is_some());
                let row = if origin.frame_type.is_some() {
                    tick.venue_seq
                } else {
                    tick.seq
                };
                found.push((whole, origin.source, row, text_of(origin, tick)));
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
                let (origin, ticks) = merge.whole().unwrap();
                let mut ticks = ticks.to_vec();
                merge.pass_time();
                assert!(ticks.iter().all(|tick| tick.ts_init == ts_init));
                if let Some(frame_type) = origin.frame_type {
                    frames_whole += 1;
                    let first = ticks[0];
                    assert_eq!(ticks.len(), if frame_type == FrameType::BookTicker { 1 } else { 2 });
                    let is_of_its_frame =
                        |tick: &Tick| (tick.venue_seq, tick.instrument) == (first.venue_seq, first.instrument);
                    assert!(ticks.iter().all(is_of_its_frame));
                    ticks = vec![Tick {
                        seq: first.venue_seq,
                        ..first
                    }];
                }
                found.extend(
                    ticks
                        .iter()
                        .map(|tick| (ts_init, origin.source, tick.seq, text_of(origin, tick))),
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
                        Payload::Frame(bytes, _) => {
                            found.push((item.ts_init, item.source, item.row, text(bytes)));
                            if let Some(instrument) = symbol_in(bytes).filter(|_| random.one_in(2)) {
                                merge.name_symbol(instrument);
                            }
                        }
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
    assert!(
        frames_alone > 500 && frames_whole > 500,
        "{frames_alone}, {frames_whole}"
    );
}

#[test]
fn a_source_whose_time_goes_back_is_an_error_naming_source_and_row_whichever_way_it_is_cut() {
    let error = MergeError {
        source_index: 1,
        row: 3,
        ts_init: 6,
        previous: 7,
    };
    let line = |ts_init: i64| format!("{ts_init} {}\n", quote(SYMBOLS[0], 1));
    let (first, last) = (line(5) + &line(7), line(6));
    for blocks in [vec![first.clone() + &last], vec![first, last]] {
        for is_read_ahead in [false, true] {
            let mut merge = Merge::new(2);
            let mut blocks = blocks.iter().map(|lines| lines.clone().into_bytes());
            let mut rows = 0;
            let found = loop {
                while merge.alone().is_some() {
                    rows += 1;
                    merge.pass_alone();
                }
                match merge.next() {
                    Ok(Step::Need(0)) => merge.end(0),
                    Ok(Step::Need(index)) => {
                        let lines = blocks.next().unwrap();
                        let block = if is_read_ahead {
                            Block::Read(ReadBlock::new(lines, Venue::Binance))
                        } else {
                            Block::Lines(lines)
                        };
                        merge.push(index, block);
                    }
                    Ok(Step::Item(_)) => {
                        rows += 1;
                        merge.name_symbol(0);
                    }
                    Ok(Step::End) => panic!("the end came before the error"),
                    Err(error) => break error,
                }
            };
            assert_eq!((rows, found), (2, error), "what stands before it comes out");
            assert_eq!(merge.next(), Err(error), "and it stays");
            assert_eq!(merge.peek_ts(), Err(error));
        }
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
