//! All limits of a pool with their provenance, and what teaches them: statements and refusals.
//!
//! The pool asks what is in force; who says so is told to screens. The strict pipeline learns nothing: there a refusal walks
//! the ladder, as the operator of a serial script knows it.

use std::time::Duration;

use crate::domain::{LimitDimension, Limits, MonoTime, ProviderLimit, TokenCounting};

use super::{
    bound::Bound,
    learner::{InFlight, Learner, SlowStart},
    pool::Need,
};

#[derive(Clone, Debug)]
pub struct Bounds {
    pub requests: Bound,
    pub tokens: Bound,
    pub input: Bound,
    pub output: Bound,
    pub day_requests: Bound,
    pub day_tokens: Bound,
    pub concurrency: Bound,
    counted: TokenCounting,
    strict: bool,
    request_rate: Learner,
    token_rate: Learner,
    in_flight: InFlight,
    slow_start: SlowStart,
}

/// One request that the provider counted, for the learners.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    pub sent: MonoTime,
    pub latency: Duration,
    pub used: Need,
    /// In flight on the pool beside it when it was answered.
    pub others: u32,
}

impl Bounds {
    pub fn new(limits: &Limits) -> Self {
        Self {
            requests: Bound::configured(limits.rpm.map(u64::from)),
            tokens: Bound::configured(limits.tpm),
            input: Bound::configured(limits.itpm),
            output: Bound::configured(limits.otpm),
            day_requests: Bound::configured(limits.rpd.map(u64::from)),
            day_tokens: Bound::configured(limits.tpd),
            concurrency: Bound::configured(limits.concurrency.map(u64::from)),
            counted: limits.token_counting,
            strict: false,
            request_rate: Learner::default(),
            token_rate: Learner::default(),
            in_flight: InFlight::default(),
            slow_start: SlowStart::default(),
        }
    }

    /// The strict pipeline begins or ends.
    pub fn set_strict(&mut self, strict: bool) {
        self.strict = strict;
        self.adopt();
    }

    fn slot(&mut self, dimension: LimitDimension) -> &mut Bound {
        match dimension {
            LimitDimension::RequestsPerMinute => &mut self.requests,
            LimitDimension::TokensPerMinute => &mut self.tokens,
            // Where input is all that counts, the one limit goes by either name.
            LimitDimension::InputTokensPerMinute
                if self.counted == TokenCounting::Input && self.input.configured.is_none() =>
            {
                &mut self.tokens
            }
            LimitDimension::InputTokensPerMinute => &mut self.input,
            LimitDimension::OutputTokensPerMinute => &mut self.output,
            LimitDimension::RequestsPerDay => &mut self.day_requests,
            LimitDimension::TokensPerDay => &mut self.day_tokens,
            LimitDimension::Concurrency => &mut self.concurrency,
        }
    }

    /// The provider states a limit. True where that changed what is in force.
    pub fn state(&mut self, report: &ProviderLimit) -> bool {
        let Some(limit) = report.limit else { return false };
        let slot = self.slot(report.dimension);
        let before = slot.effective();
        slot.stated = Some(limit);
        slot.effective() != before
    }

    /// What the provider stated so far, to be remembered.
    pub fn stated(&self) -> Vec<(LimitDimension, u64)> {
        let slots = [
            (LimitDimension::RequestsPerMinute, &self.requests),
            (LimitDimension::TokensPerMinute, &self.tokens),
            (LimitDimension::InputTokensPerMinute, &self.input),
            (LimitDimension::OutputTokensPerMinute, &self.output),
            (LimitDimension::RequestsPerDay, &self.day_requests),
            (LimitDimension::TokensPerDay, &self.day_tokens),
            (LimitDimension::Concurrency, &self.concurrency),
        ];
        slots.into_iter().filter_map(|(dimension, bound)| Some((dimension, bound.stated?))).collect()
    }

    /// Requests and tokens per minute that were found, to be remembered.
    pub const fn learned(&self) -> (Option<u64>, Option<u64>) {
        (self.request_rate.limit(), self.token_rate.limit())
    }

    pub fn restore(&mut self, stated: &[(LimitDimension, u64)], learned: (Option<u64>, Option<u64>)) {
        for (dimension, limit) in stated {
            self.slot(*dimension).stated = Some(*limit);
        }
        for (limit, rate) in [(learned.0, &mut self.request_rate), (learned.1, &mut self.token_rate)] {
            if let Some(limit) = limit {
                rate.restore(limit);
            }
        }
        self.adopt();
    }

    /// Nothing is known of what a minute holds: only the number in flight keeps the first refusals few.
    fn is_unknown(&self) -> bool {
        let minute = [&self.requests, &self.tokens, &self.input, &self.output, &self.concurrency];
        minute.into_iter().all(|bound| *bound == Bound::default())
    }

    /// Most requests in flight while the limits are looked for.
    pub fn slow_start(&self) -> Option<u32> {
        (!self.strict && self.is_unknown()).then(|| self.slow_start.most())
    }

    /// The provider counted a request.
    pub fn admit(&mut self, now: MonoTime, admission: Admission) {
        self.slow_start.answered(admission.latency);
        if self.strict {
            return;
        }
        let Admission { sent, used, others, .. } = admission;
        self.request_rate.admit(now, sent, 1, self.requests.known());
        self.token_rate.admit(now, sent, used.counted(self.counted), self.tokens.known());
        self.in_flight.admit(u64::from(others));
        self.adopt();
    }

    /// A refusal that our counters did not foresee, the first of its episode.
    pub fn refuse(&mut self, now: MonoTime, sent: MonoTime, what: LimitDimension, others: u32) {
        if self.strict {
            return;
        }
        match what {
            LimitDimension::Concurrency => self.in_flight.refuse(u64::from(others)),
            LimitDimension::TokensPerMinute => self.token_rate.refuse(now, sent, self.tokens.known()),
            _ => self.request_rate.refuse(now, sent, self.requests.known()),
        }
        self.adopt();
    }

    /// Whether a minute's window that is full at `at` may open `after` that: something must become a minute old then.
    pub fn opens(&self, at: MonoTime, after: Duration) -> bool {
        self.request_rate.opens(at, after)
    }

    fn adopt(&mut self) {
        let unless_strict = |limit: Option<u64>| limit.filter(|_| !self.strict);
        self.requests.learned = unless_strict(self.request_rate.limit());
        self.tokens.learned = unless_strict(self.token_rate.limit());
        self.concurrency.learned = unless_strict(self.in_flight.limit());
    }
}
