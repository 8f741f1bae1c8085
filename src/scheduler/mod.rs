//! The scheduler: decides, for every item at every instant, where to send it, whether to wait and until when.
//!
//! A pure machine. It is handed `Now` and never reads a clock, does no I/O and knows no runtime:
//! [`Scheduler::offer`] brings tickets, [`Scheduler::poll`] says what to send, [`Scheduler::settle`] takes
//! the verdict, [`Scheduler::next_wake`] says when to ask again.
//!
//! ```text
//! queue      tickets by class                  pool      counters that routes share
//! candidates what a class may use, in order    strategy  which of those that are ready    scoring  price and wait
//! tournament the least of many                 lottery   one of many by weight            latency  recent answers
//! dispatch   poll: which ticket, which route   window    sliding minutes, pacing      day   provider days
//! settle     what a verdict changes            cooldown  breaker  health              bits  ready ranks
//! switches   the operator's hand               standing  why a route can't go now
//! bounds     limits and their provenance       learner   unknown limits, found out    learn  statements
//! transit    when a request was counted        trial     probes       ramp  the way back up
//! examination  whose fault it was              kinship   quotas that are one          oracle  for tests
//! view       gauges and conditions for screens memory    what outlives the process
//! share      blocks of a day that processes share         purse    money caps of keys and days
//! capacity   what can be full
//! forecast   the same limits, run ahead of the clock        holding  why not faster, by time
//! ```

mod adaptive_limit;
mod allowed_routes;
mod availability;
mod bitset;
mod bottleneck;
mod breaker;
mod budget;
mod candidates;
mod complete;
mod cooldown;
mod daily_quota;
mod dispatch;
mod fault_attribution;
pub mod forecast;
mod health;
mod idle_check;
mod latency_average;
mod lease;
mod limit_kind;
mod limit_sources;
mod limit_updates;
mod min_rtt;
mod min_tree;
mod model_score;
mod operator;
mod pool;
mod pool_limits;
mod probe;
mod queue;
mod ramp;
mod route_selector;
mod saved_state;
mod setup;
mod shared_quota;
mod status;
mod weighted_sampler;
mod window;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    time::Duration,
};

pub use availability::StallReason;
pub use complete::{AttemptEffects, Disposition};
pub use dispatch::{LocalRejection, NextStep, PlannedAttempt};
pub use forecast::{Assumptions, ForecastInput};
pub use operator::NotFound;
pub use queue::QueuedItem;
pub use saved_state::{PastUsage, SavedState};
pub use status::{KeyStatus, ModelStatus, RouteStatus};

use crate::domain::{AttemptId, Key, Model, Money, MonoTime, Now, Policy, RouteId, Seq, WallTime, snapshot::Cause};

use breaker::Breaker;
use cooldown::Cooldown;
use fault_attribution::RecentFailures;
use health::Health;
use latency_average::LatencyAverage;
use min_rtt::MinRtt;
use pool::QuotaPool;
use queue::{ItemClass, Reserved};
use ramp::Ramp;
use shared_quota::SharedQuotaDetector;

/// Everything that a dispatch decision may depend on.
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
    /// Items that wait out a retry delay.
    backing_off: HashMap<Seq, (usize, QueuedItem)>,
    backoff_wakeups: BinaryHeap<Reverse<(MonoTime, Seq)>>,
    /// When a parked route is worth another look.
    route_wakeups: BinaryHeap<Reverse<(MonoTime, RouteId)>>,
    /// Tickets that no route may ever serve, found when they were offered.
    rejections: Vec<LocalRejection>,
    /// Items that have failed often enough to be at fault, if anybody else succeeded.
    failing_items: HashSet<Seq>,
    model_groups: Vec<ModelGroup>,
    /// Keys that may share a quota though they claim different projects.
    shared_quotas: SharedQuotaDetector,
    next_attempt: u64,
    /// No new dispatches while set.
    is_paused: bool,
    run_spend: RunSpend,
    /// Under the cap of a day.
    day_budget: budget::Budget,
    /// `when_limited = "wait"`: where in `ranking` the run stands.
    cursor: usize,
    /// How often any route was taken.
    dispatch_count: u64,
    /// Whether any class goes by what must be measured.
    uses_stats: bool,
    /// The day (since 1970, UTC) for which the keys were put in order.
    rotation_day: Option<i64>,
    /// Changes whenever a route may have become ready.
    version: u64,
    last_poll: Option<Now>,
    bottlenecks: bottleneck::BottleneckTracker,
    /// Pools whose block of a shared day may be running out.
    pools_needing_lease: Vec<usize>,
    needs_first_leases: bool,
    rng: fastrand::Rng,
}

/// One model at one provider, over all projects: the same servers at the end of the same way.
#[derive(Debug, Default)]
struct ModelGroup {
    pools: Vec<usize>,
    min_rtt: MinRtt,
}

/// The run's money: what is certain, what is promised, what is feared.
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
    /// Can't be reached from here.
    unreachable: Option<Cooldown>,
    unreachable_step: u32,
}

#[derive(Debug)]
struct ProjectState {
    /// `provider/project`.
    name: String,
    /// Out of credit; ends with a trial.
    out_of_credit: Option<Cooldown>,
}

#[derive(Debug)]
struct KeyState {
    key: Key,
    project: usize,
    /// Switched off by the operator.
    switched_off_at: Option<WallTime>,
    disabled: Option<Cause>,
    health: Health,
    /// Items that failed here lately while other keys answered.
    recent_failures: RecentFailures,
    in_flight: u32,
    routes: Vec<RouteId>,
    budget: budget::Budget,
}

#[derive(Debug)]
struct ModelState {
    model: Model,
    switched_off_at: Option<WallTime>,
    /// The last two items that it answered, and when: witnesses when another item fails.
    recent_successes: [Option<(Seq, MonoTime)>; 2],
    /// Running mean of billed output tokens, for token estimates.
    mean_output_tokens: Option<f64>,
    /// On all its routes.
    latency: LatencyAverage,
}

#[derive(Debug)]
struct RouteState {
    key: usize,
    model: usize,
    pool: usize,
    provider: usize,
    /// Switched off by the operator.
    switched_off_at: Option<WallTime>,
    /// The provider says that this project can't use this model.
    unavailable: Option<Cause>,
    /// Items were refused alike; the operator is asked.
    needs_operator: Option<Cause>,
    breaker: Breaker,
    /// After a breaker closed: the way back up.
    ramp: Option<Ramp>,
    in_flight: u32,
    identical_rejections: (u32, u64),
    has_accepted: bool,
    last_accepted_at: Option<MonoTime>,
    latency: LatencyAverage,
    /// The number of its last use.
    last_use_number: u64,
    /// The earliest alarm set for this route.
    wakeup_at: Option<MonoTime>,
}

/// How recent a witness must be.
const EVIDENCE_WINDOW: Duration = Duration::from_secs(60);

impl Scheduler {
    /// Tickets of `class` that were not offered yet; they count as waiting.
    pub fn set_backlog(&mut self, class: usize, items: u64) {
        self.classes[class].backlog = items;
    }

    /// Brings a loaded item. One that no route may ever serve comes back from `poll` as a refusal.
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

    /// How many loaded tickets of `class` have not been tried yet. Those that were may wait long for a route of their
    /// own, and must not keep others from being loaded.
    pub fn pending_count(&self, class: usize) -> usize {
        self.classes[class].pending.len()
    }

    /// Whether more of `class` should be loaded: not while too many that were tried wait in memory.
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

    /// Brings back what earlier processes spent, and where attempt numbers go on.
    pub fn resume_from(&mut self, next_attempt: u64, spent: Money, at_risk: Money) {
        self.next_attempt = next_attempt;
        self.run_spend = RunSpend { spent, reserved: Money::ZERO, at_risk };
    }

    /// Items that are neither done nor failed, as far as the scheduler has been told of them.
    pub fn unfinished_items(&self) -> u64 {
        let queued: u64 = self.classes.iter().map(|class| class.backlog + class.loaded_count() as u64).sum();
        queued + (self.backing_off.len() + self.reservations.len() + self.rejections.len()) as u64
    }

    /// When to poll again though nothing settles: `None` where only an answer or the operator helps.
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        let alarm = self.route_wakeups.peek().map(|Reverse((at, _))| *at);
        let backoff = self.backoff_wakeups.peek().map(|Reverse((at, _))| *at);
        alarm.into_iter().chain(backoff).min()
    }

    /// Makes every route worth another look.
    fn unpark_all(&mut self) {
        for index in 0..self.routes.len() {
            self.unpark(RouteId(index as u32));
        }
    }

    fn unpark(&mut self, route: RouteId) {
        for class in &mut self.classes {
            class.unpark(route);
        }
        self.bottlenecks.mark_unblocked(route);
        self.version += 1;
    }

    fn park(&mut self, now: Now, route: RouteId, wakeup: cooldown::Wakeup) {
        for class in &mut self.classes {
            class.park(route);
        }
        self.record_parked(now, route);
        self.mark_lease_needed(self.routes[route.index()].pool);
        self.schedule_wakeup(now, route, wakeup);
    }

    fn schedule_wakeup(&mut self, now: Now, route: RouteId, wakeup: cooldown::Wakeup) {
        let Some(at) = wakeup.to_mono(now) else { return };
        let alarm = &mut self.routes[route.index()].wakeup_at;
        if alarm.is_none_or(|earlier| earlier > at || earlier <= now.mono) {
            *alarm = Some(at);
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
