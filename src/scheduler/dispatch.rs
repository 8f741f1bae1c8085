//! `poll`: decides which waiting item is sent on which route now.

use std::{cmp::Reverse, time::Duration};

use smallvec::SmallVec;

use crate::domain::{
    AttemptId, KeyId, Model, ModelId, Money, Now, Outcome, RouteId, Seq, SpillTo, WhenLimited, bottleneck::Bottleneck,
};

use super::{
    QueuedItem, Reserved, Scheduler,
    budget::BudgetAdmission,
    fleet::availability::Availability,
    health::breaker::Breaker,
    limits::{
        cooldown::Wakeup,
        limit_kind::LimitKind,
        pool::{PoolBlock, TokenEstimate},
    },
    routing::{allowed_routes::AllowedRoutes, model_score::TYPICAL_OUTPUT_TOKENS, selector::RouteSearch},
};

/// The number of items at the head of a queue that are checked to find one that can be sent.
pub(super) const LOOKAHEAD: usize = 32;

/// An item that has waited this long claims the token room of its pool, so that smaller items can't overtake it there.
pub(super) const STARVATION_AGE: Duration = Duration::from_secs(60);

/// The output limit assumed when neither the item nor the model states one, in tokens.
const DEFAULT_MAX_OUTPUT_TOKENS: u32 = 8_192;

/// An attempt to send now. Everything it may use is already reserved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedAttempt {
    pub attempt: AttemptId,
    pub seq: Seq,
    /// Requests for this item so far, including this one.
    pub attempt_number: u32,
    pub route: RouteId,
    pub key: KeyId,
    pub model: ModelId,
    /// Number of retries on this model after provider errors, including this one; 0 for the first attempt.
    pub retry: u32,
    /// The most this attempt can cost.
    pub max_cost: Money,
    pub estimated_input_tokens: u64,
    pub timeout: Duration,
    /// Factor for the output limit, after an answer that was truncated without usable text.
    pub output_multiplier: Option<u32>,
}

/// An item that fails locally: nothing is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalRejection {
    pub seq: Seq,
    pub outcome: Outcome,
    pub message: String,
    /// Requests for this item so far.
    pub attempts: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NextStep {
    Send(PlannedAttempt),
    Reject(LocalRejection),
}

enum RouteChoice {
    Route(RouteId),
    Blocked(BlockReason),
}

/// The reason why an item can use no route now. It decides whether later items may overtake it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BlockReason {
    /// No route is ready, so no later item can be sent either. Also if the preferred route waits for a lease.
    NoRouteReady,
    /// The token windows have no room for an item of this size yet. Smaller items may overtake it: on the same pool
    /// until it has aged, on other pools always.
    NoTokenRoom,
    /// The ready routes can't serve this item, or it is too expensive for them. It is set aside, so that later items
    /// may overtake it, unless too many items are set aside already.
    ItemConstraint,
    /// Ready routes exist, but policy or the claim of an aged item forbids them for this item. A later item may use
    /// them.
    PolicyForbids,
}

impl BlockReason {
    /// `ItemConstraint`, or `self` if that says more.
    const fn or_item_constraint(self) -> Self {
        match self {
            Self::NoRouteReady => Self::ItemConstraint,
            Self::NoTokenRoom | Self::ItemConstraint | Self::PolicyForbids => self,
        }
    }

    /// `PolicyForbids`, or `self` if that says more.
    const fn or_policy_forbids(self) -> Self {
        match self {
            Self::NoRouteReady | Self::ItemConstraint => Self::PolicyForbids,
            Self::NoTokenRoom | Self::PolicyForbids => self,
        }
    }
}

impl Scheduler {
    /// The next step at `now`. `None` until an attempt completes, an item is enqueued, or [`Scheduler::next_wakeup`] is
    /// reached.
    pub fn poll(&mut self, now: Now) -> Option<NextStep> {
        self.tick_bottlenecks(now);
        let step = self.next_step(now);
        if step.is_none() {
            self.record_run_bottleneck();
        }
        step
    }

    fn next_step(&mut self, now: Now) -> Option<NextStep> {
        self.process_due_wakeups(now);
        if let Some(rejection) = self.rejections.pop() {
            return Some(NextStep::Reject(rejection));
        }
        if self.is_paused || self.reservations.len() >= self.policy.max_in_flight as usize {
            return None;
        }
        let version = self.readiness_version;
        self.classes.iter_mut().for_each(|class| class.requeue_blocked_if_changed(version));
        let mut order: SmallVec<[(Seq, usize); 8]> = self
            .classes
            .iter()
            .enumerate()
            .filter(|(_, class)| class.stuck_at_version != Some(self.readiness_version))
            .filter_map(|(index, class)| {
                let head = class.first_item()?;
                Some((head.seq, index))
            })
            .collect();
        order.sort_unstable();
        for (_, index) in order {
            if let Some(planned) = self.poll_class(now, index) {
                return Some(NextStep::Send(planned));
            }
            let version = self.readiness_version;
            let state = &mut self.classes[index];
            state.stuck_at_version = Some(version).filter(|_| !state.has_yielded_probe);
        }
        None
    }

    /// Handles everything that is due at `now`: half-opens breakers, ends retry delays and unparks routes.
    fn process_due_wakeups(&mut self, now: Now) {
        self.rotate_keys(now);
        // When the wall clock jumps (suspend, correction), all calendar deadlines move against the monotonic wakeups.
        if let Some(last) = self.last_poll.replace(now) {
            let (wall_elapsed, mono_elapsed) = (now.wall.0 - last.wall.0, now.mono.since(last.mono).as_micros() as i64);
            if (wall_elapsed - mono_elapsed).abs() > 1_000_000 {
                self.unpark_all();
            }
        }
        while let Some(Reverse((at, route))) = self.route_wakeups.peek().copied() {
            if at > now.mono {
                break;
            }
            self.route_wakeups.pop();
            let state = &mut self.routes[route.index()];
            state.wakeup_at = state.wakeup_at.filter(|scheduled_at| *scheduled_at > at);
            state.breaker.half_open_if_due(now);
            self.unpark(route);
        }
        while let Some(Reverse((at, seq))) = self.backoff_wakeups.peek().copied() {
            if at > now.mono {
                break;
            }
            self.backoff_wakeups.pop();
            if let Some((class, item)) = self.backing_off.remove(&seq) {
                self.classes[class].retries.push_back(item);
                self.classes[class].stuck_at_version = None;
            }
        }
    }

    fn poll_class(&mut self, now: Now, class: usize) -> Option<PlannedAttempt> {
        if let Some(planned) = self.poll_retries(now, class, LOOKAHEAD) {
            return Some(planned);
        }
        if let Some(planned) = self.poll_pending(now, class) {
            return Some(planned);
        }
        if std::mem::take(&mut self.classes[class].has_yielded_probe) {
            // The items it yielded to may have left the queue, which does not change the version.
            self.classes[class].requeue_blocked();
        }
        // Check all retries before giving up: the ready one may be far back in the queue.
        self.poll_retries(now, class, usize::MAX)
    }

    fn poll_retries(&mut self, now: Now, class: usize, max_items: usize) -> Option<PlannedAttempt> {
        for _ in 0..self.classes[class].retries.len().min(max_items) {
            let item = self.classes[class].retries.pop_front()?;
            if self.classes[class].is_known_blocked(&item) {
                self.classes[class].block(item);
                continue;
            }
            match self.select_route(now, class, &item) {
                RouteChoice::Route(route) => {
                    let chosen_item = self.swap_for_smallest_if_probe(now, class, route, item);
                    return Some(self.reserve_attempt(now, class, chosen_item, route));
                }
                RouteChoice::Blocked(reason) => {
                    if reason == BlockReason::ItemConstraint {
                        self.classes[class].remember_blocked(&item);
                    }
                    self.classes[class].block(item);
                }
            }
        }
        None
    }

    fn poll_pending(&mut self, now: Now, class: usize) -> Option<PlannedAttempt> {
        let mut position = 0;
        while position < self.classes[class].pending.len().min(LOOKAHEAD) {
            let item = self.classes[class].pending.remove(position)?;
            match self.select_route(now, class, &item) {
                RouteChoice::Route(route) => {
                    let chosen_item = self.swap_for_smallest_if_probe(now, class, route, item);
                    return Some(self.reserve_attempt(now, class, chosen_item, route));
                }
                RouteChoice::Blocked(BlockReason::ItemConstraint) if self.classes[class].can_block_more() => {
                    self.classes[class].remember_blocked(&item);
                    self.classes[class].block(item);
                }
                RouteChoice::Blocked(reason) => {
                    let may_be_overtaken = match reason {
                        BlockReason::NoRouteReady | BlockReason::ItemConstraint => false,
                        BlockReason::NoTokenRoom | BlockReason::PolicyForbids => true,
                    };
                    self.classes[class].pending.insert(position, item);
                    if !may_be_overtaken {
                        return None;
                    }
                    position += 1;
                }
            }
        }
        None
    }

    /// Selects the ready route that the strategy prefers for this item. Routes that turn out not to be ready are
    /// parked.
    fn select_route(&mut self, now: Now, class: usize, item: &QueuedItem) -> RouteChoice {
        let allowed = self.allowed_routes(now, class, item);
        let mut search = self.start_search(class, item);
        let choice = self.run_search(now, class, item, &allowed, &mut search);
        let state = &mut self.classes[class];
        state.selector.finish_search(&state.ready, search);
        choice
    }

    fn run_search(
        &mut self,
        now: Now,
        class: usize,
        item: &QueuedItem,
        allowed: &AllowedRoutes,
        search: &mut RouteSearch,
    ) -> RouteChoice {
        let mut reason = BlockReason::NoRouteReady;
        loop {
            let state = &mut self.classes[class];
            let Some(rank) = state.selector.next_candidate(&state.ready, search, &mut self.rng) else { break };
            let id = state.candidates[rank];
            if state.first_backup_rank.is_some_and(|first| rank >= first)
                && self.has_available_primary(now, class, item)
            {
                reason = reason.or_policy_forbids();
                break;
            }
            if !allowed.allows(id, self.routes[id.index()].model) {
                reason = reason.or_policy_forbids();
                continue;
            }
            if self.is_claimed_by_aged(now, id, item) {
                reason = reason.or_policy_forbids();
                continue;
            }
            if self.ineligibility(id, item).is_some() {
                reason = reason.or_item_constraint();
                continue;
            }
            let availability = self.availability(now, id);
            if matches!(availability, Availability::Limited { kind: LimitKind::Lease, .. }) {
                // A lease arrives within milliseconds, so the item does not move on to the next model.
                self.bottlenecks.mark_blocked(id, Bottleneck::DailyQuota);
                self.mark_lease_needed(self.routes[id.index()].pool);
                return RouteChoice::Blocked(BlockReason::NoRouteReady);
            }
            if let Some(wakeup) = availability.wakeup() {
                self.park(now, id, wakeup);
                continue;
            }
            match self.budget_admission(now, id, item) {
                BudgetAdmission::Now => {}
                admission => {
                    self.bottlenecks.mark_blocked(id, Bottleneck::Budget);
                    if let BudgetAdmission::At(at) = admission {
                        self.schedule_wakeup(now, id, Wakeup::Wall(at));
                    }
                    reason = reason.or_item_constraint();
                    continue;
                }
            }
            if self.yields_probe(now, id, item) {
                self.classes[class].has_yielded_probe = true;
                reason = reason.or_item_constraint();
                continue;
            }
            let estimate = self.token_estimate(id, item);
            let pool = self.routes[id.index()].pool;
            let block = self.pools[pool].token_block(now, estimate);
            if let Some(block) = &block {
                self.bottlenecks.mark_blocked(id, Bottleneck::from_pool_block(block));
            }
            match block {
                None => return RouteChoice::Route(id),
                Some(PoolBlock::Limited { kind: LimitKind::Lease, .. }) => {
                    self.record_shortfall(pool, estimate);
                    return RouteChoice::Blocked(BlockReason::NoRouteReady);
                }
                Some(PoolBlock::Limited { wakeup, .. }) => {
                    reason = BlockReason::NoTokenRoom;
                    self.schedule_wakeup(now, id, wakeup);
                    if now.mono.since(item.waiting_since) >= STARVATION_AGE && !self.is_probe(now, id) {
                        self.classes[class].aged_claims.push((id, item.seq));
                    }
                }
                Some(PoolBlock::DailyLimitReached { until, .. }) => {
                    reason = reason.or_item_constraint();
                    self.schedule_wakeup(now, id, Wakeup::Wall(until));
                }
                Some(PoolBlock::TooLarge { .. } | PoolBlock::CoolingDown(_) | PoolBlock::Exhausted(_)) => {
                    reason = reason.or_item_constraint();
                }
            }
        }
        RouteChoice::Blocked(reason)
    }

    /// Whether another item that has aged claims the token room of this route's pool. A probe ignores claims.
    fn is_claimed_by_aged(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        let pool = |route: RouteId| self.routes[route.index()].pool;
        let by_another = |(claimed, claimant): &(RouteId, Seq)| pool(*claimed) == pool(route) && *claimant != item.seq;
        self.classes.iter().any(|class| class.aged_claims.iter().any(by_another)) && !self.is_probe(now, route)
    }

    /// Whether a primary key is in service for this item: one of its routes is ready or only waits for a limit.
    fn has_available_primary(&mut self, now: Now, class: usize, item: &QueuedItem) -> bool {
        let can_serve = |rank: &usize| {
            let id = self.classes[class].candidates[*rank];
            let is_probing = !matches!(self.routes[id.index()].breaker, Breaker::Closed { .. });
            let is_in_service =
                matches!(self.availability(now, id), Availability::Ready | Availability::Limited { .. });
            is_in_service && !is_probing && self.eligibility(now, id, item) == Some(BudgetAdmission::Now)
        };
        let state = &self.classes[class];
        let primaries = 0..state.first_backup_rank.unwrap_or(state.candidates.len());
        // Check the one that was found last time first.
        let last_found = Some(state.last_available_primary).filter(|rank| primaries.contains(rank));
        let found = last_found.into_iter().chain(primaries).find(can_serve);
        self.classes[class].last_available_primary = found.unwrap_or_default();
        found.is_some()
    }

    /// Why this route can never serve this item, whatever its counters say; `None` if it can.
    pub(super) fn ineligibility(&self, id: RouteId, item: &QueuedItem) -> Option<(Outcome, &'static str)> {
        let route = &self.routes[id.index()];
        let model = &self.models[route.model].model;
        if item.has_given_up_on(ModelId(route.model as u32)) {
            return Some((Outcome::NoRoute, "given up on this model"));
        }
        if item.unsupported_apis.contains(&self.providers[route.provider].api) {
            return Some((Outcome::NoRoute, "the provider's API can't express the request"));
        }
        if model.context.is_some_and(|context| item.input_tokens / 2 > context) {
            return Some((Outcome::NoRoute, "longer than the model's context"));
        }
        if self.pools[route.pool].is_too_large(TokenEstimate { input: item.input_tokens, output: 0 }) {
            return Some((Outcome::NoRoute, "larger than the token limit"));
        }
        if item.max_usd.is_some_and(|cap| self.worst_case_cost(id, item) > cap) {
            return Some((Outcome::OverBudget, "its worst case is over the item's max_usd"));
        }
        None
    }

    /// The rejection of an item that no candidate can ever serve; `None` if some candidate can.
    pub(super) fn permanent_rejection(&self, class: usize, item: &QueuedItem) -> Option<LocalRejection> {
        let mut reason = (Outcome::NoRoute, self.no_candidates_reason(class));
        for &route in &self.classes[class].candidates {
            reason = self.ineligibility(route, item)?;
        }
        let (outcome, explanation) = reason;
        let message = match outcome {
            Outcome::OverBudget => format!("{explanation}; raise it, or add a cheaper model"),
            _ => format!("no route may serve it: {explanation}"),
        };
        let full_message = match self.classes[class].class_key.rule.and_then(|rule| self.policy.rules.get(rule)) {
            Some(rule) => format!("{message} (rule {} applies)", rule.name),
            None => message,
        };
        Some(LocalRejection { seq: item.seq, outcome, message: full_message, attempts: item.attempts() })
    }

    /// Why a class has no candidates at all.
    fn no_candidates_reason(&self, class: usize) -> &'static str {
        let any_model_has_vision = self.models.iter().any(|state| state.model.vision);
        match self.classes[class].class_key.needs_vision {
            true if !any_model_has_vision => {
                "it holds a picture, and no model takes pictures; say vision = true for one that does"
            }
            true => "it holds a picture, and no model that it may go to takes pictures",
            false => "no model that it may go to has a key",
        }
    }

    /// The input tokens of the item, and 1.5 times the model's mean output, at most the item's own output limit.
    pub(super) fn token_estimate(&self, id: RouteId, item: &QueuedItem) -> TokenEstimate {
        let model = &self.models[self.routes[id.index()].model];
        let mean = model.mean_output_tokens.unwrap_or(TYPICAL_OUTPUT_TOKENS);
        let max_output = item.max_output_tokens.map_or(f64::MAX, f64::from);
        TokenEstimate { input: item.input_tokens, output: (mean * 1.5).min(max_output).ceil() as u64 }
    }

    /// The most that one attempt can cost: the estimated input, and all the output that is allowed.
    pub(super) fn worst_case_cost(&self, id: RouteId, item: &QueuedItem) -> Money {
        let model = &self.models[self.routes[id.index()].model].model;
        let output = self.max_output_tokens(model, item).unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS);
        model.price.map_or(Money::ZERO, |price| price.cost(item.input_tokens, u64::from(output)))
    }

    /// The output limit that a request for this item states: the item's own limit, multiplied if this is a retry with a
    /// larger limit, but at most the model's maximum.
    pub(super) fn max_output_tokens(&self, model: &Model, item: &QueuedItem) -> Option<u32> {
        let has_larger_output = item.retry_state.as_ref().is_some_and(|retry_state| retry_state.has_larger_output);
        let multiplier = if has_larger_output { self.policy.truncated_retry_factor.unwrap_or(1) } else { 1 };
        match (item.max_output_tokens.map(|requested| requested.saturating_mul(multiplier)), model.max_output) {
            (Some(requested), Some(cap)) => Some(requested.min(cap)),
            (requested, cap) => requested.or(cap),
        }
    }

    fn reserve_attempt(&mut self, now: Now, class: usize, mut item: QueuedItem, id: RouteId) -> PlannedAttempt {
        let (estimate, max_cost) = (self.token_estimate(id, &item), self.worst_case_cost(id, &item));
        let attempt = AttemptId(self.next_attempt_id);
        self.next_attempt_id += 1;
        let route = &mut self.routes[id.index()];
        route.in_flight += 1;
        self.bottlenecks.mark_unblocked(id);
        self.bottlenecks.set_has_in_flight(id, true);
        route.breaker.half_open_if_due(now);
        self.keys[route.key].in_flight += 1;
        let pool = route.pool;
        let reserved_tokens = self.pools[pool].reserve(now, estimate);
        let claims = &mut self.classes[class].aged_claims;
        let claim_count = claims.len();
        claims.retain(|(_, claimant)| *claimant != item.seq);
        // Items blocked by this item's claims must be checked again.
        self.readiness_version += u64::from(claims.len() < claim_count);
        self.run_spend.reserved += max_cost;
        self.day_budget.reserve(max_cost);
        self.keys[route.key].budget.reserve(max_cost);
        let model = ModelId(route.model as u32);
        if let Some(retry_state) = &mut item.retry_state {
            retry_state.switch_to_model(model);
        }
        let model_failures = item.last_model_failures();
        let has_larger_output = item.retry_state.as_ref().is_some_and(|retry_state| retry_state.has_larger_output);
        let planned = PlannedAttempt {
            attempt,
            seq: item.seq,
            attempt_number: item.attempts() + 1,
            route: id,
            key: KeyId(route.key as u32),
            model,
            retry: model_failures.provider_errors(),
            max_cost,
            estimated_input_tokens: estimate.input,
            timeout: self.policy.total_timeout.mul_f64(1.5_f64.powi(model_failures.timeouts.min(4) as i32)),
            output_multiplier: if has_larger_output { self.policy.truncated_retry_factor } else { None },
        };
        self.recheck_blocked_if_exhausted(now, id);
        self.mark_lease_needed(pool);
        self.reservations.insert(
            attempt,
            Reserved { class, item, route: id, created_at: now, sent_at: now, tokens: reserved_tokens, max_cost },
        );
        self.on_dispatch(class, id);
        planned
    }

    /// Causes a new check of blocked items if the route just used may be out of money or daily quota, for any item or
    /// for large ones. Items that policy restricted to this route may then use others, and backup keys may be used.
    fn recheck_blocked_if_exhausted(&mut self, now: Now, id: RouteId) {
        let keeps_backups_idle = self.classes.iter().any(|class| class.first_backup_rank.is_some());
        let policy = &self.policy;
        let waits_for_preferred = policy.spill_to == SpillTo::SameModel || !policy.spill_after.is_zero();
        let restricts_routes = waits_for_preferred || policy.when_limited == WhenLimited::Wait;
        if !keeps_backups_idle && !restricts_routes {
            return;
        }
        let key = &self.keys[self.routes[id.index()].key];
        let has_money_cap = policy.max_usd.is_some() || self.day_budget.is_capped() || key.budget.is_capped();
        let pool = &self.pools[self.routes[id.index()].pool];
        if has_money_cap
            || pool.has_daily_token_limit()
            || matches!(pool.current_block(now), Some(PoolBlock::DailyLimitReached { .. }))
        {
            self.readiness_version += 1;
        }
    }

    /// The route that would take `item` at this instant, for the event log; nothing is reserved. `None` also if the
    /// choice can't be predicted.
    pub(super) fn preview_route(&self, now: Now, class: usize, item: &QueuedItem) -> Option<RouteId> {
        let is_ready = |route: &RouteId| {
            self.ineligibility(*route, item).is_none()
                && matches!(self.availability(now, *route), Availability::Ready)
                && self.pools[self.routes[route.index()].pool]
                    .token_block(now, self.token_estimate(*route, item))
                    .is_none()
        };
        let state = &self.classes[class];
        if state.selector.is_ordered() {
            return state.candidates.iter().copied().find(is_ready);
        }
        let first = self.first_candidate(class, item)?;
        Some(state.candidates[first]).filter(is_ready)
    }

    /// Records that the request of `attempt` leaves the process now.
    pub fn on_sent(&mut self, now: Now, attempt: AttemptId) {
        if let Some(reserved) = self.reservations.get_mut(&attempt) {
            reserved.sent_at = now;
            let pool = self.routes[reserved.route.index()].pool;
            self.pools[pool].on_sent(now);
        }
    }
}
