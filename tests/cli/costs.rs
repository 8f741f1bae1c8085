//! Tokens and money by kind, from the providers' own usage fields to the results, reports and exports.

use serde_json::{Value, json};

use crate::{
    harness::{
        TestMachine,
        logging_server::{LoggingServer, Request, Response},
    },
    wire::examples,
};

/// A keys.toml for one provider of any API at `server`. `model` adds settings to the model's table.
fn keys_toml(server: &LoggingServer, api: &str, model: &str) -> String {
    let version = if api == "openai" { "/v1" } else { "" };
    format!(
        "[[provider]]\nname = \"p\"\napi = \"{api}\"\nbase_url = \"http://{}{version}\"\n\
         [[model]]\nname = \"m\"\nprovider = \"p\"\nmax_output = 1_000_000\n{model}\n\
         [[key]]\nname = \"alice\"\nprovider = \"p\"\nsecret = \"sk-alice-0123456789\"\n",
        server.address(),
    )
}

fn machine_answering(api: &str, model: &str, answer: Value) -> (LoggingServer, TestMachine) {
    let server = LoggingServer::start(move |request: &Request| {
        if request.is_completion() {
            Response::json(200, &answer)
        } else {
            // Every API's list of models.
            Response::json(200, &json!({"data": [{"id": "m"}], "models": [{"name": "models/m"}], "has_more": false}))
        }
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&keys_toml(&server, api, model));
    machine.write("rows.jsonl", "{\"id\":\"a\",\"prompt\":\"hi\"}\n");
    (server, machine)
}

const RUN_ARGS: [&str; 3] = ["run", "rows.jsonl", "--json"];

fn openai_answer(usage: &Value) -> Value {
    json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    })
}

fn micro_usd(value: &Value) -> i64 {
    (value.as_f64().unwrap_or_else(|| panic!("{value} is no amount")) * 1e6).round() as i64
}

/// Of a prompt of a million tokens, 900,000 came from the cache: $1.19, not $2.00.
#[test]
fn cached_input_costs_what_the_cache_costs_in_every_report() {
    let usage = json!({
        "prompt_tokens": 1_000_000, "completion_tokens": 500_000, "total_tokens": 1_500_000,
        "prompt_tokens_details": {"cached_tokens": 900_000},
    });
    let price = "usd_per_mtok = { input = 1.0, output = 2.0, cached_input = 0.1 }";
    let (_server, machine) = machine_answering("openai", price, openai_answer(&usage));
    let summary = machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json();
    let status = machine.status("runs/rows");
    let audit = machine.cascadeck(&["audit", "runs/rows", "--json"]).expect_status(0).stdout_json();
    let line: Value = serde_json::from_str(&machine.read("runs/rows/results.jsonl")).unwrap();
    for report in [&summary, &status, &audit, &line] {
        let kinds = &report["cost_by_kind_usd"];
        let amounts = ["input", "cached_input", "cache_write", "output", "images"].map(|kind| micro_usd(&kinds[kind]));
        assert_eq!(
            (micro_usd(&report["cost_usd"]), amounts),
            (1_190_000, [100_000, 90_000, 0, 1_000_000, 0]),
            "{report}"
        );
    }
    for tokens in [&summary, &status, &status["models"][0], &line["usage"], &audit["usage"]] {
        assert_eq!((&tokens["input_tokens"], &tokens["cached_input_tokens"]), (&1_000_000.into(), &900_000.into()));
        assert_eq!((&tokens["cache_write_tokens"], &tokens["cache_write_1h_tokens"]), (&0.into(), &0.into()));
    }
    let table = machine.cascadeck(&["status", "runs/rows"]).expect_status(0).stdout;
    let report = machine.cascadeck(&["audit", "runs/rows"]).expect_status(0).stdout;
    for text in [&table, &report] {
        assert!(text.contains("(900,000 cached)"), "{text}");
        assert!(text.contains("input $0.10, cached input $0.09, output $1.00"), "{text}");
    }
    let csv = machine.cascadeck(&["export", "runs/rows", "--format", "csv"]).expect_status(0).stdout;
    assert!(csv.trim_end().ends_with(",900000,0,0,0.1,0.09,0,1,0,,,,,"), "{csv}");
    let batch = machine.cascadeck(&["export", "runs/rows", "--format", "openai-batch"]).expect_status(0).stdout_json();
    assert_eq!(batch["response"]["body"]["usage"]["prompt_tokens_details"]["cached_tokens"], 900_000);
}

#[test]
fn thinking_is_counted_apart_in_results_and_as_a_part_of_output_in_summaries() {
    let usage = json!({
        "prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60,
        "completion_tokens_details": {"reasoning_tokens": 30},
    });
    let (_server, machine) = machine_answering("openai", "", openai_answer(&usage));
    let summary = machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json();
    let status = machine.status("runs/rows");
    let line: Value = serde_json::from_str(&machine.read("runs/rows/results.jsonl")).unwrap();
    assert_eq!((&line["usage"]["output_tokens"], &line["usage"]["thinking_tokens"]), (&20.into(), &30.into()));
    for report in [&summary, &status, &summary["models"][0], &status["models"][0]] {
        assert_eq!((&report["output_tokens"], &report["thinking_tokens"]), (&50.into(), &30.into()), "{report}");
    }
}

/// Answers as the providers send them, at $1 for input, $0.1 for reads, $1.25 and $2 for writes, $10 for output.
#[test]
fn every_providers_own_fields_are_billed_by_kind() {
    let price =
        "usd_per_mtok = { input = 1.0, output = 10.0, cached_input = 0.1, cache_write = 1.25, cache_write_1h = 2.0 }";
    // Example, API, tokens (all input, cached, written, written for an hour, output), and the cost in pico-dollars.
    let cases = [
        ("openai_200_cached", "openai", [2_006, 1_920, 0, 0, 300], 86_000_000 + 192_000_000 + 3_000_000_000),
        ("openai_200_cache_write", "openai", [3_210, 0, 3_207, 0, 12], 3_000_000 + 4_008_750_000 + 120_000_000),
        ("xai_200_cached", "openai", [125, 98, 0, 0, 48], 27_000_000 + 9_800_000 + 480_000_000),
        ("deepseek_200_cached", "openai", [1_000, 896, 0, 0, 20], 104_000_000 + 89_600_000 + 200_000_000),
        (
            "anthropic_200_cached",
            "anthropic",
            [4_096, 1_800, 148, 100, 503],
            2_048_000_000 + 180_000_000 + 185_000_000 + 200_000_000 + 5_030_000_000,
        ),
        ("gemini_200_cached", "gemini", [18_625, 18_010, 0, 0, 188], 615_000_000 + 1_801_000_000 + 1_880_000_000),
    ];
    let examples = examples();
    for (name, api, tokens, pico_usd) in cases {
        let pico_usd: i64 = pico_usd;
        let (_server, machine) = machine_answering(api, price, examples[name]["body"].clone());
        machine.cascadeck(&RUN_ARGS).expect_status(0);
        let result = machine.result("runs/rows", "a");
        let usage = result.usage;
        let counted = [
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.cache_write_tokens,
            usage.cache_write_1h_tokens,
            usage.billed_output(),
        ];
        assert_eq!((counted, (result.cost_usd * 1e12).round() as i64), (tokens, pico_usd), "{name}");
        machine.cascadeck(&["audit", "runs/rows"]).expect_status(0);
    }
}

#[test]
fn long_prompts_have_the_prices_of_their_step_and_pictures_are_billed_one_by_one() {
    let usage = json!({"prompt_tokens": 300_000, "completion_tokens": 1_000, "total_tokens": 301_000});
    let model = "vision = true\nusd_per_image = 0.5\n\
         usd_per_mtok = { input = 2.0, output = 12.0, steps = [{ above = 200_000, input = 4.0, output = 18.0 }] }";
    let (_server, machine) = machine_answering("openai", model, openai_answer(&usage));
    machine.write("a.png", crate::harness::png(40, 30));
    machine.write("rows.jsonl", "{\"id\":\"a\",\"prompt\":\"hi\",\"images\":[\"a.png\"]}\n");
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    let result = machine.result("runs/rows", "a");
    let kinds = result.cost_by_kind_usd.unwrap();
    assert_eq!((result.cost_usd, kinds.input, kinds.output, kinds.images), (1.718, 1.2, 0.018, 0.5));
}

#[test]
fn the_cost_of_a_model_without_a_price_is_unknown_in_every_summary() {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let (_server, machine) = machine_answering("openai", "", openai_answer(&usage));
    let ended = machine.cascadeck(&["run", "rows.jsonl", "--headless"]).expect_status(0).stdout;
    for summary in [ended, machine.cascadeck(&["status", "runs/rows"]).expect_status(0).stdout] {
        assert!(summary.contains("\ncost      price unknown\n") && !summary.contains("$0"), "{summary}");
        assert_eq!(summary.matches("price unknown").count(), 3, "in all, of the model and of the key: {summary}");
    }
    let (ran, status) = (machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json(), machine.status("runs/rows"));
    assert_eq!((&ran["models"][0]["unpriced"], &status["models"][0]["unpriced"]), (&true.into(), &true.into()));
    // A price of nothing is known.
    let price = "usd_per_mtok = { input = 0.0, output = 0.0 }";
    let (_server, free) = machine_answering("openai", price, openai_answer(&usage));
    let ended = free.cascadeck(&["run", "rows.jsonl", "--headless"]).expect_status(0).stdout;
    assert!(ended.contains("\ncost      $0\n") && !ended.contains("unknown"), "{ended}");
}

/// The budget allows the input at its own price, but not if the provider writes it to its cache.
#[test]
fn the_reservation_covers_a_cache_write() {
    // 3,000 characters are at most 1,008 tokens, and the answer has at most 100.
    let row = format!("{{\"id\":\"a\",\"prompt\":\"{}\",\"max_tokens\":100}}\n", "x".repeat(3_000));
    let usage = json!({"prompt_tokens": 1_000, "completion_tokens": 1, "total_tokens": 1_001});
    for (price, status) in [
        ("usd_per_mtok = { input = 1_000.0, output = 0.0 }", 0),
        ("usd_per_mtok = { input = 1_000.0, output = 0.0, cache_write = 1_250.0 }", 4),
    ] {
        let (server, machine) = machine_answering("openai", price, openai_answer(&usage));
        machine.write("rows.jsonl", &row);
        let ended = machine.cascadeck(&[&RUN_ARGS[..], &["--max-usd", "1.1"]].concat()).expect_status(status);
        assert_eq!(server.completions().len(), usize::from(status == 0), "{}", ended.stderr);
    }
}

#[test]
fn a_field_without_a_highest_price_is_refused_by_name_while_a_cap_is_set() {
    let price = "usd_per_mtok = { input = 1.0, output = 2.0 }";
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11});
    let (server, machine) = machine_answering("openai", price, openai_answer(&usage));
    let row = json!({
        "custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "m", "service_tier": "priority", "messages": [{"role": "user", "content": "hi"}]},
    });
    machine.write("rows.jsonl", format!("{row}\n"));
    let refused = machine.cascadeck(&[&RUN_ARGS[..], &["--max-usd", "5"]].concat()).expect_status(2);
    refused.assert_stderr_contains(&["rows.jsonl:1: `body.service_tier`", "spend cap", "remove the field"]);
    assert_eq!(server.completions().len(), 0);
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    // A row's own fields are refused in the same way, also in batch lines and under a cap of the row alone.
    let line = json!({
        "custom_id": "a", "extra_body": {"enable_search": true},
        "body": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    });
    let plain = json!({"id": "a", "prompt": "hi", "extra_body": {"compound_custom": {"tools": {}}}});
    let capped = json!({"id": "a", "prompt": "hi", "max_usd": 1.0, "extra_body": {"plugins": [{"id": "web"}]}});
    let sent_so_far = server.completions().len();
    for (name, row, args, field) in [
        ("line", &line, &["--max-usd", "5"][..], "enable_search"),
        ("plain", &plain, &["--max-usd", "5"], "compound_custom"),
        ("capped", &capped, &[], "plugins"),
    ] {
        let file = format!("{name}.jsonl");
        machine.write(&file, format!("{row}\n"));
        let refused = machine.cascadeck(&[&["run", file.as_str(), "--json"], args].concat()).expect_status(2);
        let words = format!("{file}:1: `extra_body.{field}`");
        refused.assert_stderr_contains(&[&words, "spend cap", "remove the field"]);
    }
    assert_eq!(server.completions().len(), sent_so_far);
}

#[test]
fn an_extra_body_without_a_highest_price_is_refused_while_a_cap_is_set() {
    let server = LoggingServer::openai("yes");
    let machine = TestMachine::new();
    machine.write("rows.jsonl", "{\"id\":\"a\",\"prompt\":\"hi\"}\n");
    let priced = server.keys_toml("max_output = 100\nusd_per_mtok = { input = 1.0, output = 1.0 }");
    let searching = "extra_body = { web_search_options = {}, plugins = [\"web\"] }\n[[model]]";
    machine.write_keys_toml(&priced.replacen("[[model]]", searching, 1));
    machine.cascadeck(&["run", "rows.jsonl", "--max-usd", "1"]).expect_status(2).assert_stderr_contains(&[
        "m (has a field in its extra_body, or in its provider's",
        "`web_search_options` searches the web",
        "no upper bound",
    ]);
    let capped = priced.replacen("[[model]]", searching, 1) + "[policy]\nmax_usd = 1.0\n";
    machine.write_keys_toml(&capped);
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(2).assert_stderr_contains(&["`web_search_options`"]);
    machine.write_keys_toml(&priced.replace("name = \"m\"", "name = \"groq/compound\""));
    machine
        .cascadeck(&["run", "rows.jsonl", "--max-usd", "1"])
        .expect_status(2)
        .assert_stderr_contains(&["groq/compound (runs tools of the provider by itself"]);
    machine.write_keys_toml(&priced.replacen("[[model]]", searching, 1));
    machine.cascadeck(&["run", "rows.jsonl"]).expect_status(0);
    assert_eq!(server.completions()[0].json()["plugins"][0], "web", "without a cap, the field is sent");
}
