//! The scheduler decides for every item at every instant where to send it, or whether to wait and until when.
//!
//! It is a pure state machine: it is handed `Now`, never reads a clock, does no I/O and knows no async runtime.
//! [`Scheduler::enqueue`] adds items, [`Scheduler::poll`] returns what to send, [`Scheduler::complete`] takes the
//! result of an attempt, and [`Scheduler::next_wakeup`] says when to poll again.
//!
//! ```text
//! forward    dispatch         poll: which item, which route       queue              waiting items by class
//!            candidates       routes of a class, in order         allowed_routes     spill and strict order
//!            selector         what a strategy does, and a file    model_score        price and latency per model
//!                             for each strategy                   tiered_tree        values that change, by tier
//!            probe            one item through a half-open route  bitset, min_tree, weighted_sampler
//! backward   complete         effects of an attempt's result      fault_attribution  item or key at fault
//! fleet      setup            routes and pools of a fleet         availability       why a route can't be used now
//! limits     pool             counters that routes share          window             sliding minutes, pacing
//!            daily_quota      provider days                       lease              quota shared by processes
//!            pool_limits      limits in force                     limit_sources      configured, stated, learned
//!            adaptive_limit   limits learned from 429s            limit_updates      limits stated in responses
//!            min_rtt          when a request was counted          limit_kind         the limits that can block
//!            cooldown         unavailable until an instant
//! health     health           score of a key                      breaker            circuit breaker of a route
//!            ramp             concurrency after a failure         latency_average    recent latency
//! other      budget           money caps                          shared_quota       keys that share a quota
//!            bottleneck       why not faster, over time           forecast           finish time and cost
//!            operator         switches and policy changes         saved_state        state across restarts
//!            status           data for screens                    idle_check         for tests
//! ```

mod bottleneck;
mod budget;
mod complete;
mod dispatch;
mod fleet;
pub mod forecast;
mod health;
mod idle_check;
mod limit_updates;
mod limits;
mod operator;
mod queue;
mod routing;
mod saved_state;
mod shared_quota;
mod status;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    time::Duration,
};

pub use complete::{AttemptEffects, Disposition};
pub use dispatch::{LocalRejection, NextStep, PlannedAttempt};
pub use fleet::availability::StallReason;
pub use forecast::{Assumptions, ForecastInput};
pub use operator::NotFound;
pub use queue::QueuedItem;
pub use saved_state::{PastUsage, SavedState};
pub use status::{KeyStatus, ModelStatus, RouteStatus};

use crate::domain::{AttemptId, Key, Model, Money, MonoTime, Now, Policy, RouteId, Seq, WallTime, snapshot::Cause};

use health::breaker::Breaker;
use health::fault_attribution::RecentFailures;
use health::latency_average::LatencyAverage;
use health::score::Health;
use limits::cooldown::Cooldown;
use limits::min_rtt::MinRtt;
use limits::pool::QuotaPool;
use limits::ramp::Ramp;
use queue::{ItemClass, Reserved};
use shared_quota::SharedQuotaDetector;

/// The state of all scheduling decisions.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    providers: Vec<ProviderState>,
    projects: Vec<ProjectState>,
    keys: Vec<KeyState>,
    models: Vec<ModelState>,
    pools: Vec<QuotaPool>,
    routes: Vec<RouteState>,
    /// All routes in the cascade's order.
    ranking: Vec<RouteId>,
    classes: Vec<ItemClass>,
    reservations: HashMap<AttemptId, Reserved>,
    /// Items that wait for the end of a retry delay, with their class.
    backing_off: HashMap<Seq, (usize, QueuedItem)>,
    backoff_wakeups: BinaryHeap<Reverse<(MonoTime, Seq)>>,
    /// When to check parked routes again.
    route_wakeups: BinaryHeap<Reverse<(MonoTime, RouteId)>>,
    /// Items that no route can ever serve, not yet returned by `poll`.
    rejections: Vec<LocalRejection>,
    /// Unfinished items that have had a provider error on their current model. If all unfinished items are among them,
    /// errors count against an item even though no other item succeeds.
    failing_items: HashSet<Seq>,
    model_groups: Vec<ModelGroup>,
    /// Detects keys in different projects that share a quota.
    shared_quotas: SharedQuotaDetector,
    next_attempt_id: u64,
    /// Nothing is sent while set.
    is_paused: bool,
    run_spend: RunSpend,
    /// The run's cap on spending per UTC day.
    day_budget: budget::Budget,
    /// `when_limited = "wait"`: the index in `ranking` of the route in use.
    cursor: usize,
    /// The number of attempts planned so far, to order routes by last use.
    dispatch_count: u64,
    /// Whether any class uses a strategy that needs measurements.
    uses_stats: bool,
    /// The UTC day (days since 1970) for which the keys were last rotated.
    rotation_day: Option<i64>,
    /// Increases whenever a route may have become ready or a blocked item may have become sendable.
    readiness_version: u64,
    last_poll: Option<Now>,
    bottlenecks: bottleneck::BottleneckTracker,
    /// Pools whose lease of a shared daily quota may be running out.
    pools_needing_lease: Vec<usize>,
    needs_first_leases: bool,
    rng: fastrand::Rng,
}

/// The pools of one model (or of one named shared pool) at one provider, over all projects. They reach the same
/// servers.
#[derive(Debug, Default)]
struct ModelGroup {
    pools: Vec<usize>,
    min_rtt: MinRtt,
}

/// The run's spent, reserved and at-risk amounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunSpend {
    pub spent: Money,
    pub reserved: Money,
    pub at_risk: Money,
}

#[derive(Debug)]
struct ProviderState {
    name: String,
    api: crate::domain::Api,
    /// Cooldown while the provider can't be reached from this machine.
    unreachable: Option<Cooldown>,
    unreachable_step: u32,
}

#[derive(Debug)]
struct ProjectState {
    /// `provider/project`.
    name: String,
    /// Cooldown while the project has no credit; it ends with a probe.
    out_of_credit: Option<Cooldown>,
}

#[derive(Debug)]
struct KeyState {
    key: Key,
    project: usize,
    switched_off_at: Option<WallTime>,
    disabled: Option<Cause>,
    health: Health,
    /// Items that recently failed on this key while other keys succeeded.
    recent_failures: RecentFailures,
    in_flight: u32,
    routes: Vec<RouteId>,
    budget: budget::Budget,
}

#[derive(Debug)]
struct ModelState {
    model: Model,
    switched_off_at: Option<WallTime>,
    /// The last two items it answered, and when. They show that the model works when another item fails.
    recent_successes: [Option<(Seq, MonoTime)>; 2],
    /// Running mean of billed output tokens, for token estimates.
    mean_output_tokens: Option<f64>,
    /// Over all routes of the model.
    latency: LatencyAverage,
}

#[derive(Debug)]
struct RouteState {
    key: usize,
    model: usize,
    pool: usize,
    provider: usize,
    switched_off_at: Option<WallTime>,
    /// The provider says that this project can't use this model.
    unavailable: Option<Cause>,
    /// Set after several identical rejections in a row. The route stays unavailable until the operator switches it on
    /// again.
    needs_operator: Option<Cause>,
    breaker: Breaker,
    /// Limits concurrency after the breaker has closed.
    ramp: Option<Ramp>,
    in_flight: u32,
    /// The number of identical rejections in a row, and the fingerprint of their message.
    identical_rejections: (u32, u64),
    /// Consecutive refused pictures, without an accepted request in between.
    picture_rejections: u32,
    /// Whether the provider has ever accepted a request on this route.
    has_accepted_request: bool,
    last_accepted_at: Option<MonoTime>,
    latency: LatencyAverage,
    /// The value of `dispatch_count` at the last use of the route; 0 before the first use.
    last_use_number: u64,
    /// The earliest wakeup scheduled for this route.
    wakeup_at: Option<MonoTime>,
}

/// How long a success or a failure counts as evidence for fault attribution.
const EVIDENCE_WINDOW: Duration = Duration::from_secs(60);

impl Scheduler {
    /// Sets the number of waiting items of `class` that are not loaded yet.
    pub fn set_backlog(&mut self, class: usize, items: u64) {
        self.classes[class].backlog = items;
    }

    /// Adds a loaded item. If no route can ever serve it, `poll` returns a rejection for it.
    pub fn enqueue(&mut self, class: usize, mut item: QueuedItem) {
        let rule = self.classes[class].class_key.rule.and_then(|rule| self.policy.rules.get(rule));
        item.max_usd = item.max_usd.into_iter().chain(rule.and_then(|rule| rule.max_usd)).min();
        if let Some(rejection) = self.permanent_rejection(class, &item) {
            self.rejections.push(rejection);
            return;
        }
        let queue = &mut self.classes[class];
        queue.pending.push_back(item);
        queue.stuck_at_version = None;
    }

    /// Number of loaded items of `class` that were neither sent nor set aside as blocked. The others don't count: they
    /// may wait long for a route and must not keep more items from being loaded.
    pub fn pending_count(&self, class: usize) -> usize {
        self.classes[class].pending.len()
    }

    /// Whether more items of `class` may be loaded. False while too many retries and blocked items are in memory.
    pub fn has_capacity(&self, class: usize) -> bool {
        self.classes[class].has_capacity()
    }

    pub fn in_flight_count(&self) -> usize {
        self.reservations.len()
    }

    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub const fn run_spend(&self) -> RunSpend {
        self.run_spend
    }

    /// Restores the money that earlier processes spent, and the next attempt number.
    pub fn resume_from(&mut self, next_attempt: u64, spent: Money, at_risk: Money) {
        self.next_attempt_id = next_attempt;
        self.run_spend = RunSpend { spent, reserved: Money::ZERO, at_risk };
    }

    /// Number of items known to the scheduler that are neither done nor failed.
    pub fn unfinished_items(&self) -> u64 {
        let queued: u64 = self.classes.iter().map(|class| class.backlog + class.loaded_count() as u64).sum();
        queued + (self.backing_off.len() + self.reservations.len() + self.rejections.len()) as u64
    }

    /// When to poll again at the latest. Poll earlier if an attempt completes. `None` if only an answer or the operator
    /// can change anything.
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        let route_wakeup = self.route_wakeups.peek().map(|Reverse((at, _))| *at);
        let backoff = self.backoff_wakeups.peek().map(|Reverse((at, _))| *at);
        route_wakeup.into_iter().chain(backoff).min()
    }

    /// Marks all routes as possibly ready, so that the next poll checks them.
    fn unpark_all(&mut self) {
        for index in 0..self.routes.len() {
            self.unpark(RouteId(index as u32));
        }
    }

    /// Marks a route as possibly ready.
    fn unpark(&mut self, route: RouteId) {
        for class in &mut self.classes {
            class.unpark(route);
        }
        self.bottlenecks.mark_unblocked(route);
        self.readiness_version += 1;
    }

    /// Marks a route as not ready. It is checked again at `wakeup`.
    fn park(&mut self, now: Now, route: RouteId, wakeup: limits::cooldown::Wakeup) {
        for class in &mut self.classes {
            class.park(route);
        }
        self.record_parked(now, route);
        self.mark_lease_needed(self.routes[route.index()].pool);
        self.schedule_wakeup(now, route, wakeup);
    }

    fn schedule_wakeup(&mut self, now: Now, route: RouteId, wakeup: limits::cooldown::Wakeup) {
        let Some(at) = wakeup.to_mono(now) else { return };
        let scheduled_at = &mut self.routes[route.index()].wakeup_at;
        if scheduled_at.is_none_or(|earlier| earlier > at || earlier <= now.mono) {
            *scheduled_at = Some(at);
            self.route_wakeups.push(Reverse((at, route)));
        }
    }

    fn unpark_pool(&mut self, pool: usize) {
        for index in 0..self.pools[pool].routes.len() {
            let route = self.pools[pool].routes[index];
            self.unpark(route);
        }
    }
}
