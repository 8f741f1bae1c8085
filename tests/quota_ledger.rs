//! Two runs on one day, as two processes: the second knows the usage of the first.

use std::{
    path::Path,
    process::{Command, Output},
};

use cascadeck::{
    clock::Clock,
    sim::{Profile, Simulator},
};
use serde_json::Value;

/// Five requests a day. The day is rolling, so no reset happens during a test.
const FIVE_A_DAY_PROFILE: &str = r#"
name = "five-a-day"
latency = { median_ms = 20, spread = 0.1 }
provider = [{ name = "openai", api = "openai" }]
model = [{ name = "m", provider = "openai", rpd = 5, day = "rolling", usd_per_mtok = { input = 1.0, output = 1.0 } }]
[[key]]
name = "a"
provider = "openai"
project = "lab"
secret = "sk-sim-ledger"
"#;

fn cascadeck(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cascadeck"))
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("TZ", "UTC")
        .output()
        .expect("test")
}

fn run_batch(home: &Path, name: &str, rows: usize) -> Value {
    let input = format!("{name}.txt");
    let text = (0..rows).map(|row| format!("{name} {row}")).collect::<Vec<_>>().join("\n");
    std::fs::write(home.join(&input), text).expect("test");
    let output = cascadeck(home, &["run", &input, "--json", "--no-check"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {words}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_and_a_plan_count_what_the_first_run_used() {
    let home = tempfile::tempdir().unwrap();
    let profile = Profile::from_toml(FIVE_A_DAY_PROFILE).unwrap();
    let keys = profile.clone();
    let simulator = Simulator::start(profile, Clock::real()).await.unwrap();
    std::fs::write(home.path().join("keys.toml"), keys.keys_toml(simulator.addr())).unwrap();

    let path = home.path().to_owned();
    let (first, plan, second) = tokio::task::spawn_blocking(move || {
        let first = run_batch(&path, "first", 3);
        std::fs::write(path.join("next.txt"), "one\ntwo\nthree\nfour\n").unwrap();
        let plan = cascadeck(&path, &["plan", "next.txt", "--json"]);
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
        (first, plan, run_batch(&path, "second", 4))
    })
    .await
    .unwrap();

    assert_eq!((&first["done"], &first["waiting"]), (&3.into(), &0.into()));
    assert_eq!(plan["capacity"][0]["left_today"], 2.0);
    // Two of five are left. The other items are never sent, so the provider refuses nothing.
    assert_eq!((&second["done"], &second["waiting"]), (&2.into(), &2.into()), "{second}");
    assert_eq!(second["rate_limited"], 0);
    let ledger = home.path().join(".local/state/cascadeck/ledger.db");
    assert!(ledger.exists());
    let bytes = std::fs::read(ledger).unwrap();
    assert!(!bytes.windows(13).any(|window| window == b"sk-sim-ledger"), "no secret in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_can_not_be_opened_stops_nothing() {
    let home = tempfile::tempdir().unwrap();
    let profile = Profile::from_toml(FIVE_A_DAY_PROFILE).unwrap();
    let keys = profile.clone();
    let simulator = Simulator::start(profile, Clock::real()).await.unwrap();
    std::fs::write(home.path().join("keys.toml"), keys.keys_toml(simulator.addr())).unwrap();
    // A file in place of the folder.
    std::fs::create_dir_all(home.path().join(".local/state")).unwrap();
    std::fs::write(home.path().join(".local/state/cascadeck"), "in the way").unwrap();
    let path = home.path().to_owned();
    let summary = tokio::task::spawn_blocking(move || run_batch(&path, "alone", 3)).await.unwrap();
    assert_eq!(summary["done"], 3);
}
