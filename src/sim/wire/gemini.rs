//! The Gemini Developer API, `v1beta`.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Advice, Dialect, Envelope, Headers, Nothing, Rejection, Reply, Subject, Trouble, header};
use crate::{
    domain::WallTime,
    sim::{
        answer::{Ending, Said},
        ask::{Ask, Complaint, JsonShape, Picture, PictureTrouble},
        profile::{KeyState, ModelProfile},
        quota::{Limit, Refusal, Standing, Violation},
    },
};

const SERVICE: &str = "generativelanguage.googleapis.com";
const LIMITS_PAGE: &str = "https://ai.google.dev/gemini-api/docs/rate-limits";
const PICTURES: &[&str] = &["png", "jpeg", "webp", "heic"];

/// The API refuses fields it doesn't know; these are what its SDK sends, in either spelling.
const REQUEST_FIELDS: &[&str] = &[
    "model",
    "contents",
    "systemInstruction",
    "generationConfig",
    "safetySettings",
    "tools",
    "toolConfig",
    "cachedContent",
    "serviceTier",
    "store",
    "continuationToken",
    "labels",
];
const CONFIG_FIELDS: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "thinkingConfig",
    "mediaResolution",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "responseModalities",
    "speechConfig",
    "imageConfig",
    "audioTimestamp",
    "enableEnhancedCivicAnswers",
];

pub(super) struct Gemini;

impl Dialect for Gemini {
    fn credential(&self, envelope: &Envelope<'_>) -> Option<String> {
        let in_query = || envelope.query?.split('&').find_map(|pair| pair.strip_prefix("key="));
        header(envelope.headers, "x-goog-api-key").or_else(in_query).map(str::to_owned)
    }

    fn read(&self, envelope: &Envelope<'_>, body: &[u8]) -> Result<Ask, Complaint> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Complaint::Syntax(error.to_string()))?;
        let body = body.as_object().ok_or_else(|| Complaint::Syntax("expected an object".to_owned()))?;
        known_fields(body, REQUEST_FIELDS, "")?;
        let mut ask = Ask { model: envelope.model_in_path.unwrap_or_default().to_owned(), ..Ask::default() };
        if let Some(config) = field(body, "generationConfig").as_object() {
            known_fields(config, CONFIG_FIELDS, " at 'generation_config'")?;
            read_config(config, &mut ask);
        }
        ask.system = parts(field(body, "systemInstruction")).filter_map(|part| part["text"].as_str()).collect();
        let contents = match field(body, "contents") {
            Value::Array(contents) => contents.as_slice(),
            one @ Value::Object(_) => std::slice::from_ref(one),
            _ => &[],
        };
        for part in contents.iter().flat_map(parts) {
            read_part(part, &mut ask)?;
        }
        if contents.is_empty() {
            let complaint = "* GenerateContentRequest.contents: contents is not specified\n";
            return Err(Complaint::Shape(complaint.to_owned()));
        }
        Ok(ask)
    }

    fn answer(&self, said: &Said, subject: &Subject<'_>) -> Value {
        let mut content = json!({ "parts": [{ "text": said.text }], "role": "model" });
        if said.text.is_empty() {
            content = json!({ "role": "model" });
        }
        let finish = if said.ending == Ending::Length { "MAX_TOKENS" } else { "STOP" };
        let mut usage = usage(subject);
        if said.text_tokens > 0 {
            usage["candidatesTokenCount"] = said.text_tokens.into();
        }
        usage["totalTokenCount"] = (subject.input_tokens + said.output_tokens()).into();
        if said.thinking_tokens > 0 {
            usage["thoughtsTokenCount"] = said.thinking_tokens.into();
        }
        envelope(json!({ "candidates": [{ "content": content, "finishReason": finish, "index": 0 }] }), usage, subject)
    }

    fn nothing(&self, kind: Nothing, subject: &Subject<'_>) -> Value {
        let body = match kind {
            Nothing::Empty => {
                json!({ "candidates": [{ "content": { "role": "model" }, "finishReason": "STOP", "index": 0 }] })
            }
            // No `candidates` key at all.
            Nothing::Blocked => json!({ "promptFeedback": {
                "blockReason": "PROHIBITED_CONTENT",
                "safetyRatings": [{
                    "category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": true,
                }],
            } }),
        };
        envelope(body, usage(subject), subject)
    }

    fn refusal(&self, refusal: &Refusal, advice: Advice, subject: &Subject<'_>) -> Reply {
        let model = subject.model.name.as_str();
        let mut lines = String::new();
        for Violation { limit, of, .. } in &refusal.violations {
            let _ = write!(lines, "\n* Quota exceeded for metric: {}, limit: {of}, model: {model}", metric(*limit));
        }
        let violations: Vec<Value> =
            refusal.violations.iter().map(|violation| quota_violation(violation, model)).collect();
        let message = format!(
            "You exceeded your current quota, please check your plan and billing details. For more information on this \
             error, head to: {LIMITS_PAGE}. To monitor your current usage, head to: https://ai.dev/rate-limit. {lines}\n\
             Please retry in {}s.",
            advice.wait.as_secs_f64()
        );
        let details = json!([
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{ "description": "Learn more about Gemini API quotas", "url": LIMITS_PAGE }],
            },
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations },
            // Whole seconds, rounded down, as seen: the message is more precise than the field.
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{}s", advice.wait.as_secs()) },
        ]);
        error(429, "RESOURCE_EXHAUSTED", &message, Some(details))
    }

    fn rejection(&self, why: &Rejection, secret: &str) -> Reply {
        match why {
            Rejection::NoKey => error(
                403,
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key \
                 or other form of API consumer identity to call this API.",
                None,
            ),
            // Keys of the newer kind go through another door.
            Rejection::UnknownKey | Rejection::Key(KeyState::Invalid) if secret.starts_with("AQ.") => bad_auth_key(),
            Rejection::UnknownKey | Rejection::Key(KeyState::Invalid | KeyState::Valid) => {
                let message = "API key not valid. Please pass a valid API key.";
                let metadata = json!({ "service": SERVICE });
                error(400, "INVALID_ARGUMENT", message, Some(reasoned("API_KEY_INVALID", message, &metadata)))
            }
            // The real answer, too, repeats the whole key, twice.
            Rejection::Key(KeyState::Suspended) => {
                let message = format!("Permission denied: Consumer 'api_key:{secret}' has been suspended.");
                let metadata = json!({
                    "consumer": "projects/895908428397", "service": SERVICE, "containerInfo": format!("api_key:{secret}"),
                });
                error(403, "PERMISSION_DENIED", &message, Some(reasoned("CONSUMER_SUSPENDED", &message, &metadata)))
            }
            Rejection::Key(KeyState::Leaked) => error(
                403,
                "PERMISSION_DENIED",
                "Your API key was reported as leaked. Please use another API key.",
                None,
            ),
            Rejection::Key(KeyState::Billing) => error(
                429,
                "RESOURCE_EXHAUSTED",
                "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage \
                 your project and billing.",
                None,
            ),
            Rejection::NoSuchModel(model) => {
                let message = format!(
                    "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call \
                     ListModels to see the list of available models and their supported methods."
                );
                error(404, "NOT_FOUND", &message, None)
            }
            Rejection::ClosedModel(model) => {
                let message = format!("This model models/{model} is no longer available to new users.");
                error(404, "NOT_FOUND", &message, None)
            }
            Rejection::Bad(complaint) => error(400, "INVALID_ARGUMENT", &words(complaint), None),
        }
    }

    fn trouble(&self, kind: Trouble) -> Reply {
        match kind {
            Trouble::ServerError => error(
                500,
                "INTERNAL",
                "An internal error has occurred. Please retry or report in \
                 https://developers.generativeai.google/guide/troubleshooting",
                None,
            ),
            Trouble::Overloaded => error(
                503,
                "UNAVAILABLE",
                "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try \
                 again later.",
                None,
            ),
        }
    }

    /// Gemini sends none.
    fn rate_headers(&self, _: &Standing, _: WallTime) -> Headers {
        Headers::new()
    }

    fn model(&self, model: &ModelProfile) -> Value {
        json!({
            "name": format!("models/{}", model.name),
            "version": "001",
            "displayName": model.name,
            "inputTokenLimit": model.context,
            "outputTokenLimit": model.max_output,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        })
    }

    fn model_list(&self, models: Vec<Value>) -> Value {
        json!({ "models": models })
    }
}

/// A field by its JSON name, or by its protobuf name, which the API takes as well.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> &'a Value {
    object.get(name).or_else(|| object.get(&snake(name))).unwrap_or(&Value::Null)
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn known_fields(object: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), Complaint> {
    match object.keys().find(|name| !known.iter().any(|known| name == known || **name == snake(known))) {
        Some(stranger) => Err(Complaint::Shape(format!(
            "Invalid JSON payload received. Unknown name \"{stranger}\"{place}: Cannot find field."
        ))),
        None => Ok(()),
    }
}

fn read_config(config: &Map<String, Value>, ask: &mut Ask) {
    ask.max_output = field(config, "maxOutputTokens").as_u64();
    ask.stop = super::strings(field(config, "stopSequences"));
    if field(config, "responseMimeType") == "application/json" {
        let schema = [field(config, "responseSchema"), field(config, "responseJsonSchema")];
        let schema = schema.into_iter().find(|schema| schema.is_object()).cloned();
        ask.json = Some(schema.map_or(JsonShape::Any, JsonShape::Schema));
    }
    ask.picture_tokens = match field(config, "mediaResolution").as_str() {
        Some("MEDIA_RESOLUTION_LOW") => Some(64),
        Some("MEDIA_RESOLUTION_MEDIUM") => Some(256),
        _ => None,
    };
}

fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    content["parts"].as_array().into_iter().flatten()
}

fn read_part(part: &Value, ask: &mut Ask) -> Result<(), Complaint> {
    if let Some(text) = part["text"].as_str() {
        ask.say(text);
    }
    let Some(data) = part.as_object().and_then(|part| field(part, "inlineData").as_object()) else { return Ok(()) };
    ask.pictures.push(Picture::from_base64(field(data, "data").as_str().unwrap_or_default(), PICTURES)?);
    Ok(())
}

fn usage(subject: &Subject<'_>) -> Value {
    let text_tokens = subject.input_tokens - subject.picture_tokens;
    let mut details = vec![json!({ "modality": "TEXT", "tokenCount": text_tokens })];
    if subject.picture_tokens > 0 {
        details.push(json!({ "modality": "IMAGE", "tokenCount": subject.picture_tokens }));
    }
    json!({
        "promptTokenCount": subject.input_tokens,
        "totalTokenCount": subject.input_tokens,
        "promptTokensDetails": details,
    })
}

fn envelope(mut body: Value, usage: Value, subject: &Subject<'_>) -> Value {
    body["usageMetadata"] = usage;
    body["modelVersion"] = subject.model.model_version.as_deref().unwrap_or(&subject.model.name).into();
    body["responseId"] = format!("sim-{:08x}", subject.serial).into();
    body
}

/// The same for minute and day, as in real life.
const fn metric(limit: Limit) -> &'static str {
    match limit {
        Limit::Tpm | Limit::Itpm | Limit::Otpm | Limit::Tpd => {
            "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count"
        }
        Limit::Rpm | Limit::Burst | Limit::Rpd | Limit::Concurrency => {
            "generativelanguage.googleapis.com/generate_content_free_tier_requests"
        }
    }
}

fn quota_violation(violation: &Violation, model: &str) -> Value {
    let quota_id = match violation.limit {
        Limit::Rpm | Limit::Burst | Limit::Concurrency => "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        Limit::Tpm | Limit::Itpm | Limit::Otpm => "GenerateContentInputTokensPerModelPerMinute-FreeTier",
        Limit::Rpd => "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        Limit::Tpd => "GenerateContentInputTokensPerModelPerDay-FreeTier",
    };
    let mut told = json!({
        "quotaMetric": metric(violation.limit),
        "quotaId": quota_id,
        "quotaDimensions": { "location": "global", "model": model },
    });
    // A quota of nothing is stated in the message only.
    if violation.of > 0 {
        told["quotaValue"] = violation.of.to_string().into();
    }
    told
}

fn bad_auth_key() -> Reply {
    let details = json!([{
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "metadata": {
            "method": "google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent", "service": SERVICE,
        },
    }]);
    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                   valid authentication credential. See \
                   https://developers.google.com/identity/sign-in/web/devconsole-project.";
    error(401, "UNAUTHENTICATED", message, Some(details))
}

fn reasoned(reason: &str, message: &str, metadata: &Value) -> Value {
    json!([
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason, "domain": "googleapis.com", "metadata": metadata,
        },
        { "@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message },
    ])
}

fn words(complaint: &Complaint) -> String {
    match complaint {
        Complaint::Syntax(error) => format!("Invalid JSON payload received. {error}"),
        Complaint::Shape(message) => message.clone(),
        Complaint::Streaming => "The simulator does not stream; use generateContent.".to_owned(),
        Complaint::TooLong { tokens, context } => {
            format!("The input token count ({tokens}) exceeds the maximum number of tokens allowed ({context}).")
        }
        Complaint::OutputTooLong { asked, most } => format!(
            "Unable to submit request because it has a maxOutputTokens value of {asked} but the supported range is from \
             1 (inclusive) to {} (exclusive). Update the value and try again.",
            most + 1
        ),
        Complaint::Picture(PictureTrouble::NotBase64) => {
            "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed".to_owned()
        }
        Complaint::Picture(PictureTrouble::Unreadable) => "Provided image is not valid".to_owned(),
        Complaint::Picture(_) | Complaint::NoVision | Complaint::OnRequest | Complaint::MissingVersion => {
            "Request contains an invalid argument.".to_owned()
        }
    }
}

fn error(code: u16, status: &str, message: &str, details: Option<Value>) -> Reply {
    let mut error = json!({ "code": code, "message": message, "status": status });
    if let Some(details) = details {
        error["details"] = details;
    }
    Reply::json(code, json!({ "error": error }))
}
