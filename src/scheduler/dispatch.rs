//! `poll`: decides which waiting item is sent on which route now.

use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::{
    AttemptId, KeyId, ModelId, Money, Now, RouteId, Seq, SpillTo, WhenLimited, bottleneck::Bottleneck,
};

use super::{
    Reservation, Scheduler, View,
    admission::{Admission, Availability, Deadline, LimitKind},
    fleet::RouteState,
    health::breaker::Breaker,
    queue::{LOOKAHEAD, LocalRejection, QueuedItem},
    routing::{ClassRoutes, RouteSearch, SpillDecision},
};

/// An item that has waited this long claims the token room of its pool, so that smaller items can't overtake it there.
pub(super) const STARVATION_AGE: Duration = Duration::from_secs(60);

/// An attempt to send now. Everything it may use is already reserved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedAttempt {
    pub attempt: AttemptId,
    pub seq: Seq,
    /// Attempts for this item so far, including this one and those that sent nothing.
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
    /// Why the item does not go to the model that its row names; `None` if it does, or names none.
    pub why_not_row_model: Option<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NextStep {
    Send(PlannedAttempt),
    Reject(LocalRejection),
}

/// The reason why an item can use no route now. It decides whether later items may overtake it. Ordered: of the reasons
/// of several routes, the greatest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum BlockReason {
    /// No route is ready, so no later item can be sent either. Also if a route that would be next waits for a lease.
    NoRouteReady,
    /// The ready routes can't serve this item, it is too expensive for them, or it yields its turn. It is blocked, so
    /// that later items may overtake it, unless too many items are blocked already.
    ItemConstraint,
    /// Ready routes exist, but policy or the claim of an aged item forbids them for this item. A later item may use
    /// them.
    PolicyForbids,
    /// The token windows have no room for an item of this size yet. Smaller items may overtake it: on the same pool
    /// until it has aged, on other pools always.
    NoTokenRoom,
}

/// The result of a check of one candidate.
enum RouteCheck {
    Usable,
    Declined(BlockReason),
    /// A lease arrives within milliseconds, so the item does not move on to the next model.
    AwaitsLease,
}

impl Scheduler {
    /// The next step at `now`. `None` until an attempt completes, an item is enqueued, or [`Scheduler::next_wakeup`] is
    /// reached.
    pub fn poll(&mut self, now: Now) -> Option<NextStep> {
        self.bottlenecks.tick(now.mono);
        let step = self.next_step(now);
        if step.is_none() {
            self.bottlenecks.set_run_bottleneck(self.run_bottleneck());
        }
        step
    }

    fn next_step(&mut self, now: Now) -> Option<NextStep> {
        self.process_due_wakeups(now);
        if let Some(rejection) = self.queue.pop_rejection() {
            return Some(NextStep::Reject(rejection));
        }
        if self.is_paused || self.reservations.len() >= self.policy.max_in_flight as usize {
            return None;
        }
        let version = self.readiness.version();
        self.queue.classes_mut().iter_mut().for_each(|class| class.requeue_blocked_if_changed(version));
        let classes = self.queue.classes().iter().enumerate();
        let mut order: SmallVec<[(Seq, usize); 8]> = classes
            .filter(|(_, class)| !class.is_stuck(version))
            .filter_map(|(index, class)| Some((class.first_item()?.seq, index)))
            .collect();
        order.sort_unstable();
        for (_, index) in order {
            if let Some(planned) = self.poll_class(now, index) {
                return Some(NextStep::Send(planned));
            }
            self.queue.class_mut(index).mark_nothing_sendable(self.readiness.version());
        }
        None
    }

    /// Why nothing more is sent at this instant.
    fn run_bottleneck(&self) -> Bottleneck {
        if self.is_paused {
            Bottleneck::Paused
        } else if self.queue.has_loaded() {
            let is_full = self.reservations.len() >= self.policy.max_in_flight as usize;
            if is_full { Bottleneck::MaxInFlight } else { Bottleneck::NotSelected }
        } else if !self.queue.backoff().is_empty() {
            Bottleneck::RetryDelay
        } else if !self.reservations.is_empty() {
            Bottleneck::Sending
        } else {
            Bottleneck::NothingToSend
        }
    }

    /// Handles everything that is due at `now`: rotates keys, half-opens breakers, ends retry delays, unparks routes.
    fn process_due_wakeups(&mut self, now: Now) {
        if self.routing.rotate_keys(now, &self.fleet, &self.policy) {
            self.readiness.mark_changed();
            self.queue.mark_changed();
        }
        // When the wall clock jumps (suspend, correction), all calendar deadlines move against the monotonic wakeups.
        if let Some(last) = self.last_poll.replace(now) {
            let (wall_elapsed, mono_elapsed) = (now.wall.0 - last.wall.0, now.mono.since(last.mono).as_micros() as i64);
            if (wall_elapsed - mono_elapsed).abs() > 1_000_000 {
                self.unpark_all();
            }
        }
        while let Some(route) = self.readiness.pop_due(now.mono) {
            self.fleet.half_open_if_due(now, route);
            self.unpark(route);
        }
        self.queue.end_backoffs(now.mono);
    }

    fn poll_class(&mut self, now: Now, class: usize) -> Option<PlannedAttempt> {
        if let Some(planned) = self.poll_retries(now, class, LOOKAHEAD) {
            return Some(planned);
        }
        if let Some(planned) = self.poll_pending(now, class) {
            return Some(planned);
        }
        let queue = self.queue.class_mut(class);
        if std::mem::take(&mut queue.has_yielded_turn) {
            // The items that got the turn may have left the queue since, which does not change the version.
            queue.requeue_blocked();
        }
        // Check all retries before giving up: the ready one may be far back in the queue.
        self.poll_retries(now, class, usize::MAX)
    }

    fn poll_retries(&mut self, now: Now, class: usize, max_items: usize) -> Option<PlannedAttempt> {
        for _ in 0..self.queue.class(class).retry_count().min(max_items) {
            let item = self.queue.class_mut(class).pop_retry()?;
            if self.queue.class(class).is_known_blocked(&item) {
                self.queue.class_mut(class).block(item);
                continue;
            }
            match self.select_route(now, class, &item) {
                Ok(route) => return Some(self.dispatch(now, class, item, route)),
                Err(reason) => {
                    let queue = self.queue.class_mut(class);
                    if reason == BlockReason::ItemConstraint {
                        queue.remember_blocked(&item);
                    }
                    queue.block(item);
                }
            }
        }
        None
    }

    fn poll_pending(&mut self, now: Now, class: usize) -> Option<PlannedAttempt> {
        let mut position = 0;
        while position < LOOKAHEAD {
            let item = self.queue.class_mut(class).remove_pending(position)?;
            let reason = match self.select_route(now, class, &item) {
                Ok(route) => return Some(self.dispatch(now, class, item, route)),
                Err(reason) => reason,
            };
            let queue = self.queue.class_mut(class);
            if reason == BlockReason::ItemConstraint && queue.can_block_more() {
                queue.remember_blocked(&item);
                queue.block(item);
                continue;
            }
            queue.insert_pending(position, item);
            if matches!(reason, BlockReason::NoRouteReady | BlockReason::ItemConstraint) {
                return None;
            }
            // It may be overtaken.
            position += 1;
        }
        None
    }

    /// Selects the ready route that the strategy prefers for this item. Routes that turn out not to be ready are
    /// parked.
    fn select_route(&mut self, now: Now, class: usize, item: &QueuedItem) -> Result<RouteId, BlockReason> {
        let allowed = self.allowed_routes(now, class, item);
        let mut search = self.routing.class_mut(class).start_search(&self.fleet, item, &mut self.rng);
        let choice = self.run_search(now, class, item, &allowed, &mut search);
        self.routing.class_mut(class).finish_search(search);
        choice
    }

    /// The routes that the item may take by `when_limited` and `spill`. Schedules wakeups for routes that come before
    /// them, and moves the cursor.
    fn allowed_routes(&mut self, now: Now, class: usize, item: &QueuedItem) -> SpillDecision {
        let allowed = self.routing.allowed_routes(self.view(), now, class, item);
        if self.routing.move_cursor(allowed.cursor) {
            self.readiness.mark_changed();
        }
        for (route, at) in &allowed.wakeups {
            self.readiness.wake_at(now, *route, Some(*at));
        }
        allowed
    }

    fn run_search(
        &mut self,
        now: Now,
        class: usize,
        item: &QueuedItem,
        allowed: &SpillDecision,
        search: &mut RouteSearch,
    ) -> Result<RouteId, BlockReason> {
        let mut reason = BlockReason::NoRouteReady;
        while let Some(id) = self.routing.class_mut(class).next_candidate(search, &mut self.rng) {
            if self.routing.class(class).is_standby_backup(id) && self.has_available_primary(now, class, item) {
                return Err(reason.max(BlockReason::PolicyForbids));
            }
            match self.try_route(now, class, item, allowed, id) {
                RouteCheck::Usable => return Ok(id),
                RouteCheck::Declined(why) => reason = reason.max(why),
                RouteCheck::AwaitsLease => return Err(BlockReason::NoRouteReady),
            }
        }
        Err(reason)
    }

    /// Checks whether a candidate can take the item. Parks it if it turns out not to be ready.
    fn try_route(
        &mut self,
        now: Now,
        class: usize,
        item: &QueuedItem,
        allowed: &SpillDecision,
        id: RouteId,
    ) -> RouteCheck {
        if !self.routing.class(class).is_allowed(self.view(), allowed.routes, id)
            || self.is_claimed_by_aged(now, id, item)
        {
            return RouteCheck::Declined(BlockReason::PolicyForbids);
        }
        if !self.view().is_eligible(id, item) {
            return RouteCheck::Declined(BlockReason::ItemConstraint);
        }
        let availability = self.fleet.availability(now, id);
        if availability.limit_kind() == Some(LimitKind::Lease) {
            self.bottlenecks.set_blocked_by(id, availability.bottleneck());
            self.mark_lease_needed(self.fleet.route(id).pool);
            return RouteCheck::AwaitsLease;
        }
        if let Some(bottleneck) = availability.bottleneck() {
            let deadline = availability.admission().deadline();
            let is_in_slow_start = availability.limit_kind() == Some(LimitKind::SlowStart);
            self.routing.park(id, is_in_slow_start);
            self.on_parked(now, id, bottleneck, deadline);
            return RouteCheck::Declined(BlockReason::NoRouteReady);
        }
        let budget = self.view().budget_admission(now, id, item);
        if budget != Admission::Now {
            self.bottlenecks.set_blocked_by(id, Some(Bottleneck::Budget));
            self.readiness.wake_at(now, id, budget.deadline());
            return RouteCheck::Declined(BlockReason::ItemConstraint);
        }
        let wait = self.routing.class(class).better_route_to_await(self.view(), now, item, allowed.routes, id);
        if let Some((better, until)) = wait {
            self.readiness.wake_at(now, better, Some(Deadline::Mono(until)));
            return RouteCheck::Declined(BlockReason::PolicyForbids);
        }
        if self.yields_turn(now, id, item) {
            self.queue.class_mut(class).has_yielded_turn = true;
            return RouteCheck::Declined(BlockReason::ItemConstraint);
        }
        self.check_token_room(now, class, item, id)
    }

    /// Checks whether the pool of a ready route has token room for the item. An item that has aged claims it.
    fn check_token_room(&mut self, now: Now, class: usize, item: &QueuedItem, id: RouteId) -> RouteCheck {
        let estimate = self.view().token_estimate(id, item);
        let pool = self.fleet.route(id).pool;
        let tokens = self.fleet.pool(pool).token_availability(now, estimate);
        let Some(bottleneck) = tokens.bottleneck() else { return RouteCheck::Usable };
        self.bottlenecks.set_blocked_by(id, Some(bottleneck));
        if tokens.limit_kind() == Some(LimitKind::Lease) {
            self.fleet.pool_mut(pool).record_shortfall(estimate);
            self.mark_lease_needed(pool);
            return RouteCheck::AwaitsLease;
        }
        self.readiness.wake_at(now, id, tokens.admission().deadline());
        if !matches!(tokens, Availability::Limited { admission, .. } if admission != Admission::Never) {
            return RouteCheck::Declined(BlockReason::ItemConstraint);
        }
        if now.mono.since(item.waiting_since) >= STARVATION_AGE && !self.fleet.is_probe(now, id) {
            self.queue.class_mut(class).claim(pool, item.seq);
        }
        RouteCheck::Declined(BlockReason::NoTokenRoom)
    }

    /// Records the bottleneck of a route that is not ready, and checks it again at `deadline`.
    fn on_parked(&mut self, now: Now, route: RouteId, bottleneck: Bottleneck, deadline: Option<Deadline>) {
        let is_probing = matches!(self.fleet.route(route).breaker, Breaker::HalfOpen { .. });
        let blocked_by = match bottleneck {
            Bottleneck::Concurrency if is_probing => Bottleneck::CircuitOpen,
            other => other,
        };
        self.bottlenecks.set_blocked_by(route, Some(blocked_by));
        self.mark_lease_needed(self.fleet.route(route).pool);
        self.readiness.wake_at(now, route, deadline);
    }

    /// Whether another item that has aged claims the token room of this route's pool. A probe ignores claims.
    fn is_claimed_by_aged(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        let pool = self.fleet.route(route).pool;
        self.queue.classes().iter().any(|class| class.is_claimed_by_other(pool, item.seq))
            && !self.fleet.is_probe(now, route)
    }

    /// Whether a primary key is in service for this item: one of its routes is ready or only waits for a limit.
    fn has_available_primary(&mut self, now: Now, class: usize, item: &QueuedItem) -> bool {
        let view = View { fleet: &self.fleet, budget: &self.budget, policy: &self.policy };
        self.routing.class_mut(class).has_available_primary(|id| is_in_service(view, now, id, item))
    }

    /// Whether the item yields a request on this route to another waiting item that the route can serve now and that
    /// has had fewer errors on the model. An item with errors yields probes: otherwise items that fail everywhere would
    /// probe the route forever, and it would stay unavailable for the others. An item that has used up its retries on
    /// the model yields every request, since the route may allow only a few requests a day.
    pub(super) fn yields_turn(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        let model = self.fleet.route(route).model;
        let errors = item.provider_errors_on(model);
        if errors == 0 || (errors <= self.policy.retries_per_model && !self.fleet.is_probe(now, route)) {
            return false;
        }
        let view = self.view();
        self.routing.classes_with(route).any(|class| {
            let has_fewer_errors = |other: &QueuedItem| {
                other.provider_errors_on(model) < errors
                    && view.can_take(now, route, other)
                    && self.routing.may_spill_to(view, now, class, route, other)
            };
            let queue = self.queue.class(class);
            queue.next_pending().any(has_fewer_errors) || queue.tried_items().take(LOOKAHEAD).any(has_fewer_errors)
        })
    }

    /// If the request is a probe, replaces `item` by a smaller one: the smallest near the head of its class that has
    /// had no errors on the model. `item` then goes back to the queue.
    fn swap_for_smallest_if_probe(&mut self, now: Now, class: usize, route: RouteId, item: QueuedItem) -> QueuedItem {
        // In strict order, the refused item itself is retried.
        if self.policy.when_limited == WhenLimited::Wait || !self.fleet.is_probe(now, route) {
            return item;
        }
        let mut smallest: Option<(u64, usize)> = None;
        for position in 0..self.queue.class(class).next_pending().count() {
            let min_size = smallest.map_or(item.input_tokens, |(size, _)| size);
            let other = self.queue.class(class).pending_at(position).filter(|other| other.input_tokens < min_size);
            if let Some(other) = other.cloned()
                && self.can_probe(now, class, &other, route)
            {
                smallest = Some((other.input_tokens, position));
            }
        }
        let queue = self.queue.class_mut(class);
        let Some(smaller) = smallest.and_then(|(_, position)| queue.remove_pending(position)) else { return item };
        queue.put_back(item);
        smaller
    }

    fn can_probe(&mut self, now: Now, class: usize, item: &QueuedItem, route: RouteId) -> bool {
        if item.provider_errors_on(self.fleet.route(route).model) > 0 {
            return false;
        }
        let allowed = self.allowed_routes(now, class, item).routes;
        let (view, class) = (self.view(), self.routing.class(class));
        class.is_allowed(view, allowed, route)
            && !class.awaits_better_route(view, now, item, allowed, route)
            && view.can_take(now, route, item)
    }

    /// Reserves all that an attempt for this item on this route may use. If the attempt is a probe, a smaller item may
    /// take the place of this one.
    fn dispatch(&mut self, now: Now, class: usize, item: QueuedItem, id: RouteId) -> PlannedAttempt {
        let mut item = self.swap_for_smallest_if_probe(now, class, id, item);
        let why_not_row_model = self.reason_to_leave_row_model(now, class, &item, id);
        let view = self.view();
        let (estimate, max_cost) = (view.token_estimate(id, &item), view.worst_case_cost(id, &item));
        let attempt = AttemptId(self.next_attempt_id);
        self.next_attempt_id += 1;
        let RouteState { key, model, pool, .. } = *self.fleet.route(id);
        self.fleet.start_request(now, id);
        self.bottlenecks.set_blocked_by(id, None);
        self.bottlenecks.set_has_in_flight(id, true);
        let tokens = self.fleet.pool_mut(pool).reserve(now, estimate);
        if self.queue.class_mut(class).drop_claims(item.seq) {
            self.readiness.mark_changed();
        }
        self.budget.reserve(key, max_cost);
        if let Some(retry_state) = &mut item.retry_state {
            retry_state.switch_to_model(model);
        }
        let model_failures = item.retry_state.as_ref().map(|state| state.last_model_failures()).unwrap_or_default();
        let planned = PlannedAttempt {
            attempt,
            seq: item.seq,
            attempt_number: item.attempts() + 1,
            route: id,
            key,
            model,
            retry: model_failures.provider_errors(),
            max_cost,
            estimated_input_tokens: estimate.input,
            timeout: self.policy.total_timeout.mul_f64(1.5_f64.powi(model_failures.timeouts.min(4) as i32)),
            output_multiplier: if item.has_larger_output() { self.policy.truncated_retry_factor } else { None },
            why_not_row_model,
        };
        if self.may_free_blocked_items(now, id) {
            self.readiness.mark_changed();
        }
        self.mark_lease_needed(pool);
        let reservation = Reservation { class, item, route: id, created_at: now, sent_at: now, tokens, max_cost };
        self.reservations.insert(attempt, reservation);
        self.routing.on_dispatch(&self.fleet, class, id);
        planned
    }

    /// Why an item that goes to route `id` does not go to the model that its row names: what keeps it from the first
    /// route of that model. `None` if it goes there, or its row names no model.
    fn reason_to_leave_row_model(
        &self,
        now: Now,
        class: usize,
        item: &QueuedItem,
        id: RouteId,
    ) -> Option<&'static str> {
        let (view, class) = (self.view(), self.routing.class(class));
        let is_operators_choice = class.key().required_target.is_some();
        if class.key().preferred_model.is_none() || is_operators_choice || class.is_row_model(id) {
            return None;
        }
        let Some(&route) = class.row_model_routes().first() else { return Some("it can't serve the item") };
        if let Some((_, reason)) = view.ineligibility(route, item) {
            return Some(reason);
        }
        let availability = view.fleet.availability(now, route);
        let tokens = view.fleet.pool_of(route).token_availability(now, view.token_estimate(route, item));
        Some(match (availability, tokens) {
            (Availability::Ready, Availability::Ready) if view.quota_admission(now, route, item) == Admission::Now => {
                "other items go first"
            }
            (Availability::Ready, Availability::Ready) => "its money is spent",
            (Availability::Ready, unavailable) | (unavailable, _) => unavailable.label(),
        })
    }

    /// Whether this dispatch may have used up money or a day's quota, so that blocked items may now use other routes or
    /// backup keys and must be checked again.
    fn may_free_blocked_items(&self, now: Now, id: RouteId) -> bool {
        let keeps_backups_idle = self.routing.classes().iter().any(ClassRoutes::keeps_backups_idle);
        let policy = &self.policy;
        let waits_for_preferred = policy.spill_to == SpillTo::SameModel || !policy.spill_after.is_zero();
        let has_routes_in_slow_start = self.routing.classes().iter().any(ClassRoutes::has_routes_in_slow_start);
        let restricts_routes =
            waits_for_preferred || has_routes_in_slow_start || policy.when_limited == WhenLimited::Wait;
        if !keeps_backups_idle && !restricts_routes {
            return false;
        }
        let pool = self.fleet.pool_of(id);
        policy.max_usd.is_some()
            || self.budget.day().is_capped()
            || self.budget.key(self.fleet.route(id).key).is_some()
            || pool.has_daily_token_limit()
            || matches!(pool.availability(now), Availability::DailyLimitReached { .. })
    }

    /// The route that would take `item` at this instant, for the event log; nothing is reserved. `None` also if the
    /// choice can't be predicted.
    pub(super) fn preview_route(&self, now: Now, class: usize, item: &QueuedItem) -> Option<RouteId> {
        let view = self.view();
        let allowed = self.routing.allowed_routes(view, now, class, item).routes;
        let class = self.routing.class(class);
        let keeps_idle = |route| {
            let mut primaries = class.primaries().iter();
            class.is_standby_backup(route) && primaries.any(|primary| is_in_service(view, now, *primary, item))
        };
        let would_take = |route: &RouteId| {
            class.is_allowed(view, allowed, *route)
                && view.fleet.availability(now, *route).is_ready()
                && view.can_take(now, *route, item)
                && !keeps_idle(*route)
                && !class.awaits_better_route(view, now, item, allowed, *route)
        };
        if class.is_ordered() {
            return class.candidates().iter().copied().find(would_take);
        }
        class.first_candidate(&self.fleet, item).filter(would_take)
    }

    /// Records that the request of `attempt` leaves the process now.
    pub fn on_sent(&mut self, now: Now, attempt: AttemptId) {
        if let Some(reservation) = self.reservations.get_mut(&attempt) {
            reservation.sent_at = now;
            self.fleet.pool_of_mut(reservation.route).on_sent(now);
        }
    }
}

/// Whether a primary key's route is in service for the item: it is ready or only waits for a limit, its breaker is
/// closed, and there is money for the item.
fn is_in_service(view: View<'_>, now: Now, id: RouteId, item: &QueuedItem) -> bool {
    let is_closed = matches!(view.fleet.route(id).breaker, Breaker::Closed { .. });
    let availability = view.fleet.availability(now, id);
    let is_in_service = matches!(availability, Availability::Ready | Availability::Limited { .. });
    is_in_service && is_closed && view.eligibility(now, id, item) == Some(Admission::Now)
}
