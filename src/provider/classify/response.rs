//! Classifies a response (status, headers, body) or a transport failure into an [`AttemptResult`]. No other code does.
//!
//! An ordinary answer is parsed directly into its API's types. Everything else takes a slower path. A 2xx body may be
//! wrapped, empty, or contain an error. An error body is normalized and matched against the table in `error_rules`.
//! Only error bodies are searched for phrases, never answers.

use std::time::Duration;

use serde_json::Value;

use crate::domain::{Api, AttemptResult, Outcome, OutcomeAction, ProviderLimit, ResponseMeta, RetryAfter, Usage};

use super::{
    super::{
        transport::{ProviderResponse, TransportFailure, TransportResult},
        wire,
    },
    answer::classify_answer,
    error_body::{self, ErrorBody},
    error_rules, quota_errors, rate_limit_headers,
    redact::redact,
    retry_after,
};

/// Classifies what came back from one attempt. Never fails: any bytes get a result.
pub fn classify(api: Api, transport_result: &TransportResult<'_>) -> AttemptResult {
    match transport_result {
        TransportResult::Failed(failure) => classify_failure(failure),
        TransportResult::Response(response) => {
            let body = trim_body(response.body);
            if response.is_success() {
                classify_success(api, response, body)
            } else {
                let error = match serde_json::from_slice::<Value>(body) {
                    Ok(value) => ErrorBody::from_json(&value),
                    Err(_) => ErrorBody::from_text(&String::from_utf8_lossy(body)),
                };
                classify_error(api, response, error)
            }
        }
    }
}

/// Classifies a request without a response: a lost connection is a failure of the provider, no data in time is a
/// timeout, and if nothing was sent, the cause is on this side.
fn classify_failure(failure: &TransportFailure) -> AttemptResult {
    let (outcome, rule) = match failure {
        TransportFailure::Unreachable(_) => (Outcome::ClientTrouble, "can't connect: nothing was sent"),
        TransportFailure::ConnectionLost(_) => {
            (Outcome::ServerError, "the connection was lost after the request was sent")
        }
        TransportFailure::TimedOut(_) => (Outcome::Timeout, "timed out before the answer was complete"),
    };
    result_without_answer(outcome, OutcomeAction::Retry, None, redact(&failure.to_string(), &[]), rule.to_owned())
}

pub fn result_without_answer(
    outcome: Outcome,
    action: OutcomeAction,
    status: Option<u16>,
    message: String,
    rule: String,
) -> AttemptResult {
    AttemptResult {
        outcome,
        action,
        status,
        retry_after: None,
        message,
        rule,
        answer: None,
        usage: Usage::default(),
        stated_limit: None,
        limit_is_zero: false,
        response_meta: ResponseMeta::default(),
        exceeds_context: false,
        picture_refused: false,
        failed_check: None,
    }
}

/// Removes what may precede the JSON: a byte order mark, and the blank lines (DeepSeek) or comment lines (other
/// providers) that are sent to keep the connection open while a request waits.
fn trim_body(mut body: &[u8]) -> &[u8] {
    body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    while body.first() == Some(&b':') {
        let end = memchr::memchr(b'\n', body).unwrap_or(body.len());
        body = body[end..].trim_ascii_start();
    }
    body
}

fn classify_success(api: Api, response: &ProviderResponse<'_>, body: &[u8]) -> AttemptResult {
    match wire::decode_answer(api, body) {
        Some(answer) => classify_answer(answer, response),
        None => classify_unusual(api, response, body),
    }
}

/// Classifies a 2xx body that is not an ordinary answer: it may be wrapped, contain an error, be empty, or be something
/// else.
fn classify_unusual(api: Api, response: &ProviderResponse<'_>, body: &[u8]) -> AttemptResult {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        let message =
            if is_text(body) { ErrorBody::from_text(&String::from_utf8_lossy(body)).message } else { String::new() };
        return malformed_result(response, &message, "a body that is not JSON or is cut off");
    };
    // Gemini's streaming endpoint without alt=sse and its OpenAI-compatible API put the response into an array.
    if let Value::Array(elements) = &mut value
        && elements.len() == 1
    {
        value = elements.remove(0);
    }
    if error_body::is_error_in_success(&value) {
        return classify_error(api, response, ErrorBody::from_json(&value));
    }
    if let Some(answer) = wire::decode_answer_or_empty(api, &value) {
        return classify_answer(answer, response);
    }
    if value.get("status").and_then(Value::as_str) == Some("ok") {
        let rule = "the server sent a health status, not an answer to a prompt".to_owned();
        return result_without_answer(Outcome::Ok, OutcomeAction::Complete, Some(response.status), String::new(), rule);
    }
    classify_error(api, response, ErrorBody::from_json(&value))
}

fn malformed_result(response: &ProviderResponse<'_>, message: &str, rule: &str) -> AttemptResult {
    result_without_answer(
        Outcome::MalformedResponse,
        OutcomeAction::Retry,
        Some(response.status),
        message_or_body(redact(message, response.secrets), response),
        format!("HTTP {} with {rule}", response.status),
    )
}

/// Maximum number of characters that are quoted of a body without a message.
const MAX_QUOTED_CHARS: usize = 120;

/// The provider's message, or a description of the body if it contains none.
fn message_or_body(message: String, response: &ProviderResponse<'_>) -> String {
    if message.is_empty() { describe_body(response) } else { message }
}

/// Describes a body by its kind, size and first characters, redacted: `a JSON object of 13 bytes: {"hello":[1]}`.
fn describe_body(response: &ProviderResponse<'_>) -> String {
    let body = trim_body(response.body);
    let size = crate::domain::pluralize(body.len() as u64, "byte");
    let kind = match serde_json::from_slice::<Value>(body) {
        _ if body.is_empty() => return "an empty body".to_owned(),
        Ok(Value::Null) => return "the JSON value null".to_owned(),
        Ok(Value::Bool(value)) => return format!("the JSON value {value}"),
        Ok(Value::Object(fields)) if fields.is_empty() => "an empty JSON object".to_owned(),
        Ok(Value::Array(elements)) if elements.is_empty() => "an empty JSON array".to_owned(),
        Ok(Value::Object(_)) => format!("a JSON object of {size}"),
        Ok(Value::Array(_)) => format!("a JSON array of {size}"),
        Ok(Value::Number(_)) => format!("a JSON number of {size}"),
        Ok(Value::String(_)) => format!("a JSON string of {size}"),
        Err(_) if is_text(body) => format!("plain text of {size}"),
        Err(_) => return format!("{size} of binary data{}", describe_compression(response)),
    };
    let text = redact(&String::from_utf8_lossy(body), response.secrets);
    let mut quoted: String = text.chars().take(MAX_QUOTED_CHARS).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    format!("{kind}: {quoted}")
}

/// Whether a body is readable text. Less than one invalid character in eight is allowed.
fn is_text(body: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(body) {
        return !text.contains('\0');
    }
    let lossy = String::from_utf8_lossy(body);
    !lossy.contains('\0') && lossy.matches(char::REPLACEMENT_CHARACTER).count() * 8 < lossy.chars().count()
}

/// Names the content encoding, if the response states one. Compression is never requested, so such a body can't be
/// read.
fn describe_compression(response: &ProviderResponse<'_>) -> String {
    let name = response.headers.get(reqwest::header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    name.map_or_else(String::new, |name| format!(" (content-encoding: {})", redact(name, response.secrets)))
}

fn classify_error(api: Api, response: &ProviderResponse<'_>, error: ErrorBody) -> AttemptResult {
    let context = error_rules::ErrorContext::new(response.status, error);
    let rule = error_rules::find_rule(&context);
    let inner_error = if context.status == response.status {
        String::new()
    } else {
        format!(" with error {} in the body", context.status)
    };
    let redirect_message = (300..400).contains(&response.status).then(|| describe_redirect(response));
    let message = redirect_message.as_deref().unwrap_or(&context.error.message);
    let mut result = AttemptResult {
        retry_after: find_trusted_wait(api, rule.outcome, response, &context.error).map(|delay| RetryAfter { delay }),
        stated_limit: quota_errors::smallest_stated_limit(&context.error, rule.outcome),
        limit_is_zero: rule.limit_is_zero,
        response_meta: ResponseMeta { limits: read_provider_limits(response, &context.error), server_time: None },
        exceeds_context: rule.exceeds_context,
        picture_refused: rule.picture_refused,
        ..result_without_answer(
            rule.outcome,
            rule.action,
            Some(response.status),
            message_or_body(redact(message, response.secrets), response),
            format!("HTTP {}{inner_error}: {}", response.status, rule.description),
        )
    };
    if result.is_html_auth_error() {
        let message = format!("an HTML page rejected the key or this address (HTTP {}): {message}", response.status);
        result.message = redact(&message, response.secrets);
    }
    result
}

/// Limits that the error body names, and those in headers that it quotes (OpenRouter's upstreams).
fn read_provider_limits(response: &ProviderResponse<'_>, error: &ErrorBody) -> Vec<ProviderLimit> {
    let mut limits = quota_errors::provider_limits(error);
    let quoted_header = |name: &str| retry_after::find_quoted_header(&error.quoted_headers, name);
    limits.extend(rate_limit_headers::read_without_dimension(&quoted_header, &|| response.received_at.timestamp()));
    limits
}

fn describe_redirect(response: &ProviderResponse<'_>) -> String {
    let location = response.headers.get(reqwest::header::LOCATION).and_then(|location| location.to_str().ok());
    location.map_or_else(|| "a redirect without a location".to_owned(), |location| format!("redirected to {location}"))
}

/// Finds the wait that the error states, if it can be trusted. For a daily quota that resets at midnight, Gemini states
/// a `retryDelay` of some seconds, which is ignored. Providers with rolling days (Groq, OpenAI) state the real wait.
fn find_trusted_wait(
    api: Api,
    outcome: Outcome,
    response: &ProviderResponse<'_>,
    error: &ErrorBody,
) -> Option<Duration> {
    let can_state_wait = matches!(
        outcome,
        Outcome::RateLimitedMinute
            | Outcome::TokensLimitedMinute
            | Outcome::QuotaExhaustedDay
            | Outcome::Overloaded
            | Outcome::ServerError
            | Outcome::Timeout
    );
    if !can_state_wait || (outcome == Outcome::QuotaExhaustedDay && (api == Api::Gemini || error.is_google)) {
        return None;
    }
    retry_after::find_stated_wait(&retry_after::WaitSources {
        headers: response.headers,
        quoted_headers: &error.quoted_headers,
        stated_in_body: error.stated_wait,
        lower_message: &error.lower_message,
        is_about_tokens: outcome == Outcome::TokensLimitedMinute,
        received_at: response.received_at,
    })
}
