//! Attention: the members of a group that have something to do without a tick of theirs.
//!
//! ```text
//!   newest quotes · a loss · held or deferred ticks · a touched batch · lag ─▶ attend ─▶ walks of a call ─▶ settle
//! ```
//! Guarantees: in registration order; a member that matches no tick costs nothing per call.
//! Does not: find them (`attending`), or do what is due (`span`, `due`, `plural`, `group_state`).

use crate::clock::NEVER;

/// Indexes of members: those with a need, and those that may have been called at all.
pub(super) struct Attention {
    /// Sorted by `sort`; each of them is `is_attended`.
    pub(super) list: Vec<u32>,
    /// Each of them `is_active`: its counts may have changed.
    pub(super) active: Vec<u32>,
    pub(super) watch: LagWatch,
    /// Those with an open window, each of them `is_listed`, and when the first of these ends, or before.
    pub(super) windows: Vec<u32>,
    /// How long the windows of members are, ns, each length once.
    pub(super) window_lengths: Vec<i64>,
    pub(super) window_due_ns: i64,
    /// Those with ticks of a window that `settle` has not counted yet.
    pub(super) fresh: Vec<u32>,
    /// Handler calls of the members that have left: a call's own number must not fall when one leaves in it.
    pub(super) calls_of_gone: u64,
}

impl Default for Attention {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            active: Vec::new(),
            watch: LagWatch::default(),
            windows: Vec::new(),
            window_lengths: Vec::new(),
            window_due_ns: NEVER,
            fresh: Vec::new(),
            calls_of_gone: 0,
        }
    }
}

impl Attention {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn member(&self, at: usize) -> usize {
        self.list[at] as usize
    }

    pub(super) fn members(&self) -> impl Iterator<Item = usize> + '_ {
        self.list.iter().map(|member| *member as usize)
    }
}

/// The members that watch their lag, and the least that is too much for one of them.
pub(super) struct LagWatch {
    pub(super) members: Vec<u32>,
    pub(super) ticks: u64,
    pub(super) ns: i64,
    /// One of them lags, so that the end of its episode must be noticed.
    pub(super) is_lagging: bool,
}

impl Default for LagWatch {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            ticks: u64::MAX,
            ns: i64::MAX,
            is_lagging: false,
        }
    }
}

impl Attention {
    /// One member left; those behind it move up.
    pub(super) fn remove(&mut self, index: u32) {
        let Self {
            list,
            active,
            watch,
            windows,
            fresh,
            ..
        } = self;
        for list in [list, active, &mut watch.members, windows, fresh] {
            list.retain(|member| *member != index);
            list.iter_mut()
                .filter(|member| **member > index)
                .for_each(|member| *member -= 1);
        }
    }
}
