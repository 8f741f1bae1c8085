//! A run is created once and resumed any number of times.

use std::{fs, sync::Arc, time::Duration};

use cascadeck::{
    clock::system_time,
    domain::{
        AttemptId, Command, Event, EventKind, EventLevel, FinalState, Money, Outcome, ReplayFilter, RoutingTraits,
        Sample, WallTime,
        snapshot::{RunState, Totals},
    },
    store::{
        ChangedRowPolicy, IngestProgress, KeyRecord, Op, OpReply, OperatorDecision, PinnedSettings, RecordedSamples,
        RunDir, Store, StoreError,
    },
};

use crate::store::harness::{
    FakeEngine, SECOND_MICROS, TestRun, answered_op, assert_audit, complete_op, failed_op, file_mode, ids, intent_op,
    item_spec, item_with_prompt, requeued_op, result_line, sent_at, settings, waiting_seqs,
};

#[test]
fn a_new_run_is_empty_and_private() {
    let home = TestRun::new();
    let (store, opened) = home.open();
    assert!(opened.is_new && !opened.input_changed);
    assert_eq!(opened.totals, Totals { ingesting: true, ..Totals::default() });
    assert_eq!(opened.ingest, IngestProgress { rows: 0, is_complete: false });
    assert_eq!((opened.next_attempt, opened.next_event, opened.first_sent_at), (AttemptId(1), 1, None));
    assert!(waiting_seqs(&store).is_empty());
    assert_eq!(file_mode(home.dir.path()), 0o700);
    for file in ["run.db", "run.db-wal", "run.db-shm", "run.lock", "results.jsonl"] {
        assert_eq!(file_mode(home.dir.path().join(file)), 0o600, "{file}");
    }
}

#[test]
fn everything_committed_is_there_at_the_next_start() {
    let (home, mut engine) = TestRun::with_items(6);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 1), intent_op(3, 3, 2), intent_op(4, 4, 0)]);
    engine.commit(vec![
        answered_op(1, 1),
        failed_op(2, 2, Outcome::ContentBlocked),
        requeued_op(3, Outcome::RateLimitedMinute),
    ]);
    engine.commit(vec![Op::CancelIntent { attempt: AttemptId(4) }]);
    drop(engine.close());

    let (store, opened) = home.open();
    assert!(!opened.is_new);
    assert_eq!(opened.ingest, IngestProgress { rows: 6, is_complete: true });
    assert_eq!(
        opened.totals,
        Totals { total: 6, waiting: 4, done: 1, failed: 1, attempts: 3, rate_limited: 1, ..Totals::default() }
    );
    assert_eq!((opened.spend.cost, opened.spend.at_risk), (Money(2_000_000), Money::ZERO));
    assert_eq!((opened.spend.usage.input_tokens, opened.spend.usage.thinking_tokens), (100, 3));
    assert_eq!((opened.next_attempt, opened.first_sent_at), (AttemptId(5), Some(sent_at(1))));
    assert_eq!((opened.lost_attempts, opened.repair), (vec![], cascadeck::store::Repair::default()));
    assert_eq!(waiting_seqs(&store), [3, 4, 5, 6]);
    assert_eq!(ids(&home.results()), ["item-1", "item-2"]);
    assert_audit(&home.dir);
}

#[test]
fn samples_for_charts_are_there_at_the_next_start_without_those_that_were_dropped() {
    let sample =
        |second| Sample { at: sent_at(second), ended_total: second, state: "running".into(), ..Sample::default() };
    let record = |second, dropped| Op::RecordSample { sample: Box::new(sample(second)), dropped };
    let (home, mut engine) = TestRun::with_items(1);
    engine.commit(vec![record(1, vec![]), record(2, vec![]), record(3, vec![sent_at(2)])]);
    drop(engine.close());

    let (_store, opened) = home.open();
    assert_eq!(opened.samples, RecordedSamples { times: vec![sent_at(1), sent_at(3)], last: Some(sample(3)) });
}

#[test]
fn attempts_in_flight_when_the_process_died_are_lost_and_named() {
    let (home, mut engine) = TestRun::with_items(3);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 2)]);
    engine.commit(vec![answered_op(1, 1)]);
    drop(engine.close());

    let (store, opened) = home.open();
    let [lost] = &opened.lost_attempts[..] else { panic!("{:?}", opened.lost_attempts) };
    assert_eq!((lost.attempt, lost.seq.0, lost.id.as_str()), (AttemptId(2), 2, "item-2"));
    assert_eq!((lost.route.key.as_str(), lost.route.model.as_str()), ("bob", "pro"));
    assert_eq!((lost.sent_at, lost.at_risk), (sent_at(2), Money(5_000_000)));
    assert_eq!(opened.spend.at_risk, Money(5_000_000), "their worst case may have been billed");
    assert_eq!(opened.spend.reserved, Money::ZERO);
    assert_eq!(opened.totals.attempts, 2);
    assert_eq!(waiting_seqs(&store), [2, 3], "their items wait again");
    drop(store);

    let (_, again) = home.open();
    assert_eq!((again.lost_attempts, again.spend.at_risk), (vec![], Money(5_000_000)), "once");
    assert_audit(&home.dir);
}

#[test]
fn quota_windows_are_rebuilt_from_past_attempts_lost_ones_included() {
    let (home, mut engine) = TestRun::with_items(4);
    engine.commit((1..=4).map(|number| intent_op(number, number, 0)).collect());
    engine.commit(vec![answered_op(1, 1), answered_op(2, 2), requeued_op(3, Outcome::Timeout)]);
    drop(engine.close());

    let (store, _) = home.open();
    let all = store.route_sums().unwrap();
    let [(route, sums)] = &all[..] else { panic!("{all:?}") };
    assert_eq!((route.key.as_str(), route.model.as_str()), ("alice", "pro"));
    let counted: Vec<_> = sums.attempts().collect();
    let expected = [(None, Outcome::Lost, 1), (Some(200), Outcome::Ok, 2), (Some(429), Outcome::Timeout, 1)];
    assert_eq!(counted, expected);
    let recent: Vec<_> = sums.recent_usage().iter().map(|used| (used.at, used.requests, used.input_tokens)).collect();
    let ended_at = |attempt| WallTime(sent_at(attempt).0 + SECOND_MICROS / 2);
    let lost_at = WallTime(sent_at(4).0 + 30 * SECOND_MICROS);
    assert_eq!(recent, [(ended_at(1), 1, 100), (ended_at(3), 2, 220), (lost_at, 1, 120)]);
}

#[test]
fn routes_keep_their_names_when_the_configuration_is_reordered() {
    let (home, mut engine) = TestRun::with_items(1);
    engine.commit(vec![intent_op(1, 1, 2)]);
    drop(engine.close());
    let (store, _) = home.open();
    let mut routes = crate::store::harness::routes();
    routes.reverse();
    let (writer, _acks) = store.into_writer(&routes).unwrap();
    let store = writer.close().unwrap();
    let all = store.route_sums().unwrap();
    let names: Vec<_> = all.iter().map(|(route, _)| (route.key.as_str(), route.model.as_str())).collect();
    assert_eq!(names, [("bob", "pro")]);
}

#[test]
fn decisions_states_and_events_survive_and_the_latest_counts() {
    let home = TestRun::new();
    let mut engine = home.start_engine();
    let decide = |target: &str, on, at| {
        let command = Command::SetKey { key: "alice".into(), on };
        Op::RecordDecision(Box::new(OperatorDecision {
            target: target.into(),
            command,
            at: WallTime(at),
            reason: "too slow".into(),
        }))
    };
    let state = |json: &str| Op::SetState { name: "cursor".into(), json: json.into() };
    engine.commit(vec![decide("key alice", false, 1), decide("key bob", false, 2), state("1"), state("2")]);
    engine.commit(vec![decide("key alice", true, 3), Op::ForgetDecision { target: "key bob".into() }]);
    let event = |number| {
        let kind = EventKind::Run { level: EventLevel::Info, message: format!("event {number}") };
        Op::RecordEvent(Arc::new(Event { number, at: WallTime(number as i64), kind }))
    };
    engine.commit((1..=300).map(event).collect());
    drop(engine.close());

    let (_, opened) = home.open();
    let [decision] = &opened.decisions[..] else { panic!("{:?}", opened.decisions) };
    assert_eq!(
        (decision.target.as_str(), decision.at, decision.reason.as_str()),
        ("key alice", WallTime(3), "too slow")
    );
    assert_eq!(decision.command, Command::SetKey { key: "alice".into(), on: true });
    assert_eq!(opened.saved_states["cursor"], "2");
    let numbers: Vec<_> = opened.events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (45..=300).collect::<Vec<_>>(), "the newest 256, oldest first");
    assert_eq!(opened.next_event, 301);
}

#[test]
fn an_ingest_that_was_cut_short_goes_on_without_doubling_anything() {
    let home = TestRun::new();
    let mut engine = home.start_engine();
    engine.commit(vec![Op::IngestItems((1..=3).map(item_spec).collect())]);
    drop(engine.close());

    let (store, opened) = home.open();
    assert_eq!(opened.ingest, IngestProgress { rows: 3, is_complete: false });
    let mut engine = FakeEngine::new(store);
    let answers = engine.commit(vec![Op::IngestItems((1..=5).map(item_spec).collect()), Op::FinishIngest { rows: 5 }]);
    let [OpReply::Ingested(ingested)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(ingested.added.iter().map(|item| item.seq.0).collect::<Vec<_>>(), [4, 5]);
    assert_eq!((ingested.unchanged, ingested.changed.len()), (3, 0));
    let store = engine.close();
    assert_eq!(waiting_seqs(&store), [1, 2, 3, 4, 5]);
}

#[test]
fn items_that_are_routed_alike_share_an_id() {
    let home = TestRun::new();
    let mut engine = home.start_engine();
    let mut special = item_spec(2);
    special.preferred_model = Some("pro".into());
    let answers = engine.commit(vec![Op::IngestItems(vec![item_spec(1), special, item_spec(3)])]);
    let [OpReply::Ingested(ingested)] = &answers[..] else { panic!("{answers:?}") };
    let [first, second, third] = &ingested.added[..] else { panic!("{ingested:?}") };
    assert!(first.traits_id == third.traits_id && first.traits_id != second.traits_id, "{ingested:?}");
    let pro = RoutingTraits { preferred_model: Some("pro".into()), ..RoutingTraits::default() };
    assert_eq!(ingested.new_traits, [(first.traits_id, RoutingTraits::default()), (second.traits_id, pro)]);

    let answers = engine.commit(vec![Op::IngestItems(vec![item_spec(4)])]);
    let [OpReply::Ingested(later)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((later.added[0].traits_id, later.new_traits.len()), (first.traits_id, 0), "only new traits are told");
    assert_eq!(engine.close().traits(), ingested.new_traits);
    assert_eq!(home.open().0.traits(), ingested.new_traits);
}

#[test]
fn a_changed_input_is_recognised_and_changed_rows_are_refused_unless_asked_for() {
    let (home, mut engine) = TestRun::with_items(3);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 0)]);
    engine.commit(vec![answered_op(1, 1), answered_op(2, 2)]);
    drop(engine.close());

    let changed = PinnedSettings { fingerprint: "f2".into(), ..settings() };
    let rows = [item_spec(1), item_with_prompt(2, "Another question"), item_spec(3), item_spec(4)];
    let (mut store, opened) = Store::open(&home.dir, &changed).unwrap();
    assert!(opened.input_changed);
    let report = store.ingest(&rows, ChangedRowPolicy::Report).unwrap();
    let named: Vec<_> = report.changed.iter().map(|item| (item.id.as_str(), item.line)).collect();
    assert_eq!((named, report.unchanged, report.added.len()), (vec![("item-2", 2)], 2, 1));
    assert_eq!(waiting_seqs(&store), [3, 4], "the changed row is not touched");

    let replaced = store.ingest(&rows, ChangedRowPolicy::Replace).unwrap();
    assert_eq!(replaced.added.iter().map(|item| item.seq.0).collect::<Vec<_>>(), [2]);
    store.accept_input("f2", 4).unwrap();
    assert_eq!(waiting_seqs(&store), [2, 3, 4], "the new request waits");
    drop(store);
    assert_audit(&home.dir);

    let (store, opened) = Store::open(&home.dir, &changed).unwrap();
    assert!(!opened.input_changed, "it is the run's now");
    assert_eq!(opened.ingest, IngestProgress { rows: 4, is_complete: true });
    drop(store);
    assert_eq!(Store::settings_of(&home.dir).unwrap(), changed);
}

#[test]
fn settings_that_would_make_answers_incomparable_are_refused_by_name() {
    let home = TestRun::new();
    drop(home.open());
    let with = |change: fn(&mut PinnedSettings)| {
        let mut pins = settings();
        change(&mut pins);
        pins
    };
    let cases: [(PinnedSettings, &str); 6] = [
        (with(|pins| pins.input = "other.jsonl".into()), r#"the input was "batch.jsonl", is now "other.jsonl""#),
        (with(|pins| pins.kind = "csv".into()), r#"the input's format was "jsonl", is now "csv""#),
        (with(|pins| pins.prompt = Some("{{ q }}".into())), r#"--prompt was not set, is now "{{ q }}""#),
        (with(|pins| pins.system = Some("Be brief.".into())), "--system was not set"),
        (with(|pins| pins.params = r#"{"seed":7}"#.into()), "sampling parameters was not set"),
        (with(|pins| pins.captions = Some("beside, skip".into())), "caption setting was not set"),
    ];
    for (pins, words) in cases {
        let error = Store::open(&home.dir, &pins).unwrap_err();
        let StoreError::SettingsChanged { changes, .. } = &error else { panic!("{error:?}") };
        assert_eq!(changes.len(), 1);
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(!home.open().1.is_new, "a refusal changes nothing");
}

#[test]
fn a_second_process_is_told_who_holds_the_run() {
    let home = TestRun::new();
    let first = home.open();
    let error = Store::open(&home.dir, &settings()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { holder: Some(pid), .. } if pid == std::process::id()), "{error:?}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    assert!(home.dir.is_owned());
    drop(first);
    assert!(!home.dir.is_owned());
    assert!(!home.open().1.is_new);
}

#[test]
fn a_run_of_a_newer_program_is_refused_and_left_alone() {
    let home = TestRun::new();
    drop(home.open());
    let version: u32 = home.sql().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    home.sql().pragma_update(None, "user_version", 99).unwrap();
    let opened = Store::open(&home.dir, &settings()).map(|_| ());
    let reported = cascadeck::store::report::load_summary(home.dir.path()).map(|_| ());
    for refused in [opened, reported] {
        let error = refused.unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error:?}");
        assert!(error.to_string().contains("update cascadeck"), "{error}");
    }
    home.sql().pragma_update(None, "user_version", version).unwrap();
    assert!(!home.open().1.is_new);
}

#[test]
fn a_directory_that_is_no_run_is_refused_and_left_alone() {
    type Case = (&'static str, fn(&RunDir), fn(&StoreError) -> bool);
    let cases: [Case; 4] = [
        (
            "text for a database",
            |dir| fs::write(dir.database(), "dear diary, this is certainly no database at all\n".repeat(50)).unwrap(),
            |error| matches!(error, StoreError::ForeignDatabase { .. }),
        ),
        (
            "another program's database",
            |dir| rusqlite::Connection::open(dir.database()).unwrap().execute_batch("CREATE TABLE cats(name)").unwrap(),
            |error| matches!(error, StoreError::ForeignDatabase { .. }),
        ),
        (
            "results without a database",
            |dir| fs::write(dir.results(), "{\"id\":\"1\"}\n").unwrap(),
            |error| matches!(error, StoreError::OrphanedResults { .. }),
        ),
        (
            "a directory for a database",
            |dir| fs::create_dir(dir.database()).unwrap(),
            |error| matches!(error, StoreError::Database { .. }),
        ),
    ];
    for (what, arrange, expected) in cases {
        let home = TestRun::new();
        fs::create_dir_all(home.dir.path()).unwrap();
        arrange(&home.dir);
        let before: Vec<_> = [home.dir.database(), home.dir.results()].map(|path| fs::read(path).ok()).into();
        let error = Store::open(&home.dir, &settings()).unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
        let after: Vec<_> = [home.dir.database(), home.dir.results()].map(|path| fs::read(path).ok()).into();
        assert_eq!(before, after, "{what}");
    }
}

#[test]
fn an_unwritable_directory_is_named() {
    let home = TestRun::new();
    fs::create_dir_all(home.dir.path()).unwrap();
    let file = home.dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    // A path below a file, and one where even root can't create a directory.
    for place in [file.join("run"), "/proc/self/nowhere/run".into()] {
        let error = Store::open(&RunDir::new(&place), &settings()).unwrap_err();
        assert!(matches!(error, StoreError::File { .. }), "{error:?}");
        assert!(error.to_string().contains(&place.display().to_string()), "{error}");
    }

    let missing = cascadeck::store::report::load_summary(file.parent().unwrap()).unwrap_err();
    assert!(matches!(missing, StoreError::NotARun { .. }), "{missing:?}");
    assert!(!home.dir.database().exists(), "looking makes nothing");
}

#[test]
fn a_full_minute_window_is_reported_only_while_the_run_is_owned() {
    let (home, mut engine) = TestRun::with_items(1);
    let key_record = |name: &str, state: &str| KeyRecord {
        name: name.into(),
        state: state.into(),
        health: 65,
        ..Default::default()
    };
    let standings = vec![key_record("alice", "full"), key_record("bob", "disabled")];
    engine.commit(vec![intent_op(1, 1, 0), Op::SetKeys(standings)]);
    engine.commit(vec![answered_op(1, 1)]);
    let states = || {
        let keys = cascadeck::store::report::load_summary(home.dir.path()).unwrap().keys;
        keys.into_iter().map(|key| (key.name, key.state, key.health)).collect::<Vec<_>>()
    };
    let said = |name: &str, state: &str| (name.to_owned(), state.to_owned(), 65);
    assert_eq!(states(), [said("alice", "full"), said("bob", "disabled")]);
    drop(engine.close());
    assert_eq!(states(), [said("alice", "ready"), said("bob", "disabled")]);
}

#[test]
fn a_cooldown_that_has_ended_since_the_run_stopped_is_not_reported() {
    let (home, mut engine) = TestRun::with_items(1);
    let (past, future) = (system_time() - Duration::from_secs(1), system_time() + Duration::from_hours(1));
    let key = |name: &str, state: &str, until| KeyRecord {
        name: name.into(),
        state: state.into(),
        until: Some(until),
        ..KeyRecord::default()
    };
    let keys = vec![key("alice", "cooling", past), key("bob", "exhausted", future)];
    engine.commit(vec![Op::SetKeys(keys)]);
    let states = || {
        let keys = cascadeck::store::report::load_summary(home.dir.path()).unwrap().keys;
        keys.into_iter().map(|key| key.state).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["cooling", "exhausted"], "its process will record the change");
    drop(engine.close());
    assert_eq!(states(), ["ready", "exhausted"]);
}

#[test]
fn the_recorded_state_of_a_killed_run_is_not_reported() {
    let home = TestRun::new();
    let state = || cascadeck::store::report::load_summary(home.dir.path()).unwrap().state;
    let mut engine = home.start_engine();
    assert_eq!(state(), "running");
    engine.commit(vec![Op::SetRunState(RunState::Paused)]);
    assert_eq!(state(), "paused");
    drop(engine.close());
    assert_eq!(state(), "stopped", "nobody is there to resume it");
    let mut engine = home.start_engine();
    engine.commit(vec![Op::SetRunState(RunState::Finished)]);
    drop(engine.close());
    assert_eq!(state(), "finished");
}

#[test]
fn the_sums_of_the_routes_are_those_of_all_attempts_whenever_the_process_ends() {
    let items = 5_000;
    let (home, mut engine) = TestRun::with_items(items);
    let mut attempt = 0;
    for first in (1..items).step_by(500) {
        let intents = (first..first + 500).map(|item| intent_op(item, item, item as u32 % 3));
        engine.commit(intents.collect());
        let completed = (first..first + 500).map(|item| match item % 7 {
            0 => failed_op(item, item, Outcome::ContentBlocked),
            1 => requeued_op(item, Outcome::RateLimitedMinute),
            _ => answered_op(item, item),
        });
        engine.commit(completed.collect());
        attempt += 500;
        if first % 2_000 == 1 {
            drop(engine.close());
            let (store, opened) = home.open();
            assert_eq!(opened.totals.attempts, attempt);
            engine = FakeEngine::new(store);
        }
    }
    drop(engine.close());
    let load = || {
        let (store, _) = home.open();
        let ended: Vec<_> = store.ended_items().collect();
        let sums = store.route_sums().unwrap();
        (ended, sums.into_iter().map(|(route, sums)| (route, sums.clone())).collect::<Vec<_>>())
    };
    let recorded = load();
    assert_eq!(recorded.1.iter().map(|(_, sums)| sums.attempt_count()).sum::<u64>(), items);
    let sql = home.sql();
    let stored: u64 = sql.query_row("SELECT count(*) FROM route_sums", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 3, "they were written at least once");
    // As in the record of an earlier version.
    sql.execute_batch(
        "DELETE FROM route_sums; DELETE FROM unsummed_attempts;
         UPDATE meta SET value = json_remove(value, '$.ended') WHERE key = 'tallies'",
    )
    .unwrap();
    assert_eq!(load(), recorded);
    assert_audit(&home.dir);
}

#[test]
fn ended_items_are_counted_by_outcome_also_after_a_replay_and_a_changed_row() {
    let (home, mut engine) = TestRun::with_items(4);
    engine.commit((1..=4).map(|number| intent_op(number, number, 0)).collect());
    engine.commit(vec![
        answered_op(1, 1),
        failed_op(2, 2, Outcome::ContentBlocked),
        failed_op(3, 3, Outcome::ContentBlocked),
        complete_op(4, Outcome::Truncated, Some(result_line(4, FinalState::Done, Outcome::Truncated, "cut off"))),
    ]);
    let mut store = engine.close();
    let blocked = (FinalState::Failed, Outcome::ContentBlocked);
    let count = |store: &Store| store.ended_items().collect::<Vec<_>>();
    let (done, truncated) = ((FinalState::Done, Outcome::Ok, 1), (FinalState::Done, Outcome::Truncated, 1));
    assert_eq!(count(&store), [done, truncated, (blocked.0, blocked.1, 2)]);
    let only_third = ReplayFilter { ids: vec!["item-3".to_owned()], ..ReplayFilter::default() };
    assert_eq!(store.requeue(&only_third, None).unwrap().len(), 1);
    assert_eq!(count(&store), [done, truncated, (blocked.0, blocked.1, 1)]);
    store.ingest(&[item_with_prompt(4, "another prompt")], ChangedRowPolicy::Replace).unwrap();
    assert_eq!(count(&store), [done, (blocked.0, blocked.1, 1)]);
    drop(store);
    assert_eq!(count(&home.open().0), [done, (blocked.0, blocked.1, 1)]);
}
