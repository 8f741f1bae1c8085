//! Failed items again, on purpose; and results for other programs.

use cascadeck::domain::{FinalState, ResultLine};
use serde_json::Value;

use crate::lab::{Machine, Provider, answer_to, sums};

const OPEN: &str = r#"
name = "open"
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;

const RUN: [&str; 4] = ["run", "batch.jsonl", "--prompt", "{{ question }}"];

/// A run of which every item failed, at a provider that has recovered since.
fn all_failed() -> (Machine, Provider) {
    let gloomy = Provider::of(&OPEN.replace("name = \"open\"", "name = \"gloomy\"\nfaults = { blocked = 1.0 }"));
    let machine = Machine::with(&gloomy);
    machine.write("batch.jsonl", sums(6));
    machine.cascadeck(&RUN).with_status(3);
    let provider = Provider::of(OPEN);
    machine.write_keys(&provider.keys_toml());
    (machine, provider)
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let (machine, provider) = all_failed();
    let before = machine.read("runs/batch/results.jsonl");
    let ended = machine.cascadeck(&["replay", "runs/batch", "--failed", "--dry-run"]).with_status(0);
    ended.says(&["6 failed items will be sent again", "6  content_blocked", "#q1"]);
    assert_eq!(provider.books().total.requests, 0);
    assert_eq!(machine.read("runs/batch/results.jsonl"), before);
    assert_eq!(machine.status("runs/batch")["failed"], 6);
}

#[test]
fn all_failed_items_are_sent_again_and_the_new_lines_count() {
    let (machine, provider) = all_failed();
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
    let (machine, provider) = all_failed();
    let args = ["replay", "runs/batch", "--id", "q2", "--id", "q5", "--yes"];
    machine.cascadeck(&args).with_status(3).says(&["2 failed items will be sent again"]);
    assert_eq!(provider.books().total.ok, 2);
    let state = |id: &str| machine.result("runs/batch", id).status;
    assert_eq!([state("q2"), state("q5"), state("q1")], [FinalState::Done, FinalState::Done, FinalState::Failed]);

    let args = ["replay", "runs/batch", "--outcome", "timeout"];
    machine.cascadeck(&args).with_status(0).says(&["no failed item matches"]);
    let args = ["replay", "runs/batch", "--outcome", "content_blocked", "--outcome", "timeout"];
    machine.cascadeck(&args).with_status(0).says(&["4 failed items will be sent again"]);
    assert_eq!((provider.books().total.ok, machine.results("runs/batch").len()), (6, 6));
    let args = ["replay", "runs/batch", "--outcome", "bad_luck"];
    machine.cascadeck(&args).with_status(2).says(&["content_blocked"]);
}

#[test]
fn an_export_is_in_the_inputs_order_in_each_format() {
    let provider =
        Provider::of(&OPEN.replace("name = \"open\"", "name = \"lively\"\nlatency = { median_ms = 30, spread = 1.0 }"));
    let machine = Machine::with(&provider);
    let blocked = "{\"id\":\"=bad\",\"question\":\"[sim:blocked]\"}\n";
    machine.write("batch.jsonl", sums(20) + blocked);
    machine.cascadeck(&RUN).with_status(3);
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
