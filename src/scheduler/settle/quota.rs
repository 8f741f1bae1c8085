//! What a refusal for quota does: to the pool for a minute or a day, to the project where the credit is gone.

use std::time::Duration;

use crate::domain::{
    AttemptResult, EventKind, Now, RouteId, WhenLimited,
    snapshot::{Cause, CauseSource},
};

use super::super::{
    Flight, Scheduler,
    cooldown::Cooldown,
    day::{ROLLING, next_reset},
    ramp::Ramp,
};

/// A rolling day without a hint is looked at again after this, with a trial.
const ROLLING_GUESS: Duration = Duration::from_secs(3_600);

/// After a hint for a rolling day that proved too short, and twice as long each time.
const MISLED: Duration = Duration::from_secs(5);

impl Scheduler {
    pub(super) fn limited(&mut self, now: Now, flight: &Flight, verdict: &AttemptResult, events: &mut Vec<EventKind>) {
        let (key, pool) = {
            let route = &self.routes[flight.route.index()];
            (route.key, route.pool)
        };
        let max_hint = self.policy.max_retry_after;
        let hint = verdict.retry_after.map(|hint| hint.delay.min(max_hint)).filter(|after| !after.is_zero());
        let new_episode = self.pools[pool].is_new_episode(now, flight.reserved_at.mono);
        if new_episode {
            let family = self.pools[pool].family;
            self.families[family].transit.distrust();
            self.suspect_kin(now, pool, events);
            let what = self.refused_dimension(flight, verdict);
            self.pools[pool].refused_unforeseen(now, flight.sent_at, what);
        }
        let state = &mut self.pools[pool];
        if new_episode {
            state.ladder_step += 1;
            self.keys[key].health.own_fault();
        }
        let step = state.ladder_step.max(1);
        let after_ladder = step > self.policy.backoff.len();
        let (span, source) = match hint {
            // A stated wait that is longer than the rest still counts.
            _ if after_ladder => (self.policy.backoff_rest.max(hint.unwrap_or_default()), CauseSource::Backoff),
            Some(hint) => (hint, CauseSource::Provider),
            None => (self.policy.backoff[step - 1], CauseSource::Backoff),
        };
        let cause = Cause { outcome: verdict.outcome, source, message: verdict.message.clone(), since: now.wall };
        // Nobody counts to the microsecond: a moment later than said.
        let jitter = if source == CauseSource::Provider {
            Duration::from_millis(self.random.u64(50..250))
        } else {
            Duration::ZERO
        };
        let cooldown = Cooldown { since: now, until: now + span + jitter, calendar: false, cause };
        if source == CauseSource::Backoff {
            state.ramp = Some(Ramp::TRIAL);
        }
        Cooldown::extend(&mut state.cooldown, cooldown, now);
        if new_episode {
            events.push(EventKind::Cooldown {
                subject: state.label.clone(),
                outcome: verdict.outcome,
                wait: Some(span),
                message: verdict.message.clone(),
            });
            if after_ladder && self.policy.when_limited == WhenLimited::Wait {
                self.leave_cursor(flight.route);
            }
        }
    }

    /// The strict pipeline gives up on the route where it stands.
    fn leave_cursor(&mut self, route: RouteId) {
        if self.ranking.get(self.cursor) == Some(&route) {
            self.cursor = (self.cursor + 1) % self.ranking.len();
        }
    }

    pub(super) fn day_spent(
        &mut self,
        now: Now,
        flight: &Flight,
        verdict: &AttemptResult,
        events: &mut Vec<EventKind>,
    ) {
        let state = &mut self.pools[self.routes[flight.route.index()].pool];
        let was_spent = state.spent.as_ref().is_some_and(|spent| !spent.over(now));
        state.day_step += u32::from(!was_spent);
        let reset = next_reset(state.day(), now.wall);
        let (until, calendar, source) = match (reset, verdict.retry_after) {
            (Some(reset), _) => {
                (Now { mono: now.mono + reset.since(now.wall), wall: reset }, true, CauseSource::Provider)
            }
            (None, Some(hint)) => {
                // A hint that has proved too short is believed less each time.
                let least = match state.day_step {
                    0 | 1 => Duration::ZERO,
                    step => (MISLED * 2_u32.saturating_pow(step - 2)).min(ROLLING_GUESS),
                };
                let span = hint.delay.clamp(least, ROLLING);
                (now + span, false, CauseSource::Provider)
            }
            (None, None) => (now + ROLLING_GUESS, false, CauseSource::Backoff),
        };
        if source == CauseSource::Backoff {
            state.ramp = Some(Ramp::TRIAL);
        }
        let cause = Cause { outcome: verdict.outcome, source, message: verdict.message.clone(), since: now.wall };
        Cooldown::extend(&mut state.spent, Cooldown { since: now, until, calendar, cause }, now);
        if !was_spent {
            events.push(EventKind::Cooldown {
                subject: state.label.clone(),
                outcome: verdict.outcome,
                wait: Some(until.wall.since(now.wall)),
                message: verdict.message.clone(),
            });
        }
    }

    pub(super) fn out_of_credit(&mut self, now: Now, flight: &Flight, cause: Cause, events: &mut Vec<EventKind>) {
        let project = self.keys[self.routes[flight.route.index()].key].project;
        let state = &mut self.projects[project];
        let was_out = state.billing.as_ref().is_some_and(|billing| !billing.over(now));
        let until = now + self.policy.billing_retry_interval;
        let message = cause.message.clone();
        let outcome = cause.outcome;
        Cooldown::extend(&mut state.billing, Cooldown { since: now, until, calendar: true, cause }, now);
        if !was_out {
            events.push(EventKind::Disabled { subject: format!("project {}", state.name), outcome, message });
        }
    }
}
