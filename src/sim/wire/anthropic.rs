//! Anthropic's messages API.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{
    HeaderList, Rejection, RequestHead, ResponseContext, RetryAdvice, SimBody, SimResponse, WireApi, bearer_token,
    header_text, strings_of, texts_of,
};
use crate::{
    domain::WallTime,
    sim::{
        answer::{SimAnswer, SimStopReason},
        pool::{LimitGauges, LimitRefusal, SimGauge},
        profile::{ModelProfile, SimKeyState},
        request::{JsonOutput, RequestError, SimPicture, SimPictureError, SimRequest},
    },
};

const PICTURE_FORMATS: &[&str] = &["png", "jpeg", "gif", "webp"];
/// Length of the base64 text.
const MAX_PICTURE_BASE64_BYTES: usize = 10 * 1_024 * 1_024;
const MAX_SIDE_PIXELS: usize = 8_000;

const REQUEST_FIELDS: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "system",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "stream",
    "metadata",
    "thinking",
    "tools",
    "tool_choice",
    "service_tier",
    "container",
    "context_management",
    "mcp_servers",
    "output_config",
    "output_format",
    "cache_control",
    "inference_geo",
    "speed",
];

pub(super) struct Anthropic;

impl WireApi for Anthropic {
    fn credential(&self, head: &RequestHead<'_>) -> Option<String> {
        header_text(head.headers, "x-api-key").or_else(|| bearer_token(head.headers)).map(str::to_owned)
    }

    fn decode_request(&self, head: &RequestHead<'_>, body: &[u8]) -> Result<SimRequest, RequestError> {
        if header_text(head.headers, "anthropic-version").is_none() {
            return Err(RequestError::MissingVersion);
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| RequestError::InvalidJson(error.to_string()))?;
        let unknown_field =
            body.as_object().and_then(|body| body.keys().find(|name| !REQUEST_FIELDS.contains(&name.as_str())));
        if let Some(unknown_field) = unknown_field {
            return Err(RequestError::InvalidField(format!("{unknown_field}: Extra inputs are not permitted")));
        }
        let missing_field = |name: &str| RequestError::InvalidField(format!("{name}: Field required"));
        let schema = [&body["output_config"]["format"]["schema"], &body["output_format"]["schema"]];
        let mut request = SimRequest {
            model: body["model"].as_str().ok_or_else(|| missing_field("model"))?.to_owned(),
            max_output: Some(body["max_tokens"].as_u64().ok_or_else(|| missing_field("max_tokens"))?),
            stop: strings_of(&body["stop_sequences"]),
            system: texts_of(&body["system"]).concat(),
            json: schema.into_iter().find(|schema| schema.is_object()).cloned().map(JsonOutput::Schema),
            ..SimRequest::default()
        };
        if body["stream"] == true {
            return Err(RequestError::StreamingUnsupported);
        }
        let messages = body["messages"].as_array().ok_or_else(|| missing_field("messages"))?;
        if messages.is_empty() {
            return Err(RequestError::InvalidField("messages: at least one message is required".to_owned()));
        }
        for message in messages {
            read_message(message, &mut request)?;
        }
        Ok(request)
    }

    fn encode_answer(&self, answer: &SimAnswer, context: &ResponseContext<'_>) -> Value {
        let (reason, sequence) = match &answer.stop_reason {
            SimStopReason::EndOfAnswer => ("end_turn", None),
            SimStopReason::OutputLimit => ("max_tokens", None),
            SimStopReason::StopSequence(sequence) => ("stop_sequence", Some(sequence.as_str())),
        };
        message_body(&answer.text, reason, sequence, answer.output_tokens(), context)
    }

    fn encode_empty_answer(&self, context: &ResponseContext<'_>) -> Value {
        message_body("", "end_turn", None, 0, context)
    }

    fn encode_blocked_answer(&self, context: &ResponseContext<'_>) -> Value {
        message_body("", "refusal", None, 0, context)
    }

    fn encode_refusal(&self, _: &LimitRefusal, retry_advice: RetryAdvice, _: &ResponseContext<'_>) -> SimResponse {
        let message = "This request would exceed your account's rate limit. Please try again later.";
        let mut response = error_response(429, "rate_limit_error", message);
        response.headers = vec![("retry-after", retry_advice.seconds().to_string())];
        response
    }

    fn encode_rejection(&self, rejection: &Rejection, secret: &str) -> SimResponse {
        match rejection {
            Rejection::MissingKey => error_response(401, "authentication_error", "x-api-key header is required"),
            Rejection::UnknownKey | Rejection::UnusableKey(SimKeyState::Invalid | SimKeyState::Valid) => {
                error_response(401, "authentication_error", "invalid x-api-key")
            }
            Rejection::UnusableKey(SimKeyState::Suspended) => {
                error_response(403, "permission_error", &format!("The account of API key {secret} has been suspended."))
            }
            Rejection::UnusableKey(SimKeyState::Leaked) => error_response(
                403,
                "permission_error",
                "This API key was found in a public place and has been disabled.",
            ),
            // The API has a 402 for this, but still sends 400.
            Rejection::UnusableKey(SimKeyState::Billing) => error_response(
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or \
                 purchase credits.",
            ),
            Rejection::UnknownModel(model) | Rejection::ClosedModel(model) => {
                error_response(404, "not_found_error", &format!("model: {model}"))
            }
            Rejection::InvalidRequest(request_error) => {
                error_response(400, "invalid_request_error", &error_message(request_error))
            }
        }
    }

    fn encode_server_error(&self) -> SimResponse {
        error_response(500, "api_error", "Internal server error")
    }

    fn encode_overloaded(&self) -> SimResponse {
        error_response(529, "overloaded_error", "Overloaded")
    }

    fn rate_limit_headers(&self, gauges: &LimitGauges, wall: WallTime) -> HeaderList {
        let [requests, tokens, input, output] = RATE_HEADERS;
        let stated =
            [(gauges.requests, requests), (gauges.tokens, tokens), (gauges.input, input), (gauges.output, output)];
        stated.into_iter().filter_map(|(gauge, names)| Some(gauge_headers(gauge?, names, wall))).flatten().collect()
    }

    fn add_request_id(&self, response: &mut SimResponse, serial: u64) {
        let id = format!("req_sim{serial:08x}");
        if let SimBody::Json(body) = &mut response.body
            && body["type"] == "error"
        {
            body["request_id"] = id.as_str().into();
        }
        response.headers.push(("request-id", id));
    }

    fn encode_model(&self, model: &ModelProfile) -> Value {
        json!({
            "type": "model", "id": model.name, "display_name": model.name, "created_at": "2026-09-01T00:00:00Z",
            "max_input_tokens": model.context, "max_tokens": model.max_output,
        })
    }

    fn encode_model_list(&self, models: Vec<Value>) -> Value {
        let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
        let (first, last) = (id(models.first()), id(models.last()));
        json!({ "data": models, "has_more": false, "first_id": first, "last_id": last })
    }
}

/// Header names for requests, tokens, input tokens and output tokens: limit, remaining, reset.
const RATE_HEADERS: [[&str; 3]; 4] = [
    [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    ["anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"],
    [
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ],
    [
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ],
];

fn gauge_headers(gauge: SimGauge, [limit, remaining, reset]: [&'static str; 3], wall: WallTime) -> HeaderList {
    // Rounded up to whole seconds.
    let at = wall + gauge.resets_in + Duration::from_millis(999);
    let second = WallTime::from_unix_seconds(at.timestamp().as_second());
    vec![
        (limit, gauge.limit.to_string()),
        (remaining, gauge.remaining.to_string()),
        (reset, second.timestamp().to_string()),
    ]
}

fn read_message(message: &Value, request: &mut SimRequest) -> Result<(), RequestError> {
    let content = &message["content"];
    for text in texts_of(content) {
        request.add_text(text);
    }
    for part in content.as_array().into_iter().flatten().filter(|part| part["type"] == "image") {
        let source = &part["source"];
        if source["type"] != "base64" {
            return Err(RequestError::Picture(SimPictureError::RemoteUrl));
        }
        let data = source["data"].as_str().unwrap_or_default();
        let picture = SimPicture::from_base64(data, PICTURE_FORMATS)?;
        if data.len() > MAX_PICTURE_BASE64_BYTES {
            return Err(RequestError::Picture(SimPictureError::TooManyBytes(data.len())));
        }
        if picture.width.max(picture.height) > MAX_SIDE_PIXELS {
            return Err(RequestError::Picture(SimPictureError::TooManyPixels));
        }
        request.pictures.push(picture);
    }
    Ok(())
}

fn message_body(
    text: &str,
    stop_reason: &str,
    stop_sequence: Option<&str>,
    output_tokens: u64,
    context: &ResponseContext<'_>,
) -> Value {
    let content = if text.is_empty() { json!([]) } else { json!([{ "type": "text", "text": text }]) };
    json!({
        "id": format!("msg_sim{:08x}", context.serial),
        "type": "message",
        "role": "assistant",
        "model": context.model.model_version.as_deref().unwrap_or(&context.model.name),
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": { "input_tokens": context.input_tokens, "output_tokens": output_tokens, "service_tier": "standard" },
    })
}

fn error_message(request_error: &RequestError) -> String {
    let field = "messages.0.content.0.image.source.base64";
    match request_error {
        RequestError::InvalidJson(error) => format!("The request body is not valid JSON: {error}"),
        RequestError::InvalidField(message) => message.clone(),
        RequestError::MissingVersion => "anthropic-version: header is required".to_owned(),
        RequestError::StreamingUnsupported => "stream: the simulator does not support streaming".to_owned(),
        RequestError::ExceedsContext { tokens, context } => {
            format!("prompt is too long: {tokens} tokens > {context} maximum")
        }
        RequestError::InvalidOutputLimit { requested: 0, .. } => {
            "max_tokens: Input should be greater than or equal to 1".to_owned()
        }
        RequestError::InvalidOutputLimit { requested, max: most } => {
            format!(
                "max_tokens: {requested} > {most}, which is the maximum allowed number of output tokens for this model"
            )
        }
        RequestError::NoVision => "This model does not support image input.".to_owned(),
        RequestError::Picture(SimPictureError::TooManyBytes(bytes)) => {
            format!("{field}: image exceeds 10 MB maximum: {bytes} bytes > {MAX_PICTURE_BASE64_BYTES} bytes")
        }
        RequestError::Picture(SimPictureError::TooManyPixels) => {
            format!("{field}.data: At least one of the image dimensions exceed max allowed size: 8000 pixels")
        }
        RequestError::Picture(SimPictureError::NotBase64) => format!("{field}: invalid base64 data"),
        RequestError::Picture(SimPictureError::RemoteUrl) => {
            "The simulator does not download pictures; send them as base64.".to_owned()
        }
        RequestError::Picture(_) => "Could not process image".to_owned(),
        RequestError::RequestedByPrompt => "Your request was malformed.".to_owned(),
    }
}

fn error_response(status: u16, kind: &str, message: &str) -> SimResponse {
    SimResponse::json(status, json!({ "type": "error", "error": { "type": kind, "message": message } }))
}
