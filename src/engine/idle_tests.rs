//! Tests that the engine's loop sleeps while it waits, whatever it waits for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    handle::EngineHandle,
    lease_client::LeaseClient,
    messages::{CommandRequest, DiskFault},
    tests::{KEYS, prepare_run_on_clock},
};
use crate::{
    clock::Clock,
    domain::{
        Command, Snapshot, WallTime,
        lease::{LeaseGrant, LeaseRequest},
        snapshot::RunState,
    },
};

/// More ticks than this in [`WATCH_TIME`] mean that the loop spins; a spinning loop makes tens of thousands.
const MAX_TICKS: u64 = 12;
const WATCH_TIME: Duration = Duration::from_millis(1_500);
/// Time before the loop is watched. Timers of a minute or a day become overdue in it, since the case's clock is fast.
const SETTLE_TIME: Duration = Duration::from_millis(1_500);

/// The start of a day, 2026-11-20 00:00:01 UTC, so that leases of that day do not expire during the test.
const MORNING: WallTime = WallTime(1_795_132_801_000_000);

/// Timers that become due while the loop is watched, in addition to the scheduler's wakeups.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Wakeups,
    /// The ledger has granted a few requests and has not answered since, so that requests to it stay queued.
    Leases,
    /// The provider states a limit of three requests a minute, which are used up.
    LearnedLimits,
}

/// A run to watch: one model on a fast clock, so that a timer of a minute is overdue when the loop is watched.
struct Case {
    /// An operator is present, so the run goes idle at its end instead of closing.
    is_attended: bool,
    /// Number of requests that the provider answers; further ones get no response.
    answered_requests: usize,
    /// Limits in the settings of the model.
    limits: &'static str,
    /// The timers that become due while the loop is watched.
    pending: Pending,
    more_keys: &'static str,
    items: u64,
    /// How many times faster than real time the program's clock runs.
    speed: f64,
    /// Sent once the awaited state is reached.
    command: Option<Command>,
    /// A full disk is reported once the awaited state is reached.
    disk_full: bool,
    /// Number of requests that the ledger has granted; used with [`Pending::Leases`] only.
    granted_requests: u64,
}

/// A second key with limits of its own, and one request at a time. It takes over while the first key's minute is used
/// up, so that a wakeup is pending when the last answer arrives.
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
            is_attended: false,
            answered_requests: usize::MAX,
            limits: "rpm = 3",
            pending: Pending::Wakeups,
            more_keys: "",
            items: 4_000,
            speed: 60.0,
            command: None,
            disk_full: false,
            granted_requests: 4,
        }
    }
}

/// Starts a provider that answers this many requests and no others. Returns its address.
async fn start_provider(answered: usize, states_limit: bool) -> String {
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
    /// Runs until `reached`, then asserts that the loop makes few ticks.
    async fn assert_sleeps_after(self, reached: fn(&Snapshot) -> bool) {
        let home = tempfile::tempdir().unwrap();
        let (case, states_limit) = (
            format!("{:?}, attended: {}", self.pending, self.is_attended),
            matches!(self.pending, Pending::LearnedLimits),
        );
        let limits = match self.pending {
            Pending::Wakeups => self.limits.to_owned(),
            Pending::Leases => format!("{}\nrpd = 1000", self.limits),
            Pending::LearnedLimits => self.limits.replace("rpm = 3", ""),
        };
        let keys = KEYS.replace("127.0.0.1:9", &start_provider(self.answered_requests, states_limit).await).replacen(
            "name = 'm'\n",
            &format!("name = 'm'\n{limits}\n"),
            1,
        ) + self.more_keys;
        let clock = if self.speed > 1.0 { Clock::starting_at(MORNING, self.speed) } else { Clock::real() };
        let (mut engine, mut channels, handle) =
            prepare_run_on_clock(&home, self.items, &keys, clock, !self.is_attended);
        let (_ledger, lease_replies) = tokio::sync::mpsc::channel(1);
        if matches!(self.pending, Pending::Leases) {
            engine.leases = LeaseClient::disconnected();
            engine.scheduler.share_daily_quotas();
            channels.lease_replies = lease_replies;
            let now = clock.now();
            for LeaseRequest { pool, unit, period_end, .. } in engine.scheduler.lease_requests(now) {
                let (granted, total_used) = (self.granted_requests, self.granted_requests);
                engine.scheduler.apply_lease_grant(
                    now,
                    &LeaseGrant {
                        pool,
                        unit,
                        period_end,
                        granted,
                        total_used,
                        available_at: None,
                        exhausted_until: None,
                    },
                );
            }
        }
        let ticks = Arc::clone(&engine.ticks);
        let faults = engine.captions.fault_tx();
        let running = tokio::spawn(engine.run(channels));
        let mut snapshots = handle.snapshots.clone();
        let state = snapshots.wait_for(|snapshot| reached(snapshot));
        let state = tokio::time::timeout(Duration::from_secs(30), state).await;
        drop(state.unwrap_or_else(|_| panic!("{case}: never came to that: {:?}", handle.snapshot().state)).unwrap());
        if let Some(command) = self.command {
            send(&handle, command).await;
        }
        if self.disk_full {
            faults.send(DiskFault::Blocking("the disk is full".to_owned())).await.unwrap();
        }
        tokio::time::sleep(SETTLE_TIME).await;
        let before = ticks.load(Ordering::Relaxed);
        tokio::time::sleep(WATCH_TIME).await;
        let ticked = ticks.load(Ordering::Relaxed) - before;
        assert!(!running.is_finished(), "{case}: the loop has ended");
        running.abort();
        assert!(ticked <= MAX_TICKS, "{case}: {ticked} turns in {WATCH_TIME:?}");
    }
}

/// Runs the case with every combination of `attended` and `pending`.
async fn assert_all_sleep_after(
    attended: &[bool],
    pending: &[Pending],
    case: impl Fn() -> Case,
    reached: fn(&Snapshot) -> bool,
) {
    let mut cases = tokio::task::JoinSet::new();
    for attended in attended {
        for pending in pending {
            cases.spawn(Case { is_attended: *attended, pending: *pending, ..case() }.assert_sleeps_after(reached));
        }
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

/// Runs with an operator and runs without.
const ATTENDED_AND_UNATTENDED: &[bool] = &[true, false];
/// Only runs with an operator. Without one the run would end in the awaited state.
const ATTENDED: &[bool] = &[true];

const ALL_PENDING: &[Pending] = &[Pending::Wakeups, Pending::Leases, Pending::LearnedLimits];

async fn send(handle: &EngineHandle, command: Command) {
    let (reply, answer) = tokio::sync::oneshot::channel();
    handle.command_tx.send(CommandRequest { command, stop_reason: None, reply }).await.unwrap();
    answer.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_finished_run_sleeps_whatever_is_overdue() {
    let case = || Case { items: 5, more_keys: BOB, ..Case::default() };
    assert_all_sleep_after(ATTENDED, ALL_PENDING, case, |snapshot| matches!(snapshot.state, RunState::Finished)).await;
}

#[tokio::test]
async fn a_run_stopped_by_its_daily_quota_sleeps() {
    // Leases are left out: a run with a pending lease waits for it and does not stop.
    let pending = &[Pending::Wakeups, Pending::LearnedLimits];
    let case = || Case { items: 9, limits: "rpm = 3\nrpd = 6", speed: 100_000.0, ..Case::default() };
    assert_all_sleep_after(ATTENDED, pending, case, |snapshot| matches!(snapshot.state, RunState::Stopped { .. }))
        .await;
}

#[tokio::test]
async fn a_paused_run_sleeps_whatever_is_overdue() {
    let case = || Case { command: Some(Command::Pause), ..Case::default() };
    assert_all_sleep_after(ATTENDED_AND_UNATTENDED, ALL_PENDING, case, |snapshot| snapshot.totals.done >= 3).await;
}

#[tokio::test]
async fn a_run_blocked_by_a_full_disk_sleeps_whatever_is_overdue() {
    let case = || Case { disk_full: true, ..Case::default() };
    assert_all_sleep_after(ATTENDED_AND_UNATTENDED, ALL_PENDING, case, |snapshot| snapshot.totals.done >= 3).await;
}

/// Whether three requests are answered and the fourth is in flight.
fn is_in_flight(snapshot: &Snapshot) -> bool {
    snapshot.totals.done == 3 && snapshot.totals.in_flight == 1
}

#[tokio::test]
async fn a_draining_run_sleeps_whatever_is_overdue() {
    let case =
        || Case { answered_requests: 3, items: 5, more_keys: BOB, command: Some(Command::Drain), ..Case::default() };
    assert_all_sleep_after(ATTENDED_AND_UNATTENDED, ALL_PENDING, case, is_in_flight).await;
}

#[tokio::test]
async fn a_run_that_waits_for_requests_without_response_sleeps() {
    let case = || Case { answered_requests: 3, items: 5, more_keys: BOB, ..Case::default() };
    assert_all_sleep_after(ATTENDED_AND_UNATTENDED, ALL_PENDING, case, is_in_flight).await;
}

#[tokio::test]
async fn a_run_that_waits_for_a_minute_limit_sleeps() {
    let case = || Case { items: 9, speed: 1.0, ..Case::default() };
    assert_all_sleep_after(ATTENDED_AND_UNATTENDED, ALL_PENDING, case, |snapshot| {
        matches!(snapshot.state, RunState::Waiting { .. })
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_ledger_has_granted_nothing_sleeps() {
    let case = || Case { granted_requests: 0, ..Case::default() };
    assert_all_sleep_after(ATTENDED_AND_UNATTENDED, &[Pending::Leases], case, |snapshot| snapshot.totals.total > 0)
        .await;
}
