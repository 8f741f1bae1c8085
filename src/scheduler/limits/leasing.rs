//! Leasing: the daily quotas that several processes share. A process leases parts of a quota and spends them.
//!
//! The scheduler does no I/O: it returns the leases it needs as [`LeaseRequest`] and is handed a [`LeaseGrant`]. Routes
//! wait only if a lease is used up before the next one is granted. The caller talks to the quota ledger.

use crate::{
    domain::{
        Now, Outcome, PoolId, QuotaDay, WallTime,
        lease::{LeaseGrant, LeaseRequest, QuotaUnit},
        snapshot::{Cause, CauseSource},
    },
    scheduler::admission::Cooldown,
};

use super::{
    daily_quota::{DailyQuota, ROLLING_DAY},
    pool::QuotaPool,
};

/// Lease period of rolling days, in microseconds. What is counted in a period is free again one day after its end.
const LEASE_STEP_MICROS: i64 = 30 * 60 * 1_000_000;

/// A lease is one of this many equal parts of the daily limit, unless a request needs more.
const LEASES_PER_DAY: u64 = 20;

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
    fn lease_request(&mut self, now: WallTime, pool: PoolId, unit: QuotaUnit, is_first: bool) -> Option<LeaseRequest> {
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

impl QuotaPool {
    /// Starts or stops sharing the daily quotas with other processes.
    pub fn set_shared(&mut self, is_shared: bool) {
        self.daily_quotas().for_each(|(_, quota)| quota.set_shared(is_shared));
    }

    /// The leases that this pool of this id needs now.
    pub fn lease_requests(
        &mut self,
        now: WallTime,
        pool: PoolId,
        is_first: bool,
    ) -> impl Iterator<Item = LeaseRequest> {
        self.daily_quotas().filter_map(move |(unit, quota)| quota.lease_request(now, pool, unit, is_first))
    }

    /// Applies a reply of the quota ledger.
    pub fn apply_lease_grant(&mut self, now: Now, grant: &LeaseGrant) {
        if let Some((_, quota)) = self.daily_quotas().find(|(unit, _)| *unit == grant.unit) {
            quota.apply_grant(now.wall, grant);
        }
        if let Some(until) = grant.exhausted_until {
            self.set_exhausted_until(now, until);
        }
    }

    /// Starts an exhausted day that another process was told of.
    fn set_exhausted_until(&mut self, now: Now, until: WallTime) {
        if until <= now.wall {
            return;
        }
        let message = "day quota spent, as reported to another run".to_owned();
        let (outcome, source) = (Outcome::QuotaExhaustedDay, CauseSource::Provider);
        let cause = Cause { outcome, source, message, since: now.wall, status: None };
        let cooldown = match self.day() {
            QuotaDay::Rolling => Cooldown::lasting(now, until.since(now.wall), cause),
            _ => Cooldown::until_wall(now, until, cause),
        };
        Cooldown::extend(&mut self.day_cooldown, cooldown, now);
    }

    /// Takes what is left of the leases, as requests that return it to the ledger at the end of the process.
    pub fn take_unused_leases(&mut self, now: WallTime, pool: PoolId) -> impl Iterator<Item = LeaseRequest> {
        self.daily_quotas().filter_map(move |(unit, quota)| {
            let limit = quota.limit();
            let lease = quota.lease_mut()?;
            let (left, overdrawn) = (std::mem::take(&mut lease.available), std::mem::take(&mut lease.overdrawn));
            let is_worth_returning = (left > 0 || overdrawn > 0) && lease.period_end > now;
            is_worth_returning.then(|| LeaseRequest {
                pool,
                unit,
                period_end: lease.period_end,
                limit,
                requested: 0,
                known_used: 0,
                overdrawn,
                returned: (left > 0).then_some((lease.period_end, left)),
            })
        })
    }

    /// Adds what other processes used today, for the `plan` command. Nothing is leased.
    pub fn add_usage_elsewhere(&mut self, now: Now, requests: u64, tokens: u64, exhausted_until: Option<WallTime>) {
        for (unit, quota) in self.daily_quotas() {
            quota.add_usage(now.wall, if unit == QuotaUnit::Requests { requests } else { tokens });
        }
        if let Some(until) = exhausted_until {
            self.set_exhausted_until(now, until);
        }
    }

    /// Until when the daily quota is used up, as the provider said.
    pub fn exhausted_until(&self, now: Now) -> Option<WallTime> {
        self.active_day_cooldown(now).map(|cooldown| cooldown.deadline().to_wall(now))
    }
}
