//! Failed items again, on purpose; and results for other programs.

use cascadeck::domain::{FinalState, ResultLine};
use serde_json::Value;

use super::captions::EYES;
use crate::{
    RUN_ARGS,
    lab::{Machine, OPEN, Provider, answer_to, sums},
};

/// A run of which every item failed, at a provider that has recovered since.
fn failed_run() -> (Machine, Provider) {
    let gloomy = Provider::of(&OPEN.replace("name = \"open\"", "name = \"gloomy\"\nfaults = { blocked = 1.0 }"));
    let machine = Machine::with(&gloomy);
    machine.write("batch.jsonl", sums(6));
    machine.cascadeck(&RUN_ARGS).with_status(3);
    let provider = Provider::of(OPEN);
    machine.write_keys(&provider.keys_toml());
    (machine, provider)
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let (machine, provider) = failed_run();
    let before = machine.read("runs/batch/results.jsonl");
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed", "--dry-run"]).with_status(0);
    ended.says(&["6 failed items will be sent again", "6  content_blocked", "#q1"]);
    assert_eq!(provider.books().total.requests, 0);
    assert_eq!(machine.read("runs/batch/results.jsonl"), before);
    assert_eq!(machine.status("runs/batch")["failed"], 6);
}

#[test]
fn all_failed_items_are_sent_again_and_the_new_lines_count() {
    let (machine, provider) = failed_run();
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed", "--json"]).with_status(0);
    ended.says(&["6 failed items will be sent again", "6 items wait again"]);
    assert_eq!((&ended.json()["done"], &ended.json()["failed"]), (&6.into(), &0.into()));
    assert_eq!(provider.books().total.ok, 6);
    let results = machine.results("runs/batch");
    assert_eq!(results.len(), 6, "one line for every item at the end of the run");
    for line in results {
        assert_eq!((line.status, line.output), (FinalState::Done, Some(answer_to(&line.id))));
    }
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed"]).with_status(0);
    ended.says(&["no failed item matches: nothing to replay"]);
}

#[test]
fn items_are_chosen_by_id_and_by_outcome() {
    let (machine, provider) = failed_run();
    let args = ["replay", "runs/batch", "--id", "q2", "--id", "q5", "--yes"];
    machine.cascadeck(&args).with_status(3).says(&["2 failed items will be sent again"]);
    assert_eq!(provider.books().total.ok, 2);
    let state = |id: &str| machine.result("runs/batch", id).status;
    assert_eq!([state("q2"), state("q5"), state("q1")], [FinalState::Done, FinalState::Done, FinalState::Failed]);

    let args = ["replay", "runs/batch", "--outcome", "timeout"];
    machine.cascadeck(&args).with_status(0).says(&["no failed item matches", "4 failed, of content_blocked (4)"]);
    let args = ["replay", "runs/batch", "--outcome", "content_blocked", "--outcome", "timeout"];
    machine.cascadeck(&args).with_status(0).says(&["4 failed items will be sent again"]);
    assert_eq!((provider.books().total.ok, machine.results("runs/batch").len()), (6, 6));
    let args = ["replay", "runs/batch", "--outcome", "bad_luck"];
    machine.cascadeck(&args).with_status(2).says(&["content_blocked"]);
}

#[test]
fn an_unknown_id_is_refused_and_told_from_one_that_has_not_failed() {
    let provider = Provider::of(OPEN);
    let machine = Machine::with(&provider);
    let blocked = "{\"id\":\"item-0017\",\"question\":\"[sim:blocked]\"}\n";
    machine.write("batch.jsonl", sums(3) + blocked);
    machine.cascadeck(&RUN_ARGS).with_status(3);
    let sent = provider.books().total.requests;
    let by = |filter: &[&str]| machine.cascadeck(&[&["replay", "runs/batch", "--yes"][..], filter].concat());

    let ended = by(&["--id", "item-0071"]).with_status(2);
    ended.says(&["there is no item item-0071 in runs/batch", "did you mean `item-0017`?"]);
    by(&["--id", "zebra"]).with_status(2).says(&["there is no item zebra"]);
    // A known one beside it does not hide the slip, and nothing is sent of either.
    let ended = by(&["--id", "item-0017", "--id", "zebra", "--id", "gnu", "--dry-run"]).with_status(2);
    ended.says(&["there are no items zebra, gnu in runs/batch"]);
    by(&["--id", ""]).with_status(2);

    let ended = by(&["--id", "q2"]).with_status(0);
    ended.says(&["item q2 has not failed: it is done", "no failed item matches"]);
    assert!(!ended.err.contains("there is no item"), "{}", ended.err);
    let ended = by(&["--id", "q2", "--id", "item-0017", "--dry-run"]).with_status(0);
    ended.says(&["item q2 has not failed: it is done", "1 failed item will be sent again"]);
    // Escape sequences stay in the command line.
    let ended = by(&["--id", "\u{1b}[31mred"]).with_status(2);
    assert!(!ended.err.contains('\u{1b}'), "{:?}", ended.err);
    assert_eq!(provider.books().total.requests, sent);
}

#[test]
fn filters_that_match_nothing_leave_the_run_as_it_is_and_say_what_there_is() {
    let (machine, provider) = failed_run();
    let by = |filter: &[&str]| machine.cascadeck(&[&["replay", "runs/batch", "--yes"][..], filter].concat());
    for filter in [&["--outcome", "timeout"][..], &["--message", "no such words"], &["--outcome", "empty_output"]] {
        by(filter).with_status(0).says(&["no failed item matches", "6 failed, of content_blocked (6)"]);
        by(&[filter, &["--dry-run"]].concat()).with_status(0).says(&["no failed item matches"]);
    }
    by(&["--model", "nosuch"]).with_status(2).says(&["no item was tried with the model nosuch"]);
    assert_eq!(provider.books().total.requests, 0);
    // With nothing failed there is nothing left to do, whatever was asked for.
    by(&["--failed"]).with_status(0);
    for filter in [&["--outcome", "timeout"][..], &["--message", "no such words"], &["--failed"], &["--id", "q1"]] {
        by(filter).with_status(0).says(&["nothing to replay"]);
    }
}

/// Two models and two keys, where a prompt says what becomes of it.
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
    let provider = Provider::of(TWO_BY_TWO_PROFILE);
    let machine = Machine::with(&provider);
    let marked = "{\"id\":\"b1\",\"question\":\"[sim:blocked]\"}\n{\"id\":\"b2\",\"question\":\"[sim:blocked]\"}\n\
                  {\"id\":\"bad\",\"question\":\"[sim:400]\"}\n";
    machine.write("batch.jsonl", sums(3) + marked);
    machine.cascadeck(&[&RUN_ARGS[..], &["--strategy", "cascade", "--in-flight", "1"]].concat()).with_status(3);
    let by = |filter: &[&str]| machine.cascadeck(&[&["replay", "runs/batch", "--dry-run"][..], filter].concat());

    by(&["--to", "m2@bob", "--id", "b2"]).with_status(0).says(&["to m2@bob alone", "nothing was answered"]);
    let sent = ["replay", "runs/batch", "--id", "b2", "--to", "m2@bob", "--yes"];
    machine.cascadeck(&sent).with_status(3).says(&["1 failed item will be sent again", "1 item waits again"]);
    let line = machine.result("runs/batch", "b2");
    assert_eq!((line.model.as_deref(), line.key.as_deref()), (Some("m2"), Some("bob")));

    by(&["--failed"]).with_status(0).says(&["3 failed items", "to the cascade", "about $0.0"]);
    by(&["--model", "m2"]).with_status(0).says(&["1 failed item", "#b2"]);
    by(&["--model", "m2", "--model", "m1"]).with_status(0).says(&["3 failed items"]);
    by(&["--model", "m1", "--key", "bob"]).with_status(0).says(&["no failed item matches"]);
    by(&["--key", "bob", "--outcome", "content_blocked"]).with_status(0).says(&["1 failed item", "#b2"]);
    by(&["--message", "PROHIBITED"]).with_status(0).says(&["2 failed items", "2  content_blocked"]);
    by(&["--message", "blockreason: prohibited", "--id", "b1", "--id", "bad"])
        .with_status(0)
        .says(&["1 failed item", "#b1"]);
    by(&["--message", ""]).with_status(2);
    by(&["--key", "alice", "--key", "bop"]).with_status(2).says(&["no item was tried with the key bop", "alice, bob"]);
    by(&["--model", "m3"]).with_status(2).says(&["no item was tried with the model m3", "m1, m2"]);
    for nowhere in ["m3", "m1@carol", "m1@", "alice"] {
        by(&["--failed", "--to", nowhere]).with_status(2).says(&["there is no route", nowhere, "m1@alice"]);
    }
}

#[test]
fn a_message_is_looked_for_in_all_of_an_error() {
    let provider = Provider::of(EYES);
    let machine = Machine::with(&provider);
    // What was wrong stands behind the name of what was looked for.
    let (long, short) = ("a".repeat(220), "b");
    let row =
        |id: &str, picture: &str| format!("{{\"id\":\"{id}\",\"prompt\":\"?\",\"images\":[\"{picture}.png\"]}}\n");
    machine.write("batch.jsonl", row("long", &long) + &row("short", short));
    machine.cascadeck(&["run", "batch.jsonl"]).with_status(3);
    let by = |filter: &[&str]| machine.cascadeck(&[&["replay", "runs/batch", "--dry-run"][..], filter].concat());
    by(&["--message", "does not exist"]).with_status(0).says(&["2 failed items", "#long", "#short"]);
    by(&["--message", "DOES NOT EXIST", "--id", "long"]).with_status(0).says(&["1 failed item", "#long"]);
    by(&["--message", "permission"]).with_status(0).says(&["no failed item matches"]);
}

#[test]
fn a_run_whose_input_was_not_read_to_its_end_is_finished_before_it_is_replayed() {
    let (machine, provider) = failed_run();
    // As a process leaves it that is killed while it reads.
    let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
    let forget = "UPDATE meta SET value = json_set(value, '$.input_rows', NULL) WHERE key = 'tallies'";
    assert_eq!(record.execute(forget, []).unwrap(), 1);
    drop(record);
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed", "--yes"]).with_status(2);
    ended.says(&["was not read to its end (6 rows so far)", "cascadeck run batch.jsonl"]);
    assert_eq!((&machine.status("runs/batch")["failed"], provider.books().total.requests), (&6.into(), 0));
    machine.cascadeck(&RUN_ARGS).with_status(3);
    machine.cascadeck(&["replay", "runs/batch", "--failed", "--yes"]).with_status(0);
}

#[test]
fn nothing_is_queued_again_where_no_key_is_good() {
    let (machine, _) = failed_run();
    let dead = Provider::of(&OPEN.replace("secret = ", "state = \"invalid\", secret = "));
    machine.write_keys(&dead.keys_toml());
    machine.cascadeck(&["replay", "runs/batch", "--failed", "--yes"]).with_status(2).says(&["no key is good"]);
    assert_eq!(machine.status("runs/batch")["failed"], 6);
}

#[test]
fn the_flags_of_a_replay_are_for_the_replay() {
    let (machine, _provider) = failed_run();
    let flags = |machine: &Machine| -> String {
        let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
        record.query_row("SELECT json FROM states WHERE name = 'flags'", [], |row| row.get(0)).unwrap()
    };
    machine.cascadeck(&[&RUN_ARGS[..], &["--strategy", "fastest"]].concat()).with_status(3);
    let before = flags(&machine);
    assert!(before.contains("fastest"), "{before}");
    let args = ["replay", "runs/batch", "--failed", "--yes", "--strategy", "cheapest", "--in-flight", "2"];
    machine.cascadeck(&args).with_status(0);
    assert_eq!(flags(&machine), before);
}

#[test]
fn an_export_is_in_the_inputs_order_in_each_format() {
    let provider =
        Provider::of(&OPEN.replace("name = \"open\"", "name = \"lively\"\nlatency = { median_ms = 30, spread = 1.0 }"));
    let machine = Machine::with(&provider);
    let blocked = "{\"id\":\"=bad\",\"question\":\"[sim:blocked]\"}\n";
    machine.write("batch.jsonl", sums(20) + blocked);
    machine.cascadeck(&RUN_ARGS).with_status(3);
    let wanted: Vec<String> = (1..=20).map(|n| format!("q{n}")).chain(["=bad".to_owned()]).collect();
    let completed: Vec<String> = machine.results("runs/batch").into_iter().map(|line| line.id).collect();
    assert_ne!(completed, wanted, "items end in another order than they began");

    let jsonl = machine.cascadeck(&["export", "runs/batch"]).with_status(0).out;
    let ids: Vec<String> = jsonl.lines().map(|line| serde_json::from_str::<ResultLine>(line).unwrap().id).collect();
    assert_eq!(ids, wanted);

    machine.cascadeck(&["export", "runs/batch", "--format", "csv", "--no-formulas", "-o", "out.csv"]).with_status(0);
    let mut table = csv::Reader::from_path(machine.path("out.csv")).unwrap();
    let headers = table.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|column| column == name).unwrap();
    let (id, output) = (column("id"), column("output"));
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 21);
    assert_eq!((&rows[6][id], &rows[6][output]), ("q7", answer_to("q7").as_str()));
    assert_eq!(&rows[20][id], "'=bad");

    let batch = machine.cascadeck(&["export", "runs/batch", "--format", "openai-batch"]).with_status(0).out;
    let lines: Vec<Value> = batch.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = lines.iter().map(|line| line["custom_id"].as_str().unwrap()).collect();
    assert_eq!(ids, wanted);
    assert_eq!(lines[2]["response"]["body"]["choices"][0]["message"]["content"], answer_to("q3"));
    assert!(!lines[20]["error"].is_null() && lines[2]["error"].is_null(), "{}", lines[20]);
}
