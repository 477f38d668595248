//! The lanes of the event bus: bounded queues of four priorities.
//!
//! Guarantees: each lane is first in, first out; every event is accounted for.
//! Does not: call handlers, hold a lock, or read a clock.

mod lane;
mod lanes;

pub use lane::{Dropped, LaneCounts, LaneOptions};
pub use lanes::{Lanes, LanesOptions, Origin, Outcome, Pushed, Resized, Turn};
