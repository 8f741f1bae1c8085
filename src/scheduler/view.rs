//! Questions about one item on one route that involve the fleet, the budget and the policy at once.
//!
//! A [`View`] borrows the three and changes nothing. Dispatch, completion, the strict order and the screens ask it.

use crate::domain::{Model, Money, Now, Outcome, Policy, RouteId, UsageBound};

use super::{
    admission::{Admission, Availability},
    budget::RunBudget,
    fleet::{Fleet, ModelState, TYPICAL_OUTPUT_TOKENS},
    limits::pool_limits::TokenEstimate,
    queue::QueuedItem,
};

/// The output limit assumed when neither the item nor the model states one, in tokens.
const DEFAULT_MAX_OUTPUT_TOKENS: u32 = 8_192;

#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub fleet: &'a Fleet,
    pub budget: &'a RunBudget,
    pub policy: &'a Policy,
}

impl View<'_> {
    /// Why this route can never serve this item, whatever its counters say; `None` if it can.
    pub fn ineligibility(self, id: RouteId, item: &QueuedItem) -> Option<(Outcome, &'static str)> {
        if item.has_given_up_on(self.fleet.route(id).model) {
            return Some((Outcome::NoRoute, "given up on this model"));
        }
        if item.unsupported_apis.contains(&self.fleet.provider_of(id).api) {
            return Some((Outcome::NoRoute, "the provider's API can't express the request"));
        }
        if self.fleet.model_of(id).context.is_some_and(|context| item.input_tokens / 2 > context) {
            return Some((Outcome::NoRoute, "longer than the model's context"));
        }
        if self.fleet.pool_of(id).is_too_large(TokenEstimate { input: item.input_tokens, output: 0 }) {
            return Some((Outcome::NoRoute, "larger than the token limit"));
        }
        if item.cost_factors.unbounded_field.is_some() && self.is_capped(id, item) {
            return Some((Outcome::OverBudget, "a field of its request has no highest price, and a spend cap is set"));
        }
        if item.max_usd.is_some() && self.fleet.model(self.fleet.route(id).model).has_unbounded_cost {
            return Some((Outcome::OverBudget, "the model has no highest price, and the item has a max_usd"));
        }
        if item.max_usd.is_some_and(|cap| self.worst_case_cost(id, item) > cap) {
            return Some((Outcome::OverBudget, "its worst case is over the item's max_usd"));
        }
        None
    }

    pub fn is_eligible(self, id: RouteId, item: &QueuedItem) -> bool {
        self.ineligibility(id, item).is_none()
    }

    /// The input tokens of the item, and 1.5 times the model's mean output, at most the item's own output limit.
    pub fn token_estimate(self, id: RouteId, item: &QueuedItem) -> TokenEstimate {
        let mean = self.fleet.model(self.fleet.route(id).model).mean_output_tokens.unwrap_or(TYPICAL_OUTPUT_TOKENS);
        let max_output = item.max_output_tokens.map_or(f64::MAX, f64::from);
        let output = (mean * 1.5).min(max_output).ceil() as u64;
        TokenEstimate { input: item.input_tokens, output: output.saturating_mul(u64::from(item.cost_factors.answers)) }
    }

    /// The most that one attempt can cost: the estimated input at its dearest rate, and all the output that is allowed
    /// in every answer that the request asks for.
    pub fn worst_case_cost(self, id: RouteId, item: &QueuedItem) -> Money {
        let ModelState { model, cost_factors, .. } = self.fleet.model(self.fleet.route(id).model);
        let output = self.max_output_tokens(model, item).unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS);
        let cost_factors = item.cost_factors.combined(*cost_factors);
        let bound = UsageBound {
            input_tokens: item.input_tokens,
            output_tokens: u64::from(output) * u64::from(cost_factors.answers),
            images: u64::from(cost_factors.images),
            writes_1h_cache: cost_factors.writes_1h_cache,
        };
        model.price.map_or(Money::ZERO, |price| price.worst_case(bound))
    }

    /// Whether a cap limits what the item may cost on this route.
    fn is_capped(self, id: RouteId, item: &QueuedItem) -> bool {
        let run_caps = self.policy.max_usd.is_some() || self.budget.day().is_capped();
        run_caps || item.max_usd.is_some() || self.budget.key(self.fleet.route(id).key).is_some()
    }

    /// The output limit that a request for this item states: the item's own limit, multiplied if this is a retry with a
    /// larger limit, but at most the model's maximum.
    pub fn max_output_tokens(self, model: &Model, item: &QueuedItem) -> Option<u32> {
        let multiplier = if item.has_larger_output() { self.policy.truncated_retry_factor.unwrap_or(1) } else { 1 };
        match (item.max_output_tokens.map(|requested| requested.saturating_mul(multiplier)), model.max_output) {
            (Some(requested), Some(cap)) => Some(requested.min(cap)),
            (requested, cap) => requested.or(cap),
        }
    }

    /// Whether the item's worst case on this route fits all money caps.
    pub fn budget_admission(self, now: Now, id: RouteId, item: &QueuedItem) -> Admission {
        let worst_case = self.worst_case_cost(id, item);
        self.budget.admission(now, self.policy.max_usd, self.fleet.route(id).key, worst_case)
    }

    /// Whether the route has enough money and daily tokens left for this item.
    pub fn quota_admission(self, now: Now, id: RouteId, item: &QueuedItem) -> Admission {
        let estimate = self.token_estimate(id, item);
        let day = match self.fleet.pool_of(id).daily_token_availability(now, estimate) {
            Availability::DailyLimitReached { until, .. } => Admission::at_wall(until),
            _ => Admission::Now,
        };
        self.budget_admission(now, id, item).and(day, now)
    }

    /// Like [`View::quota_admission`], but `None` if the route can never serve the item.
    pub fn eligibility(self, now: Now, id: RouteId, item: &QueuedItem) -> Option<Admission> {
        self.is_eligible(id, item).then(|| self.quota_admission(now, id, item))
    }

    /// Whether the route's pool has token room for this item. Assumes that the route is ready.
    pub fn has_token_room(self, now: Now, id: RouteId, item: &QueuedItem) -> bool {
        self.fleet.pool_of(id).token_availability(now, self.token_estimate(id, item)).is_ready()
    }

    /// Whether a ready route can serve the item and has enough tokens and money for it.
    pub fn can_take(self, now: Now, id: RouteId, item: &QueuedItem) -> bool {
        self.is_eligible(id, item)
            && self.budget_admission(now, id, item) == Admission::Now
            && self.has_token_room(now, id, item)
    }
}
