//! `complete`: the effects of an attempt's result on the item, its route, and the pool, key and provider behind it.
//!
//! [`Scheduler::complete`] commits the reservation. Then two lists, by outcome: [`Scheduler::apply_to_fleet`] says what
//! happens to the pool, key, route or provider at fault, and [`Scheduler::end_or_requeue`] whether the item is done,
//! failed or queued again.

use std::time::Duration;

use crate::domain::{
    AttemptId, AttemptResult, CostByKind, EventKind, EventLevel, LimitDimension, Model, ModelId, Money, MonoTime, Now,
    Outcome, OutcomeAction, PoolId, RouteId, Seq, WhenLimited,
    request::estimated_text_tokens,
    snapshot::{Cause, CauseSource},
};

use super::{
    Reservation, Scheduler,
    admission::Availability,
    fleet::Proof,
    health::{breaker::Breaker, fault_attribution::Fault},
    limits::{
        pool::{AttemptTiming, ObservedUsage, QuotaPool},
        pool_limits::TokenEstimate,
    },
    queue::{Evidence, Retry},
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
    /// Attempts for this item so far, those that sent nothing included.
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

impl Scheduler {
    /// Takes the result of `attempt`. `None` if no such attempt is in flight.
    pub fn complete(&mut self, now: Now, attempt: AttemptId, result: &AttemptResult) -> Option<AttemptEffects> {
        self.complete_after_check(now, attempt, result, Duration::ZERO)
    }

    /// As [`Scheduler::complete`], for a result that came `check_time` ago: its answer was checked since then, which is
    /// no part of the model's latency.
    pub fn complete_after_check(
        &mut self,
        now: Now,
        attempt: AttemptId,
        result: &AttemptResult,
        check_time: Duration,
    ) -> Option<AttemptEffects> {
        let mut reservation = self.reservations.remove(&attempt)?;
        let route = reservation.route;
        self.bottlenecks.tick(now.mono);
        // Checked before anything changes: a successful probe ends the cooldown below, and then all routes must be
        // unparked.
        let is_probing = self.fleet.lacks_credit_or_connection(route);
        if self.fleet.pool_of_mut(route).apply_stated_limits(&result.response_meta.limits) {
            self.reject_ineligible();
        }
        let (cost_by_kind, at_risk) = self.commit_reservation(now, &reservation, result, check_time);
        let key = self.fleet.route(route).key;
        let health_before = self.fleet.key(key).health;
        let attempts = reservation.item.attempts() + 1;
        let mut events = Vec::new();
        if result.outcome.is_provider_error() || result.outcome == Outcome::ClientTrouble {
            self.fleet.on_failure(now, route, result);
        } else if !result.outcome.is_unattributed() {
            events.extend(self.fleet.on_provider_reached(route));
        }
        if result.outcome.is_processed() {
            events.extend(self.fleet.on_accepted(route, proof_of(now, &reservation)));
        }
        if result.outcome.is_provider_success() {
            events.extend(self.on_success(now, &reservation));
        }
        events.extend(self.apply_to_fleet(now, &mut reservation, result));
        let disposition = self.end_or_requeue(now, &mut reservation, result);
        if !matches!(disposition, Disposition::Requeued { .. }) {
            self.queue.clear_failing(reservation.item.seq);
        }
        self.record_latency(now, &reservation, result.outcome, check_time);
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
        let cause = |source| Cause::from_result(result, source, now.wall);
        let event = match result.outcome {
            Outcome::RateLimitedMinute | Outcome::TokensLimitedMinute => {
                return self.on_minute_limit(now, reservation, result);
            }
            Outcome::QuotaExhaustedDay => self.on_day_exhausted(now, route, result),
            Outcome::QuotaExhaustedBilling if !result.limit_is_zero => {
                let wait = self.policy.billing_retry_interval;
                self.fleet.exhaust_credit(now, route, wait, cause(CauseSource::Backoff))
            }
            // A quota of zero does not reset, so the model is unavailable.
            Outcome::QuotaExhaustedBilling | Outcome::ModelNotFound => {
                self.fleet.mark_model_unavailable(route, &cause(CauseSource::Provider))
            }
            Outcome::InvalidKey | Outcome::KeyForbidden => {
                self.fleet.disable_key(self.fleet.route(route).key, cause(CauseSource::Provider))
            }
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => {
                return self.on_provider_error(now, reservation, result, &cause(CauseSource::Backoff));
            }
            // The request is sent again in another form, so nobody is at fault.
            Outcome::BadRequest if result.action == OutcomeAction::Retry => None,
            Outcome::BadRequest if result.action == OutcomeAction::NextModel || result.exceeds_context => None,
            // A request without pictures may only be quoted in an error about a picture.
            Outcome::BadRequest
                if result.picture_refused && self.routing.class(reservation.class).key().needs_vision =>
            {
                self.fleet.count_refused_picture(route, &self.policy, cause(CauseSource::Backoff))
            }
            Outcome::BadRequest => self.fleet.count_rejection(route, &self.policy, result, cause(CauseSource::Backoff)),
            Outcome::ClientTrouble => self.fleet.disconnect(now, route, cause(CauseSource::Backoff)),
            Outcome::Ok
            | Outcome::Truncated
            | Outcome::InvalidOutput
            | Outcome::EmptyOutput
            | Outcome::ContentBlocked
            | Outcome::UnreadableInput
            | Outcome::OverBudget
            | Outcome::NoRoute
            | Outcome::GivenUp
            | Outcome::Lost => None,
        };
        event.into_iter().collect()
    }

    /// Ends the item or queues it again.
    fn end_or_requeue(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        match result.outcome {
            Outcome::Ok => Disposition::Done { is_truncated: false },
            Outcome::Truncated => self.retry_truncated(now, reservation, result),
            Outcome::EmptyOutput => self.retry_empty(now, reservation, result),
            Outcome::InvalidOutput => self.retry_invalid(now, reservation, result),
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
            Outcome::BadRequest if result.action == OutcomeAction::Retry => self.requeue(now, reservation, None),
            Outcome::BadRequest if result.exceeds_context => self.requeue_on_larger_model(now, reservation),
            Outcome::ContentBlocked
            | Outcome::UnreadableInput
            | Outcome::OverBudget
            | Outcome::GivenUp
            | Outcome::BadRequest => Disposition::Failed,
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
        check_time: Duration,
    ) -> (CostByKind, Money) {
        let outcome = result.outcome;
        let used = TokenEstimate { input: result.usage.input_tokens, output: result.usage.billed_output() };
        let has_usage = used != TokenEstimate::default();
        let observed = match outcome {
            _ if outcome.is_local() => ObservedUsage::NotSent,
            _ if outcome.is_limit_error() => ObservedUsage::Throttled,
            _ if outcome.is_provider_error() || result.status.is_none() => ObservedUsage::Unknown,
            // Nothing of an answer was seen.
            Outcome::Lost => ObservedUsage::Unknown,
            // Answered without usage: everything reserved stays counted and may have been billed.
            _ if !has_usage => ObservedUsage::Missing,
            _ => ObservedUsage::Reported(used),
        };
        let route = self.fleet.route(reservation.route);
        let (model, pool) = (route.model, route.pool);
        let mut counted_before = Duration::ZERO;
        if result.status.is_some() {
            self.fleet.pool_mut(pool).on_response(now);
            let latency = now.mono.since(reservation.sent_at.mono).saturating_sub(check_time);
            let min_rtt = self.fleet.min_rtt_mut(pool);
            min_rtt.record(latency);
            counted_before = min_rtt.counted_before(latency, result.response_meta.server_time) + check_time;
        }
        if outcome == Outcome::Ok {
            self.fleet.record_output_tokens(model, used.output);
        }
        let price = self.fleet.model(model).model.price;
        let billed_images = if has_usage { reservation.item.cost_factors.images } else { 0 };
        let cost_by_kind =
            price.map_or_else(CostByKind::default, |price| price.cost(result.usage, billed_images.into()));
        // Without an HTTP status, the request was probably sent but not answered. It may have been billed, as may an
        // unreadable answer.
        let may_be_billed = (result.status.is_none() && observed == ObservedUsage::Unknown)
            || (!has_usage && (outcome == Outcome::MalformedResponse || outcome.is_provider_success()));
        let at_risk = if may_be_billed { reservation.max_cost } else { Money::ZERO };
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

    /// Records the latency, for strategies that use it.
    fn record_latency(&mut self, now: Now, reservation: &Reservation, outcome: Outcome, check_time: Duration) {
        let latency = now.mono.since(reservation.created_at.mono).saturating_sub(check_time);
        if self.fleet.record_latency(now, reservation.route, outcome, latency) {
            // The other routes of the model are now expected to have this latency too.
            let model = self.fleet.route(reservation.route).model;
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
        self.queue.reject_where(|class, item| self.routing.class(class).permanent_rejection(view, item));
    }

    /// Handles an answer with text, complete, truncated or invalid: the key is rewarded, and cooldowns that are over
    /// end.
    fn on_success(&mut self, now: Now, reservation: &Reservation) -> Vec<EventKind> {
        let route = self.fleet.route(reservation.route);
        let pool = route.pool;
        self.fleet.on_success(reservation.route, reservation.item.seq, proof_of(now, reservation));
        let fleet = &self.fleet;
        self.shared_quotas.on_success(pool, |pool| pool_usage(fleet.pool(pool), now));
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
            self.fleet.penalize(key);
            self.fleet.on_first_throttle(reservation.route);
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

    /// Counts a provider error for the route's breaker, and attributes it to the key or the item.
    fn on_provider_error(
        &mut self,
        now: Now,
        reservation: &mut Reservation,
        result: &AttemptResult,
        cause: &Cause,
    ) -> Vec<EventKind> {
        let id = reservation.route;
        // The key is at fault only if another key at the same model succeeds.
        let model = self.fleet.route(id).model;
        let item_failed_at = reservation.item.retry_state_mut().failures_on(model).last_error_at;
        let other_key_works = self.fleet.has_other_key_success(now, id, item_failed_at);
        let opened_for = self.fleet.record_failure(now, id, &self.policy, cause);
        self.fleet.pool_of_mut(id).on_failed_probe(now, &self.policy);
        let mut events = Vec::new();
        if result.is_html_auth_error() {
            events.extend(self.fleet.count_rejection(id, &self.policy, result, cause.clone()));
        }
        events.extend(opened_for.map(|wait| cooldown_event(self.fleet.route_name(id), result, wait)));
        if other_key_works {
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
                    self.fleet.refund_penalty(key);
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
                if is_first {
                    self.fleet.penalize(key);
                }
                self.fleet.record_failed_item(now, key, seq, self.policy.breaker_open_time, cause)
            }
        }
    }

    /// Retries an item after a provider error, at first on the same model with growing delays.
    fn retry_provider_error(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        let model = self.fleet.route(reservation.route).model;
        let seq = reservation.item.seq;
        // `unfinished_items` does not count this item now, since its reservation was removed.
        let are_all_items_failing = self.queue.mark_failing(seq) > self.unfinished_items();
        let retry_state = reservation.item.retry_state_mut();
        let provider = self.fleet.route(reservation.route).provider;
        let last_error_at = retry_state.failures_on(model).last_error_at;
        let after_last_error = |has_evidence: &dyn Fn(MonoTime) -> bool| last_error_at.is_some_and(has_evidence);
        let evidence = Evidence {
            model_works_for_others: after_last_error(&|at| {
                self.fleet.model(model).has_success_since(at, now.mono, seq)
            }),
            only_failing_items_left: are_all_items_failing
                && after_last_error(&|at| self.fleet.works_since(provider, at)),
        };
        let outcome = result.outcome;
        let delay = match retry_state.on_provider_error(now.mono, &self.policy, model, outcome, evidence) {
            Retry::Fail => return Disposition::Failed,
            Retry::NextModel => return self.requeue_on_next_model(now, reservation),
            Retry::SameModel(delay) => delay,
        };
        if matches!(self.fleet.route(reservation.route).breaker, Breaker::Open { .. }) {
            let next_route = self.preview_route(now, reservation.class, &reservation.item);
            if next_route.is_some_and(|next_route| next_route != reservation.route) {
                return self.requeue(now, reservation, None);
            }
        }
        let jitter = delay.mul_f64(self.rng.f64() * 0.25);
        // Never retry before the wait that the provider stated, up to the configured maximum.
        let stated_wait = result.retry_after.map(|retry_after| retry_after.delay.min(self.policy.max_retry_after));
        self.requeue(now, reservation, Some((delay + jitter).max(stated_wait.unwrap_or_default())))
    }

    fn retry_empty(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        let model = self.fleet.route(reservation.route).model;
        // If the provider gives a reason for the empty answer, a retry is pointless.
        let is_final = result.action == OutcomeAction::FailItem;
        let retry = reservation.item.retry_state_mut().on_empty_output(&self.policy, model, is_final);
        self.retry_answer(now, reservation, retry)
    }

    /// Retries an item whose answer failed a check: on the same model as often as the check says, then on the next one.
    fn retry_invalid(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        let Some(failed) = &result.failed_check else { return Disposition::Failed };
        // The check could not be made, so another answer would be paid for in vain.
        if result.action == OutcomeAction::FailItem {
            return Disposition::Failed;
        }
        let model = self.fleet.route(reservation.route).model;
        let explanation_tokens = failed.explanation.as_deref().map_or(0, estimated_text_tokens);
        reservation.item.set_explanation_tokens(explanation_tokens);
        if failed.is_truncated {
            self.use_larger_output(reservation);
        }
        let retry = reservation.item.retry_state_mut().on_invalid_output(&self.policy, model, failed.retries);
        self.retry_answer(now, reservation, retry)
    }

    /// Requeues an item whose answer is not accepted, as its retry state says.
    fn retry_answer(&mut self, now: Now, reservation: &mut Reservation, retry: Retry) -> Disposition {
        match retry {
            Retry::Fail => Disposition::Failed,
            Retry::NextModel => self.requeue_on_next_model(now, reservation),
            Retry::SameModel(_) => self.requeue(now, reservation, None),
        }
    }

    fn retry_truncated(&mut self, now: Now, reservation: &mut Reservation, result: &AttemptResult) -> Disposition {
        let has_text = result.answer.as_ref().is_some_and(|answer| !answer.text.trim().is_empty());
        if has_text && !reservation.item.is_caption {
            return Disposition::Done { is_truncated: true };
        }
        if self.use_larger_output(reservation) { self.requeue(now, reservation, None) } else { Disposition::Failed }
    }

    /// Gives the item a larger output limit, once. False if it can't have one.
    fn use_larger_output(&self, reservation: &mut Reservation) -> bool {
        if self.policy.truncated_retry_factor.is_none() || reservation.item.has_larger_output() {
            return false;
        }
        let before = reservation.item.clone();
        reservation.item.retry_state_mut().has_larger_output = true;
        // A retry makes sense only if it raises the output limit of some model. Each limit may already be the model's
        // maximum.
        let max_output = |model: &Model, item| self.view().max_output_tokens(model, item);
        let mut models = self.fleet.models().iter().map(|state| &state.model);
        let raises_limit = models.any(|model| max_output(model, &before) != max_output(model, &reservation.item));
        let can_serve = |route: &RouteId| self.view().is_eligible(*route, &reservation.item);
        let is_possible = raises_limit && self.routing.class(reservation.class).candidates().iter().any(can_serve);
        reservation.item.retry_state_mut().has_larger_output = is_possible;
        is_possible
    }

    /// Puts the item back into the queue, at once or after a delay.
    fn requeue(&mut self, now: Now, reservation: &mut Reservation, delay: Option<Duration>) -> Disposition {
        reservation.item.retry_state_mut().attempts += 1;
        let (class, item) = (reservation.class, reservation.item.clone());
        // A limit that the provider has stated in the meantime, or the item's larger output limit, may exclude every
        // route.
        if let Some(rejection) = self.routing.class(class).permanent_rejection(self.view(), &item) {
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
        reservation.item.retry_state_mut().give_up_on(self.fleet.route(reservation.route).model);
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
                reservation.item.retry_state_mut().give_up_on(ModelId(index as u32));
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

const fn proof_of(now: Now, answered: &Reservation) -> Proof {
    Proof { sent_at: answered.sent_at.mono, answered_at: now.mono }
}

fn pool_usage(pool: &QuotaPool, now: Now) -> PoolUsage {
    PoolUsage {
        used: pool.requests_gauge(now).used,
        limit: pool.limits[LimitDimension::RequestsPerMinute].declared(),
        in_flight: u64::from(pool.in_flight),
    }
}
