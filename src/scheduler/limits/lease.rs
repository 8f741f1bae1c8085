//! Leases: one process's part of a daily quota that several processes share. A process leases parts of the quota and
//! spends them.
//!
//! The scheduler does no I/O: it returns the leases it needs as [`LeaseRequest`] and is handed a [`LeaseGrant`]. Routes
//! wait only if a lease is used up before the next one is granted. The caller talks to the quota ledger.

use crate::domain::{
    Now, Outcome, QuotaDay, RouteId, WallTime,
    lease::{LeaseGrant, LeaseRequest, QuotaUnit},
    snapshot::Cause,
    snapshot::CauseSource,
};

use super::{
    daily_quota::{DailyQuota, ROLLING_DAY},
    pool::TokenEstimate,
};
use crate::scheduler::{Scheduler, cooldown::Cooldown};

/// Lease period of rolling days, in microseconds. What is counted in a period is free again one day after its end.
const LEASE_STEP_MICROS: i64 = 30 * 60 * 1_000_000;

/// A lease is one of this many equal parts of the daily limit, unless a request needs more.
const LEASES_PER_DAY: u64 = 20;

/// The lease of one daily quota.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// What is left of the lease.
    available: u64,
    /// Names the period in the quota ledger. The lease may be used until `usable_until`.
    period_end: WallTime,
    usable_until: WallTime,
    /// Used or leased by all processes when the lease was granted, this lease included.
    total_used: u64,
    /// When quota becomes available again, if the ledger had none left.
    full_until: Option<WallTime>,
    /// Whether a lease was requested and the reply has not come yet.
    is_requested: bool,
    /// Used beyond the lease, and not yet reported to the ledger.
    overdrawn: u64,
    /// The largest amount of a request that the lease could not cover; 0 if there was none since the last grant.
    shortfall: u64,
}

impl Lease {
    pub fn available(&self, now: WallTime) -> u64 {
        if now < self.usable_until { self.available } else { 0 }
    }

    /// Used by all processes, as far as is known.
    pub fn used_by_all(&self, now: WallTime) -> u64 {
        if now < self.usable_until { self.total_used.saturating_sub(self.available) } else { 0 }
    }

    /// When quota becomes available again, if neither the lease nor the ledger has `amount`.
    pub fn full_until(&self, now: WallTime, amount: u64) -> Option<WallTime> {
        self.full_until.filter(|until| *until > now && self.available(now) < amount)
    }

    pub fn spend(&mut self, now: WallTime, amount: u64) {
        let available = self.available(now);
        self.overdrawn += amount.saturating_sub(available);
        if now < self.usable_until {
            self.available = available.saturating_sub(amount);
        }
    }

    pub fn give_back(&mut self, now: WallTime, amount: u64) {
        if now < self.usable_until {
            self.available += amount;
        }
    }

    pub fn record_shortfall(&mut self, amount: u64) {
        self.shortfall = self.shortfall.max(amount);
    }
}

/// The ledger's period for `now`, and until when a lease of it may be used.
fn lease_period(day: QuotaDay, now: WallTime) -> (WallTime, WallTime) {
    if let Some(reset) = day.next_reset(now) {
        return (reset, reset);
    }
    let step_end = WallTime(now.0 - now.0.rem_euclid(LEASE_STEP_MICROS) + LEASE_STEP_MICROS);
    (step_end + ROLLING_DAY, step_end)
}

impl DailyQuota {
    /// The lease to request now, if any. `None` while a request is not answered.
    fn lease_request(&mut self, now: WallTime, pool: usize, unit: QuotaUnit, is_first: bool) -> Option<LeaseRequest> {
        let (limit, known_used) = (self.limit(), self.used_locally(now));
        let (period_end, _) = lease_period(self.day(), now);
        let lease = self.lease_mut()?;
        let amount = limit.map_or(0, |limit| (limit / LEASES_PER_DAY).max(1)).max(lease.shortfall.saturating_mul(4));
        let is_low = lease.available(now) < amount.div_ceil(2).max(lease.shortfall);
        let is_full = lease.full_until.is_some_and(|until| until > now);
        if lease.is_requested || !(is_first || (limit.is_some() && is_low && !is_full)) {
            return None;
        }
        lease.is_requested = true;
        let is_expired = now >= lease.usable_until && lease.available > 0 && lease.period_end > now;
        let returned = is_expired.then_some((lease.period_end, lease.available));
        if is_expired {
            lease.available = 0;
        }
        // The first request only reads the ledger. Nothing is leased before it is needed, since a killed process loses
        // its lease.
        let requested = if is_first { 0 } else { amount };
        Some(LeaseRequest {
            pool,
            unit,
            period_end,
            limit,
            requested,
            known_used,
            overdrawn: std::mem::take(&mut lease.overdrawn),
            returned,
        })
    }

    fn apply_grant(&mut self, now: WallTime, grant: &LeaseGrant) {
        let (current_period_end, usable_until) = lease_period(self.day(), now);
        let Some(lease) = self.lease_mut() else { return };
        lease.is_requested = false;
        if lease.period_end != grant.period_end {
            lease.available = 0;
        }
        lease.period_end = grant.period_end;
        lease.available += grant.granted;
        if grant.period_end != current_period_end {
            // The grant arrived after its period, so it may not be used. The next request is for the new period. It
            // returns this lease if the lease's period still counts, as half hours of a rolling day do.
            lease.usable_until = lease.usable_until.min(now);
            return;
        }
        lease.shortfall = 0;
        (lease.usable_until, lease.total_used) = (usable_until, grant.total_used);
        lease.full_until = grant.available_at;
    }
}

impl Scheduler {
    /// Shares daily quotas with other processes from now on. A pool with a daily limit sends nothing before a lease is
    /// granted.
    pub fn share_daily_quotas(&mut self) {
        for index in 0..self.pools.len() {
            self.pools[index].daily_quotas().for_each(|(_, quota)| quota.set_shared(true));
            self.pools_needing_lease.push(index);
        }
        self.needs_first_leases = true;
    }

    /// Stops sharing after the ledger became unavailable. Only this process's own counts apply from then on.
    pub fn stop_sharing_daily_quotas(&mut self) {
        for pool in &mut self.pools {
            pool.daily_quotas().for_each(|(_, quota)| quota.set_shared(false));
        }
        self.pools_needing_lease.clear();
        self.unpark_all();
    }

    /// Marks a pool as possibly needing a lease.
    pub(in crate::scheduler) fn mark_lease_needed(&mut self, pool: usize) {
        if self.pools[pool].is_shared() && self.pools_needing_lease.last() != Some(&pool) {
            self.pools_needing_lease.push(pool);
        }
    }

    /// The leases needed now. A request is not returned again until it is answered.
    pub fn lease_requests(&mut self, now: Now) -> Vec<LeaseRequest> {
        let is_first = std::mem::take(&mut self.needs_first_leases);
        let mut requests = Vec::new();
        for index in std::mem::take(&mut self.pools_needing_lease) {
            let quotas = self.pools[index].daily_quotas();
            requests.extend(quotas.filter_map(|(unit, quota)| quota.lease_request(now.wall, index, unit, is_first)));
        }
        requests
    }

    /// Applies a reply of the quota ledger and unparks the routes of its pool.
    pub fn apply_lease_grant(&mut self, now: Now, grant: &LeaseGrant) {
        let pool = &mut self.pools[grant.pool];
        let quota = pool.daily_quotas().find(|(unit, _)| *unit == grant.unit);
        if let Some((_, daily_quota)) = quota {
            daily_quota.apply_grant(now.wall, grant);
        }
        if let Some(until) = grant.exhausted_until.filter(|until| *until > now.wall) {
            let ends_by_calendar = pool.day() != QuotaDay::Rolling;
            let message = "day quota spent, as reported to another run".to_owned();
            let cause =
                Cause { outcome: Outcome::QuotaExhaustedDay, source: CauseSource::Provider, message, since: now.wall };
            let until = Now { mono: now.mono + until.since(now.wall), wall: until };
            Cooldown::extend(&mut pool.day_exhausted, Cooldown { since: now, until, ends_by_calendar, cause }, now);
        }
        self.unpark_pool(grant.pool);
        // The grant may be less than what is needed by now.
        self.mark_lease_needed(grant.pool);
    }

    /// Takes what is left of all leases, as requests that return it to the ledger at the end of the process.
    pub fn take_unused_leases(&mut self, now: Now) -> Vec<LeaseRequest> {
        let mut unused = Vec::new();
        for (index, pool) in self.pools.iter_mut().enumerate() {
            for (unit, quota) in pool.daily_quotas() {
                let limit = quota.limit();
                let Some(lease) = quota.lease_mut() else { continue };
                let (left, overdrawn) = (std::mem::take(&mut lease.available), std::mem::take(&mut lease.overdrawn));
                if (left > 0 || overdrawn > 0) && lease.period_end > now.wall {
                    let returned = (left > 0).then_some((lease.period_end, left));
                    unused.push(LeaseRequest {
                        pool: index,
                        unit,
                        period_end: lease.period_end,
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

    /// Adds what other processes used today, for the `plan` command. Nothing is leased.
    pub fn add_usage_elsewhere(
        &mut self,
        now: Now,
        pool: usize,
        requests: u64,
        tokens: u64,
        exhausted_until: Option<WallTime>,
    ) {
        for (unit, quota) in self.pools[pool].daily_quotas() {
            quota.add_usage(now.wall, if unit == QuotaUnit::Requests { requests } else { tokens });
        }
        if let Some(exhausted_until) = exhausted_until {
            let period_end = lease_period(self.pools[pool].day(), now.wall).0;
            self.apply_lease_grant(
                now,
                &LeaseGrant {
                    pool,
                    unit: QuotaUnit::Requests,
                    period_end,
                    granted: 0,
                    total_used: 0,
                    available_at: None,
                    exhausted_until: Some(exhausted_until),
                },
            );
        }
    }

    /// The identity of a pool in the ledger: the index of one of its keys, and the name of the model or pool.
    pub fn pool_identity(&self, pool: usize) -> Option<(usize, &str)> {
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

    /// Until when the pool's daily quota is used up, as the provider said.
    pub fn exhausted_until(&self, now: Now, pool: usize) -> Option<WallTime> {
        let cooldown = self.pools[pool].day_exhausted.as_ref().filter(|cooldown| !cooldown.is_over(now))?;
        Some(if cooldown.ends_by_calendar {
            cooldown.until.wall
        } else {
            now.wall + cooldown.until.mono.since(now.mono)
        })
    }

    /// Records that the pool's lease was too small for an item.
    pub(in crate::scheduler) fn record_shortfall(&mut self, pool: usize, estimate: TokenEstimate) {
        self.pools[pool].record_shortfall(estimate);
        self.mark_lease_needed(pool);
    }
}
