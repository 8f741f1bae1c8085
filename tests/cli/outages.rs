//! Outages as the operator sees them, and what the operator can do about what is left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cascadeck::{
    clock::Clock,
    domain::{Command, Money, snapshot::Condition},
    engine::{InputRows, RunOutcome},
    headless::{ProgressOptions, Reporter},
};
use jiff::tz::TimeZone;
use serde_json::json;

use super::minute_limits::start_engine;
use crate::harness::{
    TestMachine,
    logging_server::{LoggingServer, Response},
    wait_until,
};

/// A server whose completions fail with 503 while it is down; so does its list of models.
fn server(is_down: &Arc<AtomicBool>) -> LoggingServer {
    let down = Arc::clone(is_down);
    LoggingServer::start(move |request| {
        if down.load(Ordering::SeqCst) {
            Response::json(503, &json!({"error": {"message": "the model is overloaded"}}))
        } else if request.is_completion() {
            Response::openai("yes")
        } else {
            Response::json(200, &json!({"object": "list", "data": [{"id": "m", "object": "model"}]}))
        }
    })
}

/// A second key, so that the provider has two routes.
const SECOND_KEY: &str = "[[key]]\nname = \"bob\"\nprovider = \"p\"\nsecret = \"sk-bob-0123456789\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_one_state_and_few_events() {
    const ITEMS: u64 = 400;
    let is_down = Arc::new(AtomicBool::new(true));
    let log = server(&is_down);
    let machine = TestMachine::new();
    machine.write_keys_toml(&(log.keys_toml("") + SECOND_KEY));
    // A minute takes a quarter of a second.
    let (running, rows) = start_engine(&machine, Clock::with_speed(240.0), ITEMS).await;
    rows.send(InputRows::End).await.unwrap();
    wait_until("the outage", || !running.handle.snapshot().outages.is_empty());
    let mut reporter = Reporter::new(ProgressOptions {
        progress_interval: Duration::from_millis(100),
        zone: TimeZone::UTC,
        ..ProgressOptions::default()
    });
    let mut lines = Vec::new();
    let mut snapshots = running.handle.snapshots.clone();
    let mut was_seen_down = false;
    while !running.task.is_finished() {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        lines.extend(reporter.update(Instant::now(), &snapshot));
        for outage in &snapshot.outages {
            assert_eq!((outage.provider.as_str(), outage.fault.as_str(), outage.routes), ("p", "HTTP 503", 2));
            assert_eq!((snapshot.throughput.finish_at, &snapshot.forecast), (None, &None), "no ETA and no advice");
            assert!(snapshot.cooldowns.iter().all(|cooldown| cooldown.subject == "p"), "{:?}", snapshot.cooldowns);
            assert!(snapshot.keys.iter().all(|key| key.health == 100), "{:?}", snapshot.keys);
        }
        let lasts = snapshot.outages.first().map(|outage| snapshot.at.since(outage.since));
        if lasts.is_some_and(|lasts| lasts > Duration::from_secs(600)) {
            was_seen_down = true;
            is_down.store(false, Ordering::SeqCst);
        }
        let _ = tokio::time::timeout(Duration::from_millis(50), snapshots.changed()).await;
    }
    assert!(was_seen_down);
    assert_eq!(running.task.await.unwrap(), RunOutcome::Finished);
    let snapshot = running.handle.snapshot();
    assert_eq!((snapshot.totals.done, snapshot.totals.failed), (ITEMS, 0));
    assert!(snapshot.outages.is_empty());
    let events = snapshot.events.iter().filter(|event| event.kind.to_string().contains("overloaded")).count();
    assert!(events <= 12, "{events} events: {:#?}", snapshot.events);
    let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(count("warn   PROVIDER DOWN p: HTTP 503 on 2 of 2 routes"), 1, "{lines:#?}");
    assert!(count("PROVIDER DOWN p: HTTP 503 on 2 of 2 routes since ") > 1, "{lines:#?}");
    assert!(count("ETA unknown: provider down") > 1, "{lines:#?}");
    assert_eq!(count("p recovered: it answers again after "), 1, "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_gives_up_on_what_is_left() {
    const ITEMS: u64 = 3_000;
    // The completions are never answered.
    let log = LoggingServer::start(|request| {
        if request.is_completion() {
            std::thread::sleep(Duration::from_secs(600));
        }
        Response::json(200, &json!({"object": "list", "data": [{"id": "m", "object": "model"}]}))
    });
    let machine = TestMachine::new();
    let price = "max_output = 100\nusd_per_mtok = { input = 1.0, output = 2.0 }";
    machine.write_keys_toml(&(log.keys_toml(price) + "[policy]\nin_flight = 4\n"));
    let (running, rows) = start_engine(&machine, Clock::real(), ITEMS).await;
    rows.send(InputRows::End).await.unwrap();
    wait_until("requests in flight", || running.handle.snapshot().attempts_in_flight.len() == 4);
    let snapshot = running.handle.snapshot();
    let [first, second, ..] = &snapshot.attempts_in_flight[..] else { unreachable!() };
    let break_off = Command::BreakOff { item_id: first.item_id.clone() };
    let reply = running.handle.send_command(break_off).await.unwrap();
    assert!(reply.contains("broken off, which may have been billed"), "{reply}");
    let give_up = Command::GiveUp { item_ids: Some(vec![second.item_id.clone()]) };
    running.handle.send_command(give_up.clone()).await.unwrap();
    wait_until("the item has failed", || running.handle.snapshot().totals.failed == 1);
    let refused = running.handle.send_command(give_up).await.unwrap_err();
    assert!(refused.contains("has ended"), "{refused}");
    // The others wait, back off, are in flight, or are not loaded yet.
    running.handle.send_command(Command::GiveUp { item_ids: None }).await.unwrap();
    assert_eq!(running.task.await.unwrap(), RunOutcome::Finished);
    let snapshot = running.handle.snapshot();
    assert_eq!((snapshot.totals.done, snapshot.totals.failed), (0, ITEMS));
    assert!(snapshot.spend.at_risk > Money::ZERO);
    assert!(snapshot.keys.iter().all(|key| key.failed == 0 && matches!(key.condition, Condition::Ready)));
    let results = std::fs::read_to_string(machine.path("run/results.jsonl")).unwrap();
    assert_eq!(results.lines().filter(|line| line.contains(r#""outcome":"given_up""#)).count() as u64, ITEMS);
    let audit = machine.cascadeck(&["audit", "run"]);
    assert_eq!(audit.status.code(), Some(0), "{}{}", audit.stdout, audit.stderr);
}
