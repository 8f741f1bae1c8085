//! A simulated world around the pure scheduler: providers that keep their own books, and a virtual clock.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use cascadeck::{
    domain::{
        Api, AttemptId, AttemptResult, EventKind, Key, KeyRole, Limits, Model, MoneyCaps, MonoTime, Now, Outcome,
        OutcomeAction, Policy, Price, Provider, ProviderId, QuotaDay, RetryAfter, RoutingTraits, Seq, Usage, WallTime,
    },
    scheduler::{Disposition, NextStep, PlannedAttempt, QueuedItem, Scheduler},
};

pub fn wall(text: &str) -> WallTime {
    text.parse::<jiff::Timestamp>().expect("test").into()
}

pub fn provider() -> Provider {
    Provider { name: "gemini".to_owned(), api: Api::Gemini, base_url: "http://127.0.0.1:1".to_owned(), headers: vec![] }
}

pub fn model(name: &str, limits: Limits) -> Model {
    Model {
        name: name.to_owned(),
        provider: ProviderId(0),
        limits,
        vision: true,
        context: None,
        max_output: Some(1_000),
        weight: 1,
        pool: None,
        price: Price::from_usd_per_mtok(1.0, 2.0),
    }
}

pub fn key(name: &str, project: &str) -> Key {
    Key {
        name: name.to_owned(),
        provider: ProviderId(0),
        project: project.to_owned(),
        weight: 1,
        role: KeyRole::Primary,
        models: None,
        caps: MoneyCaps::default(),
    }
}

pub fn limits(rpm: u32, rpd: Option<u32>) -> Limits {
    Limits { rpm: Some(rpm), rpd, quota_day: QuotaDay::Pacific, ..Limits::default() }
}

pub fn ticket(seq: u64) -> QueuedItem {
    QueuedItem {
        seq: Seq(seq),
        input_tokens: 100,
        max_output_tokens: None,
        max_usd: None,
        is_caption: false,
        unsupported_apis: smallvec::SmallVec::new(),
        waiting_since: MonoTime::default(),
        retry_state: None,
    }
}

pub fn verdict(outcome: Outcome) -> AttemptResult {
    let answered = !matches!(outcome, Outcome::Timeout | Outcome::ClientTrouble | Outcome::Lost);
    AttemptResult {
        outcome,
        action: OutcomeAction::Retry,
        status: answered.then_some(200),
        retry_after: None,
        message: String::new(),
        rule: String::new(),
        answer: (outcome == Outcome::Ok)
            .then(|| cascadeck::domain::Answer { text: "yes".to_owned(), ..Default::default() }),
        usage: if outcome == Outcome::Ok {
            Usage { input_tokens: 80, output_tokens: 40, thinking_tokens: 0 }
        } else {
            Usage::default()
        },
        stated_limit: None,
        limit_is_zero: false,
        response_meta: cascadeck::domain::ResponseMeta::default(),
        exceeds_context: false,
        picture_refused: false,
    }
}

/// What one (project, model) of the real provider counts, at arrival.
#[derive(Default)]
struct ServerPool {
    minute: VecDeque<MonoTime>,
    day: BTreeMap<i64, u32>,
}

/// How long an answer takes, decided by the test.
pub type Lag = Box<dyn Fn(&Now, &PlannedAttempt) -> Duration>;

/// One refusal or fault, decided by the test.
pub type Weather = Box<dyn FnMut(&Now, &PlannedAttempt) -> Option<AttemptResult>>;

enum Happens {
    Arrives(PlannedAttempt),
    Answers(AttemptId, AttemptResult),
}

pub struct World {
    pub scheduler: Scheduler,
    pub keys: Vec<Key>,
    pub now: Now,
    start: Now,
    /// Limits that the server enforces; by default those configured.
    pub enforced: Vec<Limits>,
    pools: HashMap<(String, usize), ServerPool>,
    agenda: BinaryHeap<Reverse<(MonoTime, u64)>>,
    happenings: HashMap<u64, Happens>,
    counter: u64,
    pub weather: Weather,
    pub random: fastrand::Rng,
    pub latency: (Duration, Duration),
    /// How long an answer takes beyond that, decided by the test.
    pub lag: Lag,
    pub ended: HashMap<u64, Disposition>,
    /// (when, model index, key index) of every request that arrived.
    pub arrivals: Vec<(Now, usize, usize)>,
    pub refusals: u64,
    pub events: Vec<EventKind>,
    pub done: u64,
    pub offered: u64,
    pub class: usize,
    pub stuck: bool,
}

impl World {
    #[expect(clippy::needless_pass_by_value, reason = "a fleet is made for its world")]
    pub fn new(models: Vec<Model>, keys: Vec<Key>, policy: Policy, start: WallTime, seed: u64) -> Self {
        let mut scheduler = Scheduler::new(&[provider()], &models, &keys, policy, seed);
        let class = scheduler.class_for(&RoutingTraits::default());
        let now = Now { mono: MonoTime(1_000_000), wall: start };
        Self {
            enforced: models.iter().map(|model| model.limits.clone()).collect(),
            scheduler,
            keys,
            now,
            start: now,
            pools: HashMap::new(),
            agenda: BinaryHeap::new(),
            happenings: HashMap::new(),
            counter: 0,
            weather: Box::new(|_, _| None),
            random: fastrand::Rng::with_seed(seed),
            latency: (Duration::from_millis(300), Duration::from_millis(900)),
            lag: Box::new(|_, _| Duration::ZERO),
            ended: HashMap::new(),
            arrivals: Vec::new(),
            refusals: 0,
            events: Vec::new(),
            done: 0,
            offered: 0,
            class,
            stuck: false,
        }
    }

    pub fn offer(&mut self, items: u64) {
        self.offer_to(self.class, items);
    }

    pub fn offer_to(&mut self, class: usize, items: u64) {
        for _ in 0..items {
            self.offer_ticket(class, ticket(0));
        }
    }

    /// Offers one item like `ticket`, with a number of its own.
    pub fn offer_ticket(&mut self, class: usize, ticket: QueuedItem) -> u64 {
        self.offered += 1;
        self.scheduler.enqueue(class, QueuedItem { seq: Seq(self.offered), waiting_since: self.now.mono, ..ticket });
        self.offered
    }

    /// How many requests arrived at each key.
    pub fn by_key(&self) -> Vec<usize> {
        let at = |key| self.arrivals.iter().filter(|(_, _, arrived)| *arrived == key).count();
        (0..self.keys.len()).map(at).collect()
    }

    pub fn elapsed(&self) -> Duration {
        self.now.mono.since(self.start.mono)
    }

    fn plan(&mut self, after: Duration, what: Happens) {
        self.counter += 1;
        self.agenda.push(Reverse((self.now.mono + after, self.counter)));
        self.happenings.insert(self.counter, what);
    }

    /// Runs until every item has ended, nothing can ever happen, or `limit` has passed.
    pub fn run(&mut self, limit: Duration) {
        let end = self.now.mono + limit;
        while self.step(end) {}
    }

    fn step(&mut self, end: MonoTime) -> bool {
        while let Some(step) = self.scheduler.poll(self.now) {
            match step {
                NextStep::Send(dispatch) => {
                    let (least, most) = self.latency;
                    let half = least / 2 + (most - least).mul_f64(self.random.f64() / 2.0);
                    self.plan(half, Happens::Arrives(dispatch));
                }
                NextStep::Reject(refusal) => self.end(refusal.seq.0, Disposition::Failed),
            }
        }
        if self.ended.len() as u64 == self.offered {
            return false;
        }
        let next = self.agenda.peek().map(|Reverse((at, _))| *at);
        let Some(next) = next.into_iter().chain(self.scheduler.next_wakeup()).min() else {
            self.stuck = true;
            return false;
        };
        if next > end {
            let left = end.since(self.now.mono);
            self.now = self.now + left;
            return false;
        }
        let step = next.since(self.now.mono);
        self.now = self.now + step;
        while let Some(Reverse((at, id))) = self.agenda.peek().copied() {
            if at > self.now.mono {
                break;
            }
            self.agenda.pop();
            match self.happenings.remove(&id).expect("test") {
                Happens::Arrives(dispatch) => self.arrive(&dispatch),
                Happens::Answers(attempt, verdict) => self.settle(attempt, &verdict),
            }
        }
        true
    }

    fn arrive(&mut self, dispatch: &PlannedAttempt) {
        let (key, model) = (dispatch.key.index(), dispatch.model.index());
        self.arrivals.push((self.now, model, key));
        let verdict = (self.weather)(&self.now, dispatch).unwrap_or_else(|| self.serve(key, model));
        let half = self.latency.0 / 2 + (self.latency.1 - self.latency.0).mul_f64(self.random.f64() / 2.0);
        let lag = (self.lag)(&self.now, dispatch);
        self.plan(half + lag, Happens::Answers(dispatch.attempt, verdict));
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
            self.refusals += 1;
            return AttemptResult { status: Some(429), ..verdict(Outcome::QuotaExhaustedDay) };
        }
        if limits.rpm.is_some_and(|rpm| pool.minute.len() >= rpm as usize) {
            self.refusals += 1;
            let free = *pool.minute.front().expect("test") + Duration::from_secs(60);
            let delay = free.since(self.now.mono);
            return AttemptResult {
                status: Some(429),
                retry_after: Some(RetryAfter { delay }),
                ..verdict(Outcome::RateLimitedMinute)
            };
        }
        pool.minute.push_back(self.now.mono);
        *today += 1;
        verdict(Outcome::Ok)
    }

    fn settle(&mut self, attempt: AttemptId, verdict: &AttemptResult) {
        let settlement = self.scheduler.complete(self.now, attempt, verdict).expect("settled once");
        self.events.extend(settlement.events);
        if !matches!(settlement.disposition, Disposition::Requeued { .. }) {
            self.end(settlement.seq.0, settlement.disposition);
        }
    }

    fn end(&mut self, seq: u64, fate: Disposition) {
        self.done += u64::from(matches!(fate, Disposition::Done { .. }));
        let before = self.ended.insert(seq, fate);
        assert!(before.is_none(), "item {seq} ended twice");
    }
}
