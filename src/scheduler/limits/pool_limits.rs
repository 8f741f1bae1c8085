//! All limits of a pool with their sources, updated by stated limits and by throttling.
//!
//! The pool uses the limits in force; screens also show the sources. The strict pipeline (`when_limited = "wait"`)
//! learns no limits: after a 429 it follows the backoff schedule, as the operator of a serial script expects.

use std::time::Duration;

use crate::domain::{LimitDimension, Limits, MonoTime, ProviderLimit, TokenCounting};

use super::{
    adaptive_limit::{AimdLimiter, ConcurrencyLimiter, SlowStart},
    limit_sources::SourcedLimit,
    tokens::TokenEstimate,
};

#[derive(Clone, Debug)]
pub struct PoolLimits {
    pub requests_per_minute: SourcedLimit,
    pub tokens_per_minute: SourcedLimit,
    pub input_tokens_per_minute: SourcedLimit,
    pub output_tokens_per_minute: SourcedLimit,
    pub requests_per_day: SourcedLimit,
    pub tokens_per_day: SourcedLimit,
    pub concurrency: SourcedLimit,
    token_counting: TokenCounting,
    is_strict: bool,
    request_rate: AimdLimiter,
    token_rate: AimdLimiter,
    concurrency_limiter: ConcurrencyLimiter,
    slow_start: SlowStart,
}

/// One request that the provider counted, as input for the adaptive limiters.
#[derive(Clone, Copy, Debug)]
pub struct AdmittedSample {
    pub sent_at: MonoTime,
    pub latency: Duration,
    pub used: TokenEstimate,
    /// Other requests in flight on the same pool when this one was answered.
    pub others_in_flight: u32,
}

impl PoolLimits {
    pub fn new(limits: &Limits) -> Self {
        Self {
            requests_per_minute: SourcedLimit::configured(limits.rpm.map(u64::from)),
            tokens_per_minute: SourcedLimit::configured(limits.tpm),
            input_tokens_per_minute: SourcedLimit::configured(limits.itpm),
            output_tokens_per_minute: SourcedLimit::configured(limits.otpm),
            requests_per_day: SourcedLimit::configured(limits.rpd.map(u64::from)),
            tokens_per_day: SourcedLimit::configured(limits.tpd),
            concurrency: SourcedLimit::configured(limits.concurrency.map(u64::from)),
            token_counting: limits.token_counting,
            is_strict: false,
            request_rate: AimdLimiter::default(),
            token_rate: AimdLimiter::default(),
            concurrency_limiter: ConcurrencyLimiter::default(),
            slow_start: SlowStart::default(),
        }
    }

    /// Switches the strict pipeline on or off for this pool.
    pub fn set_strict(&mut self, is_strict: bool) {
        self.is_strict = is_strict;
        self.adopt_learned();
    }

    fn limit_mut(&mut self, dimension: LimitDimension) -> &mut SourcedLimit {
        match dimension {
            LimitDimension::RequestsPerMinute => &mut self.requests_per_minute,
            LimitDimension::TokensPerMinute => &mut self.tokens_per_minute,
            // Where only input tokens are counted, tokens and input tokens per minute are the same limit.
            LimitDimension::InputTokensPerMinute
                if self.token_counting == TokenCounting::Input && self.input_tokens_per_minute.configured.is_none() =>
            {
                &mut self.tokens_per_minute
            }
            LimitDimension::InputTokensPerMinute => &mut self.input_tokens_per_minute,
            LimitDimension::OutputTokensPerMinute => &mut self.output_tokens_per_minute,
            LimitDimension::RequestsPerDay => &mut self.requests_per_day,
            LimitDimension::TokensPerDay => &mut self.tokens_per_day,
            LimitDimension::Concurrency => &mut self.concurrency,
        }
    }

    /// Applies a limit that the provider stated. True if this changed the limit in force.
    pub fn apply_stated(&mut self, stated: &ProviderLimit) -> bool {
        let Some(limit) = stated.limit else { return false };
        let limit_sources = self.limit_mut(stated.dimension);
        let before = limit_sources.effective();
        limit_sources.stated = Some(limit);
        limit_sources.effective() != before
    }

    /// The limits the provider has stated so far, for the saved state.
    pub fn stated_limits(&self) -> Vec<(LimitDimension, u64)> {
        let limits = [
            (LimitDimension::RequestsPerMinute, &self.requests_per_minute),
            (LimitDimension::TokensPerMinute, &self.tokens_per_minute),
            (LimitDimension::InputTokensPerMinute, &self.input_tokens_per_minute),
            (LimitDimension::OutputTokensPerMinute, &self.output_tokens_per_minute),
            (LimitDimension::RequestsPerDay, &self.requests_per_day),
            (LimitDimension::TokensPerDay, &self.tokens_per_day),
            (LimitDimension::Concurrency, &self.concurrency),
        ];
        limits.into_iter().filter_map(|(dimension, limit)| Some((dimension, limit.stated?))).collect()
    }

    /// Learned requests and tokens per minute, for the saved state.
    pub const fn learned_limits(&self) -> (Option<u64>, Option<u64>) {
        (self.request_rate.limit(), self.token_rate.limit())
    }

    pub fn restore(&mut self, stated: &[(LimitDimension, u64)], learned: (Option<u64>, Option<u64>)) {
        for (dimension, limit) in stated {
            self.limit_mut(*dimension).stated = Some(*limit);
        }
        for (limit, rate) in [(learned.0, &mut self.request_rate), (learned.1, &mut self.token_rate)] {
            if let Some(limit) = limit {
                rate.restore(limit);
            }
        }
        self.adopt_learned();
    }

    /// Whether no limit per minute and no concurrency limit is known. Then only slow start keeps the number of 429s
    /// low.
    fn has_no_known_limit(&self) -> bool {
        let limits = [
            &self.requests_per_minute,
            &self.tokens_per_minute,
            &self.input_tokens_per_minute,
            &self.output_tokens_per_minute,
            &self.concurrency,
        ];
        limits.into_iter().all(|limit| *limit == SourcedLimit::default())
    }

    /// The most requests in flight while no limit is known; `None` when slow start does not apply.
    pub fn slow_start_limit(&self) -> Option<u32> {
        (!self.is_strict && self.has_no_known_limit()).then(|| self.slow_start.limit())
    }

    /// Records a request that the provider counted.
    pub fn on_success(&mut self, now: MonoTime, sample: AdmittedSample) {
        self.slow_start.on_success(sample.latency);
        if self.is_strict {
            return;
        }
        let AdmittedSample { sent_at, used, others_in_flight, .. } = sample;
        self.request_rate.on_success(now, sent_at, 1, self.requests_per_minute.declared());
        self.token_rate.on_success(
            now,
            sent_at,
            used.counted_as(self.token_counting),
            self.tokens_per_minute.declared(),
        );
        self.concurrency_limiter.on_success(u64::from(others_in_flight));
        self.adopt_learned();
    }

    /// Records the first 429 of an episode.
    pub fn on_throttle(&mut self, now: MonoTime, sent_at: MonoTime, dimension: LimitDimension, others_in_flight: u32) {
        if self.is_strict {
            return;
        }
        match dimension {
            LimitDimension::Concurrency => self.concurrency_limiter.on_throttle(u64::from(others_in_flight)),
            LimitDimension::TokensPerMinute => {
                self.token_rate.on_throttle(now, sent_at, self.tokens_per_minute.declared());
            }
            _ => self.request_rate.on_throttle(now, sent_at, self.requests_per_minute.declared()),
        }
        self.adopt_learned();
    }

    /// Forgets the learned limit on concurrency, after what had shown it proved false.
    pub fn forget_concurrency(&mut self) {
        self.concurrency_limiter = ConcurrencyLimiter::default();
        self.adopt_learned();
    }

    /// Whether a minute window that is full at `at` may free room by `at + after`: some request must be one minute old
    /// then.
    pub fn may_free(&self, at: MonoTime, after: Duration) -> bool {
        self.request_rate.may_free(at, after)
    }

    fn adopt_learned(&mut self) {
        let unless_strict = |limit: Option<u64>| limit.filter(|_| !self.is_strict);
        self.requests_per_minute.learned = unless_strict(self.request_rate.limit());
        self.tokens_per_minute.learned = unless_strict(self.token_rate.limit());
        self.concurrency.learned = unless_strict(self.concurrency_limiter.limit());
    }
}
