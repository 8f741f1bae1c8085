//! What a response teaches about limits, beside what becomes of its item.

use std::time::Duration;

use crate::domain::{
    AttemptResult, LimitDimension, Now, Outcome, ProviderLimit, QuotaDay, WhenLimited,
    snapshot::{Cause, CauseSource},
};

use super::{Flight, Refusal, Scheduler, cooldown::Cooldown, day::next_reset};

/// No statement about a day closes a pool for longer: days are 25 hours at most.
const LONGEST_DAY: Duration = Duration::from_secs(25 * 3_600);

/// Who asks to be left alone for no longer than this speaks of a burst, not of a minute.
const MOMENT: Duration = Duration::from_secs(2);

impl Scheduler {
    /// Takes in the limits that a response states.
    pub(super) fn take_statements(&mut self, flight: &Flight, verdict: &AttemptResult) {
        let pool = self.routes[flight.route.index()].pool;
        let mut smaller = false;
        for report in &verdict.response_meta.limits {
            let changed = self.pools[pool].bounds.state(report);
            smaller |= changed && report.dimension != LimitDimension::RequestsPerMinute;
        }
        if !verdict.response_meta.limits.is_empty() {
            self.pools[pool].retune();
        }
        if smaller {
            self.drop_unfit();
        }
    }

    /// Parks the pool where a response says that nothing is left, before a refusal has to say so.
    pub(super) fn park_used_up(&mut self, now: Now, flight: &Flight, verdict: &AttemptResult) {
        let pool = self.routes[flight.route.index()].pool;
        for report in &verdict.response_meta.limits {
            self.park_if_used_up(now, pool, report);
        }
    }

    fn park_if_used_up(&mut self, now: Now, pool: usize, report: &ProviderLimit) {
        let Some(wait) = report.resets_in.filter(|wait| report.remaining == Some(0) && !wait.is_zero()) else { return };
        let state = &mut self.pools[pool];
        let message = report.limit.map_or_else(|| "nothing left".to_owned(), |limit| format!("0 of {limit} left"));
        let cause = |outcome| Cause { outcome, source: CauseSource::Provider, message, since: now.wall };
        match report.dimension {
            LimitDimension::RequestsPerDay | LimitDimension::TokensPerDay => {
                let wait = wait.min(LONGEST_DAY);
                let until = match next_reset(state.day(), now.wall) {
                    Some(reset) if wait > Duration::from_secs(3_600) => {
                        Now { mono: now.mono + reset.since(now.wall), wall: reset }
                    }
                    _ => now + wait,
                };
                let calendar = until.wall != (now + wait).wall && state.day() != QuotaDay::Rolling;
                let cause = cause(Outcome::QuotaExhaustedDay);
                Cooldown::extend(&mut state.spent, Cooldown { since: now, until, calendar, cause }, now);
            }
            LimitDimension::Concurrency => {}
            dimension => {
                let tokens = dimension != LimitDimension::RequestsPerMinute;
                let outcome = if tokens { Outcome::TokensLimitedMinute } else { Outcome::RateLimitedMinute };
                let until = now + wait.min(self.policy.max_retry_after);
                let cooldown = Cooldown { since: now, until, calendar: false, cause: cause(outcome) };
                Cooldown::extend(&mut state.cooldown, cooldown, now);
            }
        }
    }

    /// What the first refusal of an episode was about, as far as its words tell.
    pub(super) fn refused_dimension(&self, flight: &Flight, verdict: &AttemptResult) -> LimitDimension {
        let concurrency = |report: &ProviderLimit| report.dimension == LimitDimension::Concurrency;
        let pool = &self.pools[self.routes[flight.route.index()].pool];
        // A minute opens when its first request is a minute old. A pool that has none so old, and shall wait for a moment
        // only, had too many at once.
        let no_minute = |after| after <= MOMENT && !pool.bounds.opens(flight.sent_at.mono, after);
        match verdict.outcome {
            _ if verdict.response_meta.limits.iter().any(concurrency) => LimitDimension::Concurrency,
            Outcome::TokensLimitedMinute => LimitDimension::TokensPerMinute,
            _ if verdict.retry_after.is_some_and(|hint| no_minute(hint.delay)) => LimitDimension::Concurrency,
            _ => LimitDimension::RequestsPerMinute,
        }
    }

    /// The strict pipeline knows no learned limits: it walks its ladder instead.
    pub(super) fn apply_strictness(&mut self) {
        let strict = self.policy.when_limited == WhenLimited::Wait;
        for pool in &mut self.pools {
            pool.bounds.set_strict(strict);
            pool.retune();
        }
    }

    /// A token limit turned out smaller: what fits nowhere any more is refused rather than kept waiting for ever.
    fn drop_unfit(&mut self) {
        let mut refused: Vec<Refusal> = Vec::new();
        for class in 0..self.classes.len() {
            let unfit: Vec<Refusal> =
                self.classes[class].tickets().filter_map(|ticket| self.never(class, ticket)).collect();
            if !unfit.is_empty() {
                self.classes[class].retain(|ticket| unfit.iter().all(|refusal| refusal.seq != ticket.seq));
                refused.extend(unfit);
            }
        }
        let mut waiting: Vec<_> = self.backing_off.iter().map(|(seq, (class, _))| (*seq, *class)).collect();
        waiting.sort_unstable();
        for (seq, class) in waiting {
            if let Some(refusal) = self.backing_off.get(&seq).and_then(|(_, ticket)| self.never(class, ticket)) {
                self.backing_off.remove(&seq);
                refused.push(refusal);
            }
        }
        for refusal in &refused {
            self.suspects.remove(&refusal.seq);
        }
        self.refused.extend(refused);
    }
}
