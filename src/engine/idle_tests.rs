//! The engine's loop costs nothing while it waits, whatever it waits for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    captions::Trouble,
    handle::{Handle, Order},
    sharing::Sharing,
    tests::{KEYS, prepared_on},
};
use crate::{
    clock::Clock,
    domain::{Command, Snapshot, snapshot::RunState},
};

/// More turns than this in [`WATCHED`] are a loop that spins: one that does makes tens of thousands.
const MAX_TURNS: u64 = 12;
const WATCHED: Duration = Duration::from_millis(1_500);
/// Before that, what is due in a minute or a day of the case's fast clock becomes overdue.
const SETTLING: Duration = Duration::from_millis(1_500);

/// A run to watch: one model on a fast clock, so that what is due in a minute is overdue when its loop is
/// looked at.
struct Case {
    /// Somebody is at the screen, so that the run rests at its end instead of ending.
    attended: bool,
    /// Requests that the provider answers; it is silent to the others.
    answered: usize,
    /// Settings of the model.
    limits: &'static str,
    /// The provider states a limit of three requests a minute, which are used up.
    states_limit: bool,
    more_keys: &'static str,
    items: u64,
    /// So many times faster than real time the program's clock runs.
    speed: f64,
    /// Sent once the run has come to what is waited for.
    command: Option<Command>,
    /// The disk is full from then on.
    disk_full: bool,
    /// The daily ledger never answers, so that what was asked of it stays to be said.
    ledger_is_silent: bool,
}

/// A second key, with limits of its own, and one request at a time: it takes over while the first one's minute is used up, so that a wakeup is pending
/// when the last answer comes.
const BOB: &str = "
[[key]]
name = 'bob'
provider = 'nobody'
secret = 'sk-of-bob'

[policy]
in_flight = 1
";

impl Default for Case {
    fn default() -> Self {
        Self {
            attended: false,
            answered: usize::MAX,
            limits: "rpm = 3",
            states_limit: false,
            more_keys: "",
            items: 4_000,
            speed: 60.0,
            command: None,
            disk_full: false,
            ledger_is_silent: false,
        }
    }
}

/// A provider that answers so many requests and is silent to the others; its address.
async fn provider(answered: usize, states_limit: bool) -> String {
    let body = r#"{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}"#;
    let requests = Arc::new(AtomicUsize::new(0));
    let answer = move || {
        let requests = Arc::clone(&requests);
        async move {
            if requests.fetch_add(1, Ordering::Relaxed) >= answered {
                std::future::pending::<()>().await;
            }
            let limit = [
                ("x-ratelimit-limit-requests", "3"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "60s"),
            ];
            let limit: &[(&str, &str)] = if states_limit { &limit } else { &[] };
            let headers = limit.iter().chain(&[("content-type", "application/json")]);
            let mut response = axum::response::Response::builder();
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(axum::body::Body::from(body)).unwrap()
        }
    };
    let router = axum::Router::new().fallback(axum::routing::any(answer));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

impl Case {
    /// Runs until `reached` and asserts that the loop makes few turns from then on.
    async fn sleeps_once(self, reached: impl Fn(&Snapshot) -> bool) {
        let home = tempfile::tempdir().unwrap();
        let keys = KEYS.replace("127.0.0.1:9", &provider(self.answered, self.states_limit).await).replacen(
            "name = 'm'\n",
            &format!("name = 'm'\n{}\n", self.limits),
            1,
        ) + self.more_keys;
        let clock = if self.speed > 1.0 { Clock::sped_up(self.speed) } else { Clock::real() };
        let (mut engine, mut channels, handle) = prepared_on(&home, self.items, &keys, clock, !self.attended);
        let (_ledger, days) = tokio::sync::mpsc::channel(1);
        if self.ledger_is_silent {
            engine.sharing = Sharing::bereft();
            engine.scheduler.share_days();
            channels.days = days;
        }
        let turns = Arc::clone(&engine.turns);
        let faults = engine.complaints.clone();
        let running = tokio::spawn(engine.run(channels));
        let mut snapshots = handle.snapshots.clone();
        let state = snapshots.wait_for(|snapshot| reached(snapshot));
        let state = tokio::time::timeout(Duration::from_secs(30), state).await;
        drop(state.unwrap_or_else(|_| panic!("never came to that: {:?}", handle.snapshot().state)).unwrap());
        if let Some(command) = self.command {
            send(&handle, command).await;
        }
        if self.disk_full {
            faults.send(Trouble::Holds("the disk is full".to_owned())).await.unwrap();
        }
        tokio::time::sleep(SETTLING).await;
        let before = turns.load(Ordering::Relaxed);
        tokio::time::sleep(WATCHED).await;
        let turned = turns.load(Ordering::Relaxed) - before;
        assert!(!running.is_finished(), "the loop has ended");
        running.abort();
        assert!(turned <= MAX_TURNS, "{turned} turns in {WATCHED:?}");
    }
}

async fn send(handle: &Handle, command: Command) {
    let (reply, answer) = tokio::sync::oneshot::channel();
    handle.orders.send(Order { command, reply }).await.unwrap();
    answer.await.unwrap().unwrap();
}

fn is_finished(snapshot: &Snapshot) -> bool {
    matches!(snapshot.state, RunState::Finished)
}

#[tokio::test]
async fn a_finished_run_whose_wakeups_are_overdue_sleeps() {
    let case = Case { attended: true, items: 5, more_keys: BOB, ..Case::default() };
    case.sleeps_once(is_finished).await;
}

#[tokio::test]
async fn a_finished_run_with_a_learned_limit_sleeps() {
    let case = Case { attended: true, items: 5, limits: "", states_limit: true, more_keys: BOB, ..Case::default() };
    case.sleeps_once(is_finished).await;
}

#[tokio::test]
async fn a_run_that_rests_until_tomorrow_sleeps() {
    let case = Case { attended: true, items: 9, limits: "rpm = 3\nrpd = 6", speed: 100_000.0, ..Case::default() };
    case.sleeps_once(|snapshot| matches!(snapshot.state, RunState::Stopped { .. })).await;
}

#[tokio::test]
async fn a_paused_run_whose_wakeups_are_overdue_sleeps() {
    let case = Case { command: Some(Command::Pause), ..Case::default() };
    case.sleeps_once(|snapshot| snapshot.totals.done >= 3).await;
}

#[tokio::test]
async fn a_held_run_whose_wakeups_are_overdue_sleeps() {
    let case = Case { disk_full: true, ..Case::default() };
    case.sleeps_once(|snapshot| snapshot.totals.done >= 3).await;
}

#[tokio::test]
async fn a_draining_run_whose_wakeups_are_overdue_sleeps() {
    let case = Case { answered: 3, items: 5, more_keys: BOB, command: Some(Command::Drain), ..Case::default() };
    case.sleeps_once(|snapshot| snapshot.totals.done == 3 && snapshot.totals.in_flight == 1).await;
}

#[tokio::test]
async fn a_run_that_waits_for_silent_calls_sleeps() {
    let case = Case { answered: 3, items: 5, more_keys: BOB, ..Case::default() };
    case.sleeps_once(|snapshot| snapshot.totals.done == 3 && snapshot.totals.in_flight == 1).await;
}

#[tokio::test]
async fn a_run_that_waits_for_a_minute_sleeps() {
    let case = Case { items: 9, speed: 1.0, ..Case::default() };
    case.sleeps_once(|snapshot| matches!(snapshot.state, RunState::Waiting { .. })).await;
}

#[tokio::test]
async fn a_run_whose_ledger_is_silent_sleeps() {
    let case = Case { limits: "rpm = 3\nrpd = 1000", ledger_is_silent: true, ..Case::default() };
    case.sleeps_once(|snapshot| snapshot.totals.total > 0).await;
}
