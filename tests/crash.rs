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

use cascadeck::{domain::FinalState, sim::Books, store::audit};

use crate::lab::{Machine, Provider, answer_to, sums};

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
fn prove(machine: &Machine) -> usize {
    let audit = audit::audit(&machine.path(DIR), None).unwrap();
    assert!(audit.holds(), "{audit:#?}");
    let mut ids = BTreeSet::new();
    for line in machine.results(DIR) {
        assert_eq!((line.status, line.output), (FinalState::Done, Some(answer_to(&line.id))), "{}", line.id);
        assert!(ids.insert(line.id.clone()), "{} is there twice", line.id);
    }
    ids.len()
}

/// Requests that were in flight at a kill: each is recorded as lost by the start after it.
fn lost(machine: &Machine) -> u64 {
    recorded(machine, "SELECT count(*) FROM attempts WHERE outcome = 'lost'").unwrap()
}

/// Answers beyond the first to each prompt.
fn repeated(books: &Books) -> u64 {
    books.prompts.by_hash.values().map(|prompt| prompt.ok.saturating_sub(1)).sum()
}

#[test]
fn a_run_killed_twenty_times_answers_every_item_once_and_repeats_only_what_was_in_flight() {
    const ITEMS: u64 = 900;
    const KILLS: u32 = 20;
    let provider = Provider::of(LIVELY);
    let machine = Machine::new();
    machine.write_keys(&(provider.keys_toml() + POLICY));
    machine.write("batch.jsonl", sums(ITEMS));
    let mut random = fastrand::Rng::with_seed(20);
    let mut kills = 0;
    let mut finished = BTreeSet::new();
    while kills < KILLS {
        let sent = provider.books().total.requests;
        let mut live = machine.start(&RUN);
        if kills % 4 == 3 {
            // Any instant, also before the first request.
            thread::sleep(Duration::from_millis(random.u64(0..150)));
        } else {
            let enough = sent + random.u64(1..60);
            provider.until("some requests", |books| books.total.requests >= enough);
        }
        assert!(!live.has_ended(), "the batch is long enough for {KILLS} kills: {}", provider.books().summary());
        assert!(live.kill().was_killed());
        kills += 1;

        let open = recorded(&machine, "SELECT count(*) FROM in_flight").unwrap_or_default();
        assert!(open <= 8, "kill {kills}: {open} were in flight");
        provider.until("broken connections are noticed", |books| books.total.in_flight == 0);
        let ended = recorded(&machine, "SELECT count(*) FROM progress WHERE state <> 0").unwrap_or_default();
        assert!(ended >= finished.len() as u64, "kill {kills}: nothing that had ended waits again");
        if ended > 0 {
            // What the file shows was committed before, and stays.
            let shown: BTreeSet<_> = machine.results_whole(DIR).into_iter().map(|line| line.id).collect();
            assert!(shown.is_superset(&finished), "kill {kills}: a result has gone");
            finished = shown;
        }
    }

    machine.cascadeck(&RUN).with_status(0);
    assert_eq!(prove(&machine) as u64, ITEMS);
    let books = provider.books();
    let (repeated, in_flight) = (repeated(&books), lost(&machine));
    println!(
        "{kills} kills, {in_flight} requests in flight at them, {repeated} prompts answered again; {ITEMS} items, \
         {} requests, {} answered",
        books.total.requests, books.total.ok
    );
    assert_eq!(books.prompts.distinct, ITEMS);
    assert!(repeated <= in_flight, "{repeated} repeated, {in_flight} in flight");
    assert!(in_flight > 0, "some of the kills hit calls in flight");
    let status = machine.status(DIR);
    assert_eq!((&status["state"], &status["done"]), (&"finished".into(), &ITEMS.into()));
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
    assert_eq!(prove(&machine) as u64, ITEMS);
    provider.until("broken connections are noticed", |books| books.total.in_flight == 0);
    let books = provider.books();
    let (repeated, in_flight) = (repeated(&books), lost(&machine));
    println!("killed with {caught:?} of {ITEMS} rows read; {in_flight} in flight, {repeated} prompts answered again");
    assert_eq!(books.prompts.distinct, ITEMS);
    assert!(repeated <= in_flight, "{repeated} repeated, {in_flight} in flight");
}

/// Nothing in the way.
const OPEN: &str = r#"
name = "open"
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;
