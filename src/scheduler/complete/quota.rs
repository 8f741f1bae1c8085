//! Effects of quota errors: on the pool for a minute or a day, and on the project if its credit is used up.

use std::time::Duration;

use crate::domain::{
    AttemptResult, EventKind, Now, RouteId, WhenLimited,
    snapshot::{Cause, CauseSource},
};

use crate::scheduler::{Reserved, Scheduler, cooldown::Cooldown, limits::daily_quota::ROLLING_DAY, limits::ramp::Ramp};

/// Time until a pool with a rolling day is probed again, if the provider stated no retry-after.
const ROLLING_DAY_RECHECK: Duration = Duration::from_secs(3_600);

/// Shortest wait after a retry-after for a rolling day turned out too short. It doubles each time.
const EXTRA_BACKOFF: Duration = Duration::from_secs(5);

impl Scheduler {
    pub(super) fn on_minute_limit(
        &mut self,
        now: Now,
        reserved: &Reserved,
        result: &AttemptResult,
        events: &mut Vec<EventKind>,
    ) {
        let (key, pool) = {
            let route = &self.routes[reserved.route.index()];
            (route.key, route.pool)
        };
        let max_wait = self.policy.max_retry_after;
        let stated_wait = result.retry_after.map(|stated| stated.delay.min(max_wait)).filter(|after| !after.is_zero());
        let is_new_episode = self.pools[pool].is_new_episode(now, reserved.created_at.mono);
        if is_new_episode {
            let group = self.pools[pool].model_group;
            self.model_groups[group].min_rtt.disable();
            self.collect_shared_quota_evidence(now, pool, events);
            let dimension = self.throttled_dimension(reserved, result);
            self.pools[pool].on_first_throttle(now, reserved.sent_at, dimension);
        }
        let state = &mut self.pools[pool];
        if is_new_episode {
            state.backoff_step += 1;
            self.keys[key].health.penalize();
        }
        let step = state.backoff_step.max(1);
        let is_after_backoff = step > self.policy.backoff.len();
        let (wait, source) = match stated_wait {
            // After the last step of the schedule: `backoff_rest`, or the stated wait if that is longer.
            _ if is_after_backoff => {
                (self.policy.backoff_rest.max(stated_wait.unwrap_or_default()), CauseSource::Backoff)
            }
            Some(stated) => (stated, CauseSource::Provider),
            None => (self.policy.backoff[step - 1], CauseSource::Backoff),
        };
        let cause = Cause { outcome: result.outcome, source, message: result.message.clone(), since: now.wall };
        // Add 50-250 ms of jitter to stated waits, since providers don't count exactly.
        let jitter =
            if source == CauseSource::Provider { Duration::from_millis(self.rng.u64(50..250)) } else { Duration::ZERO };
        let cooldown = Cooldown { since: now, until: now + wait + jitter, ends_by_calendar: false, cause };
        if source == CauseSource::Backoff {
            state.ramp = Some(Ramp::PROBE);
        }
        Cooldown::extend(&mut state.cooldown, cooldown, now);
        if is_new_episode {
            events.push(EventKind::Cooldown {
                subject: state.label.clone(),
                outcome: result.outcome,
                wait: Some(wait),
                message: result.message.clone(),
            });
            if is_after_backoff && self.policy.when_limited == WhenLimited::Wait {
                self.advance_cursor_past(reserved.route);
            }
        }
    }

    /// Moves the strict pipeline's cursor past this route.
    fn advance_cursor_past(&mut self, route: RouteId) {
        if self.ranking.get(self.cursor) == Some(&route) {
            self.cursor = (self.cursor + 1) % self.ranking.len();
        }
    }

    pub(super) fn on_day_exhausted(
        &mut self,
        now: Now,
        reserved: &Reserved,
        result: &AttemptResult,
        events: &mut Vec<EventKind>,
    ) {
        let state = &mut self.pools[self.routes[reserved.route.index()].pool];
        let was_exhausted = state.day_exhausted.as_ref().is_some_and(|cooldown| !cooldown.is_over(now));
        state.day_exhausted_count += u32::from(!was_exhausted);
        let reset = state.day().next_reset(now.wall);
        let (until, ends_by_calendar, source) = match (reset, result.retry_after) {
            (Some(reset), _) => {
                (Now { mono: now.mono + reset.since(now.wall), wall: reset }, true, CauseSource::Provider)
            }
            (None, Some(retry_after)) => {
                // After a retry-after that was too short, wait longer each time.
                let min_wait = match state.day_exhausted_count {
                    0 | 1 => Duration::ZERO,
                    step => (EXTRA_BACKOFF * 2_u32.saturating_pow(step - 2)).min(ROLLING_DAY_RECHECK),
                };
                let wait = retry_after.delay.clamp(min_wait, ROLLING_DAY);
                (now + wait, false, CauseSource::Provider)
            }
            (None, None) => (now + ROLLING_DAY_RECHECK, false, CauseSource::Backoff),
        };
        if source == CauseSource::Backoff {
            state.ramp = Some(Ramp::PROBE);
        }
        let cause = Cause { outcome: result.outcome, source, message: result.message.clone(), since: now.wall };
        Cooldown::extend(&mut state.day_exhausted, Cooldown { since: now, until, ends_by_calendar, cause }, now);
        if !was_exhausted {
            events.push(EventKind::Cooldown {
                subject: state.label.clone(),
                outcome: result.outcome,
                wait: Some(until.wall.since(now.wall)),
                message: result.message.clone(),
            });
        }
    }

    pub(super) fn on_out_of_credit(
        &mut self,
        now: Now,
        reserved: &Reserved,
        cause: Cause,
        events: &mut Vec<EventKind>,
    ) {
        let project = self.keys[self.routes[reserved.route.index()].key].project;
        let state = &mut self.projects[project];
        let was_out_of_credit = state.out_of_credit.as_ref().is_some_and(|cooldown| !cooldown.is_over(now));
        let until = now + self.policy.billing_retry_interval;
        let message = cause.message.clone();
        let outcome = cause.outcome;
        Cooldown::extend(&mut state.out_of_credit, Cooldown { since: now, until, ends_by_calendar: true, cause }, now);
        if !was_out_of_credit {
            events.push(EventKind::Disabled { subject: format!("project {}", state.name), outcome, message });
        }
    }
}
