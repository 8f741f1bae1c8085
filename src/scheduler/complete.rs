//! `complete`: the effects of an attempt's result on the item, its route, and the pool, key and provider behind it.
//!
//! [`Scheduler::complete`] commits the reservation. Then two lists, by outcome: [`Scheduler::apply_to_fleet`] says what
//! happens to the pool, key, route or provider at fault, and [`Scheduler::next_disposition`] whether the item is done,
//! failed or queued again.

use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::{
    AttemptId, AttemptResult, CostByKind, EventKind, EventLevel, KeyId, ModelId, Money, Now, Outcome, OutcomeAction,
    PoolId, RouteId, Seq, WhenLimited, pluralize,
    snapshot::{Cause, CauseSource},
};

use super::{
    Reservation, Scheduler,
    availability::Availability,
    cooldown::Cooldown,
    fleet::ModelState,
    health::{
        breaker::Breaker,
        fault_attribution::{Fault, MIN_FAILING_ITEMS},
        rejections::MAX_PICTURE_REJECTIONS,
    },
    limits::{
        pool::{AttemptTiming, ObservedUsage, QuotaPool},
        tokens::TokenEstimate,
    },
    shared_quota::{PoolUsage, SharedQuota},
};

/// The next state of the item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Disposition {
    Done {
        is_truncated: bool,
    },
    Failed,
    /// Back in the queue, after `delay` if there is one.
    Requeued {
        delay: Option<Duration>,
        next_route: Option<RouteId>,
    },
}

/// The effects of one completed attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct AttemptEffects {
    pub seq: Seq,
    pub route: RouteId,
    pub disposition: Disposition,
    /// Requests for this item so far.
    pub attempts: u32,
    /// Certain cost of the attempt.
    pub cost: Money,
    /// The same by kind.
    pub cost_by_kind: CostByKind,
    /// Additional cost that may have been billed: the attempt was sent, but its usage is unknown (no answer, an
    /// unreadable one, or one without usage).
    pub at_risk: Money,
    /// For the log, in order. The caller adds the item's own event, since it knows the item's name.
    pub events: Vec<EventKind>,
}

/// How far a request got, as far as counters and money depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RequestProgress {
    /// The provider accepted and processed it.
    Accepted,
    /// Refused because of a quota.
    Throttled,
    /// Refused because of its key, its model or its content.
    Rejected,
    /// The provider failed to process it, it timed out, or its answer can't be read.
    ProviderError,
    /// Sent, but no response was seen.
    NoResponse,
    /// It never left this process.
    NotSent,
}

impl RequestProgress {
    const fn from_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok | Outcome::Truncated | Outcome::EmptyOutput | Outcome::ContentBlocked => Self::Accepted,
            Outcome::RateLimitedMinute
            | Outcome::TokensLimitedMinute
            | Outcome::QuotaExhaustedDay
            | Outcome::QuotaExhaustedBilling => Self::Throttled,
            Outcome::InvalidKey | Outcome::KeyForbidden | Outcome::ModelNotFound | Outcome::BadRequest => {
                Self::Rejected
            }
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => {
                Self::ProviderError
            }
            Outcome::Lost => Self::NoResponse,
            Outcome::UnreadableInput | Outcome::OverBudget | Outcome::NoRoute | Outcome::ClientTrouble => Self::NotSent,
        }
    }
}

impl Scheduler {
    /// Takes the result of `attempt`. `None` if no such attempt is in flight.
    pub fn complete(&mut self, now: Now, attempt: AttemptId, result: &AttemptResult) -> Option<AttemptEffects> {
        let mut reservation = self.reservations.remove(&attempt)?;
        let route = reservation.route;
        self.bottlenecks.tick(now.mono);
        // Checked before anything changes: a successful probe ends the cooldown below, and then all routes must be
        // unparked.
        let is_probing = self.fleet.lacks_credit_or_connection(route);
        if self.fleet.pool_of_mut(route).apply_stated_limits(&result.response_meta.limits) {
            self.reject_ineligible();
        }
        let progress = RequestProgress::from_outcome(result.outcome);
        let (cost_by_kind, at_risk) = self.commit_reservation(now, &reservation, result, progress);
        let key = self.fleet.route(route).key;
        let health_before = self.fleet.key(key).health;
        let attempts = reservation.item.attempts() + 1;
        let mut events = Vec::new();
        if matches!(progress, RequestProgress::Accepted | RequestProgress::Throttled | RequestProgress::Rejected) {
            events.extend(self.on_provider_reached(route));
        }
        if progress == RequestProgress::Accepted {
            events.extend(self.on_accepted(now, route));
        }
        if result.outcome.is_answered() {
            events.extend(self.on_success(now, &reservation));
        }
        events.extend(self.apply_to_fleet(now, &mut reservation, result));
        let disposition = self.next_disposition(now, &mut reservation, result);
        if !matches!(disposition, Disposition::Requeued { .. }) {
            self.queue.clear_failing(reservation.item.seq);
        }
        self.record_latency(now, &reservation, result.outcome);
        if self.fleet.key(key).health != health_before {
            self.routing.update_key_stats(&self.fleet, key);
        }
        let max_wait = self.policy.max_retry_after;
        for stated in &result.response_meta.limits {
            self.fleet.pool_of_mut(route).cool_down_if_exhausted(now, stated, max_wait);
        }
        if is_probing {
            self.unpark_all();
        } else {
            self.unpark_after(route);
        }
        let cost = cost_by_kind.total();
        Some(AttemptEffects {
            seq: reservation.item.seq,
            route,
            disposition,
            attempts,
            cost,
            cost_by_kind,
            at_risk,
            events,
        })
    }

    /// Applies the outcome to the pool, project, key, route or provider at fault.
    fn apply_to_fleet(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Vec<EventKind> {
        let route = reservation.route;
        let cause =
            |source| Cause { outcome: result.outcome, source, message: result.message.clone(), since: now.wall };
        let event = match result.outcome {
            Outcome::RateLimitedMinute | Outcome::TokensLimitedMinute => {
                return self.on_minute_limit(now, reservation, result);
            }
            Outcome::QuotaExhaustedDay => self.on_day_exhausted(now, route, result),
            Outcome::QuotaExhaustedBilling if !result.limit_is_zero => {
                self.on_out_of_credit(now, route, cause(CauseSource::Backoff))
            }
            // A quota of zero does not reset, so the model is unavailable.
            Outcome::QuotaExhaustedBilling | Outcome::ModelNotFound => {
                self.on_model_unavailable(route, &cause(CauseSource::Provider))
            }
            Outcome::InvalidKey | Outcome::KeyForbidden => self.on_key_rejected(route, cause(CauseSource::Provider)),
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => {
                return self.on_provider_error(now, reservation, result, &cause(CauseSource::Backoff));
            }
            Outcome::BadRequest if result.action == OutcomeAction::NextModel || result.exceeds_context => None,
            // A request without pictures may only be quoted in an error about a picture.
            Outcome::BadRequest
                if result.picture_refused && self.routing.class(reservation.class).key().needs_vision =>
            {
                self.on_picture_rejection(route, result, cause(CauseSource::Backoff))
            }
            Outcome::BadRequest => self.on_identical_rejection(route, result, cause(CauseSource::Backoff)),
            Outcome::ClientTrouble => self.on_unreachable(now, route, cause(CauseSource::Backoff)),
            Outcome::Ok
            | Outcome::Truncated
            | Outcome::EmptyOutput
            | Outcome::ContentBlocked
            | Outcome::UnreadableInput
            | Outcome::OverBudget
            | Outcome::NoRoute
            | Outcome::Lost => None,
        };
        event.into_iter().collect()
    }

    /// Ends the item or queues it again.
    fn next_disposition(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        match result.outcome {
            Outcome::Ok => Disposition::Done { is_truncated: false },
            Outcome::Truncated => self.retry_truncated(now, reservation, result),
            Outcome::EmptyOutput => self.retry_empty(now, reservation, result),
            Outcome::ContentBlocked if self.policy.next_model_when_blocked => {
                self.requeue_on_next_model(now, reservation)
            }
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => {
                self.retry_provider_error(now, reservation, result)
            }
            Outcome::NoRoute => self.requeue_on_next_model(now, reservation),
            Outcome::BadRequest if result.action == OutcomeAction::NextModel => {
                self.requeue_on_next_model(now, reservation)
            }
            Outcome::BadRequest if result.exceeds_context => self.requeue_on_larger_model(now, reservation),
            Outcome::ContentBlocked | Outcome::UnreadableInput | Outcome::OverBudget | Outcome::BadRequest => {
                Disposition::Failed
            }
            Outcome::RateLimitedMinute
            | Outcome::TokensLimitedMinute
            | Outcome::QuotaExhaustedDay
            | Outcome::QuotaExhaustedBilling
            | Outcome::ModelNotFound
            | Outcome::InvalidKey
            | Outcome::KeyForbidden
            | Outcome::ClientTrouble
            | Outcome::Lost => self.requeue(now, reservation, None),
        }
    }

    /// Commits or releases reserved room and money. Returns the certain cost and the amount at risk.
    fn commit_reservation(
        &mut self,
        now: Now,
        reservation: &Reservation,
        result: &AttemptResult,
        progress: RequestProgress,
    ) -> (CostByKind, Money) {
        let used = TokenEstimate { input: result.usage.input_tokens, output: result.usage.billed_output() };
        let observed = match progress {
            RequestProgress::Throttled => ObservedUsage::Throttled,
            RequestProgress::NotSent => ObservedUsage::NotSent,
            RequestProgress::ProviderError | RequestProgress::NoResponse => ObservedUsage::Unknown,
            RequestProgress::Accepted | RequestProgress::Rejected if result.status.is_none() => ObservedUsage::Unknown,
            // Answered without usage: everything reserved stays counted and may have been billed.
            RequestProgress::Accepted | RequestProgress::Rejected if used == TokenEstimate::default() => {
                ObservedUsage::Missing
            }
            RequestProgress::Accepted | RequestProgress::Rejected => ObservedUsage::Reported(used),
        };
        let route = self.fleet.route(reservation.route);
        let (model, pool) = (route.model, route.pool);
        let mut counted_before = Duration::ZERO;
        if result.status.is_some() {
            let latency = now.mono.since(reservation.sent_at.mono);
            let min_rtt = self.fleet.min_rtt_mut(pool);
            min_rtt.record(latency);
            counted_before = min_rtt.counted_before(latency, result.response_meta.server_time);
        }
        if result.outcome == Outcome::Ok {
            self.fleet.model_mut(model).record_output_tokens(used.output);
        }
        let price = self.fleet.model(model).model.price;
        let billed_images = if used == TokenEstimate::default() { 0 } else { reservation.item.billing.images };
        let cost_by_kind =
            price.map_or_else(CostByKind::default, |price| price.cost(result.usage, billed_images.into()));
        // Without an HTTP status, the request was probably sent but not answered. It may have been billed, as may an
        // unreadable answer.
        let has_no_answer = result.status.is_none() && observed == ObservedUsage::Unknown;
        let is_unreadable = result.outcome == Outcome::MalformedResponse && used == TokenEstimate::default();
        let has_no_usage = result.outcome.is_answered() && used == TokenEstimate::default();
        let at_risk = if has_no_answer || is_unreadable || has_no_usage { reservation.max_cost } else { Money::ZERO };
        self.end_reservation(now, reservation, observed, counted_before, (cost_by_kind.total(), at_risk));
        (cost_by_kind, at_risk)
    }

    /// Replaces what an attempt has reserved by what it used and cost: (certain, at risk).
    fn end_reservation(
        &mut self,
        now: Now,
        reservation: &Reservation,
        observed: ObservedUsage,
        counted_before: Duration,
        (cost, at_risk): (Money, Money),
    ) {
        let id = reservation.route;
        self.fleet.end_request(id);
        self.bottlenecks.set_has_in_flight(id, self.fleet.route(id).in_flight() > 0);
        let timing =
            AttemptTiming { reserved_at: reservation.created_at, sent_at: reservation.sent_at, counted_before };
        self.fleet.pool_of_mut(id).commit(now, reservation.tokens, observed, timing);
        self.budget.commit(now, self.fleet.route(id).key, reservation.max_cost, cost, at_risk);
    }

    /// Records the latency, for strategies that use it. Refusals are not recorded, since they say nothing about speed.
    fn record_latency(&mut self, now: Now, reservation: &Reservation, outcome: Outcome) {
        let latency = now.mono.since(reservation.created_at.mono);
        let model = self.fleet.route(reservation.route).model;
        let mut model_latency = self.fleet.model(model).latency;
        let is_first_of_model = model_latency.mean_micros().is_none();
        let route = self.fleet.route_mut(reservation.route);
        if outcome.is_answered() {
            route.latency.record(now.mono, latency);
            model_latency.record(now.mono, latency);
            self.fleet.model_mut(model).latency = model_latency;
        } else if outcome.is_provider_error() {
            route.latency.record_failure(now.mono, latency, model_latency);
        }
        if is_first_of_model && model_latency.mean_micros().is_some() {
            // The other routes of the model are now expected to have this latency too.
            for id in self.fleet.route_ids().filter(|id| self.fleet.route(*id).model == model) {
                self.routing.update_stats(&self.fleet, id);
            }
        }
        self.routing.update_stats(&self.fleet, reservation.route);
    }

    /// Unparks the routes that a completed request may have made ready.
    fn unpark_after(&mut self, route: RouteId) {
        if self.fleet.lacks_credit_or_connection(route) {
            self.unpark_all();
        } else {
            self.unpark_pool(self.fleet.route(route).pool);
        }
    }

    /// Rejects items that no route can serve after a limit became smaller. Otherwise they would wait forever.
    fn reject_ineligible(&mut self) {
        let view = super::View { fleet: &self.fleet, budget: &self.budget, policy: &self.policy };
        self.queue.reject_where(|class, item| self.routing.permanent_rejection(view, class, item));
    }

    /// Handles any response other than a provider error, even a refusal: the provider can be reached, so the route's
    /// breaker closes.
    fn on_provider_reached(&mut self, id: RouteId) -> Vec<EventKind> {
        let mut events = Vec::new();
        if self.fleet.route_mut(id).record_response() {
            let subject = self.fleet.route_name(id);
            events.push(EventKind::Recovered { subject, message: "trial request succeeded".to_owned() });
        }
        let provider = self.fleet.provider_mut(self.fleet.route(id).provider);
        if provider.connection.on_response() {
            events.push(EventKind::Recovered { subject: provider.name.clone(), message: "reachable again".to_owned() });
        }
        events
    }

    /// Handles a request that the provider accepted and processed: the key and the project's credit are good.
    fn on_accepted(&mut self, now: Now, id: RouteId) -> Option<EventKind> {
        self.fleet.route_mut(id).record_accepted(now.mono);
        let project = self.fleet.project_mut(self.fleet.key_of(id).project);
        project.out_of_credit.take()?;
        Some(EventKind::Recovered { subject: project.name.clone(), message: "credit available again".to_owned() })
    }

    /// Handles an answer with text, complete or truncated: the key is rewarded, and cooldowns that are over end.
    fn on_success(&mut self, now: Now, reservation: &Reservation) -> Vec<EventKind> {
        let route = self.fleet.route(reservation.route);
        let (key, model, pool) = (route.key, route.model, route.pool);
        self.fleet.key_mut(key).health.reward();
        self.fleet.key_mut(key).recent_failures.clear();
        let fleet = &self.fleet;
        self.shared_quotas.on_success(pool, |pool| pool_usage(fleet.pool(pool), now));
        self.fleet.model_mut(model).record_success(now.mono, reservation.item.seq);
        let pool = self.fleet.pool_mut(pool);
        let (has_recovered, day_has_reset) = pool.on_answer(now, reservation.created_at.mono);
        let event = |message: &str| EventKind::Recovered { subject: pool.label.clone(), message: message.to_owned() };
        let recovered = has_recovered.then(|| event(""));
        recovered.into_iter().chain(day_has_reset.then(|| event("day quota reset"))).collect()
    }

    fn on_minute_limit(&mut self, now: Now, reservation: &Reservation, result: &AttemptResult) -> Vec<EventKind> {
        let route = self.fleet.route(reservation.route);
        let (key, pool) = (route.key, route.pool);
        let is_new_episode = self.fleet.pool(pool).is_new_episode(now, reservation.created_at.mono);
        let mut events = Vec::new();
        if is_new_episode {
            self.fleet.min_rtt_mut(pool).disable();
            events.extend(self.shared_quota_warnings(now, pool));
            self.fleet.key_mut(key).health.penalize();
        }
        let state = self.fleet.pool_mut(pool);
        let cooldown =
            state.on_minute_limit(now, reservation.sent_at, result, is_new_episode, &self.policy, &mut self.rng);
        if is_new_episode {
            events.push(cooldown_event(state.label.clone(), result, cooldown.wait));
            if cooldown.is_after_backoff && self.policy.when_limited == WhenLimited::Wait {
                self.routing.advance_cursor_past(reservation.route);
            }
        }
        events
    }

    /// Warnings for pools that seem to share a quota, as the first 429 of an episode on `pool` shows.
    fn shared_quota_warnings(&mut self, now: Now, pool: PoolId) -> impl Iterator<Item = EventKind> {
        let fleet = &self.fleet;
        let usage = |pool| pool_usage(fleet.pool(pool), now);
        let found = self.shared_quotas.on_throttle(now, pool, fleet.sibling_pools(pool), usage);
        found.into_iter().map(|SharedQuota { pools: (one, two), evidence }| {
            let message = format!(
                "{} and {} seem to share a quota: {evidence} times in a row one was refused far below its own limit \
                 when the other had used the rest; give their keys the same project in keys.toml",
                fleet.first_key_name(one),
                fleet.first_key_name(two),
            );
            EventKind::Run { level: EventLevel::Warn, message }
        })
    }

    fn on_day_exhausted(&mut self, now: Now, route: RouteId, result: &AttemptResult) -> Option<EventKind> {
        let pool = self.fleet.pool_of_mut(route);
        let wait = pool.on_day_exhausted(now, result)?;
        Some(cooldown_event(pool.label.clone(), result, wait))
    }

    fn on_out_of_credit(&mut self, now: Now, route: RouteId, cause: Cause) -> Option<EventKind> {
        let project = self.fleet.project_mut(self.fleet.key_of(route).project);
        let was_out_of_credit = project.out_of_credit.as_ref().is_some_and(|cooldown| !cooldown.is_over(now));
        let until = now + self.policy.billing_retry_interval;
        let event = disabled_event(format!("project {}", project.name), &cause);
        let cooldown = Cooldown { since: now, until, ends_by_calendar: true, cause };
        Cooldown::extend(&mut project.out_of_credit, cooldown, now);
        (!was_out_of_credit).then_some(event)
    }

    fn on_key_rejected(&mut self, route: RouteId, cause: Cause) -> Option<EventKind> {
        let key = self.fleet.key_of_mut(route);
        let event = disabled_event(format!("key {}", key.key.name), &cause);
        key.disable(cause).then_some(event)
    }

    /// Marks the model as unavailable for all keys of the project.
    fn on_model_unavailable(&mut self, route: RouteId, cause: &Cause) -> Option<EventKind> {
        let first = self.fleet.mark_model_unavailable(route, cause);
        first.map(|first| disabled_event(self.fleet.route_name(first), cause))
    }

    fn on_unreachable(&mut self, now: Now, route: RouteId, cause: Cause) -> Option<EventKind> {
        let provider = self.fleet.provider_mut(self.fleet.route(route).provider);
        let message = cause.message.clone();
        let wait = provider.connection.on_failure(now, cause)?;
        let subject = format!("provider {}", provider.name);
        Some(EventKind::Cooldown { subject, outcome: Outcome::ClientTrouble, wait: Some(wait), message })
    }

    /// Disables the route until the operator decides, if it rejects every item alike.
    fn on_identical_rejection(&mut self, id: RouteId, result: &AttemptResult, cause: Cause) -> Option<EventKind> {
        // The texts of HTML pages are not compared: they contain request ids, which differ in letters too.
        let is_html_page = result.is_html_auth_error();
        let message = if is_html_page { "" } else { result.message.as_str() };
        let threshold = self.policy.max_identical_rejections;
        let is_reached = self.fleet.route_mut(id).rejections.count_identical(message, threshold);
        let items = pluralize(u64::from(threshold), if is_html_page { "request" } else { "item" });
        let message = format!("{items} got the same error, none succeeded: {}", result.message);
        is_reached.then(|| self.hold_for_operator(id, cause, message)).flatten()
    }

    /// Disables the route until the operator decides, if it refuses every picture.
    fn on_picture_rejection(&mut self, id: RouteId, result: &AttemptResult, cause: Cause) -> Option<EventKind> {
        let is_reached = self.fleet.route_mut(id).rejections.count_picture();
        let is_on = self.policy.max_identical_rejections > 0;
        let message = format!(
            "the pictures of {MAX_PICTURE_REJECTIONS} items refused in a row and none accepted: {}",
            result.message
        );
        (is_reached && is_on).then(|| self.hold_for_operator(id, cause, message)).flatten()
    }

    /// Disables a route until the operator decides. `None` if it was so before.
    fn hold_for_operator(&mut self, id: RouteId, cause: Cause, message: String) -> Option<EventKind> {
        let outcome = cause.outcome;
        let needs_operator = &mut self.fleet.route_mut(id).needs_operator;
        if needs_operator.is_some() {
            return None;
        }
        *needs_operator = Some(cause);
        Some(EventKind::Disabled { subject: self.fleet.route_name(id), outcome, message })
    }

    /// Counts a provider error for the route's breaker, and attributes it to the key or the item.
    fn on_provider_error(
        &mut self,
        now: Now,
        reservation: &mut Reservation,
        result: &AttemptResult,
        cause: &Cause,
    ) -> Vec<EventKind> {
        let id = reservation.route;
        let opened_for = self.fleet.route_mut(id).breaker.record_failure(
            now,
            self.policy.breaker_threshold,
            self.policy.breaker_open_time,
            self.policy.breaker_max_open_time,
            cause.clone(),
        );
        let mut events = Vec::new();
        if result.is_html_auth_error() {
            events.extend(self.on_identical_rejection(id, result, cause.clone()));
        }
        events.extend(opened_for.map(|wait| cooldown_event(self.fleet.route_name(id), result, wait)));
        // The key is at fault only if another key at the same model succeeds.
        if self.fleet.has_other_key_success(now, id) {
            events.extend(self.attribute_fault(now, reservation, cause));
        }
        events
    }

    /// Attributes a provider error that happened while another key at the same model succeeds.
    fn attribute_fault(&mut self, now: Now, reservation: &mut Reservation, cause: &Cause) -> Option<EventKind> {
        let key = self.fleet.route(reservation.route).key;
        let project = self.fleet.key(key).project;
        let seq = reservation.item.seq;
        match reservation.item.retry_state_mut().penalties.attribute(key, project, cause.outcome) {
            Fault::Item => None,
            Fault::ItemProven { failed_alike_on, refunded } => {
                for key in refunded {
                    let state = self.fleet.key_mut(key);
                    state.health.refund_penalty();
                    state.recent_failures.clear();
                    self.routing.update_key_stats(&self.fleet, key);
                }
                let name = |key| &self.fleet.key(key).key.name;
                let message = format!(
                    "item {} fails on 2 keys ({}, {}; {}): item at fault, keys cleared",
                    seq.0,
                    name(failed_alike_on),
                    name(key),
                    cause.outcome
                );
                Some(EventKind::Run { level: EventLevel::Info, message })
            }
            Fault::Key { is_first } => {
                let state = self.fleet.key_mut(key);
                if is_first {
                    state.health.penalize();
                }
                state.recent_failures.record(now.mono, seq).then(|| self.trip_key(now, key, cause)).flatten()
            }
        }
    }

    /// Opens the closed breakers of all routes of a key.
    fn trip_key(&mut self, now: Now, key: KeyId, cause: &Cause) -> Option<EventKind> {
        let open_time = self.policy.breaker_open_time;
        self.fleet.key_mut(key).recent_failures.clear();
        let any_opened = self.fleet.open_breakers(now, key, open_time, cause);
        let message =
            format!("{MIN_FAILING_ITEMS} different items failed here while other keys answered: {}", cause.message);
        let subject = format!("key {}", self.fleet.key(key).key.name);
        let event = EventKind::Cooldown { subject, outcome: cause.outcome, wait: Some(open_time), message };
        any_opened.then_some(event)
    }

    /// Retries an item after a provider error, at first on the same model with growing delays.
    fn retry_provider_error(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        let model = self.fleet.route(reservation.route).model;
        let model_works_for_others = self.fleet.model(model).has_recent_success(now.mono, reservation.item.seq);
        // `unfinished_items` does not count this item now, since its reservation was removed.
        let are_all_items_failing = self.queue.mark_failing(reservation.item.seq) > self.unfinished_items();
        let retries = self.policy.retries_per_model;
        let retry_state = reservation.item.retry_state_mut();
        let model_failures = retry_state.switch_to_model(model);
        model_failures.timeouts += u32::from(result.outcome == Outcome::Timeout);
        if model_works_for_others || (are_all_items_failing && model_failures.excused_errors >= retries) {
            model_failures.counted_errors += 1;
        } else {
            model_failures.excused_errors += 1;
        }
        let (errors, counted) = (model_failures.provider_errors(), model_failures.counted_errors);
        if self.has_no_tries_left(reservation) {
            return Disposition::Failed;
        }
        let max_errors = if retries == 0 { Some(1) } else { self.policy.max_errors_per_model };
        if (counted > 0 && errors > retries) || max_errors.is_some_and(|max| errors >= max) {
            return self.requeue_on_next_model(now, reservation);
        }
        if matches!(self.fleet.route(reservation.route).breaker, Breaker::Open { .. }) {
            let next_route = self.preview_route(now, reservation.class, &reservation.item);
            if next_route.is_some_and(|next_route| next_route != reservation.route) {
                return self.requeue(now, reservation, None);
            }
        }
        let delays = &self.policy.retry_delays;
        let step = (errors as usize).clamp(1, delays.len().max(1)) - 1;
        let delay = delays.get(step).copied().unwrap_or_default();
        let jitter = delay.mul_f64(self.rng.f64() * 0.25);
        // Never retry before the wait that the provider stated, up to the configured maximum.
        let stated_wait = result.retry_after.map(|retry_after| retry_after.delay.min(self.policy.max_retry_after));
        self.requeue(now, reservation, Some((delay + jitter).max(stated_wait.unwrap_or_default())))
    }

    /// Whether the item has used up its tries over all models.
    fn has_no_tries_left(&self, reservation: &Reservation) -> bool {
        self.policy.max_attempts.is_some_and(|max| reservation.item.failed_tries() >= max)
    }

    fn retry_empty(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        let model = self.fleet.route(reservation.route).model;
        // If the provider gives a reason for the empty answer, a retry is pointless.
        let max_retries = if result.action == OutcomeAction::FailItem { 0 } else { self.policy.max_empty_retries };
        let retry_state = reservation.item.retry_state_mut();
        let model_failures = retry_state.switch_to_model(model);
        model_failures.empty_outputs += 1;
        let empty_outputs = model_failures.empty_outputs;
        if self.has_no_tries_left(reservation) {
            return Disposition::Failed;
        }
        if empty_outputs <= max_retries {
            self.requeue(now, reservation, None)
        } else {
            self.requeue_on_next_model(now, reservation)
        }
    }

    fn retry_truncated(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        let has_text = result.answer.as_ref().is_some_and(|answer| !answer.text.trim().is_empty());
        if has_text && !reservation.item.is_caption {
            return Disposition::Done { is_truncated: true };
        }
        if self.policy.truncated_retry_factor.is_none() || reservation.item.retry_state_mut().has_larger_output {
            return Disposition::Failed;
        }
        let before = self.max_outputs(reservation);
        reservation.item.retry_state_mut().has_larger_output = true;
        // A retry makes sense only if it raises the output limit of some model. Each limit may already be the model's
        // maximum.
        let raises_limit = self.max_outputs(reservation) != before;
        let can_serve = |route: &RouteId| self.view().is_eligible(*route, &reservation.item);
        if raises_limit && self.routing.class(reservation.class).candidates().iter().any(can_serve) {
            return self.requeue(now, reservation, None);
        }
        Disposition::Failed
    }

    /// By model: the output limit that a request for this item would state.
    fn max_outputs(&self, reservation: &Reservation) -> SmallVec<[Option<u32>; 8]> {
        let max_output = |state: &ModelState| self.view().max_output_tokens(&state.model, &reservation.item);
        self.fleet.models().iter().map(max_output).collect()
    }

    /// Puts the item back into the queue, at once or after a delay.
    fn requeue(&mut self, now: Now, reservation: &mut Reservation, delay: Option<Duration>) -> Disposition {
        reservation.item.retry_state_mut().attempts += 1;
        let (class, item) = (reservation.class, reservation.item.clone());
        // A limit that the provider has stated in the meantime, or the item's larger output limit, may exclude every
        // route.
        if let Some(rejection) = self.routing.permanent_rejection(self.view(), class, &item) {
            self.queue.reject(rejection);
            return Disposition::Requeued { delay: None, next_route: None };
        }
        if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
            self.queue.back_off(now.mono + delay, class, item);
            return Disposition::Requeued { delay: Some(delay), next_route: None };
        }
        let next_route = self.preview_route(now, class, &item);
        self.queue.class_mut(class).push_retry(item);
        Disposition::Requeued { delay: None, next_route }
    }

    /// Gives up on this model and requeues the item for the next one. The item fails if no candidate is left.
    fn requeue_on_next_model(&mut self, now: Now, reservation: &mut Reservation) -> Disposition {
        reservation.item.give_up_on(self.fleet.route(reservation.route).model);
        self.queue.clear_failing(reservation.item.seq);
        let has_candidate = self.routing.class(reservation.class).candidates().iter().any(|&route| {
            let is_disabled = matches!(self.fleet.availability(now, route), Availability::Disabled(_));
            !is_disabled && self.view().is_eligible(route, &reservation.item)
        });
        if has_candidate { self.requeue(now, reservation, None) } else { Disposition::Failed }
    }

    /// Requeues the item for a model whose context is known to be larger than this model's. If this model's context is
    /// unknown, it must be larger than the request.
    fn requeue_on_larger_model(&mut self, now: Now, reservation: &mut Reservation) -> Disposition {
        let min_context = self.fleet.model_of(reservation.route).context.unwrap_or(reservation.item.input_tokens);
        for (index, state) in self.fleet.models().iter().enumerate() {
            if state.model.context.is_none_or(|context| context <= min_context) {
                reservation.item.give_up_on(ModelId(index as u32));
            }
        }
        self.requeue_on_next_model(now, reservation)
    }

    /// Cancels an attempt that was never sent, because the run is stopping or its intent could not be recorded.
    pub fn cancel(&mut self, now: Now, attempt: AttemptId) {
        let Some(reservation) = self.reservations.remove(&attempt) else { return };
        self.bottlenecks.tick(now.mono);
        let no_cost = (Money::ZERO, Money::ZERO);
        self.end_reservation(now, &reservation, ObservedUsage::NotSent, Duration::ZERO, no_cost);
        self.unpark_after(reservation.route);
        self.queue.class_mut(reservation.class).push_front(reservation.item);
    }
}

fn cooldown_event(subject: String, result: &AttemptResult, wait: Duration) -> EventKind {
    EventKind::Cooldown { subject, outcome: result.outcome, wait: Some(wait), message: result.message.clone() }
}

fn disabled_event(subject: String, cause: &Cause) -> EventKind {
    EventKind::Disabled { subject, outcome: cause.outcome, message: cause.message.clone() }
}

fn pool_usage(pool: &QuotaPool, now: Now) -> PoolUsage {
    PoolUsage {
        used: pool.requests_gauge(now).used,
        limit: pool.limits.requests_per_minute.declared(),
        in_flight: u64::from(pool.in_flight),
    }
}
