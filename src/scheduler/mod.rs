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

mod bits;
mod bound;
mod bounds;
mod breaker;
mod candidates;
mod capacity;
mod cooldown;
mod day;
mod dispatch;
mod examination;
pub mod forecast;
mod health;
mod holding;
mod kinship;
mod latency;
mod learn;
mod learner;
mod lottery;
mod memory;
mod oracle;
mod pool;
mod purse;
mod queue;
mod ramp;
mod scoring;
mod settle;
mod setup;
mod share;
mod spill;
mod standing;
mod strategy;
mod switches;
mod tournament;
mod transit;
mod trial;
mod view;
mod window;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    time::Duration,
};

pub use dispatch::{Dispatch, Refusal, Step};
pub use forecast::{Assumptions, ForecastInput};
pub use memory::{Memory, PastAttempt};
pub use queue::Ticket;
pub use settle::{Fate, Settlement};
pub use standing::Holdup;
pub use switches::Unknown;
pub use view::{KeyFacts, ModelFacts, RouteFacts};

use crate::domain::{AttemptId, Key, Model, Money, MonoTime, Now, Policy, RouteId, Seq, WallTime, snapshot::Cause};

use breaker::Breaker;
use cooldown::Cooldown;
use examination::Accusers;
use health::Health;
use kinship::Kinship;
use latency::Latency;
use pool::Pool;
use queue::{Class, Flight};
use ramp::Ramp;
use transit::Transit;

/// Everything that a dispatch decision may depend on.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    providers: Vec<ProviderState>,
    projects: Vec<ProjectState>,
    keys: Vec<KeyState>,
    models: Vec<ModelState>,
    pools: Vec<Pool>,
    routes: Vec<Route>,
    /// All routes in the cascade's order.
    ranking: Vec<RouteId>,
    classes: Vec<Class>,
    flights: HashMap<AttemptId, Flight>,
    /// Items that wait out a retry delay.
    backing_off: HashMap<Seq, (usize, Ticket)>,
    backoff: BinaryHeap<Reverse<(MonoTime, Seq)>>,
    /// When a parked route is worth another look.
    alarms: BinaryHeap<Reverse<(MonoTime, RouteId)>>,
    /// Tickets that no route may ever serve, found when they were offered.
    refused: Vec<Refusal>,
    /// Items that have failed often enough to be at fault, if anybody else succeeded.
    suspects: HashSet<Seq>,
    families: Vec<Family>,
    /// Keys that may share a quota though they claim different projects.
    kinship: Kinship,
    next_attempt: u64,
    /// No new dispatches while set.
    paused: bool,
    money: Ledger,
    /// Under the cap of a day.
    purse: purse::Purse,
    /// `when_limited = "wait"`: where in `ranking` the run stands.
    cursor: usize,
    /// How often any route was taken.
    uses: u64,
    /// Whether any class goes by what must be measured.
    measuring: bool,
    /// The day (since 1970, UTC) for which the keys were put in order.
    rotated_on: Option<i64>,
    /// Changes whenever a route may have become ready.
    version: u64,
    last_poll: Option<Now>,
    holding: holding::Holding,
    /// Pools whose block of a shared day may be running out.
    lease_wanted: Vec<usize>,
    first_leases: bool,
    random: fastrand::Rng,
}

/// One model at one provider, over all projects: the same servers at the end of the same way.
#[derive(Debug, Default)]
struct Family {
    pools: Vec<usize>,
    transit: Transit,
}

/// The run's money: what is certain, what is promised, what is feared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    pub spent: Money,
    pub reserved: Money,
    pub at_risk: Money,
}

#[derive(Debug)]
struct ProviderState {
    name: String,
    api: crate::domain::Api,
    /// Can't be reached from here.
    hold: Option<Cooldown>,
    hold_step: u32,
}

#[derive(Debug)]
struct ProjectState {
    /// `provider/project`.
    name: String,
    /// Out of credit; ends with a trial.
    billing: Option<Cooldown>,
}

#[derive(Debug)]
struct KeyState {
    key: Key,
    project: usize,
    /// Switched off by the operator.
    off: Option<WallTime>,
    dead: Option<Cause>,
    health: Health,
    /// Items that failed here lately while other keys answered.
    accusers: Accusers,
    in_flight: u32,
    routes: Vec<RouteId>,
    purse: purse::Purse,
}

#[derive(Debug)]
struct ModelState {
    model: Model,
    off: Option<WallTime>,
    /// The last two items that it answered, and when: witnesses when another item fails.
    witnesses: [Option<(Seq, MonoTime)>; 2],
    /// Running mean of billed output tokens, for token estimates.
    mean_output: Option<f64>,
    /// On all its routes.
    latency: Latency,
}

#[derive(Debug)]
struct Route {
    key: usize,
    model: usize,
    pool: usize,
    provider: usize,
    /// Switched off by the operator.
    off: Option<WallTime>,
    /// The provider says that this project can't use this model.
    gone: Option<Cause>,
    /// Items were refused alike; the operator is asked.
    held: Option<Cause>,
    breaker: Breaker,
    /// After a breaker closed: the way back up.
    ramp: Option<Ramp>,
    in_flight: u32,
    refused_alike: (u32, u64),
    ever_accepted: bool,
    last_ok: Option<MonoTime>,
    latency: Latency,
    /// The number of its last use.
    last_used: u64,
    /// The earliest alarm set for this route.
    alarm: Option<MonoTime>,
}

/// How recent a witness must be.
const TESTIMONY: Duration = Duration::from_secs(60);

impl Scheduler {
    /// Tickets of `class` that were not offered yet; they count as waiting.
    pub fn set_backlog(&mut self, class: usize, items: u64) {
        self.classes[class].backlog = items;
    }

    /// Brings a loaded item. One that no route may ever serve comes back from `poll` as a refusal.
    pub fn offer(&mut self, class: usize, mut ticket: Ticket) {
        let rule = self.classes[class].routing.rule.and_then(|rule| self.policy.rules.get(rule));
        ticket.max_usd = ticket.max_usd.into_iter().chain(rule.and_then(|rule| rule.max_usd)).min();
        if let Some(refusal) = self.never(class, &ticket) {
            self.refused.push(refusal);
            return;
        }
        let queue = &mut self.classes[class];
        queue.fresh.push_back(ticket);
        queue.stuck_at = None;
    }

    /// How many loaded tickets of `class` have not been tried yet. Those that were may wait long for a route of their
    /// own, and must not keep others from being loaded.
    pub fn fresh(&self, class: usize) -> usize {
        self.classes[class].fresh.len()
    }

    /// Whether more of `class` should be loaded: not while too many that were tried wait in memory.
    pub fn takes_more(&self, class: usize) -> bool {
        self.classes[class].takes_more()
    }

    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub const fn money(&self) -> Ledger {
        self.money
    }

    /// Brings back what earlier processes spent, and where attempt numbers go on.
    pub fn resume_from(&mut self, next_attempt: u64, spent: Money, at_risk: Money) {
        self.next_attempt = next_attempt;
        self.money = Ledger { spent, reserved: Money::ZERO, at_risk };
    }

    /// Items that are neither done nor failed, as far as the scheduler has been told of them.
    pub fn live(&self) -> u64 {
        let queued: u64 = self.classes.iter().map(|class| class.backlog + class.loaded() as u64).sum();
        queued + (self.backing_off.len() + self.flights.len() + self.refused.len()) as u64
    }

    /// When to poll again though nothing settles: `None` where only an answer or the operator helps.
    pub fn next_wake(&self) -> Option<MonoTime> {
        let alarm = self.alarms.peek().map(|Reverse((at, _))| *at);
        let backoff = self.backoff.peek().map(|Reverse((at, _))| *at);
        alarm.into_iter().chain(backoff).min()
    }

    /// Makes every route worth another look.
    fn look_again(&mut self) {
        for index in 0..self.routes.len() {
            self.unpark(RouteId(index as u32));
        }
    }

    fn unpark(&mut self, route: RouteId) {
        for class in &mut self.classes {
            class.unpark(route);
        }
        self.holding.freed(route);
        self.version += 1;
    }

    fn park(&mut self, now: Now, route: RouteId, wake: cooldown::Wake) {
        for class in &mut self.classes {
            class.park(route);
        }
        self.note_parked(now, route);
        self.want_lease(self.routes[route.index()].pool);
        self.set_alarm(now, route, wake);
    }

    fn set_alarm(&mut self, now: Now, route: RouteId, wake: cooldown::Wake) {
        let Some(at) = wake.mono(now) else { return };
        let alarm = &mut self.routes[route.index()].alarm;
        if alarm.is_none_or(|earlier| earlier > at || earlier <= now.mono) {
            *alarm = Some(at);
            self.alarms.push(Reverse((at, route)));
        }
    }

    fn unpark_pool(&mut self, pool: usize) {
        for index in 0..self.pools[pool].routes.len() {
            let route = self.pools[pool].routes[index];
            self.unpark(route);
        }
    }
}
