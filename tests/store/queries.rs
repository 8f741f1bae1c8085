//! Queries beside the run: windows of items, one whole item, bodies for the engine, reports.

use std::time::Duration;

use cascadeck::{
    domain::{
        FinalState, Image, ItemFilter, ItemRow, ItemState, Message, MessageRole, Money, Outcome, Page, Part, Query,
        ReplayFilter, Seq,
    },
    store::{ItemLoader, KeyRecord, Op, PageRequest, report, spawn_reader},
};
use tokio::sync::{mpsc, oneshot};

use crate::store::harness::{
    FakeEngine, TestRun, answered_op, complete_op, failed_op, intent_op, item_spec, requeued_op, result_line, sent_at,
    unreadable_op,
};

/// A client of the reader thread.
struct ReaderClient(mpsc::Sender<PageRequest>);

impl ReaderClient {
    fn open(home: &TestRun) -> Self {
        let (asks, asked) = mpsc::channel(4);
        spawn_reader(&home.dir, asked).unwrap();
        Self(asks)
    }

    fn query(&self, query: Query) -> Page {
        let (reply, page) = oneshot::channel();
        self.0.blocking_send(PageRequest { query, reply }).unwrap();
        page.blocking_recv().unwrap().unwrap()
    }

    fn items(&self, state: Option<ItemState>, text: &str, offset: u64, limit: u32) -> (Vec<ItemRow>, u64) {
        let filter = ItemFilter { state, text: text.into() };
        match self.query(Query::Items { filter, offset, limit }) {
            Page::Items { rows, matching, .. } => (rows, matching),
            other => panic!("{other:?}"),
        }
    }
}

fn seqs(rows: &[ItemRow]) -> Vec<u64> {
    rows.iter().map(|row| row.seq).collect()
}

/// 10,000 items over three blocks: a tenth failed, another tenth done, two in flight.
fn mixed_run() -> (TestRun, FakeEngine) {
    let (home, mut engine) = TestRun::with_items(10_000);
    let every_tenth = |first: u64| (first..=10_000).step_by(10);
    engine.commit(every_tenth(1).chain(every_tenth(2)).map(|seq| intent_op(seq, seq, 0)).collect());
    engine.commit(every_tenth(1).map(|seq| failed_op(seq, seq, Outcome::ContentBlocked)).collect());
    engine.commit(every_tenth(2).map(|seq| answered_op(seq, seq)).collect());
    engine.commit(vec![intent_op(20_000, 5, 1), intent_op(20_001, 4_500, 2)]);
    (home, engine)
}

#[test]
fn windows_are_exact_anywhere_in_any_state() {
    let (home, _engine) = mixed_run();
    let screen = ReaderClient::open(&home);
    let all: Vec<u64> = (1..=10_000).collect();
    let of = |keep: fn(u64) -> bool| all.iter().copied().filter(|seq| keep(*seq)).collect::<Vec<_>>();
    let cases = [
        (None, all.clone()),
        (Some(ItemState::Failed), of(|seq| seq % 10 == 1)),
        (Some(ItemState::Done), of(|seq| seq % 10 == 2)),
        (Some(ItemState::InFlight), vec![5, 4_500]),
        (Some(ItemState::Waiting), of(|seq| !matches!(seq % 10, 1 | 2) && seq != 5 && seq != 4_500)),
    ];
    for (state, want) in cases {
        for offset in [0, 1, 399, 409, 410, 3_275, 5_000, 9_990, 20_000] {
            let (rows, matching) = screen.items(state, "", offset, 7);
            let window: Vec<_> = want.iter().copied().skip(offset as usize).take(7).collect();
            assert_eq!(seqs(&rows), window, "{state:?} from {offset}");
            assert_eq!(matching, want.len() as u64, "{state:?}");
            if let Some(state) = state {
                assert!(rows.iter().all(|row| row.state == state), "{rows:?}");
            }
        }
    }
    assert_eq!(screen.items(None, "", 0, u32::MAX).0.len(), 1_000, "a window is bounded, whatever is asked for");
}

#[test]
fn text_finds_ids_errors_prompts_and_answers_in_any_case() {
    let (home, mut engine) = mixed_run();
    let screen = ReaderClient::open(&home);
    let cases: [(Option<ItemState>, &str, u64, u64); 9] = [
        (None, "IS 4501 Squared?", 1, 4_501),
        (Some(ItemState::Waiting), "IS 4500", 0, 0),
        (None, "speaker", 0, 0),
        (None, "ITEM-77", 111, 77),
        (Some(ItemState::Done), "item-77", 11, 772),
        (None, "safety", 1_000, 1),
        (Some(ItemState::Failed), "Safety", 1_000, 1),
        (Some(ItemState::Done), "safety", 0, 0),
        (Some(ItemState::InFlight), "4500", 1, 4_500),
    ];
    for (state, text, count, first) in cases {
        let (rows, matching) = screen.items(state, text, 0, 5);
        assert_eq!(matching, count, "{state:?} {text}");
        assert_eq!(rows.first().map_or(0, |row| row.seq), first, "{state:?} {text}");
    }
    assert_eq!(seqs(&screen.items(None, "item-77", 2, 2).0), [771, 772]);

    engine.commit(vec![complete_op(
        20_001,
        Outcome::Ok,
        Some(result_line(4_500, FinalState::Done, Outcome::Ok, "late")),
    )]);
    assert_eq!(screen.items(Some(ItemState::Done), "4500", 0, 5).1, 1, "another question sees the run as it is");
    assert_eq!(screen.items(None, "LATE", 0, 5).1, 1, "the answer has it");
}

#[test]
fn an_outdated_list_says_so_until_it_is_rebuilt() {
    let (home, mut engine) = mixed_run();
    let screen = ReaderClient::open(&home);
    let filter = ItemFilter { state: None, text: "safety".to_owned() };
    let lists = [
        Query::Items { filter, offset: 0, limit: 1 },
        Query::Failures { filter: ReplayFilter { text: "safety".to_owned(), ..ReplayFilter::default() } },
    ];
    let ask = |query: &Query| match screen.query(query.clone()) {
        Page::Items { matching, outdated, .. } | Page::Failures { matching, outdated, .. } => (matching, outdated),
        other => panic!("{other:?}"),
    };
    // Each query is followed by the failure of one item in flight.
    for (at, (query, (attempt, seq))) in lists.iter().zip([(20_000, 5), (20_001, 4_500)]).enumerate() {
        let before = 1_000 + at as u64;
        assert_eq!(ask(query), (before, false), "{query:?}");
        engine.commit(vec![failed_op(attempt, seq, Outcome::ContentBlocked)]);
        loop {
            let (matching, outdated) = ask(query);
            assert_eq!(outdated, matching == before, "{query:?}: {matching}");
            if !outdated {
                break;
            }
        }
    }
}

#[test]
fn a_row_says_what_became_of_the_item() {
    let (home, mut engine) = TestRun::with_items(5);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(2, 2, 1), intent_op(3, 3, 2), intent_op(4, 4, 0)]);
    let long = "ä".repeat(500);
    engine.commit(vec![
        complete_op(1, Outcome::Ok, Some(result_line(1, FinalState::Done, Outcome::Ok, &long))),
        failed_op(2, 2, Outcome::ContentBlocked),
        requeued_op(3, Outcome::ServerError),
        unreadable_op(5, 5),
    ]);
    let rows = ReaderClient::open(&home).items(None, "", 0, 10).0;
    let brief: Vec<_> = rows.iter().map(|row| (row.state, row.attempts, row.outcome, row.route.as_deref())).collect();
    assert_eq!(
        brief,
        [
            (ItemState::Done, 1, Some(Outcome::Ok), Some("pro@alice")),
            (ItemState::Failed, 1, Some(Outcome::ContentBlocked), Some("flash@alice")),
            (ItemState::Waiting, 1, Some(Outcome::ServerError), Some("pro@bob")),
            (ItemState::InFlight, 0, None, Some("pro@alice")),
            (ItemState::Failed, 0, Some(Outcome::UnreadableInput), None),
        ]
    );
    let words: Vec<_> = rows.iter().map(|row| row.preview.as_str()).collect();
    let shortened = "ä".repeat(200);
    assert_eq!(
        words,
        [
            shortened.as_str(),
            "blockReason: SAFETY",
            "blockReason: SAFETY",
            "What is 4 squared?",
            "cat.png: no such file"
        ]
    );
}

#[test]
fn an_item_is_shown_whole_with_every_attempt() {
    let home = TestRun::new();
    let mut engine = home.start_engine();
    let mut with_picture = item_spec(1);
    let parts = vec![Part::Text("What is this?".into()), Part::Image(Image::File("cat.png".into()))];
    with_picture.request.messages = vec![Message { role: MessageRole::User, parts }];
    with_picture.request.system = Some("Be brief.".into());
    engine.commit(vec![Op::IngestItems(vec![with_picture])]);
    engine.commit(vec![intent_op(1, 1, 0)]);
    engine.commit(vec![requeued_op(1, Outcome::RateLimitedMinute), intent_op(2, 1, 2)]);
    engine.commit(vec![answered_op(2, 1)]);

    let screen = ReaderClient::open(&home);
    let Page::Item(item) = screen.query(Query::Item { seq: 1 }) else { panic!("item 1 is there") };
    assert_eq!((item.row.id.as_str(), item.row.state, item.line), ("item-1", ItemState::Done, 1));
    assert_eq!(item.system.as_deref(), Some("Be brief."));
    assert_eq!(item.prompt, "What is this?\n[picture cat.png]");
    assert_eq!(item.pictures, ["cat.png"]);
    assert_eq!(item.output.as_deref(), Some("The answer to item-1."));
    assert_eq!((item.finish_reason.as_deref(), item.model_version.as_deref()), (Some("stop"), Some("pro-001")));
    assert_eq!((item.usage.input_tokens, item.cost), (100, Money(2_000_000)));
    let attempts: Vec<_> = item.attempts.iter().map(|row| (row.number, row.key.as_str(), row.outcome)).collect();
    assert_eq!(attempts, [(1, "alice", Outcome::RateLimitedMinute), (2, "bob", Outcome::Ok)]);
    assert_eq!((item.attempts[0].status, item.attempts[0].sent_at), (Some(429), sent_at(1)));
    assert_eq!(item.attempts[0].message, "blockReason: SAFETY");
    assert_eq!(screen.query(Query::Item { seq: 2 }), Page::NotFound);
    let picture = |seq, index| screen.query(Query::Picture { seq, index });
    assert_eq!(picture(1, 0), Page::Picture(Image::File("cat.png".into())));
    assert_eq!([picture(1, 1), picture(2, 0)], [Page::NotFound, Page::NotFound]);
}

#[tokio::test]
async fn bodies_are_loaded_unchanged_with_their_attempts() {
    let (home, engine) = tokio::task::spawn_blocking(|| {
        let (home, mut engine) = TestRun::with_items(3);
        engine.commit(vec![intent_op(1, 2, 0)]);
        engine.commit(vec![requeued_op(1, Outcome::Timeout), intent_op(2, 2, 0)]);
        engine.commit(vec![requeued_op(2, Outcome::Timeout)]);
        (home, engine)
    })
    .await
    .unwrap();
    let loader = ItemLoader::start(&home.dir).unwrap();
    let loaded = loader.load(vec![Seq(3), Seq(2)]).await.unwrap();
    let items = loaded.items;
    assert_eq!(items.iter().map(|item| &item.spec).collect::<Vec<_>>(), [&item_spec(3), &item_spec(2)]);
    assert_eq!((items[0].completed_attempts, items[0].started_at), (0, None));
    assert_eq!((items[1].completed_attempts, items[1].started_at), (2, Some(sent_at(1))));

    // A damaged body affects its own item only.
    home.sql()
        .execute_batch("UPDATE payload SET body = 'rubbish' WHERE seq = 2; DELETE FROM payload WHERE seq = 1")
        .unwrap();
    let loaded = loader.load(vec![Seq(1), Seq(2), Seq(3)]).await.unwrap();
    assert_eq!(loaded.items.iter().map(|item| &item.spec).collect::<Vec<_>>(), [&item_spec(3)]);
    let lost: Vec<_> = loaded.unreadable.iter().map(|item| (item.id.as_str(), item.completed_attempts)).collect();
    assert_eq!(lost, [("item-1", 0), ("item-2", 2)]);
    tokio::task::spawn_blocking(|| drop(engine.close())).await.unwrap();
}

#[test]
fn a_summary_adds_up_keys_and_models_while_the_run_goes_on() {
    let (home, mut engine) = TestRun::with_items(5);
    engine.commit((1..=4).map(|seq| intent_op(seq, seq, [0, 0, 1, 2][seq as usize - 1])).collect());
    engine.commit(vec![answered_op(1, 1), answered_op(2, 2), requeued_op(3, Outcome::QuotaExhaustedDay)]);
    let standing = KeyRecord { name: "bob".into(), state: "cooling".into(), health: 80, ..Default::default() };
    engine.commit(vec![Op::SetKeys(vec![standing]), Op::SetActiveTime(Duration::from_millis(2_500))]);

    let summary = report::load_summary(home.dir.path()).unwrap();
    assert_eq!((summary.run.as_str(), summary.state.as_str()), ("batch", "running"));
    assert_eq!((summary.total, summary.waiting, summary.in_flight, summary.done, summary.failed), (5, 2, 1, 2, 0));
    assert_eq!((summary.attempts, summary.rate_limited), (4, 1));
    assert_eq!((summary.usage.input_tokens, summary.usage.output_tokens), (200, 46), "thinking is output");
    assert_eq!((summary.usage.thinking_tokens, summary.models[0].usage.thinking_tokens), (6, 6));
    assert!((summary.usage.cost_usd - 4e-6).abs() < 1e-12 && (summary.elapsed_s - 2.5).abs() < 1e-9, "{summary:?}");
    let keys: Vec<_> = summary
        .keys
        .iter()
        .map(|key| (key.name.as_str(), key.state.as_str(), key.health, key.ok, key.failed))
        .collect();
    let want = [("bob", "cooling", 80, 0, 0), ("alice", "ready", 100, 2, 1)];
    assert_eq!(keys, want, "keys without a recorded state come last");
    let models: Vec<_> =
        summary.models.iter().map(|model| (model.name.as_str(), model.ok, model.failed, model.p95_ms)).collect();
    assert_eq!(models, [("pro", 2, 0, Some(500)), ("flash", 0, 1, None)]);

    // Without sums they are computed from all attempts.
    home.sql().execute_batch("DELETE FROM route_sums; DELETE FROM unsummed_attempts").unwrap();
    let computed = report::load_summary(home.dir.path()).unwrap();
    assert_eq!(serde_json::to_value(&computed).unwrap(), serde_json::to_value(&summary).unwrap());

    let mut place_after = |ops| {
        engine.commit(ops);
        report::load_summary(home.dir.path()).unwrap().place.unwrap()
    };
    let place = place_after(Vec::new());
    assert_eq!((place.item.as_str(), place.item_number, place.item_count), ("item-4", 4, 5), "in flight");
    assert_eq!((place.key.as_str(), place.key_number, place.key_count), ("bob", 1, 1));
    assert_eq!((place.model.as_str(), place.model_number, place.model_count), ("pro", 1, 2));
    assert_eq!((place.retry, place.at), (0, sent_at(4).rfc3339()));
    place_after(vec![requeued_op(4, Outcome::ServerError)]);
    assert_eq!(place_after(vec![intent_op(5, 4, 2)]).retry, 1);
    assert_eq!(place_after(vec![answered_op(5, 4)]).retry, 1, "ended");
    let place = place_after(vec![intent_op(6, 3, 1)]);
    assert_eq!((place.item.as_str(), place.key.as_str(), place.model.as_str()), ("item-3", "alice", "flash"));
    assert_eq!((place.key_number, place.model_number), (0, 2), "a key that is no longer configured has no number");
}

#[test]
fn results_are_exported_in_input_order_the_last_line_of_each() {
    let (home, mut engine) = TestRun::with_items(2_500);
    engine.commit((1..=2_500).rev().map(|seq| intent_op(seq, seq, 0)).collect());
    engine.commit((2..=2_500).rev().map(|seq| answered_op(seq, seq)).collect());
    let mut exported = Vec::new();
    report::for_each_result(home.dir.path(), |recorded| -> Result<(), cascadeck::store::StoreError> {
        exported.push((recorded.seq.0, recorded.parse()?.id));
        Ok(())
    })
    .unwrap();
    let want: Vec<_> = (2..=2_500).map(|seq| (seq, format!("item-{seq}"))).collect();
    assert_eq!(exported, want);
}

#[test]
fn a_group_without_a_model_does_not_stand_for_items_that_were_sent() {
    let (home, mut engine) = TestRun::with_items(3);
    engine.commit(vec![intent_op(1, 2, 0)]);
    engine.commit(vec![requeued_op(1, Outcome::ServerError)]);
    engine.commit(vec![unreadable_op(1, 1), unreadable_op(2, 2), unreadable_op(3, 3)]);
    let screen = ReaderClient::open(&home);
    let groups_of = |filter| match screen.query(Query::Failures { filter }) {
        Page::Failures { groups, .. } => groups,
        page => panic!("{page:?}"),
    };
    let groups = groups_of(ReplayFilter::default());
    let found: Vec<_> = groups.iter().map(|group| (group.model.as_deref(), group.count)).collect();
    assert_eq!(found, [(None, 2), (Some("pro"), 1)]);
    for group in &groups {
        assert_eq!(groups_of(group.replay_filter()), std::slice::from_ref(group));
    }
    drop(engine.close());
}

#[test]
fn failures_are_grouped_by_what_they_failed_of_and_a_group_is_exported_alone() {
    let (home, mut engine) = TestRun::with_items(5);
    engine.commit(vec![intent_op(1, 1, 0), intent_op(3, 3, 0), intent_op(4, 4, 0)]);
    engine.commit(vec![
        failed_op(1, 1, Outcome::ContentBlocked),
        unreadable_op(2, 2),
        failed_op(3, 3, Outcome::ContentBlocked),
        failed_op(4, 4, Outcome::BadRequest),
    ]);
    let screen = ReaderClient::open(&home);
    let ask = |query| screen.query(query);
    let Page::Failures { groups, matching, .. } = ask(Query::Failures { filter: ReplayFilter::default() }) else {
        panic!()
    };
    let found: Vec<_> = groups.iter().map(|group| (group.outcome, group.count, group.first_seq)).collect();
    assert_eq!(matching, 4);
    assert_eq!(
        found,
        [
            (Some(Outcome::ContentBlocked), 2, 1),
            (Some(Outcome::UnreadableInput), 1, 2),
            (Some(Outcome::BadRequest), 1, 4)
        ]
    );
    for number in 1..=2 {
        let Page::Exported { path, rows } = ask(Query::ExportFailures { filter: groups[0].replay_filter() }) else {
            panic!()
        };
        assert!(path.ends_with(&format!("failed-{number}.jsonl")), "nothing is overwritten: {path}");
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!((rows, written.lines().count()), (2, 2));
        assert!(written.lines().all(|line| line.contains("content_blocked")), "{written}");
    }
    drop(engine.close());
}
