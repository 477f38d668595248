//! Every interleaving of two posting threads and one that takes.
#![cfg(loom)]

mod models;

use std::sync::Arc;

use headrace_lockfree::Mailbox;
use loom::thread;
use models::check;

#[test]
fn what_is_left_is_announced() {
    check(|| {
        let mailbox = Arc::new(Mailbox::default());
        let threads = [1, 2].map(|post| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.post(post))
        });
        let mut taken = Vec::new();
        for _ in 0..2 {
            if mailbox.has_posts() {
                taken.extend(mailbox.take());
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let left = mailbox.look(<[i32]>::len);
        assert!(left == 0 || mailbox.has_posts(), "a post waits, and no look finds it");
        taken.extend(mailbox.take());
        taken.sort_unstable();
        assert_eq!(taken, [1, 2], "each post once");
    });
}
