//! The Gemini Developer API, `v1beta`.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::api::{
    HeaderList, Rejection, RequestHead, ResponseContext, RetryAdvice, SimResponse, WireApi, header_text, strings_of,
};
use crate::{
    domain::WallTime,
    sim::{
        answer::{SimAnswer, SimStopReason},
        pool::{LimitGauges, LimitRefusal, LimitViolation},
        profile::{ModelProfile, SimKeyState},
        request::{JsonOutput, RequestError, SimPicture, SimPictureError, SimRequest},
        usage::SimLimit,
    },
};

const SERVICE: &str = "generativelanguage.googleapis.com";
const LIMITS_PAGE: &str = "https://ai.google.dev/gemini-api/docs/rate-limits";
const PICTURE_FORMATS: &[&str] = &["png", "jpeg", "webp", "heic"];

/// The fields that the API's SDK sends. Others are rejected; either spelling is accepted.
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

impl WireApi for Gemini {
    fn credential(&self, head: &RequestHead<'_>) -> Option<String> {
        let in_query = || head.query?.split('&').find_map(|pair| pair.strip_prefix("key="));
        header_text(head.headers, "x-goog-api-key").or_else(in_query).map(str::to_owned)
    }

    fn decode_request(&self, head: &RequestHead<'_>, body: &[u8]) -> Result<SimRequest, RequestError> {
        let body: Value = serde_json::from_slice(body).map_err(|error| RequestError::InvalidJson(error.to_string()))?;
        let body = body.as_object().ok_or_else(|| RequestError::InvalidJson("expected an object".to_owned()))?;
        check_known_fields(body, REQUEST_FIELDS, "")?;
        let mut request =
            SimRequest { model: head.model_in_path.unwrap_or_default().to_owned(), ..SimRequest::default() };
        if let Some(config) = field(body, "generationConfig").as_object() {
            check_known_fields(config, CONFIG_FIELDS, " at 'generation_config'")?;
            read_config(config, &mut request);
        }
        request.system = parts(field(body, "systemInstruction")).filter_map(|part| part["text"].as_str()).collect();
        let contents = match field(body, "contents") {
            Value::Array(contents) => contents.as_slice(),
            one @ Value::Object(_) => std::slice::from_ref(one),
            _ => &[],
        };
        for part in contents.iter().flat_map(parts) {
            read_part(part, &mut request)?;
        }
        if contents.is_empty() {
            let complaint = "* GenerateContentRequest.contents: contents is not specified\n";
            return Err(RequestError::InvalidField(complaint.to_owned()));
        }
        Ok(request)
    }

    fn encode_answer(&self, answer: &SimAnswer, context: &ResponseContext<'_>) -> Value {
        let mut content = json!({ "parts": [{ "text": answer.text }], "role": "model" });
        if answer.text.is_empty() {
            content = json!({ "role": "model" });
        }
        let finish = if answer.stop_reason == SimStopReason::OutputLimit { "MAX_TOKENS" } else { "STOP" };
        let mut usage = usage(context);
        if answer.text_tokens > 0 {
            usage["candidatesTokenCount"] = answer.text_tokens.into();
        }
        usage["totalTokenCount"] = (context.input_tokens + answer.output_tokens()).into();
        if answer.thinking_tokens > 0 {
            usage["thoughtsTokenCount"] = answer.thinking_tokens.into();
        }
        add_metadata(
            json!({ "candidates": [{ "content": content, "finishReason": finish, "index": 0 }] }),
            usage,
            context,
        )
    }

    fn encode_empty_answer(&self, context: &ResponseContext<'_>) -> Value {
        let body = json!({ "candidates": [{ "content": { "role": "model" }, "finishReason": "STOP", "index": 0 }] });
        add_metadata(body, usage(context), context)
    }

    fn encode_blocked_answer(&self, context: &ResponseContext<'_>) -> Value {
        // The body has no `candidates` field at all.
        let body = json!({ "promptFeedback": {
            "blockReason": "PROHIBITED_CONTENT",
            "safetyRatings": [{
                "category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": true,
            }],
        } });
        add_metadata(body, usage(context), context)
    }

    fn encode_refusal(
        &self,
        refusal: &LimitRefusal,
        retry_advice: RetryAdvice,
        context: &ResponseContext<'_>,
    ) -> SimResponse {
        let model = context.model.name.as_str();
        let mut lines = String::new();
        for LimitViolation { limit, allowed, .. } in &refusal.violations {
            let _ =
                write!(lines, "\n* Quota exceeded for metric: {}, limit: {allowed}, model: {model}", metric(*limit));
        }
        let violations: Vec<Value> =
            refusal.violations.iter().map(|violation| quota_violation(violation, model)).collect();
        let message = format!(
            "You exceeded your current quota, please check your plan and billing details. For more information on this \
             error, head to: {LIMITS_PAGE}. To monitor your current usage, head to: https://ai.dev/rate-limit. {lines}\n\
             Please retry in {}s.",
            retry_advice.wait.as_secs_f64()
        );
        let details = json!([
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{ "description": "Learn more about Gemini API quotas", "url": LIMITS_PAGE }],
            },
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations },
            // Rounded down to whole seconds, as observed: the message is more precise than the field.
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{}s", retry_advice.wait.as_secs()) },
        ]);
        error_response(429, "RESOURCE_EXHAUSTED", &message, Some(details))
    }

    fn encode_rejection(&self, rejection: &Rejection, secret: &str) -> SimResponse {
        match rejection {
            Rejection::MissingKey => error_response(
                403,
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key \
                 or other form of API consumer identity to call this API.",
                None,
            ),
            // Keys of the newer kind get a different error.
            Rejection::UnknownKey | Rejection::UnusableKey(SimKeyState::Invalid) if secret.starts_with("AQ.") => {
                auth_key_error()
            }
            Rejection::UnknownKey | Rejection::UnusableKey(SimKeyState::Invalid | SimKeyState::Valid) => {
                let message = "API key not valid. Please pass a valid API key.";
                let metadata = json!({ "service": SERVICE });
                error_response(
                    400,
                    "INVALID_ARGUMENT",
                    message,
                    Some(error_info_details("API_KEY_INVALID", message, &metadata)),
                )
            }
            // The real response also repeats the whole key, twice.
            Rejection::UnusableKey(SimKeyState::Suspended) => {
                let message = format!("Permission denied: Consumer 'api_key:{secret}' has been suspended.");
                let metadata = json!({
                    "consumer": "projects/895908428397", "service": SERVICE, "containerInfo": format!("api_key:{secret}"),
                });
                error_response(
                    403,
                    "PERMISSION_DENIED",
                    &message,
                    Some(error_info_details("CONSUMER_SUSPENDED", &message, &metadata)),
                )
            }
            Rejection::UnusableKey(SimKeyState::Leaked) => error_response(
                403,
                "PERMISSION_DENIED",
                "Your API key was reported as leaked. Please use another API key.",
                None,
            ),
            Rejection::UnusableKey(SimKeyState::Billing) => error_response(
                429,
                "RESOURCE_EXHAUSTED",
                "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage \
                 your project and billing.",
                None,
            ),
            Rejection::UnknownModel(model) => {
                let message = format!(
                    "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call \
                     ListModels to see the list of available models and their supported methods."
                );
                error_response(404, "NOT_FOUND", &message, None)
            }
            Rejection::ClosedModel(model) => {
                let message = format!("This model models/{model} is no longer available to new users.");
                error_response(404, "NOT_FOUND", &message, None)
            }
            Rejection::InvalidRequest(request_error) => {
                error_response(400, "INVALID_ARGUMENT", &error_message(request_error), None)
            }
        }
    }

    fn encode_server_error(&self) -> SimResponse {
        let message = "An internal error has occurred. Please retry or report in \
                       https://developers.generativeai.google/guide/troubleshooting";
        error_response(500, "INTERNAL", message, None)
    }

    fn encode_overloaded(&self) -> SimResponse {
        let message = "This model is currently experiencing high demand. Spikes in demand are usually temporary. \
                       Please try again later.";
        error_response(503, "UNAVAILABLE", message, None)
    }

    /// Gemini sends none.
    fn rate_limit_headers(&self, _: &LimitGauges, _: WallTime) -> HeaderList {
        HeaderList::new()
    }

    fn encode_model(&self, model: &ModelProfile) -> Value {
        json!({
            "name": format!("models/{}", model.name),
            "version": "001",
            "displayName": model.name,
            "inputTokenLimit": model.context,
            "outputTokenLimit": model.max_output,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        })
    }

    fn encode_model_list(&self, models: Vec<Value>) -> Value {
        json!({ "models": models })
    }
}

/// A field by its JSON name or its protobuf name; the API accepts both.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> &'a Value {
    object.get(name).or_else(|| object.get(&to_snake_case(name))).unwrap_or(&Value::Null)
}

fn to_snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn check_known_fields(object: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), RequestError> {
    match object.keys().find(|name| !known.iter().any(|known| name == known || **name == to_snake_case(known))) {
        Some(unknown_field) => Err(RequestError::InvalidField(format!(
            "Invalid JSON payload received. Unknown name \"{unknown_field}\"{place}: Cannot find field."
        ))),
        None => Ok(()),
    }
}

fn read_config(config: &Map<String, Value>, request: &mut SimRequest) {
    request.max_output = field(config, "maxOutputTokens").as_u64();
    request.stop = strings_of(field(config, "stopSequences"));
    if field(config, "responseMimeType") == "application/json" {
        let schema = [field(config, "responseSchema"), field(config, "responseJsonSchema")];
        let schema = schema.into_iter().find(|schema| schema.is_object()).cloned();
        request.json = Some(schema.map_or(JsonOutput::Any, JsonOutput::Schema));
    }
    request.tokens_per_picture = match field(config, "mediaResolution").as_str() {
        Some("MEDIA_RESOLUTION_LOW") => Some(64),
        Some("MEDIA_RESOLUTION_MEDIUM") => Some(256),
        _ => None,
    };
}

fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    content["parts"].as_array().into_iter().flatten()
}

fn read_part(part: &Value, request: &mut SimRequest) -> Result<(), RequestError> {
    if let Some(text) = part["text"].as_str() {
        request.add_text(text);
    }
    let Some(data) = part.as_object().and_then(|part| field(part, "inlineData").as_object()) else { return Ok(()) };
    request.pictures.push(SimPicture::from_base64(field(data, "data").as_str().unwrap_or_default(), PICTURE_FORMATS)?);
    Ok(())
}

fn usage(context: &ResponseContext<'_>) -> Value {
    let text_tokens = context.input_tokens - context.picture_tokens;
    let mut details = vec![json!({ "modality": "TEXT", "tokenCount": text_tokens })];
    if context.picture_tokens > 0 {
        details.push(json!({ "modality": "IMAGE", "tokenCount": context.picture_tokens }));
    }
    json!({
        "promptTokenCount": context.input_tokens,
        "totalTokenCount": context.input_tokens,
        "promptTokensDetails": details,
    })
}

fn add_metadata(mut body: Value, usage: Value, context: &ResponseContext<'_>) -> Value {
    body["usageMetadata"] = usage;
    body["modelVersion"] = context.model.model_version.as_deref().unwrap_or(&context.model.name).into();
    body["responseId"] = format!("sim-{:08x}", context.serial).into();
    body
}

/// The quota metric, which is the same for minute and day, as at the real provider.
const fn metric(limit: SimLimit) -> &'static str {
    match limit {
        SimLimit::Tpm | SimLimit::Itpm | SimLimit::Otpm | SimLimit::Tpd => {
            "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count"
        }
        SimLimit::Rpm | SimLimit::Burst | SimLimit::Rpd | SimLimit::Concurrency => {
            "generativelanguage.googleapis.com/generate_content_free_tier_requests"
        }
    }
}

fn quota_violation(violation: &LimitViolation, model: &str) -> Value {
    let quota_id = match violation.limit {
        SimLimit::Rpm | SimLimit::Burst | SimLimit::Concurrency => {
            "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
        }
        SimLimit::Tpm | SimLimit::Itpm | SimLimit::Otpm => "GenerateContentInputTokensPerModelPerMinute-FreeTier",
        SimLimit::Rpd => "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        SimLimit::Tpd => "GenerateContentInputTokensPerModelPerDay-FreeTier",
    };
    let mut violation_json = json!({
        "quotaMetric": metric(violation.limit),
        "quotaId": quota_id,
        "quotaDimensions": { "location": "global", "model": model },
    });
    // A limit of 0 is stated only in the message.
    if violation.allowed > 0 {
        violation_json["quotaValue"] = violation.allowed.to_string().into();
    }
    violation_json
}

fn auth_key_error() -> SimResponse {
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
    error_response(401, "UNAUTHENTICATED", message, Some(details))
}

fn error_info_details(reason: &str, message: &str, metadata: &Value) -> Value {
    json!([
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason, "domain": "googleapis.com", "metadata": metadata,
        },
        { "@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message },
    ])
}

fn error_message(request_error: &RequestError) -> String {
    match request_error {
        RequestError::InvalidJson(error) => format!("Invalid JSON payload received. {error}"),
        RequestError::InvalidField(message) => message.clone(),
        RequestError::StreamingUnsupported => {
            "The simulator does not support streaming; use generateContent.".to_owned()
        }
        RequestError::ExceedsContext { tokens, context } => {
            format!("The input token count ({tokens}) exceeds the maximum number of tokens allowed ({context}).")
        }
        RequestError::InvalidOutputLimit { requested, max } => format!(
            "Unable to submit request because it has a maxOutputTokens value of {requested} but the supported range is from \
             1 (inclusive) to {} (exclusive). Update the value and try again.",
            max + 1
        ),
        RequestError::Picture(SimPictureError::NotBase64) => {
            "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed".to_owned()
        }
        RequestError::Picture(SimPictureError::Unreadable) => "Provided image is not valid".to_owned(),
        RequestError::Picture(_)
        | RequestError::NoVision
        | RequestError::RequestedByPrompt
        | RequestError::MissingVersion => "Request contains an invalid argument.".to_owned(),
    }
}

fn error_response(code: u16, status: &str, message: &str, details: Option<Value>) -> SimResponse {
    let mut error = json!({ "code": code, "message": message, "status": status });
    if let Some(details) = details {
        error["details"] = details;
    }
    SimResponse::json(code, json!({ "error": error }))
}
