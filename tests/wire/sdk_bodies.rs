//! The bodies that the vendors' official SDKs send, through a batch line to the wire.
//!
//! `tests/sdk/record_bodies.py` records them in `sdk_bodies.jsonl`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use cascadeck::domain::{FinalState, Outcome};
use serde_json::{Value, json};

use crate::harness::{
    TestMachine,
    logging_server::{LoggingServer, Request},
};

const RECORDED: &str = include_str!("sdk_bodies.jsonl");
const API_NAMES: [&str; 3] = ["openai", "anthropic", "gemini"];

/// One request of an SDK.
struct RecordedBody {
    name: String,
    api: String,
    path: String,
    body: Value,
}

fn recorded_bodies() -> Vec<RecordedBody> {
    let read = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        RecordedBody { name: text("name"), api: text("api"), path: text("path"), body: record["body"].clone() }
    };
    RECORDED.lines().map(read).collect()
}

/// The batch line with a recorded body.
fn batch_line(id: &str, recorded: &RecordedBody) -> Value {
    match recorded.api.as_str() {
        "openai" => json!({"custom_id": id, "method": "POST", "url": recorded.path, "body": recorded.body}),
        "anthropic" => json!({"custom_id": id, "params": recorded.body}),
        _ => json!({"key": id, "request": recorded.body}),
    }
}

/// Runs the bodies one after another against a server of an API, with these settings of the model.
fn run_bodies(
    bodies: &[&RecordedBody],
    api: &'static str,
    model: &str,
) -> (TestMachine, BTreeMap<String, Value>, Vec<Request>) {
    // The answer is the number of the request.
    let answered = AtomicUsize::new(0);
    let server = LoggingServer::of_api_with(api, move || answered.fetch_add(1, Ordering::Relaxed).to_string());
    let machine = TestMachine::new();
    machine.write_keys_toml(&format!("{}[policy]\nin_flight = 1\n", server.keys_toml_of_api(api, model)));
    let lines: Vec<String> = bodies.iter().map(|body| batch_line(&body.name, body).to_string()).collect();
    machine.write("rows.jsonl", lines.join("\n"));
    let run = machine.start(&["run", "rows.jsonl"]).wait();
    assert!(matches!(run.status.code(), Some(0 | 3)), "{api}: {}\n{}", run.status, run.stderr);
    let requests = server.completions();
    let results = machine.results("runs/rows");
    let sent_items = results.iter().filter(|line| line.attempts > 0).count();
    assert_eq!(requests.len(), sent_items, "one request for each item");
    let mut bodies_by_id = BTreeMap::new();
    for result in results.iter().filter(|line| line.status == FinalState::Done) {
        let request = if let Some(number) = &result.output {
            &requests[number.parse::<usize>().unwrap()]
        } else {
            // An embedding has no text.
            let recorded = bodies.iter().find(|body| body.name == result.id).unwrap();
            requests.iter().find(|request| request.json()["input"] == recorded.body["input"]).unwrap()
        };
        bodies_by_id.insert(result.id.clone(), request.json());
    }
    (machine, bodies_by_id, requests)
}

#[test]
fn the_bodies_of_the_official_sdks_reach_their_api_unchanged() {
    let all = recorded_bodies();
    assert!(all.len() >= 60, "{} bodies", all.len());
    for api in API_NAMES {
        let bodies: Vec<&RecordedBody> = all.iter().filter(|body| body.api == api).collect();
        let (machine, arrived, requests) = run_bodies(&bodies, api, "");
        for recorded in &bodies {
            let result = machine.result("runs/rows", &recorded.name);
            assert_eq!(result.status, FinalState::Done, "{api} {}: {:?}", recorded.name, result.error);
            assert_eq!(arrived[&recorded.name], recorded.body, "{api} {}", recorded.name);
        }
        let embeddings = requests.iter().filter(|request| request.path == "/v1/embeddings").count();
        assert_eq!(embeddings, if api == "openai" { 2 } else { 0 });
    }
}

#[test]
fn only_the_output_limit_of_a_body_is_capped_by_the_models() {
    let all = recorded_bodies();
    for (api, name, pointer) in [
        ("openai", "max tokens", "/max_tokens"),
        ("openai", "max completion tokens", "/max_completion_tokens"),
        ("anthropic", "cached system", "/max_tokens"),
        ("gemini", "output limit", "/generationConfig/maxOutputTokens"),
    ] {
        let recorded = all.iter().find(|body| body.api == api && body.name == name).unwrap();
        let (_, arrived, _) = run_bodies(&[recorded], api, "max_output = 9");
        let mut want = recorded.body.clone();
        *want.pointer_mut(pointer).unwrap() = 9.into();
        assert_eq!(arrived[name], want, "{api}");
    }
}

/// Values of a body that name its form, and have another form in another API.
const FORM_WORDS: [&str; 27] = [
    "m",
    "text",
    "user",
    "system",
    "developer",
    "assistant",
    "model",
    "image",
    "image_url",
    "base64",
    "url",
    "enabled",
    "disabled",
    "adaptive",
    "json_object",
    "json_schema",
    "application/json",
    "image/png",
    "none",
    "true",
    "false",
    "city_facts",
    "auto",
    "minimal",
    "text/plain",
    "0",
    // Gemini: the model decides how much it thinks, which needs no field in OpenAI's API.
    "-1",
];

/// The texts and numbers of a value, in lower case. A list of the texts of a long text is that text's words.
fn leaves(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => {
            found.insert(number.as_f64().unwrap().to_string());
        }
        Value::String(text) => {
            let text = text.strip_prefix("data:image/png;base64,").unwrap_or(text);
            // System messages are joined, in any API.
            found.extend(text.split("\n\n").map(str::to_lowercase).filter(|part| !part.is_empty()));
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, found)),
    }
}

#[test]
fn another_api_gets_all_of_a_body_or_the_item_fails_with_the_name_of_a_field() {
    let all = recorded_bodies();
    let mut translated = 0;
    for api in API_NAMES {
        let bodies: Vec<&RecordedBody> = all.iter().filter(|body| body.api != api).collect();
        for form in API_NAMES.into_iter().filter(|form| *form != api) {
            let bodies: Vec<&RecordedBody> = bodies.iter().filter(|body| body.api == form).copied().collect();
            let (machine, arrived, _) = run_bodies(&bodies, api, "max_output = 8192");
            for recorded in &bodies {
                let case = format!("{form} over {api}: {}", recorded.name);
                let Some(sent) = arrived.get(&recorded.name) else {
                    let error = machine.result("runs/rows", &recorded.name).error.unwrap();
                    assert_eq!(error.outcome, Outcome::NoRoute, "{case}");
                    let names =
                        ["`", "thinking level", "thinking budget", "a seed", "JSON mode", "temperature", "pictures"];
                    let is_explained = names.iter().any(|name| error.message.contains(name));
                    assert!(is_explained, "{case}: {}", error.message);
                    continue;
                };
                translated += 1;
                let (mut wanted, mut got) = (BTreeSet::new(), BTreeSet::new());
                leaves(&recorded.body, &mut wanted);
                leaves(sent, &mut got);
                let lost: Vec<_> =
                    wanted.difference(&got).filter(|leaf| !FORM_WORDS.contains(&leaf.as_str())).collect();
                assert_eq!(lost, [""; 0], "{case}\nwas  {}\nsent {sent}", recorded.body);
            }
        }
    }
    assert!(translated > 40, "{translated} bodies were translated");
}
