//! HTTP 200 bodies that hold no answer: the run, its results and `explain` describe what came.

use serde_json::{Value, json};

use crate::{
    cli::RUN_ARGS,
    harness::{
        TestMachine, addition_rows,
        logging_server::{LoggingServer, Response},
    },
};

/// A body, and its description.
const BODIES: [(&str, &str); 6] = [
    (r#"{"hello":[1]}"#, r#"a JSON object of 13 bytes: {"hello":[1]}"#),
    ("[]", "an empty JSON array: []"),
    ("null", "the JSON value null"),
    ("", "an empty body"),
    ("   \r\n ", "an empty body"),
    ("17", "a JSON number of 2 bytes: 17"),
];

/// A machine whose server answers every completion with `body`.
fn machine_answering(body: &[u8]) -> (TestMachine, LoggingServer) {
    let body = body.to_vec();
    let server = LoggingServer::start(move |request| {
        if request.is_completion() {
            Response::bytes(200, "application/json", body.clone())
        } else {
            Response::json(200, &json!({"object": "list", "data": [{"id": "m"}]}))
        }
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&(server.keys_toml("") + "[policy]\nretry_delays = [\"1ms\"]\nbackoff = [\"1ms\"]\n"));
    machine.write("batch.jsonl", addition_rows(1));
    (machine, server)
}

/// The message of the first failure in the log.
fn failure_line(body: &[u8]) -> String {
    let (machine, _server) = machine_answering(body);
    let mut live = machine.start(&[&RUN_ARGS[..], &["--headless"]].concat());
    let line = live.wait_for_line("malformed_response");
    drop(live);
    line
}

#[test]
fn a_body_that_is_no_answer_is_described() {
    for (body, words) in BODIES {
        let line = failure_line(body.as_bytes());
        assert!(line.contains(words), "{body:?}: {words:?} is not in: {line}");
    }
}

#[test]
fn the_description_of_a_body_is_harmless_and_short() {
    let hostile = format!("{{\"key\\u001b[31m\":\"sk-alice-0123456789\",\"long\":\"{}\"}}", "x".repeat(5_000));
    let line = failure_line(hostile.as_bytes());
    assert!(line.contains("a JSON object of 5049 bytes"), "{line}");
    assert!(!line.contains("sk-alice") && !line.contains('\u{1b}') && line.len() < 700, "{line}");
    // Binary data, like a body that was compressed without being asked for.
    let line = failure_line(&[0x1f, 0x8b, 0x08, 0x00, 0xff, 0xfe, 0x00, 0x01]);
    assert!(line.contains("8 bytes of binary data"), "{line}");
}

#[test]
fn explain_says_the_same_for_every_api() {
    let machine = TestMachine::new();
    for api in ["openai", "gemini", "anthropic"] {
        for (body, words) in BODIES {
            let example = json!({"status": 200, "headers": {}, "body": body}).to_string();
            let told: Value =
                machine.cascadeck_with_stdin(&["explain", "--api", api], &example).expect_status(0).stdout_json();
            assert_eq!(told["outcome"], "malformed_response", "{api} {body:?}");
            assert!(told["because"].as_str().unwrap().contains(words), "{api} {body:?}: {told}");
        }
    }
}

#[test]
fn a_malformed_model_list_is_described() {
    for (body, words) in [
        (r#"{"hello":[1]}"#, r#"a JSON object of 13 bytes: {"hello":[1]}"#),
        ("", "an empty body"),
        (r#"{"status":"ok"}"#, "not a list of models"),
    ] {
        let server = LoggingServer::start(move |_| Response::bytes(200, "application/json", body.into()));
        let machine = TestMachine::new();
        machine.write_keys_toml(&server.keys_toml(""));
        let checked = machine.cascadeck(&["check"]).expect_status(2);
        assert!(checked.stdout.contains(words), "{body:?}: {words:?} is not in: {}", checked.stdout);
    }
}
