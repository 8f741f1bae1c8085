//! Simulated providers that count for themselves: one [`SimulatedServer`] counts one (project, model).

use std::{collections::VecDeque, time::Duration};

use jiff::tz::TimeZone;

use super::fixtures::attempt_result;
use crate::domain::{
    AttemptResult, LimitDimension, Limits, MonoTime, Now, Outcome, ProviderLimit, QuotaDay, RetryAfter, WallTime,
};

const MINUTE: Duration = Duration::from_secs(60);
const ROLLING: Duration = Duration::from_secs(86_400);

/// How a server states waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryAfterStyle {
    None,
    Honest,
    /// The same wait, whatever the true one.
    Fixed(Duration),
    Absurd,
}

#[derive(Clone, Debug)]
pub struct SimulatedServer {
    pub limits: Limits,
    pub retry_after_style: RetryAfterStyle,
    /// States its limits with every answer.
    pub states_limits: bool,
    /// States its processing time.
    pub states_server_time: bool,
    minute: VecDeque<(MonoTime, u64)>,
    day: VecDeque<(WallTime, i64)>,
    in_flight: u32,
    pub refused_count: u64,
}

/// Number of the provider's day at an instant; 0 for rolling days.
pub fn day_number(day: QuotaDay, at: WallTime) -> i64 {
    use std::cell::RefCell;
    thread_local! {
        static PACIFIC: TimeZone = TimeZone::get("America/Los_Angeles").expect("bundled");
        static LAST: RefCell<(i64, i64)> = const { RefCell::new((i64::MIN, 0)) };
    }
    let number = |zone: TimeZone| {
        let date = at.timestamp().to_zoned(zone).date();
        i64::from(date.year()) * 1_000 + i64::from(date.day_of_year())
    };
    match day {
        QuotaDay::Rolling => 0,
        QuotaDay::Utc => at.0.div_euclid(86_400_000_000),
        QuotaDay::Pacific => {
            // Days begin and end on a full minute, so one calendar look-up serves the whole minute.
            let minute = at.0.div_euclid(60_000_000);
            let (known, day) = LAST.with_borrow(|last| *last);
            if known == minute {
                return day;
            }
            let day = PACIFIC.with(|zone| number(zone.clone()));
            LAST.set((minute, day));
            day
        }
    }
}

impl SimulatedServer {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            retry_after_style: RetryAfterStyle::Honest,
            states_limits: false,
            states_server_time: false,
            minute: VecDeque::new(),
            day: VecDeque::new(),
            in_flight: 0,
            refused_count: 0,
        }
    }

    /// A request arrives. `None`: it is counted and served; otherwise it is refused.
    pub fn arrive(&mut self, now: Now, tokens: u64) -> Option<AttemptResult> {
        while self.minute.front().is_some_and(|(at, _)| now.mono.since(*at) >= MINUTE) {
            self.minute.pop_front();
        }
        let today = day_number(self.limits.quota_day, now.wall);
        let over = |(at, day): &(WallTime, i64)| match self.limits.quota_day {
            QuotaDay::Rolling => now.wall.since(*at) >= ROLLING,
            _ => *day != today,
        };
        while self.day.front().is_some_and(over) {
            self.day.pop_front();
        }
        if self.limits.rpd.is_some_and(|rpd| self.day.len() >= rpd as usize) {
            let hint = match (self.limits.quota_day, self.day.front()) {
                (QuotaDay::Rolling, Some((at, _))) => Some((*at + ROLLING).since(now.wall)),
                _ => None,
            };
            return Some(self.refusal(Outcome::QuotaExhaustedDay, hint, &[]));
        }
        if self.limits.concurrency.is_some_and(|most| self.in_flight >= most) {
            let report = ProviderLimit::new(LimitDimension::Concurrency);
            return Some(self.refusal(Outcome::RateLimitedMinute, None, &[report]));
        }
        let free_at = |counted: &VecDeque<(MonoTime, u64)>, skip: usize| {
            counted.get(skip).map(|(at, _)| (*at + MINUTE).since(now.mono))
        };
        if self.limits.rpm.is_some_and(|rpm| self.minute.len() >= rpm as usize) {
            let hint = free_at(&self.minute, 0);
            return Some(self.refusal(Outcome::RateLimitedMinute, hint, &[]));
        }
        let used: u64 = self.minute.iter().map(|(_, tokens)| tokens).sum();
        if self.limits.tpm.is_some_and(|tpm| used + tokens > tpm && used > 0) {
            let hint = free_at(&self.minute, self.minute.len() - 1);
            return Some(self.refusal(Outcome::TokensLimitedMinute, hint, &[]));
        }
        self.minute.push_back((now.mono, tokens));
        self.day.push_back((now.wall, today));
        self.in_flight += 1;
        None
    }

    /// A counted request is answered.
    pub fn on_answered(&mut self) {
        self.in_flight -= 1;
    }

    /// The limits that it states with an answer.
    pub fn stated_limits(&self) -> Vec<ProviderLimit> {
        if !self.states_limits {
            return Vec::new();
        }
        let requests = self.limits.rpm.map(|rpm| (LimitDimension::RequestsPerMinute, u64::from(rpm)));
        let tokens = self.limits.tpm.map(|tpm| (LimitDimension::TokensPerMinute, tpm));
        let day = self.limits.rpd.map(|rpd| (LimitDimension::RequestsPerDay, u64::from(rpd)));
        let known = [requests, tokens, day].into_iter().flatten();
        known.map(|(dimension, limit)| ProviderLimit { limit: Some(limit), ..ProviderLimit::new(dimension) }).collect()
    }

    fn refusal(&mut self, outcome: Outcome, true_wait: Option<Duration>, reports: &[ProviderLimit]) -> AttemptResult {
        self.refused_count += 1;
        let after = match self.retry_after_style {
            RetryAfterStyle::None => None,
            RetryAfterStyle::Honest => true_wait,
            RetryAfterStyle::Fixed(wait) => true_wait.map(|_| wait),
            RetryAfterStyle::Absurd => true_wait.map(|_| Duration::from_secs(20 * 86_400)),
        };
        let mut refusal = AttemptResult {
            status: Some(429),
            retry_after: after.map(|delay| RetryAfter { delay }),
            ..attempt_result(outcome)
        };
        refusal.response_meta.limits = reports.to_vec();
        refusal
    }
}
