//! Daily quotas: counters that reset when the provider's day ends, or count the last 24 hours.

use std::{collections::VecDeque, time::Duration};

use crate::{
    domain::{QuotaDay, WallTime},
    scheduler::admission::Admission,
};

use super::lease::Lease;

/// The length of a rolling day: each request counts for 24 hours.
pub(in crate::scheduler) const ROLLING_DAY: Duration = Duration::from_secs(24 * 3_600);

/// Rolling counts are grouped by minute. That is at most 1,440 entries a day, and a count is held at most one minute
/// too long.
const ROLLING_STEP_MICROS: i64 = 60_000_000;

/// The interval within which the provider must have counted a request.
#[derive(Clone, Copy, Debug)]
pub struct CountInterval {
    pub reserved_at: WallTime,
    pub counted_at_latest: WallTime,
}

/// A daily quota of one unit (requests or tokens) and what is used of it.
///
/// Requests in flight when a day ends count in the next day, since the provider may not have counted them before.
#[derive(Clone, Debug)]
pub struct DailyQuota {
    day: QuotaDay,
    limit: Option<u64>,
    /// Includes requests in flight.
    used: u64,
    in_flight: u64,
    /// Calendar days: when `used` resets.
    resets_at: Option<WallTime>,
    /// Rolling days: (end of the minute of counting, amount) in time order, without requests in flight.
    rolling_counts: VecDeque<(WallTime, u64)>,
    /// This process's leased part, if several processes share the quota.
    lease: Option<Lease>,
}

impl DailyQuota {
    pub const fn new(day: QuotaDay) -> Self {
        Self { day, limit: None, used: 0, in_flight: 0, resets_at: None, rolling_counts: VecDeque::new(), lease: None }
    }

    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub const fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    pub const fn day(&self) -> QuotaDay {
        self.day
    }

    /// Starts or stops sharing the quota with other processes.
    pub fn set_shared(&mut self, is_shared: bool) {
        self.lease = is_shared.then(Lease::default);
    }

    pub const fn lease_mut(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }

    pub const fn is_shared(&self) -> bool {
        self.lease.is_some() && self.limit.is_some()
    }

    /// Whether the quota is shared and the lease holds less than `amount`.
    pub fn needs_lease(&self, now: WallTime, amount: u64) -> bool {
        self.is_shared() && self.lease.as_ref().is_some_and(|lease| lease.available(now) < amount)
    }

    /// Used in the day of `now` by all processes, as far as this one knows.
    pub fn used(&self, now: WallTime) -> u64 {
        let used_by_all = self.lease.as_ref().map_or(0, |lease| lease.used_by_all(now));
        self.used_locally(now).max(used_by_all)
    }

    /// Used by this process, including earlier processes of its run.
    pub fn used_locally(&self, now: WallTime) -> u64 {
        match self.day {
            QuotaDay::Rolling => {
                let expired: u64 = self
                    .rolling_counts
                    .iter()
                    .take_while(|(at, _)| *at + ROLLING_DAY <= now)
                    .map(|(_, amount)| amount)
                    .sum();
                self.used - expired
            }
            _ if self.resets_at.is_some_and(|reset| reset <= now) => self.in_flight,
            _ => self.used,
        }
    }

    /// Rolling days: when each counted amount becomes free again, in time order.
    pub fn releases(&self, now: WallTime) -> impl Iterator<Item = (WallTime, u64)> {
        let all = self.rolling_counts.iter().map(|(at, amount)| (*at + ROLLING_DAY, *amount));
        all.filter(move |(at, _)| *at > now)
    }

    fn roll_over(&mut self, now: WallTime) {
        if self.day == QuotaDay::Rolling {
            while let Some((at, amount)) = self.rolling_counts.front().copied() {
                if at + ROLLING_DAY > now {
                    break;
                }
                self.used -= amount;
                self.rolling_counts.pop_front();
            }
        } else if self.resets_at.is_none_or(|reset| reset <= now) {
            self.used = self.in_flight;
            self.resets_at = self.day.next_reset(now);
        }
    }

    /// Whether `amount` fits at `now`, or when it will. A calendar day frees all of its quota at once, a rolling day bit by
    /// bit. `OnCompletion`: requests in flight may still be counted in this day.
    pub fn admission(&self, now: WallTime, amount: u64) -> Admission {
        let Some(limit) = self.limit else { return Admission::Now };
        if let Some(until) = self.lease.as_ref().and_then(|lease| lease.full_until(now, amount)) {
            return Admission::at_wall(until);
        }
        let mut used = self.used_locally(now);
        if used + amount <= limit {
            return Admission::Now;
        }
        if self.day != QuotaDay::Rolling {
            return match self.resets_at {
                Some(reset) if reset <= now => Admission::OnCompletion,
                Some(reset) => Admission::at_wall(reset),
                None => self.day.next_reset(now).map_or(Admission::OnCompletion, Admission::at_wall),
            };
        }
        for (at, counted) in self.rolling_counts.iter().filter(|(at, _)| *at + ROLLING_DAY > now) {
            used -= counted;
            if used + amount <= limit {
                return Admission::at_wall(*at + ROLLING_DAY);
            }
        }
        Admission::OnCompletion
    }

    /// Adds usage that needs no reservation, such as that of other processes in the `plan` command.
    pub fn add_usage(&mut self, now: WallTime, amount: u64) {
        self.spend_lease(now, amount);
        self.roll_over(now);
        self.add_local_usage(now, amount);
    }

    fn spend_lease(&mut self, now: WallTime, amount: u64) {
        if let Some(lease) = self.lease.as_mut().filter(|_| self.limit.is_some()) {
            lease.spend(now, amount);
        }
    }

    /// Reserves an amount for a request about to be sent.
    pub fn reserve(&mut self, now: WallTime, amount: u64) {
        self.spend_lease(now, amount);
        self.roll_over(now);
        self.used += amount;
        self.in_flight += amount;
    }

    /// Replaces a reservation by the actual usage. Usage that the provider must have counted in a day that is over does
    /// not count in the new day.
    pub fn commit(&mut self, now: WallTime, interval: CountInterval, reserved: u64, actual: u64) {
        self.roll_over(now);
        self.in_flight -= reserved;
        self.used -= reserved;
        let ends_before_now = |at: WallTime| self.day.next_reset(at).is_some_and(|day_end| day_end <= now);
        let is_day_over = interval.counted_at_latest < now && ends_before_now(interval.counted_at_latest);
        if !is_day_over && actual > 0 {
            self.add_local_usage(now, actual);
        }
        if let Some(lease) = self.lease.as_mut().filter(|_| self.limit.is_some()) {
            let is_same_day = self.day.next_reset(interval.reserved_at) == self.day.next_reset(now);
            match () {
                () if is_same_day => {
                    lease.give_back(now, reserved.saturating_sub(actual));
                    lease.spend(now, actual.saturating_sub(reserved));
                }
                () if !is_day_over => lease.spend(now, actual),
                () => {}
            }
        }
    }

    fn add_local_usage(&mut self, now: WallTime, amount: u64) {
        self.used += amount;
        if self.day == QuotaDay::Rolling {
            let minute = WallTime(now.0 - now.0.rem_euclid(ROLLING_STEP_MICROS) + ROLLING_STEP_MICROS);
            match self.rolling_counts.back_mut() {
                // After the clock stepped back, counts go into the latest entry.
                Some((at, counted)) if *at >= minute => *counted += amount,
                _ => self.rolling_counts.push_back((minute, amount)),
            }
        }
    }

    /// Adds what an earlier process used at `at`, if that falls in the day of `now`. Calls must come in time order.
    pub fn restore_usage(&mut self, now: WallTime, at: WallTime, amount: u64) {
        let is_same_day = match self.day {
            QuotaDay::Rolling => at + ROLLING_DAY > now,
            _ => self.day.next_reset(at) == self.day.next_reset(now),
        };
        if is_same_day {
            // The shared quota ledger already has this usage, so only the local count changes.
            let at = if self.day == QuotaDay::Rolling { at } else { now };
            self.roll_over(at);
            self.add_local_usage(at, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> WallTime {
        text.parse::<jiff::Timestamp>().unwrap().into()
    }

    fn quota(day: QuotaDay, limit: u64) -> DailyQuota {
        DailyQuota { limit: Some(limit), ..DailyQuota::new(day) }
    }

    const fn interval_at(counted_by: WallTime) -> CountInterval {
        CountInterval { reserved_at: counted_by, counted_at_latest: counted_by }
    }

    #[test]
    fn a_calendar_day_frees_its_quota_at_its_reset_and_what_a_429_took_at_once() {
        let (noon, midnight) = (wall("2026-11-21T12:00:00Z"), wall("2026-11-22T00:00:00Z"));
        let mut quota = quota(QuotaDay::Utc, 2);
        for actual in [1, 0, 1] {
            assert_eq!(quota.admission(noon, 1), Admission::Now);
            quota.reserve(noon, 1);
            quota.commit(noon, interval_at(noon), 1, actual);
        }
        assert_eq!((quota.used(noon), quota.admission(noon, 1)), (2, Admission::at_wall(midnight)));
        assert_eq!((quota.used(midnight), quota.admission(midnight, 1)), (0, Admission::Now));
    }

    #[test]
    fn requests_in_flight_at_midnight_count_in_the_new_day_unless_counted_before() {
        let (before, after) = (wall("2026-11-21T23:59:59Z"), wall("2026-11-22T00:00:01Z"));
        let mut quota = quota(QuotaDay::Utc, 1);
        quota.reserve(before, 1);
        assert_eq!(quota.admission(after, 1), Admission::OnCompletion);
        let mut early = quota.clone();
        quota.commit(after, interval_at(after), 1, 1);
        assert_eq!(quota.admission(after, 1), Admission::at_wall(wall("2026-11-23T00:00:00Z")));
        early.commit(after, interval_at(before), 1, 1);
        assert_eq!(early.admission(after, 1), Admission::Now);
    }

    #[test]
    fn a_rolling_day_frees_quota_a_day_after_each_answer() {
        let mut quota = quota(QuotaDay::Rolling, 2);
        quota.reserve(wall("2026-11-21T09:00:10Z"), 1);
        quota.commit(wall("2026-11-21T09:00:40Z"), interval_at(wall("2026-11-21T09:00:40Z")), 1, 1);
        quota.reserve(wall("2026-11-21T12:00:10Z"), 1);
        let now = wall("2026-11-21T13:00:00Z");
        assert_eq!(quota.admission(now, 1), Admission::at_wall(wall("2026-11-22T09:01:00Z")));
        assert_eq!(quota.admission(wall("2026-11-22T09:01:00Z"), 1), Admission::Now);
        assert_eq!(quota.admission(wall("2026-11-22T09:01:00Z"), 2), Admission::OnCompletion);
        assert_eq!(quota.used(wall("2026-11-22T09:01:00Z")), 1);
    }
}
