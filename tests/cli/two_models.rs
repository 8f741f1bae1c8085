//! Two models on one server: strict order, `when_limited = "wait"`, and the models that rows name.

use serde_json::json;

use crate::harness::{
    TestMachine, addition_rows,
    logging_server::{LoggingServer, Request, Response},
    wait_until,
};

/// A keys.toml with the models `best` and `second` of one key, `alice`, and these settings of `[policy]`.
pub(super) fn two_models_toml(server: &LoggingServer, policy: &str) -> String {
    let toml = server.keys_toml("").replace("name = \"m\"", "name = \"best\"");
    format!("{toml}[[model]]\nname = \"second\"\nprovider = \"p\"\n[policy]\n{policy}\n")
}

/// A list of the models `best` and `second`.
pub(super) fn two_models_list() -> Response {
    let model = |id: &str| json!({"id": id, "object": "model"});
    Response::json(200, &json!({"object": "list", "data": [model("best"), model("second")]}))
}

/// A server that answers every completion with a 429 that says neither why nor for how long.
fn refusing_server() -> LoggingServer {
    LoggingServer::start(|request: &Request| {
        if request.is_completion() {
            Response::json(429, &json!({"error": {"message": "Too many requests", "type": "requests"}}))
        } else {
            two_models_list()
        }
    })
}

#[test]
fn the_backoff_schedule_is_what_the_status_line_says_and_nothing_switches() {
    let server = refusing_server();
    let machine = TestMachine::new();
    let policy = "when_limited = \"wait\"\nbackoff = [\"1s\", \"40s\", \"50s\"]";
    machine.write_keys_toml(&two_models_toml(&server, policy));
    machine.write("batch.jsonl", addition_rows(6));
    let mut live = machine.start(&["run", "batch.jsonl", "--prompt", "{{ question }}", "--headless"]);

    let line = live.wait_for_line("retry 2/3 in ");
    assert!(line.contains("key 1/1 alice, model 1/2 best, retry 2/3 in ") && line.contains("s: 429  "), "{line}");
    assert!(line.contains("waiting until ") && line.ends_with("best@alice: cooling down"), "{line}");
    let place = || machine.status("runs/batch")["place"].clone();
    wait_until("the record says so too", || place()["backoff"]["retry"] == 2);
    let place = place();
    assert_eq!((&place["key"], &place["model"]), (&"alice".into(), &"best".into()), "{place}");
    let backoff = &place["backoff"];
    assert_eq!((&backoff["retries"], &backoff["status"]), (&3.into(), &429.into()), "{place}");
    assert_eq!(backoff["outcome"], "rate_limited_minute", "{place}");
    assert!(backoff["until"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{place}");
    live.kill();

    let log = machine.read("runs/batch/cascadeck.log");
    assert!(log.contains("best@alice") && !log.contains('→') && !log.contains("second@alice  "), "no switch:\n{log}");
    let models: Vec<_> = server.completions().iter().map(|request| request.json()["model"].clone()).collect();
    assert!(models.len() > 1 && models.iter().all(|model| model == "best"), "{models:?}");
}

/// A server that answers every completion at once.
fn answering_server() -> LoggingServer {
    LoggingServer::start(
        |request: &Request| {
            if request.is_completion() { Response::openai("Done.") } else { two_models_list() }
        },
    )
}

/// Rows that name the model `second`.
fn rows_for_second(count: u64, more: &str) -> String {
    let row = |n| format!("{{\"id\":\"r{n}\",\"prompt\":\"p {n}\",\"model\":\"second\"{more}}}\n");
    (1..=count).map(row).collect::<Vec<_>>().concat()
}

/// The number of requests for `second` and for all models.
fn requests_for_second(server: &LoggingServer) -> (usize, usize) {
    let completions = server.completions();
    let second = completions.iter().filter(|request| request.json()["model"] == "second").count();
    (second, completions.len())
}

#[test]
fn rows_that_name_a_model_all_go_there_and_plan_says_so() {
    for policy in ["when_limited = \"spill\"", "when_limited = \"wait\"", "strategy = \"round_robin\""] {
        let server = answering_server();
        let machine = TestMachine::new();
        machine.write_keys_toml(&two_models_toml(&server, policy));
        machine.write("batch.jsonl", rows_for_second(200, ""));
        let plan = machine.cascadeck(&["plan", "batch.jsonl", "--json"]).expect_status(0).stdout_json();
        let models = plan["totals"]["models"].as_array().unwrap();
        let planned: Vec<_> = models.iter().map(|model| (model["name"].clone(), model["items"].clone())).collect();
        assert_eq!(planned, [("best".into(), 0.into()), ("second".into(), 200.into())], "{policy}");
        machine.cascadeck(&["run", "batch.jsonl", "--headless"]).expect_status(0);
        assert_eq!(requests_for_second(&server), (200, 200), "{policy}");
    }
}

#[test]
fn a_row_leaves_its_model_when_it_refuses_unless_it_is_pinned() {
    let server = LoggingServer::start(|request: &Request| {
        if !request.is_completion() {
            two_models_list()
        } else if request.json()["model"] == "second" {
            Response::json(404, &json!({"error": {"message": "The model does not exist", "code": "model_not_found"}}))
        } else {
            Response::openai("Done.")
        }
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&two_models_toml(&server, ""));
    machine.write("batch.jsonl", rows_for_second(3, ""));
    machine.cascadeck(&["run", "batch.jsonl", "--no-check"]).expect_status(0);
    let log = machine.read("runs/batch/cascadeck.log");
    let wanted = "1 request of rows that name second went to other models, now to best@alice: disabled";
    assert!(log.contains(wanted), "{log}");
    let total = "in all, 3 requests of rows that name second went to other models: disabled";
    assert!(log.contains(total), "{log}");

    machine.write("pinned.jsonl", rows_for_second(1, ",\"model_pinned\":true"));
    machine.cascadeck(&["run", "pinned.jsonl", "--no-check"]);
    machine.write_keys_toml(&two_models_toml(&server, "[input]\nrow_model = \"only\""));
    machine.write("all_pinned.jsonl", rows_for_second(1, ""));
    machine.cascadeck(&["run", "all_pinned.jsonl", "--no-check"]);
    let (second, all) = requests_for_second(&server);
    assert_eq!(all - second, 3, "only the rows that were not pinned were answered by another model");
}

#[test]
fn a_pinned_model_that_no_key_serves_is_refused_even_if_any_model_may_answer() {
    let server = answering_server();
    let machine = TestMachine::new();
    machine.write_keys_toml(&two_models_toml(&server, "[input]\nunknown_model = \"any\""));
    for (name, row, words) in [
        ("gone", r#"{"prompt":"x","model":"third","model_pinned":true}"#, "`model` is `third`, which is not in"),
        ("none", r#"{"prompt":"x","model_pinned":true}"#, "`model_pinned` is true, but the row names no model"),
        ("text", r#"{"prompt":"x","model":"best","model_pinned":"yes"}"#, "it must be true or false"),
    ] {
        machine.write(&format!("{name}.jsonl"), row);
        machine.cascadeck(&["run", &format!("{name}.jsonl")]).expect_status(2).assert_stderr_contains(&[words]);
    }
    // No setting lets another model answer a pinned row, so none is named.
    let refused = machine.cascadeck(&["run", "gone.jsonl"]).expect_status(2);
    assert!(refused.stderr.contains("no other model may answer it"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("unknown_model"), "{}", refused.stderr);
    machine.write("table.csv", "prompt,model,model_pinned\nx,second,true\ny,third,false\n");
    machine.cascadeck(&["run", "table.csv"]).expect_status(0);
    assert_eq!(server.completions().len(), 2);
}
