//! The one classification: (status, headers, body) or a transport failure becomes a verdict.
//!
//! An ordinary answer is read straight into its API's types. Everything else takes the long way: a body under 2xx may be
//! wrapped, empty, or an error in disguise; a refusal is normalised and judged by the table in `rules`. Text is searched
//! in refusals only, never in answers.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::{Api, AttemptResult, Outcome, OutcomeAction, ProviderLimit, ResponseMeta, RetryAfter, Usage};

use super::{
    anthropic, completion, gemini, hint, limits, openai, quota,
    redact::redact,
    refusal::{self, Refusal},
    reply::{Reply, Response, TransportFailure},
    rules,
};

/// Judges what came back. Pure and total: any bytes get a verdict.
pub fn classify(api: Api, reply: &Reply<'_>) -> AttemptResult {
    match reply {
        Reply::Failed(failure) => failed(failure),
        Reply::Response(response) => {
            let body = trimmed(response.body);
            if response.is_success() {
                succeeded(api, response, body)
            } else {
                let refusal = match serde_json::from_slice::<Value>(body) {
                    Ok(value) => Refusal::from_value(&value),
                    Err(_) => Refusal::from_text(&String::from_utf8_lossy(body)),
                };
                refused(api, response, refusal)
            }
        }
    }
}

/// A broken connection is the provider's failure, silence is a timeout; what was never sent is neither.
fn failed(failure: &TransportFailure) -> AttemptResult {
    let (outcome, because) = match failure {
        TransportFailure::Unreachable(_) => (Outcome::ClientTrouble, "no connection: nothing was sent"),
        TransportFailure::Broken(_) => (Outcome::ServerError, "the connection broke after the request was sent"),
        TransportFailure::TimedOut(_) => (Outcome::Timeout, "no answer in time"),
    };
    verdict(outcome, OutcomeAction::Retry, None, redact(&failure.to_string(), &[]), because.to_owned())
}

pub(super) fn verdict(
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
    }
}

/// Without a byte order mark, the blank lines that DeepSeek sends while a request waits, and the comment lines
/// that others send for the same purpose.
fn trimmed(mut body: &[u8]) -> &[u8] {
    body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    while body.first() == Some(&b':') {
        let end = memchr::memchr(b'\n', body).unwrap_or(body.len());
        body = body[end..].trim_ascii_start();
    }
    body
}

fn succeeded(api: Api, response: &Response<'_>, body: &[u8]) -> AttemptResult {
    let usual = match api {
        Api::Gemini => read::<gemini::Reply>(body).and_then(gemini::Reply::completion),
        Api::OpenAi => read::<openai::Reply>(body).and_then(openai::Reply::completion),
        Api::Anthropic => read::<anthropic::Reply>(body).and_then(anthropic::Reply::completion),
    };
    match usual {
        Some(completion) => completion::judge(completion, response),
        None => unusual(api, response, body),
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// A 2xx body that is not plainly an answer: wrapped, an error in disguise, empty, or nothing of the kind.
fn unusual(api: Api, response: &Response<'_>, body: &[u8]) -> AttemptResult {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        let words =
            if is_text(body) { Refusal::from_text(&String::from_utf8_lossy(body)).message } else { String::new() };
        return malformed(response, &words, "a body that is not JSON, or is cut off");
    };
    // Gemini's streaming endpoint without alt=sse, and its OpenAI-compatible surface, answer in an array.
    if let Value::Array(elements) = &mut value
        && elements.len() == 1
    {
        value = elements.remove(0);
    }
    if refusal::is_error(&value) {
        return refused(api, response, Refusal::from_value(&value));
    }
    let completion = match api {
        Api::Gemini => gemini::Reply::deserialize(&value).ok().and_then(gemini::Reply::completion_or_nothing),
        Api::OpenAi => openai::Reply::deserialize(&value).ok().and_then(openai::Reply::completion_or_nothing),
        Api::Anthropic => anthropic::Reply::deserialize(&value).ok().and_then(anthropic::Reply::completion),
    };
    if let Some(completion) = completion {
        return completion::judge(completion, response);
    }
    if value.get("status").and_then(Value::as_str) == Some("ok") {
        let because = "the server says that it is well; this is no answer to a prompt".to_owned();
        return verdict(Outcome::Ok, OutcomeAction::Complete, Some(response.status), String::new(), because);
    }
    refused(api, response, Refusal::from_value(&value))
}

fn malformed(response: &Response<'_>, words: &str, because: &str) -> AttemptResult {
    verdict(
        Outcome::MalformedResponse,
        OutcomeAction::Retry,
        Some(response.status),
        words_or_body(redact(words, response.secrets), response),
        format!("HTTP {} with {because}", response.status),
    )
}

/// Most characters of a body that are quoted where it says nothing in words.
const MAX_QUOTED: usize = 120;

/// The provider's words, or what its body is where there are none in it.
fn words_or_body(words: String, response: &Response<'_>) -> String {
    if words.is_empty() { described(response) } else { words }
}

/// A body by its kind, its size and its first characters, redacted: `a JSON object of 13 bytes: {"hello":[1]}`.
fn described(response: &Response<'_>) -> String {
    let body = trimmed(response.body);
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
        Ok(Value::String(_)) => format!("a JSON text of {size}"),
        Err(_) if is_text(body) => format!("a text of {size}"),
        Err(_) => return format!("{size} that are no text{}", compression(response)),
    };
    let text = redact(&String::from_utf8_lossy(body), response.secrets);
    let mut quoted: String = text.chars().take(MAX_QUOTED).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    format!("{kind}: {quoted}")
}

/// Whether a body can be read as words; a few broken characters don't keep it from that.
fn is_text(body: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(body) {
        return !text.contains('\0');
    }
    let lossy = String::from_utf8_lossy(body);
    !lossy.contains('\0') && lossy.matches(char::REPLACEMENT_CHARACTER).count() * 8 < lossy.chars().count()
}

/// Says that a body came compressed, which nobody asked for.
fn compression(response: &Response<'_>) -> String {
    let name = response.headers.get(reqwest::header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    name.map_or_else(String::new, |name| format!(" (content-encoding: {})", redact(name, response.secrets)))
}

fn refused(api: Api, response: &Response<'_>, refusal: Refusal) -> AttemptResult {
    let case = rules::Case::new(response.status, refusal);
    let rule = rules::first_match(&case);
    let inside = if case.status == response.status {
        String::new()
    } else {
        format!(" with an error of {} inside", case.status)
    };
    let redirected = (300..400).contains(&response.status).then(|| redirect(response));
    let message = redirected.as_deref().unwrap_or(&case.refusal.message);
    let mut judged = AttemptResult {
        retry_after: hint_for(api, rule.outcome, response, &case.refusal).map(|delay| RetryAfter { delay }),
        stated_limit: quota::stated_limit(&case.refusal, rule.outcome),
        limit_is_zero: rule.limit_zero,
        response_meta: ResponseMeta { limits: stated_limits(response, &case.refusal), server_time: None },
        exceeds_context: rule.too_long,
        picture_refused: rule.picture_refused,
        ..verdict(
            rule.outcome,
            rule.action,
            Some(response.status),
            words_or_body(redact(message, response.secrets), response),
            format!("HTTP {}{inside}: {}", response.status, rule.because),
        )
    };
    if judged.is_html_auth_error() {
        let words = format!("a web page refuses the key or this address (HTTP {}): {message}", response.status);
        judged.message = redact(&words, response.secrets);
    }
    judged
}

/// Limits that the refusal's body names, and those in headers that it quotes (OpenRouter's upstreams).
fn stated_limits(response: &Response<'_>, refusal: &Refusal) -> Vec<ProviderLimit> {
    let mut reports = quota::reports(refusal);
    let quoted = |name: &str| {
        let found = refusal.quoted_headers.iter().find(|(quoted, _)| quoted.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    reports.extend(limits::undivided(&quoted, response.received.timestamp()));
    reports
}

fn redirect(response: &Response<'_>) -> String {
    let to = response.headers.get(reqwest::header::LOCATION).and_then(|location| location.to_str().ok());
    to.map_or_else(|| "a redirect to nowhere".to_owned(), |to| format!("redirected to {to}"))
}

/// The wait that the refusal asks for, where it can be believed: Gemini puts a `retryDelay` of seconds on a quota that
/// comes back at midnight. Providers with rolling days (Groq, OpenAI) mean what they say.
fn hint_for(api: Api, outcome: Outcome, response: &Response<'_>, refusal: &Refusal) -> Option<Duration> {
    let waits = matches!(
        outcome,
        Outcome::RateLimitedMinute
            | Outcome::TokensLimitedMinute
            | Outcome::QuotaExhaustedDay
            | Outcome::Overloaded
            | Outcome::ServerError
            | Outcome::Timeout
    );
    if !waits || (outcome == Outcome::QuotaExhaustedDay && (api == Api::Gemini || refusal.google)) {
        return None;
    }
    hint::wait(&hint::Sources {
        headers: response.headers,
        quoted: &refusal.quoted_headers,
        stated: refusal.stated_wait,
        text: &refusal.lower,
        about_tokens: outcome == Outcome::TokensLimitedMinute,
        received: response.received,
    })
}
