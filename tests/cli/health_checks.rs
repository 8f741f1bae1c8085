//! Health checks: the free requests that ask a provider whether it responds, against a server that logs them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cascadeck::{
    clock::Clock,
    domain::{ItemSpec, Money, Request as DomainRequest},
    engine::{InputRows, RunOutcome},
    headless::{ProgressOptions, Reporter, progress::progress_line},
};
use jiff::tz::TimeZone;
use serde_json::json;

use super::{RUN_ARGS, minute_limits::start_engine};
use crate::harness::{
    TestMachine, addition_rows,
    logging_server::{LoggingServer, Request, Response},
    wait_until,
};

/// A server that responds with 503 to every request while it is down.
struct Server {
    is_down: Arc<AtomicBool>,
    log: LoggingServer,
}

impl Server {
    fn start() -> Self {
        let is_down = Arc::new(AtomicBool::new(false));
        let down = Arc::clone(&is_down);
        let log = LoggingServer::start(move |request| {
            if down.load(Ordering::SeqCst) {
                Response::json(503, &json!({"error": {"message": "the model is overloaded"}}))
            } else if request.is_completion() {
                Response::openai("yes")
            } else {
                Response::json(200, &json!({"object": "list", "data": [{"id": "m", "object": "model"}]}))
            }
        });
        Self { is_down, log }
    }

    /// A keys.toml with one circuit that opens at the first error, for an hour. `provider` is added to its table.
    fn keys_toml(&self, provider: &str) -> String {
        let keys = self.log.keys_toml("").replacen("[[model]]", &format!("{provider}\n[[model]]"), 1);
        keys + "[policy]\nbreaker_after = 1\nbreaker_open = \"1h\"\nbreaker_max = \"1h\"\nin_flight = 1\n"
    }

    fn is_health_check(path: &str) -> impl Fn(&Request) -> bool {
        move |request| request.method == "GET" && request.path == path
    }

    fn count(&self, path: &str) -> usize {
        self.log.requests().into_iter().filter(Self::is_health_check(path)).count()
    }
}

#[test]
fn a_provider_that_responds_again_is_tried_at_once() {
    let server = Server::start();
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml("health_interval = \"1s\""));
    machine.write("batch.jsonl", addition_rows(3));
    server.is_down.store(true, Ordering::SeqCst);
    let mut running = machine.start(&[&RUN_ARGS[..], &["--no-check"]].concat());
    running.wait_for_line("does not respond to its health check: HTTP 503");
    let failed = server.log.completions().len();
    wait_until("a second check of the provider that is down", || server.count("/v1/models") >= 2);
    assert_eq!(server.log.completions().len(), failed, "no request is sent while the circuit is open");
    server.is_down.store(false, Ordering::SeqCst);
    // Without the health check, the circuit would stay open for an hour.
    running.wait().expect_status(0);
    assert_eq!(machine.status("runs/batch")["done"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_asked_at_the_path_of_its_settings_while_no_item_waits() {
    let server = Server::start();
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml("health = \"/up/health\"\nhealth_interval = \"1s\""));
    let (running, rows) = start_engine(&machine, Clock::real(), 1).await;
    wait_until("two health checks", || server.count("/up/health") >= 2);
    assert_eq!(server.count("/v1/models"), 0);
    rows.send(InputRows::End).await.unwrap();
    assert_eq!(running.task.await.unwrap(), RunOutcome::Finished);
    assert_eq!(server.log.completions().len(), 1, "a health check is no paid request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_accepts_and_stays_silent_is_reported_and_its_health_asked() {
    let (answer_tx, answer_rx) = std::sync::mpsc::channel::<()>();
    let answer_rx = std::sync::Mutex::new(answer_rx);
    let log = LoggingServer::start(move |request| {
        if request.is_completion() {
            // Silent until the test drops its end.
            let _ = answer_rx.lock().unwrap().recv();
            Response::openai("yes")
        } else {
            Response::json(200, &json!({"object": "list", "data": [{"id": "m", "object": "model"}]}))
        }
    });
    let machine = TestMachine::new();
    let policy = "[policy]\nidle_timeout = \"2h\"\ntotal_timeout = \"2h\"\n";
    machine.write_keys_toml(&(log.keys_toml("") + policy));
    // Half a minute takes half a second.
    let (running, rows) = start_engine(&machine, Clock::with_speed(60.0), 3).await;
    wait_until("the silence", || running.handle.snapshot().silence.is_some());
    let snapshot = running.handle.snapshot();
    let silence = snapshot.silence.as_ref().unwrap();
    assert!(silence.starts_with("no answer from p for ") && silence.contains(" in flight)"), "{silence}");
    assert!(progress_line(&snapshot, &TimeZone::UTC).ends_with(silence));
    let sent = log.completions().len();
    wait_until("a health check", || log.requests().iter().any(Server::is_health_check("/v1/models")));
    assert_eq!(log.completions().len(), sent, "the provider is never asked with a paid request");
    let events = &running.handle.snapshot().events;
    let reports = events.iter().filter(|event| event.kind.to_string().starts_with("no answer from p")).count();
    assert_eq!(reports, 1);
    drop(answer_tx);
    rows.send(InputRows::End).await.unwrap();
    assert_eq!(running.task.await.unwrap(), RunOutcome::Finished);
    assert_eq!(running.handle.snapshot().silence, None);
}

/// The provider loses the requests of a while: they are never answered, not even after it has recovered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_a_provider_has_lost_are_asked_again_once_it_answers_newer_ones() {
    const ITEMS: u64 = 24;
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&is_silent);
    let log = LoggingServer::start(move |request| {
        if !request.is_completion() {
            return Response::json(200, &json!({"object": "list", "data": [{"id": "m", "object": "model"}]}));
        }
        while silent.load(Ordering::SeqCst) {
            // The request is lost, even if the provider answers again.
            std::thread::sleep(std::time::Duration::from_secs(600));
        }
        Response::openai("yes")
    });
    let machine = TestMachine::new();
    let policy = "[policy]\nidle_timeout = \"2h\"\ntotal_timeout = \"2h\"\nin_flight = 4\n";
    let price = "max_output = 100\nusd_per_mtok = { input = 1.0, output = 2.0 }";
    machine.write_keys_toml(&(log.keys_toml(price) + policy));
    let (running, rows) = start_engine(&machine, Clock::with_speed(60.0), ITEMS / 2).await;
    wait_until("the first answers", || running.handle.snapshot().totals.done == ITEMS / 2);
    is_silent.store(true, Ordering::SeqCst);
    let more = (ITEMS / 2 + 1..=ITEMS).map(|number| ItemSpec {
        id: format!("late-{number}"),
        request: DomainRequest::from_prompt("1 + 1"),
        request_hash: format!("{number:032x}"),
        line: number,
        ..ItemSpec::default()
    });
    rows.send(InputRows::Batch(more.collect())).await.unwrap();
    rows.send(InputRows::End).await.unwrap();
    let mut reporter = Reporter::new(ProgressOptions { zone: TimeZone::UTC, ..ProgressOptions::default() });
    let mut lines = Vec::new();
    let mut snapshots = running.handle.snapshots.clone();
    while !running.task.is_finished() {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        lines.extend(reporter.update(std::time::Instant::now(), &snapshot));
        if lines.iter().any(|line| line.contains("asked again as a trial")) {
            is_silent.store(false, Ordering::SeqCst);
        }
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), snapshots.changed()).await;
    }
    assert_eq!(running.task.await.unwrap(), RunOutcome::Finished);
    let snapshot = running.handle.snapshot();
    assert_eq!((snapshot.totals.done, snapshot.totals.failed), (ITEMS, 0));
    // Each of the requests that were lost may have been billed.
    let lost = snapshot.totals.attempts - ITEMS;
    assert!((4..=8).contains(&lost), "{lost} requests given up");
    assert!(snapshot.spend.at_risk > Money::ZERO, "{:?}", snapshot.spend);
    let at = |words: &str| {
        lines.iter().position(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?} in {lines:#?}"))
    };
    let silence = at("warn   no answer from p for ");
    let trial = at("but responds to its health check: the oldest request (#");
    let recovered = at("p recovered: it answers again after ");
    let given_up = at("from before its silence given up without an answer, possibly billed, and asked again");
    assert!(silence < trial && trial < recovered && recovered < given_up, "{lines:#?}");
}

#[test]
fn a_provider_whose_checks_are_off_is_never_asked() {
    let server = Server::start();
    let machine = TestMachine::new();
    let keys = server.keys_toml("health = \"off\"\nhealth_interval = \"1s\"").replace("\"1h\"", "\"4s\"");
    machine.write_keys_toml(&keys);
    machine.write("batch.jsonl", addition_rows(1));
    server.is_down.store(true, Ordering::SeqCst);
    let mut running = machine.start(&[&RUN_ARGS[..], &["--no-check"]].concat());
    running.wait_for_line("cooling down");
    server.is_down.store(false, Ordering::SeqCst);
    running.wait().expect_status(0);
    assert_eq!(server.log.requests().len(), server.log.completions().len());
}

#[test]
fn a_health_setting_that_is_neither_a_word_nor_a_path_is_refused() {
    let machine = TestMachine::new();
    let server = LoggingServer::openai("yes");
    for (setting, message) in [
        ("health = \"health\"", "health must be \"models\", \"off\" or a path like \"/health\""),
        ("health = \"/health?a=1\"", "health must be \"models\", \"off\" or a path like \"/health\""),
        ("health_interval = \"10ms\"", "health_interval must be at least \"1s\""),
    ] {
        machine.write_keys_toml(&server.keys_toml("").replacen("[[model]]", &format!("{setting}\n[[model]]"), 1));
        machine.cascadeck(&["check"]).expect_status(2).assert_stderr_contains(&["keys.toml:", message]);
    }
}
