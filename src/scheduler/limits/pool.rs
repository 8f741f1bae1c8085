//! A quota pool: the counters that several routes share, and what blocks their use.

use std::time::Duration;

use crate::{
    domain::{
        LimitDimension::{
            self, Concurrency, InputTokensPerMinute, OutputTokensPerMinute, RequestsPerDay, RequestsPerMinute,
            TokensPerDay, TokensPerMinute,
        },
        LimitSource, Limits, MonoTime, Now, QuotaDay, RouteId, TokenCounting, UsageSlot,
        lease::QuotaUnit,
        snapshot::Gauge,
    },
    scheduler::admission::{Admission, Availability, Cooldown, Deadline, LimitKind},
};

use super::{
    daily_quota::{CountInterval, DailyQuota},
    pool_limits::{MINUTE_DIMENSIONS, PoolLimits, SourcedLimit, TokenEstimate},
    ramp::Ramp,
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

const fn tokens_of(slot: &UsageSlot) -> TokenEstimate {
    TokenEstimate { input: slot.input_tokens, output: slot.output_tokens }
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
    /// Since when nothing has come back from the provider: the last response, or the first request after a time without
    /// any in flight.
    silent_since: MonoTime,
    pub cooldown: Option<Cooldown>,
    /// Cooldown after the provider said that the daily quota is used up.
    pub day_cooldown: Option<Cooldown>,
    /// Step in the backoff schedule: the number of consecutive 429 episodes.
    pub backoff_step: usize,
    /// How often in a row the provider said that the daily quota is used up. From the second time on, it was still used
    /// up after its expected reset.
    pub day_exhausted_count: u32,
    /// Limits concurrency after a cooldown whose duration was a guess.
    pub ramp: Option<Ramp>,
    pub limits: PoolLimits,
    burst: Option<u32>,
    /// In the order of [`MINUTE_DIMENSIONS`].
    windows: [SlidingWindow; MINUTE_DIMENSIONS.len()],
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
    /// The pool of the models with these limits. The lowest of each limit applies.
    pub fn new(name: String, label: String, model_group: usize, limits: &[&Limits]) -> Self {
        let quota_day = limits.first().map_or(QuotaDay::default(), |first| first.quota_day);
        let mut pool = Self {
            name,
            label,
            routes: Vec::new(),
            model_group,
            in_flight: 0,
            silent_since: MonoTime::default(),
            cooldown: None,
            day_cooldown: None,
            backoff_step: 0,
            day_exhausted_count: 0,
            ramp: None,
            limits: PoolLimits::new(limits),
            burst: limits.iter().filter_map(|limits| limits.burst).min(),
            windows: Default::default(),
            pacing: None,
            day_requests: DailyQuota::new(quota_day),
            day_tokens: DailyQuota::new(quota_day),
        };
        pool.apply_limits();
        pool
    }

    pub(super) fn windows(&self) -> impl Iterator<Item = (LimitDimension, &SlidingWindow)> {
        MINUTE_DIMENSIONS.into_iter().zip(&self.windows)
    }

    /// The token windows with a limit, and the amount that a request of this size takes from each.
    fn token_demands(&self, estimate: TokenEstimate) -> impl Iterator<Item = (LimitDimension, &SlidingWindow, u64)> {
        let limited = self.windows().skip(1).filter(|(_, window)| window.limit().is_some());
        limited.map(move |(unit, window)| (unit, window, self.limits.tokens_to_reserve(unit, estimate)))
    }

    /// The cooldown after the provider said that the daily quota is used up; `None` if it is over.
    pub fn active_day_cooldown(&self, now: Now) -> Option<&Cooldown> {
        Cooldown::running(self.day_cooldown.as_ref(), now)
    }

    /// Whether a request of any size may use the pool now. If it is ready, [`QuotaPool::token_availability`] may still
    /// limit a request because of its size.
    pub fn availability(&self, now: Now) -> Availability<'_> {
        if let Some(cooldown) = self.active_day_cooldown(now) {
            return Availability::Exhausted(cooldown);
        }
        let daily = daily_availability(&self.day_requests, now, 1, RequestsPerDay);
        if !daily.is_ready() {
            return daily;
        }
        if self.day_requests.needs_lease(now.wall, 1) {
            return Availability::limited_until_completion(LimitKind::Lease);
        }
        if let Some(cooldown) = Cooldown::running(self.cooldown.as_ref(), now) {
            return Availability::CoolingDown(cooldown);
        }
        if self.limits[Concurrency].effective().is_some_and(|max| u64::from(self.in_flight) >= max) {
            return Availability::limited_until_completion(LimitKind::Provider(Concurrency));
        }
        if self.ramp.is_some_and(|ramp| self.in_flight >= ramp.limit()) {
            return Availability::limited_until_completion(LimitKind::Ramp);
        }
        if self.limits.slow_start_limit().is_some_and(|max| self.in_flight >= max) {
            return Availability::limited_until_completion(LimitKind::SlowStart);
        }
        let requests = self.windows[0].admission(now.mono, 1);
        if requests != Admission::Now {
            return Availability::of_limit(LimitKind::Provider(RequestsPerMinute), requests);
        }
        let pacing = self.pacing.as_ref().map_or(Admission::Now, |gcra| gcra.admission(now.mono));
        Availability::of_limit(LimitKind::Pacing, pacing)
    }

    /// Whether some limit can never hold a request of this size.
    pub fn is_too_large(&self, estimate: TokenEstimate) -> bool {
        let exceeds_minute_limit =
            self.token_demands(estimate).any(|(_, window, amount)| window.limit().is_some_and(|limit| amount > limit));
        exceeds_minute_limit || self.day_tokens.limit().is_some_and(|limit| self.daily_tokens(estimate) > limit)
    }

    /// Whether a request of this size has token room. Assumes that [`QuotaPool::availability`] is ready.
    pub fn token_availability(&self, now: Now, estimate: TokenEstimate) -> Availability<'static> {
        for (dimension, window, amount) in self.token_demands(estimate) {
            let tokens = window.admission(now.mono, amount);
            if tokens != Admission::Now {
                return Availability::of_limit(LimitKind::Provider(dimension), tokens);
            }
        }
        let daily = self.daily_token_availability(now, estimate);
        if !daily.is_ready() || !self.has_daily_token_limit() {
            return daily;
        }
        if self.day_tokens.needs_lease(now.wall, self.daily_tokens(estimate)) {
            return Availability::limited_until_completion(LimitKind::Lease);
        }
        Availability::Ready
    }

    /// The tokens that a request of this size takes from the daily quota.
    fn daily_tokens(&self, estimate: TokenEstimate) -> u64 {
        self.limits.tokens_to_reserve(TokensPerDay, estimate)
    }

    /// Whether there is a limit on tokens per day, so that the rest of a day may suffice only for small requests.
    pub const fn has_daily_token_limit(&self) -> bool {
        self.day_tokens.limit().is_some()
    }

    /// Whether a request of this size fits in the daily token limit.
    pub fn daily_token_availability(&self, now: Now, estimate: TokenEstimate) -> Availability<'static> {
        let Some(limit) = self.day_tokens.limit() else { return Availability::Ready };
        let amount = self.daily_tokens(estimate);
        if amount > limit {
            return Availability::of_limit(LimitKind::Provider(TokensPerDay), Admission::Never);
        }
        daily_availability(&self.day_tokens, now, amount, TokensPerDay)
    }

    /// Reserves room for one request. Pass the returned amounts to [`QuotaPool::commit`].
    pub fn reserve(&mut self, now: Now, estimate: TokenEstimate) -> TokenEstimate {
        let [tokens, input, output] = [TokensPerMinute, InputTokensPerMinute, OutputTokensPerMinute]
            .map(|dimension| self.limits.tokens_to_reserve(dimension, estimate));
        // `commit` releases the returned amounts from all token windows, so an amount reduced in one window is reduced
        // in all.
        let mut taken = TokenEstimate { input, output };
        if tokens < self.limits.amount(TokensPerMinute, taken) {
            taken = TokenEstimate { input: tokens, output: 0 };
        }
        if self.in_flight == 0 {
            self.silent_since = now.mono;
        }
        self.in_flight += 1;
        for (dimension, window) in MINUTE_DIMENSIONS.into_iter().zip(&mut self.windows) {
            window.reserve(now.mono, self.limits.amount(dimension, taken));
        }
        if let Some(gcra) = &mut self.pacing {
            gcra.reserve(now.mono);
        }
        self.day_requests.reserve(now.wall, 1);
        self.day_tokens.reserve(now.wall, self.limits.amount(TokensPerDay, taken));
        taken
    }

    /// Records that the request left the process just now, later than it was reserved.
    pub fn on_sent(&mut self, now: Now) {
        if let Some(gcra) = &mut self.pacing {
            gcra.on_sent(now.mono);
        }
    }

    pub const fn silent_since(&self) -> MonoTime {
        self.silent_since
    }

    /// Records that the provider has responded, whatever its response is.
    pub const fn on_response(&mut self, now: Now) {
        self.silent_since = now.mono;
    }

    /// Replaces the reservation of one request by its observed usage.
    pub fn commit(&mut self, now: Now, reserved: TokenEstimate, observed: ObservedUsage, timing: AttemptTiming) {
        self.in_flight -= 1;
        let AttemptTiming { reserved_at, sent_at, counted_before } = timing;
        let occupied_for = MINUTE.saturating_sub(counted_before);
        let counted_at_latest = now.wall - counted_before;
        let used = match observed {
            ObservedUsage::Reported(used) => used,
            ObservedUsage::Missing | ObservedUsage::Unknown => reserved,
            ObservedUsage::Throttled | ObservedUsage::NotSent => TokenEstimate::default(),
        };
        let limits = &self.limits;
        let actual = |dimension| match (observed, dimension) {
            (ObservedUsage::NotSent, _) | (ObservedUsage::Throttled, RequestsPerDay) => 0,
            _ => limits.amount(dimension, used),
        };
        for (dimension, window) in MINUTE_DIMENSIONS.into_iter().zip(&mut self.windows) {
            // Output tokens are counted while they are generated, the last ones at the end of the answer.
            let counts_output = dimension == OutputTokensPerMinute
                || (dimension == TokensPerMinute && limits.token_counting() == TokenCounting::Total);
            let occupied_for = if counts_output { MINUTE } else { occupied_for };
            window.commit(now.mono, limits.amount(dimension, reserved), actual(dimension), occupied_for);
        }
        let interval = CountInterval { reserved_at: reserved_at.wall, counted_at_latest };
        self.day_requests.commit(now.wall, interval, 1, actual(RequestsPerDay));
        self.day_tokens.commit(now.wall, interval, limits.amount(TokensPerDay, reserved), actual(TokensPerDay));
        if matches!(observed, ObservedUsage::Reported(_) | ObservedUsage::Missing) {
            self.limits.on_success(now.mono, sent_at.mono, used, self.in_flight);
            self.apply_limits();
        }
    }

    /// Adds what attempts of an earlier process used to the windows per minute. They leave the windows together.
    pub fn restore_recent_usage(&mut self, now: Now, used: &UsageSlot) {
        let age = now.wall.since(used.at);
        if age >= MINUTE {
            return;
        }
        let release = now.mono + (MINUTE - age);
        for (dimension, window) in MINUTE_DIMENSIONS.into_iter().zip(&mut self.windows) {
            let amount = match dimension {
                RequestsPerMinute => used.requests + used.refused_requests,
                _ => self.limits.amount(dimension, tokens_of(used)),
            };
            if amount > 0 {
                window.restore_usage(release, amount);
            }
        }
    }

    /// Adds what attempts of an earlier process used to the quotas per day.
    pub fn restore_day_usage(&mut self, now: Now, used: &UsageSlot) {
        if used.requests > 0 {
            self.day_requests.restore_usage(now.wall, used.at, used.requests);
            self.day_tokens.restore_usage(now.wall, used.at, self.limits.amount(TokensPerDay, tokens_of(used)));
        }
    }

    /// Records a success: the backoff schedule starts over and the ramp advances.
    pub(super) fn on_success(&mut self) {
        self.backoff_step = 0;
        self.day_exhausted_count = 0;
        self.ramp = self.ramp.and_then(Ramp::on_success);
    }

    /// The gauge of a limit per minute.
    fn minute_gauge(&self, now: Now, dimension: LimitDimension) -> Gauge {
        gauge(self.windows[dimension as usize].used(now.mono), self.limits[dimension])
    }

    pub fn requests_gauge(&self, now: Now) -> Gauge {
        self.minute_gauge(now, RequestsPerMinute)
    }

    pub fn tokens_gauge(&self, now: Now) -> Gauge {
        let is_limited = |dimension| self.limits[dimension].effective().is_some();
        let has_only_input_limit = !is_limited(TokensPerMinute) && is_limited(InputTokensPerMinute);
        self.minute_gauge(now, if has_only_input_limit { InputTokensPerMinute } else { TokensPerMinute })
    }

    /// The day's gauge. It is full if the provider said that the quota is used up, whatever our own count is.
    pub fn day_gauge(&self, now: Now) -> Gauge {
        let (used, limit) = (self.day_requests.used(now.wall), self.day_requests.limit());
        gauge(
            if self.active_day_cooldown(now).is_some() { used.max(limit.unwrap_or(used)) } else { used },
            self.limits[RequestsPerDay],
        )
    }

    /// The gauges of all limits.
    pub fn quota_gauges(&self, now: Now) -> [(LimitDimension, Gauge); LimitDimension::ALL.len()] {
        LimitDimension::ALL.map(|dimension| {
            let counted = |used| gauge(used, self.limits[dimension]);
            let gauge = match dimension {
                RequestsPerDay => self.day_gauge(now),
                TokensPerDay => counted(self.day_tokens.used(now.wall)),
                Concurrency => counted(u64::from(self.in_flight)),
                RequestsPerMinute | TokensPerMinute | InputTokensPerMinute | OutputTokensPerMinute => {
                    self.minute_gauge(now, dimension)
                }
            };
            (dimension, gauge)
        })
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

    pub const fn day(&self) -> QuotaDay {
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
        for (dimension, window) in MINUTE_DIMENSIONS.into_iter().zip(&mut self.windows) {
            window.set_limit(limits[dimension].effective());
        }
        self.day_requests.set_limit(limits[RequestsPerDay].effective());
        self.day_tokens.set_limit(limits[TokensPerDay].effective());
        let rpm = limits[RequestsPerMinute].effective().map(|rpm| u32::try_from(rpm).unwrap_or(u32::MAX));
        // A learned limit is spread over the minute rather than used up in one burst. So only few requests get a 429 if
        // the limit is wrong or the daily quota ends.
        let learned_burst =
            rpm.filter(|_| limits[RequestsPerMinute].source() == Some(LimitSource::Learned)).map(|rpm| rpm / 8 + 1);
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
        self.day_cooldown.take().is_some() || had_cooldown
    }
}

fn gauge(used: u64, limit: SourcedLimit) -> Gauge {
    Gauge { used, limit: limit.effective(), source: limit.source() }
}

fn daily_availability(quota: &DailyQuota, now: Now, amount: u64, dimension: LimitDimension) -> Availability<'static> {
    match quota.admission(now.wall, amount) {
        Admission::At(Deadline::Wall(until)) => Availability::DailyLimitReached {
            until,
            used: quota.used(now.wall),
            limit: quota.limit().unwrap_or_default(),
        },
        admission => Availability::of_limit(LimitKind::Provider(dimension), admission),
    }
}
