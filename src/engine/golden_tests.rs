//! Golden traces of whole runs: the ops that the engine records, for seeded runs on a clock that is moved by hand.
//!
//! The store is real: its thread commits every group. The providers are not: the seed decides each answer and the
//! instant at which it arrives. So the same seed gives the same ops, times included. `CASCADECK_SEED=N` plays one run
//! and prints its ops.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    event_loop::{Channels, Engine},
    handle::EngineHandle,
    messages::{AttemptDone, CommandRequest, RunOutcome},
    startup::{EngineSetup, prepare},
};
use crate::{
    clock::Clock,
    config,
    domain::{
        Answer, AttemptId, AttemptResult, CaptionRules, Command, FinalState, ItemSpec, Outcome, OutcomeAction,
        ReplayFilter, Request, ResponseMeta, ResultLine, RetryAfter, Strategy, Usage, WallTime,
    },
    golden::{Golden, Trace, single_seed},
    output::ExistingCaptionPolicy,
    store::{ChangedRowPolicy, Op, PinnedSettings, RunDir, Store},
};

const RUNS: u64 = 20;
const ITEMS: u64 = 60;
const START: WallTime = WallTime::from_unix_seconds(1_795_262_400);

/// Two providers, three models and three keys. Daily limits may be reached within the run; minute limits usually are.
const KEYS: &str = "
[[provider]]
name = 'first'
health = 'off'
api = 'openai'
base_url = 'http://127.0.0.1:9/v1'

[[provider]]
name = 'second'
health = 'off'
api = 'anthropic'
base_url = 'http://127.0.0.1:9'

[[model]]
name = 'best'
provider = 'first'
rpm = 6
rpd = 40
max_output = 200
usd_per_mtok = { input = 1.0, output = 4.0 }

[[model]]
name = 'next'
provider = 'first'
rpm = 10
tpm = 4_000
max_output = 200
usd_per_mtok = { input = 0.5, output = 2.0 }

[[model]]
name = 'other'
provider = 'second'
max_output = 200
usd_per_mtok = { input = 0.25, output = 1.0, cache_write = 0.25, cache_write_1h = 0.25 }

[[key]]
name = 'alice'
provider = 'first'
secret = 'sk-of-alice'

[[key]]
name = 'bob'
provider = 'first'
project = 'shared'
secret = 'sk-of-bob'

[[key]]
name = 'carol'
provider = 'second'
secret = 'sk-of-carol'
";

fn item(number: u64, random: &mut fastrand::Rng) -> ItemSpec {
    ItemSpec {
        id: format!("item-{number}"),
        request: Request::from_prompt("What is it? ".repeat(random.usize(1..40))),
        request_hash: format!("{number:032x}"),
        line: number,
        preferred_model: (random.u8(0..10) == 0).then(|| "next".to_owned()),
        ..ItemSpec::default()
    }
}

/// A run, its clock, and the answers that have not arrived yet.
struct Run {
    engine: Engine,
    channels: Channels,
    _handle: EngineHandle,
    micros: &'static AtomicU64,
    random: fastrand::Rng,
    /// Answers by the microsecond of their arrival.
    answers: BTreeMap<(u64, AttemptId), AttemptDone>,
    answered: BTreeSet<AttemptId>,
    commands: BTreeMap<u64, Command>,
}

impl Run {
    fn new(seed: u64, home: &tempfile::TempDir) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let strategy = Strategy::ALL[seed as usize % Strategy::ALL.len()];
        let keys = format!(
            "{KEYS}\n[policy]\nstrategy = '{}'\nin_flight = {}\nmax_usd = {}\n",
            strategy.name(),
            random.u32(1..12),
            if seed.is_multiple_of(5) { "0.01" } else { "10.0" },
        );
        fs::write(home.path().join("keys.toml"), keys).unwrap();
        let config = config::load(Some(&home.path().join("keys.toml")), &|_| None, home.path()).unwrap();
        let dir = RunDir::new(home.path().join("run"));
        let (mut store, mut opened) = Store::open(&dir, &PinnedSettings::default()).unwrap();
        let specs: Vec<ItemSpec> = (1..=ITEMS).map(|number| item(number, &mut random)).collect();
        store.ingest(&specs, ChangedRowPolicy::Report).unwrap();
        store.accept_input("", ITEMS).unwrap();
        opened.totals = store.totals().unwrap();
        // The clock is copied into everything that has one; the counter that moves it lives as long as the test.
        let micros: &'static AtomicU64 = Box::leak(Box::default());
        let setup = EngineSetup {
            run_name: "run".to_owned(),
            config,
            clock: Clock::manual(START, micros),
            existing_captions: ExistingCaptionPolicy::Skip,
            caption_rules: CaptionRules::default(),
            is_unattended: true,
            seed,
            flags: BTreeMap::new(),
            has_ephemeral_flags: false,
            key_checks: Vec::new(),
            ledger_path: None,
        };
        let (engine, channels, handle) = prepare(setup, &dir, store, opened, None).unwrap();
        let commands = [
            Command::SetKey { key: "alice".to_owned(), on: false },
            Command::SetKey { key: "alice".to_owned(), on: true },
            Command::Pause,
            Command::Resume,
            Command::SetMaxInFlight { max_in_flight: 5 },
            Command::SetModel { model: "other".to_owned(), on: false },
            Command::SetModel { model: "other".to_owned(), on: true },
            Command::Replay { filter: ReplayFilter::default(), target: None },
            Command::SetKey { key: "bob".to_owned(), on: true },
        ];
        let mut at = 0;
        let commands = commands
            .into_iter()
            .map(|command| {
                at += random.u64(1_000_000..30_000_000);
                (at, command)
            })
            .collect();
        let (answers, answered) = (BTreeMap::new(), BTreeSet::new());
        Self { engine, channels, _handle: handle, micros, random, answers, answered, commands }
    }

    /// Plays the run to its end. Returns the hash of the trace of all recorded ops.
    async fn play(mut self) -> u64 {
        // A run that is blocked for good records nothing more; its trace ends there.
        for _ in 0..5_000 {
            if let Some(run_outcome) = self.tick_until_quiet().await {
                return self.trace(Some(&run_outcome));
            }
            let answer = self.answers.first_key_value().map(|((at, _), _)| *at);
            let command = self.commands.first_key_value().map(|(at, _)| *at);
            let wakeup = self.engine.scheduler.next_wakeup().map(|at| at.0);
            let now = self.micros.load(Ordering::Relaxed);
            let Some(next) = answer.into_iter().chain(command).chain(wakeup.filter(|at| *at > now)).min() else {
                break;
            };
            self.micros.store(next.max(now), Ordering::Relaxed);
            if command == Some(next) {
                let (_, command) = self.commands.pop_first().unwrap();
                let reply = tokio::sync::oneshot::channel().0;
                self.engine.on_command(CommandRequest { command, stop_reason: None, reply });
            } else if answer == Some(next) {
                let (_, answer) = self.answers.pop_first().unwrap();
                self.engine.on_attempt_done(answer);
            }
        }
        self.trace(None)
    }

    /// Ticks until everything is committed and no items are being loaded.
    async fn tick_until_quiet(&mut self) -> Option<RunOutcome> {
        loop {
            if let Some(run_outcome) = self.engine.tick() {
                return Some(run_outcome);
            }
            if !self.engine.journal.is_flushed() {
                let ack = self.channels.acks.recv().await;
                self.engine.on_ack(ack);
                self.answer_sent_attempts();
            } else if self.engine.intake.is_loading() {
                let (class, batch) = self.channels.loaded.recv().await.unwrap();
                self.engine.on_loaded(class, batch);
            } else {
                return None;
            }
        }
    }

    /// Aborts each new request and schedules an answer that the seed decides.
    fn answer_sent_attempts(&mut self) {
        self.engine.items.sent().for_each(|sent| sent.abort_handle.abort());
        for (attempt, seq) in self.engine.items.in_flight() {
            if self.answered.contains(&attempt) {
                continue;
            }
            let latency = Duration::from_micros(self.random.u64(200_000..3_000_000));
            let at = self.micros.load(Ordering::Relaxed) + latency.as_micros() as u64;
            let result = self.random_result();
            self.answers
                .insert((at, attempt), AttemptDone { attempt, seq, result, latency, check_time: Duration::ZERO });
            self.answered.insert(attempt);
        }
    }

    fn random_result(&mut self) -> AttemptResult {
        let (outcome, status, action) = match self.random.u8(0..100) {
            0..70 => (Outcome::Ok, Some(200), OutcomeAction::Complete),
            70..75 => (Outcome::RateLimitedMinute, Some(429), OutcomeAction::CoolPool),
            75..80 => (Outcome::ServerError, Some(500), OutcomeAction::Retry),
            80..84 => (Outcome::Overloaded, Some(503), OutcomeAction::Retry),
            84..87 => (Outcome::Timeout, None, OutcomeAction::Retry),
            87..90 => (Outcome::ContentBlocked, Some(200), OutcomeAction::FailItem),
            90..93 => (Outcome::Truncated, Some(200), OutcomeAction::Complete),
            93..95 => (Outcome::EmptyOutput, Some(200), OutcomeAction::Retry),
            95..97 => (Outcome::MalformedResponse, Some(200), OutcomeAction::Retry),
            97..98 => (Outcome::QuotaExhaustedDay, Some(429), OutcomeAction::NextRoute),
            98..99 => (Outcome::BadRequest, Some(400), OutcomeAction::FailItem),
            _ => (Outcome::ClientTrouble, None, OutcomeAction::Retry),
        };
        let answered = matches!(outcome, Outcome::Ok | Outcome::Truncated);
        let retry_after = (outcome == Outcome::RateLimitedMinute && self.random.bool())
            .then(|| RetryAfter { delay: Duration::from_secs(self.random.u64(1..40)) });
        let usage = if status == Some(200) {
            Usage {
                input_tokens: self.random.u64(3..150),
                output_tokens: self.random.u64(1..200),
                thinking_tokens: self.random.u64(0..20),
                ..Usage::default()
            }
        } else {
            Usage::default()
        };
        AttemptResult {
            outcome,
            action,
            status,
            retry_after,
            message: String::new(),
            rule: String::new(),
            answer: answered.then(|| Answer { text: "an answer".to_owned(), ..Answer::default() }),
            usage,
            stated_limit: None,
            limit_is_zero: false,
            response_meta: ResponseMeta::default(),
            exceeds_context: false,
            picture_refused: false,
            failed_check: None,
        }
    }

    fn trace(&self, run_outcome: Option<&RunOutcome>) -> u64 {
        let mut trace = Trace::new();
        for op in &self.engine.journal.recorded {
            trace_op(&mut trace, op);
            if single_seed().is_some() {
                println!("{op:?}");
            }
        }
        trace.number(match run_outcome {
            None => 0,
            Some(RunOutcome::Finished) => 1,
            Some(RunOutcome::Stopped { .. }) => 2,
            Some(RunOutcome::BudgetSpent { .. }) => 3,
            Some(RunOutcome::Failed { .. }) => 4,
            Some(RunOutcome::HeldBack { .. }) => 5,
        });
        trace.finish()
    }
}

fn trace_op(trace: &mut Trace, op: &Op) {
    match op {
        Op::IngestItems(specs) => trace.number(1).number(specs.len() as u64),
        Op::FinishIngest { rows } => trace.number(2).number(*rows),
        Op::RecordIntent(intent) => trace
            .number(3)
            .number(intent.attempt.0)
            .number(intent.seq.0)
            .number(u64::from(intent.route.0))
            .wall(intent.sent_at)
            .money(intent.reserved)
            .number(intent.est_tokens),
        Op::CancelIntent { attempt } => trace.number(4).number(attempt.0),
        Op::CompleteAttempt(completed) => {
            trace
                .number(5)
                .number(completed.attempt.0)
                .wall(completed.completed_at.unwrap())
                .outcome(completed.outcome);
            trace.optional(completed.status.map(u64::from)).number(completed.latency_ms);
            trace_usage(trace, completed.usage);
            trace.money(completed.cost).money(completed.at_risk);
            if let Some(line) = &completed.final_line {
                trace_line(trace, line);
            }
            trace.number(u64::from(completed.final_line.is_some()))
        }
        Op::EndLocally(end) => {
            trace.number(6).number(end.seq.0).outcome(end.outcome);
            trace_line(trace, &end.line);
            trace
        }
        Op::RecordEvent(event) => trace.number(7).number(event.number).wall(event.at).event(&event.kind),
        Op::RecordDecision(decision) => trace.number(8).wall(decision.at),
        Op::ForgetDecision { .. } => trace.number(9),
        Op::SetRunState(_) => trace.number(10),
        Op::Requeue(_) => trace.number(11),
        Op::RequeueTo(..) => trace.number(12),
        // These ops are written at intervals of real time, so they differ from run to run.
        Op::SetKeys(_) | Op::SetActiveTime(_) | Op::SetState { .. } | Op::RecordSample { .. } => trace,
    };
}

fn trace_usage(trace: &mut Trace, usage: Usage) {
    trace.number(usage.input_tokens).number(usage.output_tokens).number(usage.thinking_tokens);
}

/// Adds a result line without its error message, which may be reworded.
fn trace_line(trace: &mut Trace, line: &ResultLine) {
    trace.text(&line.id).number(u64::from(line.status == FinalState::Done));
    if let Some(error) = &line.error {
        trace.outcome(error.outcome).optional(error.status.map(u64::from));
    }
    for text in [&line.output, &line.finish_reason, &line.key, &line.provider, &line.model, &line.model_version] {
        trace.text(text.as_deref().unwrap_or_default());
    }
    trace_usage(trace, line.usage);
    trace.number(line.cost_usd.to_bits()).number(line.latency_ms).number(u64::from(line.attempts));
    trace.text(line.started_at.as_deref().unwrap_or_default()).text(&line.finished_at).text(&line.request_hash);
}

#[tokio::test]
async fn seeded_runs_record_the_ops_of_the_golden_traces() {
    let golden = Golden::read("engine.txt");
    let mut traces = BTreeMap::new();
    for seed in single_seed().map_or(0..RUNS, |seed| seed..seed + 1) {
        let home = tempfile::tempdir().unwrap();
        let trace = Run::new(seed, &home).play().await;
        golden.check(seed, trace);
        traces.insert(seed, trace);
    }
    if Golden::is_recording() && single_seed().is_none() {
        golden.record(&traces);
    }
}
