//! Providers' answers as they were seen on the wire, and what the program makes of them.
//!
//! `tests/wire/*.json` are real bodies (each names its source). `meaning` must be the outcome; `action` is the advice of
//! those who collected them, in their words, mapped here to the program's actions:
//!
//! | theirs | ours |
//! |---|---|
//! | `none` | `complete` |
//! | `retry_short` | `retry` |
//! | `retry_after(n)` | `cool_pool`; on a day's quota `next_route`. `cooldown_s` is n where body or headers state a wait; without one it is null, and the ladder decides |
//! | `disable_key` | `disable_key`; `disable_project` where credit is what is missing |
//! | `next_model`, `next_key` | `next_route` (a day's quota), `next_model` (a limit of 0, a missing ability), `disable_route` (model not found) |
//! | `fail_item` | `fail_item`; `complete` for a truncated answer with text |

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::{collections::BTreeMap, fs, path::Path};

use cascadeck::{
    domain::{Action, Api, Outcome, Verdict, Wall},
    provider::{Reply, Response, TransportFailure, classify, explain},
};
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::{Value, json};

/// 2026-11-21T12:00:00Z: the day on which the examples' absolute times lie.
const NOON: Wall = Wall::from_unix_seconds(1_795_262_400);

const APIS: [Api; 3] = [Api::Gemini, Api::OpenAi, Api::Anthropic];

fn examples() -> BTreeMap<String, Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let example = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), example)
        })
        .collect()
}

/// Which wire API an example's provider speaks. Those of `any` must come out alike on all.
fn apis(name: &str, provider: &str) -> Vec<Api> {
    match provider {
        "any" => APIS.to_vec(),
        "gemini" => vec![Api::Gemini],
        "anthropic" => vec![Api::Anthropic],
        // Seen on these vendors' Anthropic-style surfaces.
        _ if name == "kimi_429_engine_overloaded" || name == "minimax_500_1008_balance" => vec![Api::Anthropic],
        _ => vec![Api::OpenAi],
    }
}

fn header_map(headers: &Value) -> HeaderMap {
    let pairs = headers.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value.as_str().unwrap()).unwrap())
        })
        .collect()
}

fn bytes(body: &Value) -> Vec<u8> {
    match body {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        body => serde_json::to_vec(body).unwrap(),
    }
}

fn judge(api: Api, status: u16, headers: &Value, body: &[u8]) -> Verdict {
    let headers = header_map(headers);
    classify(api, &Reply::Response(Response { status, headers: &headers, body, received: NOON, secrets: &[] }))
}

fn judge_example(api: Api, example: &Value) -> Verdict {
    if let Some(status) = example["status"].as_u64() {
        return judge(api, status as u16, &example["headers"], &bytes(&example["body"]));
    }
    // How the transport failed is only told by the source's words.
    let source = example["source"].as_str().unwrap().to_owned();
    let stalled = source.contains("no bytes for ever");
    let failure = if stalled { TransportFailure::TimedOut(source) } else { TransportFailure::Broken(source) };
    classify(api, &Reply::Failed(failure))
}

fn cooldown(verdict: &Verdict) -> Option<u64> {
    verdict.hint.map(|hint| hint.after.as_secs_f64().ceil() as u64)
}

/// Whether an example states a wait anywhere; the others' numbers are their collectors' defaults.
fn states_a_wait(example: &Value) -> bool {
    let text = example.to_string().to_lowercase();
    ["\"retry-after\"", "retrydelay\":", "retry in ", "again in ", "again after "]
        .iter()
        .any(|term| text.contains(term))
}

#[test]
fn every_example_is_understood() {
    let examples = examples();
    assert!(examples.len() > 100, "the examples are missing");
    let mut wrong = Vec::new();
    for (name, example) in &examples {
        let text = |field: &str| example[field].as_str().unwrap_or_default();
        for api in apis(name, text("provider")) {
            let verdict = judge_example(api, example);
            if verdict.outcome.name() != text("meaning") {
                wrong.push(format!("{name}: {} instead of {} ({})", verdict.outcome, text("meaning"), verdict.because));
                continue;
            }
            let stated = text("action").strip_prefix("retry_after(").and_then(|rest| rest.strip_suffix(')'));
            let allowed: &[Action] = match (text("action"), verdict.outcome) {
                ("none", _) => &[Action::Complete],
                ("retry_short", _) => &[Action::Retry],
                (_, Outcome::QuotaExhaustedDay) => &[Action::NextRoute],
                ("disable_key", Outcome::QuotaExhaustedBilling) => &[Action::DisableProject],
                ("disable_key", _) => &[Action::DisableKey],
                ("next_model", Outcome::ModelNotFound) => &[Action::DisableRoute],
                ("next_model" | "next_key", _) => &[Action::NextModel],
                ("fail_item", Outcome::Truncated) if verdict.answer.is_some() => &[Action::Complete],
                ("fail_item", _) => &[Action::FailItem],
                _ if stated.is_some() => &[Action::CoolPool],
                (action, _) => panic!("{name}: no mapping for {action}"),
            };
            if !allowed.contains(&verdict.action) {
                wrong.push(format!("{name}: {:?} for {}", verdict.action, text("action")));
            }
            if let Some(seconds) = stated {
                let want = states_a_wait(example).then(|| seconds.parse::<u64>().unwrap());
                if cooldown(&verdict) != want {
                    wrong.push(format!("{name}: waits {:?} instead of {want:?}", cooldown(&verdict)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), examples.len(), wrong.join("\n"));
}

/// The same examples through `explain`, which is given a body and not how the transport failed.
#[test]
fn explain_says_what_the_classification_says() {
    for (name, example) in examples() {
        for api in apis(&name, example["provider"].as_str().unwrap()) {
            if example["status"].is_null() {
                continue;
            }
            let (told, verdict) = (explain(api, &example).unwrap(), judge_example(api, &example));
            assert_eq!(told["outcome"], verdict.outcome.name(), "{name}");
            assert_eq!(told["action"], serde_json::to_value(verdict.action).unwrap(), "{name}");
            assert!(told["because"].as_str().is_some_and(|because| !because.is_empty()), "{name}");
            assert_eq!(told.as_object().unwrap().len(), 4, "{name}");
        }
    }
}

#[test]
fn no_example_leaks_a_key_or_an_account() {
    for (name, example) in examples() {
        for api in apis(&name, example["provider"].as_str().unwrap()) {
            let verdict = judge_example(api, &example);
            let told = explain(api, &example).unwrap()["because"].to_string();
            for shape in ["AIza", "sk-", "org-", "org_", "ak-", "proj-"] {
                assert!(!verdict.message.contains(shape), "{name}: {}", verdict.message);
                assert!(!told.contains(shape), "{name}: {told}");
            }
        }
    }
}

#[test]
fn geminis_day_quota_states_its_limit_and_no_wait() {
    let example = &examples()["gemini_429_rpd_3_8_flash"];
    let verdict = judge_example(Api::Gemini, example);
    assert_eq!((verdict.stated_limit, verdict.hint, verdict.limit_zero), (Some(20), None, false));
    let minute = judge_example(Api::Gemini, &examples()["gemini_429_rpm"]);
    assert_eq!(minute.stated_limit, Some(15));
    let tokens = judge_example(Api::Gemini, &examples()["gemini_429_tpm_paid"]);
    assert_eq!(tokens.stated_limit, Some(1_000_000));
    let zero = judge_example(Api::Gemini, &examples()["gemini_429_limit_zero"]);
    assert!(zero.limit_zero && zero.hint.is_none());
    assert!(!judge_example(Api::Gemini, &examples()["gemini_429_prepay_depleted"]).limit_zero);
}

#[test]
fn openrouters_day_ends_when_its_epoch_in_milliseconds_says() {
    let verdict = judge_example(Api::OpenAi, &examples()["openrouter_429_free_daily"]);
    assert_eq!(cooldown(&verdict), Some(12 * 3_600));
}

#[test]
fn answers_come_with_their_tokens() {
    let verdict = judge_example(Api::Gemini, &examples()["gemini_200_ok_thinking"]);
    let usage = verdict.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.thinking_tokens, usage.total()), (20, 151, 382, 553));
    let answer = verdict.answer.unwrap();
    assert_eq!(answer.text, "...");
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
    assert_eq!(answer.model_version.as_deref(), Some("gemini-2.5-flash"));
    let verdict = judge_example(Api::OpenAi, &examples()["deepseek_200_keepalive_blank_lines"]);
    assert_eq!(verdict.answer.unwrap().text, "hi");
    let verdict = judge_example(Api::Anthropic, &examples()["anthropic_200_max_tokens"]);
    assert_eq!((verdict.answer.unwrap().text.as_str(), verdict.usage.output_tokens), ("cut", 16));
    let verdict = judge_example(Api::OpenAi, &examples()["openai_200_length"]);
    assert_eq!((verdict.answer, verdict.usage.thinking_tokens), (None, 64));
}

/// Shapes and wordings that stand in no example.
#[test]
fn the_rules_reach_further_than_the_examples() {
    use Outcome::{
        BadRequest, ClientTrouble, ContentBlocked, EmptyOutput, InvalidKey, KeyForbidden, MalformedResponse,
        ModelNotFound, Ok, Overloaded, QuotaExhaustedBilling, QuotaExhaustedDay, RateLimitedMinute, ServerError,
        Timeout, TokensLimitedMinute, Truncated,
    };
    let google =
        |code: u16, status: &str, message: &str| json!({"error": {"code": code, "status": status, "message": message}});
    let openai =
        |message: &str, kind: &str, code: Value| json!({"error": {"message": message, "type": kind, "code": code}});
    let violations = |ids: &[&str]| {
        let violations: Vec<Value> = ids.iter().map(|id| json!({"quotaId": id, "quotaValue": "9"})).collect();
        json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9s"}]}})
    };
    let upstream =
        |raw: Value| json!({"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": raw}}});
    let cases = vec![
        // LiteLLM without a database says this to every key but its master key.
        (400, openai("No connected db.", "no_db_connection", json!("400")), InvalidKey),
        // The strictest of several limits counts.
        (
            429,
            violations(&[
                "GenerateContentInputTokensPerModelPerMinute-FreeTier",
                "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            ]),
            TokensLimitedMinute,
        ),
        (
            429,
            violations(&[
                "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
            ]),
            QuotaExhaustedDay,
        ),
        (429, json!([violations(&["GenerateRequestsPerDayPerProjectPerModel-FreeTier"])]), QuotaExhaustedDay),
        (
            429,
            google(429, "RESOURCE_EXHAUSTED", "Your project has exceeded its monthly spending cap."),
            QuotaExhaustedBilling,
        ),
        (400, google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), KeyForbidden),
        (400, google(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."), InvalidKey),
        (
            400,
            google(
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
            BadRequest,
        ),
        (
            403,
            google(403, "PERMISSION_DENIED", "Your project has been denied access. Please contact support."),
            KeyForbidden,
        ),
        (503, google(503, "UNAVAILABLE", "Authentication backend unavailable."), Overloaded),
        (499, google(499, "CANCELLED", "The operation was cancelled."), ServerError),
        // Codes of every kind.
        (429, openai("no", "insufficient_quota", json!(null)), QuotaExhaustedBilling),
        (429, openai("no", "x", json!("Insufficient-Quota")), QuotaExhaustedBilling),
        (429, openai("Limit reached", "tokens", json!("rate_limit_exceeded")), TokensLimitedMinute),
        (429, openai("Limit reached", "requests", json!(429)), RateLimitedMinute),
        (
            429,
            openai(
                "Rate limit reached on tokens per day (TPD): Limit 100000, Used 99000, Requested 2000.",
                "tokens",
                json!("rate_limit_exceeded"),
            ),
            QuotaExhaustedDay,
        ),
        (
            429,
            openai(
                "on requests per min (RPM): Limit 0, Used 0, Requested 1.",
                "requests",
                json!("rate_limit_exceeded"),
            ),
            QuotaExhaustedBilling,
        ),
        (429, openai("on tokens per min (TPM): Limit 6,000, Requested 12,328.", "tokens", json!(null)), BadRequest),
        (400, openai("Invalid schema", "invalid_request_error", json!("invalid_json_schema")), BadRequest),
        (400, openai("rejected", "invalid_request_error", json!("content_policy_violation")), ContentBlocked),
        (400, openai("gone", "invalid_request_error", json!("model_decommissioned")), ModelNotFound),
        (500, openai("Context size has been exceeded.", "server_error", json!(500)), BadRequest),
        (503, openai("no available channels for model x", "new_api_error", json!(null)), ModelNotFound),
        (500, openai("relayed", "x", json!(403)), KeyForbidden),
        (500, openai("relayed", "x", json!("429")), RateLimitedMinute),
        (502, openai("bad gateway", "x", json!(null)), ServerError),
        (529, json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), Overloaded),
        (
            429,
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "x", "details": {"error_code": "enforced_spend_limit_reached"}}}),
            QuotaExhaustedBilling,
        ),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API."}}),
            QuotaExhaustedBilling,
        ),
        (504, json!({"type": "error", "error": {"type": "timeout_error", "message": "x"}}), Timeout),
        (408, json!(null), Timeout),
        // Errors as strings, flat ones, and wrapped ones.
        (
            400,
            json!({"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***yz"}),
            InvalidKey,
        ),
        (
            429,
            json!({"object": "error", "message": "Requests rate limit exceeded", "type": "rate_limited", "code": "1300", "raw_status_code": 429}),
            RateLimitedMinute,
        ),
        (401, json!({"detail": "Unauthorized"}), InvalidKey),
        (422, json!({"detail": [{"loc": ["body"], "msg": "field required"}]}), BadRequest),
        (404, json!({"error": "model 'x' not found, try pulling it first"}), ModelNotFound),
        (404, json!({"error": {"message": "No endpoints found that support image input", "code": 404}}), BadRequest),
        (
            500,
            json!({"error": {"code": 500, "message": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "type": "server_error"}}),
            BadRequest,
        ),
        (
            429,
            upstream(json!(
                "{\"error\":{\"message\":\"suspended due to insufficient balance\",\"type\":\"exceeded_current_quota_error\"}}"
            )),
            QuotaExhaustedBilling,
        ),
        (429, upstream(json!({"error": {"message": "The engine is currently overloaded"}})), Overloaded),
        (429, upstream(json!("not JSON {")), RateLimitedMinute),
        (
            403,
            json!({"error": {"code": 403, "message": "Input refused", "metadata": {"reasons": ["violence"], "flagged_input": "…"}}}),
            ContentBlocked,
        ),
        (
            402,
            json!({"error": {"code": 402, "message": "Too much in flight", "metadata": {"limit_source": "openrouter_in_flight_budget"}}}),
            RateLimitedMinute,
        ),
        (402, json!(null), QuotaExhaustedBilling),
        (429, json!({"base_resp": {"status_code": 1039, "status_msg": "slow down, tokens"}}), TokensLimitedMinute),
        // Errors under 200.
        (200, json!({"error": {"message": "Provider disconnected", "code": 502}}), ServerError),
        (200, json!({"error": {"message": "Rate limit exceeded", "code": "429"}, "choices": []}), RateLimitedMinute),
        (200, json!({"error": {"message": "no", "type": "invalid_request_error"}}), BadRequest),
        (200, json!({"error": "something odd"}), MalformedResponse),
        (200, json!({"object": "error", "message": "model_not_found"}), ModelNotFound),
        (
            200,
            json!({"choices": null, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
            QuotaExhaustedBilling,
        ),
        (200, json!({"choices": null, "base_resp": {"status_code": "1001", "status_msg": "timeout"}}), Timeout),
        (
            200,
            json!({"choices": null, "base_resp": {"status_code": 2049, "status_msg": "invalid api key"}}),
            InvalidKey,
        ),
        (
            200,
            json!({"choices": null, "base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}}),
            ContentBlocked,
        ),
        // Answers.
        (
            200,
            json!({"error": null, "choices": [{"message": {"content": "insufficient_quota"}, "finish_reason": "stop"}], "base_resp": {"status_code": 0}}),
            Ok,
        ),
        (
            200,
            json!([{"choices": [{"message": {"content": [{"type": "text", "text": "a"}]}, "finish_reason": "stop"}]}]),
            Ok,
        ),
        (
            200,
            json!({"choices": [{"message": {"content": null, "refusal": "I can't help with that"}, "finish_reason": "stop"}]}),
            ContentBlocked,
        ),
        (200, json!({"choices": [{"message": {"content": null}, "finish_reason": "tool_calls"}]}), EmptyOutput),
        (200, json!({"choices": [{"message": {"content": "x"}, "finish_reason": "LENGTH"}], "usage": null}), Truncated),
        (
            200,
            json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "error": {"code": 502}}]}),
            MalformedResponse,
        ),
        (200, json!({"choices": null}), EmptyOutput),
        (200, json!({}), MalformedResponse),
        (200, json!("hello"), MalformedResponse),
        (200, json!(null), MalformedResponse),
        // Statuses by themselves.
        (302, json!(null), MalformedResponse),
        (407, json!(null), ClientTrouble),
        (409, json!(null), ServerError),
        (418, json!(null), BadRequest),
        (524, json!(null), ServerError),
        (999, json!(null), MalformedResponse),
    ];
    let mut wrong = Vec::new();
    for (status, body, want) in cases {
        let verdict = judge(Api::OpenAi, status, &Value::Null, &bytes(&body));
        if verdict.outcome != want {
            wrong.push(format!("{} instead of {want} for {status} {body}: {}", verdict.outcome, verdict.because));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn gemini_answers_in_odd_shapes() {
    let cases = [
        (json!([{"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}]), Outcome::Ok),
        (
            json!({"candidates": [{"content": {"parts": [{"text": "thinking", "thought": true}]}, "finishReason": "STOP"}]}),
            Outcome::EmptyOutput,
        ),
        (json!({"candidates": [{"finishReason": "OTHER"}]}), Outcome::EmptyOutput),
        (json!({"candidates": null, "usageMetadata": {}}), Outcome::EmptyOutput),
        (json!({"usageMetadata": {"promptTokenCount": 3}, "modelVersion": "m"}), Outcome::EmptyOutput),
        (json!({"candidates": [{"finishReason": "PUP_LIMITED_DISABLED"}]}), Outcome::KeyForbidden),
        (
            json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": "many"}}),
            Outcome::Ok,
        ),
        (json!({"choices": [{"message": {"content": "wrong house"}}]}), Outcome::MalformedResponse),
    ];
    for (body, want) in cases {
        let verdict = judge(Api::Gemini, 200, &Value::Null, &bytes(&body));
        assert_eq!(verdict.outcome, want, "{body}: {}", verdict.because);
    }
}

#[test]
fn blank_lines_marks_and_comments_before_an_answer_do_no_harm() {
    let answer = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    for prefix in ["", "\n\n\r\n", "\u{feff}", ": keep-alive\n\n: keep-alive\n\n", "\n: OPENROUTER PROCESSING\n"] {
        let verdict = judge(Api::OpenAi, 200, &Value::Null, format!("{prefix}{answer}\n").as_bytes());
        assert_eq!(verdict.answer.map(|answer| answer.text).as_deref(), Some("hi"), "{prefix:?}");
    }
}

#[test]
fn waits_are_kept_where_they_are_meant() {
    let groq = "Rate limit reached on tokens per day (TPD): Limit 100000, Used 99999, Requested 659. \
                Please try again in 9m38.016s.";
    let day = json!({"error": {"message": groq, "type": "tokens", "code": "rate_limit_exceeded"}});
    let cases = [
        (429, json!({}), day, Outcome::QuotaExhaustedDay, Some(579)),
        (429, json!({"Retry-After": "Sat, 21 Nov 2026 12:01:00 GMT"}), json!({}), Outcome::RateLimitedMinute, Some(60)),
        (503, json!({"RETRY-AFTER": "7"}), json!({}), Outcome::Overloaded, Some(7)),
        (401, json!({"Retry-After": "7"}), json!({}), Outcome::InvalidKey, None),
        (429, json!({"retry-after": "999999999999"}), json!({}), Outcome::RateLimitedMinute, None),
        (
            402,
            json!({"retry-after": "11"}),
            json!({"error": {"metadata": {"limit_source": "openrouter_in_flight_budget"}}}),
            Outcome::RateLimitedMinute,
            Some(11),
        ),
    ];
    for (status, headers, body, outcome, want) in cases {
        let verdict = judge(Api::OpenAi, status, &headers, &bytes(&body));
        assert_eq!((verdict.outcome, cooldown(&verdict)), (outcome, want), "{body}");
    }
}

#[test]
fn a_suspended_key_is_not_repeated_though_the_provider_repeats_it() {
    let body = examples()["gemini_403_consumer_suspended"]["body"].to_string();
    for key in ["AIzaSyD-0123456789abcdefghijklmnopqrstu", "AQ.Ab8RN6Iexample0123456789", "a key of no known shape"] {
        let body = body.replace("AIzaREDACTED", key);
        let secrets = [SecretString::from(key)];
        let headers = HeaderMap::new();
        let response =
            Response { status: 403, headers: &headers, body: body.as_bytes(), received: NOON, secrets: &secrets };
        let verdict = classify(Api::Gemini, &Reply::Response(response));
        assert_eq!(verdict.outcome, Outcome::KeyForbidden);
        assert!(!format!("{verdict:?}").contains(key), "{verdict:?}");
        assert!(verdict.message.contains("[redacted]"));
    }
}

fn any_api() -> impl Strategy<Value = Api> {
    prop::sample::select(APIS.to_vec())
}

/// JSON that often looks like a provider's, and often doesn't.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "limit: 0, ",
            "Requested 9",
            "Limit 3",
            "per day",
            "retry in 9s",
            "🦀",
            "key=",
            "sk-abcdefgh",
            "(1008)",
            "<html",
            "<script>",
            "429",
            "",
            "{\"error\":",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "error",
        "message",
        "code",
        "type",
        "status",
        "details",
        "metadata",
        "raw",
        "headers",
        "violations",
        "quotaId",
        "quotaValue",
        "retryDelay",
        "seconds",
        "choices",
        "content",
        "candidates",
        "parts",
        "text",
        "finish_reason",
        "finishReason",
        "usage",
        "usageMetadata",
        "promptFeedback",
        "blockReason",
        "base_resp",
        "status_code",
        "detail",
        "stop_reason",
        "X-RateLimit-Reset",
        "reset",
        "retry_after",
    ]);
    let json = leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>()),
        ]
    });
    prop_oneof![
        3 => json.prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec![
        "retry-after",
        "retry-after-ms",
        "date",
        "location",
        "x-ratelimit-reset",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-requests-reset",
        "anthropic-ratelimit-requests-remaining",
    ]);
    let value = prop_oneof![
        "[0-9]{1,25}",
        "-?[0-9]{1,3}(\\.[0-9]{1,3})?(ms|s|m|h)?",
        Just("2026-11-21T12:00:30Z".to_owned()),
        Just("Sat, 21 Nov 2026 12:00:30 GMT".to_owned()),
        "[ -~]{0,20}",
    ];
    prop::collection::vec((name, value), 0..5).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap()))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_gets_a_sane_verdict(api in any_api(), status: u16, known in prop::option::of(200u16..600), headers in any_headers(), body in any_body()) {
        let status = known.unwrap_or(status);
        let secrets = [SecretString::from("correct horse")];
        let response = Response { status, headers: &headers, body: &body, received: NOON, secrets: &secrets };
        let verdict = classify(api, &Reply::Response(response));
        prop_assert_eq!(verdict.status, Some(status));
        prop_assert!(verdict.message.chars().count() <= 500);
        prop_assert!(!verdict.message.chars().any(char::is_control));
        prop_assert!(!verdict.because.is_empty());
        prop_assert!(verdict.answer.is_none() || verdict.action == Action::Complete);
        prop_assert!(verdict.answer.as_ref().is_none_or(|answer| !answer.text.trim().is_empty()));
        prop_assert!(verdict.outcome != Outcome::Ok || (200..300).contains(&status));
        prop_assert!(verdict.hint.is_none_or(|hint| !hint.after.is_zero()));
    }

    #[test]
    fn explain_takes_any_body(api in any_api(), status in prop::option::of(100u16..1_000), body in any_body()) {
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
        let told = explain(api, &json!({"status": status, "headers": {}, "body": body}));
        prop_assert!(told.is_ok());
    }
}
