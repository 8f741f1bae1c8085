//! Which groups the writer accepts and rejects, and what it leaves when a run ends.

use cascadeck::{
    domain::{AttemptId, Outcome, ReplayFilter, RouteTarget, RoutingRule},
    store::{MAX_PENDING_GROUPS, Op, OpReply, Store, StoreError, WaitingItem},
};

use crate::store::harness::{
    FakeEngine, TestRun, answered_op, assert_audit, complete_op, failed_op, ids, intent_op, item_spec,
    item_with_prompt, requeued_op, result_line, unreadable_op, waiting_seqs,
};

#[test]
fn a_group_that_contradicts_the_record_changes_nothing() {
    let again =
        || complete_op(9, Outcome::Ok, Some(result_line(1, cascadeck::domain::FinalState::Done, Outcome::Ok, "again")));
    let mut bad_hash = item_spec(9);
    bad_hash.request_hash = "not a hash".into();
    let cases: Vec<(&str, Vec<Op>, &str)> = vec![
        ("an intent for a finished item", vec![intent_op(9, 1, 0)], "item item-1 is done"),
        ("an intent for no item", vec![intent_op(9, 77, 0)], "there is no item 77"),
        ("an intent on no route", vec![intent_op(9, 2, 44)], "an unknown route"),
        ("an outcome of nothing", vec![requeued_op(9, Outcome::Timeout)], "is not in flight"),
        ("taking back nothing", vec![Op::CancelIntent { attempt: AttemptId(9) }], "is not in flight"),
        ("a verdict on a finished item", vec![unreadable_op(1, 1)], "item item-1 is done"),
        ("an item that ends twice", vec![intent_op(9, 2, 0), again(), unreadable_op(2, 2)], "item item-2 is done"),
        ("a misspelt hash", vec![Op::IngestItems(vec![bad_hash])], "32 hex digits"),
    ];
    let (home, mut engine) = TestRun::with_items(3);
    engine.commit(vec![intent_op(1, 1, 0)]);
    engine.commit(vec![answered_op(1, 1)]);
    let before = assert_audit(&home.dir);
    for (what, bad, words) in cases {
        // Valid ops before the invalid one are rolled back too.
        let mut ops = vec![intent_op(8, 3, 0), Op::IngestItems(vec![item_spec(50)])];
        let submitted = ops.len() + bad.len();
        ops.extend(bad);
        let rejected = engine.submit_rejected(ops);
        assert!(matches!(rejected.error, StoreError::Contradiction(_)), "{what}: {:?}", rejected.error);
        assert!(rejected.error.to_string().contains(words), "{what}: {}", rejected.error);
        assert_eq!(rejected.ops.len(), submitted, "{what}: the group comes back whole");
        assert_eq!(assert_audit(&home.dir), before, "{what}");
    }
    engine.commit(vec![intent_op(2, 2, 0)]);
    engine.commit(vec![answered_op(2, 2)]);
    drop(engine.close());
    assert_eq!(ids(&home.results()), ["item-1", "item-2"]);
}

#[test]
fn groups_are_bounded_and_answered_in_order() {
    let (_home, mut engine) = TestRun::with_items(1);
    // The writer can't take more than the acknowledged groups plus the outstanding ones.
    let mut taken = 0;
    let refused = loop {
        match engine.writer.submit(taken + 1, vec![intent_op(taken + 1, 1, 0)]) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(!refused.is_closed && refused.ops.len() == 1, "the group comes back");
    assert!(taken >= MAX_PENDING_GROUPS as u64);
    for number in 1..=taken {
        assert_eq!(engine.wait_for_ack().number, number);
    }
    drop(engine.close());
}

#[test]
fn the_results_file_shows_what_is_acknowledged() {
    let (home, mut engine) = TestRun::with_items(4);
    for number in 1..=4 {
        engine.commit(vec![intent_op(number, number, 0)]);
        engine.commit(vec![answered_op(number, number)]);
        assert_eq!(home.results().len() as u64, number);
    }
    assert_eq!(home.results()[2].output.as_deref(), Some("The answer to item-3."));
}

#[test]
fn an_answers_line_is_stored_without_what_its_item_and_attempt_have() {
    let (home, mut engine) = TestRun::with_items(3);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 1), intent_op(3, 3, 0)]);
    engine.commit(vec![answered_op(1, 1), failed_op(2, 2, Outcome::ContentBlocked), requeued_op(3, Outcome::Timeout)]);
    engine.commit(vec![intent_op(4, 3, 1)]);
    engine.commit(vec![answered_op(4, 3)]);
    let sql = home.sql();
    let mut stored = sql.prepare("SELECT seq, format FROM result_rows ORDER BY n").unwrap();
    let formats = stored.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap);
    assert_eq!(formats.collect::<Vec<(u64, u64)>>(), [(1, 1), (2, 0), (3, 1)]);
    assert_audit(&home.dir);
    drop(engine.close());
    assert_audit(&home.dir);
}

#[test]
fn an_intent_that_is_taken_back_was_never_sent() {
    let (home, mut engine) = TestRun::with_items(3);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 0), intent_op(3, 3, 0)]);
    engine.commit(vec![Op::CancelIntent { attempt: AttemptId(2) }]);
    engine.commit(vec![answered_op(1, 1)]);
    drop(engine.close());
    let (store, opened) = home.open();
    assert_eq!(opened.lost_attempts.iter().map(|lost| lost.attempt.0).collect::<Vec<_>>(), [3]);
    assert_eq!(opened.totals.attempts, 2, "the one that was answered, and the one that is lost");
    drop(store);
    assert_eq!(home.sql().query_row("SELECT count(*) FROM intents", [], |row| row.get(0)), Ok(0));
    assert_audit(&home.dir);
}

#[test]
fn failed_items_are_queued_again_by_outcome_and_by_id() {
    let with = |models: &[&str], keys: &[&str], messages: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ReplayFilter { models: names(models), keys: names(keys), messages: names(messages), ..ReplayFilter::default() }
    };
    let backwards = ReplayFilter { ids: vec!["item-4".into(), "item-1".into()], ..ReplayFilter::default() };
    let cases: [(&str, ReplayFilter, &[u64]); 18] = [
        ("by model", with(&["pro"], &[], &[]), &[1, 4]),
        ("by key", with(&[], &["bob"], &[]), &[4]),
        ("by either key", with(&[], &["alice", "bob"], &[]), &[1, 4]),
        ("by model and key", with(&["pro", "flash"], &["alice"], &[]), &[1]),
        ("by message, in any case", with(&[], &[], &["blockreason: saf"]), &[1, 4]),
        ("by either message", with(&[], &[], &["CAT.PNG", "SAFETY"]), &[1, 2, 4]),
        ("by a message that none has", with(&[], &[], &["quota"]), &[]),
        ("by a message and the key of another", with(&[], &["alice", "bob"], &["cat.png"]), &[]),
        ("by ids out of order", backwards, &[1, 4]),
        ("all", ReplayFilter::default(), &[1, 2, 4]),
        ("by outcome", ReplayFilter { outcomes: vec![Outcome::ContentBlocked], ..ReplayFilter::default() }, &[1, 4]),
        ("by id", ReplayFilter { ids: vec!["item-2".into()], ..ReplayFilter::default() }, &[2]),
        ("twice by id", ReplayFilter { ids: vec!["item-2".into(); 2], ..ReplayFilter::default() }, &[2]),
        (
            "ids that didn't fail",
            ReplayFilter { ids: vec!["item-3".into(), "item-99".into()], ..ReplayFilter::default() },
            &[],
        ),
        ("by text of what it asks", ReplayFilter { text: "is 4 SQUARED".into(), ..ReplayFilter::default() }, &[4]),
        ("by text of the id", ReplayFilter { text: "ITEM-4".into(), ..ReplayFilter::default() }, &[4]),
        ("by a model that tried none", ReplayFilter { models: vec!["x".into()], ..ReplayFilter::default() }, &[]),
        (
            "by both",
            ReplayFilter {
                ids: vec!["item-1".into(), "item-2".into()],
                outcomes: vec![Outcome::UnreadableInput],
                ..ReplayFilter::default()
            },
            &[2],
        ),
    ];
    for (what, filter, want) in cases {
        let (home, mut engine) = TestRun::with_items(5);
        engine.commit(vec![intent_op(1, 1, 0), intent_op(3, 3, 0), intent_op(4, 4, 2)]);
        engine.commit(vec![
            failed_op(1, 1, Outcome::ContentBlocked),
            unreadable_op(2, 2),
            answered_op(3, 3),
            failed_op(4, 4, Outcome::ContentBlocked),
        ]);
        let preview = cascadeck::store::report::preview_replay(home.dir.path(), &filter, 1).unwrap();
        assert_eq!(
            (preview.matching, preview.outcomes.values().sum()),
            (want.len() as u64, want.len() as u64),
            "{what}"
        );
        assert_eq!(preview.first.iter().map(|row| row.seq).collect::<Vec<_>>(), want[..want.len().min(1)], "{what}");

        let answers = engine.commit(vec![Op::Requeue(filter.clone())]);
        let [OpReply::Requeued(queued)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(queued.iter().map(|item| item.seq.0).collect::<Vec<_>>(), want, "{what}");
        let mut store = engine.close();
        let mut still = vec![5];
        still.extend(want);
        still.sort_unstable();
        assert_eq!(waiting_seqs(&store), still, "{what}");
        assert_eq!(store.requeue(&filter, None).unwrap(), [], "{what}: they wait, they have not failed");
        drop(store);
        assert_audit(&home.dir);
    }
}

#[test]
fn a_replay_target_is_kept_until_the_next_replay_changes_it() {
    let (home, mut engine) = TestRun::with_items(3);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 0)]);
    engine.commit(vec![failed_op(1, 1, Outcome::ContentBlocked), failed_op(2, 2, Outcome::BadRequest)]);
    let target = RouteTarget { model: "m".to_owned(), key: Some("alice".to_owned()) };
    let blocked = ReplayFilter { outcomes: vec![Outcome::ContentBlocked], ..ReplayFilter::default() };
    let answers = engine.commit(vec![Op::RequeueTo(blocked.clone(), target.clone())]);
    let [OpReply::Traits(traits), OpReply::Requeued(queued)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(queued.iter().map(|item| item.seq.0).collect::<Vec<_>>(), [1]);
    let of_item =
        traits.iter().find(|(id, _)| *id == queued[0].traits_id).map(|(_, traits)| traits.required_target.clone());
    assert_eq!(of_item, Some(Some(target.clone())), "traits are told before the items that have them");

    // Changed rules don't change the operator's target, and a restart finds it again.
    let mut store = engine.close();
    store.apply_rules(&[RoutingRule { name: "all".to_owned(), ..RoutingRule::default() }]).unwrap();
    let mut waiting = Vec::new();
    store.for_each_waiting(|item| waiting.push(item)).unwrap();
    let only = |item: &WaitingItem, store: &Store| {
        store.traits().into_iter().find(|(id, _)| *id == item.traits_id).and_then(|(_, traits)| traits.required_target)
    };
    assert_eq!(only(waiting.iter().find(|item| item.seq.0 == 1).unwrap(), &store), Some(target));
    drop(store);
    assert_audit(&home.dir);
}

#[test]
fn a_replayed_item_appends_a_line_and_the_end_leaves_one_per_id() {
    let (home, mut engine) = TestRun::with_items(3);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 0), intent_op(3, 3, 0)]);
    engine.commit(vec![
        failed_op(1, 1, Outcome::ContentBlocked),
        answered_op(2, 2),
        failed_op(3, 3, Outcome::BadRequest),
    ]);
    engine.commit(vec![Op::Requeue(ReplayFilter::default())]);
    engine.commit(vec![intent_op(4, 1, 1)]);
    engine.commit(vec![answered_op(4, 1)]);
    assert_eq!(ids(&home.results()), ["item-1", "item-2", "item-3", "item-1"], "the last line counts");
    assert_audit(&home.dir);

    let mut store = engine.close();
    assert_eq!(store.compact_results().unwrap(), 2, "the old line of item 1, and item 3's, which waits");
    assert_eq!(ids(&home.results()), ["item-2", "item-1"]);
    assert_eq!(store.compact_results().unwrap(), 0);

    // New lines are appended to the rebuilt file.
    let mut engine = FakeEngine::new(store);
    engine.commit(vec![intent_op(5, 3, 0)]);
    engine.commit(vec![answered_op(5, 3)]);
    drop(engine.close());
    assert_eq!(ids(&home.results()), ["item-2", "item-1", "item-3"]);
    assert_audit(&home.dir);
    assert_eq!(home.open().1.repair, cascadeck::store::Repair::default());
}

#[test]
fn a_compaction_cut_short_anywhere_is_finished_by_the_next_start() {
    // A crash between the commit and the rename: the table is compacted, the file is old, the new file is half written.
    let (home, mut engine) = TestRun::with_items(2);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 0)]);
    engine.commit(vec![failed_op(1, 1, Outcome::ContentBlocked), answered_op(2, 2)]);
    engine.commit(vec![Op::Requeue(ReplayFilter::default())]);
    engine.commit(vec![intent_op(3, 1, 0)]);
    engine.commit(vec![answered_op(3, 1)]);
    let mut store = engine.close();
    let old = std::fs::read(home.dir.results()).unwrap();
    assert_eq!(store.compact_results().unwrap(), 1);
    drop(store);
    let compacted = std::fs::read(home.dir.results()).unwrap();
    let unfinished = home.dir.path().join("results.jsonl.new");
    std::fs::write(home.dir.results(), &old).unwrap();
    std::fs::write(&unfinished, &compacted[..10]).unwrap();

    let (_, opened) = home.open();
    assert_ne!(opened.repair, cascadeck::store::Repair::default());
    assert_eq!(std::fs::read(home.dir.results()).unwrap(), compacted);
    assert!(!unfinished.exists());
    assert_audit(&home.dir);
}

#[test]
fn the_wal_stays_bounded_while_a_reader_is_active() {
    let home = TestRun::new();
    let mut engine = home.start_engine();
    let long = "A rather long question. ".repeat(300);
    let reader = home.sql();
    for batch in 0..80_u64 {
        // A reader that comes and goes, like a screen.
        reader.query_row("SELECT count(*) FROM progress", [], |row| row.get::<_, i64>(0)).unwrap();
        let rows =
            (1..=100).map(|row| batch * 100 + row).map(|number| item_with_prompt(number, &format!("{number} {long}")));
        engine.commit(vec![Op::IngestItems(rows.collect())]);
    }
    let length = |path| std::fs::metadata(path).unwrap().len();
    let log = length(home.dir.path().join("run.db-wal"));
    let written = length(home.dir.database());
    assert!(written > 45 << 20, "enough was written to tell: {written}");
    assert!(log <= 40 << 20, "the log has {log} bytes beside a database of {written}");
    drop(engine.close());
    assert_eq!(home.dir.path().join("run.db-wal").metadata().map_or(0, |log| log.len()), 0, "and is empty at the end");
}
