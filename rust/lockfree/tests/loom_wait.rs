//! Every interleaving of a notifier with a thread that goes to sleep. Loom's timed wait never times out, so a wake-up
//! that is lost shows as a deadlock.
#![cfg(loom)]

mod models;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Count, Ordering::Relaxed as Plain};

use headrace_lockfree::{Read, Ring, WAIT_MAX, Wakeup};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use models::{check, record};

#[test]
fn no_wake_up_is_lost() {
    check(|| {
        let wakeup = Wakeup::new();
        let flag = Arc::new(AtomicUsize::new(0));
        let parker = wakeup.parker();
        let seen = Arc::clone(&flag);
        let thread = thread::spawn(move || {
            assert!(parker.park(WAIT_MAX, || seen.load(Ordering::Relaxed) == 1));
        });
        flag.store(1, Ordering::Relaxed);
        wakeup.notify();
        thread.join().unwrap();
    });
}

#[test]
fn two_sleepers_both_wake() {
    check(|| {
        let wakeup = Wakeup::new();
        let flag = Arc::new(AtomicUsize::new(0));
        let threads = [(); 2].map(|()| {
            let parker = wakeup.parker();
            let seen = Arc::clone(&flag);
            thread::spawn(move || {
                assert!(parker.park(WAIT_MAX, || seen.load(Ordering::Relaxed) == 1));
            })
        });
        flag.store(1, Ordering::Relaxed);
        wakeup.notify();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_parked_reader_wakes_for_a_publish_and_a_parked_writer_for_room() {
    check(|| {
        let (ring, mut writer) = Ring::new(2).unwrap();
        let mut reader = ring.gated_reader();
        let (for_records, for_room) = (ring.wakeup().parker(), ring.room().parker());
        writer.try_publish(&[record(0)]);
        assert_eq!(reader.try_read(&mut [[0; 2]]), Read::Records(1));
        let thread = thread::spawn(move || {
            assert!(for_records.park(WAIT_MAX, || reader.is_ready()));
            let mut out = [[0; 2]];
            assert_eq!(reader.try_read(&mut out), Read::Records(1));
            assert_eq!(out, [record(1)]);
        });
        writer.try_publish(&[record(1), record(2)]);
        assert!(for_room.park(WAIT_MAX, || writer.free() > 0));
        thread.join().unwrap();
    });
}

#[test]
fn a_notify_without_a_parker_wakes_nobody_and_breaks_nothing() {
    static RUNS: Count = Count::new(0);
    check(|| {
        let wakeup = Wakeup::new();
        let coming = wakeup.clone();
        let thread = thread::spawn(move || drop(coming.parker()));
        wakeup.notify();
        thread.join().unwrap();
        RUNS.fetch_add(1, Plain);
    });
    assert!(RUNS.load(Plain) > 1, "the model has more than one interleaving");
}
