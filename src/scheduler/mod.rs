//! The scheduler decides for every item at every instant where to send it, or whether to wait and until when.
//!
//! It is a pure state machine: it is handed `Now`, never reads a clock, does no I/O and knows no async runtime.
//! [`Scheduler::enqueue`] adds items, [`Scheduler::poll`] returns what to send, [`Scheduler::complete`] takes the
//! result of an attempt, and [`Scheduler::next_wakeup`] says when to poll again.
//!
//! It coordinates components. None of them names the scheduler; they return what happened, and it acts on that:
//!
//! ```text
//! fleet         providers, projects, keys, models, routes; `Fleet::availability`: can a route go, and if not, why?
//!   limits      a pool's windows, daily quotas, leases, learned limits and cooldowns (`throttling`: after a 429)
//!   health      scores, circuit breakers, connections, rejections, and whose fault a failure was
//! queue         waiting items by class, and items that back off
//! routing       the order of routes, which may be ready, spill and strict order, and a file per strategy
//! budget        money caps                   bottleneck    why not faster, over time
//! shared_quota  keys that share a quota      view          questions about an item on a route
//! stall         why nothing is sent          forecast_input  the state that a forecast starts from
//! ```
//!
//! Only these files have `impl Scheduler`: this one, `dispatch` (item to route), `complete` (result to state),
//! `operator` (switches), `saved_state` and `status`. `proof` tests them in random worlds.

mod admission;
mod bottleneck;
mod budget;
mod complete;
mod dispatch;
mod fleet;
mod forecast_input;
mod health;
mod limits;
mod operator;
#[cfg(test)]
mod proof;
mod queue;
mod routing;
mod saved_state;
mod shared_quota;
mod stall;
mod status;
mod view;

use std::collections::HashMap;

pub use budget::RunSpend;
pub use complete::{AttemptEffects, Disposition};
pub use dispatch::{NextStep, PlannedAttempt};
pub use operator::NotFound;
pub use queue::{LocalRejection, QueuedItem};
pub use saved_state::SavedState;
pub use stall::StallReason;
pub use status::{KeyStatus, ModelStatus, RouteStatus};

use crate::domain::{
    AttemptId, Key, KeyId, Model, Money, MonoTime, Now, Policy, PoolId, Provider, RouteId, RouteTarget, RoutingTraits,
    WallTime, WhenLimited,
    lease::{LeaseGrant, LeaseRequest},
};

use bottleneck::BottleneckTracker;
use budget::RunBudget;
use fleet::Fleet;
use limits::pool_limits::TokenEstimate;
use queue::Queue;
use routing::{Routing, readiness::Readiness};
use shared_quota::SharedQuotaDetector;
use view::View;

/// The state of all scheduling decisions.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    fleet: Fleet,
    queue: Queue,
    routing: Routing,
    readiness: Readiness,
    budget: RunBudget,
    bottlenecks: BottleneckTracker,
    /// Detects keys in different projects that share a quota.
    shared_quotas: SharedQuotaDetector,
    reservations: HashMap<AttemptId, Reservation>,
    next_attempt_id: u64,
    /// Nothing is sent while set.
    is_paused: bool,
    last_poll: Option<Now>,
    /// Pools whose lease of a shared daily quota may be running out.
    pools_needing_lease: Vec<PoolId>,
    needs_first_leases: bool,
    rng: fastrand::Rng,
}

/// An attempt in flight, and what it has reserved.
#[derive(Clone, Debug)]
struct Reservation {
    class: usize,
    item: QueuedItem,
    route: RouteId,
    created_at: Now,
    /// When the request left the process; until then, when it was reserved.
    sent_at: Now,
    tokens: TokenEstimate,
    max_cost: Money,
}

impl Scheduler {
    /// A scheduler without items. All random choices derive from `seed`: the same seed and inputs give the same
    /// decisions.
    pub fn new(providers: &[Provider], models: &[Model], keys: &[Key], policy: Policy, seed: u64) -> Self {
        let fleet = Fleet::new(providers, models, keys);
        let mut scheduler = Self {
            queue: Queue::default(),
            routing: Routing::new(&fleet, &policy),
            readiness: Readiness::new(fleet.routes().len()),
            budget: RunBudget::new(policy.max_usd_per_day, keys.iter().map(|key| key.spend_limits)),
            bottlenecks: BottleneckTracker::new(fleet.routes().len()),
            shared_quotas: SharedQuotaDetector::default(),
            reservations: HashMap::new(),
            next_attempt_id: 1,
            is_paused: false,
            last_poll: None,
            pools_needing_lease: Vec::new(),
            needs_first_leases: false,
            rng: fastrand::Rng::with_seed(seed),
            fleet,
            policy,
        };
        scheduler.apply_strict_mode();
        scheduler
    }

    /// The class of items with these traits; created on first use.
    pub fn find_or_add_class(&mut self, traits: &RoutingTraits) -> usize {
        let (class, is_new) = self.routing.find_or_add_class(&self.fleet, &self.policy, traits);
        if is_new {
            self.queue.add_class();
        }
        class
    }

    /// Sets the number of waiting items of `class` that are not loaded yet.
    pub fn set_backlog(&mut self, class: usize, items: u64) {
        self.queue.class_mut(class).backlog = items;
    }

    /// Adds a loaded item. If no route can ever serve it, `poll` returns a rejection for it.
    pub fn enqueue(&mut self, class: usize, mut item: QueuedItem) {
        let rule = self.routing.class(class).key().rule.and_then(|rule| self.policy.rules.get(rule));
        item.max_usd = item.max_usd.into_iter().chain(rule.and_then(|rule| rule.max_usd)).min();
        match self.routing.class(class).permanent_rejection(self.view(), &item) {
            Some(rejection) => self.queue.reject(rejection),
            None => self.queue.class_mut(class).push(item),
        }
    }

    /// Number of loaded items of `class` that were neither sent nor set aside as blocked. The others don't count: they
    /// may wait long for a route and must not keep more items from being loaded.
    pub fn pending_count(&self, class: usize) -> usize {
        self.queue.class(class).pending_count()
    }

    /// Whether more items of `class` may be loaded. False while too many retries and blocked items are in memory.
    pub fn has_capacity(&self, class: usize) -> bool {
        self.queue.class(class).has_capacity()
    }

    pub fn in_flight_count(&self) -> usize {
        self.reservations.len()
    }

    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub const fn run_spend(&self) -> RunSpend {
        self.budget.spend()
    }

    /// Restores the money that earlier processes spent, and the next attempt number.
    pub const fn resume_from(&mut self, next_attempt: u64, spent: Money, at_risk: Money) {
        self.next_attempt_id = next_attempt;
        self.budget.resume_from(spent, at_risk);
    }

    /// Adds money that an earlier process spent or may have spent: to the day's budget, and to that of the key of this
    /// name if it still exists. Calls must come in time order.
    pub fn restore_spend(&mut self, now: Now, key: &str, at: WallTime, committed: Money) {
        self.budget.restore_spend(now, self.fleet.find_key(key), at, committed);
    }

    /// Number of items known to the scheduler that are neither done nor failed.
    pub fn unfinished_items(&self) -> u64 {
        self.queue.waiting_count() + self.reservations.len() as u64
    }

    /// When to poll again at the latest. Poll earlier if an attempt completes. `None` if only an answer or the operator
    /// can change anything.
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        self.readiness.next_wakeup().into_iter().chain(self.queue.backoff().next_wakeup()).min()
    }

    /// Whether any route serves this target.
    pub fn has_route(&self, target: &RouteTarget) -> bool {
        self.fleet.has_route(target)
    }

    const fn view(&self) -> View<'_> {
        View { fleet: &self.fleet, budget: &self.budget, policy: &self.policy }
    }

    /// Marks all routes as possibly ready, so that the next poll checks them.
    fn unpark_all(&mut self) {
        self.fleet.route_ids().for_each(|route| self.unpark(route));
    }

    /// Marks a route as possibly ready.
    fn unpark(&mut self, route: RouteId) {
        self.routing.unpark(route);
        self.readiness.mark_changed();
        self.bottlenecks.set_blocked_by(route, None);
    }

    fn unpark_pool(&mut self, pool: PoolId) {
        for index in 0..self.fleet.pool(pool).routes.len() {
            self.unpark(self.fleet.pool(pool).routes[index]);
        }
    }

    /// Sorts the routes anew after the policy has changed.
    fn rebuild_routing(&mut self) {
        self.routing.rebuild(&self.fleet, &self.policy);
        self.readiness.mark_changed();
        self.queue.mark_changed();
    }

    /// Switches learned limits off if `when_limited` is `wait`, and otherwise on. Strict order uses the backoff
    /// schedule instead.
    fn apply_strict_mode(&mut self) {
        let is_strict = self.policy.when_limited == WhenLimited::Wait;
        for pool in self.fleet.pools_mut() {
            pool.limits.set_strict(is_strict);
            pool.apply_limits();
        }
    }

    /// Shares daily quotas with other processes from now on. A pool with a daily limit sends nothing before a lease is
    /// granted.
    pub fn share_daily_quotas(&mut self) {
        self.fleet.pools_mut().iter_mut().for_each(|pool| pool.set_shared(true));
        self.pools_needing_lease.extend(self.fleet.pool_ids());
        self.needs_first_leases = true;
    }

    /// Stops sharing after the ledger became unavailable. Only this process's own counts apply from then on.
    pub fn stop_sharing_daily_quotas(&mut self) {
        self.fleet.pools_mut().iter_mut().for_each(|pool| pool.set_shared(false));
        self.pools_needing_lease.clear();
        self.unpark_all();
    }

    /// Marks a pool as possibly needing a lease.
    fn mark_lease_needed(&mut self, pool: PoolId) {
        if self.fleet.pool(pool).is_shared() && self.pools_needing_lease.last() != Some(&pool) {
            self.pools_needing_lease.push(pool);
        }
    }

    /// The leases needed now. A request is not returned again until it is answered.
    pub fn lease_requests(&mut self, now: Now) -> Vec<LeaseRequest> {
        let is_first = std::mem::take(&mut self.needs_first_leases);
        let mut requests = Vec::new();
        for pool in std::mem::take(&mut self.pools_needing_lease) {
            requests.extend(self.fleet.pool_mut(pool).lease_requests(now.wall, pool, is_first));
        }
        requests
    }

    /// Applies a reply of the quota ledger and unparks the routes of its pool.
    pub fn apply_lease_grant(&mut self, now: Now, grant: &LeaseGrant) {
        self.fleet.pool_mut(grant.pool).apply_lease_grant(now, grant);
        self.unpark_pool(grant.pool);
        // The grant may be less than what is needed by now.
        self.mark_lease_needed(grant.pool);
    }

    /// Takes what is left of all leases, as requests that return it to the ledger at the end of the process.
    pub fn take_unused_leases(&mut self, now: Now) -> Vec<LeaseRequest> {
        let mut unused = Vec::new();
        for pool in self.fleet.pool_ids() {
            unused.extend(self.fleet.pool_mut(pool).take_unused_leases(now.wall, pool));
        }
        unused
    }

    /// Adds what other processes used today, for the `plan` command. Nothing is leased.
    pub fn add_usage_elsewhere(
        &mut self,
        now: Now,
        pool: PoolId,
        requests: u64,
        tokens: u64,
        exhausted_until: Option<WallTime>,
    ) {
        self.fleet.pool_mut(pool).add_usage_elsewhere(now, requests, tokens, exhausted_until);
        self.unpark_pool(pool);
    }

    /// The identity of a pool in the ledger: one of its keys, and the name of the model or pool.
    pub fn pool_identity(&self, pool: PoolId) -> Option<(KeyId, &str)> {
        let route = *self.fleet.pool(pool).routes.first()?;
        let model = self.fleet.model_of(route);
        Some((self.fleet.route(route).key, model.pool.as_deref().unwrap_or(&model.name)))
    }

    pub fn pool_ids(&self) -> impl Iterator<Item = PoolId> + use<> {
        self.fleet.pool_ids()
    }

    /// The routes of the key of this name; none if there is no such key.
    pub fn routes_of_key(&self, name: &str) -> Vec<RouteId> {
        self.fleet.find_key(name).map_or_else(Vec::new, |key| self.fleet.key(key).routes().to_vec())
    }

    pub fn pool_of(&self, route: RouteId) -> PoolId {
        self.fleet.route(route).pool
    }

    /// Until when the pool's daily quota is used up, as the provider said.
    pub fn exhausted_until(&self, now: Now, pool: PoolId) -> Option<WallTime> {
        self.fleet.pool(pool).exhausted_until(now)
    }
}
