//! Minute limits, with the engine and the simulated provider on one clock that runs fast.

use std::collections::BTreeMap;

use cascadeck::{
    clock::Clock,
    config,
    engine::{self, EngineSetup, InputRows, RunOutcome, RunningEngine},
    input::{Input, InputOptions},
    output::ExistingCaptionPolicy,
    sim::{Profile, Simulator},
    store::{PinnedSettings, RunDir, Store},
};
use tokio::sync::mpsc;

use crate::harness::{TestMachine, addition_rows};

/// 75 requests a minute altogether. Refused requests count against the limit, so sending too early would never end.
const TIGHT_LIMITS_PROFILE: &str = r#"
name = "tight"
refusals_count = true
latency = { median_ms = 900, spread = 0.4 }
provider = [{ name = "g", api = "gemini" }, { name = "a", api = "anthropic" }]
model = [
    { name = "large", provider = "g", rpm = 5, tpm = 200 },
    { name = "medium", provider = "g", rpm = 10 },
    { name = "small", provider = "g", rpm = 15, concurrency = 2 },
    { name = "other", provider = "a", rpm = 15, otpm = 500 },
]
key = [
    { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
    { name = "amira", provider = "g", project = "one", secret = "AIza-amira" },
    { name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" },
    { name = "anton", provider = "a", project = "three", secret = "sk-ant-anton" },
]
"#;

/// Starts a run on the simulator's clock with `items` rows. It waits for more rows or for the end of the input.
async fn start_run(
    machine: &TestMachine,
    simulator: &Simulator,
    profile: &str,
    clock: Clock,
    items: u64,
) -> (RunningEngine, mpsc::Sender<InputRows>) {
    machine.write_keys_toml(&Profile::from_toml(profile).unwrap().keys_toml(simulator.addr()));
    start_engine(machine, clock, items).await
}

/// Starts a run with the machine's keys.toml and `items` rows. It waits for more rows or for the end of the input.
pub(super) async fn start_engine(
    machine: &TestMachine,
    clock: Clock,
    items: u64,
) -> (RunningEngine, mpsc::Sender<InputRows>) {
    machine.write("batch.jsonl", addition_rows(items));
    let config = config::load(Some(&machine.path("keys.toml")), &|_| None, &machine.path("")).unwrap();
    let options = InputOptions { prompt: Some("{{ question }}".to_owned()), ..InputOptions::default() };
    let path = machine.path("batch.jsonl");
    let input = Input::open(&path.display().to_string(), options, &machine.path("spool")).unwrap();
    let (sender, rows) = mpsc::channel(2);
    sender.send(InputRows::Batch(input.items().collect::<Result<_, _>>().unwrap())).await.unwrap();
    let dir = RunDir::new(machine.path("run"));
    let (store, opened) = Store::open(&dir, &PinnedSettings::default()).unwrap();
    let setup = EngineSetup {
        run_name: dir.name(),
        config,
        clock,
        existing_captions: ExistingCaptionPolicy::Skip,
        caption_rules: cascadeck::domain::CaptionRules::default(),
        is_unattended: true,
        seed: 7,
        flags: BTreeMap::new(),
        has_ephemeral_flags: false,
        key_checks: Vec::new(),
        ledger_path: None,
    };
    (engine::start(setup, &dir, store, opened, Some(rows)).unwrap(), sender)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sliding_minute_windows_are_filled_repeatedly_and_never_exceeded() {
    const ITEMS: u64 = 300;
    let clock = Clock::with_speed(60.0);
    let simulator = Simulator::start(Profile::from_toml(TIGHT_LIMITS_PROFILE).unwrap(), clock).await.unwrap();
    let machine = TestMachine::new();
    let (running, rows) = start_run(&machine, &simulator, TIGHT_LIMITS_PROFILE, clock, ITEMS).await;
    rows.send(InputRows::End).await.unwrap();
    assert_eq!(running.task.await.unwrap(), RunOutcome::Finished);

    let snapshot = running.handle.snapshot();
    assert_eq!((snapshot.totals.done, snapshot.totals.failed), (ITEMS, 0));
    let books = simulator.stop().await.unwrap();
    assert_eq!(books.discrepancies(), [""; 0]);
    assert_eq!(books.exceeded_limits(), [""; 0]);
    assert_eq!((books.total.ok, books.prompts.answered_more_than_once), (ITEMS, 0));
    assert_eq!(
        books.total.refused,
        BTreeMap::new(),
        "limits that are configured are never run into: {}",
        books.summary()
    );
    for (project, model) in [("one", "large"), ("one", "medium"), ("two", "small"), ("three", "other")] {
        let pool = books.pool(project, model).unwrap();
        let rpm = pool.limits[&cascadeck::sim::SimLimit::Rpm];
        assert!(pool.counts.ok > rpm, "{model}: more than a minute's worth was served ({})", pool.counts.ok);
    }
}

/// Answers are slow, so that some requests are in flight.
const SLOW_PROFILE: &str = r#"
name = "slow"
latency = { median_ms = 400 }
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_breaks_off_lets_what_is_in_flight_finish_first() {
    let clock = Clock::real();
    let simulator = Simulator::start(Profile::from_toml(SLOW_PROFILE).unwrap(), clock).await.unwrap();
    let machine = TestMachine::new();
    let (mut running, rows) = start_run(&machine, &simulator, SLOW_PROFILE, clock, 2).await;
    running.handle.snapshots.wait_for(|snapshot| snapshot.totals.in_flight == 2).await.unwrap();
    rows.send(InputRows::Failed("line 5 is no JSON".to_owned())).await.unwrap();
    assert_eq!(running.task.await.unwrap(), RunOutcome::Failed { reason: "line 5 is no JSON".to_owned() });
    assert_eq!(running.handle.snapshot().totals.done, 2);
    let books = simulator.stop().await.unwrap();
    assert_eq!((books.total.ok, books.total.abandoned), (2, 0));
}
