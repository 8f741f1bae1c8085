//! Runs that an older version of the program started: they are read as they are, migrated by the next start, and
//! finished.

use rusqlite::Connection;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::harness::{SimulatedProvider, TestMachine, addition_rows, expected_answer, logging_server::LoggingServer};

const OLDEST_SCHEMA: &str = include_str!("../schema/1.sql");

const PRICED_PROFILE: &str = r#"
name = "open"
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g", usd_per_mtok = { input = 1.0, output = 2.0 }, max_output = 1000 }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;

const RUN_ARGS: [&str; 5] = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--json"];

fn schema_version(machine: &TestMachine) -> u32 {
    let record = Connection::open(machine.path("runs/batch/run.db")).unwrap();
    record.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// The second schema, in which lines have digests.
const SECOND_SCHEMA: &str = "ALTER TABLE results ADD COLUMN digest BLOB; PRAGMA user_version = 2;";

/// The third schema, in which attempts have tokens and costs by kind.
const THIRD_SCHEMA: &str = "ALTER TABLE attempts ADD COLUMN cached_input_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempts ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempts ADD COLUMN cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempts ADD COLUMN cost_input INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempts ADD COLUMN cost_cached_input INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempts ADD COLUMN cost_cache_write INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempts ADD COLUMN cost_output INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempts ADD COLUMN cost_images INTEGER NOT NULL DEFAULT 0; PRAGMA user_version = 3;";

#[test]
fn a_run_of_the_oldest_schema_is_read_brought_forward_and_finished() {
    check_migration(1, OLDEST_SCHEMA);
}

#[test]
fn a_run_of_the_second_schema_is_read_brought_forward_and_finished() {
    check_migration(2, &(OLDEST_SCHEMA.to_owned() + SECOND_SCHEMA));
}

#[test]
fn a_run_of_the_third_schema_is_read_brought_forward_and_finished() {
    check_migration(3, &(OLDEST_SCHEMA.to_owned() + SECOND_SCHEMA + THIRD_SCHEMA));
}

fn check_migration(version: u32, schema: &str) {
    let provider = SimulatedProvider::from_toml(PRICED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", "{\"id\":\"bad\",\"question\":\"[sim:blocked]\"}\n".to_owned() + &addition_rows(6));
    std::fs::create_dir_all(machine.path("runs/batch")).unwrap();
    Connection::open(machine.path("runs/batch/run.db")).unwrap().execute_batch(schema).unwrap();

    // Reading changes nothing.
    let status = machine.status("runs/batch");
    assert_eq!((&status["done"], &status["failed"], &status["total"]), (&2.into(), &1.into(), &7.into()), "{status}");
    assert_eq!(machine.cascadeck(&["export", "runs/batch"]).expect_status(0).stdout.lines().count(), 3);
    machine
        .cascadeck(&["replay", "runs/batch", "--failed", "--dry-run"])
        .expect_status(0)
        .assert_stderr_contains(&["1 failed item"]);
    // There is no results.jsonl, so one check fails.
    let audit = machine.cascadeck(&["audit", "runs/batch"]).expect_status(1).stdout;
    assert!(audit.contains("ok      money and tokens add up") && audit.matches("FAILED").count() == 1, "{audit}");
    assert_eq!(schema_version(&machine), version);
    let (cost, kinds) = (status["cost_usd"].as_f64().unwrap(), &status["cost_by_kind_usd"]);
    assert!(cost > 0.0, "{status}");
    assert_eq!((&kinds["input"], &kinds["output"]), (&0.0.into(), &0.0.into()), "unknown in old attempts");

    let summary = machine.cascadeck(&RUN_ARGS).expect_status(3).stdout_json();
    assert_eq!((&summary["done"], &summary["failed"]), (&6.into(), &1.into()), "{summary}");
    assert!(schema_version(&machine) > version);
    assert_eq!(provider.checked_stats().total.ok, 4, "what was done is not asked again");
    for id in ["q1", "q2", "q3", "q4", "q5", "q6"] {
        assert_eq!(machine.result("runs/batch", id).output, Some(expected_answer(id)));
    }
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
    let kinds = &summary["cost_by_kind_usd"];
    let new_cost = kinds["input"].as_f64().unwrap() + kinds["output"].as_f64().unwrap();
    assert!(new_cost > 0.0, "{summary}");
    assert!((summary["cost_usd"].as_f64().unwrap() - cost - new_cost).abs() < 1e-12, "old costs stay: {summary}");
    machine.cascadeck(&["replay", "runs/batch", "--failed", "--yes"]).expect_status(3);
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
}

/// That version kept of a batch line what it could translate, and left out some fields without a word.
#[test]
fn a_run_of_the_oldest_version_goes_on_reading_batch_lines_as_it_did() {
    let server = LoggingServer::openai("Hi.");
    let machine = TestMachine::with_server(&server);
    let ids = ["bad", "q1", "q2", "q3", "q4", "q5", "q6"];
    let line = |id: &str| {
        let body = json!({
            "model": "m", "messages": [{"role": "user", "name": "anna", "content": id}], "max_tokens": 20,
            "user": "u-1", "metadata": {"a": "b"}, "reasoning_effort": "low",
        });
        json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string() + "\n"
    };
    machine.write("batch.jsonl", ids.map(line).concat());
    std::fs::create_dir_all(machine.path("runs/batch")).unwrap();
    let record = Connection::open(machine.path("runs/batch/run.db")).unwrap();
    record.execute_batch(OLDEST_SCHEMA).unwrap();
    for (seq, id) in (1..).zip(ids) {
        let request = format!(
            r#"{{"messages":[{{"speaker":"user","parts":[{{"text":"{id}"}}]}}],"params":{{"max_output_tokens":20,"thinking":{{"level":"low"}}}}}}"#
        );
        let hash = xxh3_128(format!(r#"{{"request":{request},"model":"m"}}"#).as_bytes());
        let item = format!(r#"{{"id":"{id}","request":{request},"hash":"{hash:032x}","line":{seq},"model":"m"}}"#);
        let set_hash = "UPDATE items SET hash = ?1 WHERE seq = ?2";
        assert_eq!(record.execute(set_hash, (hash.to_be_bytes(), seq)).unwrap(), 1);
        assert_eq!(record.execute("UPDATE payload SET body = ?1 WHERE seq = ?2", (item, seq)).unwrap(), 1);
    }
    let set_kind = "UPDATE meta SET value = json_set(json_remove(value, '$.prompt'), '$.kind', 'OpenAI batch lines') WHERE key = 'pins'";
    assert_eq!(record.execute(set_kind, []).unwrap(), 1);
    drop(record);

    // A line that is added is read in the same way.
    let former = machine.read("batch.jsonl");
    machine.write("batch.jsonl", former + &line("q7"));
    let run = machine.cascadeck(&["run", "batch.jsonl"]).expect_status(3);
    run.assert_stderr_contains(&["1 row is new, 0 are answered again, 0 are no longer in it"]);
    let bodies: Vec<Value> = server.completions().iter().map(crate::harness::logging_server::Request::json).collect();
    let body = |id: &str| {
        json!({
            "model": "m", "messages": [{"role": "user", "content": id}], "max_tokens": 20, "reasoning_effort": "low",
        })
    };
    assert_eq!(bodies.len(), 5, "what was done is not asked again");
    for id in ["q3", "q4", "q5", "q6", "q7"] {
        assert!(bodies.contains(&body(id)), "{id}: {bodies:?}");
    }
    // A new run keeps the bodies.
    machine.write("new.jsonl", line("q1"));
    machine.cascadeck(&["run", "new.jsonl"]).expect_status(0);
    assert_eq!(server.completions().last().unwrap().json()["user"], "u-1");
}
