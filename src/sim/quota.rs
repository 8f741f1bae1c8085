//! One project's limits on one model: a request is counted when it arrives, and refused when that would be too much.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{
    books::{DayUse, Peaks},
    days::{Calendar, Today},
    window::{DAY, MINUTE, Pace, Tokens, Window},
};
use crate::domain::{Limits, MonoTime, Now, QuotaDay};

/// Dates kept in the books; older ones are dropped.
const DAYS_KEPT: usize = 400;
/// What a refusal for concurrency suggests: when a slot becomes free is anyone's guess.
const CONCURRENCY_WAIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    Rpm,
    Burst,
    Tpm,
    Itpm,
    Otpm,
    Rpd,
    Tpd,
    Concurrency,
}

/// One limit that a request would break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    pub limit: Limit,
    pub of: u64,
    pub used: u64,
    pub requested: u64,
    /// When this limit alone would let it through.
    pub wait: Duration,
}

/// Every limit that a request would break; never empty, the longest wait first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub violations: Vec<Violation>,
}

/// One limit as rate-limit headers state it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gauge {
    pub limit: u64,
    pub remaining: u64,
    /// When more becomes free: a sliding window has no reset.
    pub reset: Duration,
}

/// What a pool's minute looks like after a request was counted or refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Standing {
    pub requests: Option<Gauge>,
    pub tokens: Option<Gauge>,
    pub input: Option<Gauge>,
    pub output: Option<Gauge>,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    limits: Limits,
    refusals_count: bool,
    minute: Window,
    /// Refused requests too.
    arrivals: Window,
    pace: Option<Pace>,
    calendar: Calendar,
    /// The current date's count, with what was used before the simulator started.
    today: Option<(Today, DayUse)>,
    /// Kept only where a rolling day is limited, and so no longer than the limit.
    rolling: Option<Window>,
    in_flight: u32,
    pub peaks: Peaks,
    /// Without what was used before.
    pub days: BTreeMap<Date, DayUse>,
}

impl Refusal {
    pub fn longest(&self) -> &Violation {
        self.violations.first().expect("a refusal is made of at least one violation")
    }
}

impl Violation {
    fn found(limit: Limit, of: u64, used: u64, requested: u64, wait: Duration) -> Option<Self> {
        (!wait.is_zero()).then_some(Self { limit, of, used, requested, wait })
    }
}

impl Pool {
    pub fn new(limits: Limits, refusals_count: bool, began: Now, used_before: u32) -> Self {
        let mut pool = Self {
            refusals_count,
            minute: Window::new(MINUTE),
            arrivals: Window::new(MINUTE),
            pace: limits.burst.zip(limits.rpm).map(|(burst, rpm)| Pace::new(rpm, burst)),
            calendar: Calendar::of(limits.quota_day),
            today: None,
            rolling: (limits.quota_day == QuotaDay::Rolling && (limits.rpd.is_some() || limits.tpd.is_some()))
                .then(|| Window::new(DAY)),
            in_flight: 0,
            peaks: Peaks::default(),
            days: BTreeMap::new(),
            limits,
        };
        let earlier = DayUse { requests: used_before.into(), tokens: 0 };
        pool.today = Some((pool.calendar.today(began.wall), earlier));
        if let Some(rolling) = &mut pool.rolling {
            (0..used_before).for_each(|_| rolling.push(began.mono, Tokens::default()));
        }
        pool
    }

    /// Counts the request, or says everything that stands against it.
    pub fn admit(&mut self, now: Now, cost: Tokens) -> Result<(), Refusal> {
        self.advance(now);
        let mut violations = self.violations(now, cost);
        self.arrivals.push(now.mono, Tokens::default());
        self.peaks.minute_arrivals = self.peaks.minute_arrivals.max(self.arrivals.requests());
        if violations.is_empty() {
            self.take(now, cost);
            return Ok(());
        }
        violations.sort_by_key(|violation| Reverse(violation.wait));
        Err(Refusal { violations })
    }

    /// The answer is out, or its reader is gone.
    pub fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub fn standing(&self, now: MonoTime) -> Standing {
        let used = self.minute.tokens();
        let gauge = |limit: Option<u64>, used: u64, reset: Duration| {
            limit.map(|limit| Gauge { limit, remaining: limit.saturating_sub(used), reset })
        };
        let frees = self.minute.oldest_leaves(now);
        let paced = self.pace.map_or(Duration::ZERO, |pace| pace.wait(now));
        Standing {
            requests: gauge(self.limits.rpm.map(u64::from), self.counted_requests(), frees.max(paced)),
            tokens: gauge(self.limits.tpm, used.counted(self.limits.token_counting), frees),
            input: gauge(self.limits.itpm, used.input, frees),
            output: gauge(self.limits.otpm, used.output, frees),
        }
    }

    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    fn advance(&mut self, now: Now) {
        self.minute.expire(now.mono);
        self.arrivals.expire(now.mono);
        if let Some(rolling) = &mut self.rolling {
            rolling.expire(now.mono);
        }
        let today = self.calendar.today(now.wall);
        if self.today.is_none_or(|(day, _)| day != today) {
            self.today = Some((today, self.days.get(&today.date).copied().unwrap_or_default()));
        }
    }

    fn counted_requests(&self) -> u64 {
        if self.refusals_count { self.arrivals.requests() } else { self.minute.requests() }
    }

    fn violations(&self, now: Now, cost: Tokens) -> Vec<Violation> {
        let Limits { rpm, tpm, token_counting, itpm, otpm, rpd, tpd, concurrency, .. } = self.limits;
        let used = self.minute.tokens();
        let by_request = || {
            let limit = u64::from(rpm?);
            let window = if self.refusals_count { &self.arrivals } else { &self.minute };
            Violation::found(Limit::Rpm, limit, window.requests(), 1, window.wait_for_request(now.mono, limit))
        };
        let by_pace = || {
            let (pace, rpm) = self.pace.zip(rpm)?;
            Violation::found(Limit::Burst, rpm.into(), self.minute.requests(), 1, pace.wait(now.mono))
        };
        let by_tokens = |name, limit: Option<u64>, measure: &dyn Fn(Tokens) -> u64| {
            let (limit, requested) = (limit?, measure(cost));
            let wait = self.minute.wait_for_tokens(now.mono, limit, requested, measure);
            Violation::found(name, limit, measure(used), requested, wait)
        };
        let by_slot = || {
            let limit = concurrency.filter(|limit| self.in_flight >= *limit)?;
            Violation::found(Limit::Concurrency, limit.into(), self.in_flight.into(), 1, CONCURRENCY_WAIT)
        };
        let total = |tokens: Tokens| tokens.counted(token_counting);
        [
            by_request(),
            by_pace(),
            by_tokens(Limit::Tpm, tpm, &total),
            by_tokens(Limit::Itpm, itpm, &|tokens| tokens.input),
            by_tokens(Limit::Otpm, otpm, &|tokens| tokens.output),
            self.by_day(now, Limit::Rpd, rpd.map(u64::from), 1),
            self.by_day(now, Limit::Tpd, tpd, total(cost)),
            by_slot(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn by_day(&self, now: Now, name: Limit, limit: Option<u64>, requested: u64) -> Option<Violation> {
        let limit = limit?;
        if let Some(rolling) = &self.rolling {
            let total = |tokens: Tokens| tokens.counted(self.limits.token_counting);
            let (used, wait) = if name == Limit::Rpd {
                (rolling.requests(), rolling.wait_for_request(now.mono, limit))
            } else {
                (total(rolling.tokens()), rolling.wait_for_tokens(now.mono, limit, requested, total))
            };
            return Violation::found(name, limit, used, requested, wait);
        }
        let (today, count) = self.today?;
        let used = if name == Limit::Rpd { count.requests } else { count.tokens };
        let wait = if used + requested > limit { today.ends.since(now.wall) } else { Duration::ZERO };
        Violation::found(name, limit, used, requested, wait)
    }

    fn take(&mut self, now: Now, cost: Tokens) {
        self.minute.push(now.mono, cost);
        if let Some(pace) = &mut self.pace {
            pace.take(now.mono);
        }
        if let Some(rolling) = &mut self.rolling {
            rolling.push(now.mono, cost);
        }
        self.in_flight += 1;
        let tokens = cost.counted(self.limits.token_counting);
        if let Some((today, count)) = &mut self.today {
            count.add(tokens);
            self.days.entry(today.date).or_default().add(tokens);
            if self.days.len() > DAYS_KEPT {
                self.days.pop_first();
            }
        }
        self.note_peaks();
    }

    fn note_peaks(&mut self) {
        let minute = self.minute.tokens();
        let day = match (&self.rolling, self.today) {
            (Some(rolling), _) => {
                DayUse { requests: rolling.requests(), tokens: rolling.tokens().counted(self.limits.token_counting) }
            }
            (None, today) => today.map(|(_, count)| count).unwrap_or_default(),
        };
        self.peaks.raise(&Peaks {
            minute_requests: self.minute.requests(),
            minute_arrivals: self.arrivals.requests(),
            minute_tokens: minute.counted(self.limits.token_counting),
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

    fn pool(limits: Limits) -> Pool {
        Pool::new(limits, false, at(0), 0)
    }

    fn limits_hit(refusal: Result<(), Refusal>) -> Vec<Limit> {
        refusal.unwrap_err().violations.iter().map(|violation| violation.limit).collect()
    }

    const SMALL: Tokens = Tokens { input: 10, output: 5 };

    #[test]
    fn a_refused_request_takes_up_nothing_unless_the_profile_says_so() {
        let limits = Limits { rpm: Some(2), ..Limits::default() };
        let mut lenient = pool(limits.clone());
        let mut strict = Pool::new(limits, true, at(0), 0);
        for pool in [&mut lenient, &mut strict] {
            assert!(pool.admit(at(0), SMALL).is_ok());
            assert!(pool.admit(at(1), SMALL).is_ok());
            assert_eq!(limits_hit(pool.admit(at(30), SMALL)), [Limit::Rpm]);
        }
        assert!(lenient.admit(at(60), SMALL).is_ok());
        assert!(strict.admit(at(60), SMALL).is_err(), "the refusals at 30 s and 1 s still stand");
        assert_eq!(lenient.peaks.minute_requests, 2);
        assert_eq!(lenient.peaks.minute_arrivals, 3);
    }

    #[test]
    fn each_limit_refuses_on_its_own() {
        let cases = [
            (Limits { rpm: Some(1), ..Limits::default() }, Limit::Rpm),
            (Limits { rpm: Some(60), burst: Some(1), ..Limits::default() }, Limit::Burst),
            (Limits { tpm: Some(29), ..Limits::default() }, Limit::Tpm),
            (Limits { itpm: Some(19), ..Limits::default() }, Limit::Itpm),
            (Limits { otpm: Some(9), ..Limits::default() }, Limit::Otpm),
            (Limits { rpd: Some(1), ..Limits::default() }, Limit::Rpd),
            (Limits { rpd: Some(1), quota_day: QuotaDay::Rolling, ..Limits::default() }, Limit::Rpd),
            (Limits { tpd: Some(29), ..Limits::default() }, Limit::Tpd),
            (Limits { tpd: Some(29), quota_day: QuotaDay::Rolling, ..Limits::default() }, Limit::Tpd),
            (Limits { concurrency: Some(1), ..Limits::default() }, Limit::Concurrency),
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
        assert_eq!(limits_hit(pool.admit(at(0), SMALL)), [Limit::Tpm]);
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_through() {
        for limits in [Limits { rpm: Some(0), ..Limits::default() }, Limits { rpd: Some(0), ..Limits::default() }] {
            assert!(pool(limits).admit(at(0), SMALL).is_err());
        }
    }

    #[test]
    fn what_was_used_elsewhere_counts_until_the_day_is_over() {
        let limits = Limits { rpd: Some(3), ..Limits::default() };
        let mut pool = Pool::new(limits, false, at(0), 2);
        assert!(pool.admit(at(0), SMALL).is_ok());
        let refusal = pool.admit(at(1), SMALL).unwrap_err();
        assert_eq!(refusal.longest().limit, Limit::Rpd);
        // The simulator began at 09:00:00 UTC.
        assert_eq!(refusal.longest().wait, Duration::from_hours(15) - Duration::from_secs(1));
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
    fn a_day_with_25_hours_holds_its_quota_for_25_hours() {
        let utc = |text: &str| WallTime::from(text.parse::<jiff::Timestamp>().unwrap());
        let began = utc("2026-11-01T07:00:00Z");
        let at = |text: &str| Now { mono: MonoTime::default() + utc(text).since(began), wall: utc(text) };
        let limits = Limits { rpd: Some(1), quota_day: QuotaDay::Pacific, ..Limits::default() };
        let mut pool = Pool::new(limits, false, at("2026-11-01T07:00:00Z"), 0);
        assert!(pool.admit(at("2026-11-01T07:00:00Z"), SMALL).is_ok());
        let refusal = pool.admit(at("2026-11-02T07:59:59Z"), SMALL).unwrap_err();
        assert_eq!(refusal.longest().wait, Duration::from_secs(1));
        assert!(pool.admit(at("2026-11-02T08:00:00Z"), SMALL).is_ok());
    }

    #[test]
    fn the_strictest_violation_comes_first() {
        let mut pool = pool(Limits { rpm: Some(1), rpd: Some(1), ..Limits::default() });
        assert!(pool.admit(at(0), SMALL).is_ok());
        assert_eq!(limits_hit(pool.admit(at(1), SMALL)), [Limit::Rpd, Limit::Rpm]);
    }
}
