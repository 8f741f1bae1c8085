//! The collected examples: each is classified correctly, explained, and free of secrets.

use std::{collections::BTreeMap, fs, path::Path};

use cascadeck::{
    domain::{Api, AttemptResult, Outcome, OutcomeAction},
    provider::{TransportFailure, TransportResult, classify, explain},
};
use serde_json::Value;

use super::{APIS, bytes, classify_response, cooldown};

pub fn examples() -> BTreeMap<String, Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/examples");
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let example = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), example)
        })
        .collect()
}

/// The wire APIs that an example's provider speaks. Examples of `any` must be classified the same on all.
fn apis(name: &str, provider: &str) -> Vec<Api> {
    match provider {
        "any" => APIS.to_vec(),
        "gemini" => vec![Api::Gemini],
        "anthropic" => vec![Api::Anthropic],
        // Observed on these vendors' Anthropic-compatible endpoints.
        _ if name == "kimi_429_engine_overloaded" || name == "minimax_500_1008_balance" => vec![Api::Anthropic],
        _ => vec![Api::OpenAi],
    }
}

fn classify_example(api: Api, example: &Value) -> AttemptResult {
    if let Some(status) = example["status"].as_u64() {
        return classify_response(api, status as u16, &example["headers"], &bytes(&example["body"]));
    }
    // Only the text of `source` says how the transport failed.
    let source = example["source"].as_str().unwrap().to_owned();
    let stalled = source.contains("no bytes for ever");
    let failure = if stalled { TransportFailure::TimedOut(source) } else { TransportFailure::ConnectionLost(source) };
    classify(api, &TransportResult::Failed(failure))
}

/// Whether an example states a wait. Without one, the number in it is a default of the collector.
fn states_a_wait(example: &Value) -> bool {
    let text = example.to_string().to_lowercase();
    ["\"retry-after\"", "retrydelay\":", "retry in ", "again in ", "again after "]
        .iter()
        .any(|term| text.contains(term))
}

#[test]
fn every_example_is_classified_as_documented() {
    let examples = examples();
    assert!(examples.len() > 100, "the examples are missing");
    let mut wrong = Vec::new();
    for (name, example) in &examples {
        let text = |field: &str| example[field].as_str().unwrap_or_default();
        for api in apis(name, text("provider")) {
            let result = classify_example(api, example);
            if result.outcome.name() != text("meaning") {
                wrong.push(format!("{name}: {} instead of {} ({})", result.outcome, text("meaning"), result.rule));
                continue;
            }
            let stated = text("action").strip_prefix("retry_after(").and_then(|rest| rest.strip_suffix(')'));
            let allowed: &[OutcomeAction] = match (text("action"), result.outcome) {
                ("none", _) => &[OutcomeAction::Complete],
                ("retry_short", _) => &[OutcomeAction::Retry],
                (_, Outcome::QuotaExhaustedDay) => &[OutcomeAction::NextRoute],
                ("disable_key", Outcome::QuotaExhaustedBilling) => &[OutcomeAction::DisableProject],
                ("disable_key", _) => &[OutcomeAction::DisableKey],
                ("next_model", Outcome::ModelNotFound) => &[OutcomeAction::DisableRoute],
                ("next_model" | "next_key", _) => &[OutcomeAction::NextModel],
                ("fail_item", Outcome::Truncated) if result.answer.is_some() => &[OutcomeAction::Complete],
                ("fail_item", _) => &[OutcomeAction::FailItem],
                _ if stated.is_some() => &[OutcomeAction::CoolPool],
                (action, _) => panic!("{name}: no mapping for {action}"),
            };
            if !allowed.contains(&result.action) {
                wrong.push(format!("{name}: {:?} for {}", result.action, text("action")));
            }
            if let Some(seconds) = stated {
                let want = states_a_wait(example).then(|| seconds.parse::<u64>().unwrap());
                if cooldown(&result) != want {
                    wrong.push(format!("{name}: waits {:?} instead of {want:?}", cooldown(&result)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), examples.len(), wrong.join("\n"));
}

/// The same examples through `explain`, which gets a body but no transport failure.
#[test]
fn explain_agrees_with_the_classification() {
    for (name, example) in examples() {
        for api in apis(&name, example["provider"].as_str().unwrap()) {
            if example["status"].is_null() {
                continue;
            }
            let (explanation, result) = (explain(api, &example).unwrap(), classify_example(api, &example));
            assert_eq!(explanation["outcome"], result.outcome.name(), "{name}");
            assert_eq!(explanation["action"], serde_json::to_value(result.action).unwrap(), "{name}");
            assert!(explanation["because"].as_str().is_some_and(|because| !because.is_empty()), "{name}");
            assert_eq!(explanation.as_object().unwrap().len(), 4, "{name}");
        }
    }
}

#[test]
fn no_example_leaks_a_key_or_an_account() {
    for (name, example) in examples() {
        for api in apis(&name, example["provider"].as_str().unwrap()) {
            let result = classify_example(api, &example);
            let explanation = explain(api, &example).unwrap()["because"].to_string();
            for shape in ["AIza", "sk-", "org-", "org_", "ak-", "proj-"] {
                assert!(!result.message.contains(shape), "{name}: {}", result.message);
                assert!(!explanation.contains(shape), "{name}: {explanation}");
            }
        }
    }
}

#[test]
fn geminis_day_quota_states_its_limit_and_no_wait() {
    let example = &examples()["gemini_429_rpd_3_8_flash"];
    let result = classify_example(Api::Gemini, example);
    assert_eq!((result.stated_limit, result.retry_after, result.limit_is_zero), (Some(20), None, false));
    let minute = classify_example(Api::Gemini, &examples()["gemini_429_rpm"]);
    assert_eq!(minute.stated_limit, Some(15));
    let tokens = classify_example(Api::Gemini, &examples()["gemini_429_tpm_paid"]);
    assert_eq!(tokens.stated_limit, Some(1_000_000));
    let zero = classify_example(Api::Gemini, &examples()["gemini_429_limit_zero"]);
    assert!(zero.limit_is_zero && zero.retry_after.is_none());
    assert!(!classify_example(Api::Gemini, &examples()["gemini_429_prepay_depleted"]).limit_is_zero);
}

#[test]
fn a_refused_picture_is_distinguished_from_a_refused_request_and_a_large_one_goes_to_the_next_model() {
    let examples = examples();
    for (name, refused, action) in [
        ("openai_400_image_format", true, OutcomeAction::FailItem),
        ("openai_400_image_sanitizer", true, OutcomeAction::FailItem),
        ("gemini_400_unable_to_process_image", true, OutcomeAction::FailItem),
        ("gemini_400_image_not_valid", true, OutcomeAction::FailItem),
        ("anthropic_400_image_5mb", false, OutcomeAction::NextModel),
        ("anthropic_400_image_8000px", false, OutcomeAction::NextModel),
        ("gemini_400_invalid_argument", false, OutcomeAction::FailItem),
        ("openai_400_context_length", false, OutcomeAction::FailItem),
        ("lmstudio_400_vision", false, OutcomeAction::NextModel),
    ] {
        let api = apis(name, examples[name]["provider"].as_str().unwrap())[0];
        let result = classify_example(api, &examples[name]);
        assert_eq!((result.picture_refused, result.action), (refused, action), "{name}: {}", result.rule);
    }
}

#[test]
fn openrouters_daily_reset_is_in_epoch_milliseconds() {
    let result = classify_example(Api::OpenAi, &examples()["openrouter_429_free_daily"]);
    assert_eq!(cooldown(&result), Some(12 * 3_600));
}

#[test]
fn answers_are_decoded_with_their_token_counts() {
    let result = classify_example(Api::Gemini, &examples()["gemini_200_ok_thinking"]);
    let usage = result.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.thinking_tokens, usage.total()), (20, 151, 382, 553));
    let answer = result.answer.unwrap();
    assert_eq!(answer.text, "...");
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
    assert_eq!(answer.model_version.as_deref(), Some("gemini-2.5-flash"));
    let result = classify_example(Api::OpenAi, &examples()["deepseek_200_keepalive_blank_lines"]);
    assert_eq!(result.answer.unwrap().text, "hi");
    let result = classify_example(Api::Anthropic, &examples()["anthropic_200_max_tokens"]);
    assert_eq!((result.answer.unwrap().text.as_str(), result.usage.output_tokens), ("cut", 16));
    let result = classify_example(Api::OpenAi, &examples()["openai_200_length"]);
    assert_eq!((result.answer, result.usage.thinking_tokens), (None, 64));
}
