//! Replay of failed items, and exports for other programs.

use cascadeck::domain::{FinalState, ResultLine};
use serde_json::Value;

use super::captions::EYES;
use crate::{
    cli::RUN_ARGS,
    harness::{SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows, expected_answer},
};

/// A run in which every item failed, with a provider that works again.
fn failed_run() -> (TestMachine, SimulatedProvider) {
    let gloomy = SimulatedProvider::from_toml(
        &UNLIMITED_PROFILE.replace("name = \"open\"", "name = \"gloomy\"\nfaults = { blocked = 1.0 }"),
    );
    let machine = TestMachine::with_provider(&gloomy);
    machine.write("batch.jsonl", addition_rows(6));
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    machine.write_keys_toml(&provider.keys_toml());
    (machine, provider)
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let (machine, provider) = failed_run();
    let before = machine.read("runs/batch/results.jsonl");
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed", "--dry-run"]).expect_status(0);
    ended.assert_stderr_contains(&["6 failed items will be sent again", "6  content_blocked", "#q1"]);
    assert_eq!(provider.checked_stats().total.requests, 0);
    assert_eq!(machine.read("runs/batch/results.jsonl"), before);
    assert_eq!(machine.status("runs/batch")["failed"], 6);
}

#[test]
fn all_failed_items_are_sent_again_and_the_new_lines_count() {
    let (machine, provider) = failed_run();
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed", "--json"]).expect_status(0);
    ended.assert_stderr_contains(&["6 failed items will be sent again", "6 items are waiting again"]);
    assert_eq!((&ended.stdout_json()["done"], &ended.stdout_json()["failed"]), (&6.into(), &0.into()));
    assert_eq!(provider.checked_stats().total.ok, 6);
    let results = machine.results("runs/batch");
    assert_eq!(results.len(), 6, "one line for every item at the end of the run");
    for line in results {
        assert_eq!((line.status, line.output), (FinalState::Done, Some(expected_answer(&line.id))));
    }
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed"]).expect_status(0);
    ended.assert_stderr_contains(&["no failed item matches, so there is nothing to replay"]);
}

#[test]
fn items_are_chosen_by_id_and_by_outcome() {
    let (machine, provider) = failed_run();
    let args = ["replay", "runs/batch", "--id", "q2", "--id", "q5", "--yes"];
    machine.cascadeck(&args).expect_status(3).assert_stderr_contains(&["2 failed items will be sent again"]);
    assert_eq!(provider.checked_stats().total.ok, 2);
    let state = |id: &str| machine.result("runs/batch", id).status;
    assert_eq!([state("q2"), state("q5"), state("q1")], [FinalState::Done, FinalState::Done, FinalState::Failed]);

    let args = ["replay", "runs/batch", "--outcome", "timeout"];
    machine
        .cascadeck(&args)
        .expect_status(0)
        .assert_stderr_contains(&["no failed item matches", "4 failed: content_blocked (4)"]);
    let args = ["replay", "runs/batch", "--outcome", "content_blocked", "--outcome", "timeout"];
    machine.cascadeck(&args).expect_status(0).assert_stderr_contains(&["4 failed items will be sent again"]);
    assert_eq!((provider.checked_stats().total.ok, machine.results("runs/batch").len()), (6, 6));
    let args = ["replay", "runs/batch", "--outcome", "bad_luck"];
    machine.cascadeck(&args).expect_status(2).assert_stderr_contains(&["content_blocked"]);
}

#[test]
fn an_unknown_id_is_refused_and_told_from_one_that_has_not_failed() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    let blocked = "{\"id\":\"item-0017\",\"question\":\"[sim:blocked]\"}\n";
    machine.write("batch.jsonl", addition_rows(3) + blocked);
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    let sent = provider.checked_stats().total.requests;
    let by = |filter: &[&str]| machine.cascadeck(&[&["replay", "runs/batch", "--yes"][..], filter].concat());

    let ended = by(&["--id", "item-0071"]).expect_status(2);
    ended.assert_stderr_contains(&["there is no item item-0071 in runs/batch", "did you mean `item-0017`?"]);
    by(&["--id", "zebra"]).expect_status(2).assert_stderr_contains(&["there is no item zebra"]);
    // A known id beside unknown ones doesn't hide the mistake, and nothing is sent for either.
    let ended = by(&["--id", "item-0017", "--id", "zebra", "--id", "gnu", "--dry-run"]).expect_status(2);
    ended.assert_stderr_contains(&["there are no items zebra, gnu in runs/batch"]);
    by(&["--id", ""]).expect_status(2);

    let ended = by(&["--id", "q2"]).expect_status(0);
    ended.assert_stderr_contains(&["item q2 has not failed: it is done", "no failed item matches"]);
    assert!(!ended.stderr.contains("there is no item"), "{}", ended.stderr);
    let ended = by(&["--id", "q2", "--id", "item-0017", "--dry-run"]).expect_status(0);
    ended.assert_stderr_contains(&["item q2 has not failed: it is done", "1 failed item will be sent again"]);
    // Escape sequences from the command line are not printed.
    let ended = by(&["--id", "\u{1b}[31mred"]).expect_status(2);
    assert!(!ended.stderr.contains('\u{1b}'), "{:?}", ended.stderr);
    assert_eq!(provider.checked_stats().total.requests, sent);
}

#[test]
fn filters_that_match_nothing_leave_the_run_as_it_is_and_say_what_there_is() {
    let (machine, provider) = failed_run();
    let by = |filter: &[&str]| machine.cascadeck(&[&["replay", "runs/batch", "--yes"][..], filter].concat());
    for filter in [&["--outcome", "timeout"][..], &["--message", "no such words"], &["--outcome", "empty_output"]] {
        by(filter)
            .expect_status(0)
            .assert_stderr_contains(&["no failed item matches", "6 failed: content_blocked (6)"]);
        by(&[filter, &["--dry-run"]].concat()).expect_status(0).assert_stderr_contains(&["no failed item matches"]);
    }
    by(&["--model", "nosuch"]).expect_status(2).assert_stderr_contains(&["no item was tried with the model nosuch"]);
    assert_eq!(provider.checked_stats().total.requests, 0);
    // When no item has failed, nothing is left to do with any filter.
    by(&["--failed"]).expect_status(0);
    for filter in [&["--outcome", "timeout"][..], &["--message", "no such words"], &["--failed"], &["--id", "q1"]] {
        by(filter).expect_status(0).assert_stderr_contains(&["nothing to replay"]);
    }
}

/// Two models and two keys; markers in the prompt decide the outcome.
const TWO_BY_TWO_PROFILE: &str = r#"
name = "pair"
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m1", provider = "g", usd_per_mtok = { input = 1.0, output = 1.0 } }, { name = "m2", provider = "g" }]
key = [
  { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
  { name = "bob", provider = "g", project = "two", secret = "AIza-bob" },
]
"#;

#[test]
fn items_are_chosen_by_model_key_and_message_and_sent_where_they_are_told() {
    let provider = SimulatedProvider::from_toml(TWO_BY_TWO_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    let marked = "{\"id\":\"b1\",\"question\":\"[sim:blocked]\"}\n{\"id\":\"b2\",\"question\":\"[sim:blocked]\"}\n\
                  {\"id\":\"bad\",\"question\":\"[sim:400]\"}\n";
    machine.write("batch.jsonl", addition_rows(3) + marked);
    machine.cascadeck(&[&RUN_ARGS[..], &["--strategy", "cascade", "--in-flight", "1"]].concat()).expect_status(3);
    let by = |filter: &[&str]| machine.cascadeck(&[&["replay", "runs/batch", "--dry-run"][..], filter].concat());

    by(&["--to", "m2@bob", "--id", "b2"]).expect_status(0).assert_stderr_contains(&["only to m2@bob", "no answer yet"]);
    let sent = ["replay", "runs/batch", "--id", "b2", "--to", "m2@bob", "--yes"];
    machine
        .cascadeck(&sent)
        .expect_status(3)
        .assert_stderr_contains(&["1 failed item will be sent again", "1 item is waiting again"]);
    let line = machine.result("runs/batch", "b2");
    assert_eq!((line.model.as_deref(), line.key.as_deref()), (Some("m2"), Some("bob")));

    by(&["--failed"]).expect_status(0).assert_stderr_contains(&["3 failed items", "to the cascade", "about $0.0"]);
    by(&["--model", "m2"]).expect_status(0).assert_stderr_contains(&["1 failed item", "#b2"]);
    by(&["--model", "m2", "--model", "m1"]).expect_status(0).assert_stderr_contains(&["3 failed items"]);
    by(&["--model", "m1", "--key", "bob"]).expect_status(0).assert_stderr_contains(&["no failed item matches"]);
    by(&["--key", "bob", "--outcome", "content_blocked"])
        .expect_status(0)
        .assert_stderr_contains(&["1 failed item", "#b2"]);
    by(&["--message", "PROHIBITED"]).expect_status(0).assert_stderr_contains(&["2 failed items", "2  content_blocked"]);
    by(&["--message", "blockreason: prohibited", "--id", "b1", "--id", "bad"])
        .expect_status(0)
        .assert_stderr_contains(&["1 failed item", "#b1"]);
    by(&["--message", ""]).expect_status(2);
    by(&["--key", "alice", "--key", "bop"])
        .expect_status(2)
        .assert_stderr_contains(&["no item was tried with the key bop", "alice, bob"]);
    by(&["--model", "m3"]).expect_status(2).assert_stderr_contains(&["no item was tried with the model m3", "m1, m2"]);
    for nowhere in ["m3", "m1@carol", "m1@", "alice"] {
        by(&["--failed", "--to", nowhere]).expect_status(2).assert_stderr_contains(&[
            "there is no route",
            nowhere,
            "m1@alice",
        ]);
    }
}

#[test]
fn a_message_is_looked_for_in_all_of_an_error() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    // The reason of the error follows a long file name.
    let (long, short) = ("a".repeat(220), "b");
    let row =
        |id: &str, picture: &str| format!("{{\"id\":\"{id}\",\"prompt\":\"?\",\"images\":[\"{picture}.png\"]}}\n");
    machine.write("batch.jsonl", row("long", &long) + &row("short", short));
    machine.cascadeck(&["run", "batch.jsonl"]).expect_status(3);
    let by = |filter: &[&str]| machine.cascadeck(&[&["replay", "runs/batch", "--dry-run"][..], filter].concat());
    by(&["--message", "does not exist"]).expect_status(0).assert_stderr_contains(&[
        "2 failed items",
        "#long",
        "#short",
    ]);
    by(&["--message", "DOES NOT EXIST", "--id", "long"])
        .expect_status(0)
        .assert_stderr_contains(&["1 failed item", "#long"]);
    by(&["--message", "permission"]).expect_status(0).assert_stderr_contains(&["no failed item matches"]);
}

#[test]
fn a_run_whose_input_was_not_read_to_its_end_is_finished_before_it_is_replayed() {
    let (machine, provider) = failed_run();
    // The state that a kill during reading leaves.
    let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
    let forget = "UPDATE meta SET value = json_set(value, '$.input_rows', NULL) WHERE key = 'tallies'";
    assert_eq!(record.execute(forget, []).unwrap(), 1);
    drop(record);
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed", "--yes"]).expect_status(2);
    ended.assert_stderr_contains(&["was not read to its end (6 rows so far)", "cascadeck run batch.jsonl"]);
    assert_eq!((&machine.status("runs/batch")["failed"], provider.checked_stats().total.requests), (&6.into(), 0));
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    machine.cascadeck(&["replay", "runs/batch", "--failed", "--yes"]).expect_status(0);
}

#[test]
fn nothing_is_queued_again_where_no_key_is_good() {
    let (machine, _) = failed_run();
    let dead = SimulatedProvider::from_toml(&UNLIMITED_PROFILE.replace("secret = ", "state = \"invalid\", secret = "));
    machine.write_keys_toml(&dead.keys_toml());
    machine
        .cascadeck(&["replay", "runs/batch", "--failed", "--yes"])
        .expect_status(2)
        .assert_stderr_contains(&["no key was accepted"]);
    assert_eq!(machine.status("runs/batch")["failed"], 6);
}

#[test]
fn the_flags_of_a_replay_are_for_the_replay() {
    let (machine, _provider) = failed_run();
    let flags = |machine: &TestMachine| -> String {
        let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
        record.query_row("SELECT json FROM states WHERE name = 'flags'", [], |row| row.get(0)).unwrap()
    };
    machine.cascadeck(&[&RUN_ARGS[..], &["--strategy", "fastest"]].concat()).expect_status(3);
    let before = flags(&machine);
    assert!(before.contains("fastest"), "{before}");
    let args = ["replay", "runs/batch", "--failed", "--yes", "--strategy", "cheapest", "--in-flight", "2"];
    machine.cascadeck(&args).expect_status(0);
    assert_eq!(flags(&machine), before);
}

#[test]
fn an_export_is_in_the_inputs_order_in_each_format() {
    let provider = SimulatedProvider::from_toml(
        &UNLIMITED_PROFILE.replace("name = \"open\"", "name = \"lively\"\nlatency = { median_ms = 30, spread = 1.0 }"),
    );
    let machine = TestMachine::with_provider(&provider);
    let blocked = "{\"id\":\"=bad\",\"question\":\"[sim:blocked]\"}\n";
    machine.write("batch.jsonl", addition_rows(20) + blocked);
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    let wanted: Vec<String> = (1..=20).map(|n| format!("q{n}")).chain(["=bad".to_owned()]).collect();
    let completed: Vec<String> = machine.results("runs/batch").into_iter().map(|line| line.id).collect();
    assert_ne!(completed, wanted, "items end in another order than they began");

    let jsonl = machine.cascadeck(&["export", "runs/batch"]).expect_status(0).stdout;
    let ids: Vec<String> = jsonl.lines().map(|line| serde_json::from_str::<ResultLine>(line).unwrap().id).collect();
    assert_eq!(ids, wanted);

    machine.cascadeck(&["export", "runs/batch", "--format", "csv", "--no-formulas", "-o", "out.csv"]).expect_status(0);
    let mut table = csv::Reader::from_path(machine.path("out.csv")).unwrap();
    let headers = table.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|column| column == name).unwrap();
    let (id, output) = (column("id"), column("output"));
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 21);
    assert_eq!((&rows[6][id], &rows[6][output]), ("q7", expected_answer("q7").as_str()));
    assert_eq!(&rows[20][id], "'=bad");

    let batch = machine.cascadeck(&["export", "runs/batch", "--format", "openai-batch"]).expect_status(0).stdout;
    let lines: Vec<Value> = batch.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = lines.iter().map(|line| line["custom_id"].as_str().unwrap()).collect();
    assert_eq!(ids, wanted);
    assert_eq!(lines[2]["response"]["body"]["choices"][0]["message"]["content"], expected_answer("q3"));
    assert!(!lines[20]["error"].is_null() && lines[2]["error"].is_null(), "{}", lines[20]);
}
