//! `cascadeck explain`: classifies a response that the user gives, and shows the result.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::domain::{Api, AttemptResult, Outcome, Policy};

use super::{
    super::transport::{ProviderResponse, TransportFailure, TransportResult},
    max_tokens_refusal::MaxTokensRefusal,
    response::classify,
};

/// Fields of an example that are read.
const KNOWN_FIELDS: [&str; 5] = ["status", "headers", "body", "transport", "error"];

/// Classifies an example `{"status", "headers", "body"}`. `body` is JSON or a string. If `status` is null or missing,
/// the example is a transport failure, which `transport`, `error` or `body` may describe.
///
/// # Errors
///
/// A message for the user if the example does not have this shape.
pub fn explain(api: Api, example: &Value) -> Result<Value, String> {
    let Value::Object(fields) = example else {
        return Err("the example must be one JSON object with \"status\", \"headers\" and \"body\"".to_owned());
    };
    if !fields.contains_key("status")
        && !KNOWN_FIELDS[1..].iter().any(|name| fields.get(*name).is_some_and(Value::is_string))
    {
        let problem = if fields.keys().any(|name| KNOWN_FIELDS.contains(&name.as_str())) {
            "the example has no \"status\""
        } else {
            "the example has no known field"
        };
        return Err(format!(
            "{problem}: give {{\"status\":429,\"headers\":{{...}},\"body\":...}}, with the whole response as \"body\", or a status \
             of null if there was no response"
        ));
    }
    let Some(status) = parse_status(fields.get("status"))? else {
        return Ok(to_json(&classify(api, &TransportResult::Failed(parse_transport_failure(fields)))));
    };
    let headers = parse_headers(fields.get("headers"))?;
    let body = match fields.get("body") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(body) => body.to_string().into_bytes(),
    };
    let response = ProviderResponse {
        status,
        headers: &headers,
        body: &body,
        received_at: crate::clock::system_time(),
        secrets: &[],
    };
    let result = classify(api, &TransportResult::Response(response));
    let refusal = MaxTokensRefusal::read_guessing_field(&result, &body).filter(|_| api == Api::OpenAi);
    Ok(to_json(&match refusal {
        Some(refusal) => refusal.into_retry(result),
        None => result,
    }))
}

fn parse_status(value: Option<&Value>) -> Result<Option<u16>, String> {
    let number = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|status| (100..1_000).contains(status))
        .map(Some)
        .ok_or_else(|| "\"status\" must be an HTTP status such as 429, or null if there was no response".to_owned())
}

fn parse_headers(value: Option<&Value>) -> Result<HeaderMap, String> {
    let fields = match value {
        None | Some(Value::Null) => return Ok(HeaderMap::new()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err("\"headers\" must be an object of names and values".to_owned()),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| "\"headers\" contains a name that HTTP does not allow".to_owned())?;
        let values = match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        };
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let value = HeaderValue::from_bytes(text.trim().as_bytes())
                .map_err(|_| format!("the header {name} contains characters that HTTP does not allow"))?;
            headers.append(name.clone(), value);
        }
    }
    Ok(headers)
}

/// The kind of transport failure that the example describes. The default is a lost connection.
fn parse_transport_failure(fields: &Map<String, Value>) -> TransportFailure {
    const TIMEOUT_TERMS: [&str; 6] = ["timeout", "timed out", "time out", "stall", "deadline", "idle"];
    const UNREACHABLE_TERMS: [&str; 9] = [
        "refused",
        "dns",
        "resolve",
        "lookup",
        "unreachable",
        "certificate",
        "handshake",
        "no route to host",
        "too many open files",
    ];
    let texts: Vec<&str> =
        ["transport", "error", "body"].iter().filter_map(|name| fields.get(*name)?.as_str()).collect();
    let message = texts.join("; ");
    let lower = message.to_lowercase();
    let contains_any = |terms: &[&str]| terms.iter().any(|term| lower.contains(term));
    if contains_any(&TIMEOUT_TERMS) {
        TransportFailure::TimedOut(message)
    } else if contains_any(&UNREACHABLE_TERMS) {
        TransportFailure::Unreachable(message)
    } else {
        TransportFailure::ConnectionLost(message)
    }
}

fn to_json(result: &AttemptResult) -> Value {
    let (rule_text, message) = (&result.rule, &result.message);
    // The message is not repeated if the rule's text contains it already.
    let explanation =
        if message.is_empty() || rule_text == message || rule_text.contains(&format!("finish_reason={message}")) {
            rule_text.clone()
        } else {
            format!("{rule_text}: {message}")
        };
    json!({
        "outcome": result.outcome,
        "action": result.action,
        "cooldown_s": cooldown_seconds(result),
        "because": explanation,
    })
}

/// The stated wait in whole seconds, rounded up and limited as in the default policy. For a day quota the maximum is
/// one day.
fn cooldown_seconds(result: &AttemptResult) -> Option<u64> {
    let stated_wait = result.retry_after?.delay;
    let max_wait = match result.outcome {
        Outcome::QuotaExhaustedDay => std::time::Duration::from_hours(24),
        _ => Policy::default().max_retry_after,
    };
    let wait = stated_wait.min(max_wait);
    Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_examples_are_rejected_with_a_reason() {
        for (example, message) in [
            (json!([]), "one JSON object"),
            (json!({"status": 42}), "HTTP status"),
            (json!({"status": "teapot"}), "HTTP status"),
            (json!({"status": 429, "headers": []}), "object of names"),
            (json!({"status": 429, "headers": {"a b": "c"}}), "does not allow"),
        ] {
            assert!(explain(Api::Gemini, &example).unwrap_err().contains(message), "{example}");
        }
    }

    #[test]
    fn a_transport_failure_is_classified_by_its_text() {
        for (example, outcome) in [
            (json!({"status": null}), "server_error"),
            (json!({"error": "connection reset by peer"}), "server_error"),
            (json!({"status": null, "error": "connection reset by peer"}), "server_error"),
            (json!({"status": null, "body": "read timed out"}), "timeout"),
            (json!({"status": null, "transport": "idle-read stall"}), "timeout"),
            (json!({"status": null, "error": "Connection refused (os error 111)"}), "client_trouble"),
        ] {
            let explanation = explain(Api::OpenAi, &example).unwrap();
            assert_eq!(
                (explanation["outcome"].as_str(), explanation["action"].as_str()),
                (Some(outcome), Some("retry"))
            );
            assert_eq!(explanation["cooldown_s"], Value::Null);
        }
    }

    #[test]
    fn an_example_without_a_status_is_rejected() {
        for (example, message) in [
            (json!({}), "the example has no known field"),
            (json!({"candidates": []}), "the example has no known field"),
            (json!({"error": {"code": 429}}), "the example has no \"status\""),
            (json!({"headers": {}}), "the example has no \"status\""),
        ] {
            let error = explain(Api::Gemini, &example).unwrap_err();
            assert!(error.starts_with(message) && error.contains("the whole response as \"body\""), "{error}");
        }
    }

    #[test]
    fn an_empty_answer_is_explained_once() {
        for (finish, because) in
            [(Value::Null, "empty answer (no finish reason)"), (json!("stop"), "empty answer (finish_reason=stop)")]
        {
            let body = json!({"choices": [{"message": {"content": ""}, "finish_reason": finish}]});
            let explanation = explain(Api::OpenAi, &json!({"status": 200, "body": body})).unwrap();
            assert_eq!((&explanation["outcome"], &explanation["because"]), (&json!("empty_output"), &json!(because)));
        }
    }

    #[test]
    fn a_refused_name_of_the_output_limit_is_corrected() {
        let explain = |api, message: &str| {
            explain(
                api,
                &json!({"status": 400, "body": {"error": {"message": message, "type": "invalid_request_error"}}}),
            )
            .unwrap()
        };
        let unsupported = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        let explanation = explain(Api::OpenAi, unsupported);
        assert_eq!((&explanation["outcome"], &explanation["action"]), (&json!("bad_request"), &json!("retry")));
        let because = explanation["because"].as_str().unwrap();
        assert!(
            because.contains("expects max_completion_tokens instead of max_tokens: the request is sent again"),
            "{because}"
        );
        let forbidden = explain(Api::OpenAi, "Extra inputs are not permitted: max_completion_tokens");
        assert!(forbidden["because"].as_str().unwrap().contains("expects max_tokens instead of max_completion_tokens"));
        for (api, message) in [
            (Api::OpenAi, "max_tokens is too large: 100000. This model supports at most 16384 tokens"),
            (Api::OpenAi, "Unsupported parameter: 'seed'"),
            (Api::Anthropic, unsupported),
        ] {
            assert_eq!(explain(api, message)["action"], "fail_item", "{message}");
        }
    }

    #[test]
    fn waits_are_whole_seconds_and_limited() {
        let cases = [("12.2", Some(13)), ("60", Some(60)), ("1555200", Some(3_600)), ("never", None)];
        for (after, want) in cases {
            let example = json!({"status": "429", "headers": {"Retry-After": after}, "body": null});
            assert_eq!(explain(Api::OpenAi, &example).unwrap()["cooldown_s"].as_u64(), want, "{after}");
        }
        let example = json!({"status": 429, "headers": {"RETRY-AFTER": [7]}});
        assert_eq!(explain(Api::OpenAi, &example).unwrap()["cooldown_s"], 7);
    }

    #[test]
    fn an_explanation_contains_no_key() {
        let body = json!({"error": {"code": 403, "message": "Consumer 'api_key:AIzaSyA-0123456789abcdef' suspended"}});
        let explanation = explain(Api::Gemini, &json!({"status": 403, "body": body})).unwrap().to_string();
        assert!(!explanation.contains("AIza") && explanation.contains("[redacted]"), "{explanation}");
    }
}
