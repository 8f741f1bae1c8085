//! The effects on a pool of a quota error and of the limits that a response states.

use std::time::Duration;

use crate::{
    domain::{
        AttemptResult, LimitDimension, MonoTime, Now, Outcome, Policy, ProviderLimit,
        snapshot::{Cause, CauseSource},
    },
    scheduler::admission::Cooldown,
};

use super::{daily_quota::ROLLING_DAY, pool::QuotaPool, ramp::Ramp};

/// Longest accepted wait for a daily quota: a day has at most 25 hours.
const MAX_DAILY_WAIT: Duration = Duration::from_secs(25 * 3_600);

/// A stated wait up to this long points to a burst or concurrency limit, not to a limit per minute.
const MAX_BURST_WAIT: Duration = Duration::from_secs(2);

/// Time until a pool whose day's quota is spent is probed again, if it is not known when the day ends.
const DAY_QUOTA_RECHECK: Duration = Duration::from_secs(3_600);

/// Minimum wait after a retry-after for a rolling day turned out too short. It doubles each time, up to
/// [`DAY_QUOTA_RECHECK`].
const REPEATED_DAY_MIN_WAIT: Duration = Duration::from_secs(5);

/// After a failed probe of a pool that had refused many requests, the wait until the next one: a minute, since the
/// provider may have counted the probe.
const FAILED_PROBE_WAIT: Duration = Duration::from_secs(60);

/// After this many rounds of the backoff schedule without a success, refusals that name no limit are taken for the
/// daily quota's.
const SCHEDULE_ROUNDS_BEFORE_DAY: usize = 2;

/// The cooldown that a per-minute quota error has started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MinuteCooldown {
    pub wait: Duration,
    /// Whether the whole backoff schedule was used before.
    pub is_after_backoff: bool,
}

impl QuotaPool {
    /// Handles a 429 for a limit per minute. An episode lasts from its first 429 to the next success. The first 429
    /// adapts the learned limits and advances the backoff schedule, which applies if the provider states no wait, and
    /// when all of its steps were used.
    pub fn on_minute_limit(
        &mut self,
        now: Now,
        sent_at: Now,
        result: &AttemptResult,
        is_new_episode: bool,
        policy: &Policy,
        rng: &mut fastrand::Rng,
    ) -> MinuteCooldown {
        if is_new_episode {
            let dimension = if self.was_retry_after_too_short() {
                self.limits.forget_concurrency();
                minute_dimension(result)
            } else {
                self.likely_dimension(sent_at.mono, result)
            };
            self.on_first_throttle(now, sent_at, dimension);
            self.backoff_step += 1;
        }
        let stated_wait = result.retry_after.map(|stated| stated.delay.min(policy.max_retry_after));
        let stated_wait = stated_wait.filter(|wait| !wait.is_zero());
        let step = self.backoff_step.max(1);
        let is_after_backoff = step > policy.backoff.len();
        let (wait, source) = match stated_wait {
            // After the last step of the schedule: `backoff_rest`, or the stated wait if that is longer.
            _ if is_after_backoff => (policy.backoff_rest.max(stated_wait.unwrap_or_default()), CauseSource::Backoff),
            Some(stated) => (stated, CauseSource::Provider),
            None => (policy.backoff[step - 1], CauseSource::Backoff),
        };
        // Add 50-250 ms of jitter to stated waits, since providers don't count exactly.
        let jitter =
            if source == CauseSource::Provider { Duration::from_millis(rng.u64(50..250)) } else { Duration::ZERO };
        // A short stated wait may be false where the limit is unknown, so one request tries it.
        let is_doubtful =
            wait <= MAX_BURST_WAIT && self.limits[LimitDimension::RequestsPerMinute].effective().is_none();
        if source == CauseSource::Backoff || (is_new_episode && is_doubtful) {
            self.ramp = Some(Ramp::PROBE);
        }
        let cause = Cause::from_result(result, source, now.wall);
        if is_new_episode && stated_wait.is_none() && step > SCHEDULE_ROUNDS_BEFORE_DAY * policy.backoff.len() {
            // A limit per minute would have ended: it is taken for the day's quota, and tried again every hour.
            let cause = Cause { outcome: Outcome::QuotaExhaustedDay, ..cause.clone() };
            Cooldown::extend(&mut self.day_cooldown, Cooldown::lasting(now, DAY_QUOTA_RECHECK, cause), now);
        }
        Cooldown::extend(&mut self.cooldown, Cooldown::lasting(now, wait + jitter, cause), now);
        MinuteCooldown { wait, is_after_backoff }
    }

    /// Handles a provider error. If it ended the probe of a pool whose backoff schedule was used up, the next probe
    /// waits. Otherwise an item that always fails could take the only request that a minute has room for, again and
    /// again, and all others would be refused for ever.
    pub fn on_failed_probe(&mut self, now: Now, policy: &Policy) {
        let is_probe = self.ramp.is_some_and(|ramp| ramp.limit() == 1) && self.backoff_step > policy.backoff.len();
        if is_probe && let Some(cause) = self.cooldown.as_ref().map(|cooldown| cooldown.cause.clone()) {
            Cooldown::extend(&mut self.cooldown, Cooldown::lasting(now, FAILED_PROBE_WAIT, cause), now);
        }
    }

    /// Whether the last wait that the provider stated has proved too short. The caller knows that a new episode begins:
    /// the wait is over, and no request was answered since. Then the stated wait is no evidence against a limit per
    /// minute.
    fn was_retry_after_too_short(&self) -> bool {
        let was_stated = |cooldown: &Cooldown| cooldown.cause.source == CauseSource::Provider;
        self.backoff_step > 0 && self.cooldown.as_ref().is_some_and(was_stated)
    }

    /// The limit that the first 429 of an episode probably refers to, as far as the response shows it.
    fn likely_dimension(&self, sent_at: MonoTime, result: &AttemptResult) -> LimitDimension {
        let is_concurrency = |report: &ProviderLimit| report.dimension == LimitDimension::Concurrency;
        // A minute window frees room when its oldest request is one minute old. If no request is that old and the
        // stated wait is short, too many requests were in flight at once.
        let is_too_soon_for_minute = |after| after <= MAX_BURST_WAIT && !self.limits.may_free(sent_at, after);
        match result.outcome {
            _ if result.response_meta.limits.iter().any(is_concurrency) => LimitDimension::Concurrency,
            Outcome::TokensLimitedMinute => minute_dimension(result),
            _ if result.retry_after.is_some_and(|retry_after| is_too_soon_for_minute(retry_after.delay)) => {
                LimitDimension::Concurrency
            }
            _ => minute_dimension(result),
        }
    }

    /// Handles an error for the daily quota: the pool is exhausted until the provider's day ends or, if its end is not
    /// known, for the stated or a default wait. Returns the wait if it was not exhausted before.
    pub fn on_day_exhausted(&mut self, now: Now, result: &AttemptResult) -> Option<Duration> {
        let was_exhausted = self.active_day_cooldown(now).is_some();
        self.day_exhausted_count += u32::from(!was_exhausted);
        let cause = |source| Cause::from_result(result, source, now.wall);
        let cooldown = match (self.day().next_reset(now.wall), result.retry_after) {
            (Some(reset), _) => Cooldown::until_wall(now, reset, cause(CauseSource::Provider)),
            (None, Some(retry_after)) => {
                // After a retry-after that was too short, wait longer each time.
                let min_wait = match self.day_exhausted_count {
                    0 | 1 => Duration::ZERO,
                    step => (REPEATED_DAY_MIN_WAIT * 2_u32.saturating_pow(step - 2)).min(DAY_QUOTA_RECHECK),
                };
                let wait = retry_after.delay.clamp(min_wait, ROLLING_DAY);
                Cooldown::lasting(now, wait, cause(CauseSource::Provider))
            }
            (None, None) => {
                self.ramp = Some(Ramp::PROBE);
                Cooldown::lasting(now, DAY_QUOTA_RECHECK, cause(CauseSource::Backoff))
            }
        };
        let wait = cooldown.until.wall.since(now.wall);
        Cooldown::extend(&mut self.day_cooldown, cooldown, now);
        (!was_exhausted).then_some(wait)
    }

    /// Applies the limits that a response states. True if a limit other than the requests per minute has changed.
    pub fn apply_stated_limits(&mut self, stated: &[ProviderLimit]) -> bool {
        let mut has_other_limit_changed = false;
        for limit in stated {
            let has_changed = self.limits.apply_stated(limit);
            has_other_limit_changed |= has_changed && limit.dimension != LimitDimension::RequestsPerMinute;
        }
        if !stated.is_empty() {
            self.apply_limits();
        }
        has_other_limit_changed
    }

    /// Starts a cooldown if a response states that nothing is left of a limit, so that no request gets a 429.
    pub fn cool_down_if_exhausted(&mut self, now: Now, stated: &ProviderLimit, max_wait: Duration) {
        let Some(wait) = stated.resets_in.filter(|wait| stated.remaining == Some(0) && !wait.is_zero()) else { return };
        let message = stated.limit.map_or_else(|| "nothing left".to_owned(), |limit| format!("0 of {limit} left"));
        let cause = |outcome| Cause { outcome, source: CauseSource::Provider, message, since: now.wall, status: None };
        match stated.dimension {
            LimitDimension::RequestsPerDay | LimitDimension::TokensPerDay => {
                let (wait, cause) = (wait.min(MAX_DAILY_WAIT), cause(Outcome::QuotaExhaustedDay));
                let cooldown = match self.day().next_reset(now.wall) {
                    Some(reset) if wait > Duration::from_secs(3_600) => Cooldown::until_wall(now, reset, cause),
                    _ => Cooldown::lasting(now, wait, cause),
                };
                Cooldown::extend(&mut self.day_cooldown, cooldown, now);
            }
            LimitDimension::Concurrency => {}
            dimension => {
                let is_token_limit = dimension != LimitDimension::RequestsPerMinute;
                let outcome = if is_token_limit { Outcome::TokensLimitedMinute } else { Outcome::RateLimitedMinute };
                let cooldown = Cooldown::lasting(now, wait.min(max_wait), cause(outcome));
                Cooldown::extend(&mut self.cooldown, cooldown, now);
            }
        }
    }

    /// Handles an answer to a request reserved at `reserved_at`. Returns whether it ended a cooldown, and whether it
    /// ended an exhausted day.
    pub fn on_answer(&mut self, now: Now, reserved_at: MonoTime) -> (bool, bool) {
        let is_after_cooldown = self.cooldown.as_ref().is_none_or(|cooldown| reserved_at >= cooldown.until.mono);
        let mut has_recovered = false;
        if is_after_cooldown {
            self.on_success();
            has_recovered = self.cooldown.take_if(|cooldown| cooldown.is_over(now)).is_some();
        }
        let day_has_reset = self.day_cooldown.take_if(|cooldown| cooldown.is_over(now)).is_some();
        (has_recovered, day_has_reset)
    }
}

/// The minute window that a 429 refers to.
fn minute_dimension(result: &AttemptResult) -> LimitDimension {
    match result.outcome {
        Outcome::TokensLimitedMinute => LimitDimension::TokensPerMinute,
        _ => LimitDimension::RequestsPerMinute,
    }
}
