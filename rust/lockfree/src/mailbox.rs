//! A mailbox: what other threads post to one that takes it at a moment of its own.
//!
//! Guarantees: each post is taken once, in order; while one is left, `has_posts` is true for whoever sees the post.
//! Does not: wake the taker; a look that comes too early finds the post the next time.

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// Posts, and a flag that says that there are some.
pub struct Mailbox<T> {
    posts: Mutex<Vec<T>>,
    has_posts: AtomicBool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            posts: Mutex::new(Vec::new()),
            has_posts: AtomicBool::new(false),
        }
    }
}

impl<T> Mailbox<T> {
    /// Adds a post.
    pub fn post(&self, post: T) {
        self.lock().push(post);
        // Relaxed: a hint; the lock orders the posts themselves. Behind the push: pairs with the store in `take`.
        // Model: loom_mailbox::what_is_left_is_announced
        self.has_posts.store(true, Ordering::Relaxed);
    }

    /// Whether there is a post, as far as this thread can see.
    #[inline]
    #[must_use]
    pub fn has_posts(&self) -> bool {
        // Relaxed: see `post`.
        self.has_posts.load(Ordering::Relaxed)
    }

    /// Takes all posts.
    #[must_use]
    pub fn take(&self) -> Vec<T> {
        // Relaxed: ordered by the lock. Before the posts are taken: one that comes in between is taken with them, one that
        // comes behind sets the flag again.
        // Model: loom_mailbox::what_is_left_is_announced
        self.has_posts.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.lock())
    }

    /// Puts posts back in front of those that came since.
    pub fn put_back(&self, mut posts: Vec<T>) {
        if !posts.is_empty() {
            let mut since = self.lock();
            posts.append(&mut since);
            *since = posts;
            // Relaxed: see `post`.
            self.has_posts.store(true, Ordering::Relaxed);
        }
    }

    /// Looks at the posts and leaves them.
    pub fn look<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.posts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
