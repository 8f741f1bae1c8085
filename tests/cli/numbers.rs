//! Numbers reach the provider, the results and an export as they were written.

use serde_json::Value;

use crate::harness::{
    TestMachine,
    logging_server::{LoggingServer, Request, Response},
};

/// Numbers that a reader of JSON may change: other spellings, more digits than 64 bits have, more than an `f64` can be.
const NUMBERS: &str =
    "[1e3,1E3,1e+3,-0,1.0,2.50,1e-7,0.1234567890123456789,123456789012345678901234567890,-9223372036854775809,1e400]";

/// Runs one row and returns the machine and the body that arrived.
fn run_row(server: &LoggingServer, api: &str, settings: &str, row: &str) -> (TestMachine, String) {
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml_of_api(api, settings));
    machine.write("batch.jsonl", row);
    machine.cascadeck(&["run", "batch.jsonl", "--no-check"]).expect_status(0);
    let requests = server.completions();
    let body = requests.last().map(|request: &Request| String::from_utf8(request.body.clone()).unwrap()).unwrap();
    (machine, body)
}

#[track_caller]
fn assert_contains(body: &str, parts: &[&str]) {
    for part in parts {
        assert!(body.contains(part), "{part} in {body}");
    }
}

#[test]
fn a_body_of_the_routes_own_api_goes_out_with_its_numbers_as_they_are() {
    let openai = format!(
        r#"{{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{{"model":"m","temperature":1.0,"top_p":1e-1,
        "messages":[{{"role":"user","content":"1e3"}}],"logit_bias":{{"7":-1.50}},"x":{NUMBERS}}}}}"#
    )
    .replace('\n', "");
    let anthropic = format!(
        r#"{{"custom_id":"a","params":{{"model":"m","max_tokens":9,"temperature":1.0,
        "messages":[{{"role":"user","content":"1e3"}}],
        "tools":[{{"name":"f","input_schema":{{"maximum":1e3}}}}],"x":{NUMBERS}}}}}"#
    )
    .replace('\n', "");
    let gemini = format!(
        r#"{{"key":"a","request":{{"contents":[{{"parts":[{{"text":"1e3"}}]}}],"generationConfig":{{"temperature":1.0,"topK":4.0,"x":{NUMBERS}}}}}}}"#
    );
    let numbers = format!(r#""x":{NUMBERS}"#);
    for (api, row, parts) in [
        ("openai", openai, vec![r#""temperature":1.0,"#, r#""top_p":1e-1,"#, r#""content":"1e3""#, r#"{"7":-1.50}"#]),
        ("anthropic", anthropic, vec![r#""temperature":1.0,"#, r#""input_schema":{"maximum":1e3}"#]),
        ("gemini", gemini, vec![r#""temperature":1.0,"#, r#""topK":4.0,"#]),
    ] {
        let server = LoggingServer::of_api(api, "Hi.");
        let (_, body) = run_row(&server, api, "", &row);
        assert_contains(&body, &[&parts[..], &[&numbers]].concat());
    }
}

#[test]
fn extra_body_and_schemas_keep_their_numbers() {
    let row = format!(
        r#"{{"id":1,"prompt":"Hello","extra_body":{{"x":{NUMBERS}}},"json":{{"type":"number","maximum":1e3,"multipleOf":0.10}}}}"#
    );
    let settings = "extra_body = { y = [1e3, 0.10, 1.0, 1_000.5, 0x10, 0.1234567890123456789] }";
    let server = LoggingServer::of_api("openai", "5");
    let (_, body) = run_row(&server, "openai", settings, &row);
    let numbers = format!(r#""x":{NUMBERS}"#);
    let schema = r#"{"type":"number","maximum":1e3,"multipleOf":0.10}"#;
    assert_contains(&body, &[&numbers, schema, r#""y":[1e3,0.10,1.0,1000.5,16,0.1234567890123456789]"#]);
}

#[test]
fn a_template_inserts_a_number_as_the_row_has_it() {
    let server = LoggingServer::of_api("openai", "Hi.");
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml_of_api("openai", ""));
    machine
        .write("batch.jsonl", r#"{"id":12345678901234567890123,"a":1e3,"b":2.50,"c":123456789012345678901234567890}"#);
    let args = ["run", "batch.jsonl", "--no-check", "--prompt", "{{ a }} {{ b }} {{ c }} {{ a + b }}"];
    machine.cascadeck(&args).expect_status(0);
    let content = server.completions()[0].json()["messages"][0]["content"].clone();
    assert_eq!(content, "1e3 2.50 123456789012345678901234567890 1002.5");
    assert_eq!(machine.results("runs/batch")[0].id, "12345678901234567890123");
}

#[test]
fn answers_keep_their_numbers_in_the_results_and_in_exports() {
    let input = format!(r#"{{"x":{NUMBERS}}}"#);
    let answer = format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"m","stop_reason":"tool_use","content":[{{"type":"tool_use","id":"t","name":"f","input":{input}}}],"usage":{{"input_tokens":10.0,"output_tokens":5}}}}"#
    );
    let server = LoggingServer::start(move |_| Response::bytes(200, "application/json", answer.clone().into_bytes()));
    let row = r#"{"custom_id":"a","params":{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"?"}],"tools":[{"name":"f"}]}}"#;
    let (machine, _) = run_row(&server, "anthropic", "", row);
    assert_contains(&machine.read("runs/batch/results.jsonl"), &[&input]);
    assert_eq!(machine.results("runs/batch")[0].usage.input_tokens, 10, "a provider may write a count as a float");
    let export = |format| machine.cascadeck(&["export", "runs/batch", "--format", format]).expect_status(0).stdout;
    assert_contains(&export("jsonl"), &[&input]);
    assert_contains(&export("csv"), &[&input.replace('"', "\"\"")]);
    let line: Value = serde_json::from_str(&export("openai-batch")).unwrap();
    let call = &line["response"]["body"]["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], input);
}

#[test]
fn a_compatible_servers_arguments_that_are_an_object_keep_their_numbers_in_the_batch_export() {
    let call = format!(r#"{{"id":"t","type":"function","function":{{"name":"f","arguments":{{"x":{NUMBERS}}}}}}}"#);
    let answer = format!(
        r#"{{"id":"c","model":"m","choices":[{{"index":0,"finish_reason":"tool_calls","message":{{"role":"assistant","content":null,"tool_calls":[{call}]}}}}],"usage":{{"prompt_tokens":10,"completion_tokens":5}}}}"#
    );
    let server = LoggingServer::start(move |_| Response::bytes(200, "application/json", answer.clone().into_bytes()));
    let row = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"?"}],"tools":[{"name":"f"}]}}"#;
    let (machine, _) = run_row(&server, "openai", "", row);
    let export = machine.cascadeck(&["export", "runs/batch", "--format", "openai-batch"]).expect_status(0).stdout;
    assert_contains(&export, &[&call]);
}
