//! `View`: what one dispatching call sees of the ring, and the line of the log that it will write.
//!
//! Guarantees: without a log everything that is published is seen.
//! Does not: read.

use headrace_core::market::tick::Tick;

/// A line that is being written.
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) cursor: u64,
    pub(super) from: u64,
    /// The reader's position at the beginning.
    pub(super) reader_at: u64,
    /// Calls of the members until then, and everything that was counted of their ticks.
    pub(super) calls: u64,
    pub(super) counted: u64,
    /// It answers requests.
    pub(super) answers: bool,
    pub(super) flags: u8,
}

/// What a call sees of the ring.
pub(super) struct View {
    /// Positions from here on are not read.
    pub(super) bound: u64,
    pub(super) entry: Option<Entry>,
    /// The newest quotes as of the cursor; `None`: as of now, which in the writer's own thread is the same.
    pub(super) newest: Option<Vec<Tick>>,
    /// Positions that the calls of this entry lost.
    pub(super) lost: u64,
    /// Positions that a thread's reader was lapped by while the call ran: not its cursor's business, so the call goes
    /// on as if nothing was lost, and is cut when it is to read on.
    pub(super) hidden: u64,
    /// How it stopped before a tick that something is due before; what ends there, and what was read, no count shows.
    pub(super) stopped: u8,
    /// Something was settled that no count shows: which newest quotes members get, or that one gets none.
    pub(super) has_settled: bool,
}

impl Default for View {
    fn default() -> Self {
        Self {
            bound: u64::MAX,
            entry: None,
            newest: None,
            lost: 0,
            hidden: 0,
            stopped: 0,
            has_settled: false,
        }
    }
}
