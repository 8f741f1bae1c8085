//! The screen agrees with the record: after random work with random commands, every number of the snapshot and of the
//! dashboard equals the run's database.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use cascadeck::{
    clock::Clock,
    config,
    domain::{
        CaptionRules, Command, ItemFilter, ItemSpec, ItemState, OnExhausted, Page, Query, ReplayFilter, Request,
        RouteTarget, Snapshot, Strategy, Summary, snapshot::RunState,
    },
    engine::{self, EngineHandle, EngineSetup, InputRows, RunningEngine},
    output::ExistingCaptionPolicy,
    sim::{Profile, Simulator},
    store::{PinnedSettings, RunDir, Store, audit, report},
    tui::{
        State, draw,
        theme::{ColourDepth, Theme},
    },
};
use fastrand::Rng;
use jiff::tz::TimeZone;
use ratatui::{Terminal, backend::TestBackend};
use tokio::sync::mpsc;

const ITEMS: u64 = 600;
const COMMANDS: u32 = 60;
/// A run that takes longer than this hangs.
const HANG_TIMEOUT: Duration = Duration::from_secs(60);

const FAULTY_PROFILE: &str = r#"
name = "lively"
seed = 5
latency = { median_ms = 15, spread = 0.8 }
faults = { server_error = 0.03, overloaded = 0.02, blocked = 0.06, truncated = 0.02, empty = 0.02 }
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }, { name = "n", provider = "g" }]
key = [
    { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
    { name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" },
    { name = "chiara", provider = "g", project = "three", secret = "AIza-chiara" },
]
"#;

const POLICY: &str = "\n[policy]\nin_flight = 8\nretry_delays = [\"10ms\"]\nbreaker_open = \"100ms\"\n";
const KEYS: [&str; 3] = ["alice", "bruno", "chiara"];
const MODELS: [&str; 2] = ["m", "n"];

fn items() -> Vec<ItemSpec> {
    let item = |line: u64| ItemSpec {
        id: format!("q{line}"),
        request: Request::from_prompt(format!("What is {line} + 1000?")),
        request_hash: format!("{line:032x}"),
        line,
        ..ItemSpec::default()
    };
    (1..=ITEMS).map(item).collect()
}

async fn start(home: &Path, simulator: &Simulator, seed: u64) -> RunningEngine {
    let keys = Profile::from_toml(FAULTY_PROFILE).unwrap().keys_toml(simulator.addr()) + POLICY;
    std::fs::write(home.join("keys.toml"), keys).unwrap();
    let config = config::load(Some(&home.join("keys.toml")), &|_| None, home).unwrap();
    let dir = RunDir::new(home.join("run"));
    let (store, opened) = Store::open(&dir, &PinnedSettings::default()).unwrap();
    let (sender, rows) = mpsc::channel(4);
    sender.send(InputRows::Batch(items())).await.unwrap();
    sender.send(InputRows::End).await.unwrap();
    let setup = EngineSetup {
        run_name: "figures".to_owned(),
        config,
        clock: Clock::real(),
        existing_captions: ExistingCaptionPolicy::Skip,
        caption_rules: CaptionRules::default(),
        is_unattended: false,
        seed,
        flags: BTreeMap::new(),
        ledger_path: None,
        has_ephemeral_flags: false,
        key_checks: Vec::new(),
    };
    engine::start(setup, &dir, store, opened, Some(rows)).unwrap()
}

/// A random command of an operator.
fn random_command(rng: &mut Rng) -> Command {
    let key = KEYS[rng.usize(..KEYS.len())].to_owned();
    let model = MODELS[rng.usize(..MODELS.len())].to_owned();
    match rng.u32(..14) {
        0 => Command::Pause,
        1 | 2 => Command::Resume,
        3 => Command::HardPause,
        4 => Command::SetKey { key, on: rng.bool() },
        5 => Command::SetModel { model, on: rng.bool() },
        6 => Command::SetRoute { key, model, on: rng.bool() },
        7 => Command::SetStrategy { strategy: Strategy::ALL[rng.usize(..Strategy::ALL.len())] },
        8 => Command::SetMaxInFlight { max_in_flight: rng.u32(1..12) },
        9 => Command::ClearCooldowns { key },
        10 => Command::ProbeKey { key },
        11 => Command::SetOnExhausted { on_exhausted: OnExhausted::Wait },
        12 => Command::Replay { filter: ReplayFilter::default(), target: None },
        _ => Command::Replay { filter: ReplayFilter::default(), target: Some(RouteTarget { model, key: Some(key) }) },
    }
}

/// Waits for a snapshot that meets the condition, and checks the sums of every snapshot on the way.
async fn wait_for_snapshot(
    handle: &mut EngineHandle,
    what: &str,
    condition: impl Fn(&Snapshot) -> bool,
) -> Arc<Snapshot> {
    let wait_loop = async {
        loop {
            let snapshot = handle.snapshot();
            assert_sums_agree(&snapshot);
            if condition(&snapshot) {
                return snapshot;
            }
            handle.snapshots.changed().await.unwrap();
        }
    };
    tokio::time::timeout(HANG_TIMEOUT, wait_loop).await.unwrap_or_else(|_| panic!("it never came to this: {what}"))
}

fn assert_sums_agree(snapshot: &Snapshot) {
    let totals = snapshot.totals;
    assert_eq!(totals.waiting + totals.in_flight + totals.done + totals.failed, totals.total, "{totals:?}");
    let by_keys: u64 = snapshot.keys.iter().map(|key| key.ok).sum();
    let by_models: u64 = snapshot.models.iter().map(|model| model.ok).sum();
    let by_routes: u64 = snapshot.routes.iter().map(|route| route.ok).sum();
    assert_eq!([by_keys, by_models], [by_routes; 2]);
    let usage: u64 = snapshot.keys.iter().map(|key| key.usage.total()).sum();
    assert_eq!(usage, snapshot.spend.usage.total());
}

/// While nothing is in flight: every number of the snapshot is the record's, and the drawn dashboard shows it.
async fn assert_matches_record(handle: &EngineHandle, snapshot: &Snapshot, run: &Path) {
    // The record's summary has no live state and measures time by the wall clock, so both are left out.
    let without_state_and_times = |mut summary: Summary| {
        (summary.run, summary.state, summary.elapsed_s) = (String::new(), String::new(), 0.0);
        summary.place = None;
        summary.models.retain(|model| model.ok + model.failed > 0);
        for key in &mut summary.keys {
            key.state = String::new();
            key.health = 0;
        }
        summary.keys.retain(|key| key.ok + key.failed > 0);
        summary.keys.sort_by(|a, b| a.name.cmp(&b.name));
        summary.models.sort_by(|a, b| a.name.cmp(&b.name));
        summary
    };
    assert_eq!(
        without_state_and_times(Summary::from(snapshot)),
        without_state_and_times(report::load_summary(run).unwrap())
    );
    let totals = snapshot.totals;
    let lists = [
        (None, totals.total),
        (Some(ItemState::Waiting), totals.waiting),
        (Some(ItemState::InFlight), totals.in_flight),
        (Some(ItemState::Done), totals.done),
        (Some(ItemState::Failed), totals.failed),
    ];
    for (state, count) in lists {
        let filter = ItemFilter { state, text: String::new() };
        let page = handle.query(Query::Items { filter, offset: 0, limit: 10 }).await.unwrap();
        assert!(matches!(page, Page::Items { matching, .. } if matching == count), "{state:?}: {count}, {page:?}");
    }
    let page = handle.query(Query::Failures { filter: ReplayFilter::default() }).await.unwrap();
    let Page::Failures { groups, matching, .. } = page else { panic!("{page:?}") };
    assert_eq!((matching, groups.iter().map(|group| group.count).sum::<u64>()), (totals.failed, totals.failed));
    for group in groups {
        let alone = handle.query(Query::Failures { filter: group.replay_filter() }).await.unwrap();
        assert_eq!(
            alone,
            Page::Failures { matching: group.count, groups: vec![group], outdated: false },
            "a group's filter is the group"
        );
    }
    let text = render(snapshot);
    for words in [
        format!("{} / {}  ", totals.done + totals.failed, totals.total),
        format!("{} failed", totals.failed),
        format!("in flight {}/{}", totals.in_flight, snapshot.max_in_flight),
        format!("429s: {} of {}", totals.rate_limited, totals.attempts),
    ] {
        assert!(text.contains(&words) || totals.attempts > 999, "{words:?} is not on the screen:\n{text}");
    }
}

fn render(snapshot: &Snapshot) -> String {
    let theme = Theme::load(None, ColourDepth::Mono).unwrap();
    let state = State::new(theme, false, TimeZone::UTC, (120, 36).into(), snapshot);
    let mut terminal = Terminal::new(TestBackend::new(120, 36)).unwrap();
    terminal.draw(|frame| draw(frame, &state, snapshot)).unwrap();
    terminal.backend().to_string()
}

fn is_idle(snapshot: &Snapshot) -> bool {
    (snapshot.state == RunState::Paused || snapshot.state.is_over()) && snapshot.totals.in_flight == 0
}

async fn random_run(seed: u64) {
    let home = tempfile::tempdir().unwrap();
    let run = home.path().join("run");
    let simulator = Simulator::start(Profile::from_toml(FAULTY_PROFILE).unwrap(), Clock::real()).await.unwrap();
    let RunningEngine { mut handle, task, .. } = start(home.path(), &simulator, seed).await;
    let mut rng = Rng::with_seed(seed);
    wait_for_snapshot(&mut handle, "everything is read", |snapshot| {
        !snapshot.totals.ingesting && snapshot.totals.done > 20
    })
    .await;
    for number in 1..=COMMANDS {
        // Some commands are rejected with a message, which is fine here.
        let _ = handle.send_command(random_command(&mut rng)).await;
        for _ in 0..rng.u32(..3) {
            let _ = tokio::time::timeout(Duration::from_millis(200), handle.snapshots.changed()).await;
            assert_sums_agree(&handle.snapshot());
        }
        if number % 12 == 0 {
            let _ = handle.send_command(Command::Pause).await;
            let snapshot = wait_for_snapshot(&mut handle, "everything has landed", is_idle).await;
            assert_matches_record(&handle, &snapshot, &run).await;
        }
    }
    for key in KEYS {
        let _ = handle.send_command(Command::SetKey { key: key.to_owned(), on: true }).await;
        for model in MODELS {
            let (key, model) = (key.to_owned(), model.to_owned());
            let _ = handle.send_command(Command::SetRoute { key, model, on: true }).await;
        }
    }
    for model in MODELS {
        let _ = handle.send_command(Command::SetModel { model: model.to_owned(), on: true }).await;
    }
    handle.send_command(Command::SetMaxInFlight { max_in_flight: 16 }).await.unwrap();
    handle.send_command(Command::Resume).await.unwrap();
    let snapshot = wait_for_snapshot(&mut handle, "the end", |snapshot| snapshot.state == RunState::Finished).await;
    assert_eq!(snapshot.totals.done + snapshot.totals.failed, ITEMS);
    assert_matches_record(&handle, &snapshot, &run).await;
    handle.send_command(Command::Drain).await.unwrap();
    assert_eq!(task.await.unwrap(), engine::RunOutcome::Finished);
    let audit = audit::audit(&run, None).unwrap();
    assert!(audit.is_ok(), "{audit:#?}");
    let books = simulator.stats();
    assert_eq!(books.discrepancies(), [""; 0]);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_match_the_record_under_random_commands() {
    for seed in [11, 12, 13] {
        random_run(seed).await;
    }
}
