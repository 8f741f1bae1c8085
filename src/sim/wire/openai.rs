//! OpenAI's chat completions.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{
    HeaderList, Rejection, RequestHead, ResponseContext, RetryAdvice, SimResponse, WireApi, bearer_token, strings_of,
    texts_of,
};
use crate::{
    domain::WallTime,
    sim::{
        answer::{SimAnswer, SimStopReason},
        pool::{LimitGauges, LimitRefusal},
        profile::{ModelProfile, SimKeyState},
        request::{JsonOutput, RequestError, SimPicture, SimPictureError, SimRequest},
        usage::SimLimit,
    },
};

const PICTURE_FORMATS: &[&str] = &["png", "jpeg", "gif", "webp"];
/// An arbitrary date; SDKs require a number.
const MODEL_CREATED_AT: i64 = 1_788_000_000;

pub(super) struct OpenAi;

impl WireApi for OpenAi {
    fn credential(&self, head: &RequestHead<'_>) -> Option<String> {
        bearer_token(head.headers).map(str::to_owned)
    }

    fn decode_request(&self, _: &RequestHead<'_>, body: &[u8]) -> Result<SimRequest, RequestError> {
        let body: Value = serde_json::from_slice(body).map_err(|error| RequestError::InvalidJson(error.to_string()))?;
        let missing_field = |name: &str| RequestError::InvalidField(format!("Missing required parameter: '{name}'."));
        let mut request = SimRequest {
            model: body["model"].as_str().ok_or_else(|| missing_field("model"))?.to_owned(),
            max_output: body["max_completion_tokens"].as_u64().or_else(|| body["max_tokens"].as_u64()),
            stop: strings_of(&body["stop"]),
            json: match body["response_format"]["type"].as_str() {
                Some("json_object") => Some(JsonOutput::Any),
                Some("json_schema") => {
                    Some(JsonOutput::Schema(body["response_format"]["json_schema"]["schema"].clone()))
                }
                _ => None,
            },
            ..SimRequest::default()
        };
        if body["stream"] == true {
            return Err(RequestError::StreamingUnsupported);
        }
        let messages = body["messages"].as_array().ok_or_else(|| missing_field("messages"))?;
        if messages.is_empty() {
            return Err(RequestError::InvalidField("Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.".to_owned()));
        }
        for message in messages {
            read_message(message, &mut request)?;
        }
        Ok(request)
    }

    fn encode_answer(&self, answer: &SimAnswer, context: &ResponseContext<'_>) -> Value {
        let finish = if answer.stop_reason == SimStopReason::OutputLimit { "length" } else { "stop" };
        completion_body(
            &answer.text.as_str().into(),
            &Value::Null,
            finish,
            answer.output_tokens(),
            answer.thinking_tokens,
            context,
        )
    }

    fn encode_empty_answer(&self, context: &ResponseContext<'_>) -> Value {
        completion_body(&"".into(), &Value::Null, "stop", 0, 0, context)
    }

    fn encode_blocked_answer(&self, context: &ResponseContext<'_>) -> Value {
        let refusal = "I'm sorry, I can't help with that.".into();
        completion_body(&Value::Null, &refusal, "content_filter", 0, 0, context)
    }

    fn encode_refusal(
        &self,
        refusal: &LimitRefusal,
        retry_advice: RetryAdvice,
        context: &ResponseContext<'_>,
    ) -> SimResponse {
        let violation = refusal.longest_wait();
        let (allowed, used, requested) = (violation.allowed, violation.used, violation.requested);
        let (kind, measure) = match violation.limit {
            SimLimit::Rpm | SimLimit::Burst => ("requests", "requests per min (RPM)"),
            SimLimit::Concurrency => ("requests", "concurrent requests"),
            SimLimit::Rpd => ("requests", "requests per day (RPD)"),
            SimLimit::Tpm | SimLimit::Itpm | SimLimit::Otpm => ("tokens", "tokens per min (TPM)"),
            SimLimit::Tpd => ("tokens", "tokens per day (TPD)"),
        };
        let organization = format!("org-{}", context.project);
        let model = context.model.name.as_str();
        let page = "Visit https://platform.openai.com/account/rate-limits to learn more.";
        // It looks like a rate limit, but it can never pass.
        let message = if requested > allowed {
            format!(
                "Request too large for {model} in organization {organization} on {measure}: \nLimit {allowed}, Requested \
                 {requested}. \nThe input or output tokens must be reduced in order to run successfully. \n{page}"
            )
        } else {
            format!(
                "Rate limit reached for {model} in organization {organization} on {measure}: Limit {allowed}, Used {used}, \
                 Requested {requested}. Please try again in {}. {page}",
                format_go_duration(retry_advice.wait)
            )
        };
        let mut response = error_response(429, &message, kind, None, Some("rate_limit_exceeded"));
        response.headers = vec![
            ("retry-after", retry_advice.seconds().to_string()),
            ("retry-after-ms", retry_advice.wait.as_millis().max(1).to_string()),
        ];
        response
    }

    fn encode_rejection(&self, rejection: &Rejection, secret: &str) -> SimResponse {
        const INVALID: &str = "invalid_request_error";
        match rejection {
            Rejection::MissingKey => error_response(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer \
                 auth (i.e. Authorization: Bearer YOUR_KEY).",
                INVALID,
                None,
                None,
            ),
            Rejection::UnknownKey | Rejection::UnusableKey(SimKeyState::Invalid | SimKeyState::Valid) => {
                let message = format!(
                    "Incorrect API key provided: {}. You can find your API key at \
                     https://platform.openai.com/account/api-keys.",
                    mask_key(secret)
                );
                error_response(401, &message, INVALID, None, Some("invalid_api_key"))
            }
            Rejection::UnusableKey(SimKeyState::Suspended) => {
                let message = format!("The account of API key {secret} has been suspended for violating our policies.");
                error_response(403, &message, "request_forbidden", None, Some("account_suspended"))
            }
            Rejection::UnusableKey(SimKeyState::Leaked) => {
                let message = "This API key was found in a public place and has been disabled.";
                error_response(403, message, "request_forbidden", None, Some("api_key_disabled"))
            }
            Rejection::UnusableKey(SimKeyState::Billing) => error_response(
                429,
                "You exceeded your current quota, please check your plan and billing details. For more information on \
                 this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
                "insufficient_quota",
                None,
                Some("insufficient_quota"),
            ),
            Rejection::UnknownModel(model) | Rejection::ClosedModel(model) => {
                let message = format!("The model `{model}` does not exist or you do not have access to it.");
                error_response(404, &message, INVALID, None, Some("model_not_found"))
            }
            Rejection::InvalidRequest(request_error) => {
                let (message, param, code) = error_fields(request_error);
                error_response(400, &message, INVALID, param, code)
            }
        }
    }

    fn encode_server_error(&self) -> SimResponse {
        let message = "The server had an error while processing your request. Sorry about that!";
        error_response(500, message, "server_error", None, None)
    }

    fn encode_overloaded(&self) -> SimResponse {
        let message = "The engine is currently overloaded, please try again later.";
        error_response(503, message, "service_unavailable_error", None, Some("server_is_overloaded"))
    }

    fn rate_limit_headers(&self, gauges: &LimitGauges, _: WallTime) -> HeaderList {
        let requests = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
        let tokens = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
        let stated = [(gauges.requests, requests), (gauges.tokens, tokens)];
        let each = stated.into_iter().filter_map(|(gauge, names)| Some((gauge?, names)));
        each.flat_map(|(gauge, [limit, remaining, reset])| {
            [
                (limit, gauge.limit.to_string()),
                (remaining, gauge.remaining.to_string()),
                (reset, format_go_duration(gauge.resets_in)),
            ]
        })
        .collect()
    }

    fn add_request_id(&self, response: &mut SimResponse, serial: u64) {
        response.headers.push(("x-request-id", format!("req_sim{serial:08x}")));
    }

    fn encode_model(&self, model: &ModelProfile) -> Value {
        json!({ "id": model.name, "object": "model", "created": MODEL_CREATED_AT, "owned_by": model.provider })
    }

    fn encode_model_list(&self, models: Vec<Value>) -> Value {
        json!({ "object": "list", "data": models })
    }
}

fn read_message(message: &Value, request: &mut SimRequest) -> Result<(), RequestError> {
    let content = &message["content"];
    let is_system = matches!(message["role"].as_str(), Some("system" | "developer"));
    for text in texts_of(content) {
        if is_system {
            request.system.push_str(text);
        } else {
            request.add_text(text);
        }
    }
    for part in content.as_array().into_iter().flatten().filter(|part| part["type"] == "image_url") {
        let url = part["image_url"]["url"].as_str().unwrap_or_default();
        let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        let (_, data) = data.ok_or(RequestError::Picture(SimPictureError::RemoteUrl))?;
        request.pictures.push(SimPicture::from_base64(data, PICTURE_FORMATS)?);
    }
    Ok(())
}

fn completion_body(
    content: &Value,
    refusal: &Value,
    finish_reason: &str,
    output_tokens: u64,
    thinking_tokens: u64,
    context: &ResponseContext<'_>,
) -> Value {
    json!({
        "id": format!("chatcmpl-sim{:08x}", context.serial),
        "object": "chat.completion",
        "created": context.wall.timestamp().as_second(),
        "model": context.model.model_version.as_deref().unwrap_or(&context.model.name),
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": content, "refusal": refusal },
            "logprobs": null,
            "finish_reason": finish_reason,
        }],
        "usage": {
            "prompt_tokens": context.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": context.input_tokens + output_tokens,
            "completion_tokens_details": { "reasoning_tokens": thinking_tokens },
        },
        "service_tier": "default",
    })
}

/// Formats a duration as Go does: `0s`, `120ms`, `1.2s`, `6m0s`, `9m38.016s`, `23h59m59s`.
fn format_go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = |millis: u128| {
        let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match millis {
        0 => "0s".to_owned(),
        1..1_000 => format!("{millis}ms"),
        1_000..60_000 => seconds(millis),
        60_000..3_600_000 => format!("{}m{}", millis / 60_000, seconds(millis % 60_000)),
        _ => format!("{}h{}m{}", millis / 3_600_000, millis / 60_000 % 60, seconds(millis % 60_000)),
    }
}

/// Shows only the ends of a key, as the real message does.
fn mask_key(secret: &str) -> String {
    let letters: Vec<char> = secret.chars().collect();
    if letters.len() < 12 {
        return "*".repeat(letters.len());
    }
    let (start, end) = (&letters[..4], &letters[letters.len() - 4..]);
    format!("{}{}{}", start.iter().collect::<String>(), "*".repeat(letters.len() - 8), end.iter().collect::<String>())
}

fn error_fields(request_error: &RequestError) -> (String, Option<&'static str>, Option<&'static str>) {
    let plain = |message: &str| (message.to_owned(), None, None);
    match request_error {
        RequestError::InvalidJson(error) => {
            let message = format!("We could not parse the JSON body of your request. ({error})");
            (message, None, None)
        }
        RequestError::InvalidField(message) => plain(message),
        RequestError::StreamingUnsupported => (
            "The simulator does not support streaming; remove `stream`.".to_owned(),
            Some("stream"),
            Some("unsupported_value"),
        ),
        RequestError::ExceedsContext { tokens, context } => (
            format!(
                "This model's maximum context length is {context} tokens. However, your messages resulted in {tokens} \
                 tokens. Please reduce the length of the messages."
            ),
            Some("messages"),
            Some("context_length_exceeded"),
        ),
        RequestError::InvalidOutputLimit { requested, max } => (
            format!(
                "max_tokens is too large: {requested}. This model supports at most {max} completion tokens, whereas you \
                 provided {requested}."
            ),
            Some("max_tokens"),
            Some("invalid_value"),
        ),
        RequestError::NoVision => plain("Invalid content type. image_url is only supported by certain models."),
        RequestError::Picture(SimPictureError::RemoteUrl) => (
            "The simulator does not download pictures; send them as data URLs.".to_owned(),
            None,
            Some("invalid_image_url"),
        ),
        RequestError::Picture(_) => {
            let message = "You uploaded an unsupported image. Please make sure your image has of one the following \
                           formats: ['png', 'jpeg', 'gif', 'webp'].";
            (message.to_owned(), None, Some("invalid_image_format"))
        }
        RequestError::RequestedByPrompt | RequestError::MissingVersion => plain("Your request was malformed."),
    }
}

fn error_response(status: u16, message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> SimResponse {
    SimResponse::json(status, json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_formatted_as_in_go() {
        let cases = [
            (0, "0s"),
            (120, "120ms"),
            (1_200, "1.2s"),
            (20_000, "20s"),
            (360_000, "6m0s"),
            (578_016, "9m38.016s"),
            (86_399_000, "23h59m59s"),
        ];
        for (millis, text) in cases {
            assert_eq!(format_go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn only_the_ends_of_a_key_are_shown() {
        assert_eq!(mask_key("sk-proj-abcdefgh"), "sk-p********efgh");
        assert_eq!(mask_key("short"), "*****");
    }
}
