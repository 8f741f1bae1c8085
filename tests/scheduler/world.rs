//! A simulated world around the pure scheduler: providers that count for themselves, and a virtual clock.

// The benchmarks include this file from their own directory.
#[path = "fixtures.rs"]
mod fixtures;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use cascadeck::{
    domain::{
        AttemptId, AttemptResult, EventKind, Key, Limits, Model, MonoTime, Now, Outcome, Policy, ProviderId,
        RetryAfter, RoutingTraits, Seq, WallTime,
    },
    scheduler::{Disposition, NextStep, PlannedAttempt, QueuedItem, Scheduler},
};

pub use fixtures::{attempt_result, key, limits, model, provider, queued_item, wall};

/// Requests that one (project, model) of the provider counts at arrival.
#[derive(Default)]
struct ServerPool {
    minute: VecDeque<MonoTime>,
    day: BTreeMap<i64, u32>,
}

/// Extra latency of an answer, decided by the test.
pub type ExtraLatency = Box<dyn Fn(&Now, &PlannedAttempt) -> Duration>;

/// A refusal or fault for a request, decided by the test.
pub type FaultInjector = Box<dyn FnMut(&Now, &PlannedAttempt) -> Option<AttemptResult>>;

enum WorldEvent {
    RequestArrives(PlannedAttempt),
    ResponseArrives(AttemptId, AttemptResult),
    HealthCheck,
}

pub struct World {
    pub scheduler: Scheduler,
    pub keys: Vec<Key>,
    pub now: Now,
    start: Now,
    /// Limits that the server enforces; by default the configured ones.
    pub enforced: Vec<Limits>,
    pools: HashMap<(String, usize), ServerPool>,
    event_queue: BinaryHeap<Reverse<(MonoTime, u64)>>,
    scheduled_events: HashMap<u64, WorldEvent>,
    last_event_id: u64,
    pub inject_fault: FaultInjector,
    pub rng: fastrand::Rng,
    pub latency_range: (Duration, Duration),
    /// Latency beyond `latency_range`, decided by the test.
    pub extra_latency: ExtraLatency,
    /// Whether the provider responds to its health check, which is made a minute after a failure.
    pub responds_to_health_checks: bool,
    is_health_check_due: bool,
    pub dispositions: HashMap<u64, Disposition>,
    /// Time, model index and key index of every request that arrived.
    pub arrivals: Vec<(Now, usize, usize)>,
    pub throttled: u64,
    /// The wait that refusals for the minute state; `None`: the true one.
    pub stated_wait: Option<Duration>,
    pub events: Vec<EventKind>,
    pub done: u64,
    pub enqueued: u64,
    pub default_class: usize,
    pub is_stuck: bool,
}

impl World {
    #[expect(clippy::needless_pass_by_value, reason = "a fleet is made for its world")]
    pub fn new(models: Vec<Model>, keys: Vec<Key>, policy: Policy, start: WallTime, seed: u64) -> Self {
        let mut scheduler = Scheduler::new(&[provider()], &models, &keys, policy, seed);
        let class = scheduler.find_or_add_class(&RoutingTraits::default());
        let now = Now { mono: MonoTime(1_000_000), wall: start };
        Self {
            enforced: models.iter().map(|model| model.limits.clone()).collect(),
            scheduler,
            keys,
            now,
            start: now,
            pools: HashMap::new(),
            event_queue: BinaryHeap::new(),
            scheduled_events: HashMap::new(),
            last_event_id: 0,
            inject_fault: Box::new(|_, _| None),
            rng: fastrand::Rng::with_seed(seed),
            latency_range: (Duration::from_millis(300), Duration::from_millis(900)),
            extra_latency: Box::new(|_, _| Duration::ZERO),
            responds_to_health_checks: true,
            is_health_check_due: false,
            dispositions: HashMap::new(),
            arrivals: Vec::new(),
            throttled: 0,
            stated_wait: None,
            events: Vec::new(),
            done: 0,
            enqueued: 0,
            default_class: class,
            is_stuck: false,
        }
    }

    pub fn enqueue(&mut self, items: u64) {
        self.enqueue_in(self.default_class, items);
    }

    pub fn enqueue_in(&mut self, class: usize, items: u64) {
        for _ in 0..items {
            self.enqueue_item(class, queued_item(0));
        }
    }

    /// Enqueues an item like `ticket` with a new sequence number, and returns that number.
    pub fn enqueue_item(&mut self, class: usize, ticket: QueuedItem) -> u64 {
        self.enqueued += 1;
        self.scheduler.enqueue(class, QueuedItem { seq: Seq(self.enqueued), waiting_since: self.now.mono, ..ticket });
        self.enqueued
    }

    /// Number of requests that arrived at each key.
    pub fn arrivals_by_key(&self) -> Vec<usize> {
        let at = |key| self.arrivals.iter().filter(|(_, _, arrived)| *arrived == key).count();
        (0..self.keys.len()).map(at).collect()
    }

    pub fn elapsed(&self) -> Duration {
        self.now.mono.since(self.start.mono)
    }

    fn schedule_event(&mut self, after: Duration, what: WorldEvent) {
        self.last_event_id += 1;
        self.event_queue.push(Reverse((self.now.mono + after, self.last_event_id)));
        self.scheduled_events.insert(self.last_event_id, what);
    }

    /// Runs until every item has ended, nothing can happen any more, or `limit` has passed.
    pub fn run(&mut self, limit: Duration) {
        let end = self.now.mono + limit;
        while self.step(end) {}
    }

    fn step(&mut self, end: MonoTime) -> bool {
        while let Some(step) = self.scheduler.poll(self.now) {
            match step {
                NextStep::Send(dispatch) => {
                    let (least, most) = self.latency_range;
                    let half_latency = least / 2 + (most - least).mul_f64(self.rng.f64() / 2.0);
                    self.schedule_event(half_latency, WorldEvent::RequestArrives(dispatch));
                }
                NextStep::Reject(refusal) => self.record_end(refusal.seq.0, Disposition::Failed),
            }
        }
        if self.dispositions.len() as u64 == self.enqueued {
            return false;
        }
        let next = self.event_queue.peek().map(|Reverse((at, _))| *at);
        let Some(next) = next.into_iter().chain(self.scheduler.next_wakeup()).min() else {
            self.is_stuck = true;
            return false;
        };
        if next > end {
            let left = end.since(self.now.mono);
            self.now = self.now + left;
            return false;
        }
        let step = next.since(self.now.mono);
        self.now = self.now + step;
        while let Some(Reverse((at, id))) = self.event_queue.peek().copied() {
            if at > self.now.mono {
                break;
            }
            self.event_queue.pop();
            match self.scheduled_events.remove(&id).expect("test") {
                WorldEvent::RequestArrives(dispatch) => self.arrive(&dispatch),
                WorldEvent::ResponseArrives(attempt, verdict) => self.complete(attempt, &verdict),
                WorldEvent::HealthCheck => {
                    self.is_health_check_due = false;
                    if self.responds_to_health_checks {
                        self.scheduler.on_health_response(ProviderId(0), self.now.mono);
                    }
                    self.check_health_later();
                }
            }
        }
        true
    }

    fn arrive(&mut self, dispatch: &PlannedAttempt) {
        let (key, model) = (dispatch.key.index(), dispatch.model.index());
        self.arrivals.push((self.now, model, key));
        let verdict = (self.inject_fault)(&self.now, dispatch).unwrap_or_else(|| self.serve(key, model));
        let half_latency =
            self.latency_range.0 / 2 + (self.latency_range.1 - self.latency_range.0).mul_f64(self.rng.f64() / 2.0);
        let extra_latency = (self.extra_latency)(&self.now, dispatch);
        self.schedule_event(half_latency + extra_latency, WorldEvent::ResponseArrives(dispatch.attempt, verdict));
    }

    fn serve(&mut self, key: usize, model: usize) -> AttemptResult {
        let limits = self.enforced[model].clone();
        let pool = self.pools.entry((self.keys[key].project.clone(), model)).or_default();
        while pool.minute.front().is_some_and(|at| self.now.mono.since(*at) >= Duration::from_secs(60)) {
            pool.minute.pop_front();
        }
        let zoned = self.now.wall.timestamp().to_zoned(jiff::tz::TimeZone::get("America/Los_Angeles").expect("test"));
        let day = i64::from(zoned.year()) * 1_000 + i64::from(zoned.day_of_year());
        let today = pool.day.entry(day).or_default();
        if limits.rpd.is_some_and(|rpd| *today >= rpd) {
            self.throttled += 1;
            return AttemptResult { status: Some(429), ..attempt_result(Outcome::QuotaExhaustedDay) };
        }
        if limits.rpm.is_some_and(|rpm| pool.minute.len() >= rpm as usize) {
            self.throttled += 1;
            let free = *pool.minute.front().expect("test") + Duration::from_secs(60);
            let delay = self.stated_wait.unwrap_or_else(|| free.since(self.now.mono));
            return AttemptResult {
                status: Some(429),
                retry_after: Some(RetryAfter { delay }),
                ..attempt_result(Outcome::RateLimitedMinute)
            };
        }
        pool.minute.push_back(self.now.mono);
        *today += 1;
        attempt_result(Outcome::Ok)
    }

    fn complete(&mut self, attempt: AttemptId, verdict: &AttemptResult) {
        let settlement = self.scheduler.complete(self.now, attempt, verdict).expect("settled once");
        self.events.extend(settlement.events);
        self.check_health_later();
        if !matches!(settlement.disposition, Disposition::Requeued { .. }) {
            self.record_end(settlement.seq.0, settlement.disposition);
        }
    }

    fn check_health_later(&mut self) {
        let is_failing = self.scheduler.is_provider_failing(ProviderId(0));
        if is_failing && !std::mem::replace(&mut self.is_health_check_due, true) {
            self.schedule_event(Duration::from_secs(60), WorldEvent::HealthCheck);
        }
    }

    fn record_end(&mut self, seq: u64, fate: Disposition) {
        self.done += u64::from(matches!(fate, Disposition::Done { .. }));
        let before = self.dispositions.insert(seq, fate);
        assert!(before.is_none(), "item {seq} ended twice");
    }
}
