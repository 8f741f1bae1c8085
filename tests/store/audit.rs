//! An audit proves a sound run sound, and finds every way in which a record can be broken.

use cascadeck::{
    domain::{Money, Outcome, ReplayFilter},
    store::{Op, audit::audit},
};

use crate::harness::{Home, answered, failed, intent, refused, spec, unreadable};

/// Item 1 done, 2 failed, 3 done after a refusal, 4 waiting after a crash, 5 failed here, 6 replayed and done.
fn eventful() -> Home {
    let (home, mut engine) = Home::with_items(6);
    engine.commit(vec![intent(1, 1, 0), intent(2, 2, 1), intent(3, 3, 2), intent(4, 4, 0), intent(5, 6, 0)]);
    engine.commit(vec![
        answered(1, 1),
        failed(2, 2, Outcome::ContentBlocked),
        refused(3, Outcome::RateLimitedMinute),
        unreadable(5, 5),
        failed(5, 6, Outcome::BadRequest),
    ]);
    let six = ReplayFilter { ids: vec!["item-6".into()], ..ReplayFilter::default() };
    engine.commit(vec![Op::Requeue(six), intent(6, 3, 0), intent(7, 6, 0)]);
    engine.commit(vec![answered(6, 3), answered(7, 6)]);
    drop(engine.close());
    // Attempt 4 was in flight when the process died.
    drop(home.open());
    home
}

#[test]
fn a_sound_run_is_proved_sound() {
    let home = eventful();
    let audit = audit(home.dir.path(), Some(Money(11_000_000))).unwrap();
    assert!(audit.holds(), "{audit:#?}");
    assert_eq!((audit.items, audit.attempts, audit.lost_calls), (6, 7, 1));
    assert_eq!((audit.cost, audit.at_risk), (Money(6_000_000), Money(5_000_000)));
}

#[test]
fn every_broken_promise_is_found_and_named() {
    let recorded = "every item of the input is recorded whole, once, in order";
    let one_line = "every finished item has its one line, every other has none";
    let says = "every line says what its item says";
    let again = "no finished item was sent again";
    let counted = "every attempt is an item's, on a route, and counted";
    let states = "items are counted right by state";
    let sums = "money and tokens add up";
    let file = "results.jsonl is what the record says";
    let in_flight = "INSERT INTO in_flight VALUES (99, 1, 1, 0, 0, 0)";
    let cases: [(&str, &str, &[&str]); 14] = [
        ("a body is gone", "DELETE FROM payload WHERE seq = 2", &[recorded]),
        (
            "a waiting item is gone",
            "DELETE FROM items WHERE seq = 4; DELETE FROM payload WHERE seq = 4",
            &[recorded, counted],
        ),
        ("an answer is gone", "DELETE FROM results WHERE seq = 3", &[one_line, file]),
        ("an answer twice", "INSERT INTO results SELECT 99, seq, line FROM results WHERE seq = 3", &[one_line, file]),
        ("a finished item waits", "UPDATE progress SET state = 0 WHERE seq = 1", &[one_line, states]),
        (
            "another item's answer",
            "UPDATE results SET line = replace(line, 'item-1', 'item-9') WHERE seq = 1",
            &[says, file],
        ),
        ("a failure called done", "UPDATE progress SET state = 1 WHERE seq = 2", &[says, states]),
        ("billed twice", "UPDATE attempts SET outcome = 'ok' WHERE attempt = 3", &["no item was answered twice"]),
        ("sent after its answer", "UPDATE attempts SET seq = 1 WHERE attempt = 4", &[again, counted]),
        ("a finished item in flight", in_flight, &[again]),
        (
            "in flight and settled",
            "INSERT INTO in_flight VALUES (4, 4, 1, 0, 0, 0)",
            &["no attempt is both settled and in flight"],
        ),
        ("a miscounted state", "UPDATE blocks SET failed = failed + 1", &[states]),
        ("money unaccounted for", "UPDATE attempts SET cost = cost + 1 WHERE attempt = 1", &[sums]),
        ("an attempt on no route", "UPDATE attempts SET route = 77 WHERE attempt = 1", &[counted]),
    ];
    for (what, damage, promises) in cases {
        let home = eventful();
        home.sql().execute_batch(damage).unwrap();
        let audit = audit(home.dir.path(), None).unwrap();
        let broken: Vec<_> = audit.checks.iter().filter(|check| check.broken > 0).map(|check| check.promise).collect();
        assert_eq!(broken, promises, "{what}: {audit:#?}");
        assert!(audit.checks.iter().all(|check| check.broken == 0 || !check.examples.is_empty()), "{what}");
    }
}

#[test]
fn an_overspent_budget_counts_what_may_have_been_billed() {
    let home = eventful();
    let audit = audit(home.dir.path(), Some(Money(10_999_999))).unwrap();
    let broken: Vec<_> = audit.checks.iter().filter(|check| check.broken > 0).map(|check| check.promise).collect();
    assert_eq!(broken, ["the budget was kept, with all that may have been billed"]);
}

#[test]
fn a_results_file_that_was_tampered_with_is_found_and_a_running_one_is_not_judged() {
    let home = eventful();
    std::fs::write(home.dir.results(), "not ours\n").unwrap();
    assert!(!audit(home.dir.path(), None).unwrap().holds());
    let mut engine = home.engine();
    engine.commit(vec![Op::Items(vec![spec(7)])]);
    std::fs::write(home.dir.results(), "").unwrap();
    assert!(audit(home.dir.path(), None).unwrap().holds(), "its owner may be about to write");
}
