//! An audit passes a sound run, and finds every way in which a record can be damaged.

use cascadeck::{
    domain::{Money, Outcome, ReplayFilter},
    store::{Op, audit::audit},
};

use crate::store::harness::{TestRun, answered_op, failed_op, intent_op, item_spec, requeued_op, unreadable_op};

/// Item 1 done, 2 failed, 3 done after a refusal, 4 waiting after a crash, 5 failed locally, 6 replayed and done.
fn eventful_run() -> TestRun {
    let (home, mut engine) = TestRun::with_items(6);
    engine.commit(vec![
        intent_op(1, 1, 0),
        intent_op(2, 2, 1),
        intent_op(3, 3, 2),
        intent_op(4, 4, 0),
        intent_op(5, 6, 0),
    ]);
    engine.commit(vec![
        answered_op(1, 1),
        failed_op(2, 2, Outcome::ContentBlocked),
        requeued_op(3, Outcome::RateLimitedMinute),
        unreadable_op(5, 5),
        failed_op(5, 6, Outcome::BadRequest),
    ]);
    let six = ReplayFilter { ids: vec!["item-6".into()], ..ReplayFilter::default() };
    engine.commit(vec![Op::Requeue(six), intent_op(6, 3, 0), intent_op(7, 6, 0)]);
    engine.commit(vec![answered_op(6, 3), answered_op(7, 6)]);
    drop(engine.close());
    // Attempt 4 was in flight when the process died.
    drop(home.open());
    home
}

#[test]
fn a_sound_run_is_proved_sound() {
    let home = eventful_run();
    let audit = audit(home.dir.path(), Some(Money(11_000_000))).unwrap();
    assert!(audit.is_ok(), "{audit:#?}");
    assert_eq!((audit.items, audit.done, audit.failed, audit.waiting, audit.attempts), (6, 3, 2, 1, 7));
    let unanswered: Vec<_> =
        audit.unanswered.iter().map(|call| (call.attempt, call.item.as_str(), call.at_risk)).collect();
    assert_eq!(unanswered, [(4, "item-4", Money(5_000_000))]);
    assert_eq!((audit.cost, audit.at_risk), (Money(6_000_000), Money(5_000_000)));
}

/// SQL that stores a changed line of item 1 as a whole. `change` is an SQL expression with the column `line`.
fn alter_line(change: &str) -> String {
    format!(
        "UPDATE result_rows SET format = 0, line = (SELECT {change} FROM results WHERE results.n = result_rows.n)
         WHERE seq = 1"
    )
}

#[test]
fn every_broken_invariant_is_found_and_named() {
    let recorded = "every item of the input is recorded completely, once, in order";
    let one_line = "every finished item has exactly one line, all others have none";
    let says = "every line agrees with its item";
    let again = "no finished item was sent again";
    let counted = "every attempt belongs to an item and a route, and is counted";
    let states = "the counts of items by state are right";
    let sums = "money and tokens add up";
    let file = "results.jsonl matches the record";
    let body = "every item's body matches its row";
    let rows = "every row of the input is done, failed or waiting";
    let question = "every line answers the request of its item";
    let attempt = "every done item was answered by a recorded attempt, as its line says";
    let altered = "no line was changed after it was recorded";
    let in_flight = "INSERT INTO intents(list) VALUES ('[[99, 1, 1, 0, 0, 0]]')";
    let once = "every attempt is recorded once, settled or in flight";
    let cases: [(&str, &str, &[&str]); 26] = [
        ("a body is gone", "DELETE FROM payload WHERE seq = 2", &[recorded]),
        (
            "a waiting item is gone",
            "DELETE FROM items WHERE seq = 4; DELETE FROM payload WHERE seq = 4",
            &[recorded, counted],
        ),
        ("an answer is gone", "DELETE FROM result_rows WHERE seq = 3", &[one_line, file]),
        (
            "an answer twice",
            "INSERT INTO result_rows SELECT 99, seq, line, digest, format, attempt FROM result_rows WHERE seq = 3",
            &[one_line, file],
        ),
        ("a finished item waits", "UPDATE progress SET state = 0 WHERE seq = 1", &[one_line, states]),
        ("another item's answer", &alter_line("replace(line, 'item-1', 'item-9')"), &[says, altered, file]),
        ("a failure called done", "UPDATE progress SET state = 1 WHERE seq = 2", &[says, attempt, states]),
        ("billed twice", "UPDATE attempts SET outcome = 'ok' WHERE attempt = 3", &["no item was answered twice"]),
        ("sent after its answer", "UPDATE attempts SET seq = 1 WHERE attempt = 4", &[again, counted]),
        ("a finished item in flight", in_flight, &[again]),
        ("in flight and settled", "INSERT INTO intents(list) VALUES ('[[4, 3, 1, 0, 0, 0]]')", &[again, once]),
        ("a miscounted state", "UPDATE blocks SET failed = failed + 1", &[states]),
        ("money unaccounted for", "UPDATE attempts SET cost = cost + 1 WHERE attempt = 1", &[sums, altered, file]),
        (
            "a body is another's",
            "UPDATE payload SET body = (SELECT body FROM payload WHERE seq = 1) WHERE seq = 2",
            &[body],
        ),
        ("a body is damaged", "UPDATE payload SET body = substr(body, 2) WHERE seq = 2", &[body]),
        ("an item's id was changed", "UPDATE items SET id = 'item-9' WHERE seq = 4", &[body]),
        (
            "a row is missing",
            "UPDATE meta SET value = json_set(value, '$.input_rows', 7) WHERE key = 'tallies'",
            &[rows],
        ),
        ("a state that is none", "UPDATE progress SET state = 5 WHERE seq = 4", &[rows, one_line, states]),
        ("a damaged line", &alter_line("substr(line, 2)"), &[says, altered, file]),
        (
            "an answer to another question",
            &alter_line("json_set(line, '$.request_hash', 'f')"),
            &[question, altered, file],
        ),
        (
            "an attempt is gone",
            "DELETE FROM attempts WHERE attempt = 1",
            &[says, question, attempt, counted, sums, altered, file],
        ),
        ("another model's answer", &alter_line("json_set(line, '$.model', 'o9')"), &[attempt, altered, file]),
        ("an altered digest", "UPDATE result_rows SET digest = zeroblob(16) WHERE seq = 1", &[altered]),
        (
            "a digest is gone",
            "UPDATE result_rows SET digest = NULL WHERE n = (SELECT max(n) FROM result_rows)",
            &[altered],
        ),
        ("a table is gone", "DROP TABLE superseded", &[one_line]),
        (
            "an attempt on no route",
            "UPDATE attempts SET route = 77 WHERE attempt = 1",
            &[says, question, attempt, counted, altered, file],
        ),
    ];
    for (what, damage, invariants) in cases {
        let home = eventful_run();
        home.sql().execute_batch(damage).unwrap();
        let audit = audit(home.dir.path(), None).unwrap();
        let broken: Vec<_> =
            audit.checks.iter().filter(|check| check.violations > 0).map(|check| check.invariant).collect();
        assert_eq!(broken, invariants, "{what}: {audit:#?}");
        assert!(audit.checks.iter().all(|check| check.violations == 0 || !check.examples.is_empty()), "{what}");
    }
}

#[test]
fn an_answer_that_was_altered_in_the_record_and_in_the_file_alike_is_found() {
    let home = eventful_run();
    let (was, is) = ("The answer to item-3.", "Another answer altogether.");
    let shown = std::fs::read_to_string(home.dir.results()).unwrap();
    assert!(shown.contains(was));
    std::fs::write(home.dir.results(), shown.replace(was, is)).unwrap();
    home.sql().execute("UPDATE result_rows SET line = replace(line, ?1, ?2)", [was, is]).unwrap();
    let audit = audit(home.dir.path(), None).unwrap();
    let broken: Vec<_> = audit.checks.iter().filter(|check| check.violations > 0).collect();
    assert_eq!(broken.len(), 1, "{audit:#?}");
    assert_eq!(broken[0].examples, ["the line of item item-3 was altered after it was recorded"]);
}

#[test]
fn an_overspent_budget_counts_what_may_have_been_billed() {
    let home = eventful_run();
    let audit = audit(home.dir.path(), Some(Money(10_999_999))).unwrap();
    let broken: Vec<_> =
        audit.checks.iter().filter(|check| check.violations > 0).map(|check| check.invariant).collect();
    assert_eq!(broken, ["the budget was kept, including all that may have been billed"]);
}

#[test]
fn a_results_file_that_was_tampered_with_is_found_and_a_running_one_is_not_judged() {
    let home = eventful_run();
    std::fs::write(home.dir.results(), "not ours\n").unwrap();
    assert!(!audit(home.dir.path(), None).unwrap().is_ok());
    let mut engine = home.start_engine();
    engine.commit(vec![Op::IngestItems(vec![item_spec(7)])]);
    std::fs::write(home.dir.results(), "").unwrap();
    assert!(audit(home.dir.path(), None).unwrap().is_ok(), "its owner may be about to write");
}

#[test]
fn a_damaged_file_is_named_and_not_passed_over() {
    let home = eventful_run();
    let path = home.dir.database();
    let mut bytes = std::fs::read(&path).unwrap();
    let (from, to) = (bytes.len() / 2, bytes.len() / 2 + 4_096);
    bytes[from..to].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    match audit(home.dir.path(), None) {
        Ok(audit) => {
            let sound = &audit.checks[0];
            assert!(sound.violations > 0 && !audit.is_ok(), "{audit:#?}");
        }
        Err(error) => assert!(error.to_string().contains("run.db"), "{error}"),
    }
}

#[test]
fn a_results_file_that_is_gone_is_named() {
    let home = eventful_run();
    std::fs::remove_file(home.dir.results()).unwrap();
    let audit = audit(home.dir.path(), None).unwrap();
    let broken: Vec<_> = audit.checks.iter().filter(|check| check.violations > 0).collect();
    assert_eq!(broken.len(), 1, "{audit:#?}");
    assert!(broken[0].examples[0].contains("results.jsonl"), "{audit:#?}");
}

#[test]
fn the_widest_cap_that_was_ever_in_force_is_held_to() {
    for (cap, holds) in [("10999999", false), ("11000000", true), ("18446744073709551615", true)] {
        let home = eventful_run();
        let keep = "INSERT OR REPLACE INTO states VALUES ('widest_cap', ?1)";
        home.sql().execute(keep, [cap]).unwrap();
        assert_eq!(audit(home.dir.path(), None).unwrap().is_ok(), holds, "{cap}");
    }
}
