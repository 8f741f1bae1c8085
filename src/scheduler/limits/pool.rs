//! A quota pool: the counters that several routes share, and what blocks their use.

use std::time::Duration;

use crate::domain::{
    LimitDimension, LimitSource, Limits, MonoTime, Now, RouteId, TokenCounting, WallTime, lease::QuotaUnit,
    snapshot::Gauge,
};

use crate::scheduler::{
    admission::{Admission, Deadline},
    availability::Availability,
    cooldown::Cooldown,
    limit_kind::LimitKind,
};

use super::{
    daily_quota::{CountInterval, DailyQuota},
    limit_sources::SourcedLimit,
    pool_limits::{AdmittedSample, PoolLimits},
    ramp::Ramp,
    tokens::TokenEstimate,
    window::{Gcra, MINUTE, SlidingWindow},
};

/// The usage of an attempt, as far as its result shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObservedUsage {
    /// Answered with usage: the request stays counted, tokens as the provider reported them.
    Reported(TokenEstimate),
    /// Refused because of a quota: the request stays counted in its minute; its tokens and its request of the day are
    /// released.
    Throttled,
    /// Answered without usage: everything reserved stays counted.
    Missing,
    /// Sent, but without a usable answer (none at all, or a provider error): everything reserved stays counted.
    Unknown,
    /// No byte was sent: everything is released.
    NotSent,
}

#[derive(Debug)]
pub struct QuotaPool {
    /// `provider/project/model`; for a shared pool its own name replaces the model.
    pub name: String,
    /// `model@project`, for the screen.
    pub label: String,
    pub routes: Vec<RouteId>,
    /// Index into the fleet's model groups.
    pub model_group: usize,
    pub in_flight: u32,
    pub cooldown: Option<Cooldown>,
    /// Cooldown after the provider said that the daily quota is used up.
    pub day_exhausted: Option<Cooldown>,
    /// Step in the backoff schedule: the number of consecutive 429 episodes.
    pub backoff_step: usize,
    /// How often in a row the provider said that the daily quota is used up. From the second time on, it was still used
    /// up after its expected reset.
    pub day_exhausted_count: u32,
    /// Limits concurrency after a cooldown whose duration was a guess.
    pub ramp: Option<Ramp>,
    pub limits: PoolLimits,
    pub(super) token_counting: TokenCounting,
    burst: Option<u32>,
    pub(super) request_window: SlidingWindow,
    pub(super) token_window: SlidingWindow,
    pub(super) input_token_window: SlidingWindow,
    pub(super) output_token_window: SlidingWindow,
    pub(super) pacing: Option<Gcra>,
    pub(super) day_requests: DailyQuota,
    pub(super) day_tokens: DailyQuota,
}

/// The times of a completed attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptTiming {
    pub reserved_at: Now,
    /// When the request left this process. Equals `reserved_at` if that was never reported.
    pub sent_at: Now,
    /// The server counted the request at least this long before it answered.
    pub counted_before: Duration,
}

impl QuotaPool {
    pub fn new(name: String, label: String, model_group: usize, limits: &Limits) -> Self {
        Self {
            name,
            label,
            routes: Vec::new(),
            model_group,
            in_flight: 0,
            cooldown: None,
            day_exhausted: None,
            backoff_step: 0,
            day_exhausted_count: 0,
            ramp: None,
            limits: PoolLimits::new(limits),
            token_counting: limits.token_counting,
            burst: limits.burst,
            request_window: SlidingWindow::new(limits.rpm.map(u64::from)),
            token_window: SlidingWindow::new(limits.tpm),
            input_token_window: SlidingWindow::new(limits.itpm),
            output_token_window: SlidingWindow::new(limits.otpm),
            pacing: limits.rpm.zip(limits.burst).map(|(rpm, burst)| Gcra::new(rpm, burst)),
            day_requests: DailyQuota::new(limits.quota_day, limits.rpd.map(u64::from)),
            day_tokens: DailyQuota::new(limits.quota_day, limits.tpd),
        }
    }

    /// The amount that a request of this size takes from each minute window.
    fn demands(&self, estimate: TokenEstimate) -> [(u64, &SlidingWindow, LimitKind); 4] {
        let tokens =
            estimate.amount_to_reserve(&self.limits.tokens_per_minute, |tokens| tokens.counted_as(self.token_counting));
        let input = estimate.amount_to_reserve(&self.limits.input_tokens_per_minute, |tokens| tokens.input);
        let output = estimate.amount_to_reserve(&self.limits.output_tokens_per_minute, |tokens| tokens.output);
        [
            (1, &self.request_window, LimitKind::RequestsPerMinute),
            (tokens, &self.token_window, LimitKind::TokensPerMinute),
            (input, &self.input_token_window, LimitKind::InputTokensPerMinute),
            (output, &self.output_token_window, LimitKind::OutputTokensPerMinute),
        ]
    }

    /// The cooldown after the provider said that the daily quota is used up; `None` if it is over.
    pub fn running_exhaustion(&self, now: Now) -> Option<&Cooldown> {
        self.day_exhausted.as_ref().filter(|cooldown| !cooldown.is_over(now))
    }

    /// Whether a request of any size may use the pool now. If it is ready, [`QuotaPool::token_availability`] may still
    /// limit a request because of its size.
    pub fn availability(&self, now: Now) -> Availability<'_> {
        if let Some(cooldown) = self.running_exhaustion(now) {
            return Availability::Exhausted(cooldown);
        }
        let daily = daily_availability(&self.day_requests, now, 1, LimitKind::RequestsPerDay);
        if !daily.is_ready() {
            return daily;
        }
        if self.day_requests.needs_lease(now.wall, 1) {
            return Availability::limited_until_completion(LimitKind::Lease);
        }
        if let Some(cooldown) = self.cooldown.as_ref().filter(|cooldown| !cooldown.is_over(now)) {
            return Availability::CoolingDown(cooldown);
        }
        if self.limits.concurrency.effective().is_some_and(|max| u64::from(self.in_flight) >= max) {
            return Availability::limited_until_completion(LimitKind::Concurrency);
        }
        if self.ramp.is_some_and(|ramp| self.in_flight >= ramp.limit()) {
            return Availability::limited_until_completion(LimitKind::Ramp);
        }
        if self.limits.slow_start_limit().is_some_and(|max| self.in_flight >= max) {
            return Availability::limited_until_completion(LimitKind::SlowStart);
        }
        let requests = limited(LimitKind::RequestsPerMinute, self.request_window.admission(now.mono, 1));
        if !requests.is_ready() {
            return requests;
        }
        limited(LimitKind::Pacing, self.pacing.as_ref().map_or(Admission::Now, |gcra| gcra.admission(now.mono)))
    }

    /// Whether some limit can never hold a request of this size.
    pub fn is_too_large(&self, estimate: TokenEstimate) -> bool {
        let mut windows = self.demands(estimate).into_iter().skip(1);
        let exceeds_minute_limit =
            windows.any(|(amount, window, _)| window.limit().is_some_and(|limit| amount > limit));
        exceeds_minute_limit || self.day_tokens.limit().is_some_and(|limit| self.daily_tokens(estimate) > limit)
    }

    /// Whether a request of this size has token room. Assumes that [`QuotaPool::availability`] is ready.
    pub fn token_availability(&self, now: Now, estimate: TokenEstimate) -> Availability<'static> {
        for (amount, window, kind) in self.demands(estimate).into_iter().skip(1) {
            let tokens = limited(kind, window.admission(now.mono, amount));
            if !tokens.is_ready() {
                return tokens;
            }
        }
        let daily = self.daily_token_availability(now, estimate);
        if !daily.is_ready() {
            return daily;
        }
        if self.day_tokens.needs_lease(now.wall, self.daily_tokens(estimate)) {
            return Availability::limited_until_completion(LimitKind::Lease);
        }
        Availability::Ready
    }

    /// The tokens that a request of this size takes from the daily quota.
    fn daily_tokens(&self, estimate: TokenEstimate) -> u64 {
        estimate.amount_to_reserve(&self.limits.tokens_per_day, |tokens| tokens.counted_as(self.token_counting))
    }

    /// Whether there is a limit on tokens per day, so that the rest of a day may suffice only for small requests.
    pub const fn has_daily_token_limit(&self) -> bool {
        self.day_tokens.limit().is_some()
    }

    /// Whether a request of this size fits in the daily token limit.
    pub fn daily_token_availability(&self, now: Now, estimate: TokenEstimate) -> Availability<'static> {
        let amount = self.daily_tokens(estimate);
        if self.day_tokens.limit().is_some_and(|limit| amount > limit) {
            return Availability::Limited { kind: LimitKind::TokensPerDay, admission: Admission::Never };
        }
        daily_availability(&self.day_tokens, now, amount, LimitKind::TokensPerDay)
    }

    /// Reserves room for one request. Pass the returned amounts to [`QuotaPool::commit`].
    pub fn reserve(&mut self, now: Now, estimate: TokenEstimate) -> TokenEstimate {
        let [_, (tokens, ..), (input, ..), (output, ..)] = self.demands(estimate);
        let reserved = TokenEstimate { input, output };
        // `commit` releases the returned amounts from all token windows, so an amount reduced in one window is reduced
        // in all.
        let taken = if tokens < reserved.counted_as(self.token_counting) {
            TokenEstimate { input: tokens, output: 0 }
        } else {
            reserved
        };
        self.in_flight += 1;
        self.request_window.reserve(now.mono, 1);
        self.token_window.reserve(now.mono, taken.counted_as(self.token_counting));
        self.input_token_window.reserve(now.mono, taken.input);
        self.output_token_window.reserve(now.mono, taken.output);
        if let Some(gcra) = &mut self.pacing {
            gcra.reserve(now.mono);
        }
        self.day_requests.reserve(now.wall, 1);
        self.day_tokens.reserve(now.wall, taken.counted_as(self.token_counting));
        taken
    }

    /// Records that the request left the process just now, later than it was reserved.
    pub fn on_sent(&mut self, now: Now) {
        if let Some(gcra) = &mut self.pacing {
            gcra.on_sent(now.mono);
        }
    }

    /// Replaces the reservation of one request by its observed usage.
    pub fn commit(&mut self, now: Now, reserved_tokens: TokenEstimate, observed: ObservedUsage, timing: AttemptTiming) {
        self.in_flight -= 1;
        let AttemptTiming { reserved_at, sent_at, counted_before } = timing;
        // Output tokens are counted while they are generated, the last ones at the end of the answer.
        let occupied_for = MINUTE.saturating_sub(counted_before);
        let tokens_occupied_for = if self.token_counting == TokenCounting::Input { occupied_for } else { MINUTE };
        let counted_at_latest = now.wall - counted_before;
        let (requests, day_requests, used) = match observed {
            ObservedUsage::Reported(used) => (1, 1, used),
            ObservedUsage::Throttled => (1, 0, TokenEstimate::default()),
            ObservedUsage::Missing | ObservedUsage::Unknown => (1, 1, reserved_tokens),
            ObservedUsage::NotSent => (0, 0, TokenEstimate::default()),
        };
        let (reserved, actual) =
            (reserved_tokens.counted_as(self.token_counting), used.counted_as(self.token_counting));
        self.request_window.commit(now.mono, 1, requests, occupied_for);
        self.token_window.commit(now.mono, reserved, actual, tokens_occupied_for);
        self.input_token_window.commit(now.mono, reserved_tokens.input, used.input, occupied_for);
        self.output_token_window.commit(now.mono, reserved_tokens.output, used.output, MINUTE);
        let interval = CountInterval { reserved_at: reserved_at.wall, counted_at_latest };
        self.day_requests.commit(now.wall, interval, 1, day_requests);
        self.day_tokens.commit(now.wall, interval, reserved, actual);
        if matches!(observed, ObservedUsage::Reported(_) | ObservedUsage::Missing) {
            let sample = AdmittedSample {
                sent_at: sent_at.mono,
                latency: now.mono.since(sent_at.mono),
                used,
                others_in_flight: self.in_flight,
            };
            self.limits.on_success(now.mono, sample);
            self.apply_limits();
        }
    }

    /// Adds the usage of an earlier process. `at` is when the attempt completed, or else when it was sent.
    pub fn restore_usage(&mut self, now: Now, at: WallTime, used: TokenEstimate, was_throttled: bool) {
        let age = now.wall.since(at);
        if age < MINUTE {
            let release = now.mono + (MINUTE - age);
            self.request_window.restore_usage(release, 1);
            if !was_throttled {
                self.token_window.restore_usage(release, used.counted_as(self.token_counting));
                self.input_token_window.restore_usage(release, used.input);
                self.output_token_window.restore_usage(release, used.output);
            }
        }
        if !was_throttled {
            self.day_requests.restore_usage(now.wall, at, 1);
            self.day_tokens.restore_usage(now.wall, at, used.counted_as(self.token_counting));
        }
    }

    /// Records a success: the backoff schedule starts over and the ramp advances.
    pub(super) fn on_success(&mut self) {
        self.backoff_step = 0;
        self.day_exhausted_count = 0;
        self.ramp = self.ramp.and_then(Ramp::on_success);
    }

    pub fn requests_gauge(&self, now: Now) -> Gauge {
        gauge(self.request_window.used(now.mono), self.limits.requests_per_minute)
    }

    pub fn tokens_gauge(&self, now: Now) -> Gauge {
        let has_only_input_limit = self.token_window.limit().is_none() && self.input_token_window.limit().is_some();
        if has_only_input_limit {
            gauge(self.input_token_window.used(now.mono), self.limits.input_tokens_per_minute)
        } else {
            gauge(self.token_window.used(now.mono), self.limits.tokens_per_minute)
        }
    }

    /// The day's gauge. It is full if the provider said that the quota is used up, whatever our own count is.
    pub fn day_gauge(&self, now: Now) -> Gauge {
        let (used, limit) = (self.day_requests.used(now.wall), self.day_requests.limit());
        gauge(
            if self.running_exhaustion(now).is_some() { used.max(limit.unwrap_or(used)) } else { used },
            self.limits.requests_per_day,
        )
    }

    /// The gauges of all limits.
    pub fn quota_gauges(&self, now: Now) -> [(LimitDimension, Gauge); 7] {
        use LimitDimension::{
            Concurrency, InputTokensPerMinute, OutputTokensPerMinute, RequestsPerDay, RequestsPerMinute, TokensPerDay,
            TokensPerMinute,
        };
        let limits = &self.limits;
        let minute = |window: &SlidingWindow, limit| gauge(window.used(now.mono), limit);
        [
            (RequestsPerMinute, self.requests_gauge(now)),
            (TokensPerMinute, minute(&self.token_window, limits.tokens_per_minute)),
            (InputTokensPerMinute, minute(&self.input_token_window, limits.input_tokens_per_minute)),
            (OutputTokensPerMinute, minute(&self.output_token_window, limits.output_tokens_per_minute)),
            (RequestsPerDay, self.day_gauge(now)),
            (TokensPerDay, gauge(self.day_tokens.used(now.wall), limits.tokens_per_day)),
            (Concurrency, gauge(u64::from(self.in_flight), limits.concurrency)),
        ]
    }

    pub fn daily_quotas(&mut self) -> impl Iterator<Item = (QuotaUnit, &mut DailyQuota)> {
        [(QuotaUnit::Requests, &mut self.day_requests), (QuotaUnit::Tokens, &mut self.day_tokens)].into_iter()
    }

    pub const fn is_shared(&self) -> bool {
        self.day_requests.is_shared() || self.day_tokens.is_shared()
    }

    /// Records that the lease was too small for a request of this size.
    pub fn record_shortfall(&mut self, estimate: TokenEstimate) {
        let tokens = self.daily_tokens(estimate);
        if let Some(lease) = self.day_tokens.lease_mut() {
            lease.record_shortfall(tokens);
        }
    }

    pub const fn day(&self) -> crate::domain::QuotaDay {
        self.day_requests.day()
    }

    /// Whether a 429 for a request reserved at `reserved_at` starts a new episode. It does not if the request was
    /// reserved before the end of the last cooldown.
    pub fn is_new_episode(&self, now: Now, reserved_at: MonoTime) -> bool {
        self.cooldown.as_ref().is_none_or(|cooldown| cooldown.is_over(now) && reserved_at >= cooldown.until.mono)
    }

    /// Handles the first 429 of an episode: adapts the learned limits.
    pub(super) fn on_first_throttle(&mut self, now: Now, sent_at: Now, dimension: LimitDimension) {
        self.limits.on_throttle(now.mono, sent_at.mono, dimension, self.in_flight);
        self.apply_limits();
    }

    /// Puts the limits in force into the counters.
    pub fn apply_limits(&mut self) {
        let limits = &self.limits;
        self.request_window.set_limit(limits.requests_per_minute.effective());
        self.token_window.set_limit(limits.tokens_per_minute.effective());
        self.input_token_window.set_limit(limits.input_tokens_per_minute.effective());
        self.output_token_window.set_limit(limits.output_tokens_per_minute.effective());
        self.day_requests.set_limit(limits.requests_per_day.effective());
        self.day_tokens.set_limit(limits.tokens_per_day.effective());
        let rpm = limits.requests_per_minute.effective().map(|rpm| u32::try_from(rpm).unwrap_or(u32::MAX));
        // A learned limit is spread over the minute rather than used up in one burst. So only few requests get a 429 if
        // the limit is wrong or the daily quota ends.
        let learned_burst =
            rpm.filter(|_| limits.requests_per_minute.source() == Some(LimitSource::Learned)).map(|rpm| rpm / 8 + 1);
        let burst = self.burst.into_iter().chain(learned_burst).min();
        self.pacing = rpm.zip(burst).map(|(rpm, burst)| match &self.pacing {
            Some(gcra) => gcra.with_rate(rpm, burst),
            None => Gcra::new(rpm, burst),
        });
    }

    /// Ends the cooldown and the exhausted day, at the operator's request. True if there was any.
    pub fn clear_cooldowns(&mut self) -> bool {
        self.ramp = None;
        (self.backoff_step, self.day_exhausted_count) = (0, 0);
        let had_cooldown = self.cooldown.take().is_some();
        self.day_exhausted.take().is_some() || had_cooldown
    }
}

fn gauge(used: u64, limit: SourcedLimit) -> Gauge {
    Gauge { used, limit: limit.effective(), source: limit.source() }
}

fn daily_availability(quota: &DailyQuota, now: Now, amount: u64, kind: LimitKind) -> Availability<'static> {
    match quota.admission(now.wall, amount) {
        Admission::At(Deadline::Wall(until)) => Availability::DailyLimitReached {
            until,
            used: quota.used(now.wall),
            limit: quota.limit().unwrap_or_default(),
        },
        admission => limited(kind, admission),
    }
}

const fn limited(kind: LimitKind, admission: Admission) -> Availability<'static> {
    match admission {
        Admission::Now => Availability::Ready,
        admission => Availability::Limited { kind, admission },
    }
}
