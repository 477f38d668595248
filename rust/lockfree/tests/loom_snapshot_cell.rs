//! Every interleaving of one storing and two loading threads on a snapshot cell.
#![cfg(loom)]

mod models;

use std::sync::Arc;

use headrace_lockfree::SnapshotCell;
use loom::thread;
use models::{check, check_all, record};

/// Loads a few times; each must be a whole record, and none older than the one before.
fn load(cell: &SnapshotCell<2>, times: usize) {
    let mut newest = None;
    for _ in 0..times {
        if let Ok(loaded) = cell.try_load() {
            let position = loaded.map(|words| words[0]);
            assert_eq!(
                loaded,
                position.map(|first| record(first - 1)),
                "a loaded record was stored, whole"
            );
            assert!(position >= newest, "no older record after a newer one");
            newest = position;
        }
    }
}

#[test]
fn a_loaded_record_was_stored_whole() {
    check(|| {
        let cell = Arc::new(SnapshotCell::new());
        let stored = Arc::clone(&cell);
        let thread = thread::spawn(move || {
            stored.store(&record(0));
            stored.store(&record(1));
        });
        load(&cell, 3);
        thread.join().unwrap();
        assert_eq!(cell.load(), Some(record(1)));
    });
}

#[test]
fn two_readers_do_not_disturb_each_other() {
    check(|| {
        let cell = Arc::new(SnapshotCell::new());
        let threads = [(); 2].map(|()| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || load(&cell, 1))
        });
        cell.store(&record(0));
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(cell.load(), Some(record(0)));
    });
}

#[test]
fn one_reader_sees_no_torn_record_in_any_interleaving() {
    check_all(|| {
        let cell = Arc::new(SnapshotCell::new());
        cell.store(&record(0));
        let stored = Arc::clone(&cell);
        let thread = thread::spawn(move || stored.store(&record(1)));
        load(&cell, 2);
        thread.join().unwrap();
    });
}
