//! Readiness: when to check routes again that were found unavailable, and whether anything has changed since a check.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    domain::{MonoTime, Now, RouteId},
    scheduler::admission::Deadline,
};

#[derive(Debug)]
pub struct Readiness {
    /// Increases whenever a route may have become ready or a blocked item may have become sendable.
    version: u64,
    wakeups: BinaryHeap<Reverse<(MonoTime, RouteId)>>,
    /// By route: its earliest wakeup.
    wakeup_at: Vec<Option<MonoTime>>,
}

impl Readiness {
    pub fn new(routes: usize) -> Self {
        Self { version: 1, wakeups: BinaryHeap::new(), wakeup_at: vec![None; routes] }
    }

    pub const fn version(&self) -> u64 {
        self.version
    }

    pub const fn mark_changed(&mut self) {
        self.version += 1;
    }

    /// Schedules a check of the route at `deadline` if there is one, unless an earlier one is scheduled.
    pub fn wake_at(&mut self, now: Now, route: RouteId, deadline: Option<Deadline>) {
        let Some(at) = deadline.map(|deadline| deadline.to_mono(now)) else { return };
        let scheduled_at = &mut self.wakeup_at[route.index()];
        if scheduled_at.is_none_or(|earlier| earlier > at || earlier <= now.mono) {
            *scheduled_at = Some(at);
            self.wakeups.push(Reverse((at, route)));
        }
    }

    /// Removes a route whose wakeup is due at `now`, the earliest first.
    pub fn pop_due(&mut self, now: MonoTime) -> Option<RouteId> {
        let Reverse((at, route)) = self.wakeups.peek().copied().filter(|Reverse((at, _))| *at <= now)?;
        self.wakeups.pop();
        let scheduled_at = &mut self.wakeup_at[route.index()];
        *scheduled_at = scheduled_at.filter(|scheduled_at| *scheduled_at > at);
        Some(route)
    }

    pub fn next_wakeup(&self) -> Option<MonoTime> {
        self.wakeups.peek().map(|Reverse((at, _))| *at)
    }
}
