//! Updates the limits of a pool from a response, independently of what happens to the item.

use std::time::Duration;

use crate::domain::{
    AttemptResult, LimitDimension, Now, Outcome, ProviderLimit, QuotaDay, WhenLimited,
    snapshot::{Cause, CauseSource},
};

use super::{LocalRejection, Reserved, Scheduler, cooldown::Cooldown};

/// Longest accepted wait for a daily quota: a day has at most 25 hours.
const MAX_DAILY_WAIT: Duration = Duration::from_secs(25 * 3_600);

/// A stated wait up to this long points to a burst or concurrency limit, not to a limit per minute.
const MAX_BURST_WAIT: Duration = Duration::from_secs(2);

impl Scheduler {
    /// Applies the limits that a response states.
    pub(super) fn apply_stated_limits(&mut self, reserved: &Reserved, result: &AttemptResult) {
        let pool = self.routes[reserved.route.index()].pool;
        let mut has_other_limit_changed = false;
        for report in &result.response_meta.limits {
            let has_changed = self.pools[pool].limits.apply_stated(report);
            has_other_limit_changed |= has_changed && report.dimension != LimitDimension::RequestsPerMinute;
        }
        if !result.response_meta.limits.is_empty() {
            self.pools[pool].apply_limits();
        }
        if has_other_limit_changed {
            self.reject_ineligible();
        }
    }

    /// Starts a cooldown if a response states that nothing is left of a limit, so that no request gets a 429.
    pub(super) fn cool_down_exhausted(&mut self, now: Now, reserved: &Reserved, result: &AttemptResult) {
        let pool = self.routes[reserved.route.index()].pool;
        for report in &result.response_meta.limits {
            self.cool_down_if_exhausted(now, pool, report);
        }
    }

    fn cool_down_if_exhausted(&mut self, now: Now, pool: usize, report: &ProviderLimit) {
        let Some(wait) = report.resets_in.filter(|wait| report.remaining == Some(0) && !wait.is_zero()) else { return };
        let state = &mut self.pools[pool];
        let message = report.limit.map_or_else(|| "nothing left".to_owned(), |limit| format!("0 of {limit} left"));
        let cause = |outcome| Cause { outcome, source: CauseSource::Provider, message, since: now.wall };
        match report.dimension {
            LimitDimension::RequestsPerDay | LimitDimension::TokensPerDay => {
                let wait = wait.min(MAX_DAILY_WAIT);
                let until = match state.day().next_reset(now.wall) {
                    Some(reset) if wait > Duration::from_secs(3_600) => {
                        Now { mono: now.mono + reset.since(now.wall), wall: reset }
                    }
                    _ => now + wait,
                };
                let ends_by_calendar = until.wall != (now + wait).wall && state.day() != QuotaDay::Rolling;
                let cause = cause(Outcome::QuotaExhaustedDay);
                Cooldown::extend(
                    &mut state.day_exhausted,
                    Cooldown { since: now, until, ends_by_calendar, cause },
                    now,
                );
            }
            LimitDimension::Concurrency => {}
            dimension => {
                let is_token_limit = dimension != LimitDimension::RequestsPerMinute;
                let outcome = if is_token_limit { Outcome::TokensLimitedMinute } else { Outcome::RateLimitedMinute };
                let until = now + wait.min(self.policy.max_retry_after);
                let cooldown = Cooldown { since: now, until, ends_by_calendar: false, cause: cause(outcome) };
                Cooldown::extend(&mut state.cooldown, cooldown, now);
            }
        }
    }

    /// The limit that the first 429 of an episode refers to, as far as the response shows it.
    pub(super) fn throttled_dimension(&self, reserved: &Reserved, result: &AttemptResult) -> LimitDimension {
        let is_concurrency = |report: &ProviderLimit| report.dimension == LimitDimension::Concurrency;
        let pool = &self.pools[self.routes[reserved.route.index()].pool];
        // A minute window frees room when its oldest request is one minute old. If no request is that old and the
        // stated wait is short, too many requests were in flight at once.
        let is_too_soon_for_minute =
            |after| after <= MAX_BURST_WAIT && !pool.limits.may_free(reserved.sent_at.mono, after);
        match result.outcome {
            _ if result.response_meta.limits.iter().any(is_concurrency) => LimitDimension::Concurrency,
            Outcome::TokensLimitedMinute => LimitDimension::TokensPerMinute,
            _ if result.retry_after.is_some_and(|retry_after| is_too_soon_for_minute(retry_after.delay)) => {
                LimitDimension::Concurrency
            }
            _ => LimitDimension::RequestsPerMinute,
        }
    }

    /// Switches learned limits off if `when_limited` is `wait`, and otherwise on. The strict pipeline uses the backoff
    /// schedule instead.
    pub(super) fn apply_strict_mode(&mut self) {
        let is_strict = self.policy.when_limited == WhenLimited::Wait;
        for pool in &mut self.pools {
            pool.limits.set_strict(is_strict);
            pool.apply_limits();
        }
    }

    /// Rejects items that no route can serve after a limit became smaller. Otherwise they would wait forever.
    fn reject_ineligible(&mut self) {
        let mut rejections: Vec<LocalRejection> = Vec::new();
        for class in 0..self.classes.len() {
            let ineligible: Vec<LocalRejection> =
                self.classes[class].items().filter_map(|item| self.permanent_rejection(class, item)).collect();
            if !ineligible.is_empty() {
                self.classes[class].retain(|item| ineligible.iter().all(|rejection| rejection.seq != item.seq));
                rejections.extend(ineligible);
            }
        }
        let mut delayed: Vec<_> = self.backing_off.iter().map(|(seq, (class, _))| (*seq, *class)).collect();
        delayed.sort_unstable();
        for (seq, class) in delayed {
            if let Some(rejection) =
                self.backing_off.get(&seq).and_then(|(_, item)| self.permanent_rejection(class, item))
            {
                self.backing_off.remove(&seq);
                rejections.push(rejection);
            }
        }
        for rejection in &rejections {
            self.failing_items.remove(&rejection.seq);
        }
        self.rejections.extend(rejections);
    }
}
