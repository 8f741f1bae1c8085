//! Anthropic's messages.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Advice, Body, Dialect, Envelope, Headers, Nothing, Rejection, Reply, Subject, Trouble, bearer, header, strings,
    texts,
};
use crate::{
    domain::WallTime,
    sim::{
        answer::{Ending, Said},
        ask::{Ask, Complaint, JsonShape, Picture, PictureTrouble},
        profile::{KeyState, ModelProfile},
        quota::{Gauge, Refusal, Standing},
    },
};

const PICTURES: &[&str] = &["png", "jpeg", "gif", "webp"];
/// Of base64.
const MOST_PICTURE_BYTES: usize = 10 * 1_024 * 1_024;
const MOST_PIXELS_A_SIDE: usize = 8_000;

const FIELDS: &[&str] = &[
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

impl Dialect for Anthropic {
    fn credential(&self, envelope: &Envelope<'_>) -> Option<String> {
        header(envelope.headers, "x-api-key").or_else(|| bearer(envelope.headers)).map(str::to_owned)
    }

    fn read(&self, envelope: &Envelope<'_>, body: &[u8]) -> Result<Ask, Complaint> {
        if header(envelope.headers, "anthropic-version").is_none() {
            return Err(Complaint::MissingVersion);
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| Complaint::Syntax(error.to_string()))?;
        let stranger = body.as_object().and_then(|body| body.keys().find(|name| !FIELDS.contains(&name.as_str())));
        if let Some(stranger) = stranger {
            return Err(Complaint::Shape(format!("{stranger}: Extra inputs are not permitted")));
        }
        let required = |name: &str| Complaint::Shape(format!("{name}: Field required"));
        let schema = [&body["output_config"]["format"]["schema"], &body["output_format"]["schema"]];
        let mut ask = Ask {
            model: body["model"].as_str().ok_or_else(|| required("model"))?.to_owned(),
            max_output: Some(body["max_tokens"].as_u64().ok_or_else(|| required("max_tokens"))?),
            stop: strings(&body["stop_sequences"]),
            system: texts(&body["system"]).concat(),
            json: schema.into_iter().find(|schema| schema.is_object()).cloned().map(JsonShape::Schema),
            ..Ask::default()
        };
        if body["stream"] == true {
            return Err(Complaint::Streaming);
        }
        let messages = body["messages"].as_array().ok_or_else(|| required("messages"))?;
        if messages.is_empty() {
            return Err(Complaint::Shape("messages: at least one message is required".to_owned()));
        }
        for message in messages {
            read_message(message, &mut ask)?;
        }
        Ok(ask)
    }

    fn answer(&self, said: &Said, subject: &Subject<'_>) -> Value {
        let (reason, sequence) = match &said.ending {
            Ending::Complete => ("end_turn", None),
            Ending::Length => ("max_tokens", None),
            Ending::Stopped(sequence) => ("stop_sequence", Some(sequence.as_str())),
        };
        message(&said.text, reason, sequence, said.output_tokens(), subject)
    }

    fn nothing(&self, kind: Nothing, subject: &Subject<'_>) -> Value {
        match kind {
            Nothing::Empty => message("", "end_turn", None, 0, subject),
            Nothing::Blocked => message("", "refusal", None, 0, subject),
        }
    }

    fn refusal(&self, _: &Refusal, advice: Advice, _: &Subject<'_>) -> Reply {
        let message = "This request would exceed your account's rate limit. Please try again later.";
        let mut reply = error(429, "rate_limit_error", message);
        reply.headers = vec![("retry-after", advice.seconds().to_string())];
        reply
    }

    fn rejection(&self, why: &Rejection, secret: &str) -> Reply {
        match why {
            Rejection::NoKey => error(401, "authentication_error", "x-api-key header is required"),
            Rejection::UnknownKey | Rejection::Key(KeyState::Invalid | KeyState::Valid) => {
                error(401, "authentication_error", "invalid x-api-key")
            }
            Rejection::Key(KeyState::Suspended) => {
                error(403, "permission_error", &format!("The account of API key {secret} has been suspended."))
            }
            Rejection::Key(KeyState::Leaked) => {
                error(403, "permission_error", "This API key was found in a public place and has been disabled.")
            }
            // The API has a 402 for it, and still sends this.
            Rejection::Key(KeyState::Billing) => error(
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or \
                 purchase credits.",
            ),
            Rejection::NoSuchModel(model) | Rejection::ClosedModel(model) => {
                error(404, "not_found_error", &format!("model: {model}"))
            }
            Rejection::Bad(complaint) => error(400, "invalid_request_error", &words(complaint)),
        }
    }

    fn trouble(&self, kind: Trouble) -> Reply {
        match kind {
            Trouble::ServerError => error(500, "api_error", "Internal server error"),
            Trouble::Overloaded => error(529, "overloaded_error", "Overloaded"),
        }
    }

    fn rate_headers(&self, standing: &Standing, wall: WallTime) -> Headers {
        let [requests, tokens, input, output] = RATE_HEADERS;
        let stated = [
            (standing.requests, requests),
            (standing.tokens, tokens),
            (standing.input, input),
            (standing.output, output),
        ];
        stated.into_iter().filter_map(|(gauge, names)| Some(rates(gauge?, names, wall))).flatten().collect()
    }

    fn stamp(&self, reply: &mut Reply, serial: u64) {
        let id = format!("req_sim{serial:08x}");
        if let Body::Json(body) = &mut reply.body
            && body["type"] == "error"
        {
            body["request_id"] = id.as_str().into();
        }
        reply.headers.push(("request-id", id));
    }

    fn model(&self, model: &ModelProfile) -> Value {
        json!({
            "type": "model", "id": model.name, "display_name": model.name, "created_at": "2026-09-01T00:00:00Z",
            "max_input_tokens": model.context, "max_tokens": model.max_output,
        })
    }

    fn model_list(&self, models: Vec<Value>) -> Value {
        let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
        let (first, last) = (id(models.first()), id(models.last()));
        json!({ "data": models, "has_more": false, "first_id": first, "last_id": last })
    }
}

/// For requests, tokens, input tokens and output tokens: limit, remaining, reset.
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

fn rates(gauge: Gauge, [limit, remaining, reset]: [&'static str; 3], wall: WallTime) -> Headers {
    // Whole seconds, rounded up.
    let at = wall + gauge.reset + Duration::from_millis(999);
    let second = WallTime::from_unix_seconds(at.timestamp().as_second());
    vec![
        (limit, gauge.limit.to_string()),
        (remaining, gauge.remaining.to_string()),
        (reset, second.timestamp().to_string()),
    ]
}

fn read_message(message: &Value, ask: &mut Ask) -> Result<(), Complaint> {
    let content = &message["content"];
    for text in texts(content) {
        ask.say(text);
    }
    for part in content.as_array().into_iter().flatten().filter(|part| part["type"] == "image") {
        let source = &part["source"];
        if source["type"] != "base64" {
            return Err(Complaint::Picture(PictureTrouble::Link));
        }
        let data = source["data"].as_str().unwrap_or_default();
        let picture = Picture::from_base64(data, PICTURES)?;
        if data.len() > MOST_PICTURE_BYTES {
            return Err(Complaint::Picture(PictureTrouble::TooManyBytes(data.len())));
        }
        if picture.width.max(picture.height) > MOST_PIXELS_A_SIDE {
            return Err(Complaint::Picture(PictureTrouble::TooManyPixels));
        }
        ask.pictures.push(picture);
    }
    Ok(())
}

fn message(text: &str, reason: &str, sequence: Option<&str>, output_tokens: u64, subject: &Subject<'_>) -> Value {
    let content = if text.is_empty() { json!([]) } else { json!([{ "type": "text", "text": text }]) };
    json!({
        "id": format!("msg_sim{:08x}", subject.serial),
        "type": "message",
        "role": "assistant",
        "model": subject.model.model_version.as_deref().unwrap_or(&subject.model.name),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": { "input_tokens": subject.input_tokens, "output_tokens": output_tokens, "service_tier": "standard" },
    })
}

fn words(complaint: &Complaint) -> String {
    let place = "messages.0.content.0.image.source.base64";
    match complaint {
        Complaint::Syntax(error) => format!("The request body is not valid JSON: {error}"),
        Complaint::Shape(message) => message.clone(),
        Complaint::MissingVersion => "anthropic-version: header is required".to_owned(),
        Complaint::Streaming => "stream: the simulator does not stream".to_owned(),
        Complaint::TooLong { tokens, context } => format!("prompt is too long: {tokens} tokens > {context} maximum"),
        Complaint::OutputTooLong { asked: 0, .. } => {
            "max_tokens: Input should be greater than or equal to 1".to_owned()
        }
        Complaint::OutputTooLong { asked, most } => {
            format!("max_tokens: {asked} > {most}, which is the maximum allowed number of output tokens for this model")
        }
        Complaint::NoVision => "This model does not support image input.".to_owned(),
        Complaint::Picture(PictureTrouble::TooManyBytes(bytes)) => {
            format!("{place}: image exceeds 10 MB maximum: {bytes} bytes > {MOST_PICTURE_BYTES} bytes")
        }
        Complaint::Picture(PictureTrouble::TooManyPixels) => {
            format!("{place}.data: At least one of the image dimensions exceed max allowed size: 8000 pixels")
        }
        Complaint::Picture(PictureTrouble::NotBase64) => format!("{place}: invalid base64 data"),
        Complaint::Picture(PictureTrouble::Link) => {
            "The simulator fetches no pictures; send them as base64.".to_owned()
        }
        Complaint::Picture(_) => "Could not process image".to_owned(),
        Complaint::OnRequest => "Your request was malformed.".to_owned(),
    }
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, json!({ "type": "error", "error": { "type": kind, "message": message } }))
}
