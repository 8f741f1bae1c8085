//! Tests of the engine as a whole: failures of the store, the ledger, the input and the provider.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    event_loop::{Channels, Engine, Phase},
    handle::EngineHandle,
    journal::{Journal, WRITER_GONE_MESSAGE},
    lease_client::LeaseClient,
    messages::{CommandRequest, HealthCheckResult, RunOutcome},
    startup::{EngineSetup, prepare},
};
use crate::{
    checks::CheckFault,
    clock::Clock,
    config,
    domain::{
        CaptionRules, Command, EventKind, ItemSpec, Money, Outcome, ProviderId, ReplayFilter, Request, RouteTarget,
        Seq, snapshot::Condition,
    },
    output::ExistingCaptionPolicy,
    scheduler::LocalRejection,
    store::{ChangedRowPolicy, Op, PinnedSettings, RunDir, Store, StoreError, StoreWriter},
};

/// One key and one model at an address where nothing answers.
pub(super) const KEYS: &str = "
[[provider]]
name = 'nobody'
api = 'openai'
base_url = 'http://127.0.0.1:9/v1'

[[model]]
name = 'm'
provider = 'nobody'

[[key]]
name = 'alice'
provider = 'nobody'
secret = 'sk-of-alice'
";

fn item(number: u64) -> ItemSpec {
    ItemSpec {
        id: format!("item-{number}"),
        request: Request::from_prompt("What is it?"),
        request_hash: format!("{number:032x}"),
        line: number,
        ..ItemSpec::default()
    }
}

/// Prepares a run of `items` waiting items, before the engine's first tick.
fn prepare_run(home: &tempfile::TempDir, items: u64) -> (Engine, Channels) {
    prepare_run_with_keys(home, items, KEYS)
}

fn prepare_run_with_keys(home: &tempfile::TempDir, items: u64, keys: &str) -> (Engine, Channels) {
    let (engine, channels, _) = prepare_run_with_handle(home, items, keys);
    (engine, channels)
}

fn prepare_run_with_handle(home: &tempfile::TempDir, items: u64, keys: &str) -> (Engine, Channels, EngineHandle) {
    prepare_run_on_clock(home, items, keys, Clock::real(), true)
}

/// The same on a given clock, with an operator unless `is_unattended`.
pub(super) fn prepare_run_on_clock(
    home: &tempfile::TempDir,
    items: u64,
    keys: &str,
    clock: Clock,
    is_unattended: bool,
) -> (Engine, Channels, EngineHandle) {
    prepare_run_on_store(home, items, keys, clock, is_unattended, |_| {})
}

/// The same with a store that `change` modifies before the engine gets it.
pub(super) fn prepare_run_on_store(
    home: &tempfile::TempDir,
    items: u64,
    keys: &str,
    clock: Clock,
    is_unattended: bool,
    change: impl FnOnce(&mut Store),
) -> (Engine, Channels, EngineHandle) {
    fs::write(home.path().join("keys.toml"), keys).unwrap();
    let config = config::load(Some(&home.path().join("keys.toml")), &|_| None, home.path()).unwrap();
    let dir = RunDir::new(home.path().join("run"));
    let (mut store, mut opened) = Store::open(&dir, &PinnedSettings::default()).unwrap();
    let specs: Vec<ItemSpec> = (1..=items).map(item).collect();
    store.ingest(&specs, ChangedRowPolicy::Report).unwrap();
    store.accept_input("", items).unwrap();
    opened.totals = store.totals().unwrap();
    change(&mut store);
    let setup = EngineSetup {
        run_name: "run".to_owned(),
        config,
        clock,
        existing_captions: ExistingCaptionPolicy::Skip,
        caption_rules: CaptionRules::default(),
        is_unattended,
        seed: 1,
        flags: BTreeMap::new(),
        has_ephemeral_flags: false,
        key_checks: Vec::new(),
        ledger_path: None,
    };
    prepare(setup, &dir, store, opened, None).unwrap()
}

#[tokio::test]
async fn nothing_is_sent_while_results_can_not_be_written() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels) = prepare_run(&home, 4);
    // Until the group with the intents is submitted.
    loop {
        assert_eq!(engine.tick(), None);
        let has_intents = engine.journal.recorded.iter().any(|op| matches!(op, Op::RecordIntent(_)));
        if has_intents && !engine.journal.has_pending() {
            break;
        }
        tokio::select! {
            Some((class, batch)) = channels.loaded.recv() => engine.on_loaded(class, batch),
            Some(ack) = channels.acks.recv() => engine.apply_ack(ack),
        }
    }
    let mut ack = channels.acks.recv().await.unwrap();
    ack.after_commit_error = Some(StoreError::Closed);
    engine.apply_ack(ack);
    assert_eq!(engine.items.in_flight_count(), 0);
    let canceled = engine.journal.recorded.iter().filter(|op| matches!(op, Op::CancelIntent { .. })).count();
    assert!(canceled > 0, "the intents of the requests are taken back");
}

/// Handles a command. Its reply comes once everything is recorded.
fn give_command(engine: &mut Engine, command: Command) -> tokio::sync::oneshot::Receiver<Result<String, String>> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    engine.on_command(CommandRequest { command, stop_reason: None, reply });
    answer
}

/// Handles the acknowledgements of all that is recorded.
async fn record_all(engine: &mut Engine, channels: &mut Channels) {
    while !engine.journal.is_flushed() {
        engine.journal.flush();
        let ack = channels.acks.recv().await.unwrap();
        assert!(ack.result.is_ok(), "{:?}", ack.result);
        engine.apply_ack(ack);
    }
}

/// Number of items whose end as given up is recorded, or waits to be.
fn given_up_count(engine: &Engine) -> usize {
    let is_end = |op: &&Op| matches!(op, Op::EndLocally(end) if end.outcome == Outcome::GivenUp);
    engine.journal.recorded.iter().filter(is_end).count()
}

/// Loads all items and plans their requests, whose intents are submitted and not yet acknowledged.
async fn submit_intents(engine: &mut Engine, channels: &mut Channels, items: u64) {
    record_all(engine, channels).await;
    let loaded = engine.intake.loader().load((1..=items).map(Seq).collect()).await.unwrap();
    engine.on_loaded(0, Ok(loaded));
    assert_eq!(engine.tick(), None);
    let is_intent = |op: &&Op| matches!(op, Op::RecordIntent(_));
    let intents = engine.journal.recorded.iter().filter(is_intent).count();
    assert_eq!((intents as u64, engine.items.in_flight_count()), (items, 0));
}

#[tokio::test]
async fn an_item_that_is_given_up_before_its_intent_is_recorded_is_not_sent() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels) = prepare_run(&home, 2);
    submit_intents(&mut engine, &mut channels, 2).await;
    let give_up = Command::GiveUp { item_ids: Some(vec!["item-1".to_owned()]) };
    let mut answer = give_command(&mut engine, give_up);
    assert_eq!(given_up_count(&engine), 1, "its end is in the group of the reply");
    assert!(answer.try_recv().is_err(), "the end is not on disk");
    record_all(&mut engine, &mut channels).await;
    assert_eq!(answer.await.unwrap().unwrap(), "gave up on #item-1; 0 requests broken off");
    assert_eq!((engine.items.in_flight_count(), engine.stats.totals.failed), (1, 1));
    assert!(engine.items.find("item-1").is_none());
}

#[tokio::test]
async fn an_item_that_is_given_up_in_flight_is_not_queued_again() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels) = prepare_run(&home, 2);
    submit_intents(&mut engine, &mut channels, 2).await;
    let ack = channels.acks.recv().await.unwrap();
    engine.apply_ack(ack);
    assert_eq!(engine.items.in_flight_count(), 2);
    let answer = give_command(&mut engine, Command::GiveUp { item_ids: None });
    assert_eq!(given_up_count(&engine), 2);
    let is_fallback =
        |op: &Op| matches!(op, Op::RecordEvent(event) if matches!(event.kind, EventKind::Fallback { .. }));
    assert!(!engine.journal.recorded.iter().any(is_fallback));
    record_all(&mut engine, &mut channels).await;
    let message = answer.await.unwrap().unwrap();
    let want = "gave up on all items that remain; 2 requests broken off, which may have been billed";
    assert!(message.starts_with(want), "{message}");
    assert_eq!((engine.stats.totals.failed, engine.items.find("item-1")), (2, None));
}

#[tokio::test]
async fn an_idle_run_gives_up_items_and_is_finished() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels, _handle) = prepare_run_on_clock(&home, 200, KEYS, Clock::real(), false);
    record_all(&mut engine, &mut channels).await;
    engine.phase = Phase::Idle { run_outcome: RunOutcome::Stopped { reason: "the quota is spent".to_owned() } };
    let answer = give_command(&mut engine, Command::GiveUp { item_ids: None });
    record_all(&mut engine, &mut channels).await;
    let message = answer.await.unwrap().unwrap();
    assert!(message.ends_with("those that are not loaded yet follow, unless the program ends before"), "{message}");
    let replay = Command::Replay { filter: ReplayFilter::default(), target: None };
    let refused = give_command(&mut engine, replay.clone()).await.unwrap().unwrap_err();
    assert!(refused.contains("still being given up"), "{refused}");
    while engine.scheduler.unfinished_items() > 0 {
        assert_eq!(engine.tick(), None);
        tokio::select! {
            Some((class, batch)) = channels.loaded.recv() => engine.on_loaded(class, batch),
            Some(ack) = channels.acks.recv() => engine.apply_ack(ack),
        }
    }
    assert_eq!(given_up_count(&engine), 200);
    record_all(&mut engine, &mut channels).await;
    assert_eq!(engine.tick(), None);
    assert!(matches!(engine.phase, Phase::Idle { run_outcome: RunOutcome::Finished }), "{:?}", engine.phase);
    assert!(engine.apply(&replay).is_ok() && !engine.gives_up_rest, "all items have ended");
}

#[tokio::test]
async fn a_draining_run_gives_up_items_too() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels) = prepare_run(&home, 2);
    submit_intents(&mut engine, &mut channels, 2).await;
    engine.begin_drain(RunOutcome::Stopped { reason: "somebody said so".to_owned() });
    let answer = give_command(&mut engine, Command::GiveUp { item_ids: None });
    record_all(&mut engine, &mut channels).await;
    assert!(answer.await.unwrap().is_ok());
    assert_eq!(engine.stats.totals.failed, 2);
}

#[tokio::test]
async fn a_paused_run_gives_up_no_request_to_a_silent_provider() {
    static MICROS: AtomicU64 = AtomicU64::new(0);
    let home = tempfile::tempdir().unwrap();
    let clock = Clock::manual(crate::domain::WallTime(0), &MICROS);
    let keys = KEYS.replace("127.0.0.1:9", &silent_provider("").await);
    let (mut engine, mut channels, _handle) = prepare_run_on_clock(&home, 2, &keys, clock, false);
    submit_intents(&mut engine, &mut channels, 2).await;
    record_all(&mut engine, &mut channels).await;
    engine.set_paused(true);
    MICROS.store(60_000_000, Ordering::Relaxed);
    engine.tick();
    assert_eq!(engine.silence.longest(), Some(ProviderId(0)));
    engine.silence.make_trial_due(ProviderId(0));
    let responds = HealthCheckResult { provider: ProviderId(0), sent_at: engine.clock.now().mono, result: Ok(()) };
    engine.health_checks.on_result(responds);
    engine.tick();
    assert_eq!(engine.items.in_flight_count(), 2, "nothing could be asked again");
    engine.set_paused(false);
    engine.tick();
    assert_eq!(engine.items.in_flight_count(), 1);
}

#[tokio::test]
async fn a_writer_thread_that_panics_ends_the_run_with_its_reason() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels) = prepare_run(&home, 1);
    let (writer, acks) = StoreWriter::panicking();
    engine.journal = Journal::new(writer);
    channels.acks = acks;
    let run_outcome = tokio::time::timeout(Duration::from_secs(60), Box::pin(engine.run(channels))).await;
    assert_eq!(run_outcome.unwrap(), RunOutcome::Failed { reason: WRITER_GONE_MESSAGE.to_owned() });
}

#[tokio::test]
async fn no_end_is_foretold_before_the_first_answer() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels, handle) = prepare_run_with_handle(&home, 4_000, KEYS);
    // The first forecast was made before any item was queued.
    for _ in 0..2 {
        engine.forecaster.make_due();
        engine.tick();
        let forecast = channels.forecasts.recv().await.unwrap();
        engine.forecaster.on_forecast(forecast);
    }
    let published = |engine: &mut Engine| {
        engine.publish(engine.clock.now());
        let snapshot = handle.snapshot();
        (snapshot.throughput.finish_at.is_some(), snapshot.forecast.is_some())
    };
    assert_eq!(published(&mut engine), (false, false));
    engine.stats.totals.done = 1;
    assert_eq!(published(&mut engine), (true, true));
    engine.check_fault = Some(CheckFault { message: "no such program".to_owned(), since: std::time::Instant::now() });
    assert_eq!(published(&mut engine), (false, false), "nothing is sent, for nobody knows how long");
}

#[tokio::test]
async fn an_item_that_fails_and_is_replayed_in_one_group_is_counted_in_that_order() {
    let by_id = ReplayFilter { ids: vec!["item-1".to_owned()], ..ReplayFilter::default() };
    for filter in [ReplayFilter::default(), by_id] {
        let home = tempfile::tempdir().unwrap();
        let (mut engine, mut channels) = prepare_run(&home, 1);
        let loaded = engine.intake.loader().load(vec![Seq(1)]).await.unwrap();
        engine.on_loaded(0, Ok(loaded));
        let now = engine.clock.now();
        let rejection =
            LocalRejection { seq: Seq(1), outcome: Outcome::NoRoute, message: "nobody can".to_owned(), attempts: 0 };
        engine.on_rejected(now, &rejection);
        let (reply, answer) = tokio::sync::oneshot::channel();
        engine.on_command(CommandRequest {
            command: Command::Replay { filter: filter.clone(), target: None },
            stop_reason: None,
            reply,
        });
        // A second replay in the same group finds nothing left, and says so.
        let (second_reply, second_answer) = tokio::sync::oneshot::channel();
        engine.on_command(CommandRequest {
            command: Command::Replay { filter, target: None },
            stop_reason: None,
            reply: second_reply,
        });
        engine.journal.flush();
        let ack = channels.acks.recv().await.unwrap();
        engine.apply_ack(ack);
        assert_eq!(answer.await.unwrap().unwrap(), "1 failed item is waiting again");
        assert_eq!(second_answer.await.unwrap().unwrap(), "0 failed items are waiting again");
        assert_eq!((engine.stats.totals.failed, engine.stats.totals.total), (0, 1));
    }
}

#[tokio::test]
async fn a_replay_to_a_disabled_route_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, _channels) = prepare_run(&home, 1);
    let target = Some(RouteTarget { model: "m".to_owned(), key: Some("alice".to_owned()) });
    let replay = Command::Replay { filter: ReplayFilter::default(), target };
    assert!(engine.apply(&replay).is_ok());
    let now = engine.clock.now();
    engine.scheduler.disable_key(now, "alice", "API key not valid".to_owned()).unwrap();
    let refused = engine.apply(&replay).unwrap_err();
    assert!(refused.contains("invalid_key") && refused.contains("switch it on first"), "{refused}");
}

#[tokio::test]
async fn a_budget_is_refused_if_the_worst_case_cost_has_no_bound() {
    let priced = "provider = 'nobody'\nusd_per_mtok = { input = 1.0, output = 2.0 }";
    for (model, reason) in [
        ("provider = 'nobody'".to_owned(), Some("has no price")),
        (priced.to_owned(), Some("has no max_output")),
        (format!("{priced}\nmax_output = 100"), None),
    ] {
        let home = tempfile::tempdir().unwrap();
        let keys = KEYS.replacen("name = 'm'\nprovider = 'nobody'", &format!("name = 'm'\n{model}"), 1);
        let (mut engine, _channels) = prepare_run_with_keys(&home, 1, &keys);
        let applied = engine.apply(&Command::SetBudget { max_usd: Some(Money(1)) });
        match reason {
            Some(why) => assert!(applied.unwrap_err().contains(why), "{model}"),
            None => assert!(applied.is_ok(), "{model}"),
        }
    }
}

#[tokio::test]
async fn a_run_does_not_end_on_its_budget_while_input_is_still_being_read() {
    let home = tempfile::tempdir().unwrap();
    let priced = "name = 'm'\nprovider = 'nobody'\nmax_output = 100\nusd_per_mtok = { input = 1.0, output = 2.0 }";
    let (mut engine, _channels) =
        prepare_run_with_keys(&home, 1, &KEYS.replacen("name = 'm'\nprovider = 'nobody'", priced, 1));
    engine.apply(&Command::SetBudget { max_usd: Some(Money(1)) }).unwrap();
    let loaded = engine.intake.loader().load(vec![Seq(1)]).await.unwrap();
    engine.on_loaded(0, Ok(loaded));
    engine.journal = Journal::new(StoreWriter::panicking().0);
    let now = engine.clock.now();
    engine.intake.is_reading = true;
    engine.check_done(now);
    assert!(matches!(engine.phase, Phase::Running), "{:?}", engine.phase);
    engine.intake.is_reading = false;
    engine.check_done(now);
    assert!(matches!(engine.phase, Phase::Closing { .. }), "{:?}", engine.phase);
}

#[tokio::test]
async fn an_input_error_during_a_drain_makes_the_run_fail() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, channels) = prepare_run(&home, 0);
    engine.intake.is_reading = true;
    engine.begin_drain(RunOutcome::Stopped { reason: "somebody said so".to_owned() });
    engine.on_input_error("the disk it is on has gone".to_owned());
    let run_outcome = tokio::time::timeout(Duration::from_secs(60), Box::pin(engine.run(channels))).await;
    assert_eq!(run_outcome.unwrap(), RunOutcome::Failed { reason: "the disk it is on has gone".to_owned() });
}

#[tokio::test]
async fn a_run_continues_with_its_own_counts_after_the_ledger_thread_dies() {
    let home = tempfile::tempdir().unwrap();
    let limited = KEYS.replacen("name = 'm'\n", "name = 'm'\nrpd = 10\n", 1);
    let (mut engine, mut channels, handle) = prepare_run_with_handle(&home, 1, &limited);
    engine.leases = LeaseClient::disconnected();
    engine.scheduler.share_daily_quotas();
    channels.lease_replies = tokio::sync::mpsc::channel(1).1;
    let running = tokio::spawn(engine.run(channels));
    let mut snapshots = handle.snapshots.clone();
    // Nothing listens at the address: the attempt ends as a refused connection.
    let is_cooldown = |event: &std::sync::Arc<crate::domain::Event>| matches!(event.kind, EventKind::Cooldown { .. });
    let has_cooldown = snapshots.wait_for(|snapshot| snapshot.events.iter().any(is_cooldown));
    let snapshot =
        tokio::time::timeout(Duration::from_secs(60), has_cooldown).await.expect("it waits for ever").unwrap();
    let is_ledger_event =
        |event: &&std::sync::Arc<crate::domain::Event>| event.kind.to_string().contains("daily ledger");
    let messages: Vec<String> =
        snapshot.events.iter().filter(is_ledger_event).map(|event| event.kind.to_string()).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(
        messages[0].contains("thread has ended") && messages[0].contains("counts only its own requests"),
        "{messages:?}"
    );
    drop(snapshot);
    running.abort();
}

#[tokio::test]
async fn a_public_model_list_does_not_enable_a_disabled_key() {
    let list = || async { r#"{"data": [{"id": "m"}]}"# };
    let router = axum::Router::new().route("/v1/models", axum::routing::get(list));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let here = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels) = prepare_run_with_keys(&home, 1, &KEYS.replace("127.0.0.1:9", &here));
    let now = engine.clock.now();
    engine.scheduler.disable_key(now, "alice", "no such key".to_owned()).unwrap();
    engine.probe_key("alice").unwrap();
    let probe = channels.probe_results.recv().await.unwrap();
    engine.on_probe_result(&probe);
    assert!(matches!(engine.scheduler.key_statuses(now)[0].condition, Condition::Disabled { .. }));
    let message = engine.event_log.newest().next_back().unwrap().kind.to_string();
    assert_eq!(message, "key alice not verified: its provider lists its 1 model without a key");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_captions_while_the_disk_is_full() {
    let home = tempfile::tempdir().unwrap();
    let (mut engine, mut channels) = prepare_run(&home, 0);
    while !engine.journal.is_flushed() {
        engine.journal.flush();
        let ack = channels.acks.recv().await.unwrap();
        engine.apply_ack(ack);
    }
    engine.intake.is_reading = true;
    engine.captions.write_forever();
    engine.begin_drain(RunOutcome::Stopped { reason: "somebody said so".to_owned() });
    let now = engine.clock.now();
    engine.check_done(now);
    assert!(matches!(engine.phase, Phase::Draining { .. }), "a caption that is being written is waited for");
    engine.disk_fault.on_fault("the disk is full".to_owned());
    while !engine.journal.is_flushed() {
        engine.journal.flush();
        let ack = channels.acks.recv().await.unwrap();
        engine.apply_ack(ack);
    }
    engine.check_done(now);
    let Phase::Closing { run_outcome: RunOutcome::Stopped { reason }, .. } = &engine.phase else {
        panic!("{:?}", engine.phase)
    };
    assert!(reason.contains("written by the next start"), "{reason}");
}

#[tokio::test]
async fn a_failed_sync_ends_the_run_and_the_next_start_checks_the_database() {
    let request_count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&request_count);
    let router = axum::Router::new().fallback(axum::routing::any(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::future::pending::<()>()
    }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let keys = KEYS.replace("127.0.0.1:9", &listener.local_addr().unwrap().to_string());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let home = tempfile::tempdir().unwrap();
    let (engine, channels, _handle) = prepare_run_on_store(&home, 40, &keys, Clock::real(), true, Store::break_syncs);
    let run_outcome =
        tokio::time::timeout(Duration::from_secs(30), Box::pin(engine.run(channels))).await.expect("it goes on");
    assert!(matches!(&run_outcome, RunOutcome::Failed { reason } if reason.contains("run.db-wal")), "{run_outcome:?}");
    // What was committed before the sync failed may have been sent.
    assert!(request_count.load(std::sync::atomic::Ordering::Relaxed) <= 8);

    let (engine, _channels, handle) = prepare_run_on_clock(&home, 40, &keys, Clock::real(), true);
    let messages: Vec<String> = handle.snapshot().events.iter().map(|event| event.kind.to_string()).collect();
    assert!(messages.iter().any(|message| message.contains("was checked and is intact")), "{messages:?}");
    drop(engine);
}

/// Starts a provider that accepts requests and sends only `head`, the beginning of a response, which may be empty.
/// Returns its address.
async fn silent_provider(head: &'static str) -> String {
    use tokio::io::AsyncWriteExt as _;

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            connection.write_all(head.as_bytes()).await.unwrap();
            open.push(connection);
        }
    });
    address
}

/// A run on a clock that a test moves, once its first request is in flight.
async fn start_and_wait_for_requests(
    home: &tempfile::TempDir,
    head: &'static str,
    policy: &str,
    micros: &'static AtomicU64,
) -> (tokio::task::JoinHandle<RunOutcome>, EngineHandle) {
    let keys = KEYS.replace("127.0.0.1:9", &silent_provider(head).await) + "[policy]\n" + policy;
    let clock = Clock::manual(crate::domain::WallTime(0), micros);
    let (engine, channels, handle) = prepare_run_on_clock(home, 2, &keys, clock, true);
    let client = engine.attempts.client().clone();
    let running = tokio::spawn(engine.run(channels));
    let mut snapshots = handle.snapshots.clone();
    let sent = snapshots.wait_for(|snapshot| snapshot.totals.in_flight == 2);
    drop(tokio::time::timeout(Duration::from_secs(30), sent).await.expect("nothing goes out").unwrap());
    while !head.is_empty() && !client.has_received_response() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (running, handle)
}

#[tokio::test]
async fn a_run_whose_provider_never_responds_stops_after_give_up_after() {
    static MICROS: AtomicU64 = AtomicU64::new(0);
    let home = tempfile::tempdir().unwrap();
    let (mut running, _handle) = start_and_wait_for_requests(&home, "", "give_up_after = '8s'\n", &MICROS).await;
    MICROS.store(7_900_000, Ordering::Relaxed);
    let early = tokio::time::timeout(Duration::from_millis(2_500), &mut running).await;
    assert!(early.is_err(), "{early:?}");
    MICROS.store(8_000_000, Ordering::Relaxed);
    let ending = tokio::time::timeout(Duration::from_secs(20), running).await.expect("it goes on waiting").unwrap();
    let RunOutcome::Stopped { reason } = &ending else { panic!("{ending:?}") };
    assert_eq!(reason, "no provider has answered within 8s (2 requests in flight aborted, which may have been billed)");
    let audit = crate::store::audit::audit(&home.path().join("run"), None).unwrap();
    assert!(audit.is_ok(), "{audit:?}");
    assert_eq!((audit.waiting, audit.unanswered.len(), audit.in_flight), (2, 2, 0));
}

#[tokio::test]
async fn a_first_answer_may_take_as_long_as_the_operator_allows_requests() {
    static MICROS: AtomicU64 = AtomicU64::new(0);
    let home = tempfile::tempdir().unwrap();
    let policy = "idle_timeout = '1h'\ntotal_timeout = '1h'\n";
    let (mut running, handle) = start_and_wait_for_requests(&home, "", policy, &MICROS).await;
    MICROS.store(3_590_000_000, Ordering::Relaxed);
    let ended = tokio::time::timeout(Duration::from_millis(2_500), &mut running).await;
    assert!(ended.is_err(), "{ended:?}: {:?}", handle.snapshot().state);
    MICROS.store(3_600_000_000, Ordering::Relaxed);
    let ending = tokio::time::timeout(Duration::from_secs(20), running).await.expect("it goes on waiting").unwrap();
    assert!(matches!(&ending, RunOutcome::Stopped { reason } if reason.contains("within 1h")), "{ending:?}");
}

#[tokio::test]
async fn a_response_that_has_begun_prevents_giving_up() {
    static MICROS: AtomicU64 = AtomicU64::new(0);
    let home = tempfile::tempdir().unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let (mut running, handle) = start_and_wait_for_requests(&home, head, "give_up_after = '8s'\n", &MICROS).await;
    MICROS.store(60_000_000, Ordering::Relaxed);
    let ended = tokio::time::timeout(Duration::from_millis(2_500), &mut running).await;
    assert!(ended.is_err(), "{ended:?}: {:?}", handle.snapshot().state);
    running.abort();
}
