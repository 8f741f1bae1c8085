//! A batch over several projects and models whose limits leave almost no room: every limit is used fully, none is
//! exceeded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::{SimulatedProvider, TestMachine, addition_rows, expected_answer};

/// Three projects and four models: 30 requests a day on each project.
const DAY_LIMITS_PROFILE: &str = r#"
name = "days"
provider = [{ name = "g", api = "gemini" }]
model = [
    { name = "large", provider = "g", rpd = 3, usd_per_mtok = { input = 1.0, output = 4.0 } },
    { name = "medium", provider = "g", rpd = 5, usd_per_mtok = { input = 0.5, output = 2.0 } },
    { name = "small", provider = "g", rpd = 9, usd_per_mtok = { input = 0.2, output = 1.0 } },
    { name = "tiny", provider = "g", rpd = 13, usd_per_mtok = { input = 0.1, output = 0.5 } },
]
key = [
    { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
    { name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" },
    { name = "chiara", provider = "g", project = "three", secret = "AIza-chiara" },
]
"#;

#[test]
fn days_with_room_for_exactly_the_batch_are_used_up_without_one_refusal() {
    let provider = SimulatedProvider::from_toml(DAY_LIMITS_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(90));
    let ended = machine.cascadeck(&["run", "batch.jsonl", "--prompt", "{{ question }}", "--json"]).expect_status(0);

    let books = provider.checked_stats();
    assert_eq!((books.total.requests, books.total.ok), (90, 90), "no refusal, no repetition: {}", books.summary());
    assert_eq!((books.prompts.distinct, books.prompts.answered_more_than_once), (90, 0));
    for project in ["one", "two", "three"] {
        for (model, per_day) in [("large", 3), ("medium", 5), ("small", 9), ("tiny", 13)] {
            assert_eq!(books.pool(project, model).unwrap().counts.ok, per_day, "{project} {model}");
        }
    }
    let summary = ended.stdout_json();
    assert_eq!((&summary["done"], &summary["attempts"], &summary["rate_limited"]), (&90.into(), &90.into(), &0.into()));
}

/// Room for 1,350 requests a minute.
const MINUTE_LIMITS_PROFILE: &str = r#"
name = "minutes"
provider = [{ name = "g", api = "gemini" }]
model = [
    { name = "large", provider = "g", rpm = 60, tpm = 250_000 },
    { name = "medium", provider = "g", rpm = 90, tpm = 250_000 },
    { name = "small", provider = "g", rpm = 150, tpm = 250_000 },
    { name = "tiny", provider = "g", rpm = 150, tpm = 250_000 },
]
key = [
    { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
    # A second key of the same project brings no quota.
    { name = "amira", provider = "g", project = "one", secret = "AIza-amira" },
    { name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" },
    { name = "chiara", provider = "g", project = "three", secret = "AIza-chiara" },
    { name = "dead", provider = "g", project = "four", secret = "AIza-dead", state = "invalid" },
]
"#;

/// Word problems as long as real ones.
fn question_rows(count: u64) -> String {
    let question = |n: u64| {
        format!(
            "Room {n} of the \"Hôtel du Lac\" has {} windows of $2.{:02} each;\nhow much do they cost? What is {n} + 1000?",
            n % 7 + 1,
            n % 100
        )
    };
    let rows = (1..=count).map(|n| serde_json::json!({ "question": question(n), "answer": n }).to_string() + "\n");
    rows.collect::<Vec<_>>().concat()
}

#[test]
fn a_long_batch_goes_through_every_model_within_one_minutes_limits() {
    let provider = SimulatedProvider::from_toml(MINUTE_LIMITS_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("questions.jsonl", question_rows(1_319));
    let args = ["run", "questions.jsonl", "--prompt", "{{ question }}", "--headless", "--json", "--in-flight", "64"];
    let ended = machine.cascadeck(&args).expect_status(0);

    let books = provider.checked_stats();
    assert_eq!(books.total.ok, 1_319);
    assert_eq!((books.prompts.distinct, books.prompts.answered_more_than_once), (1_319, 0), "each once");
    assert_eq!(books.total.refused, BTreeMap::new(), "configured limits are never run into");
    let used: BTreeSet<_> =
        books.pools.iter().filter(|pool| pool.counts.ok > 0).map(|pool| pool.model.as_str()).collect();
    assert_eq!(used, BTreeSet::from(["large", "medium", "small", "tiny"]));

    let results = machine.results("runs/questions");
    let ids: BTreeSet<_> = results.iter().map(|line| line.id.as_str()).collect();
    assert_eq!((results.len(), ids.len()), (1_319, 1_319), "one line for every item");
    let summary = ended.stdout_json();
    for (model, served) in summary["models"].as_array().unwrap().iter().map(|model| {
        let name = model["name"].as_str().unwrap();
        (model, books.pools.iter().filter(|pool| pool.model == name).map(|pool| pool.counts.ok).sum::<u64>())
    }) {
        assert_eq!(model["ok"], served, "{model}");
    }
    let tokens = (&summary["input_tokens"], &summary["output_tokens"]);
    assert_eq!(tokens, (&books.total.input_tokens.into(), &books.total.output_tokens.into()), "both count alike");
    ended.assert_stderr_contains(&["key dead", "invalid_key"]);
}

/// The names of an object's fields, in their order.
fn field_names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn every_line_and_every_summary_has_exactly_the_fields_that_scripts_rely_on() {
    let provider = SimulatedProvider::from_toml(DAY_LIMITS_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(4) + r#"{"id":"bad","question":"Say it. [sim:blocked]"}"#);
    let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--json", "--run-dir", "here"];
    let summary = machine.cascadeck(&args).expect_status(3).stdout_json();

    let text = machine.read("here/results.jsonl");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    for line in &lines {
        let wanted = "id status output error finish_reason key provider model model_version usage cost_usd \
                      cost_by_kind_usd latency_ms \
                      attempts started_at finished_at request_hash";
        assert_eq!(field_names(line).join(" "), wanted);
        assert_eq!(
            field_names(&line["usage"]).join(" "),
            "input_tokens output_tokens thinking_tokens cached_input_tokens cache_write_tokens cache_write_1h_tokens"
        );
        for instant in ["started_at", "finished_at"] {
            let text = line[instant].as_str().unwrap();
            assert!(text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(), "{instant} is {text}");
        }
    }
    let line = |id: &str| lines.iter().find(|line| line["id"] == id).unwrap();
    let done = line("q3");
    assert_eq!(
        (done["status"].as_str(), done["output"].as_str()),
        (Some("done"), Some(expected_answer("q3").as_str()))
    );
    assert_eq!((&done["error"], &done["finish_reason"]), (&Value::Null, &"stop".into()));
    assert_eq!((&done["key"], &done["provider"], &done["attempts"]), (&"alice".into(), &"g".into(), &1.into()));
    assert!(done["cost_usd"].as_f64().unwrap() > 0.0);
    let failed = line("bad");
    assert_eq!((failed["status"].as_str(), &failed["output"]), (Some("failed"), &Value::Null));
    assert_eq!(field_names(&failed["error"]), ["outcome", "status", "message"]);
    assert_eq!(
        (failed["error"]["outcome"].as_str(), &failed["error"]["status"]),
        (Some("content_blocked"), &200.into())
    );

    assert_eq!(
        field_names(&summary).join(" "),
        "run state total waiting in_flight done failed truncated attempts rate_limited invalid_outputs \
         input_tokens output_tokens cost_usd cached_input_tokens cache_write_tokens cache_write_1h_tokens \
         cost_by_kind_usd thinking_tokens at_risk_usd elapsed_s keys models place"
    );
    let first = |list: &str, wanted: &[&str]| {
        let found = field_names(&summary[list][0]);
        for field in wanted {
            assert!(found.contains(field), "{list} have no {field}: {found:?}");
        }
    };
    first("keys", &["name", "state", "health", "ok", "failed"]);
    first("models", &["name", "ok", "failed", "mean_ms", "p50_ms", "p95_ms", "cost_usd"]);
    let counts = ["total", "waiting", "in_flight", "done", "failed"].map(|count| summary[count].as_u64().unwrap());
    assert_eq!((summary["run"].as_str(), counts), (Some("here"), [5, 0, 0, 4, 1]));
}

#[test]
fn a_dead_key_a_closed_model_and_a_failing_one_cost_no_item() {
    let provider = SimulatedProvider::from_toml(
        r#"
        name = "trouble"
        provider = [{ name = "g", api = "gemini" }, { name = "o", api = "openai" }]
        model = [
            { name = "closed", provider = "g", closed_to = ["one"] },
            { name = "spent", provider = "g", rpd = 4 },
            { name = "good", provider = "o" },
        ]
        key = [
            { name = "dead", provider = "g", project = "none", secret = "AIza-dead", state = "invalid" },
            { name = "poor", provider = "o", project = "poor", secret = "sk-poor", state = "billing" },
            { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
            { name = "olga", provider = "o", project = "two", secret = "sk-olga" },
        ]
        # Used elsewhere today, so that the provider says it is spent before we think so.
        used = [{ project = "one", model = "spent", requests = 2 }]
        "#,
    );
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(40));
    let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--json", "--no-check"];
    let ended = machine.cascadeck(&args).expect_status(0);
    assert_eq!(ended.stdout_json()["done"], 40);
    ended.assert_stderr_contains(&[
        "key dead disabled, invalid_key",
        "day quota spent",
        "quota_exhausted_billing",
        "model_not_found",
    ]);
    for line in machine.results("runs/batch") {
        assert_eq!(line.output.as_deref(), Some(expected_answer(&line.id).as_str()), "{}", line.id);
    }
    let books = provider.checked_stats();
    assert_eq!((books.total.ok, books.prompts.answered_more_than_once), (40, 0));
    assert_eq!(books.pool("one", "spent").unwrap().counts.ok, 2);
    let log = machine.read("runs/batch/cascadeck.log");
    assert!(log.contains("  429 quota_exhausted_billing"), "fallbacks are in the log:\n{log}");
}
