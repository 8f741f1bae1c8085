//! One world: a scheduler, its providers, a virtual clock, and the checks of every step.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    time::Duration,
};

use super::{
    fixtures::{attempt_result, queued_item},
    plan::{LimitKnowledge, PlannedOutage, WorldPlan},
    reference::Reference,
    server::SimulatedServer,
};
use crate::{
    domain::{AttemptResult, MonoTime, Now, Outcome, OutcomeAction, ProviderId, RetryAfter, RoutingTraits, Seq, Usage},
    golden::Trace,
    scheduler::{AttemptEffects, Disposition, NextStep, PlannedAttempt, QueuedItem, Scheduler, StallReason},
};

/// A world with more steps than this makes no progress.
const MAX_STEPS: u64 = 400_000;

/// Every attempt in flight ends within this time.
const MAX_FLIGHT_TIME: Duration = Duration::from_secs(60);

enum WorldEvent {
    RequestLeaves(PlannedAttempt),
    RequestArrives(PlannedAttempt),
    ResponseArrives(PlannedAttempt, Box<AttemptResult>, bool),
    /// The health check of a provider whose requests fail.
    HealthCheck(ProviderId),
    OperatorActs,
}

/// Time between two health checks of a provider.
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The state of a provider that the scheduler does not have.
#[derive(Clone, Default)]
struct ProviderHealth {
    is_check_due: bool,
    /// Its last health check failed.
    is_down: bool,
    /// When it last processed a request or responded to a health check.
    last_proof: Option<MonoTime>,
}

pub struct World {
    pub plan: WorldPlan,
    pub scheduler: Scheduler,
    pub reference: Reference,
    pub now: Now,
    pub rng: fastrand::Rng,
    /// Set when faults, outages and operator commands end.
    pub faults_are_over: bool,
    start: Now,
    servers: BTreeMap<(String, usize), SimulatedServer>,
    event_queue: BinaryHeap<Reverse<(MonoTime, u64)>>,
    scheduled_events: HashMap<u64, WorldEvent>,
    last_event_id: u64,
    classes: Vec<usize>,
    input_tokens: HashMap<u64, u64>,
    dispositions: HashMap<u64, Disposition>,
    /// By provider.
    health: Vec<ProviderHealth>,
    /// When an item had its first provider error at a provider.
    first_errors: HashMap<(u64, ProviderId), MonoTime>,
    enqueued: u64,
    trace: Trace,
    steps: u64,
    is_verbose: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = WorldPlan::new(&mut rng);
        let mut scheduler = Scheduler::new(&plan.providers, &plan.models, &plan.keys, plan.policy.clone(), seed);
        let needs_vision = RoutingTraits { needs_vision: true, ..RoutingTraits::default() };
        let prefers_m0 = RoutingTraits { preferred_model: Some("m0".to_owned()), ..RoutingTraits::default() };
        let ruled = RoutingTraits { rule: Some("ruled".to_owned()), ..RoutingTraits::default() };
        let classes = [RoutingTraits::default(), needs_vision, prefers_m0, ruled]
            .iter()
            .map(|traits| scheduler.find_or_add_class(traits))
            .collect();
        let projects = plan.keys.iter().map(|key| format!("{}/{}", key.provider.0, key.project)).collect();
        let strict = plan.knowledge == LimitKnowledge::Exact;
        let mut reference = Reference::new(&plan.models, projects, plan.latency_range.0 / 2, strict);
        reference.max_in_flight = plan.policy.max_in_flight as usize;
        reference.budget = plan.policy.max_usd;
        let now = Now { mono: MonoTime(1_000_000), wall: plan.start };
        let mut world = Self {
            scheduler,
            reference,
            now,
            rng,
            faults_are_over: false,
            start: now,
            servers: BTreeMap::new(),
            event_queue: BinaryHeap::new(),
            scheduled_events: HashMap::new(),
            last_event_id: 0,
            classes,
            input_tokens: HashMap::new(),
            dispositions: HashMap::new(),
            health: vec![ProviderHealth::default(); plan.providers.len()],
            first_errors: HashMap::new(),
            enqueued: 0,
            trace: Trace::new(),
            steps: 0,
            is_verbose: false,
            plan,
        };
        world.enqueue(world.plan.items);
        for _ in 0..world.rng.usize(0..8) {
            let at = Duration::from_secs(world.rng.u64(0..20_000));
            world.schedule_event(at, WorldEvent::OperatorActs);
        }
        world
    }

    /// Prints what happens.
    pub const fn verbose(mut self) -> Self {
        self.is_verbose = true;
        self
    }

    /// Runs through the faults to the end. Returns the trace of all decisions.
    pub fn run_to_end(mut self) -> u64 {
        let trouble = Duration::from_secs(self.rng.u64(600..30_000));
        self.run(trouble);
        self.restore_everything();
        // Attempts in flight may still disable something, so everything is switched on twice.
        self.run(MAX_FLIGHT_TIME);
        self.restore_everything();
        self.run(Duration::from_secs(400 * 86_400));
        self.print(|| format!("{:#?}\n{:#?}", self.plan, self.scheduler));
        let budget = self.plan.policy.max_usd;
        assert_eq!(
            self.dispositions.len() as u64,
            self.enqueued,
            "{} of {} items ended: {:?}, {:?}",
            self.dispositions.len(),
            self.enqueued,
            self.scheduler.stall_reason(self.now),
            budget
        );
        assert_eq!(self.scheduler.in_flight_count(), 0, "something is in flight after the end");
        assert_eq!(self.scheduler.unfinished_items(), 0, "something is left after the end");
        assert_eq!(self.scheduler.stall_reason(self.now), StallReason::NothingToDo);
        if self.reference.limits_are_exact {
            let refused: u64 = self.servers.values().map(|server| server.refused_count).sum();
            assert_eq!(refused, 0, "requests were refused for limits that are known");
        }
        let money = self.scheduler.run_spend();
        assert_eq!(money.spent + money.at_risk, self.reference.spent_and_at_risk(), "the money does not add up");
        self.trace.finish()
    }

    pub fn enqueue(&mut self, items: u64) {
        for _ in 0..items {
            self.enqueued += 1;
            let tightest = self.plan.enforced.iter().filter_map(|limits| limits.tpm).min().unwrap_or(20_000);
            let large = self.rng.u8(0..20) == 0;
            let input_tokens = if large { self.rng.u64(tightest / 2..tightest) } else { self.rng.u64(10..500) };
            let mut new = QueuedItem { waiting_since: self.now.mono, input_tokens, ..queued_item(self.enqueued) };
            new.is_caption = self.rng.u8(0..8) == 0;
            if self.plan.providers.len() > 1 && self.rng.u8(0..6) == 0 {
                new.unsupported_apis.push(self.plan.providers[self.rng.usize(0..2)].api);
            }
            self.input_tokens.insert(self.enqueued, input_tokens);
            let class = self.classes[[0, 0, 0, 1, 2, 3][self.rng.usize(0..6)]];
            self.scheduler.enqueue(class, new);
        }
    }

    /// Changes the enforced limits.
    pub fn change_limits(&mut self) {
        if self.plan.knowledge != LimitKnowledge::Changing {
            return;
        }
        let factor = [1, 2, 4, 8][self.rng.usize(0..4)];
        for ((_, model), server) in &mut self.servers {
            server.limits.rpm = self.plan.enforced[*model].rpm.map(|rpm| (rpm * 2 / factor).max(1));
        }
    }

    /// Prints a line in a verbose world.
    pub fn print(&self, words: impl FnOnce() -> String) {
        if self.is_verbose {
            eprintln!("{} {}", self.now.wall, words());
        }
    }

    fn schedule_event(&mut self, after: Duration, what: WorldEvent) {
        self.last_event_id += 1;
        self.event_queue.push(Reverse((self.now.mono + after, self.last_event_id)));
        self.scheduled_events.insert(self.last_event_id, what);
    }

    fn trace_dispatch(&mut self, dispatch: &PlannedAttempt) {
        let trace = self.trace.number(1).instant(self.now.mono).number(dispatch.attempt.0).number(dispatch.seq.0);
        trace
            .number(u64::from(dispatch.route.0))
            .number(u64::from(dispatch.attempt_number))
            .number(u64::from(dispatch.retry));
        trace.money(dispatch.max_cost).number(dispatch.estimated_input_tokens).duration(dispatch.timeout);
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
        let mut steps_at_this_instant = 0;
        loop {
            self.poll();
            if self.faults_are_over && self.dispositions.len() as u64 == self.enqueued {
                return;
            }
            let agenda = self.event_queue.peek().map(|Reverse((at, _))| *at);
            let Some(next) = agenda.into_iter().chain(self.scheduler.next_wakeup()).min() else { return };
            self.steps += 1;
            assert!(
                self.steps < MAX_STEPS,
                "{MAX_STEPS} steps and no end: {:?}",
                self.scheduler.stall_reason(self.now)
            );
            steps_at_this_instant = if next > self.now.mono { 0 } else { steps_at_this_instant + 1 };
            assert!(
                steps_at_this_instant < 1_000,
                "time stands still: woken {steps_at_this_instant} times at {:?}",
                self.now.mono
            );
            if next > end {
                self.advance(end.since(self.now.mono));
                return;
            }
            self.advance(next.since(self.now.mono));
            while let Some(Reverse((at, id))) = self.event_queue.peek().copied() {
                if at > self.now.mono {
                    break;
                }
                self.event_queue.pop();
                let what = self.scheduled_events.remove(&id).expect("planned once");
                self.handle_event(what);
            }
        }
    }

    fn advance(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    fn poll(&mut self) {
        while let Some(step) = self.scheduler.poll(self.now) {
            match step {
                NextStep::Send(dispatch) => {
                    self.print(|| format!("send {} on {:?}", dispatch.seq.0, dispatch.route));
                    self.trace_dispatch(&dispatch);
                    self.reference.check_dispatch(self.now, &dispatch);
                    let better = self.scheduler.find_better_in_slow_start(self.now, &dispatch);
                    assert_eq!(better, None, "{} goes to {:?} because of slow start", dispatch.seq.0, dispatch.route);
                    let writing = Duration::from_millis(self.rng.u64(0..20));
                    self.schedule_event(writing, WorldEvent::RequestLeaves(dispatch));
                }
                NextStep::Reject(refusal) => {
                    self.trace.outcome(refusal.outcome).number(u64::from(refusal.attempts));
                    self.record_end(refusal.seq, Disposition::Failed);
                }
            }
        }
        let idle = self.scheduler.find_sendable(self.now);
        if idle.is_some() {
            self.print(|| format!("{:#?}\n{:#?}", self.plan, self.scheduler));
        }
        assert!(idle.is_none(), "idle, though item and route could go: {idle:?}");
    }

    fn handle_event(&mut self, what: WorldEvent) {
        match what {
            WorldEvent::RequestLeaves(dispatch) if self.rng.u8(0..100) == 0 => {
                self.scheduler.cancel(self.now, dispatch.attempt);
                self.reference.on_cancelled(&dispatch);
            }
            WorldEvent::RequestLeaves(dispatch) => {
                self.scheduler.on_sent(self.now, dispatch.attempt);
                let out = self.random_half_latency();
                self.schedule_event(out, WorldEvent::RequestArrives(dispatch));
            }
            WorldEvent::RequestArrives(dispatch) => self.arrive(dispatch),
            WorldEvent::ResponseArrives(dispatch, verdict, counted) => {
                self.complete_attempt(&dispatch, &verdict, counted);
            }
            WorldEvent::HealthCheck(provider) => self.check_health(provider),
            WorldEvent::OperatorActs if !self.faults_are_over => self.random_command(),
            WorldEvent::OperatorActs => {}
        }
    }

    fn random_half_latency(&mut self) -> Duration {
        let (least, most) = self.plan.latency_range;
        least / 2 + (most - least).mul_f64(self.rng.f64() / 2.0)
    }

    fn arrive(&mut self, dispatch: PlannedAttempt) {
        let (key, model) = (dispatch.key.index(), dispatch.model.index());
        let back = self.random_half_latency();
        if let Some(trouble) = self.injected_failure(&dispatch) {
            self.schedule_event(back, WorldEvent::ResponseArrives(dispatch, Box::new(trouble), false));
            return;
        }
        let tokens = self.input_tokens[&dispatch.seq.0] * self.rng.u64(50..=100) / 100;
        let project = format!("{}/{}", self.plan.keys[key].provider.0, self.plan.keys[key].project);
        let server = self.servers.entry((project, model)).or_insert_with(|| self.plan.server(model));
        if let Some(refusal) = server.arrive(self.now, tokens) {
            self.schedule_event(back, WorldEvent::ResponseArrives(dispatch, Box::new(refusal), false));
            return;
        }
        let statements = server.stated_limits();
        let tells = server.states_server_time;
        self.reference.on_counted(self.now, &dispatch, tokens);
        let mut answer = self.served_result(&dispatch);
        if answer.usage != Usage::default() {
            answer.usage.input_tokens = tokens;
        }
        answer.response_meta.limits = statements;
        // The stated processing time is the response's latency beyond the minimum, exact to the microsecond.
        answer.response_meta.server_time = tells.then(|| back.saturating_sub(self.plan.latency_range.0 / 2));
        self.schedule_event(back, WorldEvent::ResponseArrives(dispatch, Box::new(answer), true));
    }

    fn current_outage(&self, provider: ProviderId) -> Option<&PlannedOutage> {
        let second = self.now.mono.since(self.start.mono).as_secs();
        let mut outages = self.plan.outages.iter().filter(|_| !self.faults_are_over);
        outages.find(|outage| outage.provider == provider.index() && (outage.from..outage.until).contains(&second))
    }

    /// Asks a provider whether it responds, as the engine does while requests fail.
    fn check_health(&mut self, provider: ProviderId) {
        // A provider that only refuses responds.
        let responds = self.current_outage(provider).is_none_or(|outage| outage.kind > 2);
        self.print(|| format!("health of {provider:?}: {responds}"));
        let health = &mut self.health[provider.index()];
        health.is_check_due = false;
        let was_down = std::mem::replace(&mut health.is_down, !responds);
        if responds {
            health.last_proof = Some(self.now.mono);
            self.scheduler.on_health_response(provider, self.now.mono);
        }
        match (was_down, responds) {
            (false, false) => self.scheduler.mark_provider_down(provider),
            (true, true) => self.scheduler.retry_provider(provider),
            _ => {}
        }
        self.check_health_later(provider);
    }

    fn check_health_later(&mut self, provider: ProviderId) {
        let is_wanted = self.scheduler.is_provider_failing(provider) && self.scheduler.unfinished_items() > 0;
        if is_wanted && !std::mem::replace(&mut self.health[provider.index()].is_check_due, true) {
            self.schedule_event(HEALTH_CHECK_INTERVAL, WorldEvent::HealthCheck(provider));
        }
    }

    /// An item may fail for a provider's errors only if the provider was seen to work since the item's first one.
    fn check_charge(&mut self, dispatch: &PlannedAttempt, outcome: Outcome, disposition: &Disposition) {
        let provider = self.plan.models[dispatch.model.index()].provider;
        if outcome.is_provider_error() {
            let first = *self.first_errors.entry((dispatch.seq.0, provider)).or_insert(self.now.mono);
            let has_proof = self.health[provider.index()].last_proof.is_some_and(|at| at > first);
            assert!(
                has_proof || *disposition != Disposition::Failed,
                "{} fails for {outcome} although nothing shows that its provider works",
                dispatch.seq.0
            );
        } else if outcome.is_processed() {
            self.health[provider.index()].last_proof = Some(self.now.mono);
        }
        self.check_health_later(provider);
    }

    /// A failure that keeps a request from being counted.
    fn injected_failure(&mut self, dispatch: &PlannedAttempt) -> Option<AttemptResult> {
        if self.faults_are_over {
            return None;
        }
        if let Some(outage) = self.current_outage(self.plan.models[dispatch.model.index()].provider) {
            return Some(match outage.kind {
                0 => AttemptResult { status: Some(503), ..attempt_result(Outcome::Overloaded) },
                1 => attempt_result(Outcome::Timeout),
                2 => attempt_result(Outcome::ClientTrouble),
                _ => AttemptResult { status: Some(429), ..attempt_result(Outcome::RateLimitedMinute) },
            });
        }
        if self.plan.fault_rate > 0.0 && self.rng.f64() < self.plan.fault_rate {
            let outcome = [
                Outcome::ServerError,
                Outcome::Overloaded,
                Outcome::ClientTrouble,
                Outcome::RateLimitedMinute,
                Outcome::QuotaExhaustedBilling,
                Outcome::InvalidKey,
                Outcome::ModelNotFound,
            ][self.rng.usize(0..7) * usize::from(self.rng.u8(0..4) != 0)];
            let retry_after =
                (self.rng.u8(0..4) == 0).then(|| RetryAfter { delay: Duration::from_secs(self.rng.u64(0..90)) });
            let status = if outcome == Outcome::ClientTrouble { None } else { Some(400) };
            return Some(AttemptResult {
                status,
                retry_after,
                message: "no luck".to_owned(),
                ..attempt_result(outcome)
            });
        }
        None
    }

    /// The result of a request that was counted.
    fn served_result(&mut self, dispatch: &PlannedAttempt) -> AttemptResult {
        let poisoned = self.plan.poison_percent > 0 && dispatch.seq.0 % 20 < self.plan.poison_percent / 5;
        if poisoned {
            return AttemptResult { status: Some(500), ..attempt_result(Outcome::ServerError) };
        }
        if self.faults_are_over || self.plan.fault_rate == 0.0 || self.rng.f64() > self.plan.fault_rate {
            return attempt_result(Outcome::Ok);
        }
        let outcome = [
            Outcome::Timeout,
            Outcome::MalformedResponse,
            Outcome::EmptyOutput,
            Outcome::ContentBlocked,
            Outcome::Truncated,
            Outcome::BadRequest,
            Outcome::Lost,
        ][self.rng.usize(0..7)];
        let action = if self.rng.bool() { OutcomeAction::NextModel } else { OutcomeAction::FailItem };
        AttemptResult { action, ..attempt_result(outcome) }
    }

    fn complete_attempt(&mut self, dispatch: &PlannedAttempt, verdict: &AttemptResult, counted: bool) {
        if counted {
            let key = &self.plan.keys[dispatch.key.index()];
            let pool = (format!("{}/{}", key.provider.0, key.project), dispatch.model.index());
            self.servers.get_mut(&pool).expect("it was counted there").on_answered();
        }
        self.reference.on_completed(self.now, dispatch, verdict);
        let settlement = self.scheduler.complete(self.now, dispatch.attempt, verdict).expect("settled once");
        self.print(|| {
            format!("settle {} {} {:?} {:?}", dispatch.seq.0, verdict.outcome, verdict.retry_after, settlement.events)
        });
        self.trace_completion(verdict.outcome, &settlement);
        self.check_charge(dispatch, verdict.outcome, &settlement.disposition);
        assert_eq!(settlement.seq, dispatch.seq);
        let twice = self.scheduler.complete(self.now, dispatch.attempt, verdict);
        assert!(twice.is_none(), "an attempt settled twice");
        if !matches!(settlement.disposition, Disposition::Requeued { .. }) {
            self.record_end(settlement.seq, settlement.disposition);
        }
    }

    fn record_end(&mut self, seq: Seq, fate: Disposition) {
        self.trace.number(3).instant(self.now.mono).number(seq.0);
        let before = self.dispositions.insert(seq.0, fate);
        assert!(before.is_none(), "item {} ended twice", seq.0);
    }
}
