//! OpenAI's chat completions.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Advice, Dialect, Envelope, Headers, Nothing, Rejection, Reply, Subject, Trouble, bearer, strings, texts};
use crate::{
    domain::WallTime,
    sim::{
        answer::{Ending, Said},
        ask::{Ask, Complaint, JsonShape, Picture, PictureTrouble},
        profile::{KeyState, ModelProfile},
        quota::{Limit, Refusal, Standing},
    },
};

const PICTURES: &[&str] = &["png", "jpeg", "gif", "webp"];
/// Any date will do; SDKs want a number.
const CREATED: i64 = 1_788_000_000;

pub(super) struct OpenAi;

impl Dialect for OpenAi {
    fn credential(&self, envelope: &Envelope<'_>) -> Option<String> {
        bearer(envelope.headers).map(str::to_owned)
    }

    fn read(&self, _: &Envelope<'_>, body: &[u8]) -> Result<Ask, Complaint> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Complaint::Syntax(error.to_string()))?;
        let required = |name: &str| Complaint::Shape(format!("Missing required parameter: '{name}'."));
        let mut ask = Ask {
            model: body["model"].as_str().ok_or_else(|| required("model"))?.to_owned(),
            max_output: body["max_completion_tokens"].as_u64().or_else(|| body["max_tokens"].as_u64()),
            stop: strings(&body["stop"]),
            json: match body["response_format"]["type"].as_str() {
                Some("json_object") => Some(JsonShape::Any),
                Some("json_schema") => {
                    Some(JsonShape::Schema(body["response_format"]["json_schema"]["schema"].clone()))
                }
                _ => None,
            },
            ..Ask::default()
        };
        if body["stream"] == true {
            return Err(Complaint::Streaming);
        }
        let messages = body["messages"].as_array().ok_or_else(|| required("messages"))?;
        if messages.is_empty() {
            return Err(Complaint::Shape("Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.".to_owned()));
        }
        for message in messages {
            read_message(message, &mut ask)?;
        }
        Ok(ask)
    }

    fn answer(&self, said: &Said, subject: &Subject<'_>) -> Value {
        let finish = if said.ending == Ending::Length { "length" } else { "stop" };
        completion(
            &said.text.as_str().into(),
            &Value::Null,
            finish,
            said.output_tokens(),
            said.thinking_tokens,
            subject,
        )
    }

    fn nothing(&self, kind: Nothing, subject: &Subject<'_>) -> Value {
        match kind {
            Nothing::Empty => completion(&"".into(), &Value::Null, "stop", 0, 0, subject),
            Nothing::Blocked => {
                completion(&Value::Null, &"I'm sorry, I can't help with that.".into(), "content_filter", 0, 0, subject)
            }
        }
    }

    fn refusal(&self, refusal: &Refusal, advice: Advice, subject: &Subject<'_>) -> Reply {
        let violation = refusal.longest();
        let (of, used, requested) = (violation.of, violation.used, violation.requested);
        let (kind, measure) = match violation.limit {
            Limit::Rpm | Limit::Burst => ("requests", "requests per min (RPM)"),
            Limit::Concurrency => ("requests", "concurrent requests"),
            Limit::Rpd => ("requests", "requests per day (RPD)"),
            Limit::Tpm | Limit::Itpm | Limit::Otpm => ("tokens", "tokens per min (TPM)"),
            Limit::Tpd => ("tokens", "tokens per day (TPD)"),
        };
        let organization = format!("org-{}", subject.project);
        let model = subject.model.name.as_str();
        let page = "Visit https://platform.openai.com/account/rate-limits to learn more.";
        // Dressed as a rate limit, but it can never pass.
        let message = if requested > of {
            format!(
                "Request too large for {model} in organization {organization} on {measure}: \nLimit {of}, Requested \
                 {requested}. \nThe input or output tokens must be reduced in order to run successfully. \n{page}"
            )
        } else {
            format!(
                "Rate limit reached for {model} in organization {organization} on {measure}: Limit {of}, Used {used}, \
                 Requested {requested}. Please try again in {}. {page}",
                go_duration(advice.wait)
            )
        };
        let mut reply = error(429, &message, kind, None, Some("rate_limit_exceeded"));
        reply.headers = vec![
            ("retry-after", advice.seconds().to_string()),
            ("retry-after-ms", advice.wait.as_millis().max(1).to_string()),
        ];
        reply
    }

    fn rejection(&self, why: &Rejection, secret: &str) -> Reply {
        const INVALID: &str = "invalid_request_error";
        match why {
            Rejection::NoKey => error(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer \
                 auth (i.e. Authorization: Bearer YOUR_KEY).",
                INVALID,
                None,
                None,
            ),
            Rejection::UnknownKey | Rejection::Key(KeyState::Invalid | KeyState::Valid) => {
                let message = format!(
                    "Incorrect API key provided: {}. You can find your API key at \
                     https://platform.openai.com/account/api-keys.",
                    masked(secret)
                );
                error(401, &message, INVALID, None, Some("invalid_api_key"))
            }
            Rejection::Key(KeyState::Suspended) => {
                let message = format!("The account of API key {secret} has been suspended for violating our policies.");
                error(403, &message, "request_forbidden", None, Some("account_suspended"))
            }
            Rejection::Key(KeyState::Leaked) => {
                let message = "This API key was found in a public place and has been disabled.";
                error(403, message, "request_forbidden", None, Some("api_key_disabled"))
            }
            Rejection::Key(KeyState::Billing) => error(
                429,
                "You exceeded your current quota, please check your plan and billing details. For more information on \
                 this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
                "insufficient_quota",
                None,
                Some("insufficient_quota"),
            ),
            Rejection::NoSuchModel(model) | Rejection::ClosedModel(model) => {
                let message = format!("The model `{model}` does not exist or you do not have access to it.");
                error(404, &message, INVALID, None, Some("model_not_found"))
            }
            Rejection::Bad(complaint) => {
                let (message, param, code) = words(complaint);
                error(400, &message, INVALID, param, code)
            }
        }
    }

    fn trouble(&self, kind: Trouble) -> Reply {
        match kind {
            Trouble::ServerError => {
                let message = "The server had an error while processing your request. Sorry about that!";
                error(500, message, "server_error", None, None)
            }
            Trouble::Overloaded => {
                let message = "The engine is currently overloaded, please try again later.";
                error(503, message, "service_unavailable_error", None, Some("server_is_overloaded"))
            }
        }
    }

    fn rate_headers(&self, standing: &Standing, _: WallTime) -> Headers {
        let requests = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
        let tokens = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
        let stated = [(standing.requests, requests), (standing.tokens, tokens)];
        let each = stated.into_iter().filter_map(|(gauge, names)| Some((gauge?, names)));
        each.flat_map(|(gauge, [limit, remaining, reset])| {
            [
                (limit, gauge.limit.to_string()),
                (remaining, gauge.remaining.to_string()),
                (reset, go_duration(gauge.reset)),
            ]
        })
        .collect()
    }

    fn stamp(&self, reply: &mut Reply, serial: u64) {
        reply.headers.push(("x-request-id", format!("req_sim{serial:08x}")));
    }

    fn model(&self, model: &ModelProfile) -> Value {
        json!({ "id": model.name, "object": "model", "created": CREATED, "owned_by": model.provider })
    }

    fn model_list(&self, models: Vec<Value>) -> Value {
        json!({ "object": "list", "data": models })
    }
}

fn read_message(message: &Value, ask: &mut Ask) -> Result<(), Complaint> {
    let content = &message["content"];
    let system = matches!(message["role"].as_str(), Some("system" | "developer"));
    for text in texts(content) {
        if system {
            ask.system.push_str(text);
        } else {
            ask.say(text);
        }
    }
    for part in content.as_array().into_iter().flatten().filter(|part| part["type"] == "image_url") {
        let url = part["image_url"]["url"].as_str().unwrap_or_default();
        let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        let (_, data) = data.ok_or(Complaint::Picture(PictureTrouble::Link))?;
        ask.pictures.push(Picture::from_base64(data, PICTURES)?);
    }
    Ok(())
}

fn completion(
    content: &Value,
    refusal: &Value,
    finish: &str,
    output_tokens: u64,
    thinking_tokens: u64,
    subject: &Subject<'_>,
) -> Value {
    json!({
        "id": format!("chatcmpl-sim{:08x}", subject.serial),
        "object": "chat.completion",
        "created": subject.wall.timestamp().as_second(),
        "model": subject.model.model_version.as_deref().unwrap_or(&subject.model.name),
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": content, "refusal": refusal },
            "logprobs": null,
            "finish_reason": finish,
        }],
        "usage": {
            "prompt_tokens": subject.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": subject.input_tokens + output_tokens,
            "completion_tokens_details": { "reasoning_tokens": thinking_tokens },
        },
        "service_tier": "default",
    })
}

/// As Go prints durations: `0s`, `120ms`, `1.2s`, `6m0s`, `9m38.016s`, `23h59m59s`.
fn go_duration(span: Duration) -> String {
    let millis = span.as_millis();
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

/// The ends of a key, as the real message shows it.
fn masked(secret: &str) -> String {
    let letters: Vec<char> = secret.chars().collect();
    if letters.len() < 12 {
        return "*".repeat(letters.len());
    }
    let (start, end) = (&letters[..4], &letters[letters.len() - 4..]);
    format!("{}{}{}", start.iter().collect::<String>(), "*".repeat(letters.len() - 8), end.iter().collect::<String>())
}

fn words(complaint: &Complaint) -> (String, Option<&'static str>, Option<&'static str>) {
    let plain = |message: &str| (message.to_owned(), None, None);
    match complaint {
        Complaint::Syntax(error) => {
            let message = format!("We could not parse the JSON body of your request. ({error})");
            (message, None, None)
        }
        Complaint::Shape(message) => plain(message),
        Complaint::Streaming => {
            ("The simulator does not stream; leave out `stream`.".to_owned(), Some("stream"), Some("unsupported_value"))
        }
        Complaint::TooLong { tokens, context } => (
            format!(
                "This model's maximum context length is {context} tokens. However, your messages resulted in {tokens} \
                 tokens. Please reduce the length of the messages."
            ),
            Some("messages"),
            Some("context_length_exceeded"),
        ),
        Complaint::OutputTooLong { asked, most } => (
            format!(
                "max_tokens is too large: {asked}. This model supports at most {most} completion tokens, whereas you \
                 provided {asked}."
            ),
            Some("max_tokens"),
            Some("invalid_value"),
        ),
        Complaint::NoVision => plain("Invalid content type. image_url is only supported by certain models."),
        Complaint::Picture(PictureTrouble::Link) => {
            ("The simulator fetches no pictures; send them as data URLs.".to_owned(), None, Some("invalid_image_url"))
        }
        Complaint::Picture(_) => {
            let message = "You uploaded an unsupported image. Please make sure your image has of one the following \
                           formats: ['png', 'jpeg', 'gif', 'webp'].";
            (message.to_owned(), None, Some("invalid_image_format"))
        }
        Complaint::OnRequest | Complaint::MissingVersion => plain("Your request was malformed."),
    }
}

fn error(status: u16, message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Reply {
    Reply::json(status, json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_writes_them() {
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
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn only_a_keys_ends_are_shown() {
        assert_eq!(masked("sk-proj-abcdefgh"), "sk-p********efgh");
        assert_eq!(masked("short"), "*****");
    }
}
