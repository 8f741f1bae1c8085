//! A process's part of a day that several processes draw on: it leases blocks of a day's quota and spends those.
//!
//! The scheduler does no I/O: it says which blocks it wants (a [`Wish`]), is handed what it got (a [`Grant`]), and keeps
//! routes waiting in between only where a block ran out before the next came. Whoever owns it talks to the ledger.

use crate::domain::{
    Now, Outcome, QuotaDay, RouteId, WallTime,
    lease::{LeaseGrant, LeaseRequest, QuotaUnit},
    snapshot::Cause,
    snapshot::CauseSource,
};

use super::{
    Scheduler,
    cooldown::Cooldown,
    day::{DayMeter, ROLLING, next_reset},
    pool::Need,
};

/// What rolling days lease by: what is counted in it is free again a day after its end.
const GRAIN: i64 = 30 * 60 * 1_000_000;

/// Of a day, at a time.
const BLOCK: u64 = 20;

/// The part of one meter.
#[derive(Clone, Debug, Default)]
pub struct Share {
    allowance: u64,
    /// The block's row in the ledger, and until when it may be used.
    row: WallTime,
    good_until: WallTime,
    taken: u64,
    full_until: Option<WallTime>,
    asked: bool,
    owed: u64,
    /// The most that one request found too little of.
    short_of: u64,
}

impl Share {
    pub fn allowance(&self, now: WallTime) -> u64 {
        if now < self.good_until { self.allowance } else { 0 }
    }

    /// Used by all processes, as far as is known.
    pub fn used(&self, now: WallTime) -> u64 {
        if now < self.good_until { self.taken.saturating_sub(self.allowance) } else { 0 }
    }

    pub fn full_until(&self, now: WallTime, amount: u64) -> Option<WallTime> {
        self.full_until.filter(|until| *until > now && self.allowance(now) < amount)
    }

    pub fn count(&mut self, now: WallTime, amount: u64) {
        let here = self.allowance(now);
        self.owed += amount.saturating_sub(here);
        if now < self.good_until {
            self.allowance = here.saturating_sub(amount);
        }
    }

    pub fn give_back(&mut self, now: WallTime, amount: u64) {
        if now < self.good_until {
            self.allowance += amount;
        }
    }

    pub fn note_short(&mut self, amount: u64) {
        self.short_of = self.short_of.max(amount);
    }
}

/// The ledger's row of `now`, and until when a block of it may be used.
fn row(day: QuotaDay, now: WallTime) -> (WallTime, WallTime) {
    if let Some(reset) = next_reset(day, now) {
        return (reset, reset);
    }
    let end = WallTime(now.0 - now.0.rem_euclid(GRAIN) + GRAIN);
    (end + ROLLING, end)
}

impl DayMeter {
    /// What this meter wants of the ledger now. Not again before it was answered.
    fn wish(&mut self, now: WallTime, pool: usize, unit: QuotaUnit, first: bool) -> Option<LeaseRequest> {
        let (limit, known_used) = (self.limit(), self.own(now));
        let (period_end, _) = row(self.day(), now);
        let share = self.share_mut()?;
        let block = limit.map_or(0, |limit| (limit / BLOCK).max(1)).max(share.short_of.saturating_mul(4));
        let low = share.allowance(now) < block.div_ceil(2).max(share.short_of);
        let full = share.full_until.is_some_and(|until| until > now);
        if share.asked || !(first || (limit.is_some() && low && !full)) {
            return None;
        }
        share.asked = true;
        let expired = now >= share.good_until && share.allowance > 0 && share.row > now;
        let returned = expired.then_some((share.row, share.allowance));
        if expired {
            share.allowance = 0;
        }
        // To begin with it only asks: a block is for those that send, since a process that is killed loses what it holds.
        let requested = if first { 0 } else { block };
        Some(LeaseRequest {
            pool,
            unit,
            period_end,
            limit,
            requested,
            known_used,
            overdrawn: std::mem::take(&mut share.owed),
            returned,
        })
    }

    fn granted(&mut self, now: WallTime, grant: &LeaseGrant) {
        let (today, good_until) = row(self.day(), now);
        let Some(share) = self.share_mut() else { return };
        share.asked = false;
        if share.row != grant.period_end {
            share.allowance = 0;
        }
        share.row = grant.period_end;
        share.allowance += grant.granted;
        if grant.period_end != today {
            // It came after its time: nothing of it may be used any more. The next wish is about the new row, and gives
            // this block back where it still counts, as half hours of a rolling day do.
            share.good_until = share.good_until.min(now);
            return;
        }
        share.short_of = 0;
        (share.good_until, share.taken) = (good_until, grant.total_used);
        share.full_until = grant.available_at;
    }
}

impl Scheduler {
    /// From now on days are shared with other processes: nothing goes on a limited day before a block was granted.
    pub fn share_days(&mut self) {
        for index in 0..self.pools.len() {
            self.pools[index].day_meters().for_each(|(_, meter)| meter.share(true));
            self.lease_wanted.push(index);
        }
        self.first_leases = true;
    }

    /// The ledger is gone: this process's own counts are all there is.
    pub fn stop_sharing_days(&mut self) {
        for pool in &mut self.pools {
            pool.day_meters().for_each(|(_, meter)| meter.share(false));
        }
        self.lease_wanted.clear();
        self.look_again();
    }

    /// A block of this pool's day may be wanted.
    pub(super) fn want_lease(&mut self, pool: usize) {
        if self.pools[pool].is_shared() && self.lease_wanted.last() != Some(&pool) {
            self.lease_wanted.push(pool);
        }
    }

    /// The blocks that are wanted now; each is told once, until it is answered.
    pub fn lease_wishes(&mut self, now: Now) -> Vec<LeaseRequest> {
        let first = std::mem::take(&mut self.first_leases);
        let mut wishes = Vec::new();
        for index in std::mem::take(&mut self.lease_wanted) {
            let meters = self.pools[index].day_meters();
            wishes.extend(meters.filter_map(|(unit, meter)| meter.wish(now.wall, index, unit, first)));
        }
        wishes
    }

    pub fn grant(&mut self, now: Now, grant: &LeaseGrant) {
        let pool = &mut self.pools[grant.pool];
        let meter = pool.day_meters().find(|(unit, _)| *unit == grant.unit);
        if let Some((_, meter)) = meter {
            meter.granted(now.wall, grant);
        }
        if let Some(until) = grant.exhausted_until.filter(|until| *until > now.wall) {
            let calendar = pool.day() != QuotaDay::Rolling;
            let message = "another run was told that the day is used up".to_owned();
            let cause =
                Cause { outcome: Outcome::QuotaExhaustedDay, source: CauseSource::Provider, message, since: now.wall };
            let until = Now { mono: now.mono + until.since(now.wall), wall: until };
            Cooldown::extend(&mut pool.spent, Cooldown { since: now, until, calendar, cause }, now);
        }
        self.unpark_pool(grant.pool);
        // What came may be less than what is needed by now.
        self.want_lease(grant.pool);
    }

    /// What is left of the blocks in hand, to be given back when the process ends.
    pub fn unused_leases(&mut self, now: Now) -> Vec<LeaseRequest> {
        let mut unused = Vec::new();
        for (index, pool) in self.pools.iter_mut().enumerate() {
            for (unit, meter) in pool.day_meters() {
                let limit = meter.limit();
                let Some(share) = meter.share_mut() else { continue };
                let (left, overdrawn) = (std::mem::take(&mut share.allowance), std::mem::take(&mut share.owed));
                if (left > 0 || overdrawn > 0) && share.row > now.wall {
                    let returned = (left > 0).then_some((share.row, left));
                    unused.push(LeaseRequest {
                        pool: index,
                        unit,
                        period_end: share.row,
                        limit,
                        requested: 0,
                        known_used: 0,
                        overdrawn,
                        returned,
                    });
                }
            }
        }
        unused
    }

    /// Counts what others have used of today, for a plan: nothing is leased.
    pub fn count_elsewhere(
        &mut self,
        now: Now,
        pool: usize,
        requests: u64,
        tokens: u64,
        spent_until: Option<WallTime>,
    ) {
        for (unit, meter) in self.pools[pool].day_meters() {
            meter.count(now.wall, if unit == QuotaUnit::Requests { requests } else { tokens });
        }
        if let Some(spent_until) = spent_until {
            let period_end = row(self.pools[pool].day(), now.wall).0;
            self.grant(
                now,
                &LeaseGrant {
                    pool,
                    unit: QuotaUnit::Requests,
                    period_end,
                    granted: 0,
                    total_used: 0,
                    available_at: None,
                    exhausted_until: Some(spent_until),
                },
            );
        }
    }

    /// What a pool is called in the ledger: by one of its keys, and the model or pool name that it counts.
    pub fn pool_parts(&self, pool: usize) -> Option<(usize, &str)> {
        let route = &self.routes[self.pools[pool].routes.first()?.index()];
        let model = &self.models[route.model].model;
        Some((route.key, model.pool.as_deref().unwrap_or(&model.name)))
    }

    pub fn pool_count(&self) -> usize {
        self.pools.len()
    }

    pub fn pool_of(&self, route: RouteId) -> usize {
        self.routes[route.index()].pool
    }

    /// Until when the provider said that this pool's day is used up.
    pub fn spent_until(&self, now: Now, pool: usize) -> Option<WallTime> {
        let spent = self.pools[pool].spent.as_ref().filter(|spent| !spent.over(now))?;
        Some(if spent.calendar { spent.until.wall } else { now.wall + spent.until.mono.since(now.mono) })
    }

    /// A ticket found too little of its pool's block.
    pub(super) fn note_short(&mut self, pool: usize, need: Need) {
        self.pools[pool].note_short(need);
        self.want_lease(pool);
    }
}
