//! The strict pipeline, `when_limited = "wait"`, against a server that refuses.

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
