//! `kill -9` at random instants, then the same command again: with the real process, the real disk, and the provider's
//! own statistics.
//!
//! The numbers are printed: `CRASH_KILLS=500 cargo test --test crash -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test whose stage can't be set has failed")]

mod harness;

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use cascadeck::{domain::FinalState, sim::ServerStats, store::audit};

use crate::harness::{SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows, expected_answer, png};

/// Two projects, two models, and about one request in twenty with a fault.
const FAULTY_PROFILE: &str = r#"
name = "lively"
seed = 9
latency = { median_ms = 20, spread = 0.8 }
faults = { server_error = 0.02, overloaded = 0.01, reset = 0.01, truncated = 0.005, empty = 0.005 }
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }, { name = "n", provider = "g" }]
key = [
    { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
    { name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" },
]
"#;

/// Short waits after faults.
const POLICY: &str = "\n[policy]\nin_flight = 8\nretry_delays = [\"20ms\"]\nbreaker_open = \"100ms\"\n";

const RUN_ARGS: [&str; 5] = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--no-check"];
const RUN_DIR: &str = "runs/batch";

/// One number from the run's database, if it exists already.
fn query_record(machine: &TestMachine, query: &str) -> Option<u64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let record = rusqlite::Connection::open_with_flags(machine.path(RUN_DIR).join("run.db"), flags).ok()?;
    record.query_row(query, [], |row| row.get::<_, i64>(0)).ok().map(|number| number as u64)
}

/// Checks that the record agrees with itself and with results.jsonl, and that each line of results.jsonl is correct and
/// there once. Returns the number of lines.
fn assert_audit(machine: &TestMachine, kind: BatchKind) -> usize {
    let audit = audit::audit(&machine.path(RUN_DIR), None).unwrap();
    assert!(audit.is_ok(), "{audit:#?}");
    let mut ids = BTreeSet::new();
    for line in machine.results(RUN_DIR) {
        assert_eq!(line.status, FinalState::Done, "{}", line.id);
        if kind == BatchKind::Rows {
            assert_eq!(line.output, Some(expected_answer(&line.id)), "{}", line.id);
        }
        assert!(ids.insert(line.id.clone()), "{} is there twice", line.id);
    }
    ids.len()
}

/// Number of attempts in flight at a kill. The next start records each as `lost`.
fn lost_attempts(machine: &TestMachine) -> u64 {
    query_record(machine, "SELECT count(*) FROM attempts WHERE outcome = 'lost'").unwrap()
}

/// Number of answers beyond the first to each prompt.
fn repeated_answers(books: &ServerStats) -> u64 {
    books.prompts.by_hash.values().map(|prompt| prompt.ok.saturating_sub(1)).sum()
}

/// Kills of one thread, and what was measured.
#[derive(Default, Debug)]
struct KillStats {
    kills: u64,
    batches: u64,
    items: u64,
    requests: u64,
    answered: u64,
    in_flight: u64,
    repeated: u64,
    /// Kills before anything was recorded.
    kills_before_record: u64,
}

impl KillStats {
    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.batches += other.batches;
        self.items += other.items;
        self.requests += other.requests;
        self.answered += other.answered;
        self.in_flight += other.in_flight;
        self.repeated += other.repeated;
        self.kills_before_record += other.kills_before_record;
    }
}

/// Compares the input, the record and the provider's statistics of a run that was just killed. Returns false where
/// nothing is recorded yet.
fn assert_consistent_after_kill(
    machine: &TestMachine,
    provider: &SimulatedProvider,
    items: u64,
    finished_ids: &mut BTreeSet<String>,
) -> bool {
    provider.wait_until("broken connections are noticed", |books| books.total.in_flight == 0);
    let Some(ended) = query_record(machine, "SELECT count(*) FROM progress WHERE state <> 0") else { return false };
    let audit = audit::audit(&machine.path(RUN_DIR), None).unwrap();
    for check in audit.checks.iter().filter(|check| check.violations > 0) {
        // Files that are written after the record may lag behind it until the next start.
        let may_lag = check.invariant.contains("results.jsonl") || check.invariant.contains("caption");
        assert!(may_lag, "{audit:#?}");
    }
    assert!(audit.items <= items && audit.done + audit.failed + audit.waiting == audit.items, "{audit:#?}");
    assert!(audit.in_flight <= 8, "{audit:#?}");
    assert!(ended >= finished_ids.len() as u64, "nothing that had ended waits again");
    let books = provider.checked_stats();
    // Every sent request was recorded before, and every done item was served.
    assert!(books.total.requests <= audit.attempts + audit.in_flight, "{} sent, {audit:#?}", books.total.requests);
    assert!(audit.done <= books.total.ok, "{} served, {audit:#?}", books.total.ok);
    if ended > 0 && machine.path(RUN_DIR).join("results.jsonl").exists() {
        // Every line of the file was committed before, and stays.
        let ids_in_file: BTreeSet<_> = machine.complete_results(RUN_DIR).into_iter().map(|line| line.id).collect();
        assert!(ids_in_file.is_superset(finished_ids), "a result has gone");
        *finished_ids = ids_in_file;
    }
    true
}

/// Runs one batch, killing it at random instants until it finishes or `kills` is used up; then finishes and checks it.
fn run_batch_with_kills(kind: BatchKind, kills: u64, rng: &mut fastrand::Rng) -> KillStats {
    let provider = SimulatedProvider::from_toml(FAULTY_PROFILE);
    let machine = TestMachine::new();
    machine.write_keys_toml(&(provider.keys_toml() + POLICY));
    let items = kind.prepare(&machine);
    let run = kind.command();
    let mut stats = KillStats { batches: 1, items, ..KillStats::default() };
    let mut finished_ids = BTreeSet::new();
    while stats.kills < kills {
        let requests_before = provider.checked_stats().total.requests;
        let mut live = machine.start(run);
        let deadline = Instant::now() + Duration::from_secs(60);
        if rng.u8(0..3) == 0 {
            // Any instant, also before the first request.
            thread::sleep(Duration::from_millis(rng.u64(0..120)));
        } else {
            let request_target = requests_before + rng.u64(1..24);
            while provider.checked_stats().total.requests < request_target && !live.has_exited() {
                assert!(Instant::now() < deadline, "it does not come on: {}", provider.checked_stats().summary());
            }
        }
        if live.has_exited() {
            break;
        }
        if !live.kill().was_killed() {
            // The run finished in the same instant.
            break;
        }
        stats.kills += 1;
        stats.kills_before_record +=
            u64::from(!assert_consistent_after_kill(&machine, &provider, items, &mut finished_ids));
    }
    machine.cascadeck(run).expect_status(0);
    assert_eq!(assert_audit(&machine, kind) as u64, items);
    let books = provider.checked_stats();
    (stats.requests, stats.answered) = (books.total.requests, books.total.ok);
    (stats.repeated, stats.in_flight) = (repeated_answers(&books), lost_attempts(&machine));
    assert_eq!(books.prompts.distinct, items);
    assert!(stats.repeated <= stats.in_flight, "{stats:?}");
    assert_eq!(
        query_record(&machine, "SELECT count(*) FROM attempts").unwrap(),
        // An attempt that was recorded and killed before it was sent is only in the record.
        books.total.requests + unsent_attempts(&machine, &books),
    );
    stats
}

/// Number of lost attempts that the provider never received.
fn unsent_attempts(machine: &TestMachine, books: &ServerStats) -> u64 {
    let attempts = query_record(machine, "SELECT count(*) FROM attempts").unwrap();
    let unseen = attempts.checked_sub(books.total.requests);
    let unseen = unseen.unwrap_or_else(|| panic!("{attempts} recorded, {} seen", books.total.requests));
    assert!(
        unseen <= lost_attempts(machine),
        "{unseen} of the recorded calls were never seen, {} were lost",
        lost_attempts(machine)
    );
    unseen
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BatchKind {
    Rows,
    Pictures,
}

impl BatchKind {
    fn prepare(self, machine: &TestMachine) -> u64 {
        match self {
            Self::Rows => {
                machine.write("batch.jsonl", addition_rows(240));
                240
            }
            Self::Pictures => {
                for number in 1..=80 {
                    machine.write(&format!("batch/{number}.png"), png(number, 1));
                }
                80
            }
        }
    }

    const fn command(self) -> &'static [&'static str] {
        match self {
            Self::Rows => &RUN_ARGS,
            Self::Pictures => &["run", "batch", "--prompt", "What is {{ name }}?", "--no-check"],
        }
    }
}

/// Number of kills in all. The variable `CRASH_KILLS` changes it; `.ci/run` sets 500.
fn target_kills() -> u64 {
    std::env::var("CRASH_KILLS").ok().map_or(60, |kills| kills.parse().unwrap())
}

#[test]
fn a_run_killed_again_and_again_answers_every_item_once_and_repeats_only_what_was_in_flight() {
    /// Number of batches that run at the same time.
    const PARALLEL_BATCHES: u64 = 4;
    let began = Instant::now();
    let target = target_kills();
    let threads: Vec<_> = (0..PARALLEL_BATCHES)
        .map(|lane| {
            thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(20 + lane);
                let mut figures = KillStats::default();
                while figures.kills < target.div_ceil(PARALLEL_BATCHES) {
                    let kind = if lane == 0 { BatchKind::Pictures } else { BatchKind::Rows };
                    let left = target.div_ceil(PARALLEL_BATCHES) - figures.kills;
                    figures.add(&run_batch_with_kills(kind, left, &mut random));
                }
                figures
            })
        })
        .collect();
    let mut figures = KillStats::default();
    for lane in threads {
        match lane.join() {
            Ok(lane) => figures.add(&lane),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    let KillStats { kills, batches, items, requests, answered, in_flight, repeated, kills_before_record } = figures;
    println!(
        "{kills} kills ({kills_before_record} before anything was recorded) of {batches} batches, {items} items: {requests} requests, \
         {answered} answered; {in_flight} calls in flight at the kills, {repeated} prompts answered again; \
         0 items lost, 0 doubled; {:.0} s",
        began.elapsed().as_secs_f64()
    );
    assert!(kills >= target && in_flight > 0, "the kills hit calls in flight");
}

#[test]
fn a_run_killed_while_its_input_is_read_loses_no_row() {
    const ITEMS: u64 = 2_500;
    const KILLS: u32 = 6;
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::new();
    machine.write_keys_toml(&(provider.keys_toml() + "\n[policy]\nin_flight = 64\n"));
    machine.write("batch.jsonl", addition_rows(ITEMS));
    let mut random = fastrand::Rng::with_seed(8);
    let mut rows_at_kill = Vec::new();
    for kill in 1..=KILLS {
        let before = query_record(&machine, "SELECT count(*) FROM items").unwrap_or_default();
        let row_target = (before + random.u64(0..600)).min(ITEMS);
        let live = machine.start(&RUN_ARGS);
        let deadline = Instant::now() + Duration::from_secs(60);
        while query_record(&machine, "SELECT count(*) FROM items").is_none_or(|items| items < row_target) {
            assert!(Instant::now() < deadline, "kill {kill}: it does not read on");
        }
        live.kill();
        rows_at_kill.push(query_record(&machine, "SELECT count(*) FROM items").unwrap_or_default());
    }
    assert!(
        rows_at_kill.iter().any(|items| (1..ITEMS).contains(items)),
        "some kills hit the reading: {rows_at_kill:?}"
    );

    machine.cascadeck(&RUN_ARGS).expect_status(0);
    assert_eq!(assert_audit(&machine, BatchKind::Rows) as u64, ITEMS);
    provider.wait_until("broken connections are noticed", |books| books.total.in_flight == 0);
    let books = provider.checked_stats();
    let (repeated, in_flight) = (repeated_answers(&books), lost_attempts(&machine));
    println!(
        "killed with {rows_at_kill:?} of {ITEMS} rows read; {in_flight} in flight, {repeated} prompts answered again"
    );
    assert_eq!(books.prompts.distinct, ITEMS);
    assert!(repeated <= in_flight, "{repeated} repeated, {in_flight} in flight");
}
