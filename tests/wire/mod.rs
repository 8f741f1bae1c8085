//! Real provider responses, and how the program classifies them.
//!
//! `tests/wire/examples/*.json` are real bodies; each names its source. `meaning` must be the outcome. `action` is the
//! collectors' advice in their own words, mapped here to the program's actions:
//!
//! | advice | action |
//! |---|---|
//! | `none` | `complete` |
//! | `retry_short` | `retry` |
//! | `retry_after(n)` | `cool_pool`, or `next_route` for a day quota; n seconds if a wait is stated, else by backoff |
//! | `disable_key` | `disable_key`, or `disable_project` if credit is missing |
//! | `next_model`, `next_key` | `next_route` (day quota), `next_model` (limit 0, ability), `disable_route` (no model) |
//! | `fail_item` | `fail_item`, or `complete` for a truncated answer with text |

mod arbitrary_responses;
mod corpus;
mod rules;
mod sdk_bodies;

pub use corpus::examples;

use cascadeck::{
    domain::{Api, AttemptResult, WallTime},
    provider::{ProviderResponse, TransportResult, classify},
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// 2026-11-21T12:00:00Z, the day of the absolute times in the examples.
const NOON: WallTime = WallTime::from_unix_seconds(1_795_262_400);

const APIS: [Api; 3] = [Api::Gemini, Api::OpenAi, Api::Anthropic];

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

fn classify_response(api: Api, status: u16, headers: &Value, body: &[u8]) -> AttemptResult {
    let headers = header_map(headers);
    classify(
        api,
        &TransportResult::Response(ProviderResponse {
            status,
            headers: &headers,
            body,
            received_at: NOON,
            secrets: &[],
        }),
    )
}

fn cooldown(result: &AttemptResult) -> Option<u64> {
    result.retry_after.map(|retry_after| retry_after.delay.as_secs_f64().ceil() as u64)
}
