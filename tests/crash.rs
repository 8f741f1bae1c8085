//! `kill -9` at any instant, the same command again: the real process, the real disk, and the provider's own books.
//!
//! The figures are printed: `cargo test --test crash -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test whose stage can't be set has failed")]

mod lab;

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use cascadeck::{domain::FinalState, sim::ServerStats, store::audit};

use crate::lab::{Machine, OPEN, Provider, answer_to, png, sums};

/// Two projects, two models, and one request in twenty spoiled.
const LIVELY: &str = r#"
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

/// Trouble passes quickly here.
const POLICY: &str = "\n[policy]\nin_flight = 8\nretry_delays = [\"20ms\"]\nbreaker_open = \"100ms\"\n";

const RUN: [&str; 5] = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--no-check"];
const DIR: &str = "runs/batch";

/// One number from the run's record, where there is one already.
fn recorded(machine: &Machine, query: &str) -> Option<u64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let record = rusqlite::Connection::open_with_flags(machine.path(DIR).join("run.db"), flags).ok()?;
    record.query_row(query, [], |row| row.get::<_, i64>(0)).ok().map(|number| number as u64)
}

/// The record agrees with itself and with results.jsonl; what is in results.jsonl is there once and right.
fn prove(machine: &Machine, kind: Kind) -> usize {
    let audit = audit::audit(&machine.path(DIR), None).unwrap();
    assert!(audit.is_ok(), "{audit:#?}");
    let mut ids = BTreeSet::new();
    for line in machine.results(DIR) {
        assert_eq!(line.status, FinalState::Done, "{}", line.id);
        if kind == Kind::Rows {
            assert_eq!(line.output, Some(answer_to(&line.id)), "{}", line.id);
        }
        assert!(ids.insert(line.id.clone()), "{} is there twice", line.id);
    }
    ids.len()
}

/// Requests that were in flight at a kill: each is recorded as lost by the start after it.
fn lost(machine: &Machine) -> u64 {
    recorded(machine, "SELECT count(*) FROM attempts WHERE outcome = 'lost'").unwrap()
}

/// Answers beyond the first to each prompt.
fn repeated(books: &ServerStats) -> u64 {
    books.prompts.by_hash.values().map(|prompt| prompt.ok.saturating_sub(1)).sum()
}

/// Kills of one lane, and what they brought to light.
#[derive(Default, Debug)]
struct Figures {
    kills: u64,
    batches: u64,
    items: u64,
    requests: u64,
    answered: u64,
    in_flight: u64,
    repeated: u64,
    /// Kills that came before anything was recorded.
    early: u64,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.batches += other.batches;
        self.items += other.items;
        self.requests += other.requests;
        self.answered += other.answered;
        self.in_flight += other.in_flight;
        self.repeated += other.repeated;
        self.early += other.early;
    }
}

/// The three books of a run that was just killed: the input, the record, the provider's own.
fn compare_after_kill(machine: &Machine, provider: &Provider, items: u64, finished: &mut BTreeSet<String>) -> bool {
    provider.until("broken connections are noticed", |books| books.total.in_flight == 0);
    let Some(ended) = recorded(machine, "SELECT count(*) FROM progress WHERE state <> 0") else { return false };
    let audit = audit::audit(&machine.path(DIR), None).unwrap();
    for check in audit.checks.iter().filter(|check| check.violations > 0) {
        // What follows the record may lag behind it until the next start.
        let lags = check.invariant.contains("results.jsonl") || check.invariant.contains("caption");
        assert!(lags, "{audit:#?}");
    }
    assert!(audit.items <= items && audit.done + audit.failed + audit.waiting == audit.items, "{audit:#?}");
    assert!(audit.in_flight <= 8, "{audit:#?}");
    assert!(ended >= finished.len() as u64, "nothing that had ended waits again");
    let books = provider.books();
    // Nothing was sent that was not recorded before, and nothing is done that was not served.
    assert!(books.total.requests <= audit.attempts + audit.in_flight, "{} sent, {audit:#?}", books.total.requests);
    assert!(audit.done <= books.total.ok, "{} served, {audit:#?}", books.total.ok);
    if ended > 0 && machine.path(DIR).join("results.jsonl").exists() {
        // What the file shows was committed before, and stays.
        let shown: BTreeSet<_> = machine.results_whole(DIR).into_iter().map(|line| line.id).collect();
        assert!(shown.is_superset(finished), "a result has gone");
        *finished = shown;
    }
    true
}

/// One batch, killed at random instants until it is through or `kills` is used up; then finished and compared.
fn killed_batch(kind: Kind, kills: u64, random: &mut fastrand::Rng) -> Figures {
    let provider = Provider::of(LIVELY);
    let machine = Machine::new();
    machine.write_keys(&(provider.keys_toml() + POLICY));
    let items = kind.prepare(&machine);
    let run = kind.command();
    let mut figures = Figures { batches: 1, items, ..Figures::default() };
    let mut finished = BTreeSet::new();
    while figures.kills < kills {
        let sent = provider.books().total.requests;
        let mut live = machine.start(run);
        let deadline = Instant::now() + Duration::from_secs(60);
        if random.u8(0..3) == 0 {
            // Any instant, also before the first request.
            thread::sleep(Duration::from_millis(random.u64(0..120)));
        } else {
            let enough = sent + random.u64(1..24);
            while provider.books().total.requests < enough && !live.has_ended() {
                assert!(Instant::now() < deadline, "it does not come on: {}", provider.books().summary());
            }
        }
        if live.has_ended() {
            break;
        }
        if !live.kill().was_killed() {
            // It was through in the same instant.
            break;
        }
        figures.kills += 1;
        figures.early += u64::from(!compare_after_kill(&machine, &provider, items, &mut finished));
    }
    machine.cascadeck(run).with_status(0);
    assert_eq!(prove(&machine, kind) as u64, items);
    let books = provider.books();
    (figures.requests, figures.answered) = (books.total.requests, books.total.ok);
    (figures.repeated, figures.in_flight) = (repeated(&books), lost(&machine));
    assert_eq!(books.prompts.distinct, items);
    assert!(figures.repeated <= figures.in_flight, "{figures:?}");
    assert_eq!(
        recorded(&machine, "SELECT count(*) FROM attempts").unwrap(),
        // A call that was recorded and killed before it was sent is in the record alone.
        books.total.requests + unsent(&machine, &books),
    );
    figures
}

/// Lost calls that the provider never saw.
fn unsent(machine: &Machine, books: &ServerStats) -> u64 {
    let attempts = recorded(machine, "SELECT count(*) FROM attempts").unwrap();
    let unseen = attempts.checked_sub(books.total.requests);
    let unseen = unseen.unwrap_or_else(|| panic!("{attempts} recorded, {} seen", books.total.requests));
    assert!(unseen <= lost(machine), "{unseen} of the recorded calls were never seen, {} were lost", lost(machine));
    unseen
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Rows,
    Pictures,
}

impl Kind {
    fn prepare(self, machine: &Machine) -> u64 {
        match self {
            Self::Rows => {
                machine.write("batch.jsonl", sums(240));
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
            Self::Rows => &RUN,
            Self::Pictures => &["run", "batch", "--prompt", "What is {{ name }}?", "--no-check"],
        }
    }
}

/// Kills in all; `CRASH_KILLS` asks for more, or fewer.
fn kills_wanted() -> u64 {
    std::env::var("CRASH_KILLS").ok().map_or(500, |kills| kills.parse().unwrap())
}

#[test]
fn a_run_killed_five_hundred_times_answers_every_item_once_and_repeats_only_what_was_in_flight() {
    /// Runs at the same time.
    const LANES: u64 = 4;
    let began = Instant::now();
    let wanted = kills_wanted();
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(20 + lane);
                let mut figures = Figures::default();
                while figures.kills < wanted.div_ceil(LANES) {
                    let kind = if lane == 0 { Kind::Pictures } else { Kind::Rows };
                    let left = wanted.div_ceil(LANES) - figures.kills;
                    figures.add(&killed_batch(kind, left, &mut random));
                }
                figures
            })
        })
        .collect();
    let mut figures = Figures::default();
    for lane in lanes {
        match lane.join() {
            Ok(lane) => figures.add(&lane),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    let Figures { kills, batches, items, requests, answered, in_flight, repeated, early } = figures;
    println!(
        "{kills} kills ({early} before anything was recorded) of {batches} batches, {items} items: {requests} requests, \
         {answered} answered; {in_flight} calls in flight at the kills, {repeated} prompts answered again; \
         0 items lost, 0 doubled; {:.0} s",
        began.elapsed().as_secs_f64()
    );
    assert!(kills >= wanted && in_flight > 0, "the kills hit calls in flight");
}

#[test]
fn a_run_killed_while_its_input_is_read_loses_no_row() {
    const ITEMS: u64 = 2_500;
    const KILLS: u32 = 6;
    let provider = Provider::of(OPEN);
    let machine = Machine::new();
    machine.write_keys(&(provider.keys_toml() + "\n[policy]\nin_flight = 64\n"));
    machine.write("batch.jsonl", sums(ITEMS));
    let mut random = fastrand::Rng::with_seed(8);
    let mut caught = Vec::new();
    for kill in 1..=KILLS {
        let before = recorded(&machine, "SELECT count(*) FROM items").unwrap_or_default();
        let enough = (before + random.u64(0..600)).min(ITEMS);
        let live = machine.start(&RUN);
        let deadline = Instant::now() + Duration::from_secs(60);
        while recorded(&machine, "SELECT count(*) FROM items").is_none_or(|items| items < enough) {
            assert!(Instant::now() < deadline, "kill {kill}: it does not read on");
        }
        live.kill();
        caught.push(recorded(&machine, "SELECT count(*) FROM items").unwrap_or_default());
    }
    assert!(caught.iter().any(|items| (1..ITEMS).contains(items)), "some kills hit the reading: {caught:?}");

    machine.cascadeck(&RUN).with_status(0);
    assert_eq!(prove(&machine, Kind::Rows) as u64, ITEMS);
    provider.until("broken connections are noticed", |books| books.total.in_flight == 0);
    let books = provider.books();
    let (repeated, in_flight) = (repeated(&books), lost(&machine));
    println!("killed with {caught:?} of {ITEMS} rows read; {in_flight} in flight, {repeated} prompts answered again");
    assert_eq!(books.prompts.distinct, ITEMS);
    assert!(repeated <= in_flight, "{repeated} repeated, {in_flight} in flight");
}
