//! What of a row reaches the provider, and what of an answer reaches the results.

use std::sync::atomic::{AtomicUsize, Ordering};

use cascadeck::domain::{FinalState, Outcome};
use serde_json::{Value, json};

use crate::harness::{
    TestMachine,
    logging_server::{LoggingServer, Response},
};

/// Runs rows against a server, with these settings of its model. Returns the machine and the bodies in their order.
fn run_rows(server: &LoggingServer, api: &str, settings: &str, rows: &[Value]) -> (TestMachine, Vec<Value>) {
    let machine = TestMachine::new();
    machine.write_keys_toml(&format!("{}[policy]\nin_flight = 1\n", server.keys_toml_of_api(api, settings)));
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    machine.write("rows.jsonl", lines.join("\n"));
    let run = machine.start(&["run", "rows.jsonl"]).wait();
    assert!(matches!(run.status.code(), Some(0 | 3)), "{}\n{}", run.status, run.stderr);
    let bodies = server.completions().iter().map(crate::harness::logging_server::Request::json).collect();
    (machine, bodies)
}

fn openai_line(id: &str, body: &Value) -> Value {
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body})
}

fn hello(fields: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    let Value::Object(fields) = fields else { panic!("{fields} is not an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

#[test]
fn extra_body_of_row_model_and_provider_is_sent_and_the_more_specific_wins() {
    let server = LoggingServer::of_api("openai", "Hi.");
    let settings = "extra_body = { top_k = 2, min_p = 0.2, nested = { b = 2, c = 2 } }";
    let keys = server
        .keys_toml_of_api("openai", settings)
        .replace("[[model]]", "extra_body = { top_k = 3, mood = \"calm\", nested = { c = 3, d = 3 } }\n[[model]]");
    let machine = TestMachine::new();
    machine.write_keys_toml(&format!("{keys}[policy]\nin_flight = 1\n"));
    let rows = [
        json!({"id": "a", "prompt": "Hello", "extra_body": {"top_k": 1, "nested": {"a": 1, "b": 1}}}),
        json!({"id": "b", "prompt": "Hello"}),
    ];
    machine.write("rows.jsonl", format!("{}\n{}\n", rows[0], rows[1]));
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    let line = openai_line("c", &hello(json!({"top_k": 9, "extra": true})));
    machine.write("lines.jsonl", line.to_string());
    machine.cascadeck(&["run", "lines.jsonl"]).expect_status(0);
    let bodies: Vec<Value> = server.completions().iter().map(|request| request.json()).collect();
    let nested = json!({"a": 1, "b": 1, "c": 2, "d": 3});
    assert_eq!(bodies[0], hello(json!({"top_k": 1, "min_p": 0.2, "mood": "calm", "nested": nested})));
    let nested = json!({"b": 2, "c": 2, "d": 3});
    assert_eq!(bodies[1], hello(json!({"top_k": 2, "min_p": 0.2, "mood": "calm", "nested": nested})));
    assert_eq!(
        bodies[2],
        hello(json!({"top_k": 9, "extra": true, "min_p": 0.2, "mood": "calm", "nested": nested})),
        "the row's own body wins over the settings"
    );
}

#[test]
fn extra_body_reaches_gemini_and_anthropic_too() {
    let server = LoggingServer::of_api("gemini", "Hi.");
    let safety = json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]);
    let settings = "extra_body = { safetySettings = [{ category = \"HARM_CATEGORY_HARASSMENT\", threshold = \"BLOCK_NONE\" }], \
                    generationConfig = { mediaResolution = \"MEDIA_RESOLUTION_LOW\" } }";
    let row = json!({"prompt": "Hello", "temperature": 0.5, "extra_body": {"generationConfig": {"topK": 7}}});
    let (_, bodies) = run_rows(&server, "gemini", settings, &[row]);
    let config = json!({"temperature": 0.5, "topK": 7, "mediaResolution": "MEDIA_RESOLUTION_LOW"});
    assert_eq!(
        bodies[0],
        json!({
            "contents": [{"role": "user", "parts": [{"text": "Hello"}]}], "generationConfig": config,
            "safetySettings": safety,
        })
    );
    let server = LoggingServer::of_api("anthropic", "Hi.");
    let row = json!({"prompt": "Hello", "thinking": {"type": "adaptive"}, "extra_body": {"top_k": 5}});
    let (_, bodies) = run_rows(&server, "anthropic", "max_output = 50", &[row]);
    assert_eq!(bodies[0], hello(json!({"max_tokens": 50, "thinking": {"type": "adaptive"}, "top_k": 5})));
}

#[test]
fn extra_body_in_keys_toml_may_not_set_what_the_program_sets() {
    for (settings, want) in [
        ("extra_body = { model = \"x\" }", "`model` can't be set here"),
        ("extra_body = { messages = [] }", "`messages` can't be set here"),
        ("extra_body = { stream = true }", "`stream` can't be set here; answers are never streamed"),
        ("extra_body = { max_completion_tokens = 5 }", "`max_completion_tokens` can't be set here"),
        ("extra_body = { generationConfig = { maxOutputTokens = 5 } }", "`generationConfig.maxOutputTokens` can't be"),
        ("extra_body = { n = 2 }", "the number of answers can be set only by a row"),
        ("extra_body = 5", "extra_body must be a table"),
        ("max_tokens_field = \"tokens\"", "max_tokens_field must be"),
    ] {
        let machine = TestMachine::new();
        let server = LoggingServer::openai("Hi.");
        machine.write_keys_toml(&server.keys_toml(settings));
        machine.write("rows.jsonl", r#"{"prompt":"Hello"}"#);
        machine.cascadeck(&["run", "rows.jsonl"]).expect_status(2).assert_stderr_contains(&[want]);
        assert_eq!(server.requests().len(), 0);
    }
}

#[test]
fn an_item_that_no_route_can_take_names_the_parameter_and_its_api() {
    let server = LoggingServer::of_api("gemini", "Hi.");
    let rows = [
        openai_line("tools", &hello(json!({"tools": [{"type": "function", "function": {"name": "f"}}]}))),
        openai_line("plain", &hello(json!({}))),
        openai_line("user", &hello(json!({"user": "u-1"}))),
    ];
    let (machine, bodies) = run_rows(&server, "gemini", "", &rows);
    assert_eq!(bodies.len(), 1, "only the plain one is sent");
    assert_eq!(machine.result("runs/rows", "plain").status, FinalState::Done);
    for (id, field) in [("tools", "`body.tools`"), ("user", "`body.user`")] {
        let error = machine.result("runs/rows", id).error.unwrap();
        assert_eq!(error.outcome, Outcome::NoRoute);
        assert!(error.message.contains(field), "{}", error.message);
        assert!(error.message.contains("a provider with the openai API: add a model of one, or remove the field"));
    }
    let server = LoggingServer::of_api("openai", "Hi.");
    let row = json!({"id": "a", "prompt": "Hello", "extra_body": {"safetySettings": []}});
    let (machine, bodies) = run_rows(&server, "openai", "", &[row]);
    let message = machine.result("runs/rows", "a").error.unwrap().message;
    assert!(message.contains("`extra_body.safetySettings` can go only to a provider with the gemini API"), "{message}");
    assert_eq!(bodies.len(), 0);
}

#[test]
fn an_item_goes_to_the_routes_that_can_take_it() {
    let (gemini, openai) = (LoggingServer::of_api("gemini", "G."), LoggingServer::of_api("openai", "O."));
    let machine = TestMachine::new();
    let second = openai.keys_toml_of_api("openai", "").replace("\"p\"", "\"q\"").replace("alice", "bob");
    machine.write_keys_toml(&format!("{}{second}", gemini.keys_toml_of_api("gemini", "")));
    let rows = [
        openai_line("tools", &hello(json!({"top_logprobs": 2, "logprobs": true}))),
        openai_line("any", &hello(json!({}))),
    ];
    machine.write("rows.jsonl", format!("{}\n{}\n", rows[0], rows[1]));
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    assert_eq!(machine.result("runs/rows", "tools").provider.as_deref(), Some("q"));
    assert_eq!(machine.result("runs/rows", "any").provider.as_deref(), Some("p"));
}

#[test]
fn parameters_in_plain_rows_are_warned_about_once() {
    let server = LoggingServer::of_api("openai", "Hi.");
    let machine = TestMachine::with_server(&server);
    let row = |id: u32| json!({"id": id, "prompt": "Hello", "top_k": 4, "presence_penalty": 0.5, "question": "x"});
    let odd = json!({"id": 9, "prompt": "Hello", "responseSchema": {"type": "OBJECT"}, "thinkingConfig": {"a": 1}});
    machine.write("rows.jsonl", format!("{}\n{}\n{odd}\n", row(1), row(2)));
    let output = machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    for (name, line, example) in [
        ("top_k", 1, r#""extra_body": {"top_k": …}"#),
        ("presence_penalty", 1, r#""extra_body": {"presence_penalty": …}"#),
        ("responseSchema", 3, r#""extra_body": {"generationConfig": {"responseSchema": …}}"#),
        ("thinkingConfig", 3, r#""extra_body": {"generationConfig": {"thinkingConfig": …}}"#),
    ] {
        let warning = format!("`{name}` (line {line}) is the name of a request parameter");
        assert_eq!(output.stderr.matches(&warning).count(), 1, "{warning}\n{}", output.stderr);
        output.assert_stderr_contains(&[example]);
    }
    assert!(!output.stderr.contains("`question`"));
    // A field that the template uses is meant for it.
    machine.write("data.jsonl", r#"{"id":1,"top_k":4,"user":"Ann"}"#);
    let args = ["run", "data.jsonl", "--prompt", "{{ user }} has {{ top_k }}"];
    let output = machine.cascadeck(&args).expect_status(0);
    assert!(!output.stderr.contains("request parameter"), "{}", output.stderr);
}

#[test]
fn a_plain_rows_schema_keeps_its_name_and_strictness() {
    let server = LoggingServer::of_api("openai", "{}");
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "facts", "strict": true, "schema": {"type": "object"}}});
    let rows = [
        json!({"prompt": "Hello", "response_format": format, "reasoning_effort": "none"}),
        json!({"prompt": "Hello", "thinking": false, "reasoning_effort": "low"}),
    ];
    let (_, bodies) = run_rows(&server, "openai", "", &rows);
    assert_eq!(bodies[0], hello(json!({"response_format": format, "reasoning_effort": "none"})));
    assert_eq!(bodies[1], hello(json!({"reasoning_effort": "low"})));
}

#[test]
fn defaults_and_a_system_prompt_are_added_to_a_body_that_has_none() {
    let server = LoggingServer::of_api("openai", "Hi.");
    let machine = TestMachine::new();
    let defaults =
        "[defaults]\ntemperature = 0.25\nseed = 7\nstop = [\"END\"]\nsystem = \"Be brief.\"\nmax_output_tokens = 30\n";
    machine.write_keys_toml(&format!("{}[policy]\nin_flight = 1\n{defaults}", server.keys_toml("")));
    let system = json!([{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hello"}]);
    let rows = [
        openai_line("a", &hello(json!({"top_k": 4}))),
        openai_line(
            "b",
            &hello(json!({"messages": system, "temperature": 1, "max_tokens": 9, "stop": "X", "top_k": 4})),
        ),
    ];
    machine.write("rows.jsonl", format!("{}\n{}\n", rows[0], rows[1]));
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    let bodies: Vec<Value> = server.completions().iter().map(|request| request.json()).collect();
    let added = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]);
    assert_eq!(
        bodies[0],
        hello(
            json!({"messages": added, "top_k": 4, "temperature": 0.25, "seed": 7, "stop": ["END"], "max_tokens": 30})
        )
    );
    assert_eq!(
        bodies[1],
        hello(json!({"messages": system, "temperature": 1, "max_tokens": 9, "stop": "X", "top_k": 4, "seed": 7}))
    );
}

/// A server that knows the output limit only by one name.
fn strict_server(known: &'static str, unknown: &'static str) -> LoggingServer {
    LoggingServer::start(move |request| {
        if !request.is_completion() {
            return Response::json(200, &json!({"object": "list", "data": [{"id": "m"}]}));
        }
        if request.json().get(unknown).is_none() {
            return Response::openai("Hi.");
        }
        let message =
            format!("Unsupported parameter: '{unknown}' is not supported with this model. Use '{known}' instead.");
        let error = json!({"message": message, "type": "invalid_request_error", "param": unknown, "code": "unsupported_parameter"});
        Response::json(400, &json!({"error": error}))
    })
}

#[test]
fn the_name_of_the_output_limit_is_learned_from_the_refusal() {
    let rows: Vec<Value> = (0..6).map(|id| json!({"id": id, "prompt": "Hello", "max_tokens": 20})).collect();
    for (known, unknown, rows) in [
        ("max_completion_tokens", "max_tokens", rows.clone()),
        (
            "max_tokens",
            "max_completion_tokens",
            vec![openai_line("a", &hello(json!({"max_completion_tokens": 20, "top_k": 1})))],
        ),
    ] {
        let server = strict_server(known, unknown);
        let (machine, bodies) = run_rows(&server, "openai", "", &rows);
        let results = machine.results("runs/rows");
        assert_eq!(results.len(), rows.len());
        assert!(results.iter().all(|line| line.status == FinalState::Done), "{results:?}");
        assert_eq!(bodies.iter().filter(|body| body.get(unknown).is_some()).count(), 1, "only the first is refused");
        assert_eq!(bodies.iter().filter(|body| body[known] == 20).count(), rows.len());
    }
}

#[test]
fn a_resumed_run_knows_the_name_of_the_output_limit() {
    let machine = TestMachine::new();
    let row = |id: u32| json!({"id": id, "prompt": "Hello", "max_tokens": 20}).to_string();
    // The last server expects the other name: what an earlier process learned is only a first guess.
    let servers = [
        strict_server("max_completion_tokens", "max_tokens"),
        strict_server("max_completion_tokens", "max_tokens"),
        strict_server("max_tokens", "max_completion_tokens"),
    ];
    let mut rows = Vec::new();
    for (id, (server, sent)) in (0..).zip(servers.iter().zip([2, 1, 2])) {
        rows.push(row(id));
        machine.write("rows.jsonl", rows.join("\n"));
        machine.write_keys_toml(&server.keys_toml(""));
        machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
        assert_eq!(server.completions().len(), sent, "run {id}");
    }
    // A setting may be newer than what was learned.
    rows.push(row(3));
    machine.write("rows.jsonl", rows.join("\n"));
    let server = strict_server("max_completion_tokens", "max_tokens");
    machine.write_keys_toml(&server.keys_toml("max_tokens_field = \"max_completion_tokens\""));
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    assert_eq!(server.completions().len(), 1);
}

#[test]
fn a_request_is_corrected_without_losing_that_it_may_not_be_stored() {
    let server = strict_server("max_completion_tokens", "max_tokens");
    let line = openai_line("a", &hello(json!({"max_tokens": 20, "store": false, "top_k": 1})));
    let row = json!({"custom_id": "b", "body": hello(json!({"max_tokens": 20})), "extra_body": {"store": false}});
    let (_, bodies) = run_rows(&server, "openai", "", &[line, row]);
    assert!(bodies.len() == 3 && bodies.iter().all(|body| body["store"] == false), "{bodies:?}");
    // A slip that is corrected before the body is sent.
    let slip = openai_line("a", &hello(json!({"max_output_tokens": 20, "store": false})));
    let (_, bodies) = run_rows(&LoggingServer::openai("Hi."), "openai", "", std::slice::from_ref(&slip));
    assert_eq!(bodies[0], hello(json!({"max_tokens": 20, "store": false})));
    let (_, bodies) = run_rows(&LoggingServer::of_api("gemini", "Hi."), "gemini", "", std::slice::from_ref(&slip));
    assert_eq!(bodies[0]["store"], false);
    let (_, bodies) = run_rows(&LoggingServer::of_api("anthropic", "Hi."), "anthropic", "", &[slip]);
    assert_eq!(bodies[0], hello(json!({"max_tokens": 20})), "it keeps nothing, and has no such field");
    let gemini_line = json!({"key": "a", "request": {"contents": [{"parts": [{"text": "Hello"}]}], "store": false}});
    let (_, bodies) = run_rows(&LoggingServer::openai("Hi."), "openai", "", &[gemini_line]);
    assert_eq!(bodies[0], hello(json!({"store": false})));
}

#[test]
fn a_field_of_gemini_goes_out_in_one_spelling() {
    let settings = "extra_body = { generationConfig = { topK = 3, mediaResolution = \"MEDIA_RESOLUTION_LOW\" }, safetySettings = [] }";
    let contents = json!([{"role": "user", "parts": [{"text": "Hello"}]}]);
    let config = json!({"max_output_tokens": 50, "top_k": 5, "thinking_config": {"include_thoughts": true}});
    let rows = [
        json!({
            "key": "a",
            "request": {"contents": contents, "generation_config": config, "safety_settings": [1]},
            "extra_body": {"generationConfig": {"topK": 7, "thinkingConfig": {"thinkingLevel": "LOW"}}},
        }),
        json!({"key": "b", "request": {"contents": contents}, "extra_body": {"generation_config": {"top_k": 8}}}),
    ];
    let server = LoggingServer::of_api("gemini", "Hi.");
    let (_, bodies) = run_rows(&server, "gemini", &format!("max_output = 40\n{settings}"), &rows);
    let config = json!({
        "max_output_tokens": 40, "top_k": 7, "mediaResolution": "MEDIA_RESOLUTION_LOW",
        "thinking_config": {"include_thoughts": true, "thinkingLevel": "LOW"},
    });
    assert_eq!(bodies[0], json!({"contents": contents, "generation_config": config, "safety_settings": [1]}));
    let config = json!({"maxOutputTokens": 40, "top_k": 8, "mediaResolution": "MEDIA_RESOLUTION_LOW"});
    assert_eq!(bodies[1], json!({"contents": contents, "generationConfig": config, "safetySettings": []}));

    let plain = json!({"prompt": "Hello", "max_output_tokens": 9, "extra_body": {"generation_config": {"top_k": 8}}});
    let (_, bodies) = run_rows(&LoggingServer::of_api("gemini", "Hi."), "gemini", "", &[plain]);
    assert_eq!(bodies[0], json!({"contents": contents, "generationConfig": {"maxOutputTokens": 9, "top_k": 8}}));

    // The defaults are those that the body doesn't have, in any spelling.
    let machine = TestMachine::new();
    let server = LoggingServer::of_api("gemini", "Hi.");
    machine.write_keys_toml(&(server.keys_toml_of_api("gemini", "") + "[defaults]\nthinking = \"low\"\ntop_p = 0.5\n"));
    let config = json!({"thinking_config": {"include_thoughts": true}, "top_p": null});
    let line = json!({"key": "a", "request": {"contents": contents, "generation_config": config}});
    machine.write("rows.jsonl", line.to_string());
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    let config = json!({"thinking_config": {"include_thoughts": true, "thinkingLevel": "LOW"}, "top_p": 0.5});
    assert_eq!(server.completions()[0].json(), json!({"contents": contents, "generation_config": config}));

    for (request, words) in [
        (
            json!({"contents": contents, "generationConfig": {}, "generation_config": {}}),
            "`request.generation_config` is there in another spelling, too (`generationConfig` or with underscores)",
        ),
        (
            json!({"contents": contents, "generationConfig": {"top_k": 1, "topK": 2}}),
            "`request.generationConfig.topK` is there in another spelling",
        ),
    ] {
        machine.write("twice.jsonl", json!({"key": "a", "request": request}).to_string());
        machine.cascadeck(&["run", "twice.jsonl"]).expect_status(2).assert_stderr_contains(&[words]);
    }
}

#[test]
fn thinking_and_effort_of_anthropic_mean_the_same_in_any_order() {
    let line = |id: &str, first: (&str, Value), second: (&str, Value)| {
        let mut body = hello(json!({"max_tokens": 5000}));
        body.as_object_mut().unwrap().extend([first, second].map(|(name, value)| (name.to_owned(), value)));
        json!({"custom_id": id, "params": body})
    };
    let thinking = |value: Value| ("thinking", value);
    let effort = |level: &str| ("output_config", json!({"effort": level}));
    let adaptive = || thinking(json!({"type": "adaptive"}));
    let budget = || thinking(json!({"type": "enabled", "budget_tokens": 2000}));
    let off = || thinking(json!({"type": "disabled"}));
    let rows = [
        line("1", adaptive(), effort("low")),
        line("2", effort("low"), adaptive()),
        line("budget 1", budget(), effort("low")),
        line("budget 2", effort("low"), budget()),
        line("off 1", off(), effort("low")),
        line("off 2", effort("low"), off()),
    ];
    let (machine, bodies) = run_rows(&LoggingServer::openai("Hi."), "openai", "", &rows);
    let efforts: Vec<&Value> = bodies.iter().map(|body| &body["reasoning_effort"]).collect();
    assert_eq!(efforts, ["low", "low"]);
    for id in ["budget 1", "budget 2", "off 1", "off 2"] {
        let error = machine.result("runs/rows", id).error.unwrap();
        assert_eq!(error.outcome, Outcome::NoRoute);
        assert!(error.message.contains("`params.output_config.effort beside thinking`"), "{}", error.message);
    }
    let server = LoggingServer::of_api("anthropic", "Hi.");
    let (_, bodies) = run_rows(&server, "anthropic", "", &rows);
    assert!(bodies.iter().zip(&rows).all(|(body, row)| *body == row["params"]), "{bodies:?}");

    // No default stands beside an effort that only this API has.
    let machine = TestMachine::new();
    let server = LoggingServer::of_api("anthropic", "Hi.");
    machine.write_keys_toml(&(server.keys_toml_of_api("anthropic", "") + "[defaults]\nthinking = 2000\n"));
    let body = hello(json!({"max_tokens": 5000, "output_config": {"effort": "max"}}));
    machine.write("rows.jsonl", json!({"custom_id": "a", "params": body}).to_string());
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    assert_eq!(server.completions()[0].json(), body);
}

#[test]
fn of_two_fields_of_a_row_with_one_meaning_the_same_wins_in_any_order() {
    let rows = [
        json!({"prompt": "Hello", "thinking": "high", "reasoning_effort": "low"}),
        json!({"prompt": "Hello", "reasoning_effort": "low", "thinking": "high"}),
    ];
    let (_, bodies) = run_rows(&LoggingServer::openai("Hi."), "openai", "", &rows);
    assert!(bodies.iter().all(|body| body["reasoning_effort"] == "low"), "{bodies:?}");
}

#[test]
fn fields_within_a_format_are_not_lost_in_translation() {
    let schema = json!({"type": "object"});
    let rows = [
        openai_line("openai", &hello(json!({"response_format": {"type": "json_object", "schema": schema}}))),
        json!({
            "custom_id": "anthropic",
            "params": hello(json!({"max_tokens": 5, "output_config": {"format": {"type": "json_schema", "schema": schema, "name": "x"}}})),
        }),
        json!({
            "key": "gemini",
            "request": {
                "contents": [{"parts": [{"text": "Hello"}]}],
                "generationConfig": {"thinkingConfig": {"thinkingBudget": 5, "thinkingLevel": "LOW"}},
            },
        }),
    ];
    for (row, other, field) in [
        (&rows[0], "gemini", "body.response_format.schema"),
        (&rows[1], "openai", "params.output_config.format.name"),
        (&rows[2], "openai", "request.generationConfig.thinkingConfig.thinkingBudget beside thinkingLevel"),
    ] {
        let server = LoggingServer::of_api(other, "Hi.");
        let (machine, bodies) = run_rows(&server, other, "", std::slice::from_ref(row));
        let error = machine.results("runs/rows")[0].error.clone().unwrap();
        assert!(bodies.is_empty() && error.message.contains(&format!("`{field}`")), "{}", error.message);
    }
}

#[test]
fn a_limit_that_is_refused_under_both_names_fails_the_item() {
    let refused = AtomicUsize::new(0);
    let server = LoggingServer::start(move |_| {
        let name = ["max_tokens", "max_completion_tokens"][refused.fetch_add(1, Ordering::Relaxed) % 2];
        let message = format!("Unsupported parameter: '{name}' is not supported. Use another instead.");
        Response::json(400, &json!({"error": {"message": message, "code": "unsupported_parameter"}}))
    });
    let (machine, bodies) = run_rows(&server, "openai", "", &[json!({"id": "a", "prompt": "Hello", "max_tokens": 20})]);
    assert_eq!(machine.result("runs/rows", "a").error.unwrap().outcome, Outcome::BadRequest);
    assert_eq!(bodies.len(), 2);
}

#[test]
fn the_name_of_the_output_limit_can_be_set() {
    for field in ["max_tokens", "max_completion_tokens"] {
        let server = LoggingServer::of_api("openai", "Hi.");
        let rows = [json!({"prompt": "Hello", "max_tokens": 20}), openai_line("b", &hello(json!({"max_tokens": 20})))];
        let settings = format!("max_tokens_field = \"{field}\"");
        let (_, bodies) = run_rows(&server, "openai", &settings, &rows[..1]);
        assert_eq!(bodies[0], hello(json!({field: 20})));
        let (_, bodies) = run_rows(&LoggingServer::of_api("openai", "Hi."), "openai", &settings, &rows[1..]);
        assert_eq!(bodies[0], hello(json!({field: 20})));
    }
}

#[test]
fn anthropics_default_limit_is_said_and_sent() {
    let server = LoggingServer::of_api("anthropic", "Hi.");
    let machine = TestMachine::new();
    machine.write("rows.jsonl", r#"{"prompt":"Hello"}"#);
    machine.write_keys_toml(&server.keys_toml_of_api("anthropic", ""));
    let output = machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    output.assert_stderr_contains(&["model `m` has no max_output", "are sent with max_tokens = 4,096"]);
    assert_eq!(server.completions()[0].json()["max_tokens"], 4_096);
    machine.write_keys_toml(&server.keys_toml_of_api("anthropic", "max_output = 900"));
    let output = machine.cascadeck(&["run", "rows.jsonl", "--run-dir", "again"]).expect_status(0);
    assert!(!output.stderr.contains("max_output"), "{}", output.stderr);
    assert_eq!(server.completions()[1].json()["max_tokens"], 900);
}

/// An answer that calls a tool and has no text.
fn tool_call_answer() -> (Value, Value) {
    let calls = json!([{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]);
    (calls.clone(), json!({"role": "assistant", "content": null, "tool_calls": calls}))
}

#[test]
fn calls_of_tools_are_kept_and_the_whole_message_if_asked_for() {
    let (calls, message) = tool_call_answer();
    for keep in ["", "[results]\nkeep = \"message\"\n"] {
        let answer = message.clone();
        let server = LoggingServer::start(move |_| {
            let choice = json!({"index": 0, "message": answer, "finish_reason": "tool_calls"});
            let usage = json!({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10});
            Response::json(200, &json!({"choices": [choice], "usage": usage, "model": "m"}))
        });
        let machine = TestMachine::new();
        machine.write_keys_toml(&format!("{}{keep}", server.keys_toml("")));
        let line = openai_line("a", &hello(json!({"tools": [{"type": "function", "function": {"name": "weather"}}]})));
        machine.write("rows.jsonl", line.to_string());
        machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
        let result: Value = serde_json::from_str(machine.read("runs/rows/results.jsonl").trim()).unwrap();
        assert_eq!((&result["status"], &result["output"]), (&json!("done"), &Value::Null));
        assert_eq!(result["tool_calls"], calls);
        let wanted = if keep.is_empty() { &Value::Null } else { &message };
        assert_eq!(&result["message"], wanted);
        assert_eq!(server.completions().len(), 1);
    }
}

#[test]
fn a_tool_call_without_a_tool_in_the_request_is_an_empty_answer() {
    let (_, message) = tool_call_answer();
    let server = LoggingServer::start(move |_| {
        Response::json(200, &json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&format!("{}[policy]\nempty_retries = 0\n", server.keys_toml("")));
    machine.write("rows.jsonl", r#"{"id":"a","prompt":"Hello"}"#);
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(3);
    assert_eq!(machine.result("runs/rows", "a").error.unwrap().outcome, Outcome::EmptyOutput);
}

#[test]
fn several_answers_and_log_probabilities_are_kept() {
    let choice = |index: u32| {
        let message = json!({"role": "assistant", "content": format!("Answer {index}")});
        json!({"index": index, "message": message, "finish_reason": "stop", "logprobs": {"content": []}})
    };
    let choices = json!([choice(0), choice(1)]);
    let sent = choices.clone();
    let server = LoggingServer::start(move |_| Response::json(200, &json!({"choices": sent})));
    let (machine, _) = run_rows(&server, "openai", "", &[openai_line("a", &hello(json!({"n": 2})))]);
    let result: Value = serde_json::from_str(machine.read("runs/rows/results.jsonl").trim()).unwrap();
    assert_eq!(result["output"], "Answer 0");
    assert_eq!(result["choices"], choices);
    assert_eq!(batch_body(&machine)["choices"], choices);
}

#[test]
fn every_choice_is_checked() {
    let openai = |texts: [&str; 2]| {
        let choice = |index: usize, text: &str| {
            let message = json!({"role": "assistant", "content": text});
            json!({"index": index, "message": message, "finish_reason": "stop"})
        };
        json!({"choices": [choice(0, texts[0]), choice(1, texts[1])]})
    };
    let gemini = |texts: [&str; 2]| {
        let candidate =
            |text: &str| json!({"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP"});
        json!({"candidates": texts.map(candidate), "usageMetadata": {}})
    };
    let command = "command = [\"sh\", \"-c\", \"grep -q -e 'output.:.{}' || { echo bad; exit 1; }\"]";
    for (condition, words) in [("json = true", "is not JSON: "), (command, "bad")] {
        let check = format!("[[check]]\nname = \"shape\"\n{condition}\nretries = 0\n");
        for (texts, want) in [(["{}", "{}"], None), (["{}", "no"], Some(2)), (["no", "{}"], Some(1))] {
            let sent = [("openai", openai(texts)), ("gemini", gemini(texts))];
            for (api, response) in sent {
                let server = LoggingServer::start(move |_| Response::json(200, &response));
                let row = match api {
                    "openai" => openai_line("a", &hello(json!({"n": 2}))),
                    _ => {
                        json!({"id": "a", "prompt": "Hello", "extra_body": {"generationConfig": {"candidateCount": 2}}})
                    }
                };
                let machine = TestMachine::new();
                machine.write_keys_toml(&format!("{}{check}", server.keys_toml_of_api(api, "")));
                machine.write("rows.jsonl", row.to_string());
                machine.start(&["run", "rows.jsonl", "--no-check"]).wait();
                let message = machine.result("runs/rows", "a").error.map(|error| error.message);
                let want = want.map(|number| format!("check shape: choice {number}: {words}"));
                assert_eq!(message.is_some(), want.is_some(), "{api} {texts:?} {message:?}");
                assert!(message.unwrap_or_default().starts_with(&want.unwrap_or_default()), "{api} {texts:?}");
            }
        }
    }
}

/// The body of the only result's response in the export for OpenAI's batch API.
fn batch_body(machine: &TestMachine) -> Value {
    let args = ["export", "runs/rows", "--format", "openai-batch"];
    machine.cascadeck(&args).expect_status(0).stdout_json()["response"]["body"].take()
}

#[test]
fn embeddings_are_asked_for_and_kept() {
    let server = LoggingServer::of_api("openai", "Hi.");
    let body = json!({"model": "m", "input": "Oslo", "dimensions": 2});
    let rows = [json!({"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body})];
    let (machine, bodies) = run_rows(&server, "openai", "max_output = 100", &rows);
    assert_eq!(bodies[0], body);
    assert_eq!(server.completions()[0].path, "/v1/embeddings");
    let result: Value = serde_json::from_str(machine.read("runs/rows/results.jsonl").trim()).unwrap();
    assert_eq!(result["embedding"], json!([0.25, -1.5]));
    assert_eq!((&result["output"], &result["usage"]["input_tokens"]), (&Value::Null, &json!(3)));
    let data = json!([{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}]);
    let exported = batch_body(&machine);
    assert_eq!((&exported["object"], &exported["data"]), (&"list".into(), &data), "{exported}");
    let (machine, bodies) = run_rows(&LoggingServer::of_api("gemini", "Hi."), "gemini", "", &rows);
    assert_eq!(bodies.len(), 0);
    let message = machine.result("runs/rows", "a").error.unwrap().message;
    assert!(message.contains("can go only to a provider with the openai API"), "{message}");
}

#[test]
fn the_key_never_reaches_the_results_through_a_kept_message() {
    let server = LoggingServer::start(|_| {
        let message = json!({"role": "assistant", "content": "Hi.", "note": "you sent sk-alice-0123456789"});
        Response::json(200, &json!({"choices": [{"message": message, "finish_reason": "stop"}]}))
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&format!("{}[results]\nkeep = \"message\"\n", server.keys_toml("")));
    machine.write("rows.jsonl", r#"{"id":"a","prompt":"Hello"}"#);
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    let line = machine.read("runs/rows/results.jsonl");
    assert!(line.contains("you sent") && !line.contains("sk-alice-0123456789"), "{line}");
}
