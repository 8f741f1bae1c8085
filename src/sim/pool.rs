//! The limits of one project on one model. A request that would exceed a limit is refused. The others
//! are counted; refused ones too, in the requests per minute, if the profile says so.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use jiff::civil::Date;

use super::{
    calendar::{Calendar, ProviderDay},
    sliding_window::{DAY, MINUTE, SimGcra, SimTokens, SimWindow},
    usage::{DayUsage, PeakUsage, SimLimit},
};
use crate::domain::{Limits, MonoTime, Now, QuotaDay};

/// Maximum number of dates in the statistics. The oldest are dropped.
const MAX_DAYS_KEPT: usize = 400;
/// The wait that a refusal for concurrency states. The real wait is unknown.
const CONCURRENCY_RETRY_WAIT: Duration = Duration::from_secs(1);

/// One limit that a request would exceed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LimitViolation {
    pub limit: SimLimit,
    pub allowed: u64,
    pub used: u64,
    pub requested: u64,
    /// Time until this limit alone would admit the request.
    pub wait: Duration,
}

/// All limits that a request would exceed: never empty, the longest wait first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LimitRefusal {
    pub violations: Vec<LimitViolation>,
}

/// One limit as rate-limit headers state it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SimGauge {
    pub limit: u64,
    pub remaining: u64,
    /// Time until some of the limit becomes free. A sliding window has no fixed reset.
    pub resets_in: Duration,
}

/// A pool's minute limits after a request was counted or refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LimitGauges {
    pub requests: Option<SimGauge>,
    pub tokens: Option<SimGauge>,
    pub input: Option<SimGauge>,
    pub output: Option<SimGauge>,
}

#[derive(Clone, Debug)]
pub(super) struct SimPool {
    limits: Limits,
    counts_refusals: bool,
    minute: SimWindow,
    /// All requests, including refused ones.
    arrivals: SimWindow,
    gcra: Option<SimGcra>,
    calendar: Calendar,
    /// Usage of the current date, including what was used before the start.
    today: Option<(ProviderDay, DayUsage)>,
    /// The last 24 hours. Present only if the day is rolling and limited: the limit bounds the size of the window.
    rolling_day: Option<SimWindow>,
    in_flight: u32,
    pub peaks: PeakUsage,
    /// Usage by date, without what was used before the start.
    pub days: BTreeMap<Date, DayUsage>,
}

impl LimitRefusal {
    pub fn longest_wait(&self) -> &LimitViolation {
        self.violations.first().expect("a refusal has at least one violation")
    }
}

impl LimitViolation {
    fn if_waiting(limit: SimLimit, allowed: u64, used: u64, requested: u64, wait: Duration) -> Option<Self> {
        (!wait.is_zero()).then_some(Self { limit, allowed, used, requested, wait })
    }
}

impl SimPool {
    pub fn new(limits: Limits, counts_refusals: bool, started_at: Now, used_before: u32) -> Self {
        let mut pool = Self {
            counts_refusals,
            minute: SimWindow::new(MINUTE),
            arrivals: SimWindow::new(MINUTE),
            gcra: limits.burst.zip(limits.rpm).map(|(burst, rpm)| SimGcra::new(rpm, burst)),
            calendar: Calendar::new(limits.quota_day),
            today: None,
            rolling_day: (limits.quota_day == QuotaDay::Rolling && (limits.rpd.is_some() || limits.tpd.is_some()))
                .then(|| SimWindow::new(DAY)),
            in_flight: 0,
            peaks: PeakUsage::default(),
            days: BTreeMap::new(),
            limits,
        };
        let prior_usage = DayUsage { requests: used_before.into(), tokens: 0 };
        pool.today = Some((pool.calendar.day_at(started_at.wall), prior_usage));
        if let Some(rolling) = &mut pool.rolling_day {
            (0..used_before).for_each(|_| rolling.push(started_at.mono, SimTokens::default()));
        }
        pool
    }

    /// Counts the request, unless it would exceed a limit.
    ///
    /// # Errors
    /// The refusal, if there is any such limit.
    pub fn admit(&mut self, now: Now, request_tokens: SimTokens) -> Result<(), LimitRefusal> {
        self.expire_old(now);
        let mut violations = self.violations(now, request_tokens);
        self.arrivals.push(now.mono, SimTokens::default());
        self.peaks.minute_arrivals = self.peaks.minute_arrivals.max(self.arrivals.requests());
        if violations.is_empty() {
            self.count(now, request_tokens);
            return Ok(());
        }
        violations.sort_by_key(|violation| Reverse(violation.wait));
        Err(LimitRefusal { violations })
    }

    /// Releases the concurrency slot of a request that has ended.
    pub fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub fn gauges(&self, now: MonoTime) -> LimitGauges {
        let used = self.minute.tokens();
        let gauge = |limit: Option<u64>, used: u64, reset: Duration| {
            limit.map(|limit| SimGauge { limit, remaining: limit.saturating_sub(used), resets_in: reset })
        };
        let next_free_in = self.minute.time_until_oldest_leaves(now);
        let gcra_wait = self.gcra.map_or(Duration::ZERO, |gcra| gcra.wait(now));
        LimitGauges {
            requests: gauge(self.limits.rpm.map(u64::from), self.counted_requests(), next_free_in.max(gcra_wait)),
            tokens: gauge(self.limits.tpm, used.count_as(self.limits.token_counting), next_free_in),
            input: gauge(self.limits.itpm, used.input, next_free_in),
            output: gauge(self.limits.otpm, used.output, next_free_in),
        }
    }

    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    fn expire_old(&mut self, now: Now) {
        self.minute.expire(now.mono);
        self.arrivals.expire(now.mono);
        if let Some(rolling) = &mut self.rolling_day {
            rolling.expire(now.mono);
        }
        let today = self.calendar.day_at(now.wall);
        if self.today.is_none_or(|(day, _)| day != today) {
            self.today = Some((today, self.days.get(&today.date).copied().unwrap_or_default()));
        }
    }

    fn counted_requests(&self) -> u64 {
        if self.counts_refusals { self.arrivals.requests() } else { self.minute.requests() }
    }

    fn violations(&self, now: Now, request_tokens: SimTokens) -> Vec<LimitViolation> {
        let Limits { rpm, tpm, token_counting, itpm, otpm, rpd, tpd, concurrency, .. } = self.limits;
        let used = self.minute.tokens();
        let request_violation = || {
            let limit = u64::from(rpm?);
            let window = if self.counts_refusals { &self.arrivals } else { &self.minute };
            LimitViolation::if_waiting(
                SimLimit::Rpm,
                limit,
                window.requests(),
                1,
                window.wait_for_request(now.mono, limit),
            )
        };
        let gcra_violation = || {
            let (gcra, rpm) = self.gcra.zip(rpm)?;
            LimitViolation::if_waiting(SimLimit::Burst, rpm.into(), self.minute.requests(), 1, gcra.wait(now.mono))
        };
        let token_violation = |limit_kind, limit: Option<u64>, measure: &dyn Fn(SimTokens) -> u64| {
            let (limit, requested) = (limit?, measure(request_tokens));
            let wait = self.minute.wait_for_tokens(now.mono, limit, requested, measure);
            LimitViolation::if_waiting(limit_kind, limit, measure(used), requested, wait)
        };
        let concurrency_violation = || {
            let limit = concurrency.filter(|limit| self.in_flight >= *limit)?;
            LimitViolation::if_waiting(
                SimLimit::Concurrency,
                limit.into(),
                self.in_flight.into(),
                1,
                CONCURRENCY_RETRY_WAIT,
            )
        };
        let total = |tokens: SimTokens| tokens.count_as(token_counting);
        [
            request_violation(),
            gcra_violation(),
            token_violation(SimLimit::Tpm, tpm, &total),
            token_violation(SimLimit::Itpm, itpm, &|tokens| tokens.input),
            token_violation(SimLimit::Otpm, otpm, &|tokens| tokens.output),
            self.day_violation(now, SimLimit::Rpd, rpd.map(u64::from), 1),
            self.day_violation(now, SimLimit::Tpd, tpd, total(request_tokens)),
            concurrency_violation(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn day_violation(
        &self,
        now: Now,
        limit_kind: SimLimit,
        limit: Option<u64>,
        requested: u64,
    ) -> Option<LimitViolation> {
        let limit = limit?;
        if let Some(rolling) = &self.rolling_day {
            let total = |tokens: SimTokens| tokens.count_as(self.limits.token_counting);
            let (used, wait) = if limit_kind == SimLimit::Rpd {
                (rolling.requests(), rolling.wait_for_request(now.mono, limit))
            } else {
                (total(rolling.tokens()), rolling.wait_for_tokens(now.mono, limit, requested, total))
            };
            return LimitViolation::if_waiting(limit_kind, limit, used, requested, wait);
        }
        let (today, count) = self.today?;
        let used = if limit_kind == SimLimit::Rpd { count.requests } else { count.tokens };
        let wait = if used + requested > limit { today.ends_at.since(now.wall) } else { Duration::ZERO };
        LimitViolation::if_waiting(limit_kind, limit, used, requested, wait)
    }

    fn count(&mut self, now: Now, request_tokens: SimTokens) {
        self.minute.push(now.mono, request_tokens);
        if let Some(gcra) = &mut self.gcra {
            gcra.take(now.mono);
        }
        if let Some(rolling) = &mut self.rolling_day {
            rolling.push(now.mono, request_tokens);
        }
        self.in_flight += 1;
        let tokens = request_tokens.count_as(self.limits.token_counting);
        if let Some((today, count)) = &mut self.today {
            count.add(tokens);
            self.days.entry(today.date).or_default().add(tokens);
            if self.days.len() > MAX_DAYS_KEPT {
                self.days.pop_first();
            }
        }
        self.update_peaks();
    }

    fn update_peaks(&mut self) {
        let minute = self.minute.tokens();
        let day = match (&self.rolling_day, self.today) {
            (Some(rolling), _) => {
                DayUsage { requests: rolling.requests(), tokens: rolling.tokens().count_as(self.limits.token_counting) }
            }
            (None, today) => today.map(|(_, count)| count).unwrap_or_default(),
        };
        self.peaks.raise_to(&PeakUsage {
            minute_requests: self.minute.requests(),
            minute_arrivals: self.arrivals.requests(),
            minute_tokens: minute.count_as(self.limits.token_counting),
            minute_input_tokens: minute.input,
            minute_output_tokens: minute.output,
            day_requests: day.requests,
            day_tokens: day.tokens,
            in_flight: self.in_flight.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TokenCounting, WallTime};

    fn at(seconds: u64) -> Now {
        Now { mono: MonoTime(seconds * 1_000_000), wall: WallTime::from_unix_seconds(1_795_251_600 + seconds as i64) }
    }

    fn pool(limits: Limits) -> SimPool {
        SimPool::new(limits, false, at(0), 0)
    }

    fn limits_hit(refusal: Result<(), LimitRefusal>) -> Vec<SimLimit> {
        refusal.unwrap_err().violations.iter().map(|violation| violation.limit).collect()
    }

    const SMALL: SimTokens = SimTokens { input: 10, output: 5 };

    #[test]
    fn refused_requests_count_only_if_the_profile_says_so() {
        let limits = Limits { rpm: Some(2), ..Limits::default() };
        let mut lenient = pool(limits.clone());
        let mut strict = SimPool::new(limits, true, at(0), 0);
        for pool in [&mut lenient, &mut strict] {
            assert!(pool.admit(at(0), SMALL).is_ok());
            assert!(pool.admit(at(1), SMALL).is_ok());
            assert_eq!(limits_hit(pool.admit(at(30), SMALL)), [SimLimit::Rpm]);
        }
        assert!(lenient.admit(at(60), SMALL).is_ok());
        assert!(strict.admit(at(60), SMALL).is_err(), "the refusals at 30 s and 1 s still stand");
        assert_eq!(lenient.peaks.minute_requests, 2);
        assert_eq!(lenient.peaks.minute_arrivals, 3);
    }

    #[test]
    fn each_limit_refuses_on_its_own() {
        let cases = [
            (Limits { rpm: Some(1), ..Limits::default() }, SimLimit::Rpm),
            (Limits { rpm: Some(60), burst: Some(1), ..Limits::default() }, SimLimit::Burst),
            (Limits { tpm: Some(29), ..Limits::default() }, SimLimit::Tpm),
            (Limits { itpm: Some(19), ..Limits::default() }, SimLimit::Itpm),
            (Limits { otpm: Some(9), ..Limits::default() }, SimLimit::Otpm),
            (Limits { rpd: Some(1), ..Limits::default() }, SimLimit::Rpd),
            (Limits { rpd: Some(1), quota_day: QuotaDay::Rolling, ..Limits::default() }, SimLimit::Rpd),
            (Limits { tpd: Some(29), ..Limits::default() }, SimLimit::Tpd),
            (Limits { tpd: Some(29), quota_day: QuotaDay::Rolling, ..Limits::default() }, SimLimit::Tpd),
            (Limits { concurrency: Some(1), ..Limits::default() }, SimLimit::Concurrency),
        ];
        for (limits, limit) in cases {
            let mut pool = pool(limits);
            assert!(pool.admit(at(0), SMALL).is_ok(), "{limit:?}");
            assert_eq!(limits_hit(pool.admit(at(0), SMALL)), [limit]);
        }
    }

    #[test]
    fn tokens_are_counted_as_the_provider_counts_them() {
        let limits = Limits { tpm: Some(20), token_counting: TokenCounting::Input, ..Limits::default() };
        let mut pool = pool(limits);
        assert!(pool.admit(at(0), SMALL).is_ok());
        assert!(pool.admit(at(0), SMALL).is_ok());
        assert_eq!(pool.peaks.minute_tokens, 20);
        assert_eq!(limits_hit(pool.admit(at(0), SMALL)), [SimLimit::Tpm]);
    }

    #[test]
    fn a_limit_of_zero_refuses_every_request() {
        for limits in [Limits { rpm: Some(0), ..Limits::default() }, Limits { rpd: Some(0), ..Limits::default() }] {
            assert!(pool(limits).admit(at(0), SMALL).is_err());
        }
    }

    #[test]
    fn prior_usage_counts_until_the_day_ends() {
        let limits = Limits { rpd: Some(3), ..Limits::default() };
        let mut pool = SimPool::new(limits, false, at(0), 2);
        assert!(pool.admit(at(0), SMALL).is_ok());
        let refusal = pool.admit(at(1), SMALL).unwrap_err();
        assert_eq!(refusal.longest_wait().limit, SimLimit::Rpd);
        // The simulator started at 09:00:00 UTC.
        assert_eq!(refusal.longest_wait().wait, Duration::from_hours(15) - Duration::from_secs(1));
        assert!(pool.admit(at(15 * 3_600), SMALL).is_ok());
        assert_eq!(pool.days.len(), 2);
    }

    #[test]
    fn a_rolling_day_frees_its_requests_one_by_one() {
        let limits = Limits { rpd: Some(2), quota_day: QuotaDay::Rolling, ..Limits::default() };
        let mut pool = pool(limits);
        assert!(pool.admit(at(0), SMALL).is_ok());
        assert!(pool.admit(at(1_000), SMALL).is_ok());
        assert!(pool.admit(at(86_399), SMALL).is_err());
        assert!(pool.admit(at(86_400), SMALL).is_ok());
        assert!(pool.admit(at(86_401), SMALL).is_err());
    }

    #[test]
    fn a_daily_limit_lasts_25_hours_on_a_day_of_25_hours() {
        let utc = |text: &str| WallTime::from(text.parse::<jiff::Timestamp>().unwrap());
        let started_at = utc("2026-11-01T07:00:00Z");
        let at = |text: &str| Now { mono: MonoTime::default() + utc(text).since(started_at), wall: utc(text) };
        let limits = Limits { rpd: Some(1), quota_day: QuotaDay::Pacific, ..Limits::default() };
        let mut pool = SimPool::new(limits, false, at("2026-11-01T07:00:00Z"), 0);
        assert!(pool.admit(at("2026-11-01T07:00:00Z"), SMALL).is_ok());
        let refusal = pool.admit(at("2026-11-02T07:59:59Z"), SMALL).unwrap_err();
        assert_eq!(refusal.longest_wait().wait, Duration::from_secs(1));
        assert!(pool.admit(at("2026-11-02T08:00:00Z"), SMALL).is_ok());
    }

    #[test]
    fn the_violation_with_the_longest_wait_comes_first() {
        let mut pool = pool(Limits { rpm: Some(1), rpd: Some(1), ..Limits::default() });
        assert!(pool.admit(at(0), SMALL).is_ok());
        assert_eq!(limits_hit(pool.admit(at(1), SMALL)), [SimLimit::Rpd, SimLimit::Rpm]);
    }
}
