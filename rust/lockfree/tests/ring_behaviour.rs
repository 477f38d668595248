//! What the ring does when something goes wrong, waits, or is small: through its public face, with real threads.
#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use headrace_lockfree::{BoundedSpin, Park, Read, Ring, SnapshotCell, WaitStrategy, Yield};

fn records(from: u64, count: usize) -> Vec<[u64; 1]> {
    (from..).take(count).map(|position| [position]).collect()
}

#[test]
fn a_reader_that_unwinds_frees_the_writer() {
    let (ring, mut writer) = Ring::new(4).unwrap();
    let reader = ring.gated_reader();
    assert_eq!(writer.try_publish(&records(0, 5)), 4);
    assert_eq!(writer.free(), 0);
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _held = reader;
        panic!("a handler raised");
    }));
    assert!(unwound.is_err());
    assert_eq!(ring.holder(), None);
    assert_eq!(writer.free(), 4);
}

#[test]
fn publish_stops_waiting_when_it_is_told_and_says_how_many_went_out() {
    let (ring, mut writer) = Ring::new(4).unwrap();
    let reader = ring.gated_reader();
    let mut asked = 0;
    let stop = || {
        asked += 1;
        asked == 3
    };
    assert_eq!(writer.publish(&records(0, 9), &mut Park::new(ring.room()), stop), 4);
    assert_eq!(asked, 3, "stop is asked after each wait");
    assert_eq!(reader.pending(), 4);
}

/// A snapshot of 2,000 levels through a ring of two slots, to a gated reader on another thread.
fn passes_a_small_ring<S: WaitStrategy + Send>(mut to_write: S, mut to_read: S, ring_and_writer: Pair) {
    let (ring, mut writer) = ring_and_writer;
    let mut reader = ring.gated_reader();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut out = [[0]; 3];
            while reader.position() < 2_000 {
                assert!(reader.wait(&mut to_read, || false));
                let wanted = reader.position();
                let Read::Records(count) = reader.try_read(&mut out) else {
                    panic!("a gated reader is neither lapped nor demoted");
                };
                assert_eq!(out[..count], records(wanted, count));
            }
        });
        assert_eq!(writer.publish(&records(0, 2_000), &mut to_write, || false), 2_000);
    });
}

type Pair = (std::sync::Arc<Ring<1>>, headrace_lockfree::Writer<1>);

#[test]
fn an_event_of_a_thousand_rings_passes_whichever_way_one_waits() {
    passes_a_small_ring(BoundedSpin, BoundedSpin, Ring::new(2).unwrap());
    passes_a_small_ring(Yield, Yield, Ring::new(2).unwrap());
    let pair = Ring::new(2).unwrap();
    passes_a_small_ring(Park::new(pair.0.room()), Park::new(pair.0.wakeup()), pair);
}

#[test]
fn a_wait_for_what_never_comes_returns_to_its_caller() {
    let (ring, _writer) = Ring::<1>::new(2).unwrap();
    assert!(!BoundedSpin.wait(|| false));
    assert!(!Yield.wait(|| false));
    assert!(!Park::new(ring.wakeup()).wait(|| false));
}

#[test]
fn a_lapped_reader_jumps_to_seven_eighths_of_a_ring_behind_the_cursor() {
    let (ring, mut writer) = Ring::new(64).unwrap();
    let mut reader = ring.lossy_reader();
    assert_eq!(writer.try_publish(&records(0, 64)), 64);
    assert_eq!(writer.try_publish(&records(64, 7)), 7);
    assert_eq!(reader.try_read(&mut [[0]; 8]), Read::Lapped { missed: 71 - 56 });
    assert_eq!(reader.position(), 71 - 56);
    let mut out = [[0]; 64];
    assert_eq!(reader.try_read(&mut out), Read::Records(56));
    assert_eq!(out[..56], records(15, 56));
}

#[test]
fn a_demoted_reader_is_told_once_and_loses_nothing_that_is_still_there() {
    let (ring, mut writer) = Ring::new(4).unwrap();
    let mut reader = ring.gated_reader();
    writer.try_publish(&records(0, 3));
    assert!(ring.demote(reader.id()));
    assert!(!ring.demote(reader.id()), "it no longer gates");
    let mut out = [[0]; 4];
    assert_eq!(reader.try_read(&mut out), Read::Demoted);
    assert_eq!(reader.try_read(&mut out), Read::Records(3));
    assert_eq!(out[..3], records(0, 3));
}

#[test]
fn a_snapshot_cell_is_empty_until_something_is_stored_even_zeros() {
    let cell = SnapshotCell::<2>::new();
    assert_eq!(cell.load(), None);
    cell.store(&[0, 0]);
    assert_eq!(cell.load(), Some([0, 0]));
}

/// Resident pages of this process.
#[cfg(target_os = "linux")]
fn resident_pages() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_new_ring_has_touched_all_its_memory() {
    let before = resident_pages();
    let (ring, _writer) = Ring::<15>::new(1 << 20).unwrap();
    let pages = ring.capacity() * 128 / 4096;
    let grown = resident_pages() - before;
    assert!(grown > pages * 9 / 10, "{grown} of {pages} pages are resident");
}

#[test]
fn a_ring_in_the_memory_of_another_has_none_of_its_records() {
    for round in 0..3 {
        let (ring, mut writer) = Ring::new(64).unwrap();
        let (mut lossy, mut gated) = (ring.lossy_reader(), ring.gated_reader());
        let mut out = [[0]; 64];
        assert_eq!(lossy.try_read(&mut out), Read::Records(0), "round {round}");
        assert_eq!(gated.try_read(&mut out), Read::Records(0), "round {round}");
        assert_eq!(writer.try_publish(&records(100 * round, 40)), 40);
        assert_eq!(lossy.try_read(&mut out), Read::Records(40));
        assert_eq!(out[..40], records(100 * round, 40));
    }
}
