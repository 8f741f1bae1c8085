//! How the rules classify bodies beyond the examples.

use cascadeck::{
    domain::{Api, Outcome, OutcomeAction},
    provider::{HiddenSecret, ProviderResponse, TransportResult, classify},
};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{NOON, bytes, classify_response, cooldown, corpus::examples};

/// Shapes and wordings that occur in no example.
#[test]
fn the_rules_cover_more_than_the_examples() {
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
        // LiteLLM without a database answers every key except its master key with this.
        (400, openai("No connected db.", "no_db_connection", json!("400")), InvalidKey),
        // A 4xx error may quote the prompt, and the prompt's words say nothing about a key.
        (
            422,
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted",
                "input": {"messages": [{"content": "Why does it say invalid API key, insufficient_quota?"}]}}]}),
            BadRequest,
        ),
        (
            400,
            openai("Invalid prompt: \"why insufficient_quota and invalid api key?\"", "invalid", json!(null)),
            BadRequest,
        ),
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
        // Errors as strings, flat errors, and wrapped errors.
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
        // Errors with status 200.
        (200, json!({"error": {"message": "Provider disconnected", "code": 502}}), ServerError),
        // An incomplete answer beside an error does not count as an answer.
        (
            200,
            json!({"error": {"message": "Provider disconnected", "code": 502},
                "choices": [{"message": {"content": "Once upon"}, "finish_reason": null}]}),
            ServerError,
        ),
        (
            200,
            json!({"error": {"message": "Rate limit exceeded", "code": 429},
                "choices": [{"message": {"content": "Once upon"}, "finish_reason": "error"}]}),
            RateLimitedMinute,
        ),
        // Fields that say that there is no error.
        (200, json!({"error": {}, "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}), Ok),
        (200, json!({"error": false, "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}), Ok),
        // An HTML page comes from a proxy or a CDN, so it says nothing about a key.
        (403, json!("<!DOCTYPE html><html><head><title>Access denied | Cloudflare</title></head></html>"), ServerError),
        (401, json!("<html><body><h1>401 Authorization Required</h1><hr>nginx</body></html>"), ServerError),
        (403, json!("<html><body>Your IP has been denied access. Invalid API key?</body></html>"), ServerError),
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
        // Statuses without a body.
        (302, json!(null), MalformedResponse),
        (407, json!(null), ClientTrouble),
        (409, json!(null), ServerError),
        (418, json!(null), BadRequest),
        (524, json!(null), ServerError),
        (999, json!(null), MalformedResponse),
    ];
    let mut wrong = Vec::new();
    for (status, body, want) in cases {
        let result = classify_response(Api::OpenAi, status, &Value::Null, &bytes(&body));
        if result.outcome != want {
            wrong.push(format!("{} instead of {want} for {status} {body}: {}", result.outcome, result.rule));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn gemini_answers_in_unusual_shapes_are_classified() {
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
        let result = classify_response(Api::Gemini, 200, &Value::Null, &bytes(&body));
        assert_eq!(result.outcome, want, "{body}: {}", result.rule);
    }
}

#[test]
fn blank_lines_byte_order_marks_and_comments_before_an_answer_are_skipped() {
    let answer = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    for prefix in ["", "\n\n\r\n", "\u{feff}", ": keep-alive\n\n: keep-alive\n\n", "\n: OPENROUTER PROCESSING\n"] {
        let result = classify_response(Api::OpenAi, 200, &Value::Null, format!("{prefix}{answer}\n").as_bytes());
        assert_eq!(result.answer.map(|answer| answer.text).as_deref(), Some("hi"), "{prefix:?}");
    }
}

#[test]
fn a_prompt_that_is_too_long_is_recognized_in_each_providers_words() {
    for words in [
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
    ] {
        let body = json!({"error": {"message": words, "type": "invalid_request_error"}});
        assert!(classify_response(Api::Anthropic, 400, &Value::Null, &bytes(&body)).exceeds_context, "{words}");
    }
}

#[test]
fn refused_pictures_are_recognized_in_each_providers_words_and_not_in_quoted_text() {
    use OutcomeAction::{FailItem, NextModel};
    let openai = |message: &str, code: Value| json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}});
    let google = |message: &str| json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}});
    let anthropic =
        |message: &str| json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}});
    let cases = [
        (openai("Error while downloading https://gone.example/cat.png.", json!("invalid_image_url")), true, FailItem),
        (openai("Error while downloading https://gone.example/cat.png.", json!(null)), true, FailItem),
        (openai("no", json!("image_parse_error")), true, FailItem),
        (openai("no", json!("invalid_base64_image")), true, FailItem),
        (openai("The image data you provided does not represent a valid image.", json!(null)), true, FailItem),
        (openai("no", json!("image_file_too_large")), false, NextModel),
        (google("Cannot fetch content from the provided URL."), true, FailItem),
        // Gemini's errors, as its OpenAI-compatible surface gives them.
        (json!([google("Unable to process input image. Please retry or report in …")]), true, FailItem),
        (anthropic("Could not process image"), true, FailItem),
        (
            anthropic(
                "messages.0.content.0.image.source.base64.data: Image does not match the provided media type image/png",
            ),
            true,
            FailItem,
        ),
        (anthropic("Unable to download the file. Please verify the URL and try again."), true, FailItem),
        (
            anthropic(
                "messages.0.content.0.image.source.base64: image exceeds 10 MB maximum: 13474984 bytes > 10485760 bytes",
            ),
            false,
            NextModel,
        ),
        (openai("cannot identify image file <_io.BytesIO object at 0x7f>", json!(400)), true, FailItem),
        // A quotation of the prompt.
        (
            openai("Invalid prompt: \"why could not process image, image exceeds 5 MB maximum?\"", json!("invalid")),
            false,
            FailItem,
        ),
        (openai("Invalid value at generation_config.top_k", json!(null)), false, FailItem),
    ];
    for (body, refused, action) in cases {
        let result = classify_response(Api::OpenAi, 400, &Value::Null, &bytes(&body));
        assert_eq!(result.outcome, Outcome::BadRequest, "{body}");
        assert_eq!((result.picture_refused, result.action), (refused, action), "{body}: {}", result.rule);
    }
    let body = openai("no", json!("image_content_policy_violation"));
    assert_eq!(classify_response(Api::OpenAi, 400, &Value::Null, &bytes(&body)).outcome, Outcome::ContentBlocked);
}

#[test]
fn a_stated_wait_is_used_only_for_errors_that_pass_by_waiting() {
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
        let result = classify_response(Api::OpenAi, status, &headers, &bytes(&body));
        assert_eq!((result.outcome, cooldown(&result)), (outcome, want), "{body}");
    }
}

#[test]
fn a_suspended_key_that_the_provider_repeats_is_redacted() {
    let body = examples()["gemini_403_consumer_suspended"]["body"].to_string();
    for key in ["AIzaSyD-0123456789abcdefghijklmnopqrstu", "AQ.Ab8RN6Iexample0123456789", "a key of no known shape"] {
        let body = body.replace("AIzaREDACTED", key);
        let secrets = [HiddenSecret::new(key)];
        let headers = HeaderMap::new();
        let response = ProviderResponse {
            status: 403,
            headers: &headers,
            body: body.as_bytes(),
            received_at: NOON,
            secrets: &secrets,
        };
        let result = classify(Api::Gemini, &TransportResult::Response(response));
        assert_eq!(result.outcome, Outcome::KeyForbidden);
        assert!(!format!("{result:?}").contains(key), "{result:?}");
        assert!(result.message.contains("[redacted]"));
    }
}
