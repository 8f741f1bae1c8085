//! Generated statuses, headers and bodies: every classification keeps its invariants.

use cascadeck::{
    domain::{Api, Outcome, OutcomeAction},
    provider::{HiddenSecret, ProviderResponse, TransportResult, classify, explain},
};
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{APIS, NOON};

fn any_api() -> impl Strategy<Value = Api> {
    prop::sample::select(APIS.to_vec())
}

/// JSON that often looks like a provider's.
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
    fn an_arbitrary_response_is_classified_sanely(api in any_api(), status: u16, known in prop::option::of(200u16..600), headers in any_headers(), body in any_body()) {
        let status = known.unwrap_or(status);
        let secrets = [HiddenSecret::new("correct horse")];
        let response = ProviderResponse { status, headers: &headers, body: &body, received_at: NOON, secrets: &secrets };
        let result = classify(api, &TransportResult::Response(response));
        prop_assert_eq!(result.status, Some(status));
        prop_assert!(result.message.chars().count() <= 500);
        prop_assert!(!result.message.chars().any(char::is_control));
        prop_assert!(!result.rule.is_empty());
        prop_assert!(result.answer.is_none() || result.action == OutcomeAction::Complete);
        prop_assert!(result.answer.as_ref().is_none_or(|answer| !answer.text.trim().is_empty()));
        prop_assert!(result.outcome != Outcome::Ok || (200..300).contains(&status));
        prop_assert!(result.retry_after.is_none_or(|retry_after| !retry_after.delay.is_zero()));
    }

    #[test]
    fn explain_accepts_any_body(api in any_api(), status in prop::option::of(100u16..1_000), body in any_body()) {
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
        let explanation = explain(api, &json!({"status": status, "headers": {}, "body": body}));
        prop_assert!(explanation.is_ok());
    }
}
