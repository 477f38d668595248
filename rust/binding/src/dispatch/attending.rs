//! Attending: which members the walks of a call include, found when they get a need, and left out when they have none.
//!
//! Guarantees: a member with a need is attended until it was met; `settle` says what waits in each.
//! Does not: meet needs.

use super::attention::LagWatch;
use super::delivery::Delivery;
use super::member::Member;
use super::subscription::SubscriptionShared;

impl Delivery {
    /// The next walks include this member, until `settle` finds that it needs nothing more.
    #[inline]
    pub(super) fn attend(&mut self, member: usize) {
        let this = &mut self.members[member];
        if !this.is_attended {
            this.is_attended = true;
            self.attention.list.push(member as u32);
            self.activate(member);
        }
    }

    pub(super) fn activate(&mut self, member: usize) {
        let this = &mut self.members[member];
        if !this.is_active {
            this.is_active = true;
            self.attention.active.push(member as u32);
        }
    }

    /// The next walk includes those with an open window, too.
    pub(super) fn attend_windows(&mut self) {
        for at in 0..self.attention.windows.len() {
            self.attend(self.attention.windows[at] as usize);
        }
    }

    pub(super) fn attend_all(&mut self) {
        for member in 0..self.members.len() {
            self.attend(member);
        }
    }

    /// Attends the members of the batches that this span's ticks belong to.
    pub(super) fn attend_touched(&mut self) {
        for at in 0..self.classes.touched.len() {
            let class = self.classes.touched[at] as usize;
            for index in 0..self.classes.list[class].members.len() {
                self.attend(self.classes.list[class].members[index] as usize);
            }
        }
    }

    /// Attends the members that watch their lag, when it is too much for one of them, or one lags; says whether it did.
    pub(super) fn attend_lagging(&mut self, behind: u64, oldest_ns: i64) -> bool {
        let watch = &self.attention.watch;
        let lag_ns = self.now_ns.saturating_sub(oldest_ns);
        let looks = watch.is_lagging || behind > watch.ticks || lag_ns > watch.ns;
        if looks {
            for at in 0..self.attention.watch.members.len() {
                self.attend(self.attention.watch.members[at] as usize);
            }
        }
        looks
    }

    /// The attended ones were looked at.
    pub(super) fn note_lagging(&mut self) {
        let watch = &mut self.attention.watch;
        let mut members = watch.members.iter().map(|member| &self.members[*member as usize]);
        watch.is_lagging = members.any(|member| member.lagging);
    }

    /// Whether a walk would look at no member.
    #[inline]
    pub(super) fn needs_no_walk(&self) -> bool {
        self.attention.list.is_empty() && self.classes.touched.is_empty()
    }

    /// Whether a member watches how far it is behind.
    #[inline]
    pub(super) fn watches_lag(&self) -> bool {
        !self.attention.watch.members.is_empty()
    }

    /// The walk that follows goes in registration order.
    pub(super) fn sort_attention(&mut self) {
        self.attention.list.sort_unstable();
    }

    pub(super) fn attended(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.attention.members().map(|member| (member, &self.members[member]))
    }

    pub(super) fn count_attended(&self) -> usize {
        let windows = self
            .attention
            .windows
            .iter()
            .map(|member| &self.members[*member as usize]);
        self.attention.len()
            + windows
                .filter(|member| !member.is_attended && member.has_window())
                .count()
    }

    /// The members that a tick or a need has come to since they joined; nothing became of the others' ticks.
    pub(super) fn active(&self) -> impl Iterator<Item = &SubscriptionShared> {
        let active = self.attention.active.iter();
        active.map(|member| self.members[*member as usize].shared.as_ref())
    }

    /// Whether `settle` would do nothing.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.attention.fresh.is_empty() && self.needs_no_walk()
    }

    /// Counts what waits in each attended member, and keeps those that still need something.
    #[inline]
    pub(super) fn settle(&mut self) {
        for member in self.attention.fresh.drain(..) {
            let this = &mut self.members[member as usize];
            this.shared.buffered.add(std::mem::take(&mut this.unsettled));
        }
        if !self.needs_no_walk() {
            self.settle_attended();
        }
    }

    fn settle_attended(&mut self) {
        self.attend_touched();
        let mut list = std::mem::take(&mut self.attention.list);
        list.retain(|member| {
            let waiting = self.count_waiting(*member as usize);
            let this = &mut self.members[*member as usize];
            this.shared.buffered.set(waiting);
            this.is_attended = (waiting > 0 && this.window.is_none()) || this.needs_attention();
            this.is_attended
        });
        self.attention.list = list;
    }

    /// Takes a member out; those behind it move up.
    pub(super) fn remove(&mut self, index: usize) {
        let gone = self.members.remove(index);
        self.attention.calls_of_gone += gone.shared.calls.get();
        self.attention.remove(index as u32);
    }

    /// Compiles how long windows are.
    pub(super) fn compile_windows(&mut self) {
        let lengths = self.members.iter().map(|member| member.options.every_ns);
        let mut lengths: Vec<i64> = lengths.filter(|every_ns| *every_ns > 0).collect();
        lengths.sort_unstable();
        lengths.dedup();
        self.attention.window_lengths = lengths;
    }

    /// Compiles who watches the lag.
    pub(super) fn compile_watch(&mut self) {
        let mut watch = LagWatch::default();
        for (index, member) in self.members.iter().enumerate() {
            if member.options.watches_lag() {
                let tuning = &member.options.tuning;
                watch.members.push(index as u32);
                watch.is_lagging |= member.lagging;
                if tuning.lag_max_ticks > 0 {
                    watch.ticks = watch.ticks.min(tuning.lag_max_ticks);
                }
                if tuning.lag_max_ns > 0 {
                    watch.ns = watch.ns.min(tuning.lag_max_ns);
                }
            }
        }
        self.attention.watch = watch;
    }
}

impl Member {
    /// Whether the next walks must include it. One that is paused is attended again when it is resumed; one that dozes
    /// may wake at any moment.
    fn needs_attention(&self) -> bool {
        let is_owed = !self.newest.is_empty() || (self.lost.is_some() && !self.options.is_private());
        !self.held.ticks.is_empty() || !self.deferred.is_empty() || (is_owed && (self.is_running() || self.is_dozing()))
    }
}
