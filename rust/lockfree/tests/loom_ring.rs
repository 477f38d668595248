//! Every interleaving of one writer with gated and lossy readers of a ring of two slots.
#![cfg(loom)]

mod models;

use std::sync::Arc;

use headrace_lockfree::{Read, Reader, Ring, Writer};
use loom::cell::UnsafeCell;
use loom::thread;
use models::{check, check_all, record};

const CAPACITY: usize = 2;

/// Publishes position by position, as far as `until`, in at most `attempts`.
fn publish(writer: &mut Writer<2>, until: u64, attempts: usize) {
    for _ in 0..attempts {
        if writer.position() < until {
            writer.try_publish(&[record(writer.position())]);
        }
    }
}

/// Reads at most `attempts` times; every record must be whole and the next one. Returns how many were missed.
fn read(reader: &mut Reader<2>, attempts: usize) -> u64 {
    let mut missed_total = 0;
    for _ in 0..attempts {
        let wanted = reader.position();
        let mut out = [[0; 2]];
        match reader.try_read(&mut out) {
            Read::Records(0) => assert_eq!(reader.position(), wanted),
            Read::Records(_) => {
                assert_eq!(out, [record(wanted)], "a record is whole, and the next one");
                assert_eq!(reader.position(), wanted + 1);
            }
            Read::Lapped { missed } => {
                assert!(missed > 0);
                assert_eq!(reader.position(), wanted + missed);
                missed_total += missed;
            }
            Read::Demoted => unreachable!("nobody demotes here"),
        }
    }
    missed_total
}

#[test]
fn seen_means_written() {
    check(|| {
        let (ring, mut writer) = Ring::new(CAPACITY).unwrap();
        let readers = [ring.gated_reader(), ring.gated_reader()];
        let threads = readers.map(|mut reader| {
            thread::spawn(move || {
                assert_eq!(read(&mut reader, 3), 0);
                reader
            })
        });
        publish(&mut writer, 4, 4);
        for thread in threads {
            let mut reader = thread.join().unwrap();
            // Nothing that was published before is lost to it, whatever the interleaving.
            let left = writer.position() - reader.position();
            assert_eq!(read(&mut reader, left as usize), 0);
            assert_eq!(reader.position(), writer.position());
        }
    });
}

/// A plain cell per position that is not yet released, so that loom sees a missing ordering as a data race: with
/// `CAPACITY + 1` cells, the writer of `position` meets the reader of `position - CAPACITY - 1`, which released later.
struct Cells([UnsafeCell<u64>; CAPACITY + 1]);

// SAFETY: loom checks each access; that they never overlap is what the model shows.
unsafe impl Sync for Cells {}

impl Cells {
    fn at(&self, position: u64) -> &UnsafeCell<u64> {
        &self.0[position as usize % (CAPACITY + 1)]
    }
}

#[test]
fn a_gated_reader_gets_every_record_whole() {
    check(|| {
        let (ring, mut writer) = Ring::new(CAPACITY).unwrap();
        let mut reader = ring.gated_reader();
        let cells = Arc::new(Cells(std::array::from_fn(|_| UnsafeCell::new(0))));
        let shared = Arc::clone(&cells);
        let thread = thread::spawn(move || {
            for _ in 0..4 {
                let wanted = reader.position();
                let mut out = [[0; 2]];
                if reader.try_read(&mut out) == Read::Records(1) {
                    assert_eq!(out, [record(wanted)]);
                    // SAFETY: the writer writes this cell again only after our next release.
                    shared.at(wanted).with(|cell| assert_eq!(unsafe { *cell }, wanted));
                }
            }
        });
        for _ in 0..5 {
            let position = writer.position();
            if position < 4 && writer.free() > 0 {
                // SAFETY: the slot is free, so its last reader is past this cell.
                cells.at(position).with_mut(|cell| unsafe { *cell = position });
                assert_eq!(writer.try_publish(&[record(position)]), 1);
            }
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_batch_is_seen_from_its_first_record_on() {
    check(|| {
        let (ring, mut writer) = Ring::new(16).unwrap();
        let mut reader = ring.gated_reader();
        let thread = thread::spawn(move || {
            let mut out = [[0; 2]; 2];
            for _ in 0..2 {
                match reader.try_read(&mut out) {
                    Read::Records(0) => {}
                    Read::Records(count) => assert_eq!(out[..count], [record(0), record(1)][..count]),
                    other => unreachable!("{other:?} for a gated reader"),
                }
            }
        });
        writer.try_publish(&[record(0), record(1)]);
        thread.join().unwrap();
    });
}

/// Unbounded: every interleaving of the slot there is.
#[test]
fn a_lossy_reader_accepts_no_torn_record() {
    check_all(|| {
        let (ring, mut writer) = Ring::new(CAPACITY).unwrap();
        let mut reader = ring.lossy_reader();
        publish(&mut writer, 1, 1);
        let thread = thread::spawn(move || {
            let missed = read(&mut reader, 2);
            (reader, missed)
        });
        publish(&mut writer, 3, 2);
        let (mut reader, _) = thread.join().unwrap();
        read(&mut reader, 4);
        assert_eq!(reader.position(), 3, "it ends where the writer is");
    });
}

#[test]
fn a_lossy_reader_counts_what_it_missed_while_it_is_lapped_again() {
    check(|| {
        let (ring, mut writer) = Ring::new(CAPACITY).unwrap();
        let mut reader = ring.lossy_reader();
        let thread = thread::spawn(move || {
            read(&mut reader, 2);
            reader
        });
        writer.try_publish(&[record(0), record(1)]);
        publish(&mut writer, 4, 2);
        let mut reader = thread.join().unwrap();
        read(&mut reader, 4);
        assert_eq!(reader.position(), writer.position());
    });
}
