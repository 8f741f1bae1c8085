//! `complete`: the effects of an attempt's result on the item, its route, and the pool, key and provider behind it.
//!
//! This file releases or commits the reservation and ends or requeues the item. The effects of an outcome on the pool,
//! key, route or provider are in `success`, `quota` and `fault`.

mod fault;
mod quota;
mod success;

use std::{cmp::Reverse, time::Duration};

use crate::domain::{
    AttemptId, AttemptResult, EventKind, ModelId, Money, Now, Outcome, OutcomeAction, RouteId, Seq,
    snapshot::{Cause, CauseSource},
};

use super::{
    Reserved, Scheduler,
    availability::Availability,
    limits::pool::{AttemptTiming, ObservedUsage, TokenEstimate},
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
        let mut reserved = self.reservations.remove(&attempt)?;
        self.tick_bottlenecks(now);
        // Checked before anything changes: a successful probe ends the cooldown below, and then all routes must be
        // unparked.
        let is_probing = self.is_probing_credit_or_connection(reserved.route);
        self.apply_stated_limits(&reserved, result);
        let progress = RequestProgress::from_outcome(result.outcome);
        let (cost, at_risk) = self.commit_reservation(now, &reserved, result, progress);
        let key = self.routes[reserved.route.index()].key;
        let health_before = self.keys[key].health;
        let attempts = reserved.item.attempts() + 1;
        let mut events = Vec::new();
        match progress {
            RequestProgress::Accepted => self.on_accepted(now, &reserved, &mut events),
            RequestProgress::Throttled | RequestProgress::Rejected => self.on_provider_reached(&reserved, &mut events),
            RequestProgress::ProviderError | RequestProgress::NoResponse | RequestProgress::NotSent => {}
        }
        if result.outcome.is_answered() {
            self.on_success(now, &reserved, &mut events);
        }
        let disposition = self.apply_outcome(now, &mut reserved, result, &mut events);
        if !matches!(disposition, Disposition::Requeued { .. }) {
            self.failing_items.remove(&reserved.item.seq);
        }
        self.record_latency(now, &reserved, result.outcome);
        if self.keys[key].health != health_before {
            self.update_key_stats(key);
        }
        self.cool_down_exhausted(now, &reserved, result);
        if is_probing {
            self.unpark_all();
        } else {
            self.unpark_after(&reserved);
        }
        Some(AttemptEffects {
            seq: reserved.item.seq,
            route: reserved.route,
            disposition,
            attempts,
            cost,
            at_risk,
            events,
        })
    }

    /// Applies the outcome to the item and to whatever is at fault.
    fn apply_outcome(
        &mut self,
        now: Now,
        reserved: &mut Reserved,
        result: &AttemptResult,
        events: &mut Vec<EventKind>,
    ) -> Disposition {
        let cause =
            |source| Cause { outcome: result.outcome, source, message: result.message.clone(), since: now.wall };
        match result.outcome {
            Outcome::Ok => return Disposition::Done { is_truncated: false },
            Outcome::Truncated => return self.on_truncated(now, reserved, result),
            Outcome::EmptyOutput => return self.on_empty_output(now, reserved, result),
            Outcome::ContentBlocked if self.policy.next_model_when_blocked => {
                return self.requeue_on_next_model(now, reserved);
            }
            Outcome::ContentBlocked | Outcome::UnreadableInput | Outcome::OverBudget => return Disposition::Failed,
            Outcome::RateLimitedMinute | Outcome::TokensLimitedMinute => {
                self.on_minute_limit(now, reserved, result, events);
            }
            Outcome::QuotaExhaustedDay => self.on_day_exhausted(now, reserved, result, events),
            Outcome::QuotaExhaustedBilling if !result.limit_is_zero => {
                self.on_out_of_credit(now, reserved, cause(CauseSource::Backoff), events);
            }
            // A quota of zero does not reset, so the model is unavailable.
            Outcome::QuotaExhaustedBilling | Outcome::ModelNotFound => {
                self.on_model_unavailable(reserved.route, &cause(CauseSource::Provider), events);
            }
            Outcome::InvalidKey | Outcome::KeyForbidden => {
                self.on_key_rejected(reserved.route, cause(CauseSource::Provider), events);
            }
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => {
                return self.on_provider_error(now, reserved, result, cause(CauseSource::Backoff), events);
            }
            Outcome::BadRequest if result.action == OutcomeAction::NextModel => {
                return self.requeue_on_next_model(now, reserved);
            }
            Outcome::BadRequest if result.exceeds_context => return self.requeue_on_larger_model(now, reserved),
            // A request without pictures may only be quoted in such an error.
            Outcome::BadRequest if result.picture_refused && self.classes[reserved.class].class_key.needs_vision => {
                self.on_picture_rejection(reserved, result, cause(CauseSource::Backoff), events);
                return Disposition::Failed;
            }
            Outcome::BadRequest => {
                self.count_identical_rejection(reserved, result, cause(CauseSource::Backoff), events);
                return Disposition::Failed;
            }
            Outcome::NoRoute => return self.requeue_on_next_model(now, reserved),
            Outcome::ClientTrouble => self.on_unreachable(now, reserved.route, cause(CauseSource::Backoff), events),
            Outcome::Lost => {}
        }
        self.requeue(now, reserved, None)
    }

    /// Commits or releases reserved room and money. Returns the certain cost and the amount at risk.
    fn commit_reservation(
        &mut self,
        now: Now,
        reserved: &Reserved,
        result: &AttemptResult,
        progress: RequestProgress,
    ) -> (Money, Money) {
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
        let route = &mut self.routes[reserved.route.index()];
        route.in_flight -= 1;
        self.bottlenecks.set_has_in_flight(reserved.route, route.in_flight > 0);
        self.keys[route.key].in_flight -= 1;
        let model = &mut self.models[route.model];
        let mut counted_before = Duration::ZERO;
        if result.status.is_some() {
            let latency = now.mono.since(reserved.sent_at.mono);
            let min_rtt = &mut self.model_groups[self.pools[route.pool].model_group].min_rtt;
            min_rtt.record(latency);
            counted_before = min_rtt.counted_before(latency, result.response_meta.server_time);
        }
        let timing = AttemptTiming { reserved_at: reserved.created_at, sent_at: reserved.sent_at, counted_before };
        self.pools[route.pool].commit(now, reserved.tokens, observed, timing);
        if result.outcome == Outcome::Ok {
            let mean = model.mean_output_tokens.unwrap_or(used.output as f64);
            model.mean_output_tokens = Some(mean + (used.output as f64 - mean) * 0.05);
        }
        let price = model.model.price;
        let cost = price.map_or(Money::ZERO, |price| price.cost(used.input, used.output));
        // Without an HTTP status, the request was probably sent but not answered. It may have been billed, as may an
        // unreadable answer.
        let has_no_answer = result.status.is_none() && observed == ObservedUsage::Unknown;
        let is_unreadable = result.outcome == Outcome::MalformedResponse && used == TokenEstimate::default();
        let has_no_usage = result.outcome.is_answered() && used == TokenEstimate::default();
        let at_risk = if has_no_answer || is_unreadable || has_no_usage { reserved.max_cost } else { Money::ZERO };
        self.run_spend.reserved = self.run_spend.reserved.saturating_sub(reserved.max_cost);
        self.run_spend.spent += cost;
        self.run_spend.at_risk += at_risk;
        self.commit_budgets(now, reserved, cost + at_risk);
        (cost, at_risk)
    }

    fn commit_budgets(&mut self, now: Now, reserved: &Reserved, committed: Money) {
        self.day_budget.commit(now.wall, reserved.max_cost, committed);
        let key = self.routes[reserved.route.index()].key;
        self.keys[key].budget.commit(now.wall, reserved.max_cost, committed);
    }

    /// Records the latency, for strategies that use it. Refusals are not recorded, since they say nothing about speed.
    fn record_latency(&mut self, now: Now, reserved: &Reserved, outcome: Outcome) {
        let latency = now.mono.since(reserved.created_at.mono);
        let route = &mut self.routes[reserved.route.index()];
        let model_latency = &mut self.models[route.model].latency;
        let is_first_of_model = model_latency.mean_micros().is_none();
        if outcome.is_answered() {
            route.latency.record(now.mono, latency);
            model_latency.record(now.mono, latency);
        } else if outcome.is_provider_error() {
            route.latency.record_failure(now.mono, latency, *model_latency);
        }
        if is_first_of_model && model_latency.mean_micros().is_some() {
            let model = route.model;
            // The other routes of the model are now expected to have this latency too.
            for index in 0..self.routes.len() {
                if self.routes[index].model == model {
                    self.update_stats(RouteId(index as u32));
                }
            }
        }
        self.update_stats(reserved.route);
    }

    /// Whether the route's provider could not be reached, or its project had no credit, when last tried.
    fn is_probing_credit_or_connection(&self, route: RouteId) -> bool {
        let route = &self.routes[route.index()];
        let project = self.keys[route.key].project;
        self.providers[route.provider].unreachable.is_some() || self.projects[project].out_of_credit.is_some()
    }

    /// Unparks the routes that a completed request may have made ready.
    fn unpark_after(&mut self, reserved: &Reserved) {
        if self.is_probing_credit_or_connection(reserved.route) {
            self.unpark_all();
        } else {
            self.unpark_pool(self.routes[reserved.route.index()].pool);
        }
    }

    /// Puts the item back into the queue, at once or after a delay.
    fn requeue(&mut self, now: Now, reserved: &mut Reserved, delay: Option<Duration>) -> Disposition {
        reserved.item.retry_state_mut().attempts += 1;
        let (class, item) = (reserved.class, reserved.item.clone());
        // A limit that the provider has stated in the meantime, or the item's larger output limit, may exclude every
        // route.
        if let Some(rejection) = self.permanent_rejection(class, &item) {
            self.rejections.push(rejection);
            return Disposition::Requeued { delay: None, next_route: None };
        }
        if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
            let at = now.mono + delay;
            self.backoff_wakeups.push(Reverse((at, item.seq)));
            self.backing_off.insert(item.seq, (class, item));
            return Disposition::Requeued { delay: Some(delay), next_route: None };
        }
        let next_route = self.preview_route(now, class, &item);
        self.classes[class].retries.push_back(item);
        self.classes[class].stuck_at_version = None;
        Disposition::Requeued { delay: None, next_route }
    }

    /// Gives up on this model and requeues the item for the next one. The item fails if no candidate is left.
    fn requeue_on_next_model(&mut self, now: Now, reserved: &mut Reserved) -> Disposition {
        let model = ModelId(self.routes[reserved.route.index()].model as u32);
        if !reserved.item.has_given_up_on(model) {
            reserved.item.retry_state_mut().models_given_up.push(model);
        }
        self.failing_items.remove(&reserved.item.seq);
        let has_candidate = self.classes[reserved.class].candidates.iter().any(|&route| {
            let is_disabled = matches!(self.availability(now, route), Availability::Disabled(_));
            !is_disabled && self.ineligibility(route, &reserved.item).is_none()
        });
        if has_candidate { self.requeue(now, reserved, None) } else { Disposition::Failed }
    }

    /// Requeues the item for a model whose context is known to be larger than this model's. If this model's context is
    /// unknown, it must be larger than the request.
    fn requeue_on_larger_model(&mut self, now: Now, reserved: &mut Reserved) -> Disposition {
        let min_context =
            self.models[self.routes[reserved.route.index()].model].model.context.unwrap_or(reserved.item.input_tokens);
        for (index, state) in self.models.iter().enumerate() {
            let model = ModelId(index as u32);
            if state.model.context.is_none_or(|context| context <= min_context) && !reserved.item.has_given_up_on(model)
            {
                reserved.item.retry_state_mut().models_given_up.push(model);
            }
        }
        self.requeue_on_next_model(now, reserved)
    }

    /// Cancels an attempt that was never sent, because the run is stopping or its intent could not be recorded.
    pub fn cancel(&mut self, now: Now, attempt: AttemptId) {
        let Some(reserved) = self.reservations.remove(&attempt) else { return };
        self.tick_bottlenecks(now);
        let route = &mut self.routes[reserved.route.index()];
        route.in_flight -= 1;
        self.bottlenecks.set_has_in_flight(reserved.route, route.in_flight > 0);
        self.keys[route.key].in_flight -= 1;
        let timing = AttemptTiming {
            reserved_at: reserved.created_at,
            sent_at: reserved.sent_at,
            counted_before: Duration::ZERO,
        };
        self.pools[route.pool].commit(now, reserved.tokens, ObservedUsage::NotSent, timing);
        self.run_spend.reserved = self.run_spend.reserved.saturating_sub(reserved.max_cost);
        self.commit_budgets(now, &reserved, Money::ZERO);
        self.unpark_after(&reserved);
        self.classes[reserved.class].retries.push_front(reserved.item);
        self.classes[reserved.class].stuck_at_version = None;
    }
}
