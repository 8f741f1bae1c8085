//! Effects of failures: of a key, a route, a provider or the item, and the decision which of them is at fault if the
//! outcome does not tell.

use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::{
    AttemptResult, EventKind, ModelId, MonoTime, Now, Outcome, OutcomeAction, RouteId, Seq, pluralize, snapshot::Cause,
};

use super::Disposition;
use crate::scheduler::{EVIDENCE_WINDOW, Reserved, Scheduler, cooldown::Cooldown, health::breaker::Breaker};

/// Longest cooldown of a provider that can't be reached.
const MAX_UNREACHABLE_WAIT: Duration = Duration::from_secs(30);

/// Pictures that must be refused in a row before the route holds.
const MAX_PICTURE_REJECTIONS: u32 = 50;

impl Scheduler {
    pub(super) fn on_key_rejected(&mut self, route: RouteId, cause: Cause, events: &mut Vec<EventKind>) {
        let key = &mut self.keys[self.routes[route.index()].key];
        key.health.set_to_zero();
        if key.disabled.is_none() {
            let subject = format!("key {}", key.key.name);
            events.push(EventKind::Disabled { subject, outcome: cause.outcome, message: cause.message.clone() });
            key.disabled = Some(cause);
        }
    }

    /// Marks the model as unavailable for all keys of the project.
    pub(super) fn on_model_unavailable(&mut self, route: RouteId, cause: &Cause, events: &mut Vec<EventKind>) {
        let (model, project) = {
            let route = &self.routes[route.index()];
            (route.model, self.keys[route.key].project)
        };
        let mut is_first = true;
        for index in 0..self.routes.len() {
            let is_affected = self.routes[index].model == model && self.keys[self.routes[index].key].project == project;
            if is_affected && self.routes[index].unavailable.is_none() {
                self.routes[index].unavailable = Some(cause.clone());
                if std::mem::take(&mut is_first) {
                    let subject = self.route_name(RouteId(index as u32));
                    events.push(EventKind::Disabled {
                        subject,
                        outcome: cause.outcome,
                        message: cause.message.clone(),
                    });
                }
            }
        }
    }

    pub(super) fn on_provider_error(
        &mut self,
        now: Now,
        reserved: &mut Reserved,
        result: &AttemptResult,
        cause: Cause,
        events: &mut Vec<EventKind>,
    ) -> Disposition {
        let (model, key) = {
            let route = &self.routes[reserved.route.index()];
            (route.model, route.key)
        };
        let key_cause = cause.clone();
        let policy = &self.policy;
        let has_opened = self.routes[reserved.route.index()].breaker.record_failure(
            now,
            policy.breaker_threshold,
            policy.breaker_open_time,
            policy.breaker_max_open_time,
            cause,
        );
        if result.is_html_auth_error() {
            self.count_identical_rejection(reserved, result, key_cause.clone(), events);
        }
        if has_opened {
            let subject = self.route_name(reserved.route);
            let wait = match &self.routes[reserved.route.index()].breaker {
                Breaker::Open { open_time: wait, .. } => Some(*wait),
                _ => None,
            };
            events.push(EventKind::Cooldown {
                subject,
                outcome: result.outcome,
                wait,
                message: result.message.clone(),
            });
        }
        // The key is at fault only if another key at the same model succeeds.
        let has_other_key_success = self.routes.iter().any(|route| {
            route.model == model
                && route.key != key
                && route.last_accepted_at.is_some_and(|at| now.mono.since(at) < EVIDENCE_WINDOW)
        });
        if has_other_key_success {
            self.attribute_fault(now, reserved, &key_cause, events);
        }
        let model_works_for_others = self.has_recent_success(now, model, reserved.item.seq);
        let are_all_items_failing = {
            self.failing_items.insert(reserved.item.seq);
            // `unfinished_items` does not count this item now, since its reservation was removed.
            self.failing_items.len() as u64 > self.unfinished_items()
        };
        let retries = self.policy.retries_per_model;
        let retry_state = reserved.item.retry_state_mut();
        retry_state.last_outcome = Some(result.outcome);
        let model_failures = retry_state.switch_to_model(ModelId(model as u32));
        model_failures.timeouts += u32::from(result.outcome == Outcome::Timeout);
        if model_works_for_others || (are_all_items_failing && model_failures.excused_errors >= retries) {
            model_failures.counted_errors += 1;
        } else {
            model_failures.excused_errors += 1;
        }
        let (errors, counted) = (model_failures.provider_errors(), model_failures.counted_errors);
        if counted > 0 && errors > retries {
            return self.requeue_on_next_model(now, reserved);
        }
        let delays = &self.policy.retry_delays;
        let step = (errors as usize).clamp(1, delays.len().max(1)) - 1;
        let delay = delays.get(step).copied().unwrap_or_default();
        let jitter = delay.mul_f64(self.rng.f64() * 0.25);
        // Never retry before the wait that the provider stated, up to the configured maximum.
        let stated_wait = result
            .retry_after
            .map(|retry_after| retry_after.delay.min(self.policy.max_retry_after))
            .unwrap_or_default();
        self.requeue(now, reserved, Some((delay + jitter).max(stated_wait)))
    }

    /// Whether this model answered some other item within [`EVIDENCE_WINDOW`].
    fn has_recent_success(&self, now: Now, model: usize, seq: Seq) -> bool {
        let recent = |(other, at): &(Seq, MonoTime)| *other != seq && now.mono.since(*at) < EVIDENCE_WINDOW;
        self.models[model].recent_successes.iter().flatten().any(recent)
    }

    pub(super) fn on_empty_output(&mut self, now: Now, reserved: &mut Reserved, result: &AttemptResult) -> Disposition {
        let model = ModelId(self.routes[reserved.route.index()].model as u32);
        // If the provider gives a reason for the empty answer, a retry is pointless.
        let max_retries = if result.action == OutcomeAction::FailItem { 0 } else { self.policy.max_empty_retries };
        let retry_state = reserved.item.retry_state_mut();
        retry_state.last_outcome = Some(Outcome::EmptyOutput);
        let model_failures = retry_state.switch_to_model(model);
        model_failures.empty_outputs += 1;
        if model_failures.empty_outputs <= max_retries {
            self.requeue(now, reserved, None)
        } else {
            self.requeue_on_next_model(now, reserved)
        }
    }

    pub(super) fn on_truncated(&mut self, now: Now, reserved: &mut Reserved, result: &AttemptResult) -> Disposition {
        let has_text = result.answer.as_ref().is_some_and(|answer| !answer.text.trim().is_empty());
        if has_text && !reserved.item.is_caption {
            return Disposition::Done { is_truncated: true };
        }
        if self.policy.truncated_retry_factor.is_none() || reserved.item.retry_state_mut().has_larger_output {
            return Disposition::Failed;
        }
        let before: SmallVec<[Option<u32>; 8]> = self.max_outputs(reserved);
        reserved.item.retry_state_mut().has_larger_output = true;
        // A retry makes sense only if it raises the output limit of some model. Each limit may already be the model's
        // maximum.
        let raises_limit = self.max_outputs(reserved) != before;
        let can_serve = |route: &RouteId| self.ineligibility(*route, &reserved.item).is_none();
        if raises_limit && self.classes[reserved.class].candidates.iter().any(can_serve) {
            return self.requeue(now, reserved, None);
        }
        Disposition::Failed
    }

    /// By model: the output limit that a request for this item would state.
    fn max_outputs(&self, reserved: &Reserved) -> SmallVec<[Option<u32>; 8]> {
        self.models.iter().map(|state| self.max_output_tokens(&state.model, &reserved.item)).collect()
    }

    /// Counts consecutive rejections with the same message on a route that has accepted nothing yet. After
    /// `max_identical_rejections` of them the route waits for the operator. Otherwise one wrong parameter could fail
    /// thousands of items, and requests that a proxy rejects because of the key would be sent forever.
    pub(super) fn count_identical_rejection(
        &mut self,
        reserved: &Reserved,
        result: &AttemptResult,
        cause: Cause,
        events: &mut Vec<EventKind>,
    ) {
        let threshold = self.policy.max_identical_rejections;
        let route = &mut self.routes[reserved.route.index()];
        if route.has_accepted_request || threshold == 0 {
            return;
        }
        // The texts of HTML pages are not compared: they contain request ids, which differ in letters too.
        let is_html_page = result.is_html_auth_error();
        let fingerprint = message_fingerprint(if is_html_page { "" } else { &result.message });
        let (count, last_fingerprint) = &mut route.identical_rejections;
        *count = if *last_fingerprint == fingerprint { *count + 1 } else { 1 };
        *last_fingerprint = fingerprint;
        if *count >= threshold && route.needs_operator.is_none() {
            route.needs_operator = Some(cause);
            let subject = self.route_name(reserved.route);
            let items = pluralize(u64::from(threshold), if is_html_page { "request" } else { "item" });
            let message = format!("{items} got the same error, none succeeded: {}", result.message);
            events.push(EventKind::Disabled { subject, outcome: result.outcome, message });
        }
    }

    /// Counts refused pictures in a row. Some broken pictures say nothing of the others, and a run with good ones behind
    /// them goes on; but if the route accepts nothing among many, it is something else (a provider that can't fetch
    /// URLs, say), and the operator has to decide. Unlike requests refused alike, they also count on a route that has
    /// accepted something before.
    pub(super) fn on_picture_rejection(
        &mut self,
        reserved: &Reserved,
        result: &AttemptResult,
        cause: Cause,
        events: &mut Vec<EventKind>,
    ) {
        let route = &mut self.routes[reserved.route.index()];
        route.picture_rejections += 1;
        let is_held = self.policy.max_identical_rejections == 0 || route.needs_operator.is_some();
        if route.picture_rejections < MAX_PICTURE_REJECTIONS || is_held {
            return;
        }
        route.needs_operator = Some(cause);
        let subject = self.route_name(reserved.route);
        let message = format!(
            "the pictures of {MAX_PICTURE_REJECTIONS} items refused in a row and none accepted: {}",
            result.message
        );
        events.push(EventKind::Disabled { subject, outcome: result.outcome, message });
    }

    pub(super) fn on_unreachable(&mut self, now: Now, route: RouteId, cause: Cause, events: &mut Vec<EventKind>) {
        let provider = self.routes[route.index()].provider;
        let state = &mut self.providers[provider];
        if state.unreachable.as_ref().is_some_and(|cooldown| !cooldown.is_over(now)) {
            return;
        }
        let wait = (Duration::from_secs(1) * 2_u32.saturating_pow(state.unreachable_step)).min(MAX_UNREACHABLE_WAIT);
        state.unreachable_step = (state.unreachable_step + 1).min(10);
        let message = cause.message.clone();
        let is_first = state.unreachable_step == 1;
        let until = now + wait;
        state.unreachable = Some(Cooldown { since: now, until, ends_by_calendar: false, cause });
        if is_first {
            let subject = format!("provider {}", state.name);
            events.push(EventKind::Cooldown { subject, outcome: Outcome::ClientTrouble, wait: Some(wait), message });
        }
    }
}

/// Hash of a message without its digits, which differ between otherwise equal messages (sizes, positions, request ids).
fn message_fingerprint(message: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for character in message.chars().filter(|character| !character.is_ascii_digit()) {
        character.hash(&mut hasher);
    }
    hasher.finish()
}
