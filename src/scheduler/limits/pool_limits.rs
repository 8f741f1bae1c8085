//! All limits of a pool by dimension, with their sources, and the amount that a request takes of each. They are updated
//! by what the provider states and by throttling.
//!
//! The pool's counters use the limits in force; screens also show the sources. Strict order
//! (`when_limited = "wait"`) learns no limits: after a 429 it follows the backoff schedule, as the operator of a serial
//! script expects.

use std::{ops::Index, time::Duration};

use crate::domain::{
    LimitDimension::{self, Concurrency, InputTokensPerMinute, RequestsPerMinute, TokensPerMinute},
    LimitSource, Limits, MonoTime, ProviderLimit, TokenCounting,
};

use super::{
    adaptive_limit::{AimdLimiter, ConcurrencyLimiter},
    slow_start::SlowStart,
};

/// Token amounts of a request: estimated, reserved, or reported by the provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenEstimate {
    pub input: u64,
    pub output: u64,
}

/// The lowest of the three values is in force. So a stated limit never raises a configured one. Where nothing is
/// configured, each statement of the provider replaces the last, whether higher or lower.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourcedLimit {
    pub configured: Option<u64>,
    pub stated: Option<u64>,
    pub learned: Option<u64>,
}

impl SourcedLimit {
    pub fn effective(&self) -> Option<u64> {
        self.declared().into_iter().chain(self.learned).min()
    }

    /// The limit that is configured or stated, as opposed to learned.
    pub fn declared(&self) -> Option<u64> {
        self.configured.into_iter().chain(self.stated).min()
    }

    /// The part of `amount` to reserve, for a request that may turn out as small as `min_amount`. An amount above a
    /// declared limit is cut down to the limit if `min_amount` fits; otherwise it stays too large. A learned limit
    /// never makes a request too large: the amount is cut down to it.
    pub fn amount_to_reserve(&self, amount: u64, min_amount: u64) -> u64 {
        let declared = self.declared();
        let amount = declared.filter(|limit| amount > *limit && min_amount <= *limit).unwrap_or(amount);
        let fits = declared.is_none_or(|limit| amount <= limit);
        self.learned.filter(|_| fits).map_or(amount, |limit| amount.min(limit))
    }

    pub fn source(&self) -> Option<LimitSource> {
        let limit = self.effective()?;
        let is = |value: Option<u64>| value == Some(limit);
        Some(match () {
            () if is(self.configured) => LimitSource::Configured,
            () if is(self.stated) => LimitSource::Provider,
            () => LimitSource::Learned,
        })
    }
}

/// Indexed by dimension.
#[derive(Clone, Debug)]
pub struct PoolLimits {
    limits: [SourcedLimit; LimitDimension::ALL.len()],
    token_counting: TokenCounting,
    is_strict: bool,
    /// Learn the limits of [`LEARNED_RATES`].
    rates: [AimdLimiter; LEARNED_RATES.len()],
    concurrency_limiter: ConcurrencyLimiter,
    slow_start: SlowStart,
}

/// The dimensions of the limits per minute, in the order of [`LimitDimension::ALL`].
pub const MINUTE_DIMENSIONS: [LimitDimension; 4] =
    [RequestsPerMinute, TokensPerMinute, InputTokensPerMinute, LimitDimension::OutputTokensPerMinute];

/// The minute limits that are learned from 429s.
const LEARNED_RATES: [LimitDimension; 2] = [RequestsPerMinute, TokensPerMinute];

impl Index<LimitDimension> for PoolLimits {
    type Output = SourcedLimit;

    fn index(&self, dimension: LimitDimension) -> &SourcedLimit {
        &self.limits[dimension as usize]
    }
}

impl PoolLimits {
    /// The limits of a pool that models with these limits share. The lowest of each limit applies.
    pub fn new(shared_by: &[&Limits]) -> Self {
        let configured = |dimension| shared_by.iter().filter_map(|limits| limits.get(dimension)).min();
        Self {
            limits: LimitDimension::ALL
                .map(|dimension| SourcedLimit { configured: configured(dimension), ..SourcedLimit::default() }),
            token_counting: shared_by.first().map(|limits| limits.token_counting).unwrap_or_default(),
            is_strict: false,
            rates: Default::default(),
            concurrency_limiter: ConcurrencyLimiter::default(),
            slow_start: SlowStart::default(),
        }
    }

    pub const fn token_counting(&self) -> TokenCounting {
        self.token_counting
    }

    /// The amount of a dimension that one request with these tokens is.
    pub const fn amount(&self, dimension: LimitDimension, tokens: TokenEstimate) -> u64 {
        match (dimension, self.token_counting) {
            (RequestsPerMinute | LimitDimension::RequestsPerDay | Concurrency, _) => 1,
            (InputTokensPerMinute, _) | (TokensPerMinute | LimitDimension::TokensPerDay, TokenCounting::Input) => {
                tokens.input
            }
            (LimitDimension::OutputTokensPerMinute, _) => tokens.output,
            (TokensPerMinute | LimitDimension::TokensPerDay, TokenCounting::Total) => tokens.input + tokens.output,
        }
    }

    /// The tokens of a dimension to reserve for a request. The output length is unknown and the input estimate is
    /// generous, so a request counts as too large only if half of its estimated input is.
    pub fn tokens_to_reserve(&self, dimension: LimitDimension, estimate: TokenEstimate) -> u64 {
        let smallest = TokenEstimate { input: estimate.input / 2, output: 0 };
        self[dimension].amount_to_reserve(self.amount(dimension, estimate), self.amount(dimension, smallest))
    }

    /// Switches strict order on or off for this pool.
    pub fn set_strict(&mut self, is_strict: bool) {
        self.is_strict = is_strict;
        self.adopt_learned();
    }

    /// The limit that the provider means by a dimension. Where only input tokens are counted, tokens and input tokens
    /// per minute are the same limit.
    fn stated_limit_mut(&mut self, dimension: LimitDimension) -> &mut SourcedLimit {
        let is_same = self.token_counting == TokenCounting::Input && self[InputTokensPerMinute].configured.is_none();
        let dimension = if dimension == InputTokensPerMinute && is_same { TokensPerMinute } else { dimension };
        &mut self.limits[dimension as usize]
    }

    /// Applies a limit that the provider stated. True if this changed the limit in force.
    pub fn apply_stated(&mut self, stated: &ProviderLimit) -> bool {
        let Some(limit) = stated.limit else { return false };
        let sourced = self.stated_limit_mut(stated.dimension);
        let before = sourced.effective();
        sourced.stated = Some(limit);
        sourced.effective() != before
    }

    /// The limits the provider has stated so far, for the saved state.
    pub fn stated_limits(&self) -> Vec<(LimitDimension, u64)> {
        LimitDimension::ALL.into_iter().filter_map(|dimension| Some((dimension, self[dimension].stated?))).collect()
    }

    /// Learned requests and tokens per minute, for the saved state.
    pub fn learned_limits(&self) -> (Option<u64>, Option<u64>) {
        let [requests, tokens] = &self.rates;
        (requests.limit(), tokens.limit())
    }

    pub fn restore(&mut self, stated: &[(LimitDimension, u64)], learned: (Option<u64>, Option<u64>)) {
        for (dimension, limit) in stated {
            self.stated_limit_mut(*dimension).stated = Some(*limit);
        }
        for (rate, limit) in self.rates.iter_mut().zip([learned.0, learned.1]) {
            if let Some(limit) = limit {
                rate.restore(limit);
            }
        }
        self.adopt_learned();
    }

    /// The most requests in flight while no limit per minute and no concurrency limit is known. Then only slow start
    /// keeps the number of 429s low. `None` when it does not apply.
    pub fn slow_start_limit(&self) -> Option<u32> {
        let is_unknown = |dimension| self[dimension] == SourcedLimit::default();
        let applies = !self.is_strict && MINUTE_DIMENSIONS.into_iter().chain([Concurrency]).all(is_unknown);
        applies.then(|| self.slow_start.limit())
    }

    pub const fn slow_start(&self) -> SlowStart {
        self.slow_start
    }

    pub const fn slow_start_mut(&mut self) -> &mut SlowStart {
        &mut self.slow_start
    }

    /// Records a request that the provider counted. Of the same pool, `others_in_flight` were in flight at its answer.
    pub fn on_success(&mut self, now: MonoTime, sent_at: MonoTime, used: TokenEstimate, others_in_flight: u32) {
        self.slow_start.on_success(now.since(sent_at), others_in_flight + 1);
        if self.is_strict {
            return;
        }
        for (index, dimension) in LEARNED_RATES.into_iter().enumerate() {
            let (amount, declared) = (self.amount(dimension, used), self[dimension].declared());
            self.rates[index].on_success(now, sent_at, amount, declared);
        }
        self.concurrency_limiter.on_success(u64::from(others_in_flight));
        self.adopt_learned();
    }

    /// Records the first 429 of an episode, which refers to a learned rate or to concurrency.
    pub fn on_throttle(&mut self, now: MonoTime, sent_at: MonoTime, dimension: LimitDimension, others_in_flight: u32) {
        if self.is_strict {
            return;
        }
        match LEARNED_RATES.iter().position(|learned| *learned == dimension) {
            Some(index) => self.rates[index].on_throttle(now, sent_at, self.limits[dimension as usize].declared()),
            None => self.concurrency_limiter.on_throttle(u64::from(others_in_flight)),
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
        self.rates[0].may_free(at, after)
    }

    fn adopt_learned(&mut self) {
        let rates = LEARNED_RATES.into_iter().zip(self.rates.iter().map(AimdLimiter::limit));
        for (dimension, limit) in rates.chain([(Concurrency, self.concurrency_limiter.limit())]) {
            self.limits[dimension as usize].learned = limit.filter(|_| !self.is_strict);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_is_in_force_and_names_its_source() {
        use LimitSource::{Configured, Learned, Provider};
        let cases = [
            (None, None, None, None),
            (Some(10), None, None, Some((10, Configured))),
            (Some(10), Some(5), None, Some((5, Provider))),
            (Some(10), Some(50), None, Some((10, Configured))),
            (Some(10), Some(10), Some(10), Some((10, Configured))),
            (None, Some(50), None, Some((50, Provider))),
            (None, Some(50), Some(20), Some((20, Learned))),
            (None, None, Some(20), Some((20, Learned))),
        ];
        for (configured, stated, learned, want) in cases {
            let limit = SourcedLimit { configured, stated, learned };
            assert_eq!(limit.effective().zip(limit.source()), want, "{limit:?}");
        }
    }
}
