//! Every interleaving of a writer with readers that join, leave, hand their entry over, or are demoted.
#![cfg(loom)]

mod models;

use std::sync::Arc;

use headrace_lockfree::{Read, Ring};
use loom::cell::UnsafeCell;
use loom::thread;
use models::{check, record};

const CAPACITY: usize = 2;

#[test]
fn a_reader_that_joins_gets_every_record_from_there_on() {
    check(|| {
        let (ring, mut writer) = Ring::new(CAPACITY).unwrap();
        let joining = Arc::clone(&ring);
        let thread = thread::spawn(move || joining.gated_reader());
        // Enough for the joining reader to be more than a lap behind between its two looks at the cursor.
        for _ in 0..6 {
            writer.try_publish(&[record(writer.position())]);
        }
        let mut reader = thread.join().unwrap();
        for position in reader.position()..writer.position() {
            let mut out = [[0; 2]];
            assert_eq!(
                reader.try_read(&mut out),
                Read::Records(1),
                "nothing from {position} on is overwritten"
            );
            assert_eq!(out, [record(position)]);
        }
    });
}

#[test]
fn a_reader_that_is_ahead_of_the_cursor_joins_where_it_is() {
    check(|| {
        // Large enough for a batch of two under one cursor store.
        let (ring, mut writer) = Ring::new(16).unwrap();
        let mut reader = ring.lossy_reader();
        let thread = thread::spawn(move || {
            let mut out = [[0; 2]];
            let read = reader.try_read(&mut out);
            let position = reader.position();
            let passed = reader.join_gate();
            assert!(reader.position() >= position, "joining never goes back");
            assert_eq!(reader.position() - position, passed);
            assert!(matches!(read, Read::Records(_)));
        });
        writer.try_publish(&[record(0), record(1)]);
        thread.join().unwrap();
    });
}

#[test]
fn two_readers_that_join_at_once_both_gate() {
    check(|| {
        let (ring, mut writer) = Ring::<2>::new(CAPACITY).unwrap();
        let threads = [(); 2].map(|()| {
            let joining = Arc::clone(&ring);
            thread::spawn(move || joining.gated_reader())
        });
        writer.try_publish(&[record(0)]);
        let [first, second] = threads.map(|thread| thread.join().unwrap());
        let slowest = first.position().min(second.position());
        assert_eq!(
            writer.try_publish(&[record(1); 4]) as u64,
            slowest + 2 - 1,
            "both hold the writer"
        );
    });
}

#[test]
fn a_reader_that_leaves_is_not_written_over() {
    check(|| {
        let (ring, mut writer) = Ring::new(CAPACITY).unwrap();
        let reader = ring.gated_reader();
        let cell = loom::sync::Arc::new(UnsafeCell::new(7));
        writer.try_publish(&[record(0), record(1)]);
        let read = cell.clone();
        let thread = thread::spawn(move || {
            // SAFETY: the writer writes it only once we have left.
            read.with(|cell| assert_eq!(unsafe { *cell }, 7));
            drop(reader);
        });
        if writer.free() > 0 {
            // SAFETY: the ring is full but for a reader that left.
            cell.with_mut(|cell| unsafe { *cell = 8 });
        }
        thread.join().unwrap();
        assert_eq!(writer.try_publish(&[record(2)]), 1, "nobody holds the writer");
    });
}

#[test]
fn an_entry_changes_hands() {
    check(|| {
        let (ring, mut writer) = Ring::new(CAPACITY).unwrap();
        let first = ring.gated_reader();
        writer.try_publish(&[record(0), record(1)]);
        let cell = loom::sync::Arc::new(UnsafeCell::new(7));
        let read = cell.clone();
        let joining = Arc::clone(&ring);
        let thread = thread::spawn(move || {
            // SAFETY: the writer writes it only once `first` is gone.
            read.with(|cell| assert_eq!(unsafe { *cell }, 7));
            drop(first);
            joining.gated_reader()
        });
        if writer.free() > 0 {
            // SAFETY: the ring was full; only the first reader's leave made room, whichever reader has its entry now.
            cell.with_mut(|cell| unsafe { *cell = 8 });
            assert_eq!(writer.try_publish(&[record(2)]), 1);
        }
        let mut second = thread.join().unwrap();
        assert_eq!(ring.holder(), Some((second.id(), second.position())));
        let held = second.position() + CAPACITY as u64;
        while writer.position() < held {
            assert_eq!(writer.try_publish(&[record(writer.position())]), 1);
        }
        assert_eq!(
            writer.try_publish(&[record(held)]),
            0,
            "the entry's new owner holds the writer"
        );
        let wanted = second.position();
        let mut out = [[0; 2]];
        assert_eq!(second.try_read(&mut out), Read::Records(1));
        assert_eq!(out, [record(wanted)]);
    });
}

#[test]
fn a_demoted_reader_discards_what_it_copied() {
    check(|| {
        let (ring, mut writer) = Ring::new(CAPACITY).unwrap();
        let mut reader = ring.gated_reader();
        let id = reader.id();
        writer.try_publish(&[record(0), record(1)]);
        let thread = thread::spawn(move || {
            let (mut delivered, mut missed_total) = (0, 0);
            for _ in 0..2 {
                let wanted = reader.position();
                let mut out = [[0; 2]; 2];
                match reader.try_read(&mut out) {
                    Read::Records(count) => {
                        assert_eq!(out[..count], [record(wanted), record(wanted + 1)][..count]);
                        delivered += count as u64;
                    }
                    Read::Lapped { missed } => missed_total += missed,
                    Read::Demoted => {}
                }
            }
            (reader, delivered, missed_total)
        });
        ring.demote(id);
        for position in 2..4 {
            if writer.position() == position {
                assert_eq!(
                    writer.try_publish(&[record(position)]),
                    1,
                    "a demoted reader holds nobody"
                );
            }
        }
        let (reader, delivered, missed) = thread.join().unwrap();
        assert_eq!(
            delivered + missed + reader.pending(),
            4,
            "every position is accounted for"
        );
    });
}
