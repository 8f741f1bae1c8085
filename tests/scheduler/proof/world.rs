//! One world: a scheduler, its providers, a virtual clock, and everything that must hold at every step.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    time::Duration,
};

use cascadeck::{
    domain::{AttemptResult, MonoTime, Now, Outcome, OutcomeAction, RetryAfter, RoutingTraits, Seq, Usage},
    scheduler::{AttemptEffects, Disposition, NextStep, PlannedAttempt, QueuedItem, Scheduler, StallReason},
};

use super::{
    build::{Knowledge, Plan},
    reference::Reference,
    server::Server,
};
use crate::{
    trace::Trace,
    world::{ticket, verdict},
};

/// So many steps without an end are no progress.
const MOST_STEPS: u64 = 400_000;

/// Whatever is in flight has landed after this.
const LANDED: Duration = Duration::from_secs(60);

enum Happens {
    Leaves(PlannedAttempt),
    Arrives(PlannedAttempt),
    Answers(PlannedAttempt, Box<AttemptResult>, bool),
    Meddles,
}

pub struct World {
    pub plan: Plan,
    pub scheduler: Scheduler,
    pub reference: Reference,
    pub now: Now,
    pub random: fastrand::Rng,
    /// No more faults, outages or meddling.
    pub fair: bool,
    start: Now,
    servers: BTreeMap<(String, usize), Server>,
    agenda: BinaryHeap<Reverse<(MonoTime, u64)>>,
    happenings: HashMap<u64, Happens>,
    counter: u64,
    classes: Vec<usize>,
    sizes: HashMap<u64, u64>,
    ended: HashMap<u64, Disposition>,
    offered: u64,
    trace: Trace,
    steps: u64,
    aloud: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = Plan::new(&mut random);
        let mut scheduler = Scheduler::new(&plan.providers, &plan.models, &plan.keys, plan.policy.clone(), seed);
        let seeing = RoutingTraits { needs_vision: true, ..RoutingTraits::default() };
        let choosy = RoutingTraits { preferred_model: Some("m0".to_owned()), ..RoutingTraits::default() };
        let ruled = RoutingTraits { rule: Some("ruled".to_owned()), ..RoutingTraits::default() };
        let classes = [RoutingTraits::default(), seeing, choosy, ruled]
            .iter()
            .map(|traits| scheduler.class_for(traits))
            .collect();
        let projects = plan.keys.iter().map(|key| format!("{}/{}", key.provider.0, key.project)).collect();
        let strict = plan.knowledge == Knowledge::Exact;
        let mut reference = Reference::new(&plan.models, projects, plan.latency.0 / 2, strict);
        reference.in_flight_cap = plan.policy.max_in_flight as usize;
        reference.budget = plan.policy.max_usd;
        let now = Now { mono: MonoTime(1_000_000), wall: plan.start };
        let mut world = Self {
            scheduler,
            reference,
            now,
            random,
            fair: false,
            start: now,
            servers: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            happenings: HashMap::new(),
            counter: 0,
            classes,
            sizes: HashMap::new(),
            ended: HashMap::new(),
            offered: 0,
            trace: Trace::new(),
            steps: 0,
            aloud: false,
            plan,
        };
        world.offer(world.plan.items);
        for _ in 0..world.random.usize(0..8) {
            let at = Duration::from_secs(world.random.u64(0..20_000));
            world.later(at, Happens::Meddles);
        }
        world
    }

    /// Tells what happens while it does.
    pub const fn aloud(mut self) -> Self {
        self.aloud = true;
        self
    }

    /// Plays through trouble to the end. Returns the trace of all that was decided.
    pub fn play(mut self) -> u64 {
        let trouble = Duration::from_secs(self.random.u64(600..30_000));
        self.run(trouble);
        self.relent();
        // What was in flight may still come back with bad news: the operator looks twice.
        self.run(LANDED);
        self.relent();
        self.run(Duration::from_secs(400 * 86_400));
        self.tell(|| format!("{:#?}\n{:#?}", self.plan, self.scheduler));
        let budget = self.plan.policy.max_usd;
        assert_eq!(
            self.ended.len() as u64,
            self.offered,
            "{} of {} items ended: {:?}, {:?}",
            self.ended.len(),
            self.offered,
            self.scheduler.stall_reason(self.now),
            budget
        );
        assert_eq!(self.scheduler.in_flight_count(), 0, "something is in flight after the end");
        assert_eq!(self.scheduler.unfinished_items(), 0, "something is left after the end");
        assert_eq!(self.scheduler.stall_reason(self.now), StallReason::NothingToDo);
        if self.reference.strict {
            let refused: u64 = self.servers.values().map(|server| server.refused).sum();
            assert_eq!(refused, 0, "requests were refused for limits that are known");
        }
        let money = self.scheduler.run_spend();
        assert_eq!(money.spent + money.at_risk, self.reference.committed(), "the money does not add up");
        self.trace.finish()
    }

    pub fn offer(&mut self, items: u64) {
        for _ in 0..items {
            self.offered += 1;
            let tightest = self.plan.enforced.iter().filter_map(|limits| limits.tpm).min().unwrap_or(20_000);
            let large = self.random.u8(0..20) == 0;
            let input_tokens = if large { self.random.u64(tightest / 2..tightest) } else { self.random.u64(10..500) };
            let mut new = QueuedItem { waiting_since: self.now.mono, input_tokens, ..ticket(self.offered) };
            new.is_caption = self.random.u8(0..8) == 0;
            if self.plan.providers.len() > 1 && self.random.u8(0..6) == 0 {
                new.unsupported_apis.push(self.plan.providers[self.random.usize(0..2)].api);
            }
            self.sizes.insert(self.offered, input_tokens);
            let class = self.classes[[0, 0, 0, 1, 2, 3][self.random.usize(0..6)]];
            self.scheduler.enqueue(class, new);
        }
    }

    /// Limits are not what they were.
    pub fn change_limits(&mut self) {
        if self.plan.knowledge != Knowledge::Changing {
            return;
        }
        let factor = [1, 2, 4, 8][self.random.usize(0..4)];
        for ((_, model), server) in &mut self.servers {
            server.limits.rpm = self.plan.enforced[*model].rpm.map(|rpm| (rpm * 2 / factor).max(1));
        }
    }

    /// One world that is looked at alone tells its story.
    pub fn tell(&self, words: impl FnOnce() -> String) {
        if self.aloud {
            eprintln!("{} {}", self.now.wall, words());
        }
    }

    fn later(&mut self, after: Duration, what: Happens) {
        self.counter += 1;
        self.agenda.push(Reverse((self.now.mono + after, self.counter)));
        self.happenings.insert(self.counter, what);
    }

    fn trace_dispatch(&mut self, dispatch: &PlannedAttempt) {
        let trace = self.trace.number(1).instant(self.now.mono).number(dispatch.attempt.0).number(dispatch.seq.0);
        trace
            .number(u64::from(dispatch.route.0))
            .number(u64::from(dispatch.attempt_number))
            .number(u64::from(dispatch.retry));
        trace.money(dispatch.max_cost).number(dispatch.estimated_input_tokens).span(dispatch.timeout);
        trace.optional(dispatch.output_multiplier.map(u64::from));
    }

    fn trace_completion(&mut self, outcome: Outcome, settlement: &AttemptEffects) {
        let trace = self.trace.number(2).instant(self.now.mono).number(settlement.seq.0).outcome(outcome);
        trace.number(u64::from(settlement.route.0)).number(u64::from(settlement.attempts));
        trace.money(settlement.cost).money(settlement.at_risk);
        match settlement.disposition {
            Disposition::Done { is_truncated } => trace.number(1).number(u64::from(is_truncated)),
            Disposition::Failed => trace.number(2),
            Disposition::Requeued { delay, next_route } => trace
                .number(3)
                .optional(delay.map(|wait| wait.as_nanos() as u64))
                .optional(next_route.map(|route| u64::from(route.0))),
        };
        trace.number(settlement.events.len() as u64);
        for event in &settlement.events {
            trace.event(event);
        }
    }

    fn run(&mut self, limit: Duration) {
        let end = self.now.mono + limit;
        let mut still = 0;
        loop {
            self.poll();
            if self.fair && self.ended.len() as u64 == self.offered {
                return;
            }
            let agenda = self.agenda.peek().map(|Reverse((at, _))| *at);
            let Some(next) = agenda.into_iter().chain(self.scheduler.next_wakeup()).min() else { return };
            self.steps += 1;
            assert!(
                self.steps < MOST_STEPS,
                "{MOST_STEPS} steps and no end: {:?}",
                self.scheduler.stall_reason(self.now)
            );
            still = if next > self.now.mono { 0 } else { still + 1 };
            assert!(still < 1_000, "time stands still: woken {still} times at {:?}", self.now.mono);
            if next > end {
                self.pass(end.since(self.now.mono));
                return;
            }
            self.pass(next.since(self.now.mono));
            while let Some(Reverse((at, id))) = self.agenda.peek().copied() {
                if at > self.now.mono {
                    break;
                }
                self.agenda.pop();
                let what = self.happenings.remove(&id).expect("planned once");
                self.happen(what);
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    fn poll(&mut self) {
        while let Some(step) = self.scheduler.poll(self.now) {
            match step {
                NextStep::Send(dispatch) => {
                    self.tell(|| format!("send {} on {:?}", dispatch.seq.0, dispatch.route));
                    self.trace_dispatch(&dispatch);
                    self.reference.dispatched(self.now, &dispatch);
                    let writing = Duration::from_millis(self.random.u64(0..20));
                    self.later(writing, Happens::Leaves(dispatch));
                }
                NextStep::Reject(refusal) => {
                    self.trace.outcome(refusal.outcome).number(u64::from(refusal.attempts));
                    self.end(refusal.seq, Disposition::Failed);
                }
            }
        }
        let idle = self.scheduler.find_sendable(self.now);
        if idle.is_some() {
            self.tell(|| format!("{:#?}\n{:#?}", self.plan, self.scheduler));
        }
        assert!(idle.is_none(), "idle, though item and route could go: {idle:?}");
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Leaves(dispatch) if self.random.u8(0..100) == 0 => {
                self.scheduler.cancel(self.now, dispatch.attempt);
                self.reference.unsent(&dispatch);
            }
            Happens::Leaves(dispatch) => {
                self.scheduler.on_sent(self.now, dispatch.attempt);
                let out = self.half_way();
                self.later(out, Happens::Arrives(dispatch));
            }
            Happens::Arrives(dispatch) => self.arrive(dispatch),
            Happens::Answers(dispatch, verdict, counted) => self.answer(&dispatch, &verdict, counted),
            Happens::Meddles if !self.fair => self.meddle(),
            Happens::Meddles => {}
        }
    }

    fn half_way(&mut self) -> Duration {
        let (least, most) = self.plan.latency;
        least / 2 + (most - least).mul_f64(self.random.f64() / 2.0)
    }

    fn arrive(&mut self, dispatch: PlannedAttempt) {
        let (key, model) = (dispatch.key.index(), dispatch.model.index());
        let back = self.half_way();
        if let Some(trouble) = self.trouble(&dispatch) {
            self.later(back, Happens::Answers(dispatch, Box::new(trouble), false));
            return;
        }
        let tokens = self.sizes[&dispatch.seq.0] * self.random.u64(50..=100) / 100;
        let project = format!("{}/{}", self.plan.keys[key].provider.0, self.plan.keys[key].project);
        let server = self.servers.entry((project, model)).or_insert_with(|| self.plan.server(model));
        if let Some(refusal) = server.arrive(self.now, tokens) {
            self.later(back, Happens::Answers(dispatch, Box::new(refusal), false));
            return;
        }
        let statements = server.statements();
        let tells = server.tells_work;
        self.reference.counted(self.now, &dispatch, tokens);
        let mut answer = self.content(&dispatch);
        if answer.usage != Usage::default() {
            answer.usage.input_tokens = tokens;
        }
        answer.response_meta.limits = statements;
        // All of the way back is work, to the microsecond: the least that a server may say is what it knows.
        answer.response_meta.server_time = tells.then(|| back.saturating_sub(self.plan.latency.0 / 2));
        self.later(back, Happens::Answers(dispatch, Box::new(answer), true));
    }

    /// What keeps a request from being counted at all.
    fn trouble(&mut self, dispatch: &PlannedAttempt) -> Option<AttemptResult> {
        if self.fair {
            return None;
        }
        let second = self.now.mono.since(self.start.mono).as_secs();
        let provider = self.plan.models[dispatch.model.index()].provider.index();
        let outage = self
            .plan
            .outages
            .iter()
            .find(|outage| outage.provider == provider && (outage.from..outage.until).contains(&second));
        if let Some(outage) = outage {
            return Some(match outage.kind {
                0 => AttemptResult { status: Some(503), ..verdict(Outcome::Overloaded) },
                1 => verdict(Outcome::Timeout),
                2 => verdict(Outcome::ClientTrouble),
                _ => AttemptResult { status: Some(429), ..verdict(Outcome::RateLimitedMinute) },
            });
        }
        if self.plan.fault_rate > 0.0 && self.random.f64() < self.plan.fault_rate {
            let outcome = [
                Outcome::ServerError,
                Outcome::Overloaded,
                Outcome::ClientTrouble,
                Outcome::RateLimitedMinute,
                Outcome::QuotaExhaustedBilling,
                Outcome::InvalidKey,
                Outcome::ModelNotFound,
            ][self.random.usize(0..7) * usize::from(self.random.u8(0..4) != 0)];
            let retry_after =
                (self.random.u8(0..4) == 0).then(|| RetryAfter { delay: Duration::from_secs(self.random.u64(0..90)) });
            let status = if outcome == Outcome::ClientTrouble { None } else { Some(400) };
            return Some(AttemptResult { status, retry_after, message: "no luck".to_owned(), ..verdict(outcome) });
        }
        None
    }

    /// What comes back of a request that was counted.
    fn content(&mut self, dispatch: &PlannedAttempt) -> AttemptResult {
        let poisoned = self.plan.poison > 0 && dispatch.seq.0 % 20 < self.plan.poison / 5;
        if poisoned {
            return AttemptResult { status: Some(500), ..verdict(Outcome::ServerError) };
        }
        if self.fair || self.plan.fault_rate == 0.0 || self.random.f64() > self.plan.fault_rate {
            return verdict(Outcome::Ok);
        }
        let outcome = [
            Outcome::Timeout,
            Outcome::MalformedResponse,
            Outcome::EmptyOutput,
            Outcome::ContentBlocked,
            Outcome::Truncated,
            Outcome::BadRequest,
            Outcome::Lost,
        ][self.random.usize(0..7)];
        let action = if self.random.bool() { OutcomeAction::NextModel } else { OutcomeAction::FailItem };
        AttemptResult { action, ..verdict(outcome) }
    }

    fn answer(&mut self, dispatch: &PlannedAttempt, verdict: &AttemptResult, counted: bool) {
        if counted {
            let key = &self.plan.keys[dispatch.key.index()];
            let pool = (format!("{}/{}", key.provider.0, key.project), dispatch.model.index());
            self.servers.get_mut(&pool).expect("it was counted there").answer();
        }
        self.reference.settled(self.now, dispatch, verdict);
        let settlement = self.scheduler.complete(self.now, dispatch.attempt, verdict).expect("settled once");
        self.tell(|| {
            format!("settle {} {} {:?} {:?}", dispatch.seq.0, verdict.outcome, verdict.retry_after, settlement.events)
        });
        self.trace_completion(verdict.outcome, &settlement);
        assert_eq!(settlement.seq, dispatch.seq);
        let twice = self.scheduler.complete(self.now, dispatch.attempt, verdict);
        assert!(twice.is_none(), "an attempt settled twice");
        if !matches!(settlement.disposition, Disposition::Requeued { .. }) {
            self.end(settlement.seq, settlement.disposition);
        }
    }

    fn end(&mut self, seq: Seq, fate: Disposition) {
        self.trace.number(3).instant(self.now.mono).number(seq.0);
        let before = self.ended.insert(seq.0, fate);
        assert!(before.is_none(), "item {} ended twice", seq.0);
    }
}
