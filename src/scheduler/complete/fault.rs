//! Effects of failures: of a key, a route, a provider or the item, and which of them is at fault if that is not stated.

use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::{
    AttemptResult, EventKind, ModelId, MonoTime, Now, Outcome, OutcomeAction, RouteId, Seq, pluralize, snapshot::Cause,
};

use super::{
    super::{EVIDENCE_WINDOW, Reserved, Scheduler, breaker::Breaker, cooldown::Cooldown},
    Disposition,
};

/// Longest cooldown of a provider that can't be reached.
const MAX_UNREACHABLE_WAIT: Duration = Duration::from_secs(30);

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
        let mut first = true;
        for index in 0..self.routes.len() {
            let same = self.routes[index].model == model && self.keys[self.routes[index].key].project == project;
            if same && self.routes[index].unavailable.is_none() {
                self.routes[index].unavailable = Some(cause.clone());
                if std::mem::take(&mut first) {
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
        let opened = self.routes[reserved.route.index()].breaker.record_failure(
            now,
            policy.breaker_threshold,
            policy.breaker_open_time,
            policy.breaker_max_open_time,
            cause,
        );
        if result.is_html_auth_error() {
            self.on_identical_rejection(reserved, result, key_cause.clone(), events);
        }
        if opened {
            let subject = self.route_name(reserved.route);
            let wait = match &self.routes[reserved.route.index()].breaker {
                Breaker::Open { open_time: span, .. } => Some(*span),
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
        let another_key_succeeds = self.routes.iter().any(|route| {
            route.model == model
                && route.key != key
                && route.last_accepted_at.is_some_and(|at| now.mono.since(at) < EVIDENCE_WINDOW)
        });
        if another_key_succeeds {
            self.attribute_fault(now, reserved, &key_cause, events);
        }
        let model_works_for_others = self.has_recent_success(now, model, reserved.item.seq);
        let all_items_failing = {
            self.failing_items.insert(reserved.item.seq);
            // The attempt itself is no longer among the reservations.
            self.failing_items.len() as u64 > self.unfinished_items()
        };
        let retries = self.policy.retries_per_model;
        let retry_state = reserved.item.retry_state_mut();
        retry_state.last_outcome = Some(result.outcome);
        let model_retries = retry_state.switch_to_model(ModelId(model as u32));
        model_retries.timeouts += u32::from(result.outcome == Outcome::Timeout);
        if model_works_for_others || (all_items_failing && model_retries.excused >= retries) {
            model_retries.counted += 1;
        } else {
            model_retries.excused += 1;
        }
        let (errors, counted) = (model_retries.provider_errors(), model_retries.counted);
        if counted > 0 && errors > retries {
            return self.requeue_on_next_model(now, reserved);
        }
        let delays = &self.policy.retry_delays;
        let step = (errors as usize).clamp(1, delays.len().max(1)) - 1;
        let delay = delays.get(step).copied().unwrap_or_default();
        let jitter = delay.mul_f64(self.rng.f64() * 0.25);
        // Never retry before the wait that the provider stated, up to the configured maximum.
        let stated_wait =
            result.retry_after.map(|hint| hint.delay.min(self.policy.max_retry_after)).unwrap_or_default();
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
        let model_retries = retry_state.switch_to_model(model);
        model_retries.empty_outputs += 1;
        if model_retries.empty_outputs <= max_retries {
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
        // If every model's maximum, or the item's money, keeps the limit unchanged, a retry would give no longer
        // answer.
        let raises_limit = self.max_outputs(reserved) != before;
        let can_serve = |route: &RouteId| self.ineligibility(*route, &reserved.item).is_none();
        if raises_limit && self.classes[reserved.class].candidates.iter().any(can_serve) {
            return self.requeue(now, reserved, None);
        }
        Disposition::Failed
    }

    fn max_outputs(&self, reserved: &Reserved) -> SmallVec<[Option<u32>; 8]> {
        self.models.iter().map(|state| self.max_output_tokens(&state.model, &reserved.item)).collect()
    }

    /// Counts rejections alike on a route that has accepted nothing yet; after some, the operator has to decide. One
    /// wrong parameter must not fail thousands of items, and requests that a proxy rejects for the key must not be sent
    /// forever.
    pub(super) fn on_identical_rejection(
        &mut self,
        reserved: &Reserved,
        result: &AttemptResult,
        cause: Cause,
        events: &mut Vec<EventKind>,
    ) {
        let threshold = self.policy.max_identical_rejections;
        let route = &mut self.routes[reserved.route.index()];
        if route.has_accepted || threshold == 0 {
            return;
        }
        // HTML pages contain individual request ids, with letters too, so their text is not compared.
        let is_html_page = result.is_html_auth_error();
        let fingerprint = message_fingerprint(if is_html_page { "" } else { &result.message });
        let (count, last) = &mut route.identical_rejections;
        *count = if *last == fingerprint { *count + 1 } else { 1 };
        *last = fingerprint;
        if *count >= threshold && route.needs_operator.is_none() {
            route.needs_operator = Some(cause);
            let subject = self.route_name(reserved.route);
            let items = pluralize(u64::from(threshold), if is_html_page { "request" } else { "item" });
            let message = format!("{items} got the same error, none succeeded: {}", result.message);
            events.push(EventKind::Disabled { subject, outcome: result.outcome, message });
        }
    }

    pub(super) fn on_unreachable(&mut self, now: Now, route: RouteId, cause: Cause, events: &mut Vec<EventKind>) {
        let provider = self.routes[route.index()].provider;
        let state = &mut self.providers[provider];
        if state.unreachable.as_ref().is_some_and(|hold| !hold.is_over(now)) {
            return;
        }
        let wait = (Duration::from_secs(1) * 2_u32.saturating_pow(state.unreachable_step)).min(MAX_UNREACHABLE_WAIT);
        state.unreachable_step = (state.unreachable_step + 1).min(10);
        let message = cause.message.clone();
        let first = state.unreachable_step == 1;
        let until = now + wait;
        state.unreachable = Some(Cooldown { since: now, until, ends_by_calendar: false, cause });
        if first {
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
