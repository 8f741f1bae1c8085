//! Cost of one dispatch decision, for each strategy: `cargo bench --bench decision`.
//!
//! The fleet is in mid-run: requests are in flight, minute windows fill and expire, and for every answer the next item
//! is sent. `round` times `poll` (the decision and the reservation) and `complete` (the effects of an answer) together,
//! on a clock that moves on. `decision` times `poll` alone. 12 routes are the classic free tier, 3 keys by 4 models;
//! 10,000 routes are 1,000 keys by 10 models.

use std::{collections::VecDeque, time::Duration};

use cascadeck::{
    domain::{
        Answer, Api, AttemptId, AttemptResult, CostFactors, Key, KeyRole, Limits, Model, MonoTime, Now, Outcome,
        OutcomeAction, Policy, Price, Provider, ProviderId, QuotaDay, RoutingTraits, Seq, SpendLimits, Strategy, Usage,
        WallTime,
    },
    scheduler::{NextStep, QueuedItem, Scheduler},
};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const STRATEGIES: [&str; Strategy::ALL.len()] = [
    "cascade",
    "round_robin",
    "weighted",
    "primary_backup",
    "health",
    "least_recently_used",
    "fastest",
    "cheapest",
    "balanced",
];

/// Number of keys and of models of each fleet.
const FLEET_SIZES: [(usize, usize); 2] = [(3, 4), (1_000, 10)];

struct BenchFleet {
    scheduler: Scheduler,
    class: usize,
    now: Now,
    in_flight: VecDeque<AttemptId>,
    next: u64,
    success: AttemptResult,
}

impl BenchFleet {
    /// A fleet in mid-run, past its first minute.
    fn new(strategy: &str, keys: usize, models: usize) -> Self {
        let provider = Provider::new("gemini", Api::Gemini, "");
        let models: Vec<Model> = (0..models)
            .map(|index| Model {
                name: format!("m{index}"),
                provider: ProviderId(0),
                limits: Limits {
                    rpm: Some(600),
                    rpd: Some(100_000_000),
                    quota_day: QuotaDay::Pacific,
                    ..Limits::default()
                },
                vision: true,
                context: None,
                max_output: Some(1_000),
                weight: 1 + index as u32 % 3,
                pool: None,
                price: Price::from_usd_per_mtok(1.0 + index as f64, 2.0),
                extra_body: serde_json::Map::new(),
                max_tokens_field: None,
            })
            .collect();
        let keys: Vec<Key> = (0..keys)
            .map(|index| Key {
                name: format!("k{index}"),
                provider: ProviderId(0),
                project: format!("p{index}"),
                weight: 1 + index as u32 % 5,
                role: if index % 10 == 9 { KeyRole::Backup } else { KeyRole::Primary },
                models: None,
                spend_limits: SpendLimits::default(),
            })
            .collect();
        let strategy = Strategy::from_name(strategy).unwrap_or_default();
        let policy = Policy { strategy, max_in_flight: 64, ..Policy::default() };
        let mut scheduler = Scheduler::new(&[provider], &models, &keys, policy, 7);
        let class = scheduler.find_or_add_class(&RoutingTraits::default());
        let success = AttemptResult {
            outcome: Outcome::Ok,
            action: OutcomeAction::Complete,
            status: Some(200),
            retry_after: None,
            message: String::new(),
            rule: String::new(),
            answer: Some(Answer::default()),
            usage: Usage { input_tokens: 100, output_tokens: 40, thinking_tokens: 0, ..Usage::default() },
            stated_limit: None,
            limit_is_zero: false,
            exceeds_context: false,
            picture_refused: false,
            failed_check: None,
            response_meta: cascadeck::domain::ResponseMeta::default(),
        };
        let now = Now { mono: MonoTime(1_000_000), wall: WallTime::from_unix_seconds(1_795_251_600) };
        let mut fleet = Self { scheduler, class, now, in_flight: VecDeque::new(), next: 1, success };
        for _ in 0..48 {
            fleet.enqueue();
            fleet.poll();
        }
        // Runs past the first minute, so that windows expire as they fill.
        for _ in 0..40_000 {
            fleet.complete_oldest();
            fleet.enqueue();
            fleet.poll();
        }
        fleet
    }

    fn enqueue(&mut self) {
        let ticket = QueuedItem {
            seq: Seq(self.next),
            input_tokens: 100,
            max_output_tokens: None,
            cost_factors: CostFactors::default(),
            max_usd: None,
            is_caption: false,
            unsupported_apis: smallvec::SmallVec::new(),
            waiting_since: self.now.mono,
            retry_state: None,
        };
        self.next += 1;
        self.scheduler.enqueue(self.class, ticket);
    }

    fn poll(&mut self) {
        match self.scheduler.poll(black_box(self.now)) {
            Some(NextStep::Send(dispatch)) => self.in_flight.push_back(dispatch.attempt),
            step => assert!(step.is_none(), "nothing is refused here"),
        }
    }

    /// Completes the oldest attempt after 20 ms, which makes 50 answers a second.
    fn complete_oldest(&mut self) {
        self.now = self.now + Duration::from_millis(20);
        if let Some(attempt) = self.in_flight.pop_front() {
            black_box(self.scheduler.complete(self.now, attempt, &self.success));
        }
    }
}

/// One decision and one completed attempt.
#[divan::bench(args = STRATEGIES, consts = [12, 10_000], sample_size = 200, sample_count = 200)]
fn round<const ROUTES: usize>(bencher: Bencher<'_, '_>, strategy: &str) {
    let (keys, models) = FLEET_SIZES[usize::from(ROUTES > 12)];
    let mut fleet = BenchFleet::new(strategy, keys, models);
    bencher.bench_local(|| {
        fleet.complete_oldest();
        fleet.enqueue();
        fleet.poll();
    });
}

/// The decision alone: answers come between the iterations of a sample, untimed.
#[divan::bench(args = STRATEGIES, consts = [12, 10_000], sample_size = 1, sample_count = 20_000)]
fn decision<const ROUTES: usize>(bencher: Bencher<'_, '_>, strategy: &str) {
    let (keys, models) = FLEET_SIZES[usize::from(ROUTES > 12)];
    let fleet = std::cell::RefCell::new(BenchFleet::new(strategy, keys, models));
    bencher
        .with_inputs(|| {
            let mut fleet = fleet.borrow_mut();
            fleet.complete_oldest();
            fleet.enqueue();
        })
        .bench_local_refs(|()| fleet.borrow_mut().poll());
}
